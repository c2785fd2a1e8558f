//! Out means out, through the API: leases, verdicts, receipts, and who is late. Section by section of what the proto
//! promises; time is waited for only where a lease must really run out, with the shortest there is.

mod bad_input;
mod commands;
mod deletions;
mod held;
mod late;
mod leases;
mod pool;
mod receipts;
mod records;
mod sdk;
mod several;
mod silent;
mod verdicts;

use std::time::Duration;

use rollcall_client::v1::{watch_response::Message, *};
use tonic::{Status, Streaming};

use crate::fixtures::{Org, Person, World};

/// Longer than any answer takes, also on a busy machine: only a defect runs into it.
const BOUND: Duration = Duration::from_secs(20);

/// A process of an app that follows the log.
struct Instance {
    stream: Streaming<WatchResponse>,
    id: String,
    /// What it was told when the stream was opened.
    opened: Opened,
    cursor: String,
    /// Changes that it was sent, in order.
    changes: Vec<Change>,
    /// Up to where it was sent everything.
    position: i64,
}

impl Instance {
    async fn open(world: &World, app: &str, name: &str) -> Self {
        let request = WatchRequest { app: app.to_owned(), instance: name.to_owned(), ..Default::default() };
        Self::watch(world, request).await
    }

    /// Opens a stream and reads its snapshot.
    async fn watch(world: &World, request: WatchRequest) -> Self {
        let mut stream = world.feed().watch(request).await.expect("a stream").into_inner();
        let first = stream.message().await.expect("open").expect("a message").message;
        let Some(Message::Opened(opened)) = first else { panic!("{first:?}") };
        let mut instance = Self {
            stream,
            id: opened.subscription_id.clone(),
            opened,
            cursor: String::new(),
            changes: Vec::new(),
            position: 0,
        };
        while instance.cursor.is_empty() {
            instance.next().await;
        }
        instance
    }

    async fn next(&mut self) {
        let message = tokio::time::timeout(BOUND, self.stream.message()).await.expect("in time");
        let message = message.expect("an open stream").expect("a message");
        if !message.cursor.is_empty() {
            self.cursor = message.cursor;
        }
        match message.message.expect("every message says something") {
            Message::Batch(batch) => {
                self.position = batch.changes.last().map_or(self.position, |last| last.position);
                self.changes.extend(batch.changes);
            }
            Message::Bookmark(bookmark) => self.position = bookmark.position,
            Message::SnapshotEnd(end) => self.position = end.position,
            _ => {}
        }
    }

    /// Reads until everything up to a position was sent.
    async fn reach(&mut self, position: i64) {
        while self.position < position {
            self.next().await;
        }
    }

    fn acknowledgement(&self) -> AcknowledgeRequest {
        AcknowledgeRequest {
            subscription_id: self.id.clone(),
            applied_cursor: self.cursor.clone(),
            receipts: Vec::new(),
        }
    }

    /// Says that all is applied that was read.
    async fn applied(&self, world: &World) -> AcknowledgeResponse {
        acknowledge(world, self.acknowledgement()).await.expect("acknowledged")
    }

    /// The same with a receipt for each change that ended access.
    async fn ended(&self, world: &World, ended_sessions: i32) -> AcknowledgeResponse {
        let receipts = self.changes.iter().filter(|change| revokes(change));
        let receipts =
            receipts.map(|change| receipt(change, ReceiptOutcome::Ended, ended_sessions)).collect();
        acknowledge(world, AcknowledgeRequest { receipts, ..self.acknowledgement() })
            .await
            .expect("acknowledged")
    }
}

fn revokes(change: &Change) -> bool {
    matches!(
        change.reason(),
        ChangeReason::Deactivated
            | ChangeReason::DeactivatedWithOrganization
            | ChangeReason::DeactivatedWithLastWorkspace
            | ChangeReason::Removed
            | ChangeReason::RemovedWithOrganization
    )
}

fn receipt(change: &Change, outcome: ReceiptOutcome, ended_sessions: i32) -> Receipt {
    Receipt {
        position: change.position,
        change_id: change.change_id.clone(),
        outcome: outcome.into(),
        ended_sessions,
        ..Default::default()
    }
}

async fn acknowledge(world: &World, request: AcknowledgeRequest) -> Result<AcknowledgeResponse, Status> {
    world.feed().acknowledge(request).await.map(tonic::Response::into_inner)
}

async fn close(world: &World, id: &str, cursor: &str) {
    let request = CloseSubscriptionRequest {
        subscription_id: id.to_owned(),
        cursor: cursor.to_owned(),
        ..Default::default()
    };
    world.feed().close_subscription(request).await.expect("closed");
}

/// An organization with somebody in its workspace of `chat`.
async fn scene(world: &World) -> (Org, Person) {
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    (org, bob)
}

/// Deactivates somebody. Returns the token.
async fn out(world: &World, org: &Org, person: &Person) -> String {
    world.operator().deactivate(org, person).await.expect("deactivated").token
}

/// How far a write is now.
async fn enforcement(world: &World, token: &str) -> Enforcement {
    let request = GetEnforcementRequest {
        write: Some(get_enforcement_request::Write::Token(token.to_owned())),
        ..Default::default()
    };
    let answer = world.feed().get_enforcement(request).await.expect("a report");
    answer.into_inner().enforcement.expect("the report")
}

fn awaiting(token: &str) -> AwaitEnforcementRequest {
    AwaitEnforcementRequest { token: token.to_owned(), ..Default::default() }
}

/// Waits to the end of a wait.
async fn await_all(world: &World, request: AwaitEnforcementRequest) -> Vec<AwaitEnforcementResponse> {
    let mut stream = world.feed().await_enforcement(request).await.expect("a wait").into_inner();
    let mut all = Vec::new();
    loop {
        let message = tokio::time::timeout(BOUND, stream.message()).await.expect("in time");
        match message.expect("an open stream") {
            Some(message) => all.push(message),
            None => return all,
        }
    }
}

/// Waits until the wait is over.
async fn await_end(world: &World, request: AwaitEnforcementRequest) -> AwaitEnforcementResponse {
    let all = await_all(world, request).await;
    assert!(all.iter().rev().skip(1).all(|message| !message.done), "{all:?}");
    let last = all.into_iter().next_back().expect("a last message");
    assert!(last.done, "{last:?}");
    last
}

/// An app of a report.
fn of<'a>(report: &'a Enforcement, app: &str) -> &'a AppEnforcement {
    report.apps.iter().find(|found| found.app == app).unwrap_or_else(|| panic!("no {app} in {report:?}"))
}

/// Who is late in an app, and how.
fn late(report: &Enforcement, app: &str) -> Vec<(String, InstanceState)> {
    of(report, app).late.iter().map(|late| (late.instance.clone(), late.state())).collect()
}

/// Sets of an app what `UpdateApp` sets.
async fn set(world: &World, app: &str, column: &str, value: &str) {
    let update = format!("UPDATE apps SET {column} = {value} WHERE app = '{app}'");
    world.server().database().batch_execute(&update).await.expect("set");
}

/// The subscriptions that count.
async fn counted(world: &World, app: &str) -> Vec<Subscription> {
    let request = ListSubscriptionsRequest { app: app.to_owned(), ..Default::default() };
    world.feed().list_subscriptions(request).await.expect("a page").into_inner().subscriptions
}

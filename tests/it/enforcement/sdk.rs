//! The live replica of the client crate with the real service: a person is out when the service says so.

use std::time::Duration;

use rollcall_client::{Access, Ended, Outcome, Phase, Replica, ReplicaOptions, Revocation, v1::*};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{BOUND, await_end, awaiting, counted, of, out, scene};
use crate::fixtures::{Person, World};

struct App {
    replica: Replica,
    revocations: mpsc::UnboundedReceiver<Revocation>,
}

impl App {
    async fn start(world: &World, options: ReplicaOptions) -> Self {
        let (sender, revocations) = mpsc::unbounded_channel();
        let client = world.server().channel().unchecked().into();
        let replica = Replica::start(client, options, move |revocation: Revocation| {
            let _ = sender.send(revocation);
            async { Outcome::Ended { sessions: 3, handed_over: 0 } }
        });
        tokio::time::timeout(BOUND, replica.ready()).await.expect("a lease in time");
        Self { replica, revocations }
    }

    fn check(&self, person: &Person, workspace: Uuid) -> Access {
        self.replica.check(id(&person.account), workspace)
    }
}

fn id(text: &str) -> Uuid {
    text.parse().expect("an id")
}

/// The workspace in which a member is.
async fn workspace_of(world: &World, person: &Person) -> Uuid {
    let mut watch = rollcall_client::Watch::new(
        world.server().channel().unchecked(),
        rollcall_client::WatchOptions::new("chat"),
    );
    let mut tables = rollcall_client::Tables::default();
    while !tables.is_ready() {
        tables.apply(&watch.next().await.expect("a stream"));
    }
    let found = tables.workspace_members().find(|membership| membership.member_id == person.member);
    id(&found.expect("a membership").workspace_id)
}

#[tokio::test]
async fn c12_when_a_departure_is_enforced_every_replica_denies_and_its_sessions_are_ended() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let workspace = workspace_of(&world, &bob).await;
    let mut one = App::start(&world, ReplicaOptions::new("chat", "chat-1")).await;
    let two = App::start(&world, ReplicaOptions::new("chat", "chat-2")).await;
    let allowed = one.check(&bob, workspace).allowed().expect("access");
    assert_eq!((allowed.member_id, allowed.organization_id), (id(&bob.member), id(&org.id)));
    let mut guard = two.replica.guard(id(&bob.account), workspace);

    let token = out(&world, &org, &bob).await;
    let request = AwaitEnforcementRequest { until: EnforcementGoal::Ended.into(), ..awaiting(&token) };
    let end = await_end(&world, request).await;
    for app in [&one, &two] {
        assert_eq!(app.check(&bob, workspace), Access::Denied(DenialReason::MemberDeactivated));
    }
    let report = end.enforcement.expect("a report");
    let chat = of(&report, "chat");
    assert_eq!(chat.state(), EnforcementState::Enforced);
    assert_eq!((chat.instances, chat.applied_instances, chat.ended_instances), (2, 2, 2));
    assert!(chat.ended_sessions >= 6, "{chat:?}");
    assert_eq!(guard.ended().await, Ended::Revoked(DenialReason::MemberDeactivated));
    let revocation = one.revocations.recv().await.expect("a call of the handler");
    assert_eq!((revocation.member_id, revocation.account_id), (id(&bob.member), Some(id(&bob.account))));

    // Who ends in good order is waited for by nobody.
    one.replica.shutdown().await;
    two.replica.shutdown().await;
    assert!(counted(&world, "chat").await.is_empty());
}

#[tokio::test]
async fn c6_a_replica_that_restarts_from_its_file_resumes_and_has_missed_nothing() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let workspace = workspace_of(&world, &bob).await;
    let directory = tempfile::tempdir().expect("a directory");
    let options = || ReplicaOptions {
        state_file: Some(directory.path().join("chat.state")),
        ..ReplicaOptions::new("chat", "chat-1")
    };
    let app = App::start(&world, options()).await;
    assert!(app.check(&bob, workspace).is_allowed());
    app.replica.shutdown().await;
    out(&world, &org, &bob).await;

    let mut app = App::start(&world, options()).await;
    let told = tokio::time::timeout(BOUND, app.revocations.recv()).await.expect("in time").expect("a call");
    // As a change of the stream, not by comparing a snapshot.
    assert!(told.change.is_some());
    assert_eq!(app.check(&bob, workspace), Access::Denied(DenialReason::MemberDeactivated));
    assert_eq!(app.replica.status().borrow().resyncs, 0);
    app.replica.shutdown().await;
}

#[tokio::test]
async fn a_replica_whose_subscription_is_closed_by_others_opens_another_and_answers_on() {
    let world = World::start().await;
    let (_, bob) = scene(&world).await;
    let workspace = workspace_of(&world, &bob).await;
    let app = App::start(&world, ReplicaOptions::new("chat", "chat-1")).await;
    let mut status = app.replica.status();
    // Somebody closes its subscription: it opens another one, and nothing of it shows in the answers.
    let before = status.borrow().subscription_id.clone().expect("a subscription");
    let request = CloseSubscriptionRequest { subscription_id: before.clone(), ..Default::default() };
    world.feed().close_subscription(request).await.expect("closed");
    let anew = status.wait_for(|status| status.subscription_id.as_ref().is_some_and(|id| *id != before));
    tokio::time::timeout(BOUND, anew).await.expect("in time").expect("a replica");
    assert!(app.check(&bob, workspace).is_allowed());
    assert_eq!(app.replica.status().borrow().phase, Phase::Live);
    assert!(app.replica.view().age().is_some_and(|age| age < Duration::from_secs(30)));
    // It may have been told under the first one that it needs no lease: it says goodbye to that one too.
    assert_eq!(counted(&world, "chat").await.len(), 2);
    app.replica.shutdown().await;
    assert!(counted(&world, "chat").await.is_empty());
}

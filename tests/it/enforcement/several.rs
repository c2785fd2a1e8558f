//! Writes of several commands: a batch, and what reaches several organizations. None is enforced before all of them are, in
//! the apps that each is about and in no other.

use std::time::Duration;

use rollcall_client::v1::*;
use tokio::time::Instant;

use super::{
    Instance, acknowledge, await_end, awaiting, commands::keep_up, enforcement, late, of, receipt, revokes,
    scene, set,
};
use crate::fixtures::{Org, Person, World, mask};

/// A person who is in chat here and in boards there, while the one instance of chat is cut off and that of boards is not.
struct Reaching {
    world: World,
    org: Org,
    other: Org,
    bob: Person,
    /// The same person in the other organization.
    there: Person,
    cut_off: Instance,
    boards: tokio::task::JoinHandle<()>,
}

impl Reaching {
    async fn start() -> Self {
        let world = World::start().await;
        let (org, bob) = scene(&world).await;
        let other = world.organization("eve").await;
        let there = world.add_account(&other, &bob.account, OrganizationRole::Member).await;
        let board = world.workspace(&other, "boards", "boards").await;
        world.put_in(&other, &board, &there, WorkspaceRole::Member).await;
        let cut_off = Instance::open(&world, "chat", "cut-off").await;
        cut_off.applied(&world).await;
        let boards = keep_up(&world, Instance::open(&world, "boards", "boards-1").await);
        // An app that has nothing to do with it, and of which nothing can be known.
        set(&world, "track", "serve_stale", "true").await;
        Self { world, org, other, bob, there, cut_off, boards }
    }

    /// What is told of a write of both organizations, before chat has applied it, in the call that made it, and after.
    async fn check(mut self, token: &str, in_call: Option<Enforcement>) {
        let wait = AwaitEnforcementRequest {
            timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..awaiting(token)
        };
        let end = await_end(&self.world, wait).await;
        assert!(end.timed_out, "{end:?}");
        for report in in_call.into_iter().chain(end.enforcement) {
            assert_eq!(report.state(), EnforcementState::Pending, "{report:?}");
            let apps: Vec<&str> = report.apps.iter().map(|app| app.app.as_str()).collect();
            assert_eq!(apps, ["boards", "chat"]);
            assert_eq!(late(&report, "chat"), [("cut-off".to_owned(), InstanceState::Pending)]);
            // Two organizations that one person was in are not named together (R46).
            assert!(report.organization_id.is_empty() && report.command_id.is_empty(), "{report:?}");
        }
        self.cut_off.reach(enforcement(&self.world, token).await.position).await;
        self.cut_off.applied(&self.world).await;
        let end = await_end(&self.world, awaiting(token)).await;
        assert!(!end.timed_out);
        let report = end.enforcement.expect("a report");
        assert_eq!(report.state(), EnforcementState::Enforced, "{report:?}");
        assert_eq!(of(&report, "chat").applied_instances + of(&report, "boards").applied_instances, 2);
        self.boards.abort();
    }
}

fn soon() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 1, nanos: 0 })
}

#[tokio::test]
async fn a_deleted_account_is_out_when_it_is_in_every_organization() {
    let scene = Reaching::start().await;
    let message = DeleteAccountRequest {
        confirm: true,
        leave_without_admin: true,
        await_enforcement: soon(),
        ..Default::default()
    };
    let done = scene.world.operator().delete_account_as_asked(&scene.bob.account, message).await;
    let done = done.expect("deleted");
    scene.check(&done.token, Some(done.enforcement.expect("a report"))).await;
}

#[tokio::test]
async fn new_external_ids_are_known_when_they_are_in_every_organization() {
    let scene = Reaching::start().await;
    let id = ExternalId { issuer: "https://login.example.com".to_owned(), subject: "bob-1".to_owned() };
    let request = UpdateAccountRequest {
        account: Some(Account {
            account_id: scene.bob.account.clone(),
            external_ids: vec![id],
            ..Default::default()
        }),
        update_mask: mask(&["external_ids"]),
        ..Default::default()
    };
    let done = scene.world.accounts().update_account(request).await.expect("updated").into_inner();
    scene.check(&done.token, None).await;
}

#[tokio::test]
async fn who_leaves_with_the_account_is_out_when_what_was_left_elsewhere_is_erased() {
    let scene = Reaching::start().await;
    // Removed there, and so nowhere but here; the trace that is left there goes with the account.
    scene.world.operator().remove(&scene.other, &scene.there).await.expect("removed");
    let message = LeaveOrganizationRequest {
        organization_id: scene.org.id.clone(),
        acting_account_id: scene.bob.account.clone(),
        confirm: true,
        departure: Some(DepartureTerms {
            acknowledge_account_deletion: true,
            leave_without_admin: true,
            ..Default::default()
        }),
        await_enforcement: soon(),
        ..Default::default()
    };
    scene.world.operator().allow_leaving(&scene.org, true).await.expect("allowed");
    let done = scene.world.members().leave_organization(message).await.expect("left").into_inner();
    scene.check(&done.token, Some(done.enforcement.expect("a report"))).await;
}

/// Time must really pass here: what the other instances say must not end the wait for the one that says nothing.
#[tokio::test]
async fn a_batch_is_out_when_the_lease_of_the_one_that_is_cut_off_is_over() {
    const TTL: Duration = Duration::from_secs(3);
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let board = world.workspace(&org, "boards", "boards").await;
    let eve = world.member_in(&org, "eve", &[&board]).await;
    set(&world, "chat", "lease_ttl_ms", "3000").await;
    set(&world, "track", "serve_stale", "true").await;
    let cut_off = Instance::open(&world, "chat", "cut-off").await;
    let boards = keep_up(&world, Instance::open(&world, "boards", "boards-1").await);
    let begun = Instant::now();
    cut_off.applied(&world).await;
    let message = BatchDeactivateMembersRequest { await_enforcement: soon(), ..Default::default() };
    // The one of boards is the last in the log.
    let done = world.operator().batch(&org, &[&bob, &eve], message).await.expect("done");
    let told = done.enforcement.expect("a report");
    let by_token = enforcement(&world, &done.token).await;
    for report in [&told, &by_token] {
        assert_eq!((report.state(), report.apps.len()), (EnforcementState::Pending, 2), "{report:?}");
        assert_eq!(report.organization_id, org.id);
        assert_eq!(of(report, "boards").applied_instances, 1);
    }
    assert_eq!(told.command_id, by_token.command_id);
    let end = await_end(&world, awaiting(&done.token)).await;
    assert!(begun.elapsed() >= TTL, "the lease was not over: {:?}", begun.elapsed());
    let report = end.enforcement.expect("a report");
    assert_eq!((report.state(), end.timed_out), (EnforcementState::Enforced, false), "{report:?}");
    assert_eq!(late(&report, "chat"), [("cut-off".to_owned(), InstanceState::Lapsed)]);

    // What was recorded of each command in its own app is told together, when everyone is gone.
    boards.abort();
    let recorded = loop {
        let report = enforcement(&world, &done.token).await;
        if report.apps.iter().all(|app| app.enforce_time.is_some()) {
            break report;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(recorded.state(), EnforcementState::Enforced, "{recorded:?}");
    assert_eq!((of(&recorded, "chat").lapsed_instances, of(&recorded, "boards").applied_instances), (1, 1));
}

#[tokio::test]
async fn a_batch_has_ended_when_there_is_a_receipt_for_each_of_it() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    let done = world.operator().batch(&org, &[&bob, &eve], BatchDeactivateMembersRequest::default()).await;
    let token = done.expect("done").token;
    chat.reach(enforcement(&world, &token).await.position).await;
    let revoked: Vec<Change> = chat.changes.iter().filter(|change| revokes(change)).cloned().collect();
    let of_eve = revoked.iter().filter(|change| change.command_id != revoked[0].command_id);
    let receipts: Vec<Receipt> = of_eve.map(|change| receipt(change, ReceiptOutcome::Ended, 1)).collect();
    assert_eq!((revoked.len(), receipts.len()), (4, 2));
    acknowledge(&world, AcknowledgeRequest { receipts, ..chat.acknowledgement() })
        .await
        .expect("acknowledged");
    let report = enforcement(&world, &token).await;
    assert_eq!(late(&report, "chat"), [("chat-1".to_owned(), InstanceState::Applied)], "bob's are owed");
    assert_eq!(of(&report, "chat").ended_instances, 0);
    chat.ended(&world, 1).await;
    let wait = AwaitEnforcementRequest { until: EnforcementGoal::Ended.into(), ..awaiting(&token) };
    let end = await_end(&world, wait).await;
    let report = end.enforcement.expect("a report");
    assert_eq!((end.timed_out, of(&report, "chat").ended_instances), (false, 1), "{report:?}");
}

/// A repetition does not know any more in which organizations the account was: so it is about every app.
#[tokio::test]
async fn a_repeated_deletion_is_out_when_every_app_is() {
    let scene = Reaching::start().await;
    let message = || DeleteAccountRequest {
        confirm: true,
        leave_without_admin: true,
        request_id: "5f0c6a2e-0f6e-4f0e-9d5e-0a8f8f3f7c11".to_owned(),
        ..Default::default()
    };
    let Reaching { world, bob, mut cut_off, .. } = scene;
    let first = world.operator().delete_account_as_asked(&bob.account, message()).await.expect("deleted");
    let again = world.operator().delete_account_as_asked(&bob.account, message()).await.expect("deleted");
    let report = enforcement(&world, &again.token).await;
    assert_eq!(report.state(), EnforcementState::Pending);
    assert_eq!(late(&report, "chat"), [("cut-off".to_owned(), InstanceState::Pending)]);
    assert_eq!(of(&report, "track").state(), EnforcementState::Unbounded, "any app: {report:?}");
    cut_off.reach(enforcement(&world, &first.token).await.position).await;
    cut_off.applied(&world).await;
    assert_eq!(of(&enforcement(&world, &again.token).await, "chat").state(), EnforcementState::Enforced);
}

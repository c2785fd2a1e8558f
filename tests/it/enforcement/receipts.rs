//! Who owes receipts, and for what: by what each was told, whatever clocks say, and also of who is gone.

use rollcall_client::v1::*;
use tonic::Code;

use super::{
    Instance, acknowledge, await_end, awaiting, counted, enforcement, late, of, out, receipt, revokes, scene,
    set,
};
use crate::fixtures::{World, refused};

/// A wait until all is ended, that ends soon where it does not.
fn ending(token: &str) -> AwaitEnforcementRequest {
    AwaitEnforcementRequest {
        until: EnforcementGoal::Ended.into(),
        timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..awaiting(token)
    }
}

/// The receipts for what ended access among changes.
fn receipts(changes: &[Change]) -> Vec<Receipt> {
    let revoking = changes.iter().filter(|change| revokes(change));
    revoking.map(|change| receipt(change, ReceiptOutcome::Ended, 1)).collect()
}

#[tokio::test]
async fn who_applied_it_and_died_is_named_and_not_waited_for() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    set(&world, "chat", "lease_ttl_ms", "2000").await;
    let mut dead = Instance::open(&world, "chat", "dead").await;
    let token = out(&world, &org, &bob).await;
    dead.reach(enforcement(&world, &token).await.position).await;
    dead.applied(&world).await;
    let wait = AwaitEnforcementRequest { timeout: None, ..ending(&token) };
    let end = await_end(&world, wait).await;
    assert!(!end.timed_out, "it is waited for as long as its lease may last: {end:?}");
    let check = |report: &Enforcement| {
        let chat = of(report, "chat");
        assert_eq!((chat.state(), chat.instances), (EnforcementState::Enforced, 1), "{report:?}");
        assert_eq!((chat.applied_instances, chat.ended_instances, chat.lapsed_instances), (1, 0, 0));
        assert_eq!(late(report, "chat"), [("dead".to_owned(), InstanceState::Lapsed)]);
    };
    check(&end.enforcement.expect("a report"));
    assert!(counted(&world, "chat").await.is_empty(), "it was given up");
    // Also when only the records tell of it.
    let forget = "UPDATE subscriptions SET end_time = end_time - interval '1 day' WHERE end_time IS NOT NULL";
    world.server().database().batch_execute(forget).await.expect("forgotten");
    let report = enforcement(&world, &token).await;
    assert!(of(&report, "chat").enforce_time.is_some(), "{report:?}");
    check(&report);

    // It comes back where it was, and says it after all.
    let again = WatchRequest {
        app: "chat".to_owned(),
        instance: "dead".to_owned(),
        cursor: dead.cursor.clone(),
        ..Default::default()
    };
    let mut stream = world.feed().watch(again).await.expect("a stream").into_inner();
    let mut cursor = String::new();
    let mut id = String::new();
    while cursor.is_empty() {
        let message = stream.message().await.expect("open").expect("a message");
        if let Some(watch_response::Message::Opened(opened)) = message.message {
            id = opened.subscription_id;
        }
        cursor = message.cursor;
    }
    let said =
        AcknowledgeRequest { subscription_id: id, applied_cursor: cursor, receipts: receipts(&dead.changes) };
    acknowledge(&world, said).await.expect("its own receipts");
    let report = enforcement(&world, &token).await;
    assert_eq!(of(&report, "chat").ended_instances, 1, "{report:?}");
    assert!(late(&report, "chat").is_empty(), "{report:?}");
}

#[tokio::test]
async fn who_owes_a_receipt_is_told_by_positions_and_by_no_clock() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    let token = out(&world, &org, &bob).await;
    chat.reach(enforcement(&world, &token).await.position).await;
    chat.applied(&world).await;
    // As it is where the clock was set back after it came.
    let later = "UPDATE subscriptions SET create_time = now() + interval '10 minutes'";
    world.server().database().batch_execute(later).await.expect("set");
    let end = await_end(&world, ending(&token)).await;
    assert!(end.timed_out, "it has said nothing: {end:?}");
    assert_eq!(
        late(&end.enforcement.expect("a report"), "chat"),
        [("chat-1".to_owned(), InstanceState::Applied)]
    );
    // Who came behind it owes nothing, as old as its row may look.
    let newer = Instance::open(&world, "chat", "chat-2").await;
    newer.applied(&world).await;
    let older = "UPDATE subscriptions SET create_time = now() - interval '10 minutes'";
    world.server().database().batch_execute(older).await.expect("set");
    chat.ended(&world, 1).await;
    let end = await_end(&world, ending(&token)).await;
    assert!(!end.timed_out, "{end:?}");
    let report = end.enforcement.expect("a report");
    assert_eq!((of(&report, "chat").ended_instances, late(&report, "chat").len()), (1, 0), "{report:?}");
}

#[tokio::test]
async fn nobody_gives_receipts_for_what_came_before_them() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut told = Instance::open(&world, "chat", "told").await;
    let token = out(&world, &org, &bob).await;
    told.reach(enforcement(&world, &token).await.position).await;
    let receipts = receipts(&told.changes);
    assert_eq!(receipts.len(), 2);
    let newer = Instance::open(&world, "chat", "newer").await;
    let before = AcknowledgeRequest { receipts: receipts.clone(), ..newer.acknowledgement() };
    refused(acknowledge(&world, before).await, Code::FailedPrecondition, "CHANGE_NOT_SENT");
    // Nor does a cursor of somebody else make them its own.
    let taken = WatchRequest {
        app: "chat".to_owned(),
        instance: "third".to_owned(),
        cursor: told.cursor.clone(),
        ..Default::default()
    };
    let mut stream = world.feed().watch(taken).await.expect("a stream").into_inner();
    let (mut id, mut cursor) = (String::new(), String::new());
    while cursor.is_empty() {
        let message = stream.message().await.expect("open").expect("a message");
        if let Some(watch_response::Message::Opened(opened)) = message.message {
            id = opened.subscription_id;
        }
        cursor = message.cursor;
    }
    let others = AcknowledgeRequest { subscription_id: id, applied_cursor: cursor, receipts };
    refused(acknowledge(&world, others).await, Code::FailedPrecondition, "CHANGE_NOT_SENT");
    told.ended(&world, 1).await;
    assert_eq!(of(&enforcement(&world, &token).await, "chat").ended_instances, 1);
}

#[tokio::test]
async fn a_receipt_for_what_ends_no_access_stands_for_none_that_does() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let room = world.workspace(&org, "chat", "room").await;
    world.put_in(&org, &room, &bob, WorkspaceRole::Admin).await;
    let eve = world.member_in(&org, "eve", &[&org.general, &room]).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    // Eve becomes an admin by the same command.
    let terms = DepartureTerms { successor_member_id: eve.member.clone(), ..Default::default() };
    let done = world.operator().deactivate_with(&org, &bob, terms).await.expect("deactivated");
    chat.reach(enforcement(&world, &done.token).await.position).await;
    let (revoking, others): (Vec<Change>, Vec<Change>) = chat.changes.iter().cloned().partition(revokes);
    assert!(!others.is_empty() && revoking.len() == 3, "{:?}", chat.changes);
    let mut said = receipts(&revoking);
    said.pop();
    said.push(receipt(&others[0], ReceiptOutcome::Ended, 0));
    acknowledge(&world, AcknowledgeRequest { receipts: said, ..chat.acknowledgement() })
        .await
        .expect("taken");
    let end = await_end(&world, ending(&done.token)).await;
    assert!(end.timed_out, "one is owed: {end:?}");
    let report = end.enforcement.expect("a report");
    assert_eq!(of(&report, "chat").ended_instances, 0);
    assert_eq!(late(&report, "chat"), [("chat-1".to_owned(), InstanceState::Applied)]);
    chat.ended(&world, 1).await;
    let end = await_end(&world, AwaitEnforcementRequest { timeout: None, ..ending(&done.token) }).await;
    assert_eq!(of(&end.enforcement.expect("a report"), "chat").ended_instances, 1);
}

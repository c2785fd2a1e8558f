//! What is held against an app, and by what it is judged: who was told that it may answer without a lease counts until it is
//! known to have ended, all instances are looked at however few are named, and what the log does not have was not applied.

use rollcall_client::v1::*;
use tonic::Code;

use super::{
    Instance, acknowledge, await_end, awaiting, close, counted, enforcement, of, out, receipt, revokes,
    scene, set,
};
use crate::fixtures::{World, refused};

/// Those that have lapsed, with their subscriptions.
fn lapsed(report: &Enforcement) -> Vec<(String, String)> {
    let late = of(report, "chat").late.iter().filter(|late| late.state() == InstanceState::Lapsed);
    late.map(|late| (late.instance.clone(), late.subscription_id.clone())).collect()
}

/// Says of a process that it has ended.
async fn bury(world: &World, id: &str) {
    let request = CloseSubscriptionRequest {
        subscription_id: id.to_owned(),
        process_has_ended: true,
        ..Default::default()
    };
    world.feed().close_subscription(request).await.expect("closed");
}

#[tokio::test]
async fn c12_neither_time_nor_a_newer_one_of_the_name_proves_that_one_has_ended_that_needs_no_lease() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut people = vec![bob];
    for name in ["cy", "dan", "eve"] {
        people.push(world.member_in(&org, name, &[&org.general]).await);
    }
    set(&world, "chat", "lease_ttl_ms", "2000").await;
    set(&world, "chat", "serve_stale", "true").await;
    let (silent, taken) =
        (Instance::open(&world, "chat", "silent").await, Instance::open(&world, "chat", "taken").await);
    // One that was never granted anything has a state to answer from all the same.
    let never = Instance::open(&world, "chat", "never").await;
    silent.applied(&world).await;
    taken.applied(&world).await;
    set(&world, "chat", "serve_stale", "false").await;
    set(&world, "chat", "lease_ttl_ms", "30000").await;
    let mut well = Vec::new();
    for name in ["taken", "never", "well"] {
        well.push(Instance::open(&world, "chat", name).await);
    }
    // Two are given up; the third is given time to read its snapshot.
    let gone = [&silent.id, &taken.id];
    while counted(&world, "chat").await.iter().any(|one| gone.contains(&&one.subscription_id)) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let long_ago =
        "UPDATE subscriptions SET end_time = end_time - interval '30 days' WHERE end_time IS NOT NULL";
    world.server().database().batch_execute(long_ago).await.expect("long ago");

    let held = |of: &[&Instance]| {
        let names = [("never", &never.id), ("silent", &silent.id), ("taken", &taken.id)];
        let held = names.into_iter().filter(|(_, id)| of.iter().any(|one| one.id == **id));
        held.map(|(name, id)| (name.to_owned(), id.clone())).collect::<Vec<_>>()
    };
    let mut judged = Vec::new();
    for (index, person) in people.iter().enumerate() {
        match index {
            // Somebody else closes one, of which that says nothing; another says goodbye itself.
            1 => {
                close(&world, &taken.id, "").await;
                close(&world, &silent.id, &silent.cursor).await;
            }
            2 => bury(&world, &never.id).await,
            3 => bury(&world, &taken.id).await,
            _ => {}
        }
        let token = out(&world, &org, person).await;
        let position = enforcement(&world, &token).await.position;
        for one in &mut well {
            one.reach(position).await;
            one.ended(&world, 0).await;
        }
        let end = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
        let recorded = enforcement(&world, &token).await;
        assert_eq!((end.state, lapsed(&end)), (recorded.state, lapsed(&recorded)), "{recorded:?}");
        judged.push((end.state(), lapsed(&end)));
    }
    let unbounded = EnforcementState::Unbounded;
    let wanted = [
        (unbounded, held(&[&never, &silent, &taken])),
        (unbounded, held(&[&never, &taken])),
        (unbounded, held(&[&taken])),
        (EnforcementState::Enforced, Vec::new()),
    ];
    assert_eq!(judged, wanted);
}

#[tokio::test]
async fn a_process_that_is_known_to_have_ended_is_not_waited_for() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let (mut stays, dead) =
        (Instance::open(&world, "chat", "stays").await, Instance::open(&world, "chat", "dead").await);
    dead.applied(&world).await;
    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    stays.reach(position).await;
    stays.applied(&world).await;
    close(&world, &dead.id, "").await;
    assert_eq!(enforcement(&world, &token).await.state(), EnforcementState::Pending, "who knows");
    bury(&world, &dead.id).await;
    let end = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    assert_eq!((end.state(), of(&end, "chat").instances), (EnforcementState::Enforced, 1), "{end:?}");
    refused(
        acknowledge(&world, dead.acknowledgement()).await,
        Code::FailedPrecondition,
        "SUBSCRIPTION_CLOSED",
    );
}

#[tokio::test]
async fn all_are_waited_for_however_few_are_named() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut all = Vec::new();
    for number in 0..100 {
        all.push(Instance::open(&world, "chat", &format!("a-{number:03}")).await);
    }
    let mut last = Instance::open(&world, "chat", "z").await;
    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    for one in &mut all {
        one.reach(position).await;
        let failed = one.changes.iter().filter(|change| revokes(change)).map(|change| Receipt {
            detail: "queue_down".to_owned(),
            ..receipt(change, ReceiptOutcome::Failed, 0)
        });
        let request = AcknowledgeRequest { receipts: failed.collect(), ..one.acknowledgement() };
        acknowledge(&world, request).await.expect("acknowledged");
    }
    last.reach(position).await;
    last.applied(&world).await;
    let wait = AwaitEnforcementRequest {
        until: EnforcementGoal::Ended.into(),
        timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..awaiting(&token)
    };
    let end = await_end(&world, wait.clone()).await;
    let late = super::late(end.enforcement.as_ref().expect("a report"), "chat");
    assert!(end.timed_out, "one has not said what it ended: {late:?}");
    assert_eq!((late.len(), &late[0]), (100, &("z".to_owned(), InstanceState::Applied)));
    assert!(
        late[1..].is_sorted() && late[1..].iter().all(|late| late.1 == InstanceState::Failed),
        "{late:?}"
    );
    last.ended(&world, 1).await;
    let end = await_end(&world, AwaitEnforcementRequest { timeout: None, ..wait }).await;
    assert!(!end.timed_out, "it has");
    let recorded = super::late(&enforcement(&world, &token).await, "chat");
    assert!(recorded.iter().all(|late| late.1 == InstanceState::Failed), "{recorded:?}");
}

/// As behind a failover that lost the end of the log, before the replica has noticed: what it knows of the log is of the old
/// primary, and what it stores goes to the new one.
#[tokio::test]
async fn c7_c12_what_the_log_does_not_have_is_not_stored_as_applied() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    chat.applied(&world).await;
    let before = counted(&world, "chat").await;
    let token = out(&world, &org, &bob).await;
    let Enforcement { position, command_id, .. } = enforcement(&world, &token).await;
    chat.reach(position).await;
    let lost =
        "UPDATE changes SET change_id = gen_random_uuid() WHERE position = (SELECT position FROM log_head)";
    world.server().database().batch_execute(lost).await.expect("lost");
    let receipts: Vec<Receipt> =
        chat.changes.iter().take(1).map(|change| receipt(change, ReceiptOutcome::Ended, 1)).collect();
    assert!(receipts[0].position < position, "of a change that both have");
    for receipts in [Vec::new(), receipts] {
        let request = AcknowledgeRequest { receipts, ..chat.acknowledgement() };
        refused(acknowledge(&world, request).await, Code::FailedPrecondition, "CURSOR_FORKED");
    }
    let after = counted(&world, "chat").await;
    assert_eq!((after.len(), after[0].applied_position), (1, before[0].applied_position));
    assert_eq!(after[0].grant_seq, before[0].grant_seq);
    let request = GetEnforcementRequest {
        write: Some(get_enforcement_request::Write::CommandId(command_id)),
        ..Default::default()
    };
    let report = world.feed().get_enforcement(request).await.expect("a report").into_inner().enforcement;
    let report = report.expect("the report");
    assert_eq!((report.state(), of(&report, "chat").applied_instances), (EnforcementState::Pending, 0));
    let receipts = world.server().database().query_one("SELECT count(*) FROM receipts", &[]).await;
    assert_eq!(receipts.expect("a number").get::<_, i64>(0), 0);
}

#[tokio::test]
async fn an_earlier_process_of_its_name_hides_nobody_who_owes_a_receipt() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    set(&world, "chat", "lease_ttl_ms", "2000").await;
    set(&world, "chat", "serve_stale", "true").await;
    let old = Instance::open(&world, "chat", "chat-0").await;
    old.applied(&world).await;
    set(&world, "chat", "serve_stale", "false").await;
    set(&world, "chat", "lease_ttl_ms", "30000").await;
    let mut new = Instance::open(&world, "chat", "chat-0").await;
    let token = out(&world, &org, &bob).await;
    new.reach(enforcement(&world, &token).await.position).await;
    new.applied(&world).await;
    // Judged, and recorded shortly after.
    let judged = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    assert_eq!(judged.state(), EnforcementState::Unbounded);
    let second = prost_types::Duration { seconds: 1, nanos: 0 };
    let request = AwaitEnforcementRequest {
        until: EnforcementGoal::Ended.into(),
        timeout: Some(second),
        ..awaiting(&token)
    };
    let end = await_end(&world, request).await;
    assert!(end.timed_out, "{end:?}");
    let report = end.enforcement.expect("a report");
    let late: Vec<_> =
        of(&report, "chat").late.iter().map(|late| (late.state(), &late.subscription_id)).collect();
    assert_eq!(late, [(InstanceState::Applied, &new.id), (InstanceState::Lapsed, &old.id)]);
}

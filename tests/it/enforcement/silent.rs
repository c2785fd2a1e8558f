//! Who falls silent: counted until its lease must have run out, then told to have lapsed. With the shortest lease, since
//! time must really pass.

use std::time::Duration;

use rollcall_client::v1::*;
use tokio::time::Instant;
use tonic::Code;

use super::{
    Instance, acknowledge, await_end, awaiting, close, counted, enforcement, late, of, out, scene, set,
};
use crate::fixtures::{World, refused};

const TTL: Duration = Duration::from_secs(2);

#[tokio::test]
async fn who_is_silent_lapses_and_has_to_watch_anew() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    set(&world, "chat", "lease_ttl_ms", "2000").await;
    let (frozen, mut well) =
        (Instance::open(&world, "chat", "frozen").await, Instance::open(&world, "chat", "well").await);
    frozen.applied(&world).await;
    well.applied(&world).await;
    let begun = Instant::now();
    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    well.reach(position).await;
    let wait = tokio::spawn({
        let mut feed = world.feed();
        let request = awaiting(&token);
        async move {
            let mut stream = feed.await_enforcement(request).await.expect("a wait").into_inner();
            let mut last = None;
            while let Some(message) = stream.message().await.expect("open") {
                last = Some(message);
            }
            (last.expect("a message"), Instant::now())
        }
    });
    // The one that is well goes on renewing.
    let (end, at) = loop {
        well.applied(&world).await;
        if wait.is_finished() {
            break wait.await.expect("no panic");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(at.duration_since(begun) >= TTL, "before its lease was over: {:?}", at.duration_since(begun));
    let report = end.enforcement.expect("a report");
    assert_eq!(report.state(), EnforcementState::Enforced);
    let chat = of(&report, "chat");
    assert_eq!((chat.instances, chat.applied_instances, chat.lapsed_instances), (2, 1, 1));
    assert!(late(&report, "chat").contains(&("frozen".to_owned(), InstanceState::Lapsed)), "{report:?}");
    // Given up, also in the records.
    while counted(&world, "chat").await.len() > 1 {
        well.applied(&world).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let recorded = loop {
        let report = enforcement(&world, &token).await;
        if of(&report, "chat").enforce_time.is_some() {
            break report;
        }
        tokio::task::yield_now().await;
    };
    assert!(late(&recorded, "chat").contains(&("frozen".to_owned(), InstanceState::Lapsed)), "{recorded:?}");
    refused(
        acknowledge(&world, frozen.acknowledgement()).await,
        Code::FailedPrecondition,
        "SUBSCRIPTION_CLOSED",
    );
    let again = WatchRequest {
        app: "chat".to_owned(),
        instance: "frozen".to_owned(),
        subscription_id: frozen.id.clone(),
        cursor: frozen.cursor.clone(),
        ..Default::default()
    };
    refused(
        world.feed().watch(again.clone()).await.map(|_| ()),
        Code::FailedPrecondition,
        "SUBSCRIPTION_CLOSED",
    );
    let anew = WatchRequest { subscription_id: String::new(), ..again };
    Instance::watch(&world, anew).await.applied(&world).await;
}

#[tokio::test]
async fn who_was_replaced_or_closed_by_others_counts_until_its_lease_is_over() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    set(&world, "chat", "lease_ttl_ms", "2000").await;
    let (replaced, closed) =
        (Instance::open(&world, "chat", "chat-1").await, Instance::open(&world, "chat", "chat-2").await);
    replaced.applied(&world).await;
    closed.applied(&world).await;
    let begun = Instant::now();
    let mut next = Instance::open(&world, "chat", "chat-1").await;
    close(&world, &closed.id, "").await;
    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    next.reach(position).await;
    next.applied(&world).await;
    let report = enforcement(&world, &token).await;
    assert_eq!(of(&report, "chat").state(), EnforcementState::Pending, "they may still answer");
    let pending: Vec<_> =
        late(&report, "chat").into_iter().filter(|late| late.1 == InstanceState::Pending).collect();
    assert_eq!(
        pending,
        [("chat-1".to_owned(), InstanceState::Pending), ("chat-2".to_owned(), InstanceState::Pending)]
    );
    let end = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    assert!(begun.elapsed() >= TTL, "{:?}", begun.elapsed());
    assert_eq!(end.state(), EnforcementState::Enforced);
    assert_eq!(of(&end, "chat").lapsed_instances, 2);
}

#[tokio::test]
async fn a_process_that_says_that_it_has_stopped_is_not_waited_for() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let (mut stays, leaves) =
        (Instance::open(&world, "chat", "chat-1").await, Instance::open(&world, "chat", "chat-2").await);
    leaves.applied(&world).await;
    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    stays.reach(position).await;
    stays.applied(&world).await;
    assert_eq!(enforcement(&world, &token).await.state(), EnforcementState::Pending);
    close(&world, &leaves.id, &leaves.cursor).await;
    let end = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    assert_eq!(end.state(), EnforcementState::Enforced);
    assert_eq!((of(&end, "chat").instances, of(&end, "chat").lapsed_instances), (1, 0));
}

#[tokio::test]
async fn who_registers_afterwards_changes_no_verdict() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut first = Instance::open(&world, "chat", "chat-1").await;
    let old = first.cursor.clone();
    let token = out(&world, &org, &bob).await;
    first.reach(enforcement(&world, &token).await.position).await;
    first.applied(&world).await;
    await_end(&world, awaiting(&token)).await;
    // It resumes from before the departure, and says that this is how far it is: that gives it nothing.
    let request = WatchRequest {
        app: "chat".to_owned(),
        instance: "chat-2".to_owned(),
        cursor: old,
        ..Default::default()
    };
    let mut late = world.feed().watch(request).await.expect("a stream").into_inner();
    let (mut subscription, mut cursors) = (String::new(), Vec::new());
    while cursors.is_empty() {
        let message = late.message().await.expect("open").expect("a message");
        if let Some(watch_response::Message::Opened(opened)) = message.message {
            subscription = opened.subscription_id;
        } else if !message.cursor.is_empty() {
            cursors.push(message.cursor);
        }
    }
    let request = AcknowledgeRequest {
        subscription_id: subscription,
        applied_cursor: cursors.remove(0),
        receipts: Vec::new(),
    };
    let answer = acknowledge(&world, request).await.expect("acknowledged");
    assert!(answer.lease_duration.is_some(), "it has the departure by now: {answer:?}");
}

#[tokio::test]
async fn c12_who_was_told_to_answer_without_a_lease_is_not_waited_out_when_the_app_changes() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    set(&world, "chat", "lease_ttl_ms", "2000").await;
    let (early, mut well) =
        (Instance::open(&world, "chat", "early").await, Instance::open(&world, "chat", "well").await);
    set(&world, "chat", "serve_stale", "true").await;
    // One is told when it opens, one when it comes back.
    let late_one = Instance::open(&world, "chat", "late").await;
    let back = WatchRequest {
        app: "chat".to_owned(),
        instance: "early".to_owned(),
        subscription_id: early.id.clone(),
        cursor: early.cursor.clone(),
        ..Default::default()
    };
    let early = Instance::watch(&world, back).await;
    assert!(late_one.opened.serve_stale && early.opened.serve_stale);
    set(&world, "chat", "serve_stale", "false").await;
    early.applied(&world).await;
    late_one.applied(&world).await;

    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    well.reach(position).await;
    let silent = ["early".to_owned(), "late".to_owned()].map(|name| (name, InstanceState::Lapsed));
    let judged = |report: &Enforcement| {
        assert_eq!(report.state(), EnforcementState::Unbounded, "{report:?}");
        let lapsed = late(report, "chat").into_iter().filter(|late| late.1 == InstanceState::Lapsed);
        assert_eq!(lapsed.collect::<Vec<_>>(), silent);
    };
    let mut wait = Box::pin(await_end(&world, awaiting(&token)));
    let end = loop {
        tokio::select! {
            end = &mut wait => break end,
            () = tokio::time::sleep(Duration::from_millis(100)) => { well.applied(&world).await; }
        }
    };
    judged(&end.enforcement.expect("a report"));
    // Also once they are given up, in the records, and for what comes after.
    while counted(&world, "chat").await.len() > 1 {
        well.applied(&world).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let token = out(&world, &org, &eve).await;
    let position = enforcement(&world, &token).await.position;
    well.reach(position).await;
    well.applied(&world).await;
    let end = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    assert_eq!(end.state(), EnforcementState::Unbounded);
    assert_eq!(of(&end, "chat").bound, None);
}

//! Until when the replica answers.

use std::sync::atomic::Ordering;

use rollcall_client::{
    Ended, Phase,
    v1::{AcknowledgeRequest, Opened},
};
use tonic::{Code, Status};

use super::{script::*, *};

#[tokio::test(start_paused = true)]
async fn t12_checks_and_guards_are_stale_at_the_end_of_the_lease_and_live_again_after_the_next() {
    let (stage, mut stream) = Stage::live().await;
    stage.script.on_acknowledge(|_| Err(Status::unavailable("no mark can be made")));
    let mut guard = stage.replica.guard(account_id(1), workspace_id());
    stage.clock.advance(TTL - Duration::from_millis(20));
    assert!(stage.check(1).is_allowed());
    stage.clock.advance(Duration::from_millis(20));
    assert_eq!(stage.check(1), Access::Stale);
    assert!(stage.replica.view().is_stale());
    assert!(stage.replica.view().age().unwrap() >= TTL);
    // Who takes that knowingly gets an answer all the same.
    assert!(stage.replica.view().check_however_old(account_id(1), workspace_id()).is_allowed());
    assert_eq!(guard.ended().await, Ended::Stale);
    assert_eq!(stage.replica.status().borrow().phase, Phase::Stale);
    let mut late = stage.replica.guard(account_id(1), workspace_id());
    assert_eq!(late.ended().await, Ended::Stale);
    // What comes meanwhile is applied.
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.replica.passed(11).await;
    assert_eq!(stage.check(1), Access::Stale);
    stage.script.on_acknowledge(|_| Ok(granted(TTL)));
    stage.replica.ready().await;
    assert_eq!(stage.denied(1), Some(DenialReason::MemberDeactivated));
}

#[tokio::test(start_paused = true)]
async fn c14_a_stale_answer_is_given_to_who_takes_it_and_only_so_old() {
    let mut stage = Stage::begin(|_| {});
    let hour = Duration::from_secs(3600);
    let within =
        |stage: &Stage, staleness| stage.replica.check_within(account_id(1), workspace_id(), staleness);
    let nothing = Answer { access: Access::Stale, position: 0, stale: false };
    assert_eq!(within(&stage, hour), nothing, "before the first state");
    let mut stream = stage.fill("s1").await;
    stage.replica.ready().await;
    // With a lease the answer is no stale one, also to who takes none.
    let answer = within(&stage, Duration::ZERO);
    assert!(answer.access.is_allowed() && !answer.stale && answer.position == 10, "{answer:?}");
    stage.script.on_acknowledge(|_| Err(Status::unavailable("no mark can be made")));
    let view = stage.replica.view();
    let digest = view.digest();
    stage.clock.advance(TTL + Duration::from_secs(5));
    // A view stands where it was taken.
    assert!(!view.check_within(account_id(1), workspace_id(), Duration::ZERO).stale);
    drop(view);
    let answer = within(&stage, TTL + Duration::from_secs(6));
    assert!(answer.access.is_allowed() && answer.stale && answer.position == 10, "{answer:?}");
    let refused = Answer { access: Access::Stale, position: 10, stale: false };
    assert_eq!(within(&stage, TTL + Duration::from_secs(4)), refused);
    assert_eq!(within(&stage, Duration::ZERO), refused);
    // What came meanwhile is in the stale answer too.
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.replica.passed(11).await;
    let answer = within(&stage, hour);
    assert_eq!(answer.access, Access::Denied(DenialReason::MemberDeactivated));
    assert!(answer.stale && answer.position == 11);
    assert_ne!(stage.replica.view().digest(), digest);
    stage.replica.shutdown().await;
    assert_eq!(within(&stage, hour).access, Access::Stale);
}

#[tokio::test(start_paused = true)]
async fn t18_a_lease_ends_by_either_clock() {
    for wall in [true, false] {
        let (stage, _stream) = Stage::live().await;
        stage.script.on_acknowledge(|_| Err(Status::unavailable("")));
        if wall {
            stage.clock.advance_wall(TTL)
        } else {
            stage.clock.advance_boot(TTL)
        }
        assert_eq!(stage.check(1), Access::Stale);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_acknowledged_at_once_and_a_bookmark_with_the_next_renewal() {
    let (stage, mut stream) = Stage::live().await;
    let begun = tokio::time::Instant::now();
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.script.acknowledged("out", &[&change_id(11)]).await;
    assert!(begun.elapsed() < Duration::from_millis(100));
    let count = stage.script.acknowledged.borrow().len();
    for position in 12..17 {
        stream.bookmark(&format!("quiet {position}"), position).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stage.script.acknowledged.borrow().len(), count);
    stage.script.acknowledged("quiet 16", &[]).await;
    let waited = begun.elapsed();
    assert!(waited > TTL / 8 && waited < TTL / 4, "{waited:?}");
}

/// Receipts that a busy service does not take cost nobody the lease, and come when `take` has it take them again.
async fn held_receipts(stage: Stage, mut stream: Stream, take: impl FnOnce(&Script)) {
    stream.batch("out", vec![deactivation(11, 1)]).await;
    let begun = tokio::time::Instant::now();
    let mut calls = stage.script.acknowledged.subscribe();
    let alone = |call: &AcknowledgeRequest| call.applied_cursor == "out" && call.receipts.is_empty();
    calls.wait_for(|calls| calls.iter().any(alone)).await.expect("a service");
    // Less than one call may take and a little: a lease of two seconds would have lasted.
    assert!(begun.elapsed() < TTL / 6 + Duration::from_millis(500), "{:?}", begun.elapsed());
    for _ in 0..5 {
        let count = calls.borrow_and_update().iter().filter(|call| alone(call)).count();
        stage.clock.advance(TTL / 3);
        calls
            .wait_for(|calls| calls.iter().filter(|call| alone(call)).count() > count)
            .await
            .expect("a service");
        assert!(stage.check(2).is_allowed());
    }
    assert!(stage.replica.status().borrow().trouble.is_some(), "it is told that something is not taken");
    // Nor is it a storm: each cursor alone is followed by one try at most.
    assert!(calls.borrow().len() < 60, "{} calls", calls.borrow().len());
    take(&stage.script);
    stage.script.acknowledged("out", &[&change_id(11)]).await;
    stage.replica.status().wait_for(|status| status.trouble.is_none()).await.expect("a replica");
    assert!(stage.replica.status().borrow().lease_remaining.is_some());
}

#[tokio::test(start_paused = true)]
async fn c12_receipts_that_are_refused_cost_no_lease_and_come_later() {
    for code in [Code::ResourceExhausted, Code::Unavailable, Code::DeadlineExceeded] {
        let (stage, stream) = Stage::live().await;
        stage.script.on_acknowledge(move |call| match call.receipts.as_slice() {
            [] => Ok(granted(TTL)),
            _ => Err(Status::new(code, "busy")),
        });
        // Those that were refused were not taken.
        held_receipts(stage, stream, |script| {
            script.acknowledged.send_modify(Vec::clear);
            script.on_acknowledge(|_| Ok(granted(TTL)));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn c12_receipts_that_nobody_answers_cost_no_lease_and_come_later() {
    let (stage, stream) = Stage::live().await;
    stage.script.receipts_hang.store(true, Ordering::SeqCst);
    held_receipts(stage, stream, |script| script.receipts_hang.store(false, Ordering::SeqCst)).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_from_before_its_call() {
    let (stage, mut stream) = Stage::live().await;
    let clock = stage.clock.clone();
    // The service takes all of the lease to answer.
    stage.script.on_acknowledge(move |_| {
        clock.advance(TTL);
        Ok(granted(TTL))
    });
    stream.batch("later", vec![deactivation(11, 2)]).await;
    stage.script.acknowledged("later", &[]).await;
    stage.until(1, |access| access == Access::Stale).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_while_nothing_happens() {
    let (stage, _stream) = Stage::live().await;
    let before = stage.script.acknowledged.borrow().len();
    let mut calls = stage.script.acknowledged.subscribe();
    for _ in 0..10 {
        let count = calls.borrow_and_update().len();
        stage.clock.advance(TTL / 3);
        calls.wait_for(|calls| calls.len() > count).await.unwrap();
    }
    stage.replica.ready().await;
    assert!(stage.check(1).is_allowed());
    assert!(stage.script.acknowledged.borrow().len() >= before + 10);
}

#[tokio::test(start_paused = true)]
async fn without_a_state_nothing_is_answered_also_where_the_app_serves_stale() {
    let mut stage = Stage::begin(|_| {});
    assert_eq!(stage.check(1), Access::Stale);
    let mut stream = Stream::next(&mut stage.streams).await;
    let opened = Opened {
        subscription_id: "s1".into(),
        snapshot_follows: true,
        serve_stale: true,
        lease_ttl: TTL.try_into().ok(),
        ..Opened::default()
    };
    stream.open_with(opened).await;
    stream.page(people(1)).await;
    stage.replica.status().wait_for(|status| status.serve_stale).await.unwrap();
    assert_eq!(stage.check(1), Access::Stale);
    assert_eq!(stage.replica.view().check_however_old(account_id(1), workspace_id()), Access::Stale);
    stage.script.on_acknowledge(|_| Err(Status::unavailable("")));
    stream.end("filled", 10, 10).await;
    // No lease, but the app is registered so that it answers.
    stage.until(1, |access| access.is_allowed()).await;
    assert!(stage.replica.status().borrow().lease_remaining.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_was_given_up_is_opened_anew_and_resumes() {
    let (mut stage, mut stream) = Stage::live().await;
    let ended = refusal(Code::FailedPrecondition, "SUBSCRIPTION_CLOSED");
    stage.script.on_acknowledge(move |call| match call.subscription_id.as_str() {
        "s1" => Err(ended.clone()),
        _ => Ok(granted(TTL)),
    });
    stream.batch("next", vec![deactivation(11, 2)]).await;
    let mut again = Stream::next(&mut stage.streams).await;
    assert_eq!((again.request.subscription_id.as_str(), again.request.cursor.as_str()), ("", "next"));
    stream.hung_up().await;
    again.open("s2", false).await;
    again.bookmark("resumed", 12).await;
    stage.script.acknowledged("resumed", &[]).await;
    let calls = stage.script.acknowledged.borrow().clone();
    assert!(calls.iter().all(|call| (call.subscription_id == "s2") == (call.applied_cursor == "resumed")));
}

/// It is over: what is left of the lease may be used, and it watches no more.
async fn is_replaced(mut stage: Stage) {
    let mut status = stage.replica.status();
    let replaced = status.wait_for(|status| status.phase == Phase::Replaced);
    assert!(tokio::time::timeout(LONG, replaced).await.is_ok(), "it goes on");
    assert!(stage.check(1).is_allowed());
    stage.clock.advance(TTL);
    stage.until(1, |access| access == Access::Stale).await;
    assert!(tokio::time::timeout(LONG, stage.streams.recv()).await.is_err(), "it came back");
    let status = stage.replica.status().borrow().clone();
    assert_eq!((status.phase, status.is_answering()), (Phase::Replaced, false));
    stage.replica.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_replaced_follows_no_more_and_stays_stale() {
    let (stage, stream) = Stage::live().await;
    stream.fail(refusal(Code::Aborted, "SUBSCRIPTION_REPLACED")).await;
    is_replaced(stage).await;
}

/// Two that fight for a name would cut each other off: whoever hears of it first by another way must stop as well.
#[tokio::test(start_paused = true)]
async fn who_hears_of_its_replacement_when_it_comes_back_stops_as_well() {
    let (mut stage, stream) = Stage::live().await;
    stream.fail(Status::unavailable("cut")).await;
    let again = Stream::next(&mut stage.streams).await;
    assert_eq!(again.request.subscription_id, "s1");
    again.fail(refusal(Code::FailedPrecondition, "SUBSCRIPTION_REPLACED")).await;
    is_replaced(stage).await;
}

#[tokio::test(start_paused = true)]
async fn who_hears_of_its_replacement_by_an_acknowledgement_stops_as_well() {
    let (stage, mut stream) = Stage::live().await;
    let replaced = refusal(Code::FailedPrecondition, "SUBSCRIPTION_REPLACED");
    stage.script.on_acknowledge(move |_| Err(replaced.clone()));
    stream.batch("next", vec![deactivation(11, 2)]).await;
    is_replaced(stage).await;
    stream.hung_up().await;
}

/// What it was told of a subscription that it has left behind says nothing of the one that it has now.
#[tokio::test(start_paused = true)]
async fn a_late_answer_about_an_older_subscription_stops_nobody() {
    let (mut stage, stream) = Stage::live().await;
    let replaced = refusal(Code::FailedPrecondition, "SUBSCRIPTION_REPLACED");
    stream.fail(refusal(Code::Aborted, "SUBSCRIPTION_CLOSED")).await;
    let mut again = Stream::next(&mut stage.streams).await;
    assert_eq!(again.request.subscription_id, "");
    stage.script.on_acknowledge(move |call| match call.subscription_id.as_str() {
        "s1" => Err(replaced.clone()),
        _ => Ok(granted(TTL)),
    });
    again.open("s2", false).await;
    again.batch("next", vec![deactivation(11, 2)]).await;
    stage.script.acknowledged("next", &[]).await;
    again.bookmark("later", 12).await;
    stage.replica.passed(12).await;
    assert_eq!(stage.replica.status().borrow().phase, Phase::Live);
}

/// It will never hear of anything again: answering from what it has, however old, would answer so for ever.
#[tokio::test(start_paused = true)]
async fn who_is_replaced_answers_no_more_after_its_lease_also_where_the_app_serves_stale_answers() {
    let mut stage = Stage::begin(|_| {});
    let mut stream = Stream::next(&mut stage.streams).await;
    stream
        .open_with(Opened {
            store_id: "store".into(),
            subscription_id: "s1".into(),
            snapshot_follows: true,
            lease_ttl: TTL.try_into().ok(),
            serve_stale: true,
            ..Opened::default()
        })
        .await;
    stream.page(people(2)).await;
    stream.end("filled", 10, 10).await;
    stage.replica.ready().await;
    stream.fail(refusal(Code::Aborted, "SUBSCRIPTION_REPLACED")).await;
    is_replaced(stage).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_nothing_is_answered_and_the_service_knows() {
    let (stage, _stream) = Stage::live().await;
    stage.replica.shutdown().await;
    assert_eq!(stage.check(1), Access::Stale);
    assert_eq!(stage.replica.view().check_however_old(account_id(1), workspace_id()), Access::Stale);
    assert_eq!(stage.replica.status().borrow().phase, Phase::Stopped);
    let closed = stage.script.closed.borrow().clone();
    assert_eq!(
        (closed.len(), closed[0].subscription_id.as_str(), closed[0].cursor.as_str()),
        (1, "s1", "filled")
    );
    // Again is nothing.
    stage.replica.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_replica_ends_by_itself() {
    let (stage, mut stream) = Stage::live().await;
    let Stage { replica, .. } = stage;
    let clone = replica.clone();
    drop(replica);
    stream.bookmark("later", 11).await;
    clone.passed(11).await;
    drop(clone);
    stream.hung_up().await;
}

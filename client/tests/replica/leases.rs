//! Until when the replica answers.

use rollcall_client::{Ended, Phase, v1::Opened};
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

#[tokio::test(start_paused = true)]
async fn who_is_replaced_follows_no_more_and_stays_stale() {
    let (mut stage, stream) = Stage::live().await;
    stream.fail(refusal(Code::Aborted, "SUBSCRIPTION_REPLACED")).await;
    stage.replica.status().wait_for(|status| status.phase == Phase::Replaced).await.unwrap();
    // What is left of the lease may be used.
    assert!(stage.check(1).is_allowed());
    stage.clock.advance(TTL);
    assert_eq!(stage.check(1), Access::Stale);
    assert!(tokio::time::timeout(LONG, stage.streams.recv()).await.is_err(), "it came back");
    stage.replica.shutdown().await;
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

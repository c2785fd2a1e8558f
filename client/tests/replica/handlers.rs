//! The app's handler: once for each change, again where it failed, never in the way.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rollcall_client::v1::*;
use tokio::sync::Semaphore;

use super::{script::*, *};

/// A stage whose handler does what `act` says, and the number of its calls.
async fn stage<F, R>(options: impl FnOnce(&mut ReplicaOptions), act: F) -> (Stage, Stream)
where
    F: Fn(Revocation) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send,
{
    let (_, revocations) = mpsc::unbounded_channel();
    let mut stage = Stage::with(options, act, revocations);
    let stream = stage.fill("s1").await;
    stage.replica.ready().await;
    (stage, stream)
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_delays_its_own_receipt_and_nothing_else() {
    let gate = Arc::new(Semaphore::new(0));
    let opens = Arc::clone(&gate);
    let set = |options: &mut ReplicaOptions| options.handler_timeout = 100 * LONG;
    let (stage, mut stream) = stage(set, move |revocation| {
        let gate = Arc::clone(&gate);
        async move {
            if revocation.member_id == member_id(1) {
                let _permit = gate.acquire().await;
            }
            Outcome::Ended { sessions: 1, handed_over: 0 }
        }
    })
    .await;
    stream.batch("first", vec![deactivation(11, 1)]).await;
    stream.batch("second", vec![deactivation(12, 2)]).await;
    let receipts = stage.script.acknowledged("second", &[&change_id(12)]).await;
    assert!(receipts.iter().all(|receipt| receipt.position == 12));
    // Leases go on.
    let mut calls = stage.script.acknowledged.subscribe();
    let count = calls.borrow().len();
    calls.wait_for(|calls| calls.len() > count + 3).await.unwrap();
    opens.add_permits(1);
    stage.script.acknowledged("second", &[&change_id(11)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_tried_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let (stage, mut stream) = stage(
        |_| {},
        move |_| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match call {
                    0 => Outcome::Failed("sessions-unreachable".into()),
                    1 => Outcome::Failed("Not A Word that the service takes".into()),
                    2 => panic!("a defect of the app"),
                    _ => Outcome::Ended { sessions: 3, handed_over: 0 },
                }
            }
        },
    )
    .await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    let mut told = stage.script.acknowledged.subscribe();
    told.wait_for(|calls| {
        calls.iter().flat_map(|call| &call.receipts).any(|receipt| receipt.outcome() == ReceiptOutcome::Ended)
    })
    .await
    .unwrap();
    let receipts: Vec<_> = told.borrow().iter().flat_map(|call| call.receipts.clone()).collect();
    let details: Vec<_> = receipts.iter().map(|receipt| receipt.detail.as_str()).collect();
    assert_eq!(details, ["sessions-unreachable", "failed", "panicked", ""]);
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn attempts_and_their_time_have_a_bound() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let set = |options: &mut ReplicaOptions| options.handler_attempts = 2;
    let (stage, mut stream) = stage(set, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    })
    .await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    let receipts = stage.script.acknowledged("out", &[&change_id(11)]).await;
    assert_eq!((receipts[0].outcome(), receipts[0].detail.as_str()), (ReceiptOutcome::Failed, "timeout"));
    tokio::time::sleep(LONG).await;
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn c2_a_change_that_comes_again_is_handled_once() {
    let (mut stage, mut stream) = Stage::live().await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.revocations.recv().await.unwrap();
    stream.fail(tonic::Status::unavailable("cut")).await;
    let mut again = Stream::next(&mut stage.streams).await;
    again.open("s1", false).await;
    again.batch("again", vec![deactivation(11, 1), deactivation(12, 2)]).await;
    assert_eq!(stage.revocations.recv().await.unwrap().member_id, member_id(2));
    stage.script.acknowledged("again", &[&change_id(11), &change_id(12)]).await;
    assert!(stage.revocations.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn only_so_many_calls_run_at_once() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(0)));
    let (now, seen) = (Arc::clone(&running), Arc::clone(&most));
    let set = |options: &mut ReplicaOptions| options.handler_concurrency = 3;
    let (stage, mut stream) = stage(set, move |_| {
        let (now, seen) = (Arc::clone(&now), Arc::clone(&seen));
        async move {
            let count = now.fetch_add(1, Ordering::SeqCst) + 1;
            {
                let mut seen = seen.lock().unwrap();
                *seen = count.max(*seen);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Outcome::Ended { sessions: 0, handed_over: 0 }
        }
    })
    .await;
    let changes: Vec<_> = (11..31).map(|position| deactivation(position, position as u128)).collect();
    let ids: Vec<_> = (11..31).map(change_id).collect();
    stream.batch("out", changes).await;
    stage.script.acknowledged("out", &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(*most.lock().unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_is_not_taken_costs_no_lease() {
    let (stage, mut stream) = Stage::live().await;
    let refused = refusal(tonic::Code::FailedPrecondition, "CHANGE_NOT_SENT");
    stage.script.on_acknowledge(move |call| {
        if call.receipts.is_empty() { Ok(granted(TTL)) } else { Err(refused.clone()) }
    });
    stream.batch("out", vec![deactivation(11, 1)]).await;
    let mut calls = stage.script.acknowledged.subscribe();
    calls.wait_for(|calls| calls.iter().any(|call| !call.receipts.is_empty())).await.unwrap();
    calls.wait_for(|calls| calls.last().is_some_and(|call| call.receipts.is_empty())).await.unwrap();
    stage.replica.ready().await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_revoke_nothing_are_not_handled() {
    let (mut stage, mut stream) = Stage::live().await;
    let active = |version| member(1, MemberState::Active, version);
    let deactivated = |version| member(2, MemberState::Deactivated, version);
    stream
        .batch(
            "quiet",
            vec![
                change(11, ChangeReason::RoleChanged, active(2)),
                change(12, ChangeReason::LeavingSet, active(3)),
                change(13, ChangeReason::ReturnChanged, deactivated(2)),
                change(14, ChangeReason::ProfileChanged, deactivated(3)),
            ],
        )
        .await;
    stream.batch("loud", vec![change(15, ChangeReason::Removed, member(1, MemberState::Removed, 4))]).await;
    assert_eq!(stage.revocations.recv().await.unwrap().reason, ChangeReason::Removed);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_handlers_and_hands_in_their_receipts() {
    let begun = Arc::new(Semaphore::new(0));
    let begins = Arc::clone(&begun);
    let (stage, mut stream) = stage(
        |_| {},
        move |_| {
            begins.add_permits(1);
            async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Outcome::Ended { sessions: 1, handed_over: 0 }
            }
        },
    )
    .await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    let _permit = begun.acquire().await.unwrap();
    stage.replica.shutdown().await;
    let last = stage.script.acknowledged.borrow().last().cloned().unwrap();
    assert_eq!(
        (last.applied_cursor.as_str(), last.receipts[0].change_id.as_str()),
        ("out", change_id(11).as_str())
    );
    assert_eq!(stage.script.closed.borrow().len(), 1);
}

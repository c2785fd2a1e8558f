//! Filling anew beside what answers: forks, lost revocations, digests.

use rollcall_client::{Access, Ended, v1::*};
use tonic::Code;

use super::{script::*, *};

fn forked(subscription_id: &str) -> Opened {
    Opened {
        store_id: "store".into(),
        subscription_id: subscription_id.into(),
        snapshot_follows: true,
        cursor_refusal: ErrorReason::CursorForked.into(),
        lease_ttl: TTL.try_into().ok(),
        ..Opened::default()
    }
}

#[tokio::test(start_paused = true)]
async fn c5_the_old_state_answers_until_the_new_one_is_complete() {
    let (mut stage, stream) = Stage::live().await;
    stream.fail(refusal(Code::FailedPrecondition, "CURSOR_COMPACTED")).await;
    let mut again = Stream::next(&mut stage.streams).await;
    assert!(again.request.snapshot_if_refused && again.request.cursor == "filled");
    let mut opened = forked("s1");
    opened.cursor_refusal = ErrorReason::CursorCompacted.into();
    again.open_with(opened).await;
    again.page(vec![organization(), workspace(), member(1, MemberState::Active, 1)]).await;
    again
        .page(vec![membership(1, WorkspaceMemberState::Active, 1), member(2, MemberState::Removed, 5)])
        .await;
    again.end("anew", 20, 22).await;
    again
        .batch("almost", vec![change(21, ChangeReason::ScopeEntered, member(3, MemberState::Active, 1))])
        .await;
    let calls = stage.script.acknowledged.borrow().len();
    assert!(stage.check(2).is_allowed());
    again.bookmark("ready", 22).await;
    stage.until(2, |access| !access.is_allowed()).await;
    assert!(stage.check(1).is_allowed());
    assert_eq!(stage.replica.view().position(), 22);
    // Nobody told the change: it was found by comparing, and no receipt is asked for.
    let missed = stage.revocations.recv().await.unwrap();
    assert_eq!((missed.member_id, missed.workspace_id, missed.change), (member_id(2), None, None));
    assert_eq!((missed.account_id, missed.erased), (Some(account_id(2)), false));
    let and_its_membership = stage.revocations.recv().await.unwrap();
    assert_eq!(and_its_membership.workspace_id, Some(workspace_id()));
    stage.script.acknowledged("ready", &[]).await;
    // Before the new state answered, nothing of it was acknowledged.
    let cursors: Vec<_> =
        stage.script.acknowledged.borrow()[calls..].iter().map(|call| call.applied_cursor.clone()).collect();
    assert!(cursors.iter().all(|cursor| cursor == "ready"), "{cursors:?}");
    assert_eq!(stage.replica.status().borrow().resyncs, 1);
}

#[tokio::test(start_paused = true)]
async fn c5_what_happens_while_a_snapshot_is_received_is_told_once_it_answers() {
    let mut stage = Stage::begin(|_| {});
    let mut stream = Stream::next(&mut stage.streams).await;
    stream.open("s1", true).await;
    stream.page(people(2)).await;
    stream.end("filled", 10, 11).await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.replica.ready().await;
    assert_eq!(stage.denied(1), Some(DenialReason::MemberDeactivated));
    assert_eq!(stage.revocations.recv().await.unwrap().member_id, member_id(1));
    stage.script.acknowledged("out", &[&change_id(11)]).await;
}

#[tokio::test(start_paused = true)]
async fn c5_who_is_out_while_another_snapshot_is_received_is_denied_at_once() {
    let (mut stage, stream) = Stage::live().await;
    let mut guard = stage.replica.guard(account_id(1), workspace_id());
    stream.fail(refusal(Code::FailedPrecondition, "CURSOR_COMPACTED")).await;
    let mut again = Stream::next(&mut stage.streams).await;
    let refused = ErrorReason::CursorCompacted.into();
    again.open_with(Opened { cursor_refusal: refused, ..forked("s1") }).await;
    again.page(people(2)).await;
    again.end("anew", 10, 20).await;
    again.batch("out", vec![deactivation(11, 1)]).await;
    // Long before the new state answers.
    stage.until(1, |access| access == Access::Denied(DenialReason::MemberDeactivated)).await;
    assert_eq!(guard.ended().await, Ended::Revoked(DenialReason::MemberDeactivated));
    assert!(stage.check(2).is_allowed());
    let back = change(12, ChangeReason::Reactivated, member(1, MemberState::Active, 3));
    again.batch("back", vec![back]).await;
    again.bookmark("ready", 20).await;
    // That it was denied there, and is allowed here, is no loss.
    stage.until(1, |access| access.is_allowed()).await;
    assert_eq!(stage.revocations.recv().await.unwrap().member_id, member_id(1));
    assert_eq!(stage.replica.status().borrow().lost_revocations, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_while_a_snapshot_is_received_says_goodbye_too() {
    let (mut stage, stream) = Stage::live().await;
    stream.fail(refusal(Code::FailedPrecondition, "CURSOR_COMPACTED")).await;
    let mut again = Stream::next(&mut stage.streams).await;
    again.open_with(forked("s1")).await;
    again.page(people(2)).await;
    again.end("anew", 10, 20).await;
    again.batch("out", vec![deactivation(11, 1)]).await;
    // Time stands still until all that was sent is read.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let calls = stage.script.acknowledged.borrow().len();
    stage.replica.shutdown().await;
    let closed = stage.script.closed.borrow().clone();
    assert_eq!(
        closed.iter().map(|call| (call.subscription_id.as_str(), call.cursor.as_str())).collect::<Vec<_>>(),
        [("s1", "out")]
    );
    assert_eq!(stage.script.acknowledged.borrow().len(), calls, "nothing of it is what checks see");
}

#[tokio::test(start_paused = true)]
async fn c7_a_revocation_that_the_log_lost_goes_on_denying_until_it_is_decided() {
    let (mut stage, mut stream) = Stage::live().await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.until(1, |access| !access.is_allowed()).await;
    stream.fail(refusal(Code::FailedPrecondition, "CURSOR_FORKED")).await;
    // The log ends before it, and goes on without it.
    let mut again = Stream::next(&mut stage.streams).await;
    again.open_with(forked("s1")).await;
    again.page(people(2)).await;
    again.end("other", 10, 10).await;
    stage.until(1, |access| access == Access::Denied(DenialReason::RevocationLost)).await;
    assert!(stage.check(2).is_allowed());
    let mut guard = stage.replica.guard(account_id(1), workspace_id());
    assert_eq!(guard.ended().await, Ended::Revoked(DenialReason::RevocationLost));
    let mut reports = stage.script.reported.subscribe();
    let report = reports.wait_for(|calls| !calls.is_empty()).await.unwrap()[0].clone();
    assert_eq!(report.subscription_id, "s1");
    assert_eq!(report.revocations[0].change_id, change_id(11));
    assert_eq!(report.revocations[0].member_id, member_id(1).to_string());
    assert_eq!(report.revocations[0].reason(), ChangeReason::Deactivated);
    // Nobody has decided: it is asked again, and denied on.
    reports.wait_for(|calls| calls.len() == 3).await.unwrap();
    assert_eq!(stage.denied(1), Some(DenialReason::RevocationLost));
    stage.script.on_report(|call| call.revocations.iter().map(|lost| lost.change_id.clone()).collect());
    stage.until(1, |access| access.is_allowed()).await;
    let count = stage.script.reported.borrow().len();
    assert!(tokio::time::timeout(LONG, reports.wait_for(|calls| calls.len() > count)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn access_that_was_given_back_in_the_same_history_is_not_taken_for_a_loss() {
    let (mut stage, mut stream) = Stage::live().await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.until(1, |access| !access.is_allowed()).await;
    stream.fail(refusal(Code::FailedPrecondition, "CURSOR_COMPACTED")).await;
    let mut again = Stream::next(&mut stage.streams).await;
    let mut opened = forked("s1");
    opened.cursor_refusal = ErrorReason::CursorCompacted.into();
    again.open_with(opened).await;
    again.page(people(2)).await;
    again.page(vec![member(1, MemberState::Active, 3)]).await;
    again.end("anew", 20, 20).await;
    stage.until(1, |access| access.is_allowed()).await;
}

/// Refilled after a digest that differed: the cursor goes along, and behind it is another history, which has the access at a
/// version that the old one would have given it too.
#[tokio::test(start_paused = true)]
async fn c7_a_fork_behind_a_refill_is_told_and_re_admits_nobody_at_whichever_version() {
    let (mut stage, mut stream) = Stage::live().await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.until(1, |access| !access.is_allowed()).await;
    stream.digest("differs", 12, vec![7; 16]).await;
    // Cut before it is whole, it asks for the same again.
    let mut cut = Stream::next(&mut stage.streams).await;
    cut.open_with(forked("s1")).await;
    cut.page(people(2)).await;
    cut.fail(tonic::Status::unavailable("SHUTTING_DOWN")).await;
    let mut again = Stream::next(&mut stage.streams).await;
    assert!(again.request.snapshot_anyway && again.request.cursor == "differs", "{:?}", again.request);
    again.open_with(forked("s1")).await;
    again.page(people(2)).await;
    again.page(vec![member(1, MemberState::Active, 9)]).await;
    again.end("other", 20, 20).await;
    stage.until(1, |access| access == Access::Denied(DenialReason::RevocationLost)).await;
    assert!(stage.check(2).is_allowed());
    let mut reports = stage.script.reported.subscribe();
    let report = reports.wait_for(|calls| !calls.is_empty()).await.unwrap()[0].clone();
    assert_eq!(report.revocations[0].change_id, change_id(11));
    // What follows is an ordinary stream again.
    again.fail(tonic::Status::unavailable("SHUTTING_DOWN")).await;
    let resumed = Stream::next(&mut stage.streams).await;
    assert!(!resumed.request.snapshot_anyway && resumed.request.cursor == "other", "{:?}", resumed.request);
}

/// The one that was told has not taken the place of what was held yet when its cursor is too old as well.
#[tokio::test(start_paused = true)]
async fn c7_a_fork_is_one_until_its_snapshot_answers() {
    let (mut stage, mut stream) = Stage::live().await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.until(1, |access| !access.is_allowed()).await;
    stream.fail(refusal(Code::FailedPrecondition, "CURSOR_FORKED")).await;
    let mut first = Stream::next(&mut stage.streams).await;
    first.open_with(forked("s1")).await;
    first.page(people(2)).await;
    first.end("whole", 20, 30).await;
    first.fail(refusal(Code::FailedPrecondition, "CURSOR_COMPACTED")).await;
    let mut again = Stream::next(&mut stage.streams).await;
    assert_eq!(again.request.cursor, "whole");
    let mut opened = forked("s1");
    opened.cursor_refusal = ErrorReason::CursorCompacted.into();
    again.open_with(opened).await;
    again.page(people(2)).await;
    again.page(vec![member(1, MemberState::Active, 9)]).await;
    again.end("anew", 40, 40).await;
    stage.until(1, |access| access == Access::Denied(DenialReason::RevocationLost)).await;
}

/// What is lost while a report is not due yet is reported all the same at once.
#[tokio::test(start_paused = true)]
async fn c7_what_a_second_fork_has_lost_does_not_wait_for_the_next_report() {
    let (mut stage, mut stream) = Stage::live().await;
    let mut reports = stage.script.reported.subscribe();
    for (position, number, cursor) in [(11, 1, "one"), (21, 2, "two")] {
        stream.batch(cursor, vec![deactivation(position, number)]).await;
        stage.until(number, |access| !access.is_allowed()).await;
        stream.fail(refusal(Code::FailedPrecondition, "CURSOR_FORKED")).await;
        let mut again = Stream::next(&mut stage.streams).await;
        again.open_with(forked("s1")).await;
        again.page(people(2)).await;
        again.end("other", position, position).await;
        let (change, begun) = (change_id(position), tokio::time::Instant::now());
        let is_named = |calls: &Vec<ReportLostRevocationsRequest>| {
            calls.iter().any(|call| call.revocations.iter().any(|lost| lost.change_id == change))
        };
        reports.wait_for(is_named).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        stream = again;
    }
}

/// The service judges the cursor that goes along. One that cannot is found out by the name of its store.
#[tokio::test(start_paused = true)]
async fn c6_a_refill_from_another_store_is_not_taken_and_never_heals() {
    let (mut stage, mut stream) = Stage::live().await;
    stream.digest("differs", 11, vec![7; 16]).await;
    let another = || Opened { store_id: "another".into(), ..forked("s9") };
    for refused_by_the_service in [false, true, false] {
        let mut again = Stream::next(&mut stage.streams).await;
        assert!(again.request.snapshot_anyway && again.request.cursor == "differs", "{:?}", again.request);
        if refused_by_the_service {
            again.fail(refusal(Code::FailedPrecondition, "CURSOR_WRONG_STORE")).await;
        } else {
            again.open_with(another()).await;
            again.page(people(1)).await;
            again.end("another", 99, 99).await;
            again.hung_up().await;
        }
        let mut status = stage.replica.status();
        let is_said = |status: &rollcall_client::ReplicaStatus| {
            status.trouble.as_deref().is_some_and(|trouble| trouble.contains("another store"))
        };
        status.wait_for(is_said).await.unwrap();
        assert!(stage.check(2).is_allowed() && stage.replica.view().position() == 11);
    }
    assert!(stage.script.acknowledged.borrow().iter().all(|call| call.applied_cursor != "another"));
    // Its own is taken again.
    let mut own = Stream::next(&mut stage.streams).await;
    own.open("s1", true).await;
    own.page(people(1)).await;
    own.end("anew", 12, 12).await;
    stage.until(2, |access| !access.is_allowed()).await;
    assert_eq!(stage.replica.status().borrow().trouble, None);
}

/// Of a cursor that could not be compared nobody knows whether the history is another one.
#[tokio::test(start_paused = true)]
async fn c7_a_history_that_nobody_knew_to_be_another_re_admits_nobody() {
    let (mut stage, mut stream) = Stage::live().await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.until(1, |access| !access.is_allowed()).await;
    stream.digest("differs", 12, vec![7; 16]).await;
    let mut again = Stream::next(&mut stage.streams).await;
    let mut opened = forked("s1");
    opened.cursor_refusal = ErrorReason::CursorCompacted.into();
    again.open_with(opened).await;
    again.page(people(2)).await;
    again.end("other", 10, 10).await;
    stage.until(1, |access| access == Access::Denied(DenialReason::RevocationLost)).await;
    assert!(stage.check(2).is_allowed());
}

#[tokio::test(start_paused = true)]
async fn c16_a_state_that_differs_from_the_services_is_filled_anew_once() {
    let (mut stage, mut stream) = Stage::live().await;
    stream.digest("compared", 11, vec![7; 16]).await;
    let mut again = Stream::next(&mut stage.streams).await;
    let WatchRequest { cursor, subscription_id, snapshot_anyway, .. } = &again.request;
    assert_eq!((cursor.as_str(), subscription_id.as_str(), *snapshot_anyway), ("compared", "s1", true));
    again.open("s1", true).await;
    again.page(people(1)).await;
    again.end("anew", 11, 11).await;
    stage.until(2, |access| !access.is_allowed()).await;
    assert_eq!(stage.replica.status().borrow().resyncs, 1);
    // A refill that does not mend it is not tried again at once.
    again.digest("again", 12, vec![7; 16]).await;
    stage.replica.passed(12).await;
    assert!(tokio::time::timeout(Duration::from_millis(1), stage.streams.recv()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn c16_a_digest_of_an_earlier_position_says_nothing() {
    let (mut stage, mut stream) = Stage::live().await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    // Of position 10, before the last change.
    stream.old_digest("late", 12, 10, vec![7; 16]).await;
    stage.replica.passed(12).await;
    assert!(tokio::time::timeout(Duration::from_millis(1), stage.streams.recv()).await.is_err());
}

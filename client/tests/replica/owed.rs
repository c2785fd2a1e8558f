//! What is owed for a revocation outlives the process: the handler's return, and the receipt. What a process that is killed
//! leaves is the file as it is, here a copy of it while the replica goes on.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use rollcall_client::v1::*;
use tokio::sync::Semaphore;

use super::{script::*, *};

/// What is revoked with all that a handler can be told.
fn departure() -> Change {
    Change {
        handover_to_member_id: member_id(2).to_string(),
        record_time: Some("2026-11-22T09:00:00Z".parse().expect("a time")),
        assignments: Assignments::Clear.into(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        ..change(11, ChangeReason::Removed, member(1, MemberState::Removed, 2))
    }
}

fn at(path: &Path) -> impl FnOnce(&mut ReplicaOptions) {
    let path = path.to_owned();
    move |options| {
        options.state_file = Some(path);
        options.handler_timeout = 100 * LONG;
    }
}

/// A live replica whose handler says when it is called, and returns only where `gate` lets it.
async fn held(path: &Path, gate: &Arc<Semaphore>) -> (Stage, Stream) {
    let (sender, revocations) = mpsc::unbounded_channel();
    let gate = Arc::clone(gate);
    let handler = move |revocation: Revocation| {
        let (gate, sender) = (Arc::clone(&gate), sender.clone());
        async move {
            let _ = sender.send(revocation);
            gate.acquire().await.expect("a permit").forget();
            Outcome::Ended { sessions: 3, handed_over: 4 }
        }
    };
    let mut stage = Stage::with(at(path), handler, revocations);
    let stream = stage.fill("s1").await;
    stage.replica.ready().await;
    (stage, stream)
}

/// A restart with this file, which resumes at `cursor`, up to its first own cursor.
async fn restarted(path: &Path, cursor: &str) -> (Stage, Stream) {
    let mut stage = Stage::begin(at(path));
    let mut stream = Stream::next(&mut stage.streams).await;
    assert_eq!((stream.request.cursor.as_str(), stream.request.subscription_id.as_str()), (cursor, ""));
    stream.open("s2", false).await;
    stream.bookmark("resumed", 20).await;
    (stage, stream)
}

async fn called(stage: &mut Stage) -> Revocation {
    let called = tokio::time::timeout(LONG, stage.revocations.recv()).await;
    called.expect("the handler is called").expect("a revocation")
}

async fn receipts(stage: &Stage, change_ids: &[&str]) -> Vec<Receipt> {
    let told = tokio::time::timeout(LONG, stage.script.acknowledged("resumed", change_ids)).await;
    told.expect("the receipts come")
}

fn files() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, copy) = (directory.path().join("chat.state"), directory.path().join("killed.state"));
    (directory, path, copy)
}

#[tokio::test(start_paused = true)]
async fn c12_what_a_killed_process_had_not_ended_is_ended_by_the_next() {
    let (_directory, path, copy) = files();
    let gate = Arc::new(Semaphore::new(0));
    let (mut stage, mut stream) = held(&path, &gate).await;
    stream.batch("out", vec![departure()]).await;
    let told = called(&mut stage).await;
    // It is written beside, on a thread: time stands still meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    fs::copy(&path, &copy).expect("it was written at once");

    let (mut next, _stream) = restarted(&copy, "out").await;
    let again = called(&mut next).await;
    // The trace is not in the file: it was over long before.
    assert!(told.traceparent.is_some());
    assert_eq!(again, Revocation { traceparent: None, ..told });
    assert_eq!(again.handover_to_member_id, Some(member_id(2)));
    assert_eq!(again.change.unwrap().change_id, parsed(&change_id(11)));
    let receipts = receipts(&next, &[&change_id(11)]).await;
    assert!(receipts.iter().all(|receipt| receipt.position == 11 && receipt.ended_sessions == 2));
    // Once it is taken nothing is owed: a third process calls nobody.
    tokio::time::sleep(Duration::from_secs(2)).await;
    fs::copy(&copy, &path).unwrap();
    let (mut third, mut stream) = restarted(&path, "resumed").await;
    stream.batch("later", vec![deactivation(21, 2)]).await;
    assert_eq!(called(&mut third).await.member_id, member_id(2));
}

#[tokio::test(start_paused = true)]
async fn c12_what_a_shutdown_does_not_wait_for_is_ended_by_the_next_process() {
    let (_directory, path, _) = files();
    let gate = Arc::new(Semaphore::new(0));
    let (mut stage, mut stream) = held(&path, &gate).await;
    stream.batch("out", vec![departure(), deactivation(12, 2)]).await;
    called(&mut stage).await;
    called(&mut stage).await;
    // One of the two returns within the grace.
    gate.add_permits(1);
    let told = stage.script.acknowledged("out", &[]);
    tokio::time::timeout(LONG, told).await.unwrap();
    stage.replica.shutdown().await;
    let handed_in: Vec<_> =
        stage.script.acknowledged.borrow().iter().flat_map(|call| call.receipts.clone()).collect();
    assert_eq!(handed_in.len(), 1, "{handed_in:?}");
    let ended = handed_in[0].change_id.clone();

    let (mut next, _stream) = restarted(&path, "out").await;
    let again = called(&mut next).await;
    assert_ne!(again.change.unwrap().change_id.to_string(), ended);
    receipts(&next, &[&again.change.unwrap().change_id.to_string()]).await;
    assert!(next.revocations.try_recv().is_err(), "what was ended and told is not owed");
}

#[tokio::test(start_paused = true)]
async fn c12_a_receipt_that_nobody_took_is_sent_by_the_next_process_as_it_was() {
    let (_directory, path, _) = files();
    let (mut stage, mut stream) = Stage::live_with(at(&path)).await;
    stage.script.receipts_hang.store(true, Ordering::SeqCst);
    stream.batch("out", vec![departure()]).await;
    called(&mut stage).await;
    stage.replica.shutdown().await;

    // Its handler would say something else; it is not asked.
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let (_, none) = mpsc::unbounded_channel();
    let handler = move |_: Revocation| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Outcome::Ended { sessions: 0, handed_over: 0 } }
    };
    let mut next = Stage::with(at(&path), handler, none);
    let mut stream = Stream::next(&mut next.streams).await;
    stream.open("s2", false).await;
    stream.bookmark("resumed", 20).await;
    let receipts = receipts(&next, &[&change_id(11)]).await;
    assert_eq!((receipts[0].ended_sessions, receipts[0].handed_over), (2, 1));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

/// As where another name was given, or a snapshot was needed: who does not count as the successor gives no receipts for what
/// went before, and ends it all the same.
#[tokio::test(start_paused = true)]
async fn receipts_of_an_earlier_process_that_are_refused_cost_this_one_none_of_its_own() {
    let (_directory, path, copy) = files();
    let gate = Arc::new(Semaphore::new(0));
    let (mut stage, mut stream) = held(&path, &gate).await;
    stream.batch("out", vec![departure()]).await;
    called(&mut stage).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fs::copy(&path, &copy).unwrap();

    let mut next = Stage::begin(at(&copy));
    let (earlier, own) = (change_id(11), change_id(12));
    next.script.on_acknowledge(move |call| {
        let place = |id: &str| call.receipts.iter().position(|receipt| receipt.change_id == id);
        match (place(&earlier), place(&own)) {
            // Until both come in one call.
            (Some(_), None) => Err(tonic::Status::unavailable("later")),
            (Some(place), Some(_)) => Err(refused_receipt(place)),
            (None, _) => Ok(granted(TTL)),
        }
    });
    let mut stream = Stream::next(&mut next.streams).await;
    called(&mut next).await;
    stream.open("s2", false).await;
    stream.batch("resumed", vec![deactivation(12, 2)]).await;
    called(&mut next).await;
    let mut calls = next.script.acknowledged.subscribe();
    let own = |call: &AcknowledgeRequest| {
        call.receipts.iter().map(|receipt| receipt.position).collect::<Vec<_>>() == [12]
    };
    let waiting = calls.wait_for(|calls| calls.iter().any(own));
    assert!(tokio::time::timeout(LONG, waiting).await.is_ok(), "its own receipt is taken");
}

fn refused_receipt(place: usize) -> tonic::Status {
    use tonic_types::{ErrorDetails, StatusExt as _};
    let metadata = [("field".to_owned(), format!("receipts[{place}]"))];
    let details = ErrorDetails::with_error_info("CHANGE_NOT_SENT", "rollcall.v1", metadata);
    tonic::Status::with_error_details(tonic::Code::FailedPrecondition, "not sent", details)
}

/// Whom a dropped fill revoked is denied in the state that answers too, so no comparison finds them.
#[tokio::test(start_paused = true)]
async fn c5_a_snapshot_that_is_dropped_for_another_one_takes_no_revocation_with_it() {
    let (mut stage, stream) = Stage::live().await;
    stream.fail(refusal(tonic::Code::FailedPrecondition, "CURSOR_COMPACTED")).await;
    let refused = |subscription_id: &str| Opened {
        store_id: "store".into(),
        subscription_id: subscription_id.into(),
        snapshot_follows: true,
        cursor_refusal: ErrorReason::CursorCompacted.into(),
        lease_ttl: TTL.try_into().ok(),
        ..Opened::default()
    };
    let mut again = Stream::next(&mut stage.streams).await;
    again.open_with(refused("s1")).await;
    again.page(people(2)).await;
    again.end("anew", 10, 20).await;
    again.batch("out", vec![departure()]).await;
    stage.until(1, |access| !access.is_allowed()).await;
    again.fail(refusal(tonic::Code::FailedPrecondition, "CURSOR_COMPACTED")).await;
    let mut third = Stream::next(&mut stage.streams).await;
    third.open_with(refused("s1")).await;
    let out = vec![member(1, MemberState::Removed, 2), membership(1, WorkspaceMemberState::Active, 1)];
    let rest = [organization(), workspace(), member(2, MemberState::Active, 1)];
    third.page(rest.into_iter().chain(out).collect()).await;
    third.end("resumed", 30, 30).await;
    let told = called(&mut stage).await;
    assert_eq!(told.change.unwrap().change_id, parsed(&change_id(11)));
    assert_eq!(told.handover_to_member_id, Some(member_id(2)));
    receipts(&stage, &[&change_id(11)]).await;
}

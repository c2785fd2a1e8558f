//! The state file, and what a restart makes of it.

use std::{fs, path::Path};

use rollcall_client::{Access, v1::*};
use tonic::Code;

use super::{script::*, *};

fn at(path: &Path) -> impl FnOnce(&mut ReplicaOptions) {
    let path = path.to_owned();
    move |options| options.state_file = Some(path)
}

/// A file of a replica that was shut down at cursor `out`, after person 1 was deactivated.
async fn written(path: &Path) {
    let (stage, mut stream) = Stage::live_with(at(path)).await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.replica.passed(11).await;
    stage.replica.shutdown().await;
}

/// A stream of another history than that of the file.
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
async fn c6_a_restart_resumes_from_its_file_without_lease_and_subscription() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.state");
    written(&path).await;
    let mut stage = Stage::begin(at(&path));
    let mut stream = Stream::next(&mut stage.streams).await;
    assert_eq!((stream.request.cursor.as_str(), stream.request.subscription_id.as_str()), ("out", ""));
    assert_eq!(stage.check(2), Access::Stale);
    stream.open("s2", false).await;
    stream.bookmark("resumed", 12).await;
    stage.replica.ready().await;
    assert!(stage.check(2).is_allowed());
    assert_eq!(stage.denied(1), Some(DenialReason::MemberDeactivated));
    assert!(
        stage
            .replica
            .check(rollcall_client::Person::External { issuer: ISSUER, subject: "person-2" }, workspace_id())
            .is_allowed()
    );
    // It is the same state: its digest is the one of what was sent.
    stream.batch("in", vec![change(13, ChangeReason::Reactivated, member(1, MemberState::Active, 3))]).await;
    stage.until(1, |access| access.is_allowed()).await;
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.state");
    written(&path).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn c7_a_restart_does_not_forget_what_was_revoked_lately() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.state");
    written(&path).await;
    let mut stage = Stage::begin(at(&path));
    let mut stream = Stream::next(&mut stage.streams).await;
    stream.open_with(forked("s2")).await;
    stream.page(people(2)).await;
    stream.end("other", 10, 10).await;
    stage.until(1, |access| access == Access::Denied(DenialReason::RevocationLost)).await;
    // Nor what is lost.
    stage.replica.shutdown().await;
    let mut stage = Stage::begin(at(&path));
    let mut stream = Stream::next(&mut stage.streams).await;
    stream.open("s3", false).await;
    stream.bookmark("resumed", 12).await;
    stage.until(2, |access| access.is_allowed()).await;
    assert_eq!(stage.denied(1), Some(DenialReason::RevocationLost));
    // Which is reported at once, so that the operator hears of it and it of the operator.
    let (mut reports, begun) = (stage.script.reported.subscribe(), tokio::time::Instant::now());
    reports.wait_for(|calls| !calls.is_empty()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// What a process that is killed leaves is the file as it is: here a copy of it, while the replica goes on.
#[tokio::test(start_paused = true)]
async fn c7_a_kill_forgets_no_revocation_of_more_than_a_second_ago() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("chat.state"), directory.path().join("killed.state"));
    let (mut stage, mut stream) = Stage::live_with(at(&path)).await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.replica.passed(11).await;
    // It is written beside, on a thread: time stands still meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    fs::copy(&path, &copy).expect("it was written at once");
    // Killed before it hears of the fork.
    let mut killed = Stage::begin(at(&copy));
    let mut resumed = Stream::next(&mut killed.streams).await;
    assert_eq!(resumed.request.cursor, "out");
    resumed.open_with(forked("s2")).await;
    resumed.page(people(2)).await;
    resumed.end("other", 10, 10).await;
    killed.until(1, |access| access == Access::Denied(DenialReason::RevocationLost)).await;
    killed.replica.shutdown().await;
    // Killed after it.
    stream.fail(tonic::Status::unavailable("SHUTTING_DOWN")).await;
    let mut again = Stream::next(&mut stage.streams).await;
    again.open_with(forked("s1")).await;
    again.page(people(2)).await;
    again.end("other", 10, 10).await;
    stage.until(1, |access| access == Access::Denied(DenialReason::RevocationLost)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fs::copy(&path, &copy).expect("it was written again");
    let mut killed = Stage::begin(at(&copy));
    let mut resumed = Stream::next(&mut killed.streams).await;
    assert_eq!(resumed.request.cursor, "other");
    resumed.open("s3", false).await;
    resumed.bookmark("resumed", 12).await;
    killed.until(2, |access| access.is_allowed()).await;
    assert_eq!(killed.denied(1), Some(DenialReason::RevocationLost));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_does_not_fit_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.state");
    written(&path).await;
    let whole = fs::read(&path).unwrap();
    let other_app = |options: &mut ReplicaOptions| options.app = "boards".into();
    let other_filter =
        |options: &mut ReplicaOptions| options.organization_ids = vec![organization_id().to_string()];
    for other in [&other_app as &dyn Fn(&mut ReplicaOptions), &other_filter] {
        let mut stage = Stage::begin(|options| {
            at(&path)(options);
            other(options);
        });
        assert_eq!(Stream::next(&mut stage.streams).await.request.cursor, "");
    }
    let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"rollcal1".to_vec(), whole[..whole.len() - 1].to_vec()];
    for index in (0..whole.len()).step_by(whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[index] ^= 0x10;
        damaged.push(flipped);
    }
    for content in damaged {
        fs::write(&path, &content).unwrap();
        let mut stage = Stage::begin(at(&path));
        assert_eq!(Stream::next(&mut stage.streams).await.request.cursor, "");
        assert_eq!(stage.replica.view().position(), 0);
    }
}

/// It goes on with its own store when it is pointed back at it, and never with a snapshot of the other one.
async fn waits_for_its_own(mut stage: Stage, path: &Path, cursor: &str, denied: u128) {
    let names_the_file = |status: &rollcall_client::ReplicaStatus| {
        let trouble = status.trouble.as_deref().unwrap_or_default();
        trouble.contains("another store") && trouble.contains(&path.display().to_string())
    };
    let mut status = stage.replica.status();
    // What it answers with keeps the status from changing: let go at once.
    let named = tokio::time::timeout(LONG, status.wait_for(names_the_file)).await.is_ok();
    assert!(named, "it says nothing of the file");
    let mut again = Stream::next(&mut stage.streams).await;
    assert_eq!((again.request.cursor.as_str(), again.request.snapshot_anyway), (cursor, false));
    again.open("s9", false).await;
    again.bookmark("back", 30).await;
    stage.until(2, |access| access.is_allowed()).await;
    assert_eq!(stage.denied(denied), Some(DenialReason::MemberDeactivated));
}

#[tokio::test(start_paused = true)]
async fn c6_a_restart_before_another_store_heals_nothing_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.state");
    written(&path).await;
    let mut stage = Stage::begin(at(&path));
    for _ in 0..3 {
        let stream = Stream::next(&mut stage.streams).await;
        assert_eq!((stream.request.cursor.as_str(), stream.request.snapshot_anyway), ("out", false));
        stream.fail(refusal(Code::FailedPrecondition, "CURSOR_WRONG_STORE")).await;
    }
    assert_eq!((stage.check(1), stage.check(2)), (Access::Stale, Access::Stale));
    waits_for_its_own(stage, &path, "out", 1).await;
}

/// Also where the service could not tell whose cursor it is.
#[tokio::test(start_paused = true)]
async fn c6_nor_does_one_before_a_store_with_another_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.state");
    written(&path).await;
    let mut stage = Stage::begin(at(&path));
    for snapshot_follows in [false, true] {
        let mut stream = Stream::next(&mut stage.streams).await;
        assert_eq!(stream.request.cursor, "out");
        let opened = Opened {
            store_id: "another".into(),
            subscription_id: "s2".into(),
            snapshot_follows,
            lease_ttl: TTL.try_into().ok(),
            ..Opened::default()
        };
        stream.open_with(opened).await;
        // Whoever hung up already takes no page.
        stream.hung_up().await;
    }
    assert_eq!((stage.check(1), stage.check(2)), (Access::Stale, Access::Stale));
    waits_for_its_own(stage, &path, "out", 1).await;
}

#[tokio::test(start_paused = true)]
async fn c6_a_running_replica_waits_for_its_own_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.state");
    let (stage, mut stream) = Stage::live_with(at(&path)).await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.replica.passed(11).await;
    stream.fail(refusal(Code::FailedPrecondition, "CURSOR_WRONG_STORE")).await;
    waits_for_its_own(stage, &path, "out", 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_connected_is_tried_until_it_can() {
    let (mut stage, stream) = Stage::live().await;
    stage.script.away.store(true, std::sync::atomic::Ordering::SeqCst);
    stream.fail(tonic::Status::unavailable("SHUTTING_DOWN")).await;
    stage.replica.status().wait_for(|status| status.trouble.is_some()).await.unwrap();
    stage.script.away.store(false, std::sync::atomic::Ordering::SeqCst);
    let mut again = Stream::next(&mut stage.streams).await;
    assert_eq!((again.request.cursor.as_str(), again.request.subscription_id.as_str()), ("filled", "s1"));
    again.open("s1", false).await;
    again.bookmark("back", 12).await;
    stage.replica.passed(12).await;
}

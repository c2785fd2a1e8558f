//! T32: a replica is told to end while streams are open, some of which nobody reads, and a call cannot end. It ends
//! within its grace, and whoever reads is told and goes on elsewhere without a gap.

use std::time::Duration;

use rollcall_client::v1::{WatchRequest, WatchResponse, watch_response::Message};
use rustix::process::Signal;
use tokio::time::Instant;
use tonic::{Code, Streaming};

use super::{
    scene::{Scene, soon, stream, to_snapshot_end, until, versions},
    size,
};
use crate::{fixtures::refused, support::Replica};

const GRACE: Duration = Duration::from_secs(3);
/// What a busy machine may need besides.
const SLACK: Duration = Duration::from_secs(5);

/// Reads until the service says that it ends. Gives the versions that were told, and the last cursor.
async fn to_its_end(
    mut stream: Streaming<WatchResponse>,
    mut cursor: String,
    organization: String,
) -> (Vec<i64>, String) {
    let mut told = Vec::new();
    loop {
        match stream.message().await {
            Ok(message) => {
                let message = message.expect("no end without a word");
                told.extend(versions(&message, &organization));
                if !message.cursor.is_empty() {
                    cursor = message.cursor;
                }
            }
            Err(end) => {
                refused::<()>(Err(end), Code::Unavailable, "SHUTTING_DOWN");
                return (told, cursor);
            }
        }
    }
}

/// Whether each version after the first was told, once and in order, to the last.
fn is_whole(told: &[i64], first: i64, last: i64) -> bool {
    told.iter().copied().take_while(|version| *version <= last).eq(first + 1..=last)
}

/// What was told is not whole any more when one version is missing, told twice, or in the place of another.
fn finds_each_fault(told: &[i64], first: i64, last: i64) {
    let middle = told.len() / 2;
    let breaks: [fn(&mut Vec<i64>, usize); 3] = [
        |told, here| {
            told.remove(here);
        },
        |told, here| told.insert(here, told[here]),
        |told, here| told.swap(here - 1, here),
    ];
    for break_it in breaks {
        let mut broken = told.to_vec();
        break_it(&mut broken, middle);
        assert!(!is_whole(&broken, first, last), "a gap at {middle} is not found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t32_a_replica_ends_within_its_grace_whoever_ignores_it() {
    let mut scene = Scene::start(&["--drain-seconds", "3"]).await;
    let other = Replica::start(&scene.database.url, &["--log", "warn"]).await;
    let request = || WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let (mut ignoring, mut reading) = (Vec::new(), Vec::new());
    for _ in 0..size(5, 100) {
        ignoring.push(stream(scene.replica.client().channel().into(), request()).await);
        let mut read = stream(scene.replica.client().channel().into(), request()).await;
        let (cursor, _) = to_snapshot_end(&mut read).await;
        reading.push(tokio::spawn(to_its_end(read, cursor, scene.small.organization.clone())));
    }
    let first = scene.small.get().await.expect("the organization").version;
    let last = scene.flood(size(2_000, 100_000)).await;
    // A call that waits for what the test holds.
    let holds = scene.database.another().await;
    holds.client.batch_execute("BEGIN; SELECT * FROM organizations FOR UPDATE").await.expect("held");
    let mut pen = scene.pen();
    let call = tokio::spawn(async move { pen.rename().await });
    until("the call", async || {
        let query = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        scene.database.client.query_one(query, &[]).await.expect("a count").get::<_, i64>(0) > 0
    })
    .await;

    let begun = Instant::now();
    scene.replica.signal(Signal::TERM);
    let status = soon("the end of the replica", scene.replica.end()).await;
    let took = begun.elapsed();
    println!("t32_exit_s = {:.2}", took.as_secs_f64());
    assert!(status.success(), "{status:?}: {}", scene.replica.log());
    assert!(took < GRACE + SLACK, "{took:?}");
    let _ = soon("the end of the call", call).await.expect("no panic");
    holds.client.batch_execute("ROLLBACK").await.expect("let go");

    let mut lost = 0;
    for read in reading {
        let (mut told, cursor) = soon("the end of a stream", read).await.expect("no panic");
        let resume = WatchRequest { cursor, ..request() };
        let mut rest = stream(other.client().channel().into(), resume).await;
        while told.last().copied().unwrap_or(first) < last {
            let message = soon("the rest", rest.message()).await.expect("open").expect("no end");
            assert!(!matches!(message.message, Some(Message::SnapshotPage(_))), "it resumes");
            told.extend(versions(&message, &scene.small.organization));
        }
        lost += usize::from(!is_whole(&told, first, last));
        finds_each_fault(&told, first, last);
    }
    println!("t32_streams_with_a_gap = {lost}");
    assert_eq!(lost, 0);
    drop(ignoring);
    let late =
        super::scene::Pen::new(other.client().channel().into(), &scene.small.organization).rename().await;
    late.expect("the other one serves");
    let refusal = scene.pen().rename().await.map(drop);
    assert!(refusal.is_err_and(|status| status.code() == Code::Unavailable), "nobody is there any more");
}

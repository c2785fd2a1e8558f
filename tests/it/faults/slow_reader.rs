//! T8: one slow reader among fifty. The others do not notice; the slow one is told everything once it reads, from the
//! log or after it was ended with its cursor.

use std::time::Duration;

use rollcall_client::v1::{WatchRequest, WatchResponse};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::{
    ms, p99,
    scene::{Scene, soon, stream, to_snapshot_end, versions},
    size,
};

const READERS: usize = 49;
const PACE: Duration = Duration::from_millis(25);

/// The cursor with which a slow reader was ended.
fn cursor_of_slow_consumer(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (status.code() == Code::Aborted && info.reason == "SLOW_CONSUMER")
        .then(|| info.metadata["cursor"].clone())
}

/// Reads until this version, over a stream that was ended for its slowness too. Fails where one is missing. Gives how
/// often it was ended.
async fn read_all(
    scene: &Scene,
    mut reading: Streaming<WatchResponse>,
    (mut cursor, from, to): (String, i64, i64),
) -> usize {
    let (mut last, mut ended) = (from, 0);
    while last < to {
        let message = match soon("a message", reading.message()).await {
            Ok(message) => message.expect("a stream without end"),
            Err(status) => {
                let given = cursor_of_slow_consumer(&status).unwrap_or_else(|| panic!("{status:?}"));
                assert_eq!(given, cursor, "it is ended with the cursor that it has");
                let request = WatchRequest { app: "chat".to_owned(), cursor: given, ..Default::default() };
                reading = stream(scene.replica.client().channel().into(), request).await;
                ended += 1;
                continue;
            }
        };
        for version in versions(&message, &scene.small.organization) {
            assert_eq!(version, last + 1, "none is missing, none comes twice");
            last = version;
        }
        if !message.cursor.is_empty() {
            cursor = message.cursor;
        }
    }
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn t8_one_slow_reader_costs_the_others_nothing_and_misses_nothing() {
    let scene = Scene::start(&[]).await;
    let mut pen = scene.pen();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(scene.reader().await);
    }
    let writes = size(80, 1_200);
    let without = p99(pen.lags(&readers, writes, PACE).await);

    // On a connection of its own, and never read from here on.
    let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let mut slow = stream(scene.replica.client().channel().into(), request).await;
    let (cursor, _) = to_snapshot_end(&mut slow).await;
    let from = pen.rename().await.expect("a new name") - 1;
    // What fills every buffer between the two; others have to take it as well, before the measure begins.
    let flooded = scene.flood(size(3_000, 20_000)).await;
    for reader in &readers {
        reader.until(flooded).await;
    }
    let with = p99(pen.lags(&readers, writes, PACE).await);
    let last = pen.rename().await.expect("a new name");
    let ended = read_all(&scene, slow, (cursor, from, last)).await;
    println!("t8_p99_without_ms = {}", ms(without));
    println!("t8_p99_with_ms = {}", ms(with));
    println!("t8_slow_reader_ended = {ended}");
    assert!(with < without * 3 + Duration::from_secs(1), "the others wait for the slow one: {with:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t8_a_reader_that_takes_nothing_is_ended_with_its_cursor() {
    let scene = Scene::start(&["--slow-consumer-seconds", "1"]).await;
    let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let mut slow = stream(scene.replica.client().channel().into(), request).await;
    let (cursor, _) = to_snapshot_end(&mut slow).await;
    let from = scene.pen().rename().await.expect("a new name") - 1;
    let last = scene.flood(20_000).await;
    scene.reader().await.until(0).await;
    // It is slow for longer than is allowed, which only time can tell.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let ended = read_all(&scene, slow, (cursor, from, last)).await;
    assert!(ended >= 1, "it was not ended");
}

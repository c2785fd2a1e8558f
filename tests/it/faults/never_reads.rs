//! T9: a reader that never reads. What the service holds for it is bounded, and nobody else is cut.

use std::time::Duration;

use rollcall_client::v1::WatchRequest;

use super::{
    scene::{Scene, soon, stream, to_snapshot_end},
    size,
};

/// What a stalled stream may cost: two queued messages, one being made, and what HTTP/2 buffers; with room for what the
/// allocator keeps of what the other streams needed.
const BYTES_EACH: u64 = 2 << 20;
const STALLED: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn t9_readers_that_never_read_cost_bounded_memory_and_nobody_is_cut() {
    let scene = Scene::start(&["--slow-consumer-seconds", "2"]).await;
    let reader = scene.reader().await;
    // What reading a lot costs once, whoever reads.
    let rounds = size(2, 10);
    let warm = scene.flood(size(20_000, 50_000)).await;
    reader.until(warm).await;
    let before = scene.replica.resident_bytes();

    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
        // Each on a connection of its own, polled never again.
        let mut stream = stream(scene.replica.client().channel().into(), request).await;
        to_snapshot_end(&mut stream).await;
        stalled.push(stream);
    }
    let begun = tokio::time::Instant::now();
    let mut most = 0;
    for _ in 0..rounds {
        let told = scene.flood(size(20_000, 50_000)).await;
        reader.until(told).await;
        most = most.max(scene.replica.resident_bytes());
    }
    let per_reader = most.saturating_sub(before) / STALLED as u64;
    println!("t9_rss_before_mib = {}", before >> 20);
    println!("t9_rss_most_mib = {}", most >> 20);
    println!("t9_bytes_per_stalled_reader = {per_reader}");
    println!("t9_changes_meanwhile = {}", reader.count());
    assert!(per_reader < BYTES_EACH, "{per_reader} bytes for each reader that does not read");
    let cut = async {
        // The log of the service is the only witness: whoever does not read is not told.
        while !scene.replica.log().to_lowercase().contains("a slow reader is cut off") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("the log to say that they were cut off", cut).await;
    println!("t9_time_to_cut_ms = {}", begun.elapsed().as_millis());
    for mut stream in stalled {
        // What was on its way still comes; then the end.
        let end = async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("an end without a reason"),
                    Err(status) => return status,
                }
            }
        };
        let status = soon("the end of a stalled stream", end).await;
        assert_eq!(status.code(), tonic::Code::Aborted, "{status:?}");
    }
}

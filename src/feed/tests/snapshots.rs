//! C5: the snapshot and what comes after it.

use std::time::Duration;

use super::{
    history::replay,
    log::{Log, version},
    replica::{Follower, Replica},
};
use crate::feed::{Body, StreamEnd, stream::PAGE};

/// The pages, where the snapshot ended, and from where on it is ready.
async fn fill(follower: &mut Follower) -> (Vec<usize>, i64, i64) {
    let mut pages = Vec::new();
    loop {
        match follower.next().await.expect("the stream goes on").body {
            Body::SnapshotPage { index, things } => {
                assert_eq!(index as usize, pages.len());
                pages.push(things.len());
            }
            Body::SnapshotEnd { pages: said, position, ready } => {
                assert_eq!(said as usize, pages.len());
                return (pages, position, ready);
            }
            Body::Opened { .. } => {}
            other => panic!("before the end of the snapshot: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c5_pages_then_changes_after_the_noted_head() {
    let log = Log::new();
    log.commit_many("chat", 2 * PAGE as u128 + 1);
    log.commit_many("boards", 10);
    let noted = log.sequence_now().position;
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    assert_eq!(fill(&mut follower).await, (vec![PAGE, PAGE, 1], noted, noted));
    log.commit_many("chat", 2);
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), [noted + 1, noted + 2]);
}

#[tokio::test(start_paused = true)]
async fn c5_an_empty_scope_has_no_page_and_an_end() {
    let log = Log::new();
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    assert_eq!(fill(&mut follower).await, (vec![], 0, 0));
    log.commit_many("chat", 1);
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), [1]);
}

#[tokio::test(start_paused = true)]
async fn c5_a_change_between_two_pages_comes_again_in_the_tail() {
    let log = Log::new();
    log.commit_many("chat", 2 * PAGE as u128);
    let noted = log.sequence_now().position;
    // One thing of the page that was read, one of the page that is read next, and a new one at the end.
    log.commit_after_page(0, &[("chat", 0), ("chat", PAGE as u128), ("chat", 5_000)]);
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    let (_, position, ready) = fill(&mut follower).await;
    assert_eq!(position, noted);
    assert_eq!(ready, noted + 3);
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), [noted + 1, noted + 2, noted + 3]);
    let changed = follower.history.entries().map(|entry| version(&entry.thing)).collect::<Vec<_>>();
    let replica = replay(&follower.history);
    assert!(changed.iter().all(|(id, version)| replica[id] == *version), "versions are those of the tail");
}

#[tokio::test(start_paused = true)]
async fn c5_ready_is_the_head_of_a_call_begun_after_the_last_page() {
    let log = Log::new();
    log.commit_many("chat", 1);
    // A call is under way when the page has been read: it began too early, and must not count.
    log.state().read_takes = Duration::from_millis(60);
    log.state().call_takes = Duration::from_millis(45);
    log.commit_after_page(0, &[("chat", 0)]);
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    let (_, position, ready) = fill(&mut follower).await;
    assert_eq!((position, ready), (1, 2));
    follower.reach(ready).await;
    follower.check();
}

#[tokio::test(start_paused = true)]
async fn c5_a_snapshot_across_a_failover_ends_forked() {
    let log = Log::new();
    log.commit_many("chat", 2 * PAGE as u128);
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    assert!(matches!(follower.next().await.expect("opened").body, Body::Opened { .. }));
    log.lose_after(10);
    log.commit_many("chat", 2 * PAGE as u128);
    log.sequence_now();
    assert_eq!(follower.finish().await, Some(StreamEnd::Forked));
}

#[tokio::test(start_paused = true)]
async fn c5_an_unreadable_snapshot_ends_the_stream() {
    let log = Log::new();
    log.commit_many("chat", 1);
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    assert!(matches!(follower.next().await.expect("opened").body, Body::Opened { .. }));
    log.state().reads_fail = true;
    assert_eq!(follower.finish().await, Some(StreamEnd::Unreadable));
}

//! C10: a slow reader costs itself.

use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use super::{
    app, chat,
    log::Log,
    replica::{Replica, beginning},
};
use crate::{
    feed::{Body, Ending, Registry, StreamEnd},
    rules::ids::SubscriptionId,
};

#[tokio::test(start_paused = true)]
async fn c10_nothing_is_read_for_a_reader_whose_queue_is_full() {
    let log = Log::new();
    for _ in 0..20 {
        log.commit_many("chat", 500);
    }
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    sleep(Duration::from_secs(10)).await;
    // In the queue: that it is open, and a batch. In hand: the next one.
    assert_eq!(log.state().reads, 2);
    log.commit_many("chat", 500);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(log.state().reads, 2);
    // Each message that is taken makes room for one.
    for taken in 1..=5 {
        follower.next().await.expect("the stream goes on");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(log.state().reads, 2 + taken);
    }
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), Vec::from_iter(1..=10_500));
}

#[tokio::test(start_paused = true)]
async fn c10_a_slow_reader_delays_no_other() {
    let log = Log::new();
    let replica = Replica::start(&log);
    let mut slow = replica.follow(beginning());
    let mut quick = replica.follow(beginning());
    for _ in 0..50 {
        log.commit_many("chat", 500);
        quick.catch_up().await;
    }
    quick.check();
    slow.catch_up().await;
    slow.check();
    assert_eq!(slow.positions(), quick.positions());
}

#[tokio::test(start_paused = true)]
async fn c10_a_follower_that_is_gone_ends_its_stream() {
    let log = Log::new();
    for _ in 0..20 {
        log.commit_many("chat", 500);
    }
    let replica = Replica::start(&log);
    // One while it waits for room, one while it waits for changes.
    for messages in [1, 25] {
        let mut follower = replica.follow(beginning());
        for _ in 0..messages {
            follower.next().await;
        }
        drop(follower);
        sleep(Duration::from_secs(1)).await;
        let reads = log.state().reads;
        log.commit_many("chat", 500);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(log.state().reads, reads);
    }
}

#[tokio::test(start_paused = true)]
async fn c10_a_drain_ends_a_stream_with_a_bookmark_of_how_far_it_got() {
    let log = Log::new();
    log.commit_many("chat", 3);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.reach(3).await;
    follower.shutdown.cancel();
    assert_eq!(follower.finish().await, Some(StreamEnd::ShuttingDown));
    follower.check();
    let last = &follower.history.messages.last().expect("some came").1.body;
    assert_eq!(*last, Body::Bookmark { position: 3 });
}

#[tokio::test(start_paused = true)]
async fn c10_a_slow_reader_hears_why_its_stream_ended() {
    let log = Log::new();
    for _ in 0..20 {
        log.commit_many("chat", 500);
    }
    let registry = Registry::default();
    let replica = Replica::start(&log);
    let id = SubscriptionId(Uuid::from_u128(9));
    let mut slow = replica.follow_as(
        chat(),
        beginning(),
        Some(registry.register(app("chat"), Some(id), uuid::Uuid::now_v7())),
    );
    sleep(Duration::from_secs(10)).await;
    let _successor = registry.register(app("chat"), Some(id), uuid::Uuid::now_v7());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(slow.finish().await, Some(StreamEnd::Ended(Ending::Replaced)));
    slow.check();
}

#[tokio::test(start_paused = true)]
async fn c10_a_drain_does_not_wait_for_a_slow_reader() {
    let log = Log::new();
    for _ in 0..20 {
        log.commit_many("chat", 500);
    }
    let replica = Replica::start(&log);
    let mut slow = replica.follow(beginning());
    sleep(Duration::from_secs(10)).await;
    slow.shutdown.cancel();
    sleep(Duration::from_secs(2)).await;
    // What was queued is still there, and nothing else.
    assert_eq!(slow.finish().await, None);
    slow.check();
    assert_eq!(slow.history.messages.len(), 2);
}

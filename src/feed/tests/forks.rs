//! C7: a log that is another one than it was.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    log::Log,
    replica::{Replica, after, beginning},
};
use crate::feed::{Point, StreamEnd};

#[tokio::test(start_paused = true)]
async fn c7_a_head_that_went_back_ends_the_stream() {
    let log = Log::new();
    log.commit_many("chat", 10);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    log.lose_after(5);
    assert_eq!(follower.finish().await, Some(StreamEnd::Forked));
}

#[tokio::test(start_paused = true)]
async fn c7_another_change_at_the_same_head_ends_the_stream() {
    let log = Log::new();
    log.commit_many("chat", 10);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    log.lose_after(5);
    log.commit_many("chat", 5);
    assert_eq!(follower.finish().await, Some(StreamEnd::Forked));
}

/// Fails over while the log cannot be reached: what comes back has lost everything after `kept`, and has grown.
async fn fail_over(replica: &Replica, kept: usize, grown: u128) {
    let log = &replica.log;
    log.state().calls_fail = true;
    sleep(Duration::from_secs(1)).await;
    log.lose_after(kept);
    log.commit_many("chat", grown);
    log.state().calls_fail = false;
}

#[tokio::test(start_paused = true)]
async fn c7_a_lost_end_is_noticed_though_the_log_has_grown_past_it() {
    let log = Log::new();
    log.commit_many("chat", 10);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    fail_over(&replica, 5, 20).await;
    assert_eq!(follower.finish().await, Some(StreamEnd::Forked));
    // Whoever begins from now on follows the new log, and a cursor of the old one is refused.
    let lost = Point { position: 10, ..follower.history.entries().last().expect("some came").point };
    assert_eq!(replica.follow(after(lost)).finish().await, Some(StreamEnd::Forked));
    let mut anew = replica.snapshot();
    anew.catch_up().await;
    log.commit_many("chat", 3);
    anew.catch_up().await;
    anew.check();
}

#[tokio::test(start_paused = true)]
async fn c7_a_lost_end_is_noticed_by_a_stream_that_is_far_behind() {
    let log = Log::new();
    for _ in 0..10 {
        log.commit_many("chat", 500);
    }
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.reach(1_000).await;
    fail_over(&replica, 4_500, 9_000).await;
    assert_eq!(follower.finish().await, Some(StreamEnd::Forked));
    follower.history.messages.retain(|(_, message)| !message.cursor.is_empty());
    assert!(follower.positions().iter().all(|position| *position <= 4_500), "nothing of two logs was mixed");
}

#[tokio::test(start_paused = true)]
async fn c7_a_lost_end_ends_a_snapshot_too() {
    let log = Log::new();
    log.commit_many("chat", 5_000);
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    follower.next().await.expect("opened");
    sleep(Duration::from_secs(1)).await;
    // Its queue is full: it stands between two pages.
    fail_over(&replica, 4_999, 10).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(follower.finish().await, Some(StreamEnd::Forked));
}

#[tokio::test(start_paused = true)]
async fn c7_nothing_is_said_of_a_log_that_cannot_be_compared() {
    let log = Log::new();
    log.commit_many("chat", 10);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    log.state().reads_fail = true;
    fail_over(&replica, 5, 20).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(replica.marks.newest(), None);
    log.state().reads_fail = false;
    assert_eq!(follower.finish().await, Some(StreamEnd::Forked));
    assert_eq!(follower.positions(), Vec::from_iter(1..=10));
}

#[tokio::test(start_paused = true)]
async fn c7_a_failover_that_lost_nothing_needs_no_resync() {
    let log = Log::new();
    log.commit_many("chat", 10);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    log.state().calls_fail = true;
    replica.marks.wake();
    sleep(Duration::from_secs(20)).await;
    log.state().calls_fail = false;
    log.commit_many("chat", 5);
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), Vec::from_iter(1..=15));
}

#[tokio::test(start_paused = true)]
async fn c7_a_resumed_point_that_the_log_lost_ends_the_stream() {
    let log = Log::new();
    log.commit_many("chat", 10);
    let lost = log.sequence_now();
    log.lose_after(5);
    let replica = Replica::start(&log);
    assert_eq!(replica.follow(after(lost)).finish().await, Some(StreamEnd::Forked));
}

#[tokio::test(start_paused = true)]
async fn c6_a_cursor_of_a_replica_that_knows_more_is_no_fork() {
    let log = Log::new();
    let replica = Replica::start(&log);
    replica.marks.since(Instant::now()).await;
    // Another replica sequences and sends these before this one looks again.
    log.commit_many("chat", 10);
    let known_elsewhere = log.sequence_now();
    let mut follower = replica.follow(after(known_elsewhere));
    log.commit_many("chat", 2);
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), [11, 12]);
}

#[tokio::test(start_paused = true)]
async fn c7_a_failed_read_is_not_repeated_on_a_log_that_may_be_another() {
    let log = Log::new();
    log.commit_many("chat", 10);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    log.state().reads_fail = true;
    log.commit_many("chat", 5);
    follower.listen(Duration::from_secs(1)).await;
    log.state().calls_fail = true;
    follower.listen(Duration::from_secs(1)).await;
    log.lose_after(5);
    log.commit_many("chat", 20);
    log.sequence_now();
    log.state().reads_fail = false;
    assert!(follower.is_silent_for(Duration::from_secs(10)).await);
    log.state().calls_fail = false;
    assert_eq!(follower.finish().await, Some(StreamEnd::Forked));
    assert_eq!(follower.positions(), Vec::from_iter(1..=10));
}

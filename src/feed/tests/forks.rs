//! C7: a log that is another one than it was.

use super::{
    log::Log,
    replica::{Replica, after, beginning},
};
use crate::feed::StreamEnd;

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

#[tokio::test(start_paused = true)]
async fn c7_a_failover_that_lost_nothing_needs_no_resync() {
    let log = Log::new();
    log.commit_many("chat", 10);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    log.state().calls_fail = true;
    replica.marks.wake();
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
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
    replica.marks.since(tokio::time::Instant::now()).await;
    // Another replica sequences and sends these before this one looks again.
    log.commit_many("chat", 10);
    let known_elsewhere = log.sequence_now();
    let mut follower = replica.follow(after(known_elsewhere));
    log.commit_many("chat", 2);
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), [11, 12]);
}

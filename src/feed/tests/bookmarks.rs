//! C9: bookmarks come in time, and never ahead of what they cover.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    chat,
    history::on_time,
    log::Log,
    replica::{Replica, beginning},
};
use crate::feed::{Body, Start};

#[tokio::test(start_paused = true)]
async fn c9_an_idle_stream_has_a_bookmark_every_second() {
    let log = Log::new();
    log.commit_many("chat", 3);
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    follower.listen(Duration::from_secs(60)).await;
    follower.check();
    assert_eq!(on_time(&follower.history, Instant::now()), Ok(()));
    let bookmarks = follower.history.messages.iter().filter(|(_, message)| {
        matches!(message.body, Body::Bookmark { position: 3 }) && !message.cursor.is_empty()
    });
    // No more than needed: an idle stream is to be cheap.
    assert!((60..=80).contains(&bookmarks.count()));
}

#[tokio::test(start_paused = true)]
async fn c9_a_bookmark_moves_with_changes_out_of_the_scope() {
    let log = Log::new();
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    for round in 1..=20 {
        log.commit_many("boards", 2);
        follower.listen(Duration::from_millis(900)).await;
        follower.check();
        assert_eq!(on_time(&follower.history, Instant::now()), Ok(()));
        let last = &follower.history.messages.last().expect("some came").1;
        assert!(matches!(last.body, Body::Bookmark { position } if position >= 2 * (round - 1)));
    }
}

#[tokio::test(start_paused = true)]
async fn c9_no_bookmark_is_ahead_of_the_changes_before_it() {
    let log = Log::new();
    log.state().read_takes = Duration::from_millis(70);
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    for round in 0..200_u64 {
        log.commit_many(if round % 3 == 0 { "boards" } else { "chat" }, u128::from(round % 7) * 130 + 1);
        follower.listen(Duration::from_millis(round * 37 % 1_500)).await;
    }
    follower.catch_up().await;
    follower.check();
}

#[tokio::test(start_paused = true)]
async fn c9_c14_none_while_the_log_is_out_of_reach_and_the_stream_goes_on_afterwards() {
    let log = Log::new();
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    follower.listen(Duration::from_secs(2)).await;
    log.state().calls_fail = true;
    follower.listen(Duration::from_millis(60)).await;
    assert!(follower.is_silent_for(Duration::from_secs(30)).await);
    log.commit_many("chat", 3);
    assert!(follower.is_silent_for(Duration::from_secs(30)).await);
    log.state().calls_fail = false;
    let message = follower.next().await.expect("the stream goes on");
    assert!(matches!(message.body, Body::Batch { .. }), "not {message:?}");
    follower.listen(Duration::from_secs(3)).await;
    follower.check();
    assert_eq!(follower.positions(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn c9_a_call_that_hangs_makes_no_bookmarks() {
    let log = Log::new();
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    follower.listen(Duration::from_secs(2)).await;
    log.state().call_takes = Duration::from_secs(3_600);
    // One may come for the last mark that was made.
    follower.listen(Duration::from_secs(1)).await;
    assert!(follower.is_silent_for(Duration::from_secs(60)).await);
}

#[tokio::test(start_paused = true)]
async fn c9_none_while_changes_cannot_be_read() {
    let log = Log::new();
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    follower.listen(Duration::from_secs(2)).await;
    log.state().reads_fail = true;
    log.commit_many("chat", 3);
    log.sequence_now();
    assert!(follower.is_silent_for(Duration::from_secs(30)).await);
    log.commit_many("chat", 600);
    log.state().reads_fail = false;
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), Vec::from_iter(1..=603));
}

#[tokio::test(start_paused = true)]
async fn c9_bookmarks_come_in_time_though_sequencing_is_slow() {
    for millis in [100, 300, 400, 700] {
        let log = Log::new();
        log.state().call_takes = Duration::from_millis(millis);
        let replica = Replica::start(&log);
        let mut follower = replica.follow(beginning());
        follower.next().await.expect("opened");
        follower.listen(Duration::from_secs(60)).await;
        follower.check();
        let late = on_time(&follower.history, Instant::now());
        assert_eq!(late, Ok(()), "where a call takes {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn c9_bookmarks_come_in_time_though_others_change_all_the_time() {
    let log = Log::new();
    // A call ends sooner than a read: there is always another mark when a range has been read.
    log.state().read_takes = Duration::from_millis(20);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    for _ in 0..5_000 {
        log.commit_many("boards", 1);
        replica.marks.wake();
        follower.listen(Duration::from_millis(2)).await;
    }
    follower.check();
    assert_eq!(on_time(&follower.history, Instant::now()), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn c9_a_long_way_without_changes_of_the_scope_has_bookmarks_to_resume_at() {
    let log = Log::new();
    for _ in 0..10 {
        log.commit_many("boards", 15_000);
        log.commit(&[("boards", 1), ("chat", 1), ("boards", 2)]);
    }
    for _ in 0..20 {
        log.commit_many("boards", 15_000);
    }
    log.state().read_takes = Duration::from_millis(300);
    let replica = Replica::start(&log);
    let mut start = beginning();
    let mut seen = Vec::new();
    // A stream that is cut every three seconds gets there all the same.
    for _ in 0..60 {
        let mut follower = replica.follow(start);
        follower.listen(Duration::from_secs(3)).await;
        follower.check();
        seen.extend(follower.positions());
        start = follower.resume();
    }
    assert_eq!(seen, log.truth(&chat()).entries.iter().map(|entry| entry.point.position).collect::<Vec<_>>());
    let Start::After { point, .. } = start else { panic!("it was resumed") };
    assert_eq!(point, log.sequence_now());
}

//! C10: one tail for all streams of a replica, and what happens to those that do not keep up or grow old.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Dice, chat,
    history::on_time,
    log::Log,
    replica::{Replica, after, beginning},
};
use crate::feed::{Body, CursorRefusal, Scope, Start, StreamEnd, tail::READ};

/// What a stream of this replica may do at most.
const PATIENCE: Duration = Duration::from_secs(30);
const AGE: Duration = Duration::from_secs(600);

/// A replica that knows the head of its log.
async fn started(log: &Log) -> Replica {
    let replica = Replica::start(log);
    replica.marks.since(Instant::now()).await;
    replica
}

#[tokio::test(start_paused = true)]
async fn c10_streams_that_keep_up_cost_the_log_nothing() {
    let log = Log::new();
    let replica = started(&log).await;
    let mut followers: Vec<_> = (0..50).map(|_| replica.follow(beginning())).collect();
    for size in [1, 700, 3, 5_000, 2] {
        log.commit_many("chat", size);
        log.commit_many("boards", size);
        for follower in &mut followers {
            follower.catch_up().await;
        }
    }
    for follower in &followers {
        follower.check();
        assert_eq!(follower.positions().len(), 5_706);
    }
    assert_eq!(log.state().reads, 0);
}

#[tokio::test(start_paused = true)]
async fn c10_what_is_older_than_the_window_comes_from_the_log_and_then_from_the_window() {
    let log = Log::new();
    log.commit_many("chat", 1_700);
    let replica = started(&log).await;
    log.commit_many("chat", 10);
    replica.marks.since(Instant::now()).await;
    let mut late = replica.follow(beginning());
    late.catch_up().await;
    let reads = log.state().reads;
    assert!(reads >= 4, "1,700 changes are four messages");
    log.commit_many("chat", 10);
    late.catch_up().await;
    late.check();
    assert_eq!(log.state().reads, reads);
    assert_eq!(late.positions(), Vec::from_iter(1..=1_720));
}

#[tokio::test(start_paused = true)]
async fn c10_a_stream_that_the_window_outran_falls_back_to_the_log() {
    let log = Log::new();
    let replica = started(&log).await;
    let mut slow = replica.follow(beginning());
    // More than the window holds.
    for _ in 0..8 {
        log.commit_many("chat", 5_000);
        replica.marks.since(Instant::now()).await;
    }
    assert_eq!(log.state().reads, 0);
    slow.catch_up().await;
    slow.check();
    assert_eq!(slow.positions().len(), 40_000);
    assert!(log.state().reads > 0, "the window cannot have held it all");
}

#[tokio::test(start_paused = true)]
async fn c4_much_at_once_is_read_in_pieces_and_told_of_before_all_of_it_is_read() {
    let log = Log::new();
    let replica = started(&log).await;
    let mut follower = replica.follow(beginning());
    let calls = log.state().calls;
    log.state().call_takes = Duration::from_millis(40);
    for size in [700, 1, 4_999, 20] {
        log.commit_many("chat", size);
    }
    follower.reach(700).await;
    let (first, needed) = (log.state().calls - calls, 5_720_usize.div_ceil(READ));
    assert!(first < needed, "told after {first} of {needed} calls");
    follower.catch_up().await;
    follower.check();
    // One may have been on its way when the counting began.
    assert!(log.state().calls - calls + 1 >= needed);
    assert_eq!(on_time(&follower.history, Instant::now()), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn c4_random_streams_of_a_window_and_a_log_hear_the_same() {
    const SIZES: [u64; 8] = [1, 2, 7, 499, 501, 1_000, 1_001, 5_000];
    for seed in 1..=25 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let log = Log::new();
        let replica = started(&log).await;
        let mut quick = replica.follow(beginning());
        for _ in 0..dice.below(12) + 1 {
            let size = SIZES[dice.below(8) as usize];
            let in_scope = dice.below(4);
            let subjects: Vec<_> = (0..u128::from(size))
                .map(|n| (if dice.below(3) < in_scope { "chat" } else { "boards" }, n))
                .collect();
            log.commit(&subjects);
            if dice.below(2) == 0 {
                quick.catch_up().await;
            }
        }
        quick.catch_up().await;
        quick.check();
        assert_eq!(log.state().reads, 0, "seed {seed}");
        // Another replica has no window that reaches back.
        let mut late = started(&log).await.follow(beginning());
        late.catch_up().await;
        late.check();
        assert_eq!(late.positions(), quick.positions(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn c10_a_reader_that_takes_nothing_is_ended_with_its_cursor() {
    let log = Log::new();
    let mut replica = started(&log).await;
    replica.limits.patience = PATIENCE;
    let mut slow = replica.follow(beginning());
    let mut quick = replica.follow(beginning());
    slow.next().await.expect("opened");
    for _ in 0..10 {
        log.commit_many("chat", 500);
        quick.catch_up().await;
    }
    slow.next().await.expect("a batch");
    let taken = slow.history.last_cursor().expect("a batch has one");
    sleep(PATIENCE - Duration::from_secs(1)).await;
    let open = slow.next().await;
    assert!(matches!(open.map(|message| message.body), Some(Body::Batch { .. })), "it has time to read on");
    let cursor = slow.history.last_cursor().expect("a batch has one");
    assert_ne!(cursor, taken);
    sleep(PATIENCE + Duration::from_secs(1)).await;
    // What was queued is gone: the cursor is that of the last message that was taken.
    assert_eq!(slow.finish().await, Some(StreamEnd::Slow { cursor }));
    slow.check();
    let resumed = slow.resume();
    let mut again = replica.follow(resumed);
    again.catch_up().await;
    again.check();
    assert_eq!([slow.positions(), again.positions()].concat(), quick.positions());
}

#[tokio::test(start_paused = true)]
async fn c10_an_idle_reader_is_not_slow() {
    let log = Log::new();
    let mut replica = started(&log).await;
    replica.limits.patience = PATIENCE;
    let mut follower = replica.snapshot();
    follower.listen(10 * PATIENCE).await;
    // Nothing can be said while the log is out of reach: that is no fault of the reader.
    log.state().calls_fail = true;
    sleep(10 * PATIENCE).await;
    log.state().calls_fail = false;
    follower.listen(PATIENCE).await;
    follower.check();
    assert_eq!(follower.end, None);
}

#[tokio::test(start_paused = true)]
async fn c10_an_old_stream_ends_where_it_can_be_resumed() {
    let log = Log::new();
    let mut replica = started(&log).await;
    replica.limits.age = AGE;
    let mut seen = Vec::new();
    let mut start = beginning();
    for _ in 0..3 {
        let began = Instant::now();
        let mut follower = replica.follow(start);
        while began.elapsed() < AGE - Duration::from_secs(1) {
            log.commit_many("chat", if began.elapsed() > AGE * 9 / 10 { 701 } else { 3 });
            follower.listen(Duration::from_secs(3)).await;
        }
        assert_eq!(follower.finish().await, Some(StreamEnd::Expired));
        assert!(began.elapsed() < AGE + Duration::from_secs(2));
        follower.check();
        seen.extend(follower.positions());
        start = follower.resume();
    }
    let Start::After { point, .. } = start else { panic!("it was resumed") };
    assert_eq!(seen, Vec::from_iter(1..=point.position));
}

#[tokio::test(start_paused = true)]
async fn c8_a_stream_that_trimming_overtook_is_ended() {
    let log = Log::new();
    for _ in 0..10 {
        log.commit_many("chat", 500);
    }
    let replica = started(&log).await;
    let mut follower = replica.follow(beginning());
    follower.reach(1_000).await;
    log.trim(3_000);
    assert_eq!(follower.finish().await, Some(StreamEnd::Compacted));
    // What was read before it was trimmed may still have come; nothing is missing in between.
    assert_eq!(follower.positions(), Vec::from_iter(1..=follower.positions().len() as i64));
}

#[tokio::test(start_paused = true)]
async fn c8_trimming_behind_a_stream_does_not_concern_it() {
    let log = Log::new();
    for _ in 0..10 {
        log.commit_many("chat", 500);
    }
    let replica = started(&log).await;
    let mut follower = replica.follow(beginning());
    follower.reach(2_000).await;
    log.trim(1_500);
    follower.catch_up().await;
    follower.check();
    // At the floor exactly nothing is missing, before it something is.
    let at = |position: usize| {
        let entries = log.truth(&chat()).entries;
        after(entries[position - 1].point)
    };
    let mut resumed = replica.follow(at(1_500));
    resumed.catch_up().await;
    resumed.check();
    assert_eq!(replica.follow(at(1_499)).finish().await, Some(StreamEnd::Compacted));
}

#[tokio::test(start_paused = true)]
async fn c7_a_window_of_a_lost_end_is_dropped() {
    let log = Log::new();
    let replica = started(&log).await;
    log.commit_many("chat", 20);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    log.lose_after(5);
    log.commit_many("chat", 40);
    // Without a failure in between: the read itself finds that its last change is gone.
    assert_eq!(follower.finish().await, Some(StreamEnd::Forked));
    let start = Start::Snapshot { refusal: Some(CursorRefusal::Forked) };
    let mut anew = replica.follow_as(Scope::new(chat().app().clone(), Vec::new()), start, None);
    log.commit_many("chat", 4);
    anew.catch_up().await;
    anew.check();
}

/// Two copies of what the window of the service holds: a plain change and one with a profile differ.
fn with_profile(entry: &crate::feed::Entry, profiles: bool, out: &mut Vec<u8>) {
    super::log::encode(entry, false, out);
    if profiles {
        out.extend([0; 1_000]);
    }
}

fn named(log: &Log) -> Vec<crate::feed::Entry> {
    let mut entries = log.truth(&chat()).entries;
    for entry in &mut entries {
        if let crate::feed::Thing::Member { profile, .. } = &mut entry.thing {
            *profile = Some(("Ada".to_owned(), "ada@example.com".to_owned()));
        }
    }
    entries
}

#[tokio::test(start_paused = true)]
async fn c10_old_profiles_are_not_read_while_a_call_hangs() {
    let log = Log::new();
    log.commit_many("chat", 10);
    log.sequence_now();
    let window = crate::feed::Window::new(with_profile, 1 << 20);
    window.reset(0, 0);
    window.push(named(&log));
    // The tail's next call hangs (it may for 30 s): nobody calls `forget_profiles` meanwhile.
    sleep(Duration::from_secs(29)).await;
    let range = crate::feed::source::Range { after: 0, until: 10 };
    assert!(window.read(0, &chat(), true, range, 501).is_none(), "29 s old profiles are sent");
}

#[tokio::test(start_paused = true)]
async fn c14_an_old_stream_stays_open_while_the_log_is_away() {
    let log = Log::new();
    let mut replica = started(&log).await;
    replica.limits.age = AGE;
    let mut follower = replica.follow(beginning());
    log.commit_many("chat", 3);
    follower.catch_up().await;
    log.state().calls_fail = true;
    // What was known before the failure may still be told.
    follower.listen(Duration::from_secs(2)).await;
    assert!(follower.is_silent_for(AGE).await);
    log.state().calls_fail = false;
    assert_eq!(follower.finish().await, Some(StreamEnd::Expired));
    follower.check();
}

#[tokio::test(start_paused = true)]
async fn c10_what_the_window_dropped_is_not_kept_for_its_profiles() {
    let log = Log::new();
    log.commit_many("chat", 10);
    log.sequence_now();
    let window = crate::feed::Window::new(with_profile, 0);
    window.reset(0, 0);
    for _ in 0..100 {
        window.push(named(&log));
    }
    assert_eq!(window.profiled(), 0, "chunks that were dropped are still held");
}

#[tokio::test(start_paused = true)]
async fn c8_a_replica_that_was_away_while_the_log_was_trimmed_takes_it_for_no_fork() {
    let log = Log::new();
    log.commit_many("chat", 10);
    let replica = started(&log).await;
    let mut behind = replica.follow(beginning());
    behind.catch_up().await;
    log.state().calls_fail = true;
    sleep(Duration::from_secs(5)).await;
    log.commit_many("chat", 20);
    log.sequence_now();
    log.trim(25);
    log.state().calls_fail = false;
    assert_eq!(behind.finish().await, Some(StreamEnd::Compacted));
    let mut anew = replica.snapshot();
    anew.catch_up().await;
    anew.check();
}

#[tokio::test(start_paused = true)]
async fn r42_what_was_read_before_an_erasure_is_not_told_from_the_window() {
    let log = Log::new();
    let replica = started(&log).await;
    let mut quick = replica.follow(beginning());
    log.commit_many("chat", 10);
    quick.catch_up().await;
    // It is in the window.
    let mut late = replica.follow(beginning());
    late.catch_up().await;
    assert_eq!(log.state().reads, 0);
    log.erase("chat", 3);
    quick.catch_up().await;
    assert_eq!(log.state().reads, 0, "who keeps up is told of the erasure itself from the window");
    let mut later = replica.follow(beginning());
    later.catch_up().await;
    assert!(log.state().reads > 0, "the entries from before the erasure were kept");
    for follower in [&quick, &later] {
        follower.check();
        assert_eq!(follower.positions(), Vec::from_iter(1..=11));
    }
    // From there on all is as before.
    let reads = log.state().reads;
    log.commit_many("chat", 10);
    later.catch_up().await;
    assert_eq!(log.state().reads, reads);
}

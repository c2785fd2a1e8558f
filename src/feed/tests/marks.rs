//! Marks: what a call found, since when.

use std::time::Duration;

use tokio::time::{Instant, advance, sleep, timeout};

use super::{log::Log, replica::Replica};
use crate::feed::marks::POLL;

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_mark_holds_what_was_committed_before_its_call() {
    let log = Log::new();
    let replica = Replica::start(&log);
    for round in 1..=50 {
        log.commit_many("chat", 1);
        let committed = Instant::now();
        // So that no call that began at this very instant counts.
        advance(MILLISECOND * (round % 7)).await;
        let mark = replica.marks.since(committed + Duration::from_nanos(1)).await;
        assert!(mark.at > committed);
        assert_eq!(mark.head.position, i64::from(round));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_does_not_count_and_a_second_one_follows() {
    let log = Log::new();
    log.state().call_takes = Duration::from_millis(40);
    let replica = Replica::start(&log);
    sleep(Duration::from_millis(20)).await;
    let asked = Instant::now();
    assert_eq!(log.state().calls, 1);
    // Any number of waiters share the next call.
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let marks = replica.marks.clone();
            tokio::spawn(async move { marks.since(asked).await })
        })
        .collect();
    for waiter in waiters {
        assert!(waiter.await.expect("it waits").at >= asked);
    }
    assert_eq!(log.state().calls, 2);
    assert_eq!(asked.elapsed(), Duration::from_millis(20 + 40));
}

#[tokio::test(start_paused = true)]
async fn wakes_during_a_call_make_one_more() {
    let log = Log::new();
    log.state().call_takes = Duration::from_millis(10);
    let replica = Replica::start(&log);
    sleep(Duration::from_millis(5)).await;
    for _ in 0..1_000 {
        replica.marks.wake();
    }
    sleep(Duration::from_millis(40)).await;
    assert_eq!(log.state().calls, 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_wake_calls_come_with_the_poll() {
    let log = Log::new();
    let replica = Replica::start(&log);
    sleep(100 * (POLL + MILLISECOND)).await;
    assert!((99..=101).contains(&log.state().calls));
    assert!(replica.marks.newest().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_failure_takes_the_marks_away_until_the_log_answers() {
    let log = Log::new();
    let mut replica = Replica::start(&log);
    replica.marks.since(Instant::now()).await;
    log.state().calls_fail = true;
    replica.marks.see();
    replica.marks.wake();
    while replica.marks.see().is_some() {
        replica.marks.changed().await;
    }
    assert_eq!(replica.marks.newest(), None);
    let asked = Instant::now();
    let waiting = timeout(Duration::from_secs(30), replica.marks.since(asked));
    assert!(waiting.await.is_err(), "it waits as long as it takes");
    log.state().calls_fail = false;
    assert!(replica.marks.since(asked).await.at > asked);
}

#[tokio::test(start_paused = true)]
async fn a_failing_log_is_left_alone_for_a_while() {
    let log = Log::new();
    log.state().calls_fail = true;
    let replica = Replica::start(&log);
    for _ in 0..1_000 {
        replica.marks.wake();
        sleep(MILLISECOND * 10).await;
    }
    assert!(log.state().calls <= 10 * 4 + 1, "{} calls in ten seconds", log.state().calls);
}

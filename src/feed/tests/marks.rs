//! Marks: what a call found, since when.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    log::{Log, encode},
    replica::{Replica, WINDOW},
};
use crate::feed::{Window, tail, tail::POLL};

const MILLISECOND: Duration = Duration::from_millis(1);

fn window() -> Arc<Window> {
    Arc::new(Window::new(encode, WINDOW))
}

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

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_shutdown() {
    let log = Log::new();
    let shutdown = CancellationToken::new();
    let (marks, task) = tail::start(log, window(), Box::new(|_| {}), shutdown.clone());
    marks.since(Instant::now()).await;
    shutdown.cancel();
    timeout(MILLISECOND, task).await.expect("at once").expect("no panic");
    let waiting = timeout(Duration::from_secs(30), marks.since(Instant::now()));
    assert!(waiting.await.is_err(), "no mark comes any more");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_counts_as_a_failure() {
    let log = Log::new();
    let replica = Replica::start(&log);
    replica.marks.since(Instant::now()).await;
    log.state().call_takes = Duration::from_secs(3_600);
    // Longer than a call may take.
    sleep(Duration::from_secs(35)).await;
    assert_eq!(replica.marks.newest(), None);
    log.state().call_takes = MILLISECOND;
    let waiting = timeout(Duration::from_secs(35), replica.marks.since(Instant::now()));
    waiting.await.expect("the next call is made without waiting for the one that hangs");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_does_not_hold_the_shutdown_up() {
    let log = Log::new();
    log.state().call_takes = Duration::from_secs(3_600);
    let shutdown = CancellationToken::new();
    let (_, task) = tail::start(log, window(), Box::new(|_| {}), shutdown.clone());
    sleep(MILLISECOND).await;
    shutdown.cancel();
    timeout(MILLISECOND, task).await.expect("at once").expect("no panic");
}

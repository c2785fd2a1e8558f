//! Streams that are cut at any point: what came up to the last cursor is whole, and resuming there loses nothing.

use std::time::Duration;

use tokio::time::sleep;

use super::{Dice, chat, log::Log, replica::Replica};
use crate::feed::{Body, Start};

const ROUNDS: usize = 300;

/// Commits some commands, now and then a long one.
fn commit_some(log: &Log, dice: &mut Dice) {
    for _ in 0..dice.below(4) {
        let size = [1, 3, 40, 500, 501, 1_300][dice.below(6) as usize];
        let subjects = (0..size).map(|n| (if dice.below(4) == 0 { "boards" } else { "chat" }, n));
        log.commit(&subjects.collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn c2_c6_streams_cut_at_random_lose_nothing() {
    let log = Log::new();
    let replica = Replica::start(&log);
    let mut dice = Dice(0x5eed);
    let mut start = Start::Snapshot { refusal: None };
    let mut filled = None;
    let mut last = 0;
    for round in 0..ROUNDS {
        commit_some(&log, &mut dice);
        log.state().read_takes = Duration::from_millis(dice.below(30));
        let mut follower = replica.follow(start.clone());
        for _ in 0..dice.below(7) {
            follower.next().await;
        }
        // Full or not, in a read or not: anything may be going on when the end comes.
        sleep(Duration::from_millis(dice.below(60))).await;
        match dice.below(3) {
            0 => {}
            1 => {
                follower.shutdown.cancel();
                follower.finish().await;
            }
            _ => {
                follower.shutdown.cancel();
                follower.next().await;
            }
        }
        follower.check();
        if filled.is_none() {
            filled = follower.history.messages.iter().find_map(|(_, message)| match message.body {
                Body::SnapshotEnd { position, .. } => Some(position),
                _ => None,
            });
            last = filled.unwrap_or(0);
        }
        let resumed = match &start {
            Start::After { point, .. } => point.position,
            Start::Snapshot { .. } => last,
        };
        // From the cursor on, without a gap; beyond it only what the next stream brings again.
        let mut next = log.truth(&chat()).entries.into_iter().filter(|entry| entry.point.position > resumed);
        for entry in follower.history.entries() {
            assert_eq!(next.next().as_ref(), Some(entry), "round {round}");
        }
        start = follower.resume();
        if let Start::After { point, .. } = &start {
            assert!(point.position >= last, "round {round}");
            last = point.position;
        }
    }
    let mut follower = replica.follow(start);
    follower.catch_up().await;
    follower.check();
    assert!(filled.is_some() && last > 1_000, "the rounds did something");
}

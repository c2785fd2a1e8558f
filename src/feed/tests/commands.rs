//! C1, C2, C4: commands of every size, in and out of the scope.

use super::{
    Dice, chat,
    log::Log,
    organization,
    replica::{Replica, beginning},
};
use crate::feed::{Scope, stream::BATCH};

/// More positions than one read covers.
const PAST_A_WINDOW: u128 = 25_000;

#[tokio::test(start_paused = true)]
async fn c4_small_commands_share_a_message_and_are_never_split() {
    let log = Log::new();
    for _ in 0..3 {
        log.commit_many("chat", 200);
    }
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.batches(), [(400, 0, false), (200, 0, false)]);
}

#[tokio::test(start_paused = true)]
async fn c4_a_command_longer_than_a_message_comes_in_parts() {
    let whole = |size| vec![(size, 0, false)];
    let parts = |sizes: &[usize]| {
        let last = sizes.len() - 1;
        sizes.iter().enumerate().map(|(part, size)| (*size, part as i32, part < last)).collect::<Vec<_>>()
    };
    let cases = [
        (1, whole(1)),
        (499, whole(499)),
        (500, whole(500)),
        (501, parts(&[500, 1])),
        (1_000, parts(&[500, 500])),
        (1_001, parts(&[500, 500, 1])),
        (5_000, parts(&[500; 10])),
    ];
    for (size, expected) in cases {
        let log = Log::new();
        log.commit_many("chat", size);
        let replica = Replica::start(&log);
        let mut follower = replica.follow(beginning());
        follower.catch_up().await;
        follower.check();
        assert_eq!(follower.batches(), expected, "a command of {size}");
        assert_eq!(follower.positions(), Vec::from_iter(1..=size as i64));
    }
}

#[tokio::test(start_paused = true)]
async fn c4_the_last_part_may_be_followed_by_other_commands() {
    let log = Log::new();
    for size in [3, 700, 2, 501, 501, 4] {
        log.commit_many("chat", size);
    }
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), Vec::from_iter(1..=1_711));
    // Between commands of others, not as parts of anything: a message with a cursor is a whole.
    assert!(follower.batches().iter().filter(|(_, _, more)| *more).all(|(size, ..)| *size == BATCH));
}

#[tokio::test(start_paused = true)]
async fn c4_changes_out_of_the_scope_are_left_out_of_a_command() {
    let log = Log::new();
    // In the scope: 500 of 1,000, then 501 of 1,002, then none, then one at each end of a long one.
    for size in [1_000, 1_002] {
        log.commit(&(0..size).map(|n| (if n % 2 == 0 { "chat" } else { "boards" }, n)).collect::<Vec<_>>());
    }
    log.commit_many("boards", 700);
    log.commit(
        &(0..3_000).map(|n| (if n == 0 || n == 2_999 { "chat" } else { "boards" }, n)).collect::<Vec<_>>(),
    );
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions().len(), 500 + 501 + 2);
    assert_eq!(follower.batches(), [(500, 0, false), (500, 0, true), (3, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn c4_a_command_across_the_edge_of_a_window_stays_whole() {
    for reach in [1, 300, 600, 4_999] {
        let log = Log::new();
        // The window is 20,000 positions: the command begins before its end and reaches past it.
        log.commit_many("boards", 20_000 - reach);
        log.commit_many("chat", 5_000);
        log.commit_many("boards", 10);
        log.commit_many("chat", 1);
        let replica = Replica::start(&log);
        let mut follower = replica.follow(beginning());
        follower.catch_up().await;
        follower.check();
        assert_eq!(follower.positions().len(), 5_001, "{reach} changes before the edge");
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_few_changes_far_apart_are_all_found() {
    let log = Log::new();
    for _ in 0..3 {
        log.commit_many("boards", PAST_A_WINDOW);
        log.commit_many("chat", 1);
    }
    log.commit_many("boards", PAST_A_WINDOW);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    follower.check();
    assert_eq!(follower.positions(), [25_001, 50_002, 75_003]);
}

#[tokio::test(start_paused = true)]
async fn c1_an_empty_scope_moves_on_with_the_log() {
    let log = Log::new();
    log.commit_many("boards", 3 * PAST_A_WINDOW);
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.catch_up().await;
    follower.check();
    assert!(follower.positions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn c4_a_filter_by_organization_keeps_commands_whole() {
    let log = Log::new();
    for size in [10, 1_503, 4, 3_000] {
        log.commit_many("chat", size);
    }
    let replica = Replica::start(&log);
    let scope = Scope::new(chat().app().clone(), vec![organization(1)]);
    let start = crate::feed::Start::Snapshot { refusal: None };
    let mut follower = replica.follow_as(scope, start, None);
    for size in [1_503, 6, 3_000] {
        log.commit_many("chat", size);
    }
    follower.catch_up().await;
    follower.check();
}

#[tokio::test(start_paused = true)]
async fn c4_commands_of_random_sizes_arrive_once_and_in_order() {
    const SIZES: [u64; 10] = [1, 2, 7, 250, 499, 500, 501, 1_000, 1_001, 5_000];
    for seed in 1..=40 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let log = Log::new();
        let replica = Replica::start(&log);
        let mut follower = replica.follow(beginning());
        for _ in 0..dice.below(12) + 1 {
            let size = SIZES[dice.below(10) as usize];
            let in_scope = dice.below(4);
            let subjects = (0..u128::from(size))
                .map(|n| (if dice.below(3) < in_scope { "chat" } else { "boards" }, n))
                .collect::<Vec<_>>();
            log.commit(&subjects);
            match dice.below(3) {
                0 => follower.catch_up().await,
                1 => tokio::time::advance(std::time::Duration::from_millis(dice.below(100))).await,
                _ => {}
            }
        }
        follower.catch_up().await;
        follower.check();
        assert_eq!(follower.positions().len(), log.truth(&chat()).entries.len(), "seed {seed}");
    }
}

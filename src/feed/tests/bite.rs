//! The checks of a history fail on histories that are wrong, each with its own fault.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    chat,
    history::{Fault, History, check, on_time},
    log::{Log, Truth, version},
    replica::{Replica, beginning},
    seal,
};
use crate::feed::{Body, Entry, Start};

/// A stream with commands of 2 and 700 changes, out-of-scope changes before and after them, and bookmarks in between.
async fn recorded(start: Start) -> (History, Truth) {
    let log = Log::new();
    log.commit_many("chat", 3);
    let replica = Replica::start(&log);
    replica.marks.since(Instant::now()).await;
    let mut follower = replica.follow(start);
    for size in [2, 2, 700, 1] {
        log.commit_many("boards", 1);
        log.commit_many("chat", size);
        follower.listen(Duration::from_secs(3)).await;
    }
    follower.check();
    assert_eq!(on_time(&follower.history, Instant::now()), Ok(()));
    (follower.history.clone(), log.truth(&chat()))
}

async fn fault_of(start: Start, damage: impl FnOnce(&mut History)) -> Result<(), Fault> {
    let (mut history, truth) = recorded(start).await;
    damage(&mut history);
    check(&history, &truth, &seal())
}

async fn fault(damage: impl FnOnce(&mut History)) -> Result<(), Fault> {
    fault_of(beginning(), damage).await
}

fn index_of(history: &History, wanted: impl Fn(&Body<Vec<Entry>>) -> bool) -> usize {
    history.messages.iter().position(|(_, message)| wanted(&message.body)).expect("the history has one")
}

fn batch(history: &History, size: usize) -> usize {
    index_of(history, |body| matches!(body, Body::Batch { changes: entries, .. } if entries.len() == size))
}

fn entries(history: &mut History, index: usize) -> &mut Vec<Entry> {
    match &mut history.messages[index].1.body {
        Body::Batch { changes: entries, .. } => entries,
        other => panic!("not a batch: {other:?}"),
    }
}

/// Chains the messages anew, so that only the damage itself is left to find.
fn rechain(history: &mut History) {
    let Start::After { text, .. } = &history.start else { panic!("it was resumed") };
    let mut before = text.clone();
    for (_, message) in &mut history.messages {
        message.previous_cursor.clone_from(&before);
        if !message.cursor.is_empty() {
            before.clone_from(&message.cursor);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_dropped_change_is_found() {
    let found = fault(|history| {
        let index = batch(history, 2);
        entries(history, index).remove(0);
    });
    assert!(matches!(found.await, Err(Fault::NotNext(_))));
}

#[tokio::test(start_paused = true)]
async fn c1_a_dropped_last_change_is_found() {
    let found = fault(|history| {
        let index = batch(history, 1);
        history.messages.truncate(index + 2);
        history.messages.remove(index);
        rechain(history);
    });
    assert!(matches!(found.await, Err(Fault::Ahead(_))));
}

#[tokio::test(start_paused = true)]
async fn c2_a_repeated_change_is_found() {
    let found = fault(|history| {
        let index = batch(history, 2);
        let again = history.messages[index].clone();
        history.messages.insert(index + 1, again);
        rechain(history);
    });
    assert!(matches!(found.await, Err(Fault::NotNext(_))));
}

#[tokio::test(start_paused = true)]
async fn c1_two_changes_the_other_way_round_are_found() {
    let found = fault(|history| {
        let index = batch(history, 2);
        entries(history, index).swap(0, 1);
    });
    assert!(matches!(found.await, Err(Fault::NotNext(_))));
}

#[tokio::test(start_paused = true)]
async fn c3_a_wrong_previous_cursor_is_found() {
    let mut faults = 0;
    let (history, truth) = recorded(beginning()).await;
    for index in 0..history.messages.len() {
        let mut history = history.clone();
        history.messages[index].1.previous_cursor.push('A');
        assert_eq!(check(&history, &truth, &seal()), Err(Fault::Unchained(index)));
        faults += 1;
    }
    assert!(faults > 10);
}

#[tokio::test(start_paused = true)]
async fn c3_a_lost_message_is_found() {
    let found = fault(|history| {
        let index = batch(history, 2);
        history.messages.remove(index);
    });
    assert!(matches!(found.await, Err(Fault::Unchained(_))));
}

#[tokio::test(start_paused = true)]
async fn c4_a_command_split_by_a_cursor_is_found() {
    let found = fault(|history| {
        let index = batch(history, 2);
        let mut second = history.messages[index].clone();
        let first = entries(history, index).pop().expect("it has two");
        let Body::Batch { changes: entries, .. } = &mut second.1.body else { panic!("a batch") };
        *entries = vec![first];
        let point = history.entries().last().expect("there are some").point;
        let last = history.messages[..=index].iter().rev().find_map(|(_, message)| match &message.body {
            Body::Batch { changes: entries, .. } => entries.last(),
            _ => None,
        });
        let split = last.map_or(point, |entry| entry.point);
        history.messages[index].1.cursor = crate::feed::Cursor::new(split, &chat(), None).seal(&seal());
        history.messages.insert(index + 1, second);
        rechain(history);
    });
    assert!(matches!(found.await, Err(Fault::Split(_))));
}

#[tokio::test(start_paused = true)]
async fn c4_parts_that_do_not_count_are_found() {
    let miscounted = fault(|history| {
        let index = batch(history, 200);
        let Body::Batch { part, .. } = &mut history.messages[index].1.body else { panic!("a batch") };
        *part = 0;
    });
    assert!(matches!(miscounted.await, Err(Fault::Parts(_))));
    let early = fault(|history| {
        let index = batch(history, 500);
        history.messages[index].1.cursor = history.last_cursor().expect("it has one");
        rechain(history);
    });
    assert!(matches!(early.await, Err(Fault::Parts(_))));
}

#[tokio::test(start_paused = true)]
async fn c9_a_bookmark_before_its_changes_is_found() {
    let found = fault(|history| {
        let index = batch(history, 2);
        assert!(matches!(history.messages[index + 1].1.body, Body::Bookmark { .. }));
        history.messages.swap(index, index + 1);
        rechain(history);
    });
    assert!(matches!(found.await, Err(Fault::Ahead(_))));
}

#[tokio::test(start_paused = true)]
async fn c9_a_bookmark_that_says_more_than_its_cursor_is_found() {
    let found = fault(|history| {
        let index = index_of(history, |body| matches!(body, Body::Bookmark { .. }));
        let Body::Bookmark { position } = &mut history.messages[index].1.body else { panic!("a bookmark") };
        *position += 1;
    });
    assert!(matches!(found.await, Err(Fault::Misplaced(_))));
}

#[tokio::test(start_paused = true)]
async fn c9_a_missing_bookmark_is_found() {
    let (mut history, _) = recorded(beginning()).await;
    let index = index_of(&history, |body| matches!(body, Body::Bookmark { .. }));
    history.messages.remove(index);
    let last = history.messages[history.messages.len() - 1].0;
    assert_eq!(on_time(&history, last), Err(Fault::Late(index)));
}

#[tokio::test(start_paused = true)]
async fn c7_a_cursor_of_another_history_is_found() {
    let (history, mut truth) = recorded(beginning()).await;
    let last = truth.ids.len() - 1;
    truth.ids.swap(0, last);
    assert!(matches!(check(&history, &truth, &seal()), Err(Fault::Misplaced(_))));
}

#[tokio::test(start_paused = true)]
async fn c5_a_thing_missing_from_the_pages_is_found() {
    let mut missing = None;
    let found = fault_of(Start::Snapshot { refusal: None }, |history| {
        let index = index_of(history, |body| matches!(body, Body::SnapshotPage { .. }));
        let Body::SnapshotPage { things, .. } = &mut history.messages[index].1.body else { panic!("a page") };
        missing = things.pop().map(|thing| version(&thing).0);
        // It changes again later on, which would heal it.
        let end = batch(history, 700 - 500);
        history.messages.truncate(end - 1);
    });
    let found = found.await;
    assert_eq!(found, Err(Fault::Outdated(missing.expect("the page had one"))));
}

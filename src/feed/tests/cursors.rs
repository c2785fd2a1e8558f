//! C3 and C6: cursors, in the stream and on their own.

use std::time::Duration;

use uuid::Uuid;

use super::{
    app, chat,
    log::Log,
    organization,
    replica::{Replica, after, beginning},
    seal,
};
use crate::{
    feed::{Body, Cursor, CursorRefusal, Entry, Point, Scope, Start},
    rules::ids::{ChangeId, StoreId, SubscriptionId},
    seal::{Purpose, Seal},
};

fn point() -> Point {
    Point { position: 42, change_id: ChangeId(Uuid::from_u128(7)) }
}

#[tokio::test(start_paused = true)]
async fn c3_every_message_names_the_cursor_before_it() {
    let log = Log::new();
    log.commit_many("chat", 1_200);
    let replica = Replica::start(&log);
    let mut follower = replica.snapshot();
    follower.listen(Duration::from_secs(3)).await;
    for size in [1, 1_001, 3] {
        log.commit_many("chat", size);
        follower.listen(Duration::from_secs(2)).await;
    }
    follower.check();
    let kinds = |wanted: fn(&Body<Vec<Entry>>) -> bool| {
        follower.history.messages.iter().filter(|(_, message)| wanted(&message.body)).count()
    };
    assert_eq!(kinds(|body| matches!(body, Body::SnapshotPage { .. })), 3);
    assert_eq!(kinds(|body| matches!(body, Body::Batch { .. })), 5);
    assert!(kinds(|body| matches!(body, Body::Bookmark { .. })) > 5);
}

#[tokio::test(start_paused = true)]
async fn c3_the_chain_begins_with_the_cursor_that_was_resumed() {
    let log = Log::new();
    log.commit_many("chat", 3);
    log.commit_many("chat", 3);
    let replica = Replica::start(&log);
    let mut first = replica.follow(beginning());
    first.reach(6).await;
    let Start::After { text, point } = first.resume() else { panic!("it has a cursor") };
    let mut second = replica.follow(Start::After { text: text.clone(), point });
    let opened = second.next().await.expect("opened");
    assert_eq!((opened.previous_cursor, opened.cursor), (text, String::new()));
    assert_eq!(opened.body, Body::Opened { head: 6, snapshot_follows: false, refusal: None });
    log.commit_many("chat", 3);
    second.catch_up().await;
    second.check();
    assert_eq!(second.positions(), [7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn c6_a_refused_cursor_is_named_by_the_snapshot_in_its_place() {
    let log = Log::new();
    let replica = Replica::start(&log);
    let refusal = Some(CursorRefusal::ScopeChanged);
    let mut follower = replica.follow(Start::Snapshot { refusal });
    let opened = follower.next().await.expect("opened");
    assert_eq!(opened.body, Body::Opened { head: 0, snapshot_follows: true, refusal });
}

#[tokio::test(start_paused = true)]
async fn c6_every_cursor_of_a_stream_resumes_it() {
    let log = Log::new();
    for size in [3, 501, 2, 1_000] {
        log.commit_many("chat", size);
        log.commit_many("boards", size);
    }
    let head = log.sequence_now().position;
    let replica = Replica::start(&log);
    let mut follower = replica.follow(beginning());
    follower.reach(head).await;
    let all = follower.positions();
    for (_, message) in follower.history.messages.iter().filter(|(_, message)| !message.cursor.is_empty()) {
        let cursor = Cursor::open(&replica.seal, &message.cursor).expect("ours");
        let mut resumed = replica.follow(after(cursor.point));
        resumed.reach(head).await;
        resumed.check();
        let rest = all.iter().copied().filter(|position| *position > cursor.point.position);
        assert_eq!(resumed.positions(), rest.collect::<Vec<_>>());
    }
}

#[test]
fn c6_a_cursor_comes_back_as_it_was() {
    let subscription = SubscriptionId(Uuid::from_u128(9));
    for subscription in [None, Some(subscription)] {
        let cursor = Cursor::new(point(), &chat(), subscription);
        let opened = Cursor::open(&seal(), &cursor.seal(&seal())).expect("ours");
        assert_eq!(opened, cursor);
        assert_eq!(opened.subscription, subscription, "an observer's cursor has none");
        assert!(opened.is_of(&chat()));
    }
}

#[test]
fn c6_a_cursor_of_elsewhere_is_refused() {
    let text = Cursor::new(point(), &chat(), None).seal(&seal());
    let other = Seal::new(StoreId(Uuid::from_u128(2)), vec![(1, vec![7; 32])]).expect("has a key");
    assert_eq!(Cursor::open(&other, &text), Err(CursorRefusal::WrongStore));
    assert_eq!(Cursor::open(&seal(), &text[1..]), Err(CursorRefusal::Invalid));
    assert_eq!(Cursor::open(&seal(), ""), Err(CursorRefusal::Invalid));
    let token = seal().seal(Purpose::Token, &[0; 56]);
    assert_eq!(Cursor::open(&seal(), &token), Err(CursorRefusal::Invalid));
    let short = seal().seal(Purpose::Cursor, &[0; 55]);
    assert_eq!(Cursor::open(&seal(), &short), Err(CursorRefusal::Invalid));
}

#[test]
fn c6_a_cursor_knows_its_scope() {
    let scope = |name, organizations: &[u128]| {
        Scope::new(app(name), organizations.iter().map(|number| organization(*number)).collect())
    };
    let cursor = Cursor::new(point(), &scope("chat", &[1, 2]), None);
    for same in [&[1, 2][..], &[2, 1], &[2, 1, 2, 1]] {
        assert!(cursor.is_of(&scope("chat", same)), "{same:?}");
    }
    for other in [&[][..], &[1], &[2], &[1, 2, 3]] {
        assert!(!cursor.is_of(&scope("chat", other)), "{other:?}");
    }
    assert!(!cursor.is_of(&scope("boards", &[1, 2])));
    assert!(!cursor.is_of(&scope("chat-1", &[2])));
}

#[test]
fn c11_ten_thousand_forged_cursors_open_to_nothing() {
    let (seal, mut dice) = (seal(), super::Dice(0x9E37_79B9_7F4A_7C15));
    let cursor = Cursor::new(point(), &chat(), Some(SubscriptionId(Uuid::from_u128(9))));
    let text = cursor.seal(&seal).into_bytes();
    let length = u64::try_from(text.len()).expect("short");
    for _ in 0..10_000 {
        let mut forged = text.clone();
        for _ in 0..=dice.below(4) {
            let place = usize::try_from(dice.below(length)).expect("short");
            forged[place] ^= 1 << dice.below(7);
        }
        if forged != text {
            let forged = String::from_utf8(forged).expect("ASCII");
            assert_eq!(Cursor::open(&seal, &forged), Err(CursorRefusal::Invalid), "{forged}");
        }
    }
}

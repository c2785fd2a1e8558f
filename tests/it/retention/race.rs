//! T24: writers, watchers that resume near the floor, and trimming, all at once. A watcher that goes on has no gap; one
//! that cannot is told so.

use futures_util::future::join_all;
use rollcall_client::v1::{WatchRequest, watch_response::Message};
use tokio::{sync::watch, task::JoinError};
use tonic::{Code, Status};

use super::{A_DAY, Reader, age, chat, head, trim};
use crate::{
    fixtures::{Org, Person, World, reason},
    support::{Channel, Server},
};

const PEOPLE: usize = 8;
const DEPARTURES: usize = 120;
/// Changes before the head that are left alone: fewer than a watcher that pauses falls behind.
const YOUNG: i64 = 3;

/// Deactivates and reactivates people, and counts.
async fn write(world: &World, org: &Org, people: &[Person], done: watch::Sender<usize>) {
    for number in 0..DEPARTURES {
        let person = &people[number % PEOPLE];
        world.operator().deactivate_in(org, &org.general, person).await.expect("a departure");
        world.operator().reactivate_in(org, &org.general, person).await.expect("a return");
        done.send_replace(number + 1);
    }
}

/// Trims all but the newest changes, again and again.
async fn trim_on(server: &Server, mut done: watch::Receiver<usize>) -> i64 {
    let own = server.another_connection().await;
    let mut floor = 0;
    loop {
        age(&own.client, head(&own.client).await - YOUNG).await;
        floor = floor.max(trim(&own.client, A_DAY).await.0);
        if done.changed().await.is_err() {
            return floor;
        }
    }
}

/// What a watcher met with.
#[derive(Debug, Default)]
struct Met {
    resumed: usize,
    compacted: usize,
}

/// Watches until it has seen the position of `end`, which is sent once everything is written.
async fn follow(
    channel: Channel,
    mut done: watch::Receiver<usize>,
    end: watch::Receiver<i64>,
    own: usize,
) -> Met {
    let mut met = Met::default();
    let (mut cursor, mut position) = (String::new(), 0);
    for session in own.. {
        let request = WatchRequest { cursor: cursor.clone(), ..chat() };
        match look(&channel, request, &mut position, session % 4 + 1, &end).await {
            Ok(new) => {
                met.resumed += usize::from(!cursor.is_empty());
                cursor = new;
            }
            Err(status) => {
                assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
                assert_eq!(reason(&status), "CURSOR_COMPACTED", "at {position}");
                met.compacted += 1;
                cursor = String::new();
            }
        }
        let last = *end.borrow();
        if last > 0 && position >= last {
            return met;
        }
        // Falls behind by some writes, or by none.
        let until = *done.borrow_and_update() + session % 4;
        let _ = done.wait_for(|written| *written >= until).await;
    }
    unreachable!("sessions do not run out")
}

/// Reads some batches of a stream, and checks that no position is left out. Every change is in the scope.
async fn look(
    channel: &Channel,
    request: WatchRequest,
    position: &mut i64,
    batches: usize,
    end: &watch::Receiver<i64>,
) -> Result<String, Status> {
    let mut cursor = request.cursor.clone();
    let (mut reader, opened) = Reader::open(channel.clone(), request).await?;
    assert_eq!(opened.snapshot_follows, cursor.is_empty());
    let mut read = 0;
    while read < batches {
        let last = *end.borrow();
        if last > 0 && *position >= last {
            break;
        }
        let message = reader.next().await?;
        match message.message.expect("every message says something") {
            Message::SnapshotEnd(found) => *position = found.position,
            Message::Batch(batch) => {
                for change in batch.changes {
                    assert_eq!(change.position, *position + 1, "C1: a change is missing, and nobody said so");
                    *position = change.position;
                }
                read += 1;
            }
            Message::Bookmark(bookmark) => {
                assert_eq!(bookmark.position, *position, "C9: nothing is left out before a bookmark");
                // Nothing new for a second.
                read += 1;
            }
            _ => {}
        }
        if !message.cursor.is_empty() {
            cursor = message.cursor;
        }
    }
    Ok(cursor)
}

/// Trimming moves rows into the history and says of none that it is gone.
const FLOOR_STANDS_STILL: &str = "
    CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.position := OLD.position; NEW.change_id := OLD.change_id; RETURN NEW; END $$;
    CREATE TRIGGER stand_still BEFORE UPDATE ON log_floor FOR EACH ROW EXECUTE FUNCTION stand_still();";

/// Writers, watchers and trimming. Gives the floor, and what each watcher met with: an error where it was not told of what
/// it missed.
async fn raced(flaw: &str) -> (i64, Vec<Result<Met, JoinError>>) {
    let world = World::on(Server::without_window().await).await;
    world.server().database().batch_execute(flaw).await.expect("the flaw");
    let org = world.organization("ada").await;
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(world.member_in(&org, &format!("p{number}"), &[&org.general]).await);
    }
    let (done, written) = watch::channel(0);
    let (ending, end) = watch::channel(0);
    let watchers: Vec<_> = (0..3)
        .map(|own| tokio::spawn(follow(world.server().channel(), written.clone(), end.clone(), own)))
        .collect();
    let (floor, ()) = tokio::join!(trim_on(world.server(), written), async {
        write(&world, &org, &people, done).await;
        ending.send_replace(head(world.server().database()).await);
    });
    (floor, join_all(watchers).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn c8_no_deactivation_is_missed_while_retention_trims() {
    let (floor, watchers) = raced("").await;
    assert!(floor > 0);
    let mut all = Met::default();
    for watcher in watchers {
        let met = watcher.expect("no gap");
        all = Met { resumed: all.resumed + met.resumed, compacted: all.compacted + met.compacted };
    }
    println!("t24_resumed = {}", all.resumed);
    println!("t24_compacted = {}", all.compacted);
    println!("t24_missed = 0");
    assert!(all.resumed > 0 && all.compacted > 0, "{all:?}: both happen");
}

#[tokio::test(flavor = "multi_thread")]
async fn c8_a_floor_that_stands_still_is_found() {
    let (_, watchers) = raced(FLOOR_STANDS_STILL).await;
    let found = watchers.iter().filter(|met| met.is_err()).count();
    println!("t24_floor_that_stands_still_found_by = {found} of {}", watchers.len());
    assert!(found > 0, "nobody noticed");
}

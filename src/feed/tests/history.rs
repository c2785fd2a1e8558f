//! A recorded history of one stream, and its checks against the contract.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::log::{Truth, version};
use crate::{
    feed::{
        Body, Cursor, Entry, Message, Point, Scope, Start,
        stream::{BATCH, BOOKMARK_INTERVAL},
    },
    rules::ids::MemberId,
    seal::Seal,
};

/// What a follower was sent.
#[derive(Clone)]
pub(super) struct History {
    pub(super) scope: Scope,
    pub(super) start: Start,
    pub(super) messages: Vec<(Instant, Message<Vec<Entry>>)>,
}

/// What is wrong with a history, and at which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// C1, C2: not the next change of the scope.
    NotNext(usize),
    /// C3: another previous cursor than the one before.
    Unchained(usize),
    /// C4: a cursor inside a command.
    Split(usize),
    /// C4: parts that do not count, or a size that is not allowed.
    Parts(usize),
    /// C5: things that are older than the log says.
    Outdated(MemberId),
    /// C9: a cursor or bookmark before something that it covers.
    Ahead(usize),
    /// A cursor of no point of the log, or of another position than its message says.
    Misplaced(usize),
    /// C9: more than a second without a message.
    Late(usize),
}

impl History {
    pub(super) fn new(scope: Scope, start: &Start) -> Self {
        Self { scope, start: start.clone(), messages: Vec::new() }
    }

    pub(super) fn last_cursor(&self) -> Option<String> {
        let mut cursors = self.messages.iter().rev().map(|(_, message)| &message.cursor);
        cursors.find(|cursor| !cursor.is_empty()).cloned()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.messages.iter().flat_map(|(_, message)| match &message.body {
            Body::Batch { changes: entries, .. } => entries.as_slice(),
            _ => &[],
        })
    }

    /// The position after which changes come. None: the snapshot is not complete.
    fn tail_after(&self) -> Option<i64> {
        match &self.start {
            Start::After { point, .. } => Some(point.position),
            Start::Snapshot { .. } => self.messages.iter().find_map(|(_, message)| match message.body {
                Body::SnapshotEnd { position, .. } => Some(position),
                _ => None,
            }),
        }
    }
}

/// Checks a history against the log as it is now.
pub(super) fn check(history: &History, truth: &Truth, seal: &Seal) -> Result<(), Fault> {
    chained(history)?;
    in_order(history, truth)?;
    in_parts(history)?;
    let points = points(history, truth, seal)?;
    whole(&points, truth)?;
    complete(history, &points, truth)?;
    up_to_date(history, &points, truth)
}

/// C3.
fn chained(history: &History) -> Result<(), Fault> {
    let mut before = match &history.start {
        Start::After { text, .. } => text.as_str(),
        Start::Snapshot { .. } => "",
    };
    for (index, (_, message)) in history.messages.iter().enumerate() {
        if message.previous_cursor != before {
            return Err(Fault::Unchained(index));
        }
        if !message.cursor.is_empty() {
            before = &message.cursor;
        }
    }
    Ok(())
}

/// C1, C2: the changes of the scope one after the other, none twice, none missing in between.
fn in_order(history: &History, truth: &Truth) -> Result<(), Fault> {
    let after = history.tail_after();
    let mut wanted = truth.entries.iter().filter(|entry| Some(entry.point.position) > after);
    for (index, (_, message)) in history.messages.iter().enumerate() {
        let Body::Batch { changes: entries, .. } = &message.body else { continue };
        if after.is_none() || entries.iter().any(|entry| wanted.next() != Some(entry)) {
            return Err(Fault::NotNext(index));
        }
    }
    Ok(())
}

/// C4, as a client sees it.
fn in_parts(history: &History) -> Result<(), Fault> {
    let mut expected = 0;
    for (index, (_, message)) in history.messages.iter().enumerate() {
        let ok = match &message.body {
            Body::Batch { changes: entries, part, more_parts } => {
                let one_command = entries.iter().all(|entry| entry.command_id == entries[0].command_id);
                let counted = *part == expected && *more_parts == message.cursor.is_empty();
                expected = if *more_parts { part + 1 } else { 0 };
                counted && (1..=BATCH).contains(&entries.len()) && (one_command || !more_parts)
            }
            _ => expected == 0,
        };
        if !ok {
            return Err(Fault::Parts(index));
        }
    }
    Ok(())
}

/// Where the cursors stand, by message.
fn points(history: &History, truth: &Truth, seal: &Seal) -> Result<Vec<(usize, i64)>, Fault> {
    let mut points = Vec::new();
    for (index, (_, message)) in history.messages.iter().enumerate() {
        if message.cursor.is_empty() {
            continue;
        }
        let cursor = Cursor::open(seal, &message.cursor).map_err(|_| Fault::Misplaced(index))?;
        let Point { position, .. } = cursor.point;
        let said = match message.body {
            Body::Bookmark { position } | Body::SnapshotEnd { position, .. } => position,
            _ => position,
        };
        let onward = points.last().is_none_or(|(_, before)| *before <= position);
        if !truth.has(cursor.point) || !cursor.is_of(&history.scope) || said != position || !onward {
            return Err(Fault::Misplaced(index));
        }
        points.push((index, position));
    }
    Ok(points)
}

/// C4, as the log knows it: no cursor has changes of one command on both sides.
fn whole(points: &[(usize, i64)], truth: &Truth) -> Result<(), Fault> {
    for (index, position) in points {
        let end = truth.entries.partition_point(|entry| entry.point.position <= *position);
        let (before, behind) = truth.entries.split_at(end);
        if let (Some(last), Some(next)) = (before.last(), behind.first())
            && last.command_id == next.command_id
        {
            return Err(Fault::Split(*index));
        }
    }
    Ok(())
}

/// C9: whatever a cursor covers was sent before it, or with it.
fn complete(history: &History, points: &[(usize, i64)], truth: &Truth) -> Result<(), Fault> {
    for (index, position) in points {
        let covered = |entry: &&Entry| {
            Some(entry.point.position) > history.tail_after() && entry.point.position <= *position
        };
        let sent = history.messages[..=*index].iter().map(|(_, message)| match &message.body {
            Body::Batch { changes: entries, .. } => entries.len(),
            _ => 0,
        });
        if sent.sum::<usize>() < truth.entries.iter().filter(covered).count() {
            return Err(Fault::Ahead(*index));
        }
    }
    Ok(())
}

/// C5: what the pages and the changes say, the highest version of each, is what the log says at the last cursor.
fn up_to_date(history: &History, points: &[(usize, i64)], truth: &Truth) -> Result<(), Fault> {
    let (Start::Snapshot { .. }, Some((_, reached))) = (&history.start, points.last()) else {
        return Ok(());
    };
    let replayed = replay(history);
    for entry in truth.entries.iter().filter(|entry| entry.point.position <= *reached) {
        let (id, version) = version(&entry.thing);
        if replayed.get(&id).is_none_or(|known| *known < version) {
            return Err(Fault::Outdated(id));
        }
    }
    Ok(())
}

/// The versions that a client has in the end.
pub(super) fn replay(history: &History) -> BTreeMap<MemberId, i64> {
    let mut replica = BTreeMap::new();
    let pages = history.messages.iter().flat_map(|(_, message)| match &message.body {
        Body::SnapshotPage { things, .. } => things.as_slice(),
        _ => &[],
    });
    for thing in pages.chain(history.entries().map(|entry| &entry.thing)) {
        let (id, version) = version(thing);
        let known = replica.entry(id).or_insert(0);
        *known = version.max(*known);
    }
    replica
}

/// C9: never more than a second without a message.
pub(super) fn on_time(history: &History, until: Instant) -> Result<(), Fault> {
    let times = history.messages.iter().map(|(at, _)| *at).chain([until]);
    let gaps = times.clone().zip(times.skip(1)).map(|(before, next)| next - before);
    match gaps.into_iter().position(|gap: Duration| gap > BOOKMARK_INTERVAL) {
        Some(index) => Err(Fault::Late(index + 1)),
        None => Ok(()),
    }
}

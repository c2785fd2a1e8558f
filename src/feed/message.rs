//! What a stream says: where it begins, its messages, and why it ends.

use bytes::Bytes;

use super::{
    cursor::CursorRefusal,
    registry::Ending,
    source::{Point, Thing},
};

/// A message of a stream. Changes come encoded ([`Encoded`]), so that all streams share the bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Message<C = Encoded> {
    /// The cursor of the message with a cursor before this one; empty: none yet.
    pub previous_cursor: String,
    /// Where to resume after this message; empty: one cannot.
    pub cursor: String,
    /// What it says.
    pub body: Body<C>,
}

/// Changes, encoded: runs of bytes that belong one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(pub Vec<Bytes>);

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<C = Encoded> {
    /// The stream is open.
    Opened {
        /// The head of the log.
        head: i64,
        /// Whether a snapshot follows.
        snapshot_follows: bool,
        /// Why the cursor of the request gave way to a snapshot.
        refusal: Option<CursorRefusal>,
    },
    /// A page of the snapshot.
    SnapshotPage {
        /// Counts from 0.
        index: i32,
        /// The things.
        things: Vec<Thing>,
    },
    /// The snapshot is complete.
    SnapshotEnd {
        /// How many pages there were.
        pages: i32,
        /// The position that it covers.
        position: i64,
        /// The position from which on it may be answered from.
        ready: i64,
    },
    /// Changes.
    Batch {
        /// In order.
        changes: C,
        /// Which part of a long command.
        part: i32,
        /// Whether that command continues.
        more_parts: bool,
    },
    /// Everything up to here was sent.
    Bookmark {
        /// Here.
        position: i64,
    },
}

/// Where a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With a snapshot.
    Snapshot {
        /// The refused cursor that it stands in for.
        refusal: Option<CursorRefusal>,
    },
    /// After a cursor, which was verified.
    After {
        /// Where it stands.
        point: Point,
        /// Its text, which the first message repeats.
        text: String,
    },
}

/// Why a stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEnd {
    /// Its subscription has another stream, or ended.
    Ended(Ending),
    /// The log is another one than it was.
    Forked,
    /// What comes next was trimmed (C8).
    Compacted,
    /// The follower took no message for too long (C10).
    Slow {
        /// The last cursor that was handed out; empty: none was.
        cursor: String,
    },
    /// It is old, and its follower is to come back, maybe to another replica (C10).
    Expired,
    /// The snapshot cannot be read.
    Unreadable,
    /// The replica shuts down.
    ShuttingDown,
    /// The follower is gone.
    Gone,
}

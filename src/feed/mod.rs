//! The feed: one total order of changes, to everyone who follows it.
//!
//! - [`tail`]: the task that has changes sequenced, and reads them for all streams.
//! - [`marks`]: how far the log is known to reach, and has been for some minutes (the trail).
//! - [`window`]: the newest changes, encoded once.
//! - [`cursor`]: where a stream resumes.
//! - [`digest`]: what a follower must hold, in 16 bytes.
//! - [`message`]: what a stream says.
//! - [`stream`]: one follower: snapshot, then changes, then bookmarks, in one queue.
//! - [`mod@queue`]: what lies between a stream and its reader.
//! - [`registry`]: which streams are open, so that a subscription has one.
//!
//! It reads through [`LogSource`] and knows neither SQL nor gRPC, so that time can be paused in its tests.

pub mod cursor;
pub mod digest;
pub mod marks;
pub mod message;
pub mod queue;
pub mod registry;
pub mod source;
pub mod stream;
pub mod tail;
#[cfg(test)]
mod tests;
mod trail;
pub mod window;

pub use self::{
    cursor::{Cursor, CursorRefusal, Scope},
    digest::{Counted, Digest, Digests, Inventory},
    marks::{Known, Mark, Marks},
    message::{Body, Encoded, Message, Start, StreamEnd},
    queue::{Messages, queue},
    registry::{Ending, Registry},
    source::{
        Changes, Encode, Entry, LogSource, Page, Point, Range, Sequence, Sequenced, SourceError, Standing,
        Thing,
    },
    stream::{Follow, Limits},
    tail::{Heard, Listener},
    window::Window,
};

//! The feed: one total order of changes, to everyone who follows it.
//!
//! - [`marks`]: the task that has changes sequenced, and the marks that say how far the log is known to reach.
//! - [`cursor`]: where a stream resumes.
//! - [`message`]: what a stream says.
//! - [`stream`]: one follower: snapshot, then changes, then bookmarks, in one queue.
//! - [`registry`]: which streams are open, so that a subscription has one.
//!
//! It reads through [`LogSource`] and knows neither SQL nor gRPC, so that time can be paused in its tests.

pub mod cursor;
pub mod marks;
pub mod message;
pub mod registry;
pub mod source;
pub mod stream;
#[cfg(test)]
mod tests;

pub use self::{
    cursor::{Cursor, CursorRefusal, Scope},
    marks::{Mark, Marks},
    message::{Body, Message, Start, StreamEnd},
    registry::{Ending, Registry},
    source::{Entry, LogSource, Page, Point, Sequence, SourceError, Thing},
    stream::Follow,
};

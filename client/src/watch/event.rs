//! What a watch is asked, what it gives, and why it ends.

use std::{fmt, time::Duration};

use tonic::Status;

use super::Gap;
use crate::{
    status::describe,
    v1::{Bookmark, ChangeBatch, ErrorReason, Opened, SnapshotEnd, SnapshotPage, watch_response::Message},
};

/// What to follow, and from where.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// The app whose scope to follow.
    pub app: String,
    /// The name of this process, unique among the app's live ones. `None`: an observer, who counts for nothing.
    pub instance: Option<String>,
    /// Only these organizations. Empty: all. A cursor holds for one such list.
    pub organization_ids: Vec<String>,
    /// Where to resume. `None`: a snapshot comes first.
    pub cursor: Option<String>,
    /// Whether members come with their profile, which is personal data.
    pub include_profiles: bool,
    /// Whether a cursor that cannot be resumed means a new snapshot, instead of [`WatchError::CursorRefused`].
    pub snapshot_if_refused: bool,
}

impl WatchOptions {
    /// An observer of everything in the app's scope, from a snapshot on, without profiles.
    #[must_use]
    pub fn new(app: impl Into<String>) -> Self {
        Self {
            app: app.into(),
            instance: None,
            organization_ids: Vec::new(),
            cursor: None,
            include_profiles: false,
            snapshot_if_refused: true,
        }
    }
}

/// What a watch gives.
#[derive(Debug, Clone)]
pub enum Event {
    /// A stream is open: the first one, or the next after a cut. With `snapshot_follows` what was held before is
    /// replaced once [`Event::SnapshotEnd`] has come.
    Opened(Opened),
    /// A page of the snapshot.
    SnapshotPage(SnapshotPage),
    /// The snapshot is complete.
    SnapshotEnd(SnapshotEnd),
    /// Changes.
    Batch(ChangeBatch),
    /// Everything up to here was given.
    Bookmark(Bookmark),
    /// The stream was lost. Nothing needs to be done: it is opened again from the last cursor.
    Disconnected {
        /// What happened.
        cause: Interruption,
        /// When the next attempt is made.
        retry_in: Duration,
    },
}

impl From<Message> for Event {
    fn from(message: Message) -> Self {
        match message {
            Message::Opened(opened) => Self::Opened(opened),
            Message::SnapshotPage(page) => Self::SnapshotPage(page),
            Message::SnapshotEnd(end) => Self::SnapshotEnd(end),
            Message::Batch(batch) => Self::Batch(batch),
            Message::Bookmark(bookmark) => Self::Bookmark(bookmark),
        }
    }
}

/// Why a stream was lost.
#[derive(Debug, Clone)]
pub enum Interruption {
    /// The call failed or the stream ended with this status.
    Status(Box<Status>),
    /// The stream ended without one.
    Ended,
    /// Nothing came for this long, three times what the service promised.
    Silent(Duration),
    /// A message did not follow the one before it.
    Gap(Gap),
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(&describe(status)),
            Self::Ended => f.write_str("the stream ended"),
            Self::Silent(silence) => write!(f, "nothing came for {:.1} s", silence.as_secs_f64()),
            Self::Gap(gap) => gap.fmt(f),
        }
    }
}

/// Why trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No such app is registered (yet).
    #[error("no app called {app:?} is registered")]
    AppNotFound {
        /// The name that was asked for.
        app: String,
    },
    /// The cursor is of another store: this client was pointed at another database.
    #[error(
        "the cursor is of another store: this endpoint serves another database than the one followed so far"
    )]
    WrongStore,
    /// The cursor cannot be resumed, and no snapshot was asked for instead.
    #[error("the cursor cannot be resumed ({}): a snapshot is needed", reason.as_str_name())]
    CursorRefused {
        /// Why.
        reason: ErrorReason,
    },
    /// Another stream took over this subscription or instance name. Fighting back would only alternate.
    #[error("another process follows as instance {instance:?} now")]
    Replaced {
        /// The name.
        instance: String,
    },
    /// Refused for another reason that repeating does not change.
    #[error("{}", describe(status))]
    Refused {
        /// What the service said.
        status: Box<Status>,
    },
    /// A message of a kind that this client does not know: it is older than the service.
    #[error("the service sent a kind of message that this client is too old to know")]
    UnknownMessage,
}

/// What follows from an error.
pub(super) enum Verdict {
    Retry,
    Resubscribe,
    Fail(WatchError),
}

//! The self-check of a stream (C3): each message names the cursor of the one before it, pages and parts are counted.
//! Pure, so that every kind of gap can be tried without a network.

use std::fmt;

use crate::v1::{ChangeBatch, SnapshotEnd, WatchResponse, watch_response::Message};

/// How a message failed to follow the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// Its `previous_cursor` is not the cursor held.
    Cursor,
    /// A page of the snapshot is missing or came twice.
    Page {
        /// The index, or at the end the number of pages, that was due.
        expected: i32,
        /// The one that came.
        got: i32,
    },
    /// A part of a long command is missing or came twice.
    Part {
        /// The part that was due.
        expected: i32,
        /// The part that came.
        got: i32,
    },
    /// A message of a kind that has no place here, such as a second `opened`.
    Order,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cursor => f.write_str("a message is missing: the next one follows another cursor"),
            Self::Page { expected, got } => {
                write!(f, "snapshot page {expected} was due and {got} came")
            }
            Self::Part { expected, got } => write!(f, "part {expected} was due and {got} came"),
            Self::Order => f.write_str("a message came out of order"),
        }
    }
}

/// What the next message of one stream must follow.
#[derive(Debug)]
pub(super) struct Chain {
    /// The cursor of the last message that had one; at first the one in the request.
    held: String,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// In a snapshot, after so many pages.
    Snapshot(i32),
    /// In the tail; the next batch is this part.
    Tail(i32),
}

impl Chain {
    pub(super) fn new(cursor: Option<String>) -> Self {
        Self { held: cursor.unwrap_or_default(), place: Place::Start }
    }

    /// Accepts a message as the next one, or says what is wrong with it.
    pub(super) fn accept(&mut self, response: &WatchResponse) -> Result<(), Gap> {
        let WatchResponse { previous_cursor, cursor, message } = response;
        // Where a snapshot replaces the cursor of the request, either may stand before the first cursor of the stream.
        let fresh = previous_cursor.is_empty() && matches!(self.place, Place::Start | Place::Snapshot(_));
        if *previous_cursor != self.held && !fresh {
            return Err(Gap::Cursor);
        }
        if let Some(message) = message {
            self.place = self.place.after(message)?;
        }
        if !cursor.is_empty() {
            self.held.clone_from(cursor);
        }
        Ok(())
    }
}

impl Place {
    fn after(self, message: &Message) -> Result<Self, Gap> {
        match (self, message) {
            (Self::Start, Message::Opened(opened)) if opened.snapshot_follows => Ok(Self::Snapshot(0)),
            (Self::Start, Message::Opened(_)) => Ok(Self::Tail(0)),
            (Self::Snapshot(expected), Message::SnapshotPage(page)) => {
                let got = page.index;
                if got == expected {
                    Ok(Self::Snapshot(expected + 1))
                } else {
                    Err(Gap::Page { expected, got })
                }
            }
            (Self::Snapshot(expected), Message::SnapshotEnd(SnapshotEnd { pages: got, .. })) => {
                if *got == expected { Ok(Self::Tail(0)) } else { Err(Gap::Page { expected, got: *got }) }
            }
            (Self::Tail(expected), Message::Batch(ChangeBatch { part: got, more_parts, .. })) => {
                if *got != expected {
                    return Err(Gap::Part { expected, got: *got });
                }
                Ok(Self::Tail(if *more_parts { expected + 1 } else { 0 }))
            }
            (Self::Tail(0), Message::Bookmark(_)) => Ok(self),
            _ => Err(Gap::Order),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Bookmark, Opened, SnapshotPage};

    fn message(previous: &str, cursor: &str, message: Message) -> WatchResponse {
        WatchResponse { previous_cursor: previous.into(), cursor: cursor.into(), message: Some(message) }
    }

    fn opened(snapshot_follows: bool) -> Message {
        Message::Opened(Opened { snapshot_follows, ..Opened::default() })
    }

    fn page(index: i32) -> Message {
        Message::SnapshotPage(SnapshotPage { index, subjects: vec![] })
    }

    fn end(pages: i32) -> Message {
        Message::SnapshotEnd(SnapshotEnd { pages, position: 1, ready_position: 1 })
    }

    fn batch(part: i32, more_parts: bool) -> Message {
        Message::Batch(ChangeBatch { changes: vec![], part, more_parts })
    }

    fn bookmark() -> Message {
        Message::Bookmark(Bookmark { position: 1, ..Bookmark::default() })
    }

    fn run(cursor: Option<&str>, messages: Vec<WatchResponse>) -> Result<(), Gap> {
        let mut chain = Chain::new(cursor.map(Into::into));
        messages.iter().try_for_each(|message| chain.accept(message))
    }

    #[test]
    fn c3_a_whole_stream_is_accepted() {
        let snapshot = vec![
            message("", "", opened(true)),
            message("", "", page(0)),
            message("", "", page(1)),
            message("", "a", end(2)),
            message("a", "b", batch(0, false)),
            message("b", "", batch(0, true)),
            message("b", "", batch(1, true)),
            message("b", "c", batch(2, false)),
            message("c", "d", bookmark()),
        ];
        assert_eq!(run(None, snapshot), Ok(()));
        let resumed = vec![message("a", "", opened(false)), message("a", "b", batch(0, false))];
        assert_eq!(run(Some("a"), resumed), Ok(()));
    }

    #[test]
    fn c3_a_refused_cursor_may_or_may_not_stand_before_the_snapshot() {
        for before in ["", "old"] {
            let replaced = vec![
                message("old", "", opened(true)),
                message(before, "", page(0)),
                message(before, "a", end(1)),
                message("a", "b", bookmark()),
            ];
            assert_eq!(run(Some("old"), replaced), Ok(()));
        }
    }

    #[test]
    fn c3_a_missing_message_is_noticed() {
        let lost = vec![message("a", "", opened(false)), message("b", "c", batch(0, false))];
        assert_eq!(run(Some("a"), lost), Err(Gap::Cursor));
        let lost = vec![message("a", "", opened(false)), message("", "c", bookmark())];
        assert_eq!(run(Some("a"), lost), Err(Gap::Cursor));
        let lost = vec![message("", "", opened(true)), message("", "", page(1))];
        assert_eq!(run(None, lost), Err(Gap::Page { expected: 0, got: 1 }));
        let lost = vec![message("", "", opened(true)), message("", "", page(0)), message("", "a", end(2))];
        assert_eq!(run(None, lost), Err(Gap::Page { expected: 1, got: 2 }));
        let lost = vec![
            message("a", "", opened(false)),
            message("a", "", batch(0, true)),
            message("a", "b", batch(2, false)),
        ];
        assert_eq!(run(Some("a"), lost), Err(Gap::Part { expected: 1, got: 2 }));
    }

    #[test]
    fn c3_messages_out_of_place_are_noticed() {
        assert_eq!(run(None, vec![message("", "", page(0))]), Err(Gap::Order));
        let twice = vec![message("a", "", opened(false)), message("a", "", opened(false))];
        assert_eq!(run(Some("a"), twice), Err(Gap::Order));
        let inside = vec![message("", "", opened(true)), message("", "a", batch(0, false))];
        assert_eq!(run(None, inside), Err(Gap::Order));
        let between = vec![
            message("a", "", opened(false)),
            message("a", "", batch(0, true)),
            message("a", "b", bookmark()),
        ];
        assert_eq!(run(Some("a"), between), Err(Gap::Order));
    }
}

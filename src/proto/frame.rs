//! A `WatchResponse` as bytes: what is shared by streams is copied into each, not encoded again.
//!
//! The generated service has [`Frame`] where the API says `WatchResponse` (`build.rs`). The numbers of the fields are those
//! of `feed_service.proto`; the tests read every frame as any client does.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

use super::v1::{Bookmark, Opened, SnapshotEnd, SnapshotPage};

/// Field numbers of WatchResponse.
const PREVIOUS_CURSOR: u32 = 1;
const CURSOR: u32 = 2;
const OPENED: u32 = 3;
const SNAPSHOT_PAGE: u32 = 4;
const SNAPSHOT_END: u32 = 5;
const BATCH: u32 = 6;
const BOOKMARK: u32 = 7;
/// Field numbers of ChangeBatch.
const CHANGES: u32 = 1;
const PART: u32 = 2;
const MORE_PARTS: u32 = 3;

/// What gRPC puts before a message: a flag and the length.
const PREFIX: usize = 5;
/// A frame of at most so many bytes is one chunk: copying it costs less than another frame of HTTP/2.
const WHOLE: usize = 4 * 1024;

/// A `WatchResponse`, encoded: what is the stream's own, then runs of bytes that it may share with others.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    own: Vec<u8>,
    shared: Vec<Bytes>,
}

impl Frame {
    fn new(previous_cursor: &str, cursor: &str) -> Self {
        let mut own = Vec::with_capacity(previous_cursor.len() + cursor.len() + 64);
        for (field, text) in [(PREVIOUS_CURSOR, previous_cursor), (CURSOR, cursor)] {
            if !text.is_empty() {
                encoding::encode_key(field, WireType::LengthDelimited, &mut own);
                encoding::encode_varint(text.len() as u64, &mut own);
                own.extend(text.as_bytes());
            }
        }
        Self { own, shared: Vec::new() }
    }

    fn with(mut self, field: u32, message: &impl Message) -> Self {
        encoding::message::encode(field, message, &mut self.own);
        self
    }

    /// With that the stream is open.
    pub fn opened(previous_cursor: &str, cursor: &str, message: &Opened) -> Self {
        Self::new(previous_cursor, cursor).with(OPENED, message)
    }

    /// With a page of the snapshot.
    pub fn snapshot_page(previous_cursor: &str, cursor: &str, message: &SnapshotPage) -> Self {
        Self::new(previous_cursor, cursor).with(SNAPSHOT_PAGE, message)
    }

    /// With the end of the snapshot.
    pub fn snapshot_end(previous_cursor: &str, cursor: &str, message: &SnapshotEnd) -> Self {
        Self::new(previous_cursor, cursor).with(SNAPSHOT_END, message)
    }

    /// With a bookmark.
    pub fn bookmark(previous_cursor: &str, cursor: &str, message: &Bookmark) -> Self {
        Self::new(previous_cursor, cursor).with(BOOKMARK, message)
    }

    /// With changes, each written by [`Frame::write_change`].
    pub fn batch(
        previous_cursor: &str,
        cursor: &str,
        changes: Vec<Bytes>,
        part: i32,
        more_parts: bool,
    ) -> Self {
        let mut frame = Self::new(previous_cursor, cursor);
        // Fields may come in any order: what is not shared comes first.
        let mut own = Vec::new();
        if part != 0 {
            encoding::int32::encode(PART, &part, &mut own);
        }
        if more_parts {
            encoding::bool::encode(MORE_PARTS, &more_parts, &mut own);
        }
        let length = own.len() + changes.iter().map(Bytes::len).sum::<usize>();
        encoding::encode_key(BATCH, WireType::LengthDelimited, &mut frame.own);
        encoding::encode_varint(length as u64, &mut frame.own);
        frame.own.extend(own);
        frame.shared = changes;
        frame
    }

    /// The frame as gRPC sends it, with its prefix, in chunks that share what it shares.
    pub fn into_chunks(self) -> VecDeque<Bytes> {
        let length = self.encoded_len();
        let mut chunk = Vec::with_capacity(PREFIX + if length <= WHOLE { length } else { self.own.len() });
        // Not compressed.
        chunk.push(0);
        // A message is far below 4 GiB: at most 500 changes, or things of a page.
        chunk.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        chunk.extend(self.own);
        if length <= WHOLE {
            self.shared.iter().for_each(|run| chunk.extend_from_slice(run));
            return VecDeque::from([Bytes::from(chunk)]);
        }
        std::iter::once(Bytes::from(chunk)).chain(self.shared).collect()
    }

    /// Writes a change as it stands in a batch.
    pub fn write_change(change: &super::v1::Change, out: &mut Vec<u8>) {
        encoding::message::encode(CHANGES, change, out);
    }
}

/// A `WatchResponse` that was encoded elsewhere.
impl From<Vec<u8>> for Frame {
    fn from(own: Vec<u8>) -> Self {
        Self { own, shared: Vec::new() }
    }
}

impl Message for Frame {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.own);
        self.shared.iter().for_each(|run| buffer.put_slice(run));
    }

    fn encoded_len(&self) -> usize {
        self.own.len() + self.shared.iter().map(Bytes::len).sum::<usize>()
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        // The service never reads one.
        encoding::skip_field(wire_type, tag, buffer, context)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

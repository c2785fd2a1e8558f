//! One open stream: its next message, checked, or why there is none.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Streaming;

use super::{Interruption, chain::Chain};
use crate::v1::{WatchResponse, watch_response::Message};

/// Until `opened` says how often messages come: as patient as with the call itself.
const FIRST_SILENCE: Duration = Duration::from_secs(30);
/// So many missed bookmarks are a dead connection.
const MISSED_BOOKMARKS: u32 = 3;

pub(super) struct OpenStream {
    messages: Streaming<WatchResponse>,
    chain: Chain,
    /// How long to wait for the next message.
    silence: Duration,
    /// How long at most one comes in the tail.
    promised: Duration,
    /// Since when the next message is awaited. Kept across dropped calls, so that a caller who polls often still
    /// notices silence; set only by waiting, so that a caller who is slow does not take itself for a dead server.
    waiting_since: Option<Instant>,
}

impl OpenStream {
    pub(super) fn new(messages: Streaming<WatchResponse>, cursor: Option<String>) -> Self {
        Self {
            messages,
            chain: Chain::new(cursor),
            silence: FIRST_SILENCE,
            promised: FIRST_SILENCE,
            waiting_since: None,
        }
    }

    pub(super) async fn next(&mut self) -> Result<WatchResponse, Interruption> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        // Biased towards messages: what is here already is taken even when the deadline has passed meanwhile.
        let message = tokio::time::timeout_at(since + self.silence, self.messages.message())
            .await
            .map_err(|_| Interruption::Silent(self.silence))?
            .map_err(|status| Interruption::Status(Box::new(status)))?
            .ok_or(Interruption::Ended)?;
        self.waiting_since = None;
        self.chain.accept(&message).map_err(Interruption::Gap)?;
        self.listen_for(&message);
        Ok(message)
    }

    /// How long to wait for the message after this one.
    fn listen_for(&mut self, message: &WatchResponse) {
        match &message.message {
            Some(Message::Opened(opened)) => {
                let interval =
                    opened.bookmark_interval.and_then(|interval| Duration::try_from(interval).ok());
                if let Some(interval) = interval.filter(|interval| !interval.is_zero()) {
                    self.promised = interval * MISSED_BOOKMARKS;
                }
                // The pages of a snapshot come as fast as they are read. Taking a slow one for a dead connection would
                // begin the snapshot anew, and slower for everyone; a dead peer is noticed by its pings.
                if !opened.snapshot_follows {
                    self.silence = self.promised;
                }
            }
            Some(Message::SnapshotEnd(_)) => self.silence = self.promised,
            _ => {}
        }
    }
}

//! Followers who keep what they are told and know no more than a cursor: across streams that end, and anew where their
//! history is over.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rollcall_client::{
    reason,
    v1::{
        ErrorReason, WatchRequest, WatchResponse, feed_service_client::FeedServiceClient,
        watch_response::Message,
    },
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tonic::Status;
use uuid::Uuid;

use crate::support::{Channel, Database};

const AGAIN: Duration = Duration::from_millis(20);

/// What a follower has.
#[derive(Default)]
struct Held {
    /// The changes since its last snapshot, by position.
    changes: BTreeMap<i64, Uuid>,
    /// What the snapshot covers.
    snapshot: i64,
    /// Everything up to here was told.
    told: i64,
    cursor: String,
    /// How often it was told that its history is over.
    forks: usize,
    /// Changes that were told at a position that had another one.
    contradicted: usize,
    silence: Duration,
    last: Option<Instant>,
}

/// One of them.
pub(super) struct Follower {
    held: Arc<Mutex<Held>>,
    task: JoinHandle<()>,
}

/// How what a follower holds compares with the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compared {
    /// What it keeps and the log does not have.
    pub(super) phantoms: usize,
    /// What the log has and it was not told, or told otherwise.
    pub(super) missed: usize,
}

impl Follower {
    pub(super) fn start(channel: Channel) -> Self {
        let held = Arc::new(Mutex::new(Held::default()));
        let task = tokio::spawn({
            let held = Arc::clone(&held);
            async move {
                loop {
                    if let Err(status) = follow(&channel, &held).await {
                        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                        if reason(&status) == Some(ErrorReason::CursorForked) {
                            let (silence, last, forks) = (held.silence, held.last, held.forks + 1);
                            *held = Held { silence, last, forks, ..Held::default() };
                        }
                    }
                    sleep(AGAIN).await;
                }
            }
        });
        Self { held, task }
    }

    /// How often it was told that its history is over.
    pub(super) fn forks(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).forks
    }

    /// Whether it was told everything up to this position.
    pub(super) fn has_passed(&self, position: i64) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).told >= position
    }

    /// The longest time without a message, that which goes on included.
    pub(super) fn longest_silence(&self) -> Duration {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.silence.max(held.last.map_or(Duration::ZERO, |last| last.elapsed()))
    }

    /// Compares what it holds with the log, up to where it is.
    pub(super) async fn compare(&self, database: &Database) -> Compared {
        // Noted before it is looked for: a change is in the log before anybody is told of it.
        let (held, snapshot, told, contradicted) = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            (held.changes.clone(), held.snapshot, held.told, held.contradicted)
        };
        let query = "SELECT position, change_id FROM changes WHERE position > $1 AND 'chat' = ANY(apps)";
        let rows = database.client.query(query, &[&snapshot]).await.expect("the log");
        let log: BTreeMap<i64, Uuid> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let phantoms = held.iter().filter(|(position, id)| log.get(position) != Some(id)).count();
        let missed = log.range(..=told).filter(|(position, id)| held.get(position) != Some(id)).count();
        Compared { phantoms, missed: missed + contradicted }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One stream, to its end.
async fn follow(channel: &Channel, held: &Mutex<Held>) -> Result<(), Status> {
    let cursor = held.lock().unwrap_or_else(PoisonError::into_inner).cursor.clone();
    let request = WatchRequest { app: "chat".to_owned(), cursor, ..Default::default() };
    let mut feed = FeedServiceClient::new(channel.clone()).max_decoding_message_size(16 << 20);
    let mut stream = feed.watch(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        held.lock().unwrap_or_else(PoisonError::into_inner).take(message);
    }
    Ok(())
}

impl Held {
    fn take(&mut self, message: WatchResponse) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.silence = self.silence.max(now - last);
        }
        match message.message {
            Some(Message::SnapshotEnd(end)) => {
                self.changes.clear();
                (self.snapshot, self.told) = (end.position, end.position);
            }
            Some(Message::Batch(batch)) => {
                for change in batch.changes {
                    let id = change.change_id.parse().expect("an id");
                    let other = self.changes.insert(change.position, id).is_some_and(|held| held != id);
                    self.contradicted += usize::from(other);
                    self.told = self.told.max(change.position);
                }
            }
            Some(Message::Bookmark(bookmark)) => self.told = self.told.max(bookmark.position),
            _ => {}
        }
        if !message.cursor.is_empty() {
            self.cursor = message.cursor;
        }
    }
}

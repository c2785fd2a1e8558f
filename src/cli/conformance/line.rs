//! One stream, as the script speaks on it: each message carries the cursor of the one before, and where nothing else is
//! said, a bookmark comes often enough.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use prost::Message as _;
use rollcall_client::v1::{
    Bookmark, Change, ChangeBatch, ErrorReason, Opened, SnapshotEnd, SnapshotPage, Subject, WatchResponse,
    watch_response::Message,
};
use tonic::Status;
use uuid::Uuid;

use super::{
    desk::{Desk, Messages, WatchCall},
    stage::TTL,
};

/// How often a stream on which nothing is said gets a bookmark.
const TICK: Duration = Duration::from_millis(200);

/// How a stream opens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    /// What `bookmark_interval` says.
    pub(super) interval: Duration,
    /// Why a snapshot comes although there is a cursor.
    pub(super) refusal: Option<ErrorReason>,
    /// What it says to be the store.
    pub(super) store_id: &'static str,
}

/// The store of the scripts.
const STORE: &str = "0190b7a4-1111-7000-8000-00000000c0de";
/// A store that it is not.
pub(super) const ANOTHER_STORE: &str = "0190b7a4-1111-7000-8000-00000000dead";

impl Default for Opening {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), refusal: None, store_id: STORE }
    }
}

/// Where a stream is.
#[derive(Debug)]
struct Place {
    /// The last cursor.
    cursor: String,
    position: i64,
    /// Whether bookmarks come by themselves.
    ticking: bool,
}

/// One stream. Dropped, it is cut.
pub(super) struct Line {
    desk: Arc<Desk>,
    pub(super) subscription: String,
    messages: Messages,
    place: Arc<Mutex<Place>>,
    ticks: tokio::task::JoinHandle<()>,
}

impl Line {
    /// Answers the call with a stream: one that resumes, where it has a cursor and nothing is refused.
    pub(super) fn open(desk: &Arc<Desk>, call: WatchCall, position: i64, opening: Opening) -> Self {
        let Opening { interval, refusal, store_id } = opening;
        let asked_for = call.request.cursor.is_empty() || call.request.snapshot_anyway;
        let snapshot_follows = asked_for || refusal.is_some();
        let cursor = if snapshot_follows { String::new() } else { call.request.cursor.clone() };
        let asked = call.request.subscription_id.clone();
        let subscription = if desk.is_live(&asked) { asked } else { Uuid::now_v7().to_string() };
        desk.subscribe(&subscription);
        let messages = call.accept();
        let place = Arc::new(Mutex::new(Place { cursor, position, ticking: false }));
        let ticks = tokio::spawn(tick(Arc::clone(&place), messages.clone()));
        let line = Self { desk: Arc::clone(desk), subscription, messages, place, ticks };
        line.say(
            Message::Opened(Opened {
                store_id: store_id.to_owned(),
                subscription_id: line.subscription.clone(),
                head_position: position,
                snapshot_follows,
                cursor_refusal: refusal.map_or(0, |reason| reason as i32),
                bookmark_interval: prost_types::Duration::try_from(interval).ok(),
                lease_ttl: prost_types::Duration::try_from(TTL).ok(),
                serve_stale: false,
            }),
            false,
        );
        line
    }

    /// Lets bookmarks come by themselves, or not any more.
    pub(super) fn tick(&self, ticking: bool) {
        self.place().ticking = ticking;
    }

    /// The last cursor that was sent.
    pub(super) fn cursor(&self) -> String {
        self.place().cursor.clone()
    }

    /// A page of the snapshot.
    pub(super) fn page(&self, index: i32, subjects: Vec<Subject>) {
        self.say(Message::SnapshotPage(SnapshotPage { index, subjects }), false);
    }

    /// Pages of the snapshot, from the first on.
    pub(super) fn pages(&self, pages: impl IntoIterator<Item = Vec<Subject>>) {
        for (index, subjects) in (0..).zip(pages) {
            self.page(index, subjects);
        }
    }

    /// The end of the snapshot, which covers the position of the stream.
    pub(super) fn end_of_snapshot(&self, pages: i32, ready_position: i64) {
        let position = self.place().position;
        self.say(Message::SnapshotEnd(SnapshotEnd { pages, position, ready_position }), true);
    }

    /// A snapshot in one page, which may be answered from at once.
    pub(super) fn snapshot(&self, subjects: Vec<Subject>) {
        let position = self.place().position;
        self.page(0, subjects);
        self.end_of_snapshot(1, position);
        self.tick(true);
    }

    /// Changes in a message of their own. The cursor of it, and the changes with their positions.
    pub(super) fn batch(&self, changes: Vec<Change>) -> (String, Vec<Change>) {
        let changes = self.numbered(changes);
        self.say(Message::Batch(ChangeBatch { changes: changes.clone(), part: 0, more_parts: false }), true);
        (self.cursor(), changes)
    }

    /// A part of a command that continues in the next message, or its last one.
    pub(super) fn part(&self, part: i32, more_parts: bool, changes: Vec<Change>) -> Vec<Change> {
        let changes = self.numbered(changes);
        self.say(Message::Batch(ChangeBatch { changes: changes.clone(), part, more_parts }), !more_parts);
        changes
    }

    /// Changes that were sent before, as they were then.
    pub(super) fn again(&self, changes: Vec<Change>) -> String {
        self.say(Message::Batch(ChangeBatch { changes, part: 0, more_parts: false }), true);
        self.cursor()
    }

    /// Loses a message: the next one follows a cursor that never arrived.
    pub(super) fn lose(&self) {
        let cursor = new_cursor();
        let mut place = self.place();
        place.position += 3;
        self.desk.sent(&self.subscription, &cursor, place.position);
        place.cursor = cursor;
    }

    /// A bookmark, so many positions further on.
    pub(super) fn bookmark(&self, further: i64) -> String {
        self.place().position += further;
        let position = self.place().position;
        self.say(Message::Bookmark(Bookmark { position, ..Bookmark::default() }), true);
        self.cursor()
    }

    /// A bookmark with the digest of what is held at a position.
    pub(super) fn digest(&self, digest: Vec<u8>, digest_position: i64) {
        let position = self.position();
        self.say(Message::Bookmark(Bookmark { position, digest, digest_position }), true);
    }

    /// Ends the stream.
    pub(super) fn end(self, status: Status) {
        self.place().ticking = false;
        // The queue is longer than any script: no room means that nobody reads, and then nobody is told either.
        let _ = self.messages.try_send(Err(status));
    }

    pub(super) fn position(&self) -> i64 {
        self.place().position
    }

    /// Gives changes their positions and times. Those of other apps lie between them: no gap is a gap.
    fn numbered(&self, mut changes: Vec<Change>) -> Vec<Change> {
        let mut place = self.place();
        place.position += 2;
        for change in &mut changes {
            place.position += 1;
            change.position = place.position;
            change.record_time.get_or_insert_with(|| SystemTime::now().into());
        }
        changes
    }

    fn say(&self, message: Message, resumable: bool) {
        let mut place = self.place();
        let previous_cursor = place.cursor.clone();
        let cursor = if resumable { new_cursor() } else { String::new() };
        if resumable {
            self.desk.sent(&self.subscription, &cursor, place.position);
            place.cursor.clone_from(&cursor);
        }
        // Under the lock: a bookmark must not overtake it.
        send(&self.messages, WatchResponse { previous_cursor, cursor, message: Some(message) });
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        lock(&self.place)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.ticks.abort();
    }
}

/// Bookmarks at the place where the stream is, with the cursor that was sent last: nothing new was said.
async fn tick(place: Arc<Mutex<Place>>, messages: Messages) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let place = lock(&place);
        if place.ticking {
            let bookmark = Bookmark { position: place.position, ..Bookmark::default() };
            let (previous_cursor, cursor) = (place.cursor.clone(), place.cursor.clone());
            send(
                &messages,
                WatchResponse { previous_cursor, cursor, message: Some(Message::Bookmark(bookmark)) },
            );
        }
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(messages: &Messages, response: WatchResponse) {
    // The instance may have gone: what the script waits for then does not come, and that is what is reported.
    let _ = messages.try_send(Ok(response.encode_to_vec().into()));
}

/// A cursor like any other: whoever reads something out of it fails.
fn new_cursor() -> String {
    Uuid::new_v4().simple().to_string()
}

//! One follower: a snapshot where it begins, then every change of its scope, then bookmarks, all in one queue.
//!
//! What it promises (the numbers are the contract's): changes in the order of their positions, none skipped (C1, C2);
//! each message names the cursor before it (C3); the changes of a command together, or in parts of which only the last
//! has a cursor (C4); snapshot and tail without a gap (C5); a bookmark at least every second, never ahead of what was
//! sent (C9). A slow reader costs itself: the queue is short, and nothing is read for it while it is full.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    cursor::{Cursor, Scope},
    marks::{Mark, Marks},
    message::{Body, Message, Start, StreamEnd},
    registry::Registered,
    source::{Entry, LogSource, Page, Point, SourceError},
};
use crate::{rules::ids::SubscriptionId, seal::Seal};

/// A message comes at least this often.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(1);
/// A bookmark is sent after so long without a message: early enough that the interval holds on a busy machine.
const BOOKMARK_AFTER: Duration = Duration::from_millis(800);
/// Changes in a message at most; of 300 bytes each, far below gRPC's 4 MiB.
pub const BATCH: usize = 500;
/// Things on a page of a snapshot at most.
pub const PAGE: usize = 500;
/// Positions that one read may cover: bounds what a scope with few changes scans past in a statement.
const WINDOW: i64 = 20_000;
/// How long to wait before a failed read is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// A stream to be.
pub struct Follow<S> {
    /// The log.
    pub source: Arc<S>,
    /// Where it ends.
    pub marks: Marks,
    /// The keys of the cursors.
    pub seal: Arc<Seal>,
    /// Which changes.
    pub scope: Scope,
    /// Whether members come with their profile.
    pub profiles: bool,
    /// Whose stream. None: an observer's.
    pub subscription: Option<SubscriptionId>,
    /// Its entry among the open streams.
    pub registered: Option<Registered>,
    /// Ends every stream.
    pub shutdown: CancellationToken,
}

/// A running stream.
struct Stream<S> {
    follow: Follow<S>,
    queue: mpsc::Sender<Result<Message, StreamEnd>>,
    /// The last cursor that was sent, as text.
    previous: String,
    /// The last point that a cursor was sent for, or, out of the scope, could be.
    point: Point,
    /// Everything of the scope at or before this position was sent. At or after `point`.
    scanned: i64,
    /// The history that it follows.
    history: u64,
    /// Which part of a long command comes next.
    part: i32,
    /// When the last message was sent.
    sent: Instant,
    /// The mark up to which it reads.
    marked: Option<Instant>,
    /// The mark of the last message.
    told: Option<Instant>,
    /// Whether the first message was sent.
    opened: bool,
}

impl<S: LogSource> Follow<S> {
    /// Runs until the follower is gone or the stream must end; the reason is its last word.
    pub async fn run(mut self, start: Start, queue: mpsc::Sender<Result<Message, StreamEnd>>) {
        let mut registered = self.registered.take();
        let shutdown = self.shutdown.clone();
        let mut stream = Stream {
            follow: self,
            queue: queue.clone(),
            previous: String::new(),
            point: Point::ZERO,
            scanned: 0,
            history: 0,
            part: 0,
            sent: Instant::now(),
            marked: None,
            told: None,
            opened: false,
        };
        let ended = async {
            match &mut registered {
                Some(registered) => registered.ended().await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            end = stream.follow(start) => end,
            ending = ended => StreamEnd::Ended(ending),
            () = shutdown.cancelled() => {
                // A last word on how far it got; without waiting for a reader that does not read.
                stream.farewell();
                StreamEnd::ShuttingDown
            }
            () = queue.closed() => StreamEnd::Gone,
        };
        // The reason says what the follower should do next, so it waits for one that is slow: a replaced one that heard
        // nothing would come back and replace its successor. Only a drain does not wait.
        let drained = async {
            shutdown.cancelled().await;
            sleep(BOOKMARK_INTERVAL).await;
        };
        tokio::select! {
            // Fails where nobody is left to hear it.
            _ = queue.send(Err(end)) => {}
            () = drained => {}
        }
    }
}

impl<S: LogSource> Stream<S> {
    async fn follow(&mut self, start: Start) -> StreamEnd {
        let followed = async {
            self.open(start).await?;
            loop {
                self.step().await?;
            }
        };
        let followed: Result<std::convert::Infallible, StreamEnd> = followed.await;
        match followed {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn open(&mut self, start: Start) -> Result<(), StreamEnd> {
        let mark = match &start {
            // A cursor of another replica may be ahead of what this one knows by now. Whatever was sent was sequenced
            // before, so that a call which begins now finds it, or a log that lost it.
            Start::After { .. } => self.follow.marks.since(Instant::now()).await,
            Start::Snapshot { .. } => self.mark().await,
        };
        self.history = mark.history;
        let head = mark.head.position;
        match start {
            Start::Snapshot { refusal } => {
                let opened = Body::Opened { head, snapshot_follows: true, refusal };
                self.send(opened, None).await?;
                self.snapshot().await
            }
            Start::After { point, text } => {
                self.previous = text;
                self.point = point;
                self.scanned = point.position;
                self.verify(point).await?;
                let opened = Body::Opened { head, snapshot_follows: false, refusal: None };
                self.send(opened, None).await
            }
        }
    }

    /// The cursor was verified, but maybe in a history that ended before the mark was made.
    async fn verify(&self, point: Point) -> Result<(), StreamEnd> {
        if point == Point::ZERO {
            return Ok(());
        }
        loop {
            match self.follow.source.change_at(point.position).await {
                Ok(found) if found == Some(point.change_id) => return Ok(()),
                Ok(_) => return Err(StreamEnd::Forked),
                Err(error) => self.wait_out(error).await,
            }
        }
    }

    /// C5: pages read after the head was noted, then everything after that head; ready once the stream has passed what
    /// was committed before the last page was read.
    async fn snapshot(&mut self) -> Result<(), StreamEnd> {
        let noted = self.mark().await.head;
        let mut cursor = None;
        let mut pages = 0;
        loop {
            let page = self.page(noted, cursor.take()).await?;
            if !page.same_history {
                return Err(StreamEnd::Forked);
            }
            if !page.things.is_empty() {
                self.send(Body::SnapshotPage { index: pages, things: page.things }, None).await?;
                pages += 1;
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let ready = self.follow.marks.since(Instant::now()).await.head.position;
        self.scanned = noted.position;
        self.send(Body::SnapshotEnd { pages, position: noted.position, ready }, Some(noted)).await
    }

    async fn page(&self, noted: Point, cursor: Option<S::Cursor>) -> Result<Page<S::Cursor>, StreamEnd> {
        let Follow { source, scope, profiles, .. } = &self.follow;
        source.snapshot(scope, *profiles, noted, cursor, PAGE).await.map_err(|error| {
            // The snapshot begins anew with the client's next call: it cannot be resumed in the middle.
            tracing::warn!(%error, "a snapshot cannot be read");
            StreamEnd::Unreadable
        })
    }

    /// Sends what is there, or a bookmark when it is time, or waits for either.
    async fn step(&mut self) -> Result<(), StreamEnd> {
        let Some(mark) = self.follow.marks.see() else {
            self.follow.marks.changed().await;
            return Ok(());
        };
        self.marked = Some(mark.at);
        if mark.history != self.history || mark.head.position < self.scanned {
            return Err(StreamEnd::Forked);
        }
        if mark.head.position > self.scanned {
            return self.advance(mark).await;
        }
        // A message for each mark at most: while the log is out of reach there is none that says anything new.
        if self.told == Some(mark.at) {
            self.follow.marks.changed().await;
            return Ok(());
        }
        // Sent when due, by a clock of its own: where calls are slow, the next mark comes too late.
        if !self.is_due() && timeout_at(self.sent + BOOKMARK_AFTER, self.follow.marks.changed()).await.is_ok()
        {
            return Ok(());
        }
        self.send(Body::Bookmark { position: mark.head.position }, Some(mark.head)).await
    }

    fn is_due(&self) -> bool {
        self.sent.elapsed() >= BOOKMARK_AFTER
    }

    /// Reads and sends the next changes up to a mark.
    async fn advance(&mut self, mark: Mark) -> Result<(), StreamEnd> {
        let mut until = mark.head.position.min(self.scanned + WINDOW);
        let entries = loop {
            let Follow { source, scope, profiles, .. } = &self.follow;
            match source.changes(scope, *profiles, self.scanned, until, BATCH + 1).await {
                Ok(entries) => match entries.last() {
                    // A command that reaches past the window is read whole, to know where it ends.
                    Some(last) if entries.len() <= BATCH && last.command_end > until => {
                        until = last.command_end
                    }
                    _ => break entries,
                },
                Err(error) => {
                    self.wait_out(error).await;
                    // Up to a new mark: the log that answers then may be another one.
                    return Ok(());
                }
            }
        };
        if entries.len() <= BATCH {
            self.scanned = until;
            let at_head = until == mark.head.position;
            if entries.is_empty() {
                return self.pass(until, mark.head).await;
            }
            let point = if at_head { mark.head } else { entries[entries.len() - 1].point };
            return self.send_batch(entries, Some(point)).await;
        }
        self.send_first(entries).await
    }

    /// Counts a range without changes of the scope as sent. Where others change much, or the scope is far behind, there
    /// may be one such range after the other: a bookmark at times, so that the reader hears, and resumes from there.
    async fn pass(&mut self, until: i64, head: Point) -> Result<(), StreamEnd> {
        if self.part > 0 {
            // The rest of a command is missing.
            return Err(StreamEnd::Forked);
        }
        if until == head.position {
            self.point = head;
        }
        if !self.is_due() {
            return Ok(());
        }
        let point = if until == head.position {
            head
        } else {
            match self.follow.source.change_at(until).await {
                Ok(Some(change_id)) => Point { position: until, change_id },
                Ok(None) => return Err(StreamEnd::Forked),
                // The next read waits this out.
                Err(_) => return Ok(()),
            }
        };
        self.send(Body::Bookmark { position: until }, Some(point)).await
    }

    /// Sends of a page that is more than full as many whole commands as fit, or the next part of one that does not.
    async fn send_first(&mut self, mut entries: Vec<Entry>) -> Result<(), StreamEnd> {
        // The last entry is there only to tell whether its command began before it.
        let next = entries[BATCH].command_id;
        let whole = entries.iter().position(|entry| entry.command_id == next).unwrap_or(BATCH);
        let complete = whole > 0;
        entries.truncate(if complete { whole } else { BATCH });
        let point = entries[entries.len() - 1].point;
        self.scanned = point.position;
        self.send_batch(entries, complete.then_some(point)).await
    }

    async fn send_batch(&mut self, entries: Vec<Entry>, point: Option<Point>) -> Result<(), StreamEnd> {
        let part = self.part;
        self.send(Body::Batch { entries, part, more_parts: point.is_none() }, point).await?;
        self.part = if point.is_some() { 0 } else { part + 1 };
        Ok(())
    }

    /// Queues a message; waits while the queue is full, and nothing is read meanwhile.
    async fn send(&mut self, body: Body, point: Option<Point>) -> Result<(), StreamEnd> {
        // The place first: a stream that is cancelled while it waits must not have counted the message as sent.
        let place = self.queue.clone().reserve_owned().await.map_err(|_| StreamEnd::Gone)?;
        place.send(Ok(self.message(body, point)));
        self.sent = Instant::now();
        self.told = self.marked;
        self.opened = true;
        Ok(())
    }

    fn message(&mut self, body: Body, point: Option<Point>) -> Message {
        let Follow { seal, scope, subscription, .. } = &self.follow;
        let cursor =
            point.map(|point| Cursor::new(point, scope, *subscription).seal(seal)).unwrap_or_default();
        let message = Message { previous_cursor: self.previous.clone(), cursor: cursor.clone(), body };
        if let Some(point) = point {
            self.point = point;
            self.previous = cursor;
        }
        message
    }

    /// The last bookmark of a drain, where the stream is at a point and the queue has room.
    fn farewell(&mut self) {
        let whole = self.opened && self.part == 0 && !self.previous.is_empty();
        if let (true, Ok(place)) = (whole, self.queue.clone().try_reserve_owned()) {
            let point = self.point;
            place.send(Ok(self.message(Body::Bookmark { position: point.position }, Some(point))));
        }
    }

    /// The newest mark, or the first one.
    async fn mark(&mut self) -> Mark {
        loop {
            if let Some(mark) = self.follow.marks.see() {
                return mark;
            }
            self.follow.marks.changed().await;
        }
    }

    async fn wait_out(&self, error: SourceError) {
        tracing::warn!(%error, "the log cannot be read");
        sleep(RETRY).await;
    }
}

//! One follower: a snapshot where it begins, then every change of its scope, then bookmarks, all in one queue.
//!
//! What it promises (the numbers are the contract's): changes in the order of their positions, none skipped (C1, C2);
//! each message names the cursor before it (C3); the changes of a command together, or in parts of which only the last
//! has a cursor (C4); snapshot and tail without a gap (C5); a bookmark at least every second, never ahead of what was
//! sent (C9). What the window has is taken from there, and what is older is read from the log.
//!
//! A slow reader costs itself (C10): the queue is short, nothing is read for it while it is full, and a reader that takes
//! nothing for too long is cut off.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    cursor::{Cursor, Scope},
    marks::{Known, Marks},
    message::{Body, Message, Start, StreamEnd},
    queue::Outlet,
    registry::Registered,
    source::{Changes, Encode, LogSource, Page, Point, Range, SourceError, Standing},
    window::{Slice, Window},
};
use crate::{rules::ids::SubscriptionId, seal::Seal};

/// A message comes at least this often.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(1);
/// A bookmark is sent after so long without a message: early enough that the interval holds on a busy machine.
const BOOKMARK_AFTER: Duration = Duration::from_millis(800);
/// Changes in a message at most; of 300 bytes each, at most 1.2 kB, far below gRPC's 4 MiB.
pub const BATCH: usize = 500;
/// Things on a page of a snapshot at most.
pub const PAGE: usize = 500;
/// Positions that one read may cover: bounds what a scope with few changes scans past in a statement.
const WINDOW: i64 = 20_000;
/// How long to wait before a failed read is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// What bounds a stream.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a reader may take no message while some wait for it.
    pub patience: Duration,
    /// After how long the stream ends, at a point where it can be resumed.
    pub age: Duration,
}

/// A stream to be.
pub struct Follow<S> {
    /// The log.
    pub source: Arc<S>,
    /// Where it ends.
    pub marks: Marks,
    /// Its newest changes.
    pub window: Arc<Window>,
    /// How others are encoded.
    pub encode: Encode,
    /// What bounds the stream.
    pub limits: Limits,
    /// The keys of the cursors.
    pub seal: Arc<Seal>,
    /// Which changes.
    pub scope: Scope,
    /// Whether members come with their profile.
    pub profiles: bool,
    /// Where a snapshot is noted. None: at the head when it is begun.
    pub noted: Option<Point>,
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
    /// When it ends by itself.
    expires: Instant,
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
    pub async fn run(mut self, start: Start, outlet: Outlet) {
        let mut registered = self.registered.take();
        let shutdown = self.shutdown.clone();
        let (queue, patience, subscription) = (outlet.sender(), self.limits.patience, self.subscription);
        let mut stream = Stream {
            expires: Instant::now() + self.limits.age,
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
        drop(stream);
        if let StreamEnd::Slow { .. } = end {
            tracing::warn!(subscription.id = ?subscription.map(|id| id.0), "a slow reader is cut off");
            return outlet.cut(|cursor| StreamEnd::Slow { cursor });
        }
        // The reason says what the follower should do next, so it waits for one that is slow: a replaced one that heard
        // nothing would come back and replace its successor. Only a drain does not wait.
        let drained = async {
            shutdown.cancelled().await;
            sleep(BOOKMARK_INTERVAL).await;
        };
        tokio::select! {
            // Fails where nobody is left to hear it.
            _ = queue.send(Err(end.clone())) => {}
            () = sleep(patience) => outlet.cut(|_| end),
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
        let known = self.known().await;
        let mark = match &start {
            // A cursor of another replica may be ahead of what this one knows by now. Whatever was sent was sequenced
            // before, so that a call which begins now finds it, or a log that lost it.
            Start::After { point, .. } if point.position > known.end.position => {
                self.follow.marks.since(Instant::now()).await
            }
            _ => known.mark,
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
        if let Some(found) = self.follow.window.change_at(self.history, point.position) {
            return if found == point.change_id { Ok(()) } else { Err(StreamEnd::Forked) };
        }
        loop {
            match self.follow.source.standing(point).await {
                Ok(Standing::There) => return Ok(()),
                Ok(Standing::Forked) => return Err(StreamEnd::Forked),
                Ok(Standing::Compacted) => return Err(StreamEnd::Compacted),
                Err(error) => self.wait_out(error).await,
            }
        }
    }

    /// C5: pages read after the head was noted, then everything after that head; ready once the stream has passed what
    /// was committed before the last page was read.
    async fn snapshot(&mut self) -> Result<(), StreamEnd> {
        let noted = match self.follow.noted {
            Some(noted) => noted,
            None => self.known().await.end,
        };
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
        let Some(Known { mark, end }) = self.follow.marks.see() else {
            self.follow.marks.changed().await;
            return Ok(());
        };
        // Where it can be resumed, that is: not within a command, and not while no stream can be opened (C14).
        if self.part == 0 && Instant::now() >= self.expires {
            self.farewell();
            return Err(StreamEnd::Expired);
        }
        self.marked = Some(mark.at);
        if mark.history != self.history || end.position < self.scanned {
            return Err(StreamEnd::Forked);
        }
        if end.position > self.scanned {
            return self.advance(end).await;
        }
        // Sent when due, by a clock of its own: where calls are slow, the next mark comes too late.
        if !self.is_due() && timeout_at(self.sent + BOOKMARK_AFTER, self.follow.marks.moved()).await.is_ok() {
            return Ok(());
        }
        // A message for each mark at most: while the log is out of reach there is none that says anything new.
        let newest = self.follow.marks.newest().map(|mark| mark.at);
        if newest.is_none() || newest == self.told {
            self.follow.marks.changed().await;
            return Ok(());
        }
        self.marked = newest;
        self.send(Body::Bookmark { position: end.position }, Some(end)).await
    }

    fn is_due(&self) -> bool {
        self.sent.elapsed() >= BOOKMARK_AFTER
    }

    /// Sends the next changes up to the end of what is known.
    async fn advance(&mut self, end: Point) -> Result<(), StreamEnd> {
        let mut until = end.position.min(self.scanned + WINDOW);
        let slice = loop {
            let Some(slice) = self.read(Range { after: self.scanned, until }).await? else {
                // Up to what is known then: the log that answers may be another one.
                return Ok(());
            };
            match slice.places.last() {
                // A command that reaches past the range is read whole, to know where it ends.
                Some(last) if slice.places.len() <= BATCH && last.command_end > until => {
                    until = last.command_end
                }
                _ => break slice,
            }
        };
        if slice.places.len() > BATCH {
            return self.send_first(&slice).await;
        }
        self.scanned = until;
        let Some(last) = slice.places.last() else {
            return self.pass(until, end).await;
        };
        let point = if until == end.position { end } else { last.point };
        self.send_batch(&slice, slice.places.len(), Some(point)).await
    }

    /// One more change of a range than fits into a message: from the window or, where that is too short, from the log.
    /// None: the log cannot be read.
    async fn read(&self, range: Range) -> Result<Option<Slice>, StreamEnd> {
        let Follow { source, window, scope, profiles, encode, .. } = &self.follow;
        if let Some(slice) = window.read(self.history, scope, *profiles, range, BATCH + 1) {
            return Ok(Some(slice));
        }
        match source.changes(scope, *profiles, self.point, range, BATCH + 1).await {
            Ok(Changes { same_history: false, .. }) => Err(StreamEnd::Forked),
            Ok(Changes { floor, .. }) if floor > range.after => Err(StreamEnd::Compacted),
            Ok(Changes { entries, .. }) => Ok(Some(Slice::of(&entries, *profiles, *encode))),
            Err(error) => {
                self.wait_out(error).await;
                Ok(None)
            }
        }
    }

    /// Counts a range without changes of the scope as sent. Where others change much, or the scope is far behind, there
    /// may be one such range after the other: a bookmark at times, so that the reader hears, and resumes from there.
    async fn pass(&mut self, until: i64, end: Point) -> Result<(), StreamEnd> {
        if self.part > 0 {
            // The rest of a command is missing.
            return Err(StreamEnd::Forked);
        }
        if until == end.position {
            self.point = end;
        }
        if !self.is_due() {
            return Ok(());
        }
        let point = if until == end.position {
            end
        } else {
            let found = match self.follow.window.change_at(self.history, until) {
                Some(change_id) => Ok(Some(change_id)),
                None => self.follow.source.change_at(until).await,
            };
            match found {
                Ok(Some(change_id)) => Point { position: until, change_id },
                Ok(None) => return Err(StreamEnd::Forked),
                // The next read waits this out.
                Err(_) => return Ok(()),
            }
        };
        self.send(Body::Bookmark { position: until }, Some(point)).await
    }

    /// Sends of a slice that is more than full as many whole commands as fit, or the next part of one that does not.
    async fn send_first(&mut self, slice: &Slice) -> Result<(), StreamEnd> {
        // The last place is there only to tell whether its command began before it.
        let next = slice.places[BATCH].command_id;
        let whole = slice.places.iter().position(|place| place.command_id == next).unwrap_or(BATCH);
        let complete = whole > 0;
        let changes = if complete { whole } else { BATCH };
        let point = slice.places[changes - 1].point;
        self.scanned = point.position;
        self.send_batch(slice, changes, complete.then_some(point)).await
    }

    async fn send_batch(
        &mut self,
        slice: &Slice,
        changes: usize,
        point: Option<Point>,
    ) -> Result<(), StreamEnd> {
        let (part, changes) = (self.part, slice.encoded(changes));
        self.send(Body::Batch { changes, part, more_parts: point.is_none() }, point).await?;
        self.part = if point.is_some() { 0 } else { part + 1 };
        Ok(())
    }

    /// Queues a message; waits while the queue is full, and nothing is read meanwhile.
    async fn send(&mut self, body: Body, point: Option<Point>) -> Result<(), StreamEnd> {
        // The place first: a stream that is cancelled while it waits must not have counted the message as sent.
        let reserve = self.queue.clone().reserve_owned();
        let place = match timeout(self.follow.limits.patience, reserve).await {
            Ok(place) => place.map_err(|_| StreamEnd::Gone)?,
            Err(_) => return Err(StreamEnd::Slow { cursor: String::new() }),
        };
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

    /// What is known, or will be first.
    async fn known(&mut self) -> Known {
        loop {
            if let Some(known) = self.follow.marks.see() {
                return known;
            }
            self.follow.marks.changed().await;
        }
    }

    async fn wait_out(&self, error: SourceError) {
        tracing::warn!(%error, "the log cannot be read");
        sleep(RETRY).await;
    }
}

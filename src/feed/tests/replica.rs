//! A replica on the in-memory log, and followers that record what they are sent.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    chat,
    history::{History, check},
    log::{Log, encode},
    seal,
};
use crate::{
    feed::{
        Body, Cursor, Encoded, Entry, Follow, Limits, Marks, Message, Messages, Point, Scope, Start,
        StreamEnd, Window, queue, registry::Registered, tail,
    },
    seal::Seal,
};

/// What the service queues for a slow reader.
const QUEUE: usize = 2;
/// A window for some 20,000 of the changes of these tests.
pub(super) const WINDOW: usize = 4 * 1024 * 1024;
/// Longer than any stream that works leaves its follower without a message, in paused time.
const STALLED: Duration = Duration::from_secs(60);

/// A replica that sequences and serves streams.
pub(super) struct Replica {
    pub(super) log: Log,
    pub(super) marks: Marks,
    pub(super) window: Arc<Window>,
    /// What bounds the streams that are opened next.
    pub(super) limits: Limits,
    pub(super) seal: Arc<Seal>,
    _stop: tokio_util::sync::DropGuard,
}

/// A stream and what came on it.
pub(super) struct Follower {
    messages: Messages,
    seal: Arc<Seal>,
    log: Log,
    /// What came, and when.
    pub(super) history: History,
    /// Why it ended.
    pub(super) end: Option<StreamEnd>,
    /// Shuts this stream's replica down, as far as the stream can tell.
    pub(super) shutdown: CancellationToken,
}

impl Replica {
    pub(super) fn start(log: &Log) -> Self {
        let stop = CancellationToken::new();
        let window = Arc::new(Window::new(encode, WINDOW));
        let (marks, _) = tail::start(log.clone(), Arc::clone(&window), Box::new(|_| {}), stop.clone());
        let ever = Duration::from_secs(1_000_000);
        let limits = Limits { patience: ever, age: ever };
        Self { log: log.clone(), marks, window, limits, seal: seal(), _stop: stop.drop_guard() }
    }

    pub(super) fn follow(&self, start: Start) -> Follower {
        self.follow_as(chat(), start, None)
    }

    pub(super) fn snapshot(&self) -> Follower {
        self.follow(Start::Snapshot { refusal: None })
    }

    pub(super) fn follow_as(&self, scope: Scope, start: Start, registered: Option<Registered>) -> Follower {
        let shutdown = CancellationToken::new();
        let (outlet, messages) = queue(QUEUE);
        let follow = Follow {
            source: Arc::new(self.log.clone()),
            marks: self.marks.clone(),
            window: Arc::clone(&self.window),
            encode,
            limits: self.limits,
            seal: Arc::clone(&self.seal),
            scope: scope.clone(),
            profiles: false,
            noted: None,
            subscription: None,
            registered,
            shutdown: shutdown.clone(),
        };
        let history = History::new(scope, &start);
        tokio::spawn(follow.run(start, outlet));
        let (seal, log) = (Arc::clone(&self.seal), self.log.clone());
        Follower { messages, seal, log, history, end: None, shutdown }
    }
}

impl Follower {
    /// The next message. None: the stream ended.
    pub(super) async fn next(&mut self) -> Option<Message<Vec<Entry>>> {
        let next = timeout(STALLED, self.messages.next()).await.expect("the stream stalls");
        match next {
            Some(Ok(message)) => {
                let message = self.decode(message);
                self.history.messages.push((Instant::now(), message.clone()));
                Some(message)
            }
            Some(Err(end)) => {
                self.end = Some(end);
                None
            }
            None => None,
        }
    }

    /// Whether nothing comes for so long.
    pub(super) async fn is_silent_for(&mut self, duration: Duration) -> bool {
        match timeout(duration, self.messages.next()).await {
            Err(_) => true,
            Ok(message) => panic!("not silent: {message:?}"),
        }
    }

    /// Receives until a cursor is at or past a position.
    pub(super) async fn reach(&mut self, position: i64) {
        loop {
            let message = self.next().await.expect("the stream goes on");
            if !message.cursor.is_empty() && self.open(&message.cursor).point.position >= position {
                return;
            }
        }
    }

    /// Receives until the head of the log, sequenced for it.
    pub(super) async fn catch_up(&mut self) {
        let head = self.log.sequence_now();
        self.reach(head.position).await;
    }

    /// Receives what is left until the end, and returns the reason.
    pub(super) async fn finish(&mut self) -> Option<StreamEnd> {
        let all = async { while self.next().await.is_some() {} };
        timeout(STALLED, all).await.expect("the stream ends");
        self.end.clone()
    }

    /// The message with the changes as the log has them.
    fn decode(&self, message: Message) -> Message<Vec<Entry>> {
        let Message { previous_cursor, cursor, body } = message;
        let body = match body {
            Body::Batch { changes: Encoded(runs), part, more_parts } => {
                Body::Batch { changes: self.log.decode(&runs.concat()), part, more_parts }
            }
            Body::Opened { head, snapshot_follows, refusal } => {
                Body::Opened { head, snapshot_follows, refusal }
            }
            Body::SnapshotPage { index, things } => Body::SnapshotPage { index, things },
            Body::SnapshotEnd { pages, position, ready } => Body::SnapshotEnd { pages, position, ready },
            Body::Bookmark { position } => Body::Bookmark { position },
        };
        Message { previous_cursor, cursor, body }
    }

    /// Receives for so long.
    pub(super) async fn listen(&mut self, duration: Duration) {
        let until = Instant::now() + duration;
        while let Ok(message) = tokio::time::timeout_at(until, self.messages.next()).await {
            let message = message.expect("the stream is open").expect("the stream goes on");
            let message = self.decode(message);
            self.history.messages.push((Instant::now(), message));
        }
    }

    /// Checks what came against the log.
    pub(super) fn check(&self) {
        let truth = self.log.truth(&self.history.scope);
        if let Err(fault) = check(&self.history, &truth, &self.seal) {
            panic!("{fault:?}");
        }
    }

    /// Where to resume: after the last cursor that came.
    pub(super) fn resume(&self) -> Start {
        match self.history.last_cursor() {
            Some(text) => Start::After { point: self.open(&text).point, text },
            None => self.history.start.clone(),
        }
    }

    /// The positions of the changes that came.
    pub(super) fn positions(&self) -> Vec<i64> {
        self.history.entries().map(|entry| entry.point.position).collect()
    }

    /// The batches that came: how many changes, which part, whether more follow.
    pub(super) fn batches(&self) -> Vec<(usize, i32, bool)> {
        let batches = self.history.messages.iter().filter_map(|(_, message)| match &message.body {
            Body::Batch { changes: entries, part, more_parts } => Some((entries.len(), *part, *more_parts)),
            _ => None,
        });
        batches.collect()
    }

    fn open(&self, text: &str) -> Cursor {
        Cursor::open(&self.seal, text).expect("a cursor of ours")
    }
}

/// A start after a point of the log, with the cursor that a stream of `chat` would have given for it.
pub(super) fn after(point: Point) -> Start {
    Start::After { point, text: Cursor::new(point, &chat(), None).seal(&seal()) }
}

/// A start before the first change.
pub(super) fn beginning() -> Start {
    after(Point::ZERO)
}

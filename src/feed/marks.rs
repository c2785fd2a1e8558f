//! Marks: what a replica knows of the end of the log, and since when.
//!
//! A *mark* (r, h) says that a call which began at r found the head h: whatever was committed before r stands at or before
//! h. Clocks are monotonic (C17). The calls are made by the replica's one [`Tail`](super::tail).

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::source::Point;

/// How far the log reached when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When the call began.
    pub at: Instant,
    /// The head that it found. Every change up to it was read.
    pub head: Point,
    /// Which of the histories that this replica has seen. Marks of different ones say nothing about each other.
    pub history: u64,
}

/// What the replica knows of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The newest mark.
    pub mark: Mark,
    /// Every change up to here was read: the head of the mark or, while much is read, further. Never in the middle of a
    /// command.
    pub end: Point,
}

/// The newest mark, for everyone in this replica who waits for one.
#[derive(Clone)]
pub struct Marks {
    known: watch::Receiver<Option<Known>>,
    ends: watch::Receiver<Option<End>>,
    wake: Arc<Wake>,
}

/// What makes the next call come sooner.
#[derive(Default)]
pub(super) struct Wake {
    /// Something was committed here.
    pub(super) committed: Notify,
    /// Another head was heard of.
    pub(super) hinted: Notify,
    /// The highest one.
    head: AtomicI64,
}

impl Wake {
    pub(super) fn hinted_head(&self) -> i64 {
        self.head.load(Ordering::Acquire)
    }
}

/// The end of a history. It changes with the log, while marks come all the time: thousands of idle streams are not to be
/// woken by each.
type End = (u64, Point);

/// Where the task says what it knows.
pub(super) struct Teller {
    known: watch::Sender<Option<Known>>,
    ends: watch::Sender<Option<End>>,
    pub(super) wake: Arc<Wake>,
}

impl Teller {
    pub(super) fn tell(&self, now: Option<Known>) {
        let end = now.map(|known| (known.mark.history, known.end));
        self.known.send_replace(now);
        self.ends.send_if_modified(|before| std::mem::replace(before, end) != end);
    }
}

impl Marks {
    pub(super) fn new() -> (Teller, Self) {
        let (known, known_here) = watch::channel(None);
        let (ends, ends_here) = watch::channel(None);
        let wake = Arc::new(Wake::default());
        let marks = Self { known: known_here, ends: ends_here, wake: Arc::clone(&wake) };
        (Teller { known, ends, wake }, marks)
    }

    /// The newest mark. None: the log cannot be reached.
    pub fn newest(&self) -> Option<Mark> {
        self.known.borrow().map(|known| known.mark)
    }

    /// Asks for a mark soon: something was committed, here or elsewhere. Any number of calls make one more at most.
    pub fn wake(&self) {
        self.wake.committed.notify_one();
    }

    /// Says that the log was heard to have this head. Where it is known already nothing comes of it: a replica hears of
    /// its own calls too.
    pub fn hint(&self, head: i64) {
        self.wake.head.fetch_max(head, Ordering::AcqRel);
        self.wake.hinted.notify_one();
    }

    /// Waits for a mark that began at or after `instant`. Pending as long as the log cannot be reached.
    pub async fn since(&self, instant: Instant) -> Mark {
        self.wake();
        let mut known = self.known.clone();
        let found = known.wait_for(|known| known.is_some_and(|known| known.mark.at >= instant)).await;
        match found.map(|known| *known) {
            Ok(Some(known)) => known.mark,
            // The task is gone: the process is shutting down, and no mark will come.
            _ => std::future::pending().await,
        }
    }

    /// Waits until there is another mark than the one last seen through this very handle.
    pub async fn changed(&mut self) {
        if self.known.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the log has another end than the one last seen through this very handle.
    pub async fn moved(&mut self) {
        if self.ends.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What is known, which then counts as seen. None: the log cannot be reached.
    pub fn see(&mut self) -> Option<Known> {
        // The end first: one that comes in between is seen twice instead of never.
        self.ends.borrow_and_update();
        *self.known.borrow_and_update()
    }
}

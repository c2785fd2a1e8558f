//! The tail: the one task of a replica that has changes sequenced, and reads them for all its streams.
//!
//! Where it reads that somebody was erased, it drops what it read before: that may still tell who it was (R42).
//!
//! Each call sequences and then reads what came after the last change that it knows, into the [`Window`]. Every such read
//! looks whether that change is still in the log. Where it is not, the database that answers is another one, promoted
//! without the end of the log, or restored: a new *history* begins, and what follows the old one must end (C7). That the
//! log has grown past the old end in the meantime hides nothing.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    marks::{Known, Mark, Marks, Teller, Wake},
    source::{Entry, Point, Sequence, Sequenced, SourceError},
    window::Window,
};

/// A call at the latest after so long: picks up what a dead replica left behind, finds what a lost notification did not
/// tell, and keeps bookmarks fresh. 20 calls a second of a few index look-ups each are nothing to the database.
pub const POLL: Duration = Duration::from_millis(50);
/// How long a call may take. One moves all that is pending, so it must outlast whatever can pile up; a connection that
/// died without a word would otherwise keep the last mark standing until the kernel gives it up.
const CALL: Duration = Duration::from_secs(30);
/// How far apart calls begin at least. A writer alone does not notice; where many write, each call is a commit, and this
/// makes one for all who come within it.
const SPACING: Duration = Duration::from_millis(2);
/// How long to leave a failing database alone.
const BACKOFF: Duration = Duration::from_millis(250);
/// Changes that one call reads at most: streams are told of them before the next ones are read.
pub const READ: usize = 1_000;

/// What the tail reads, for whoever listens.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    /// It reads on from this position; what stands before it was not told.
    From(i64),
    /// The next changes.
    Changes(&'a [Entry]),
}

/// Listens to the tail; is not to wait for anything.
pub type Listener = Box<dyn FnMut(Heard<'_>) + Send>;

/// Starts the task, which fills a window and tells what it reads. It ends with `shutdown`.
pub fn start(
    sequence: impl Sequence,
    window: Arc<Window>,
    listener: Listener,
    shutdown: CancellationToken,
) -> (Marks, JoinHandle<()>) {
    let (teller, marks) = Marks::new();
    let tail = Tail { sequence, window, listener, read: None, history: 0, mark: None, due: None };
    let task = tokio::spawn(run(tail, teller, shutdown));
    (marks, task)
}

struct Tail<Q> {
    sequence: Q,
    window: Arc<Window>,
    listener: Listener,
    /// The last change that was read. None: no call has succeeded yet.
    read: Option<Read>,
    history: u64,
    /// The newest mark up to whose head everything was read.
    mark: Option<Mark>,
    /// The oldest mark up to whose head not everything was read.
    due: Option<Mark>,
}

/// How far the log was read.
#[derive(Clone, Copy)]
struct Read {
    /// The last change.
    last: Point,
    /// The last one that ends a command.
    end: Point,
}

impl<Q: Sequence> Tail<Q> {
    /// Sequences, and reads what came since. None: up to the mark that is due there is more to read.
    async fn call(&mut self) -> Result<Option<Known>, SourceError> {
        let at = Instant::now();
        let after = self.read.map(|read| read.last);
        let Sequenced { head, same_history, floor, entries } = self.sequence.sequence(after, READ).await?;
        measure(at.elapsed(), head.position, entries.len());
        let read = match self.read {
            Some(read) if same_history && floor <= read.last.position => self.extend(read, entries),
            known => {
                // Away for so long that what comes next was trimmed: the same log, with a hole in the window.
                if let Some(known) = known
                    && !same_history
                {
                    tracing::error!(
                        last.position = known.last.position,
                        head.position,
                        "the log lost its end"
                    );
                    metrics::counter!("rollcall_feed_forks_total").increment(1);
                    self.history += 1;
                }
                self.window.reset(self.history, head.position);
                (self.listener)(Heard::From(head.position));
                (self.mark, self.due) = (None, None);
                Read { last: head, end: head }
            }
        };
        self.read = Some(read);
        let found = Mark { at, head, history: self.history };
        if let Some(mark) =
            [Some(found), self.due].into_iter().flatten().find(|mark| mark.head.position <= read.end.position)
        {
            self.mark = Some(mark);
            self.due = None;
        }
        if found.head.position > read.end.position {
            self.due.get_or_insert(found);
        }
        Ok(self.mark.map(|mark| Known { mark, end: read.end }))
    }

    fn extend(&mut self, read: Read, entries: Vec<Entry>) -> Read {
        let last = entries.last().map_or(read.last, |entry| entry.point);
        let ends = entries.iter().rev().find(|entry| entry.point.position == entry.command_end);
        let end = ends.map_or(read.end, |entry| entry.point);
        if entries.iter().any(|entry| entry.thing.is_erased()) {
            // What was read before may still name the account, and the person. Whoever is behind reads it anew.
            self.window.reset(self.history, read.last.position);
        }
        if !entries.is_empty() {
            (self.listener)(Heard::Changes(&entries));
        }
        self.window.push(entries);
        Read { last, end }
    }

    /// Whether another call would find more at once.
    fn is_behind(&self) -> bool {
        self.due.is_some()
    }
}

#[allow(clippy::cast_precision_loss)]
fn measure(took: Duration, head: i64, changes: usize) {
    metrics::histogram!("rollcall_feed_call_seconds").record(took.as_secs_f64());
    metrics::gauge!("rollcall_feed_head_position").set(head as f64);
    if changes > 0 {
        metrics::counter!("rollcall_feed_changes_total").increment(changes as u64);
        metrics::histogram!("rollcall_feed_batch_changes").record(changes as f64);
    }
}

/// Waits until there is something behind the last change that was read.
async fn news(wake: &Wake, read: Option<i64>) {
    loop {
        tokio::select! {
            () = wake.committed.notified() => return,
            () = wake.hinted.notified() => {
                if read.is_none_or(|read| read < wake.hinted_head()) {
                    return;
                }
            }
        }
    }
}

async fn run(mut tail: Tail<impl Sequence>, teller: Teller, shutdown: CancellationToken) {
    let mut failing = false;
    loop {
        let begun = Instant::now();
        let called = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            called = timeout(CALL, tail.call()) => called,
        };
        tail.window.forget_profiles();
        let called = called.unwrap_or_else(|_| Err(SourceError("a call hangs".to_owned())));
        let pause = match called {
            Ok(now) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("the log is reached again");
                }
                teller.tell(now);
                POLL
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the log cannot be reached");
                }
                metrics::counter!("rollcall_feed_call_failures_total").increment(1);
                // What was known before may not hold for the database that answers next.
                (tail.mark, tail.due) = (None, None);
                teller.tell(None);
                BACKOFF
            }
        };
        if !failing && tail.is_behind() {
            continue;
        }
        let read = tail.read.map(|read| read.last.position);
        let waited = async {
            if failing {
                // A commit says nothing about whether a failing database is well again.
                return sleep(pause).await;
            }
            let _ = timeout(pause, news(&teller.wake, read)).await;
            sleep_until(begun + SPACING).await;
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = waited => {}
        }
    }
}

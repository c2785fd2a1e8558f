//! Marks: what a replica knows of the end of the log, and since when.
//!
//! One task of the replica has changes sequenced, again and again. A *mark* (r, h) says that a call which began at r
//! found the head h: whatever was committed before r stands at or before h. Clocks are monotonic (C17).
//!
//! After a failure the database that answers may be another one, promoted without the end of the log. So the last head is
//! looked up before anything new is said; where it is missing, a new *history* begins, and what follows the old one must
//! end (C7). That the new log has grown past the old head in the meantime hides nothing.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::source::{LogSource, Point, Sequence, SourceError};

/// A call at the latest after so long: picks up what a dead replica left behind, finds what a lost notification did not
/// tell, and keeps bookmarks fresh. 20 calls a second of one index look-up each are nothing to the database.
pub const POLL: Duration = Duration::from_millis(50);
/// How long a call may take. One moves all that is pending, so it must outlast whatever can pile up; a connection that
/// died without a word would otherwise keep the last mark standing until the kernel gives it up.
const CALL: Duration = Duration::from_secs(30);
/// How long to leave a failing database alone.
const BACKOFF: Duration = Duration::from_millis(250);

/// How far the log reached when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When the call began.
    pub at: Instant,
    /// The head that it found.
    pub head: Point,
    /// Which of the histories that this replica has seen. Marks of different ones say nothing about each other.
    pub history: u64,
}

/// The newest mark, for everyone in this replica who waits for one.
#[derive(Clone)]
pub struct Marks {
    newest: watch::Receiver<Option<Mark>>,
    wake: Arc<Notify>,
}

impl Marks {
    /// Starts the task that sequences, and compares with the log after a failure. It ends with `shutdown`.
    pub fn start(
        sequence: impl Sequence,
        log: Arc<impl LogSource>,
        shutdown: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, newest) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        let task =
            tokio::spawn(run(Caller { sequence, log, last: None }, sender, Arc::clone(&wake), shutdown));
        (Self { newest, wake }, task)
    }

    /// The newest mark. None: the log cannot be reached.
    pub fn newest(&self) -> Option<Mark> {
        *self.newest.borrow()
    }

    /// Asks for a mark soon: something was committed, here or elsewhere. Any number of calls make one more at most.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for a mark that began at or after `instant`. Pending as long as the log cannot be reached.
    pub async fn since(&self, instant: Instant) -> Mark {
        self.wake();
        let mut newest = self.newest.clone();
        let found =
            newest.wait_for(|mark| mark.is_some_and(|mark| mark.at >= instant)).await.map(|mark| *mark);
        match found {
            Ok(Some(mark)) => mark,
            // The task is gone: the process is shutting down, and no mark will come.
            _ => std::future::pending().await,
        }
    }

    /// Waits until there is another mark than the one last seen through this very handle.
    pub async fn changed(&mut self) {
        if self.newest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The newest mark, which then counts as seen.
    pub fn see(&mut self) -> Option<Mark> {
        *self.newest.borrow_and_update()
    }
}

/// Makes the calls, and knows which history they are of.
struct Caller<Q, L> {
    sequence: Q,
    log: Arc<L>,
    /// The last mark that was made.
    last: Option<Mark>,
}

impl<Q: Sequence, L: LogSource> Caller<Q, L> {
    async fn call(&mut self, after_failure: bool) -> Result<Mark, SourceError> {
        let at = Instant::now();
        let head = self.sequence.sequence().await?;
        let history = match self.last {
            None => 0,
            Some(last) if goes_on(&*self.log, last.head, head, after_failure).await? => last.history,
            Some(last) => {
                tracing::error!(last.position = last.head.position, head.position, "the log lost its end");
                last.history + 1
            }
        };
        let mark = Mark { at, head, history };
        self.last = Some(mark);
        Ok(mark)
    }
}

/// Whether the log with this head still has the last one.
async fn goes_on(
    log: &impl LogSource,
    last: Point,
    head: Point,
    after_failure: bool,
) -> Result<bool, SourceError> {
    if head.position <= last.position || last == Point::ZERO || !after_failure {
        return Ok(head.position > last.position || head == last);
    }
    Ok(log.change_at(last.position).await? == Some(last.change_id))
}

async fn run(
    mut caller: Caller<impl Sequence, impl LogSource>,
    marks: watch::Sender<Option<Mark>>,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut failing = false;
    loop {
        let called = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            called = timeout(CALL, caller.call(failing)) => called,
        };
        let called = called.unwrap_or_else(|_| Err(SourceError("a call hangs".to_owned())));
        let pause = match called {
            Ok(mark) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(mark.head.position, "the log is reached again");
                }
                marks.send_replace(Some(mark));
                POLL
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the log cannot be reached");
                }
                // What was known before may not hold for the database that answers next.
                marks.send_replace(None);
                BACKOFF
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            // A wake is a hint that something was committed: none that a failing database is well again.
            () = wake.notified(), if !failing => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

//! Marks: what a replica knows of the end of the log, and since when.
//!
//! A *mark* (r, h) says that a call which began at r found the head h: whatever was committed before r stands at or before
//! h. Clocks are monotonic (C17). The calls are made by the replica's one [`Tail`](super::tail).

use std::{
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{source::Point, trail::Trail};

/// A newest mark older than this means that the database does not answer.
const STALE: Duration = Duration::from_secs(2);

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

/// The newest mark, for everyone in this replica who waits for one, and the trail of those before it.
#[derive(Clone)]
pub struct Marks {
    known: watch::Receiver<Option<Known>>,
    ends: watch::Receiver<Option<End>>,
    past: Arc<RwLock<Past>>,
    wake: Arc<Wake>,
}

/// The marks since the log was last out of reach.
#[derive(Default)]
struct Past {
    /// Counts how often the marks were dropped: because the log could not be reached, or was another one, or because the
    /// machine had slept. What was
    /// concluded from the marks of one epoch says nothing about another.
    epoch: u64,
    history: Option<u64>,
    trail: Trail,
    /// For how long this machine had been asleep when the newest mark was told. None: there was none yet.
    asleep: Option<Duration>,
    /// When it was last found to have slept. A mark from before that looks younger than it is.
    awake: Option<Instant>,
}

/// What the two clocks may differ by between being read one after the other.
const JITTER: Duration = Duration::from_millis(20);

/// For how long this machine has been asleep since its start: by so much the clock of [`Instant`] is behind.
#[cfg(target_os = "linux")]
fn asleep() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| {
        let now = clock_gettime(clock);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
    };
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

/// Elsewhere there is no such pair of clocks.
#[cfg(not(target_os = "linux"))]
fn asleep() -> Duration {
    Duration::ZERO
}

impl Past {
    fn tell(&mut self, now: Option<Known>, asleep: Duration) {
        if self.has_slept(asleep) {
            self.epoch += 1;
            self.trail.clear();
            self.awake = Some(Instant::now());
        }
        self.asleep = Some(asleep);
        let history = now.map(|known| known.mark.history);
        if self.history != history {
            if self.history.is_some() {
                self.epoch += 1;
            }
            self.trail.clear();
            self.history = history;
        }
        if let Some(Known { mark, .. }) = now
            && self.awake.is_none_or(|awake| mark.at >= awake)
        {
            self.trail.push(mark.head.position, mark.at, Instant::now());
        }
    }

    fn has_slept(&self, asleep: Duration) -> bool {
        self.asleep.is_some_and(|before| asleep > before + JITTER)
    }
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
    past: Arc<RwLock<Past>>,
    pub(super) wake: Arc<Wake>,
}

impl Teller {
    pub(super) fn tell(&self, now: Option<Known>) {
        let end = now.map(|known| (known.mark.history, known.end));
        // The trail first: whoever is woken by a mark finds it there.
        self.past.write().unwrap_or_else(PoisonError::into_inner).tell(now, asleep());
        self.known.send_replace(now);
        self.ends.send_if_modified(|before| std::mem::replace(before, end) != end);
    }
}

impl Marks {
    pub(super) fn new() -> (Teller, Self) {
        let (known, known_here) = watch::channel(None);
        let (ends, ends_here) = watch::channel(None);
        let (past, wake) = (Arc::<RwLock<Past>>::default(), Arc::new(Wake::default()));
        let marks =
            Self { known: known_here, ends: ends_here, past: Arc::clone(&past), wake: Arc::clone(&wake) };
        (Teller { known, ends, past, wake }, marks)
    }

    fn past(&self) -> RwLockReadGuard<'_, Past> {
        // Nothing panics in the middle of a change.
        self.past.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of the times this is in which the log was reached without an interruption.
    pub fn epoch(&self) -> u64 {
        self.past().epoch
    }

    /// When the newest mark of an epoch was made whose head is at or before a position. None: that was before `since`, or
    /// the epoch is over, or the machine has slept since: marks then look younger than they are.
    pub fn caught_up(&self, epoch: u64, position: i64, since: Instant) -> Option<Instant> {
        let past = self.past();
        (past.epoch == epoch && !past.has_slept(asleep()))
            .then(|| past.trail.newest(position, since))
            .flatten()
    }

    /// Since when, at the latest, this replica has known that the log reaches to a position. None: it does not know it.
    pub fn known_since(&self, position: i64) -> Option<Instant> {
        self.past().trail.known_since(position)
    }

    /// The newest mark. None: the log cannot be reached.
    pub fn newest(&self) -> Option<Mark> {
        self.known.borrow().map(|known| known.mark)
    }

    /// Whether the database answers: a mark comes every 50 ms, and two seconds ride out a pause.
    pub fn are_fresh(&self) -> bool {
        self.newest().is_some_and(|mark| mark.at.elapsed() < STALE)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ids::ChangeId;

    fn known(at: Instant, position: i64, history: u64) -> Option<Known> {
        let head = Point { position, change_id: ChangeId(uuid::Uuid::nil()) };
        Some(Known { mark: Mark { at, head, history }, end: head })
    }

    #[test]
    fn a_machine_that_slept_has_no_marks_from_before() {
        let (mut past, start, second) = (Past::default(), Instant::now(), Duration::from_secs(1));
        past.tell(known(start, 5, 0), second);
        assert_eq!(past.trail.newest(5, start), Some(start));
        // The call of the second began before the sleep: its time is behind by as much.
        past.tell(known(start + Duration::from_nanos(1), 6, 0), second * 100);
        assert_eq!((past.trail.newest(6, start), past.epoch), (None, 1));
        let later = Instant::now();
        past.tell(known(later, 6, 0), second * 100);
        assert_eq!((past.trail.newest(6, start), past.epoch), (Some(later), 1));
        assert!(past.has_slept(second * 101) && !past.has_slept(second * 100 + JITTER));
    }

    #[test]
    fn what_the_clocks_tell_is_steady_while_nobody_sleeps() {
        let (before, after) = (asleep(), asleep());
        assert!(after <= before + JITTER && before <= after + JITTER, "{before:?} {after:?}");
    }

    #[test]
    fn marks_of_another_history_or_after_an_interruption_begin_a_new_epoch() {
        let (mut past, start) = (Past::default(), Instant::now());
        past.tell(known(start, 5, 0), Duration::ZERO);
        past.tell(None, Duration::ZERO);
        assert_eq!((past.trail.newest(5, start), past.epoch), (None, 1));
        past.tell(known(start, 6, 0), Duration::ZERO);
        assert_eq!((past.trail.newest(6, start), past.epoch), (Some(start), 1));
        past.tell(known(start, 6, 1), Duration::ZERO);
        assert_eq!((past.trail.known_since(6).is_some(), past.epoch), (true, 2));
    }
}

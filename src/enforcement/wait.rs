//! Waiting for a write to be enforced. All who wait in this replica share its readings.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Enforcement,
    report::Report,
    verdict::{Standing, Write},
    watch::{Interest, Readings},
};
use crate::{
    rules::ids::{CommandId, OrganizationId},
    storage::{EnforcementRow, ReceiptRow, StorageError},
};

/// How far apart the receipts of a write are looked at.
const RECEIPTS: Duration = Duration::from_millis(50);
/// How often what was told is told again where nothing changes: proxies cut streams that say nothing, some after 15 s.
const REPEAT: Duration = Duration::from_secs(5);
/// How long the first reading may take, and waiting for a turn to read more.
const FIRST: Duration = Duration::from_secs(3);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// That nobody answers from before the write.
    Enforced,
    /// Besides, that everyone has said what was ended.
    Ended,
}

/// What to wait for, and until when.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The write.
    pub write: Write,
    /// In these apps; without any, in all in whose scope it is.
    pub apps: Vec<String>,
    /// What.
    pub goal: Goal,
    /// Until when.
    pub until: Instant,
    /// Where it waits to read.
    pub line: Line,
}

/// Those who wait for one caller. One of them reads at a time: however many they are, those of another caller wait for one
/// of them and not for all. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Line(Arc<Semaphore>);

impl Default for Line {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// The right to read from the pool once.
#[derive(Debug)]
pub struct Turn<'a> {
    _of_caller: SemaphorePermit<'a>,
    _of_all: SemaphorePermit<'a>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// How far.
    pub report: Report,
    /// Whether the wait is over.
    pub done: bool,
    /// Whether it is over because the time is up.
    pub timed_out: bool,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// This replica shuts down.
    #[error("this replica is shutting down")]
    ShuttingDown,
    /// The database cannot be reached, or is another one.
    #[error("the database cannot be reached")]
    Unavailable,
    /// The database fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Enforcement {
    /// A write of commands. None: the log has none of them, nor the history.
    pub async fn write_of(&self, commands: &[CommandId], line: &Line) -> Result<Option<Write>, StorageError> {
        let turn = self.turn(line).await?;
        let rows = self.database.writes(commands).await?;
        drop(turn);
        let position = rows.iter().map(|row| row.last_position).max().unwrap_or_default();
        Ok(Write::of(&rows, self.known(position)))
    }

    /// A write that changed nothing and saw everything up to a position.
    pub fn covered(&self, position: i64) -> Write {
        let write_time = chrono::Utc::now();
        Write { spans: Vec::new(), position, apps: None, write_time, known: self.known(position) }
    }

    /// A turn at the pool, for somebody who waits: they share a few, or thousands of them would take all of it.
    /// Who gets none soon is told so, as by the pool: it must not outlive its deadline in a line.
    pub async fn turn<'a>(&'a self, line: &'a Line) -> Result<Turn<'a>, StorageError> {
        let turn = async {
            let of_caller = line.0.acquire().await.expect("it is never closed");
            let of_all = self.looking.acquire().await.expect("it is never closed");
            Turn { _of_caller: of_caller, _of_all: of_all }
        };
        timeout(FIRST, turn).await.map_err(|_| StorageError::Overloaded)
    }

    fn known(&self, position: i64) -> Instant {
        self.marks.known_since(position).unwrap_or_else(Instant::now)
    }

    /// Tells how far a write is, at once, whenever that changes and from time to time where it does not, until the wait is
    /// over or nobody listens any more.
    pub fn follow(&self, wait: Wait) -> mpsc::Receiver<Result<Progress, Stopped>> {
        let (sender, receiver) = mpsc::channel(1);
        let mut waiter = Waiter::new(self, wait);
        tokio::spawn(async move {
            let mut patience = Some(FIRST);
            loop {
                let progress = tokio::select! {
                    () = sender.closed() => return,
                    progress = waiter.next(patience.take().unwrap_or_default()) => progress,
                };
                let is_last = !matches!(progress, Ok(Progress { done: false, .. }));
                if sender.send(progress).await.is_err() || is_last {
                    return;
                }
            }
        });
        receiver
    }

    /// Waits, and tells how far a write got. None: nothing is known in time.
    pub async fn wait(&self, wait: Wait) -> Option<Report> {
        let mut waiter = Waiter::new(self, wait);
        loop {
            match waiter.next(Duration::ZERO).await {
                Ok(Progress { done: false, .. }) => {}
                Ok(Progress { report, .. }) => return Some(report),
                Err(_) => return None,
            }
        }
    }

    /// Tells how far a write is now.
    pub async fn report(&self, write: Write, line: Line) -> Result<Report, Stopped> {
        let wait = Wait { write, apps: Vec::new(), goal: Goal::Enforced, until: Instant::now(), line };
        Ok(Waiter::new(self, wait).next(FIRST).await?.report)
    }
}

/// Somebody who waits.
struct Waiter {
    enforcement: Enforcement,
    readings: Readings,
    wait: Wait,
    history: Option<u64>,
    /// The next reading is to begin then or later.
    since: Instant,
    last: Option<Arc<Standing>>,
    recorded: Option<Vec<EnforcementRow>>,
    receipts: Vec<ReceiptRow>,
    looked: Option<Instant>,
    told: Option<Report>,
    told_at: Instant,
    _interest: Interest,
}

impl Waiter {
    fn new(enforcement: &Enforcement, wait: Wait) -> Self {
        let readings = enforcement.readings.clone();
        Self {
            enforcement: enforcement.clone(),
            wait,
            history: enforcement.marks.newest().map(|mark| mark.history),
            since: Instant::now(),
            last: None,
            recorded: None,
            receipts: Vec::new(),
            looked: None,
            told: None,
            told_at: Instant::now(),
            _interest: readings.interest(),
            readings,
        }
    }

    /// What is worth telling next. The first reading may come so much later than the wait is over.
    async fn next(&mut self, patience: Duration) -> Result<Progress, Stopped> {
        let first = Instant::now() + patience;
        loop {
            let until = if self.last.is_none() { self.wait.until.max(first) } else { self.wait.until };
            let shutdown = self.enforcement.shutdown.clone();
            let read = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(Stopped::ShuttingDown),
                standing = self.readings.since(self.since) => Some(standing),
                () = sleep_until(until) => None,
            };
            let Some(standing) = read.or_else(|| self.last.clone()) else { return Err(Stopped::Unavailable) };
            self.since = standing.begun + Duration::from_nanos(1);
            self.last = Some(Arc::clone(&standing));
            let newest = self.enforcement.marks.newest().map(|mark| mark.history);
            if newest.is_some()
                && *self.history.get_or_insert(newest.unwrap_or_default()) != newest.unwrap_or_default()
            {
                // The write may be lost: whoever asks again is told.
                return Err(Stopped::Unavailable);
            }
            if let Some(progress) = self.look(&standing).await? {
                return Ok(progress);
            }
        }
    }

    /// Compares a reading with what was told.
    async fn look(&mut self, standing: &Standing) -> Result<Option<Progress>, Stopped> {
        let timed_out = Instant::now() >= self.wait.until;
        let mut report = self.report(standing).await?;
        let changed = self.told.as_ref().is_none_or(|told| told.shape() != report.shape());
        let looks = match self.wait.goal {
            Goal::Enforced => changed || timed_out,
            Goal::Ended => {
                changed || timed_out || self.looked.is_none_or(|looked| looked.elapsed() >= RECEIPTS)
            }
        };
        if looks && !self.wait.write.spans.is_empty() {
            let spans: Vec<(OrganizationId, i64, i64)> =
                self.wait.write.spans.iter().map(|span| (span.organization, span.first, span.last)).collect();
            let turn = self.enforcement.turn(&self.wait.line).await?;
            self.receipts = self.enforcement.database.receipts(&spans).await?;
            drop(turn);
            self.looked = Some(Instant::now());
            report = self.report(standing).await?;
        }
        let reached = match self.wait.goal {
            Goal::Enforced => report.is_decided(),
            Goal::Ended => report.is_ended(),
        };
        let changed = self.told.as_ref().is_none_or(|told| told.shape() != report.shape());
        if !(reached || timed_out || changed || self.told_at.elapsed() >= REPEAT) {
            return Ok(None);
        }
        self.told = Some(report.clone());
        self.told_at = Instant::now();
        Ok(Some(Progress { report, done: reached || timed_out, timed_out: timed_out && !reached }))
    }

    async fn report(&mut self, standing: &Standing) -> Result<Report, StorageError> {
        let recorded = match self.recorded.take() {
            Some(recorded) => recorded,
            None => {
                let spans = self.wait.write.spans.iter();
                let commands: Vec<_> = spans.map(|span| (span.organization, span.command)).collect();
                let _turn = self.enforcement.turn(&self.wait.line).await?;
                self.enforcement.database.enforcements(&commands).await?
            }
        };
        let Wait { write, apps, .. } = &self.wait;
        let report = Report::new(write, apps, standing, &recorded, &self.receipts);
        self.recorded = Some(recorded);
        Ok(report)
    }
}

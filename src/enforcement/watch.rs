//! The one task of a replica that reads how far everyone is: for all who wait for a write at once, to give up who is
//! silent, and to record when what took access away was enforced.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    OWN_APP,
    lease::Holders,
    report,
    revocations::Revocation,
    silence::{Heard, Silence},
    verdict::{Standing, State, Write},
};
use crate::{
    feed::Marks,
    rules::ids::CommandId,
    storage::{Database, EnforcementWrite, Enforcer, StorageError, WriteRow},
};

/// How far apart readings begin while somebody waits; further where one takes long.
const WAITED: Duration = Duration::from_millis(10);
/// The least pause behind a reading, where an acknowledgement was just stored here.
const STORED: Duration = Duration::from_millis(2);
/// The same while only a verdict is to be recorded.
const RECORDED: Duration = Duration::from_millis(100);
/// The same while only silence is watched for: a share of the shortest lease, within these.
const SILENCE: u32 = 20;
const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(1);
/// How long a statement may take.
const CALL: Duration = Duration::from_secs(10);
/// How long to leave a failing database alone.
const BACKOFF: Duration = Duration::from_millis(250);
/// What a verdict may come later than its bound: readings have to be made.
const TICK: Duration = Duration::from_millis(500);
/// Positions before the first that the tail reads, in which commands are looked for that nobody has recorded.
const LOOK_BACK: i64 = 20_000;
/// Commands whose verdict is pending at most.
const PENDING: usize = 50_000;
/// Rows that one statement records.
const ROWS: usize = 1_000;

/// The readings, for everyone in this replica who waits for one.
#[derive(Clone)]
pub(super) struct Readings {
    interest: Arc<Waiting>,
    latest: watch::Receiver<Option<Arc<Standing>>>,
}

#[derive(Default)]
struct Waiting {
    /// How many wait.
    count: AtomicUsize,
    /// Somebody has begun to.
    more: Notify,
}

/// Somebody waits; while this lives, readings come often.
pub(super) struct Interest(Arc<Waiting>);

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Readings {
    /// Starts the task.
    pub(super) fn start(
        database: &Database,
        marks: Marks,
        holders: Arc<Holders>,
        stored: Arc<Notify>,
        revocations: mpsc::UnboundedReceiver<Revocation>,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (sender, latest) = watch::channel(None);
        let interest = Arc::<Waiting>::default();
        let watcher = Watcher {
            enforcer: database.enforcer(),
            database: database.clone(),
            marks,
            holders,
            silence: Silence::default(),
            pending: Vec::new(),
            unrecorded: Vec::new(),
            look_back: None,
            latest: sender,
        };
        let task = tokio::spawn(run(watcher, Arc::clone(&interest), stored, revocations, shutdown));
        (Self { interest, latest }, task)
    }

    /// Makes readings come often.
    pub(super) fn interest(&self) -> Interest {
        self.interest.count.fetch_add(1, Ordering::AcqRel);
        self.interest.more.notify_one();
        Interest(Arc::clone(&self.interest))
    }

    /// Waits for a reading that began at or after `instant`.
    pub(super) async fn since(&mut self, instant: Instant) -> Arc<Standing> {
        let found = self.latest.wait_for(|standing| matches!(standing, Some(one) if one.begun >= instant));
        match found.await.map(|standing| standing.clone()) {
            Ok(Some(standing)) => standing,
            // The task is gone: the process is shutting down.
            _ => std::future::pending().await,
        }
    }
}

/// A command whose verdict is not recorded in these apps.
struct Pending {
    write: Write,
    apps: BTreeSet<String>,
}

impl Pending {
    fn new(write: Write) -> Self {
        let mut apps: BTreeSet<String> = write.apps.iter().flat_map(BTreeMap::keys).cloned().collect();
        apps.insert(OWN_APP.to_owned());
        Self { write, apps }
    }
}

struct Watcher {
    enforcer: Enforcer,
    database: Database,
    marks: Marks,
    holders: Arc<Holders>,
    silence: Silence,
    pending: Vec<Pending>,
    unrecorded: Vec<EnforcementWrite>,
    /// Up to where commands are to be looked up that were read before this replica listened.
    look_back: Option<i64>,
    latest: watch::Sender<Option<Arc<Standing>>>,
}

impl Watcher {
    fn found(&mut self, found: Revocation) {
        match found {
            Revocation::From(position) => {
                // Positions of another history mean nothing here.
                self.pending.clear();
                self.look_back = Some(position);
            }
            Revocation::Of(write) => self.add(write),
        }
    }

    fn add(&mut self, write: Write) {
        if self.pending.len() >= PENDING {
            tracing::warn!(pending = PENDING, "too many verdicts are pending; the oldest is not recorded");
            self.pending.remove(0);
        }
        self.pending.push(Pending::new(write));
    }

    /// Looks up the commands that took access away shortly before this replica began to listen.
    async fn look_back(&mut self) -> Result<(), StorageError> {
        let Some(head) = self.look_back else { return Ok(()) };
        let rows = self.database.unsettled((head - LOOK_BACK).max(0)).await?;
        let mut commands: BTreeMap<CommandId, Vec<WriteRow>> = BTreeMap::new();
        for row in rows {
            commands.entry(CommandId(row.command_id)).or_default().push(row);
        }
        let known = Instant::now();
        for rows in commands.into_values() {
            // What comes later the tail tells.
            if let Some(write) = Write::of(&rows, known).filter(|write| write.position <= head) {
                self.add(write);
            }
        }
        self.look_back = None;
        Ok(())
    }

    /// One reading, and what follows from it.
    async fn read(&mut self) -> Result<(), StorageError> {
        self.look_back().await?;
        let epoch = self.marks.epoch();
        let begun = Instant::now();
        let rows = self.enforcer.standing().await?;
        let standing = Arc::new(Standing::new(rows, begun, Instant::now()));
        self.latest.send_replace(Some(Arc::clone(&standing)));
        self.settle(&standing);
        self.record().await?;
        let heard = standing.counted().map(|one| Heard {
            subscription: one.id,
            grant_seq: one.grant_seq,
            ttl: one.ttl,
        });
        let silent = self.silence.observe(epoch, heard, standing.at);
        if !silent.is_empty() {
            for id in self.enforcer.give_up(&silent).await? {
                tracing::warn!(subscription.id = %id.0, "an instance is silent for longer than its lease; it is given up");
            }
        }
        Ok(())
    }

    /// Finds the verdicts that can be recorded.
    fn settle(&mut self, standing: &Standing) {
        let Self { pending, unrecorded, .. } = self;
        pending.retain_mut(|Pending { write, apps }| {
            if standing.begun < write.known {
                return true;
            }
            let Some(span) = write.spans.last() else { return false };
            apps.retain(|name| {
                let Some(app) = standing.apps.get(name) else { return false };
                let nobody = !app.subscriptions.iter().any(|one| one.counted);
                if nobody && (!app.registered || name == OWN_APP) {
                    return false;
                }
                if app.is_plainly_pending(write, standing.at) {
                    return true;
                }
                let verdict = app.judge(write, standing.at);
                if !verdict.settled {
                    return true;
                }
                measure(name, standing.at.saturating_duration_since(write.known), verdict.within);
                let count = |of: &[usize]| i32::try_from(of.len()).unwrap_or(i32::MAX);
                let state = if verdict.state == State::Pending { State::Enforced } else { verdict.state };
                unrecorded.push(EnforcementWrite {
                    organization: span.organization,
                    command: span.command,
                    app: name.clone(),
                    position: write.position,
                    state: report::word(state),
                    write_time: write.write_time,
                    instances: count(&verdict.applied) + count(&verdict.lapsed),
                    applied: count(&verdict.applied),
                    lapsed: count(&verdict.lapsed),
                    lapsed_instances: report::names(app, &verdict.lapsed),
                });
                false
            });
            !apps.is_empty()
        });
    }

    async fn record(&mut self) -> Result<(), StorageError> {
        while !self.unrecorded.is_empty() {
            let some = self.unrecorded.len().min(ROWS);
            self.database.record_enforcements(&self.unrecorded[..some]).await?;
            self.unrecorded.drain(..some);
        }
        Ok(())
    }

    fn is_busy(&self) -> bool {
        !self.pending.is_empty() || !self.unrecorded.is_empty() || self.look_back.is_some()
    }

    /// How long after a reading the next one begins where nobody waits.
    fn pause(&self) -> Duration {
        if self.is_busy() {
            return RECORDED;
        }
        let latest = self.latest.borrow();
        let shortest = latest.as_ref().and_then(|standing| standing.counted().map(|one| one.ttl).min());
        shortest.map_or(SELDOM, |ttl| (ttl / SILENCE).clamp(OFTEN, SELDOM))
    }

    fn tell(&self) {
        let latest = self.latest.borrow();
        let Some(standing) = latest.as_ref() else { return };
        for (name, app) in &standing.apps {
            let counted = app.subscriptions.iter().filter(|one| one.counted).count();
            #[allow(clippy::cast_precision_loss)]
            metrics::gauge!("rollcall_subscriptions", "app" => name.clone()).set(counted as f64);
        }
        self.holders.forget(Instant::now());
    }
}

/// Measures a verdict; one beyond its bound must not be.
fn measure(app: &str, took: Duration, within: Duration) {
    metrics::histogram!("rollcall_enforcement_seconds", "app" => app.to_owned()).record(took.as_secs_f64());
    if took > within + TICK {
        metrics::counter!("rollcall_enforcement_late_total", "app" => app.to_owned()).increment(1);
        let (took_ms, bound_ms) = (took.as_millis(), within.as_millis());
        tracing::warn!(app, took_ms, bound_ms, "a departure was found enforced later than its bound");
    }
}

async fn run(
    mut watcher: Watcher,
    interest: Arc<Waiting>,
    stored: Arc<Notify>,
    mut revocations: mpsc::UnboundedReceiver<Revocation>,
    shutdown: CancellationToken,
) {
    let (mut ended, mut took) = (Instant::now(), Duration::ZERO);
    let (mut failing, mut poked) = (false, true);
    let mut told = Instant::now();
    loop {
        let waited = interest.count.load(Ordering::Acquire) > 0;
        let pause = match (waited, poked) {
            _ if failing => BACKOFF,
            (true, true) => STORED.max(took),
            (true, false) => WAITED.max(took * 2),
            (false, _) => watcher.pause().max(took * 2),
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some(found) = revocations.recv() => {
                watcher.found(found);
                continue;
            }
            () = interest.more.notified() => continue,
            () = stored.notified(), if !poked => {
                poked = true;
                continue;
            }
            () = sleep_until(ended + pause) => {}
        }
        poked = false;
        let begun = Instant::now();
        let read = tokio::select! {
            () = shutdown.cancelled() => return,
            read = timeout(CALL, watcher.read()) => read,
        };
        let read = read.unwrap_or_else(|_| Err(StorageError::Unavailable("a reading hangs".to_owned())));
        ended = Instant::now();
        took = ended.duration_since(begun);
        match read {
            Ok(()) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "it cannot be read who has applied what");
                }
            }
        }
        if told.elapsed() >= SELDOM {
            watcher.tell();
            told = Instant::now();
        }
    }
}

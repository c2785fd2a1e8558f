//! The one task of a replica that reads how far everyone is: for all who wait for a write at once, to give up who is
//! silent, and to record when what took access away was enforced.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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
    late::{self, Lateness},
    lease::Holders,
    report,
    revocations::Revocation,
    silence::{Heard, Silence},
    verdict::{Standing, State, Write},
};
use crate::{
    feed::Marks,
    rules::ids::{CommandId, OrganizationId},
    storage::{EnforcementWrite, Enforcer, StorageError, WriteRow},
};

/// How far apart readings begin while somebody waits; further where one takes long.
const WAITED: Duration = Duration::from_millis(10);
/// The least pause for each who waits: each looks at every reading, and thousands are not to keep the processor busy with
/// that, which leases need too.
const LOOK: Duration = Duration::from_micros(20);
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
/// How long a replica that shuts down may go on recording.
const LAST: Duration = Duration::from_secs(2);
/// How long to leave a failing database alone.
const BACKOFF: Duration = Duration::from_millis(250);
/// Positions before the first that the tail reads, in which commands are looked for that nobody has recorded.
const LOOK_BACK: i64 = 20_000;
/// Commands whose verdict is pending at most.
const PENDING: usize = 50_000;
/// Rows that one statement records.
const ROWS: usize = 1_000;
/// Verdicts that may stay for the next reading. With more of them, whoever waits for that one waits for them too.
const UNRECORDED: usize = 20 * ROWS;

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
        enforcer: Enforcer,
        marks: Marks,
        holders: Arc<Holders>,
        stored: Arc<Notify>,
        revocations: mpsc::UnboundedReceiver<Revocation>,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (sender, latest) = watch::channel(None);
        let interest = Arc::<Waiting>::default();
        let watcher = Watcher {
            enforcer,
            marks,
            holders,
            silence: Silence::default(),
            pending: VecDeque::new(),
            overflowing: false,
            unrecorded: Vec::new(),
            interest: Arc::clone(&interest),
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
    lateness: Lateness,
}

impl Pending {
    /// Of a command that is recorded in some apps, or in none.
    fn new(write: Write, recorded: &BTreeSet<String>) -> Self {
        let mut apps: BTreeSet<String> = write.apps.iter().flat_map(BTreeMap::keys).cloned().collect();
        apps.insert(OWN_APP.to_owned());
        apps.retain(|app| !recorded.contains(app));
        Self { write, apps, lateness: Lateness::default() }
    }
}

struct Watcher {
    enforcer: Enforcer,
    marks: Marks,
    holders: Arc<Holders>,
    silence: Silence,
    pending: VecDeque<Pending>,
    /// Whether it was said that there are too many of them.
    overflowing: bool,
    unrecorded: Vec<EnforcementWrite>,
    interest: Arc<Waiting>,
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
            Revocation::Of(write) => self.add(Pending::new(write, &BTreeSet::new())),
        }
    }

    fn add(&mut self, pending: Pending) {
        let too_many = self.pending.len() >= PENDING;
        if too_many {
            self.pending.pop_front();
        }
        if too_many && !std::mem::replace(&mut self.overflowing, true) {
            tracing::warn!(pending = PENDING, "too many verdicts are pending; the oldest are not recorded");
        }
        self.pending.push_back(pending);
    }

    /// Looks up the commands that took access away shortly before this replica began to listen.
    async fn look_back(&mut self) -> Result<(), StorageError> {
        let Some(head) = self.look_back else { return Ok(()) };
        let rows = self.enforcer.revoked((head - LOOK_BACK).max(0)).await?;
        let found = rows.iter().map(|row| (OrganizationId(row.organization_id), CommandId(row.command_id)));
        let found: Vec<_> = found.collect();
        let mut recorded: BTreeMap<CommandId, BTreeSet<String>> = BTreeMap::new();
        for (command, app) in self.enforcer.recorded(&found).await? {
            recorded.entry(command).or_default().insert(app);
        }
        let mut commands: BTreeMap<CommandId, Vec<WriteRow>> = BTreeMap::new();
        for row in rows {
            commands.entry(CommandId(row.command_id)).or_default().push(row);
        }
        let known = Instant::now();
        for (command, rows) in commands {
            // What comes later the tail tells.
            if let Some(write) = Write::of(&rows, known).filter(|write| write.position <= head) {
                self.add(Pending::new(write, recorded.get(&command).unwrap_or(&BTreeSet::new())));
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
        self.tell_late(&standing, standing.at);
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

    /// Tells of what takes longer than its bound.
    fn tell_late(&mut self, standing: &Standing, now: Instant) {
        let least = late::least(standing);
        for Pending { write, apps, lateness } in &mut self.pending {
            let age = lateness.age(write, standing, now);
            if age > least {
                lateness.tell(write, apps.iter(), standing, age);
            }
        }
    }

    /// Finds the verdicts that can be recorded.
    fn settle(&mut self, standing: &Standing) {
        let Self { pending, unrecorded, .. } = self;
        pending.retain_mut(|Pending { write, apps, .. }| {
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
                let took = standing.at.saturating_duration_since(write.known);
                metrics::histogram!("rollcall_enforcement_seconds", "app" => name.clone())
                    .record(took.as_secs_f64());
                let count = |of: &[usize]| i32::try_from(of.len()).unwrap_or(i32::MAX);
                let state = if verdict.state == State::Pending { State::Enforced } else { verdict.state };
                unrecorded.push(EnforcementWrite {
                    organization: span.organization,
                    command: span.command,
                    app: name.clone(),
                    position: write.position,
                    state: report::word(state),
                    write_time: write.write_time,
                    instances: count(&verdict.applied) + count(&verdict.gone) + count(&verdict.lapsed),
                    applied: count(&verdict.applied) + count(&verdict.gone),
                    lapsed: count(&verdict.lapsed),
                    lapsed_instances: report::names(app, &verdict.lapsed),
                    applied_instances: report::names(app, &report::owing(name, app, write, &verdict)),
                });
                false
            });
            !apps.is_empty()
        });
        self.overflowing &= self.pending.len() > PENDING / 2;
    }

    /// Records what was found: where somebody waits for the next reading only some of it, until it is much. When a large
    /// organization has gone there are a hundred thousand verdicts.
    async fn record(&mut self) -> Result<(), StorageError> {
        while !self.unrecorded.is_empty() {
            let some = self.unrecorded.len().min(ROWS);
            self.enforcer.record_enforcements(&self.unrecorded[..some]).await?;
            self.unrecorded.drain(..some);
            if self.interest.count.load(Ordering::Acquire) > 0 && self.unrecorded.len() < UNRECORDED {
                break;
            }
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

    #[allow(clippy::cast_precision_loss)]
    fn tell(&self) {
        let latest = self.latest.borrow();
        let Some(standing) = latest.as_ref() else { return };
        let head = self.marks.newest().map(|mark| mark.head.position);
        for (name, app) in &standing.apps {
            let counted = app.subscriptions.iter().filter(|one| one.counted).count();
            metrics::gauge!("rollcall_subscriptions", "app" => name.clone()).set(counted as f64);
            metrics::gauge!("rollcall_subscriptions_stale", "app" => name.clone()).set(app.gone() as f64);
            // The service's own replica may be left out.
            let wanted = if app.registered && name != OWN_APP { app.min_instances } else { 0 };
            metrics::gauge!("rollcall_subscriptions_missing", "app" => name.clone())
                .set(wanted.saturating_sub(counted) as f64);
            let applied = app.subscriptions.iter().filter(|one| one.counted).map(|one| one.applied).min();
            metrics::gauge!("rollcall_subscriptions_lag_positions", "app" => name.clone())
                .set(applied.zip(head).map_or(0.0, |(applied, head)| (head - applied).max(0) as f64));
            // There from the start: the first one is to be seen as a step.
            metrics::counter!("rollcall_enforcement_late_total", "app" => name.clone()).increment(0);
        }
        self.holders.forget(Instant::now());
    }
}

async fn run(
    mut watcher: Watcher,
    interest: Arc<Waiting>,
    stored: Arc<Notify>,
    revocations: mpsc::UnboundedReceiver<Revocation>,
    shutdown: CancellationToken,
) {
    read_on(&mut watcher, &interest, &stored, revocations, shutdown).await;
    // The next process looks back at the last commands only: what was found of others is recorded now or never.
    let recording = async { while !watcher.unrecorded.is_empty() && watcher.record().await.is_ok() {} };
    if timeout(LAST, recording).await.is_err() || !watcher.unrecorded.is_empty() {
        tracing::warn!(verdicts = watcher.unrecorded.len(), "verdicts were not recorded before the end");
    }
}

/// Reads until the replica shuts down.
async fn read_on(
    watcher: &mut Watcher,
    interest: &Waiting,
    stored: &Notify,
    mut revocations: mpsc::UnboundedReceiver<Revocation>,
    shutdown: CancellationToken,
) {
    let (mut ended, mut took) = (Instant::now(), Duration::ZERO);
    let (mut failing, mut poked) = (false, true);
    let mut told = Instant::now();
    loop {
        let waiting = interest.count.load(Ordering::Acquire);
        let waited = waiting > 0;
        let looks = LOOK * u32::try_from(waiting).unwrap_or(u32::MAX);
        let pause = match (waited, poked) {
            _ if failing => BACKOFF,
            (true, true) => STORED.max(took).max(looks),
            (true, false) => WAITED.max(took * 2).max(looks),
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
                // A bound does not wait until it can be: then it is told as it was last read.
                let latest = watcher.latest.borrow().clone();
                if let Some(latest) = latest {
                    watcher.tell_late(&latest, Instant::now());
                }
            }
        }
        if told.elapsed() >= SELDOM {
            watcher.tell();
            told = Instant::now();
        }
    }
}

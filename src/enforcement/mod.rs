//! Enforcement: out means out. Who may go on answering access checks for how long, and from when on nobody answers from
//! before a change.
//!
//! An instance that has applied everything up to a cursor may answer until r + ttl, where (r, h) is the newest
//! [mark](crate::feed::Mark) of this replica with h at or before that cursor. *So no check that begins later than ttl after
//! a change X was committed answers from before X*: a lease of an instance without X rests on a mark with h < X; X was not
//! committed before r, for else it would stand at or before h; so the lease ends by r + ttl, before commit(X) + ttl.
//! It needs no wall clock and no stored lease.
//!
//! - [`lease`]: how long a lease is. Pure.
//! - `lookup`: what acknowledgements are compared with, read over a connection of its own.
//! - `late`: what takes longer than its bound, which must not be.
//! - `flush`: what instances acknowledge is stored before a lease is answered: one statement for all that came in.
//! - [`silence`]: who has been granted nothing for longer than a lease lasts, and so holds none. Pure.
//! - [`verdict`]: whether a write is enforced, from one reading of who has applied what. Pure.
//! - `watch`: the one task of a replica that makes those readings, gives up who is silent, and records verdicts.
//! - [`report`]: what is told of a write. Pure.
//! - `wait`: waiting for a write to be enforced.
//! - `revocations`: finds the commands that take access away among what the tail reads.
//!
//! Clocks that are compared are monotonic ones; they are assumed to run within 1% of each other ([`lease::drift`]).

mod flush;
mod late;
pub mod lease;
mod lookup;
pub mod report;
mod revocations;
pub mod silence;
pub mod verdict;
mod wait;
mod watch;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{flush::Flush, lease::Holders, lookup::Lookup, watch::Readings};
pub use self::{
    flush::Refused,
    report::{AppReport, InstanceState, Late, Report},
    revocations::{Revocation, listener},
    verdict::{State, Write},
    wait::{Goal, Line, Progress, Stopped, Turn, Wait},
};
use crate::{
    feed::{self, Marks, Point},
    rules::ids::{ChangeId, SubscriptionId},
    storage::{Applied, Database, Granted, LookedUp, ReceiptWrite},
};

/// The app under which the replicas of the service itself follow the log.
pub const OWN_APP: &str = "rollcall";

/// So many of those who wait read from the pool at a time: however many wait, the others find connections.
const LOOKING: usize = 2;
/// How long a first lease waits for a mark that was made after the registration.
const FIRST_MARK: Duration = Duration::from_millis(250);

/// Leases and verdicts of this replica. Cheap to clone.
#[derive(Clone)]
pub struct Enforcement {
    database: Database,
    marks: Marks,
    holders: Arc<Holders>,
    flush: Flush,
    lookup: Lookup,
    readings: Readings,
    looking: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// What an acknowledgement is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// What is stored as applied.
    pub applied: i64,
    /// For how long the instance may answer, from before it asked. None: for no longer than it may already.
    pub lease: Option<Duration>,
}

/// An acknowledgement whose cursor was verified.
#[derive(Debug, Clone)]
pub struct Acknowledgement {
    /// When it arrived.
    pub arrival: Instant,
    /// The epoch of the marks from before its cursor was compared with the log.
    pub epoch: u64,
    /// Whose.
    pub subscription: SubscriptionId,
    /// Where its cursor stands.
    pub point: Point,
    /// What was ended; each is of a change that was sent to the subscription.
    pub receipts: Vec<ReceiptWrite>,
}

impl Enforcement {
    /// Starts the tasks. They end with `shutdown`. `revocations` is what the [`listener`] of the tail finds.
    pub fn start(
        database: Database,
        marks: Marks,
        revocations: mpsc::UnboundedReceiver<Revocation>,
        shutdown: CancellationToken,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let (holders, stored) = (Arc::<Holders>::default(), Arc::<Notify>::default());
        let (flush, flushing) = Flush::start(database.enforcer(), Arc::clone(&stored), shutdown.clone());
        let (lookup, looking_up) = Lookup::start(database.enforcer(), shutdown.clone());
        let (readings, watching) = Readings::start(
            database.enforcer(),
            marks.clone(),
            Arc::clone(&holders),
            stored,
            revocations,
            shutdown.clone(),
        );
        let looking = Arc::new(Semaphore::new(LOOKING));
        let enforcement = Self { database, marks, holders, flush, lookup, readings, looking, shutdown };
        (enforcement, vec![flushing, looking_up, watching])
    }

    /// A subscription was opened here: its registration is committed.
    pub fn opened(&self, subscription: SubscriptionId, ttl: Duration) {
        self.holders.registered(subscription, ttl, Instant::now());
    }

    /// The app of a subscription.
    pub async fn app_of(&self, subscription: SubscriptionId) -> Result<String, Refused> {
        let found = self.lookup.subscription(subscription).await?;
        found.subscriptions.get(&subscription.0).map(|row| row.app.clone()).ok_or(Refused::Missing)
    }

    /// How a point that the window does not have relates to the log.
    pub async fn standing(&self, point: Point) -> Result<feed::Standing, Refused> {
        let found = self.lookup.position(point.position).await?;
        Ok(feed::Standing::of(point, found.change_at(point.position).map(ChangeId), found.floor))
    }

    /// What receipts of a subscription are of: itself, and the changes at these positions.
    pub async fn receipts_of(
        &self,
        subscription: SubscriptionId,
        positions: Vec<i64>,
    ) -> Result<Arc<LookedUp>, Refused> {
        self.lookup.receipts(subscription, positions).await
    }

    /// Stores an acknowledgement and computes its lease.
    pub async fn acknowledge(&self, asked: Acknowledgement) -> Result<Acknowledged, Refused> {
        let Acknowledgement { arrival, epoch, subscription, point, receipts } = asked;
        let holder = match self.holders.get(subscription) {
            Some(holder) => holder,
            // Opened through another replica: what this one knows of it begins now.
            None => {
                let found = self.lookup.subscription(subscription).await?;
                let row = found.subscriptions.get(&subscription.0).ok_or(Refused::Missing)?;
                self.holders.registered(subscription, lease::millis(row.lease_ttl_ms), Instant::now())
            }
        };
        let caught_up = || self.marks.caught_up(epoch, point.position, holder.since);
        let mut mark = caught_up();
        if mark.is_none() && holder.since.elapsed() < FIRST_MARK {
            // It has only just registered: the next mark is the first that counts.
            let _ = timeout(FIRST_MARK, self.marks.since(holder.since)).await;
            mark = caught_up();
        }
        let applied = Applied { subscription, position: point.position, change: point.change_id };
        // Before the mark counts: no row, no lease.
        match self.flush.grant(applied, receipts).await? {
            Granted::Granted { applied } => {
                let lease = mark.and_then(|mark| lease::lease(mark, holder.ttl, arrival));
                if lease.is_some() {
                    metrics::counter!("rollcall_leases_granted_total").increment(1);
                }
                Ok(Acknowledged { applied, lease })
            }
            Granted::Replaced => Err(Refused::Replaced),
            Granted::Ended => Err(Refused::Ended),
            Granted::Missing => Err(Refused::Missing),
            Granted::Forked => Err(Refused::Forked),
            Granted::Busy => Err(Refused::Busy),
        }
    }
}

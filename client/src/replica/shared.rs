//! What the handles of a replica and its tasks share, and the two ways that checks end: a new moment is published, or
//! the lease runs out.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::{
    Clock, Ended, Phase, ReplicaStatus,
    guard::Guards,
    lease::Lease,
    owed::Receipts,
    store::{Scope, Touched},
};

/// How often at least the lease is looked at: so late a jump of the wall clock closes what guards watch over. Checks
/// notice it at once.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) scope: ArcSwap<Scope>,
    pub(super) lease: Lease,
    /// The lease changed: the keeper looks again.
    pub(super) leased: Notify,
    pub(super) guards: Arc<Guards>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) status: watch::Sender<ReplicaStatus>,
    pub(super) receipts: Receipts,
    /// The service has heard of a shutdown all that it will.
    pub(super) settled: Notify,
    /// Set when the replica shall end.
    pub(super) ending: watch::Sender<Option<Ending>>,
    /// The name of the app, on every metric.
    pub(super) app: String,
}

/// How a replica is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// In good order: say goodbye to the service.
    Shutdown,
    /// The last handle was dropped.
    Dropped,
}

impl Shared {
    pub(super) fn new(app: &str, clock: Arc<dyn Clock>) -> Self {
        let status = ReplicaStatus {
            phase: Phase::Starting,
            position: 0,
            head: 0,
            lease_remaining: None,
            lease_ttl: Duration::ZERO,
            serve_stale: false,
            subscription_id: None,
            resyncs: 0,
            lost_revocations: 0,
            trouble: None,
        };
        Self {
            scope: ArcSwap::default(),
            lease: Lease::default(),
            leased: Notify::new(),
            guards: Arc::default(),
            clock,
            status: watch::Sender::new(status),
            receipts: Receipts::default(),
            settled: Notify::new(),
            ending: watch::Sender::new(None),
            app: app.to_owned(),
        }
    }

    /// Makes this the moment that checks see from here on, and looks at the guards of whom it is about.
    pub(super) fn publish(&self, scope: Scope, touched: &[Touched]) {
        let position = scope.position;
        let scope = Arc::new(scope);
        self.scope.store(Arc::clone(&scope));
        let reason = |member: Uuid, workspace: Uuid| scope.denial(member, workspace).map(Ended::Revoked);
        if touched.contains(&Touched::Everyone) {
            self.guards.review_all(reason);
        } else {
            for touched in touched {
                if let Touched::Member(member) = touched {
                    self.guards.review(*member, reason);
                }
            }
        }
        self.say(|status| {
            status.position = position;
            status.head = status.head.max(position);
        });
    }

    /// Changes the status; whoever watches it hears of it if that changed something.
    pub(super) fn say(&self, change: impl FnOnce(&mut ReplicaStatus)) {
        let changed = self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
        if changed {
            self.measure();
        }
    }

    /// Says what hinders, in the log too where it is another thing than before.
    pub(super) fn trouble(&self, what: &str) {
        if self.status.borrow().trouble.as_deref() != Some(what) {
            tracing::warn!(app = %self.app, trouble = what, "the replica has trouble");
        }
        self.say(|status| status.trouble = Some(what.to_owned()));
    }

    fn measure(&self) {
        let status = self.status.borrow().clone();
        let labels = [("app", self.app.clone())];
        metrics::gauge!("rollcall_replica_position", &labels).set(status.position as f64);
        metrics::gauge!("rollcall_replica_lag_positions", &labels).set(status.lag() as f64);
        metrics::gauge!("rollcall_replica_lease_seconds", &labels)
            .set(status.lease_remaining.unwrap_or_default().as_secs_f64());
        metrics::gauge!("rollcall_replica_answering", &labels).set(if status.is_answering() {
            1.0
        } else {
            0.0
        });
        metrics::gauge!("rollcall_replica_lost_revocations", &labels).set(status.lost_revocations as f64);
        metrics::counter!("rollcall_replica_resyncs_total", &labels).absolute(status.resyncs);
        // There from the start: the first one is to be seen as a step.
        metrics::counter!("rollcall_replica_digest_mismatches_total", &labels).increment(0);
        metrics::counter!("rollcall_replica_handler_failures_total", &labels).increment(0);
    }

    /// Follows the lease until the replica ends: says LIVE and STALE, and resolves every guard when nobody knows any
    /// more.
    pub(super) async fn keep(&self) {
        let mut ending = self.ending.subscribe();
        loop {
            let standing = self.lease.read(&*self.clock);
            let (remaining, answering) = (standing.remaining(), standing.answers);
            let had_one = standing.age().is_some();
            if !answering {
                self.guards.review_all(|_, _| Some(Ended::Stale));
            }
            self.say(|status| {
                status.lease_remaining = (!remaining.is_zero()).then_some(remaining);
                status.lease_ttl = self.lease.ttl();
                status.serve_stale = self.lease.serve_stale();
                status.phase = match status.phase {
                    Phase::Replaced | Phase::Stopped => status.phase,
                    _ if !remaining.is_zero() => Phase::Live,
                    _ if had_one || answering => Phase::Stale,
                    _ => Phase::Starting,
                };
            });
            let wait = if remaining.is_zero() { LOOK } else { remaining.min(LOOK) };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.leased.notified() => {}
                _ = ending.wait_for(Option::is_some) => return,
            }
        }
    }

    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ending = self.ending.subscribe();
        async move {
            // Without a sender everything is over anyway.
            let _ = ending.wait_for(Option::is_some).await;
        }
    }
}

//! How a replica is doing, for readiness probes, logs and people.

use std::time::Duration;

/// How a replica is doing. Each change of it is in the channel of [`super::Replica::status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// What it is up to.
    pub phase: Phase,
    /// Everything at or before this position is in the answers. 0: no state yet.
    pub position: i64,
    /// The newest position that the service was known to have, whatever its scope.
    pub head: i64,
    /// How long the lease goes on, as of when this was written. `None`: there is none.
    pub lease_remaining: Option<Duration>,
    /// How long a lease of the app lasts at most. Zero before the first stream.
    pub lease_ttl: Duration,
    /// Whether the app answers after its lease, as it is registered.
    pub serve_stale: bool,
    /// The subscription. `None` before the first stream.
    pub subscription_id: Option<String>,
    /// How often the state was filled anew after the first time: cursors that could not be resumed, and digests that did not
    /// fit.
    pub resyncs: u64,
    /// How many revocations that the log has lost are denied here until an operator decides.
    pub lost_revocations: usize,
    /// What hinders, in words, where something does: the last error of the stream or of an acknowledgement.
    pub trouble: Option<String>,
}

impl ReplicaStatus {
    /// How many positions the answers are behind the newest one known. Positions of other apps count, so a small
    /// number here is nothing.
    #[must_use]
    pub fn lag(&self) -> i64 {
        (self.head - self.position).max(0)
    }

    /// Whether checks are answered now: what a readiness probe asks.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        self.phase == Phase::Live || (self.phase == Phase::Stale && self.serve_stale)
    }
}

/// What a replica is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has no state, or had no lease yet: checks answer STALE.
    Starting,
    /// It follows and holds a lease.
    Live,
    /// Its lease ran out: checks answer STALE, unless the app is registered with `serve_stale`. It goes on trying.
    Stale,
    /// Another process follows under its instance name. It is over for good: the lease runs out, none comes after it, and then
    /// checks answer STALE, whatever the app is registered with. End the process: a supervisor may start it again under a
    /// name of its own.
    Replaced,
    /// It was shut down.
    Stopped,
}

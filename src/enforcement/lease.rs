//! How long a lease is, and what a replica has to remember of who may hold one.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::rules::ids::SubscriptionId;

/// What is remembered of an instance that did not acknowledge for so long is forgotten.
const FORGET: Duration = Duration::from_secs(900);

/// A duration on another clock, which may run 1% slower than this one.
pub fn drift(duration: Duration) -> Duration {
    duration.mul_f64(1.01)
}

/// A time-to-live as it is stored.
pub fn millis(ttl_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ttl_ms).unwrap_or_default())
}

/// The lease of an instance that has caught up with a mark and whose request arrived at `arrival`: until `mark` + `ttl`,
/// counted from before the request was sent. None where that is over.
pub fn lease(mark: Instant, ttl: Duration, arrival: Instant) -> Option<Duration> {
    let lease = (mark + ttl).checked_duration_since(arrival)?;
    (!lease.is_zero()).then(|| lease.min(ttl))
}

/// What this replica knows of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Marks from then on count: by then this replica knew that the registration is committed. Whoever read a verdict before
    /// that did not count it, and needs it to have what the verdict was about.
    pub since: Instant,
    /// The longest lease that it may get. It never changes: a verdict that relied on a shorter one would be wrong, since with
    /// a longer one a mark from before its change reaches further.
    pub ttl: Duration,
    /// When it was last asked for.
    seen: Instant,
}

/// The subscriptions that acknowledge here.
#[derive(Debug, Default)]
pub struct Holders {
    known: Mutex<HashMap<SubscriptionId, Holder>>,
}

impl Holders {
    fn lock(&self) -> MutexGuard<'_, HashMap<SubscriptionId, Holder>> {
        // Nothing panics while it holds this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a subscription whose row is known to be committed at `now`. One that is known already stays.
    pub fn registered(&self, id: SubscriptionId, ttl: Duration, now: Instant) -> Holder {
        *self.lock().entry(id).or_insert(Holder { since: now, ttl, seen: now })
    }

    /// What is known of a subscription.
    pub fn get(&self, id: SubscriptionId) -> Option<Holder> {
        let mut known = self.lock();
        let holder = known.get_mut(&id)?;
        holder.seen = Instant::now();
        Some(*holder)
    }

    /// Forgets who has not been heard of for long. Who comes back is registered anew.
    pub fn forget(&self, now: Instant) {
        self.lock().retain(|_, holder| holder.seen + FORGET > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_ends_a_ttl_after_the_mark() {
        let mark = Instant::now();
        for late in [0, 1, 5, 9] {
            let left = lease(mark, 10 * SECOND, mark + late * SECOND);
            assert_eq!(left, Some((10 - late) * SECOND));
        }
        assert_eq!(lease(mark, 10 * SECOND, mark + 10 * SECOND), None);
        assert_eq!(lease(mark, 10 * SECOND, mark + 60 * SECOND), None);
        // A mark that was made after the request arrived gives no more than a ttl.
        assert_eq!(lease(mark + SECOND, 10 * SECOND, mark), Some(10 * SECOND));
    }

    #[test]
    fn who_is_forgotten_is_registered_anew() {
        let (holders, id, start) = (Holders::default(), SubscriptionId::generate(), Instant::now());
        holders.registered(id, SECOND, start);
        assert_eq!(holders.registered(id, SECOND, start + SECOND).since, start, "known already");
        holders.forget(start + 2 * FORGET);
        assert_eq!(holders.get(id), None);
        assert_eq!(holders.registered(id, SECOND, start + SECOND).since, start + SECOND);
    }
}

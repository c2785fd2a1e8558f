//! The lease: until when the replica may answer without hearing from the service.
//!
//! It counts from before the call that was answered with it was sent, by whichever of the two clocks says that more has
//! passed. So it ends in time on a machine that slept, and setting the wall clock back lengthens nothing.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use super::clock::{Clock, WALL_GRAIN, nanos};

/// When a call was about to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    boot: Duration,
    wall: Duration,
}

impl Sent {
    pub(super) fn now(clock: &dyn Clock) -> Self {
        Self { boot: clock.boot(), wall: clock.wall() }
    }
}

/// How the lease stood at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Whether it held.
    pub(super) leased: bool,
    /// Whether checks may be answered: it held, or the app may answer without.
    pub(super) answers: bool,
    /// How long it still went on, or since when it was over (negative). `None`: there was none yet.
    left_ns: Option<i64>,
    ttl_ns: u64,
}

impl Standing {
    pub(super) fn remaining(&self) -> Duration {
        Duration::from_nanos(self.left_ns.and_then(|left| u64::try_from(left).ok()).unwrap_or_default())
    }

    /// How long ago the state was surely the newest there was, at most: a full lease would begin now. `None`: there was
    /// no lease.
    pub(super) fn age(&self) -> Option<Duration> {
        let age = self.ttl_ns.cast_signed().saturating_sub(self.left_ns?);
        Some(Duration::from_nanos(u64::try_from(age).unwrap_or_default()))
    }
}

/// Read by every check, written by who acknowledges.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// When it ends by each clock, in nanoseconds; 0: there was none yet.
    boot_end: AtomicU64,
    wall_end: AtomicU64,
    /// How long one lasts at most.
    ttl: AtomicU64,
    /// Whether the app may answer after it.
    serve_stale: AtomicBool,
    /// Whether there is a state to answer from.
    filled: AtomicBool,
    /// Whether the replica was shut down, or is told to answer nothing.
    stopped: AtomicBool,
}

impl Lease {
    /// What the service says of the app when a stream opens.
    pub(super) fn agree(&self, ttl: Duration, serve_stale: bool) {
        self.ttl.store(nanos(ttl), Ordering::Release);
        self.serve_stale.store(serve_stale, Ordering::Release);
    }

    /// Takes a lease, unless the one held ends later. One that is granted holds, whichever comes first.
    pub(super) fn take(&self, sent: Sent, duration: Duration) {
        // Whatever an answer says, nothing beyond what the app was registered with.
        let duration = nanos(duration).min(self.ttl.load(Ordering::Acquire));
        let boot_end = nanos(sent.boot).saturating_add(duration);
        let wall_end = nanos(sent.wall).saturating_add(duration).saturating_sub(nanos(WALL_GRAIN));
        // By either clock: the one held may be over by a wall clock that was set forward.
        let held = (self.boot_end.load(Ordering::Acquire), self.wall_end.load(Ordering::Acquire));
        if boot_end <= held.0 && wall_end <= held.1 {
            return;
        }
        self.boot_end.store(boot_end, Ordering::Release);
        self.wall_end.store(wall_end, Ordering::Release);
    }

    /// How it stands. A check reads this before the state: then what it reads is at least what the lease was granted for.
    pub(super) fn read(&self, clock: &dyn Clock) -> Standing {
        // The ends before the clocks: read the other way round, a thread that slept in between would compare an old time
        // with a new end.
        let (boot_end, wall_end) =
            (self.boot_end.load(Ordering::Acquire), self.wall_end.load(Ordering::Acquire));
        let left = |end: u64, now: Duration| end.cast_signed().saturating_sub(nanos(now).cast_signed());
        let left_ns = left(boot_end, clock.boot()).min(left(wall_end, clock.wall()));
        let stopped = self.is_stopped();
        let leased = !stopped && left_ns > 0;
        Standing {
            leased,
            answers: leased || (!stopped && self.serve_stale() && self.filled.load(Ordering::Acquire)),
            left_ns: (boot_end != 0).then_some(left_ns),
            ttl_ns: self.ttl.load(Ordering::Acquire),
        }
    }

    pub(super) fn serve_stale(&self) -> bool {
        self.serve_stale.load(Ordering::Acquire)
    }

    pub(super) fn ttl(&self) -> Duration {
        Duration::from_nanos(self.ttl.load(Ordering::Acquire))
    }

    /// From here on there is a state.
    pub(super) fn fill(&self) {
        self.filled.store(true, Ordering::Release);
    }

    /// From here on nothing is answered after the lease, however the app is registered: nothing new will ever be heard of.
    pub(super) fn disown(&self) {
        self.serve_stale.store(false, Ordering::Release);
    }

    /// From here on nothing is answered.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    const TTL: Duration = Duration::from_secs(10);

    fn lease(clock: &ManualClock) -> Lease {
        let lease = Lease::default();
        lease.agree(TTL, false);
        lease.take(Sent::now(clock), TTL);
        assert!(lease.read(clock).answers);
        lease
    }

    #[test]
    fn it_ends_by_the_clock_that_went_further() {
        type Pass = fn(&ManualClock, Duration);
        let passes: [Pass; 3] = [ManualClock::advance, ManualClock::advance_boot, ManualClock::advance_wall];
        for pass in passes {
            let clock = ManualClock::default();
            let lease = lease(&clock);
            pass(&clock, TTL - 2 * WALL_GRAIN);
            assert!(lease.read(&clock).answers);
            pass(&clock, 2 * WALL_GRAIN);
            assert!(!lease.read(&clock).answers);
        }
    }

    #[test]
    fn t18_a_wall_clock_set_back_lengthens_nothing() {
        let clock = ManualClock::default();
        let lease = lease(&clock);
        clock.set_wall_back(Duration::from_secs(600));
        clock.advance(TTL);
        assert!(!lease.read(&clock).answers);
        // Nor does a lease that was asked for before.
        let sent = Sent::now(&clock);
        clock.advance_boot(TTL);
        clock.set_wall_back(TTL);
        lease.take(sent, TTL);
        assert!(!lease.read(&clock).answers);
    }

    #[test]
    fn it_counts_from_before_the_call_and_only_a_later_end_replaces_it() {
        let clock = ManualClock::default();
        let lease = lease(&clock);
        let sent = Sent::now(&clock);
        clock.advance(TTL / 2);
        // An answer that took long, and one that grants less than what is held.
        lease.take(sent, TTL);
        lease.take(Sent::now(&clock), TTL / 4);
        assert!(
            lease.read(&clock).remaining() <= TTL / 2
                && lease.read(&clock).remaining() >= TTL / 2 - WALL_GRAIN
        );
        lease.take(Sent::now(&clock), 100 * TTL);
        assert!(lease.read(&clock).remaining() <= TTL, "more than the app was registered with");
    }

    #[test]
    fn after_it_only_an_app_registered_so_answers_and_nobody_after_a_stop() {
        let clock = ManualClock::default();
        let lease = lease(&clock);
        clock.advance(2 * TTL);
        assert!(!lease.read(&clock).answers);
        assert!(lease.read(&clock).age().unwrap() >= 2 * TTL);
        lease.agree(TTL, true);
        assert!(!lease.read(&clock).answers, "there is no state to answer from");
        lease.fill();
        assert!(lease.read(&clock).answers);
        lease.stop();
        assert!(!lease.read(&clock).answers);
        assert_eq!(Lease::default().read(&clock).age(), None);
    }
}

//! The two clocks that a lease ends by. A machine that is suspended or restored from a snapshot stops one of them at
//! most unnoticed: the boot clock counts a suspend, and the wall clock is set right after a restore.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What a replica tells time by. Read on every check: it must be cheap.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Time since some moment, that never stops or goes back, also while the machine sleeps.
    fn boot(&self) -> Duration;
    /// Time since 1970 by the wall clock, which may be set. May be late by up to `WALL_GRAIN`.
    fn wall(&self) -> Duration;
}

/// How late the wall clock may read: the kernel's coarse clock moves with its tick, of 10 ms at most.
pub(super) const WALL_GRAIN: Duration = Duration::from_millis(10);

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[cfg(target_os = "linux")]
impl Clock for SystemClock {
    fn boot(&self) -> Duration {
        read(rustix::time::ClockId::Boottime)
    }

    // The exact one costs as much again as the boot clock; nobody needs the wall clock to be exact here.
    fn wall(&self) -> Duration {
        read(rustix::time::ClockId::RealtimeCoarse)
    }
}

#[cfg(target_os = "linux")]
fn read(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// For development elsewhere: the standard library's clocks. The first may stop while the machine sleeps.
#[cfg(not(target_os = "linux"))]
impl Clock for SystemClock {
    fn boot(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }

    fn wall(&self) -> Duration {
        std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
    }
}

/// Clocks that stand until they are moved. For tests, also for those of apps.
#[derive(Debug)]
pub struct ManualClock {
    boot_ns: AtomicU64,
    wall_ns: AtomicU64,
}

impl Default for ManualClock {
    fn default() -> Self {
        // A wall clock that starts at 0 could not be set back.
        Self { boot_ns: AtomicU64::new(0), wall_ns: AtomicU64::new(1_000_000_000_000_000_000) }
    }
}

impl ManualClock {
    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.advance_boot(by);
        self.advance_wall(by);
    }

    /// Lets time pass on the boot clock alone: somebody set the wall clock back by as much.
    pub fn advance_boot(&self, by: Duration) {
        self.boot_ns.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Lets time pass on the wall clock alone: the machine was stopped, or somebody set its clock.
    pub fn advance_wall(&self, by: Duration) {
        self.wall_ns.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Sets the wall clock back.
    pub fn set_wall_back(&self, by: Duration) {
        self.wall_ns.fetch_sub(nanos(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn boot(&self) -> Duration {
        Duration::from_nanos(self.boot_ns.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Duration {
        Duration::from_nanos(self.wall_ns.load(Ordering::SeqCst))
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

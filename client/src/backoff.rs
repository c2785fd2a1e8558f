//! How long to wait before trying again: doubling, bounded, and spread, so that a thousand clients that lost the same
//! server do not come back in the same instant.

use std::time::Duration;

use uuid::Uuid;

/// Doubling waits from `first` to `longest`.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Something worked: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait before the next attempt; at least `asked`, where the other side asked for a time.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        // 2^16 times any first wait is past any longest one; the bound keeps the shift from overflowing.
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.min(self.longest).mul_f64(spread());
        asked.map_or(wait, |asked| wait.max(asked.min(self.longest)))
    }
}

/// A factor between one half and one. A random UUID is the one source of chance that this crate has already.
fn spread() -> f64 {
    let (chance, _) = Uuid::new_v4().as_u64_pair();
    0.5 + (chance >> 40) as f64 / f64::from(1u32 << 24) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let waits: Vec<_> = (0..40).map(|_| backoff.next(None)).collect();
        assert!(waits[0] >= Duration::from_millis(50) && waits[0] <= Duration::from_millis(100));
        assert!(waits[3] >= Duration::from_millis(400) && waits[3] <= Duration::from_millis(800));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(5)));
        backoff.reset();
        assert!(backoff.next(None) <= Duration::from_millis(100));
    }

    #[test]
    fn a_wait_that_was_asked_for_is_kept_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        assert_eq!(backoff.next(Some(Duration::from_secs(2))), Duration::from_secs(2));
        assert_eq!(backoff.next(Some(Duration::from_secs(3600))), Duration::from_secs(5));
    }
}

//! Who is silent: was granted nothing for longer than any lease lasts, and so holds none.
//!
//! What counts is that the number of grants stood still by this replica's own monotonic clock. The last grant was
//! committed before the first reading that showed it; the lease that went with it rests on a mark from before that, and
//! ends a ttl after it. Giving up requires that very number, so a grant that comes in between wins.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::lease::drift;
use crate::rules::ids::SubscriptionId;

/// Who was never granted anything holds no lease, and is given time to read its first snapshot: verdicts wait no longer for
/// it than for anybody.
const FILLING: Duration = Duration::from_secs(120);

/// What a reading shows of a subscription that counts.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// Who.
    pub subscription: SubscriptionId,
    /// How many grants it has got.
    pub grant_seq: i64,
    /// The longest lease that it may hold.
    pub ttl: Duration,
}

/// Since when each has stood still.
#[derive(Debug, Default)]
pub struct Silence {
    /// The epoch of the marks. After a failover grants may be lost, and what was seen before says nothing.
    epoch: u64,
    seen: HashMap<SubscriptionId, (i64, Instant)>,
}

impl Silence {
    /// Takes note of a reading that was complete at `at`. Returns who is silent, with the number of grants that must not
    /// have changed.
    pub fn observe(
        &mut self,
        epoch: u64,
        heard: impl IntoIterator<Item = Heard>,
        at: Instant,
    ) -> Vec<(SubscriptionId, i64)> {
        let before = std::mem::take(&mut self.seen);
        let before = if self.epoch == epoch { before } else { HashMap::new() };
        self.epoch = epoch;
        let mut silent = Vec::new();
        for Heard { subscription, grant_seq, ttl } in heard {
            let since = match before.get(&subscription) {
                Some((seq, since)) if *seq == grant_seq => *since,
                _ => at,
            };
            self.seen.insert(subscription, (grant_seq, since));
            let enough = if grant_seq == 0 { drift(ttl).max(FILLING) } else { drift(ttl) };
            if at.duration_since(since) >= enough {
                silent.push((subscription, grant_seq));
            }
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn heard(subscription: SubscriptionId, grant_seq: i64) -> Heard {
        Heard { subscription, grant_seq, ttl: 2 * SECOND }
    }

    #[test]
    fn who_stands_still_for_longer_than_a_lease_is_silent() {
        let (mut silence, id, start) = (Silence::default(), SubscriptionId::generate(), Instant::now());
        let mut at = |after, seq| silence.observe(0, [heard(id, seq)], start + after);
        assert_eq!(at(Duration::ZERO, 1), []);
        assert_eq!(at(2 * SECOND, 1), [], "its clock may run slower");
        assert_eq!(at(Duration::from_millis(2_010), 2), [], "a grant");
        assert_eq!(at(4 * SECOND, 2), []);
        assert_eq!(at(Duration::from_millis(4_030), 2), [(id, 2)]);
        assert_eq!(at(5 * SECOND, 3), [], "the grant won");
    }

    #[test]
    fn who_was_never_granted_anything_gets_time_to_fill() {
        let (mut silence, id, start) = (Silence::default(), SubscriptionId::generate(), Instant::now());
        let mut at = |after| silence.observe(0, [heard(id, 0)], start + after);
        assert_eq!(at(Duration::ZERO), []);
        assert_eq!(at(FILLING - SECOND), []);
        assert_eq!(at(FILLING), [(id, 0)]);
    }

    #[test]
    fn another_epoch_begins_anew() {
        let (mut silence, id, start) = (Silence::default(), SubscriptionId::generate(), Instant::now());
        silence.observe(0, [heard(id, 1)], start);
        assert_eq!(silence.observe(1, [heard(id, 1)], start + 10 * SECOND), []);
        assert_eq!(silence.observe(1, [heard(id, 1)], start + 12 * SECOND), []);
        assert_eq!(silence.observe(1, [heard(id, 1)], start + 13 * SECOND), [(id, 1)]);
    }

    #[test]
    fn who_is_gone_for_a_reading_begins_anew() {
        let (mut silence, id, start) = (Silence::default(), SubscriptionId::generate(), Instant::now());
        silence.observe(0, [heard(id, 1)], start);
        silence.observe(0, [], start + SECOND);
        assert_eq!(silence.observe(0, [heard(id, 1)], start + 3 * SECOND), []);
    }
}

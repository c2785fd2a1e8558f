//! The trail: the marks of the last minutes. A lease rests on the newest of them that an instance has caught up with; and
//! they tell since when a position has been known.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How far back it goes: longer than the longest lease, with what clocks may differ by.
const LENGTH: Duration = Duration::from_secs(310);
/// The newest ones are all kept: leases of instances that keep up rest on these.
const FINE: Duration = Duration::from_secs(1);
/// How far apart older ones are at least. An instance that is so far behind gets a lease that is as much shorter.
const COARSE: Duration = Duration::from_millis(50);

/// The marks of one history, one for each head.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// In the order in which they were made.
    marks: VecDeque<Kept>,
    /// How many from the front are as far apart as they have to be.
    thinned: usize,
}

/// The marks with one head.
#[derive(Debug, Clone, Copy)]
struct Kept {
    head: i64,
    /// When the call of the newest began.
    at: Instant,
    /// When the answer of the first was there: everything up to the head was committed by then.
    found: Instant,
}

impl Trail {
    /// Forgets all: what comes next says nothing about what was before.
    pub(super) fn clear(&mut self) {
        self.marks.clear();
        self.thinned = 0;
    }

    /// Adds a mark: a call that began at `at`, and was answered by `found`.
    pub(super) fn push(&mut self, head: i64, at: Instant, found: Instant) {
        match self.marks.back_mut() {
            Some(last) if last.head == head => {
                last.at = last.at.max(at);
                return;
            }
            Some(last) if last.head > head => return,
            _ => self.marks.push_back(Kept { head, at, found }),
        }
        // The last one is never thinned out: its time may still change.
        while self.thinned + 1 < self.marks.len() && self.marks[self.thinned].at + FINE < at {
            let before = self.thinned.checked_sub(1).map(|before| self.marks[before].at);
            if before.is_some_and(|before| self.marks[self.thinned].at < before + COARSE) {
                self.marks.remove(self.thinned);
            } else {
                self.thinned += 1;
            }
        }
        while self.marks.front().is_some_and(|first| first.at + LENGTH < at) {
            self.marks.pop_front();
            self.thinned = self.thinned.saturating_sub(1);
        }
    }

    /// When the newest mark was made whose head is at or before a position. None: it was made before `since`, or there is
    /// none that is kept.
    pub(super) fn newest(&self, position: i64, since: Instant) -> Option<Instant> {
        let behind = self.marks.partition_point(|mark| mark.head <= position);
        let newest = self.marks.get(behind.checked_sub(1)?)?;
        (newest.at >= since).then_some(newest.at)
    }

    /// Since when a position has been known at the latest. None: it is not.
    pub(super) fn known_since(&self, position: i64) -> Option<Instant> {
        let first = self.marks.partition_point(|mark| mark.head < position);
        self.marks.get(first).map(|mark| mark.found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Pauses before a call, how long it takes, and by how much the head has grown.
    fn calls() -> impl Strategy<Value = Vec<(u64, u64, i64)>> {
        let pause = prop_oneof![8 => 1_u64..60, 1 => 500_u64..5_000, 1 => 30_000_u64..200_000];
        vec((pause, 0_u64..20, prop_oneof![2 => Just(0_i64), 1 => 1_i64..5]), 1..400)
    }

    proptest! {
        #[test]
        fn it_tells_what_a_plain_list_tells(calls in calls(), asked in 0_i64..1_200, age in 0_u64..400_000) {
            let start = Instant::now();
            let (mut trail, mut list) = (Trail::default(), Vec::new());
            let (mut now, mut head) = (start, 0);
            for (pause, takes, grown) in calls {
                now += Duration::from_millis(pause);
                head += grown;
                let found = now + Duration::from_millis(takes);
                trail.push(head, now, found);
                list.push((head, now, found));
                now = found;
            }
            let last = list[list.len() - 1].1;
            let since = last.checked_sub(Duration::from_millis(age)).unwrap_or(start);

            let plain = list.iter().rev().find(|mark| mark.0 <= asked && mark.1 >= since).map(|mark| mark.1);
            match (trail.newest(asked, since), plain) {
                // Never more than is true, and where it is recent exactly that.
                (Some(told), Some(plain)) => {
                    prop_assert!(told <= plain && told >= since);
                    prop_assert!(plain + FINE < last || told == plain);
                    prop_assert!(told + COARSE >= plain, "thinned out by more than {COARSE:?}");
                }
                (Some(told), None) => prop_assert!(false, "{told:?} of nothing"),
                (None, Some(plain)) => {
                    prop_assert!(plain + LENGTH < last + COARSE || since + COARSE >= plain, "{plain:?} is forgotten");
                }
                (None, None) => {}
            }

            let plain = list.iter().find(|mark| mark.0 >= asked).map(|mark| mark.2);
            match (trail.known_since(asked), plain) {
                // Never earlier than is true.
                (Some(told), Some(plain)) => prop_assert!(told >= plain),
                (told, plain) => prop_assert_eq!(told, plain),
            }
        }

        #[test]
        fn it_stays_small(pauses in vec(1_u64..10, 2_000..4_000)) {
            let (mut trail, mut now) = (Trail::default(), Instant::now());
            for (head, pause) in (0..).zip(pauses) {
                now += Duration::from_millis(pause);
                trail.push(head, now, now);
            }
            let most = FINE.as_millis() + LENGTH.as_millis() / COARSE.as_millis() + 2;
            prop_assert!(trail.marks.len() as u128 <= most, "{}", trail.marks.len());
            let coarse = trail.marks.iter().filter(|mark| mark.at + FINE < now).count();
            prop_assert!(coarse <= 1 + 40_000 / 50);
        }
    }
}

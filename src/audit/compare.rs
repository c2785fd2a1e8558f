//! Exported heads against chains that hold: what was written anew, cut off at the end, or removed at the beginning before its
//! time.
//!
//! The last is what the chains themselves cannot tell from trimming: both leave a floor, and a chain that goes on from there.
//! Heads have a time, and so has what stands between them.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    heads::{Head, hex},
    verify::What,
};
use crate::storage::{ChainEnds, ChainReader, StorageError};

/// By how much a head may be older than what stands behind it: clocks differ, and an entry is chained a moment after it was
/// recorded.
const SLACK: TimeDelta = TimeDelta::hours(1);
/// For how long nothing at all is recorded in a store that is used.
const QUIET: TimeDelta = TimeDelta::days(1);

/// How long a chain is kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// So many days.
    Days(u16),
    /// Nothing is ever trimmed.
    ForEver,
}

impl Kept {
    /// Whether what was recorded at a time may have been trimmed since, or nearly so.
    fn may_be_gone(self, time: DateTime<Utc>, now: DateTime<Utc>, nearly: TimeDelta) -> bool {
        match self {
            Self::Days(days) => now - time + nearly >= TimeDelta::days(days.into()),
            Self::ForEver => false,
        }
    }

    /// Whether the first that is left is so young that, had there been something before it all the time, there would be more.
    pub fn looks_cut(self, first: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        first.is_none_or(|first| !self.may_be_gone(first, now, QUIET))
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "for {days} days"),
            Self::ForEver => f.write_str("for ever"),
        }
    }
}

/// How long both chains are kept, and when that is asked.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// The log.
    pub log: Kept,
    /// The audit.
    pub audit: Kept,
    /// The time by the clock of who checks: not that of the database.
    pub now: DateTime<Utc>,
}

/// How exported heads compare with the chains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Heads that both chains go through.
    pub same: usize,
    /// Heads of what was trimmed in the meantime, of one chain at least.
    pub trimmed: usize,
    /// Whether one of them shows that all of the log that is gone was old enough.
    pub log_was_due: bool,
    /// The same of the audit.
    pub audit_was_due: bool,
}

impl Compared {
    /// Both together.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            same: self.same + more.same,
            trimmed: self.trimmed + more.trimmed,
            log_was_due: self.log_was_due || more.log_was_due,
            audit_was_due: self.audit_was_due || more.audit_was_due,
        }
    }
}

/// What an exported head says against the chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// It is of another store.
    Store(Uuid),
    /// The chain ends before it.
    Behind {
        /// What the chain is of.
        what: What,
        /// Where the chain ends.
        head: i64,
        /// Where the exported head stands.
        exported: i64,
    },
    /// The chain has another hash there.
    Rewritten {
        /// What the chain is of.
        what: What,
        /// Where.
        position: i64,
    },
    /// What came after it is gone, and was younger than it may be.
    Early {
        /// What the chain is of.
        what: What,
        /// Where the exported head stands.
        exported: i64,
        /// Up to where all is gone.
        floor: i64,
        /// How long it is kept.
        kept: Kept,
    },
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(store) => write!(f, "it is of another store, {store}"),
            Self::Behind { what, head, exported } => write!(
                f,
                "it was exported at {what} {exported}, and the chain ends at {head}: the end was removed, or an older \
                 backup restored"
            ),
            Self::Rewritten { what, position } => write!(
                f,
                "the chain has another hash at {what} {position}: it was written anew at or before that, after the export"
            ),
            Self::Early { what, exported, floor, kept } => write!(
                f,
                "it was exported at {what} {exported}, and everything up to {what} {floor} is gone: what came after this \
                 head was removed too early, for it is kept {kept}"
            ),
        }
    }
}

/// Compares exported heads with chains that hold. Err: the first that says otherwise, by its index.
///
/// A head tells of time too. What stands behind it was recorded after it was exported, but for an hour: so as long as a
/// head is younger than what is kept, trimming does not reach beyond it. And what a head that is older goes through was
/// recorded before it.
pub async fn heads(
    reader: &mut ChainReader,
    ends: &ChainEnds,
    exported: &[Head],
    keeping: &Keeping,
) -> Result<Result<Compared, (usize, Against)>, StorageError> {
    let log: Vec<i64> = exported.iter().map(|head| head.log_position).collect();
    let audit: Vec<i64> = exported.iter().map(|head| head.audit_position).collect();
    let texts = |found: Vec<(i64, Vec<u8>)>| -> BTreeMap<i64, String> {
        found.into_iter().map(|(position, hash)| (position, hex(&hash))).collect()
    };
    let mut log_hashes = texts(reader.log_hashes(&log).await?);
    let mut audit_hashes = texts(reader.audit_hashes(&audit).await?);
    // Before the first of them.
    log_hashes.entry(0).or_insert_with(String::new);
    audit_hashes.insert(ends.audit_floor, hex(&ends.audit_floor_hash));
    let mut compared = Compared::default();
    for (index, head) in exported.iter().enumerate() {
        if head.store_id != ends.store_id {
            return Ok(Err((index, Against::Store(head.store_id))));
        }
        // Every head that was parsed has a time.
        let time = head.exported_at().unwrap_or(keeping.now);
        let log = Chain {
            what: What::Change,
            hashes: &log_hashes,
            end: ends.log_position,
            floor: ends.log_floor,
            kept: keeping.log,
        };
        let audit = Chain {
            what: What::Entry,
            hashes: &audit_hashes,
            end: ends.audit_position,
            floor: ends.audit_floor,
            kept: keeping.audit,
        };
        let found = log.compare(head.log_position, &head.log_hash, time, keeping.now).and_then(|log| {
            Ok((log, audit.compare(head.audit_position, &head.audit_hash, time, keeping.now)?))
        });
        let (log, audit) = match found {
            Ok(found) => found,
            Err(against) => return Ok(Err((index, against))),
        };
        let is_trimmed = [log, audit].contains(&Through::Trimmed);
        compared = compared.and(Compared {
            same: usize::from(!is_trimmed),
            trimmed: usize::from(is_trimmed),
            log_was_due: log == Through::Due,
            audit_was_due: audit == Through::Due,
        });
    }
    Ok(Ok(compared))
}

/// How a chain and a head go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Through {
    /// The chain goes through it.
    Same,
    /// It does, and all that was trimmed was old enough: it lies at or before this head, which is.
    Due,
    /// The chain began there, and has been trimmed since.
    Trimmed,
}

/// A chain that holds, as a head is compared with it.
struct Chain<'a> {
    what: What,
    hashes: &'a BTreeMap<i64, String>,
    end: i64,
    floor: i64,
    kept: Kept,
}

impl Chain<'_> {
    fn compare(
        &self,
        position: i64,
        hash: &str,
        time: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Through, Against> {
        let Self { what, hashes, end, floor, kept } = *self;
        let is_old = kept.may_be_gone(time, now, SLACK);
        if position < floor {
            let early = Against::Early { what, exported: position, floor, kept };
            return if is_old { Ok(Through::Trimmed) } else { Err(early) };
        }
        match hashes.get(&position) {
            Some(found) if found == hash => Ok(if is_old { Through::Due } else { Through::Same }),
            _ if position > end => Err(Against::Behind { what, head: end, exported: position }),
            _ => Err(Against::Rewritten { what, position }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a chain whose first seven are gone says to a head at a position, exported so many hours ago.
    fn compared(position: i64, hours: i64, kept: Kept) -> Result<Through, Against> {
        let hashes = BTreeMap::from([(7, "seven".to_owned()), (9, "nine".to_owned())]);
        let chain = Chain { what: What::Entry, hashes: &hashes, end: 9, floor: 7, kept };
        let hash = if position == 7 { "seven" } else { "nine" };
        let now = Utc::now();
        chain.compare(position, hash, now - TimeDelta::hours(hours), now)
    }

    #[test]
    fn what_is_gone_must_have_been_old() {
        let kept = Kept::Days(10);
        let early = |kept| Err(Against::Early { what: What::Entry, exported: 6, floor: 7, kept });
        for (hours, expected) in [(0, early(kept)), (238, early(kept)), (240, Ok(Through::Trimmed))] {
            assert_eq!(compared(6, hours, kept), expected, "{hours} hours ago");
        }
        // Clocks differ a little; a head of the future is as young as one of now.
        assert_eq!(compared(6, 239, kept), Ok(Through::Trimmed));
        assert_eq!(compared(6, -2, kept), early(kept));
        assert_eq!(compared(6, 100_000, Kept::ForEver), early(Kept::ForEver));
        // At the floor and behind it a head shows nothing while it is young, and that all was due once it is old.
        for position in [7, 9] {
            assert_eq!(compared(position, 0, kept), Ok(Through::Same));
            assert_eq!(compared(position, 241, kept), Ok(Through::Due));
        }
        assert!(matches!(compared(8, 0, kept), Err(Against::Rewritten { position: 8, .. })));
        assert!(matches!(compared(10, 0, kept), Err(Against::Behind { exported: 10, .. })));
    }

    #[test]
    fn what_is_left_must_reach_back() {
        let now = Utc::now();
        let left = |hours| Some(now - TimeDelta::hours(hours));
        assert!(Kept::Days(10).looks_cut(left(200), now));
        assert!(!Kept::Days(10).looks_cut(left(220), now), "a quiet day is nothing strange");
        assert!(Kept::Days(10).looks_cut(None, now), "nothing is left");
        assert!(Kept::ForEver.looks_cut(left(100_000), now));
    }
}

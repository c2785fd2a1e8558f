//! Keeps apart in time what one write does in several organizations, and what it does to an account and to its members.
//!
//! All of it is one transaction, and would be stamped with its one time, to the microsecond: whoever sees two tombstones
//! could tell by it that they were one person (R46). So each organization is told a time of its own, a few milliseconds
//! earlier. That they are near stays to be seen, as it does by the positions in the log.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::rules::Change;

/// By how much earlier it is said to be in which organization. Nothing in it: nothing has to be kept apart.
#[derive(Debug, Default)]
pub(super) struct Apart(BTreeMap<Uuid, i64>);

impl Apart {
    /// `erases`: something is erased by the same write, which keeps the time of the transaction itself.
    pub(super) fn of(changes: &[Change], erases: bool) -> Self {
        let organizations: BTreeSet<Uuid> =
            changes.iter().map(|change| change.subject.organization_id().0).collect();
        if organizations.len() < 2 && !erases {
            return Self::default();
        }
        // No two alike, and not a round number of milliseconds either.
        let earlier = (1..).map(|step: i64| step * 1_000 + i64::from(Uuid::new_v4().as_bytes()[0]));
        Self(organizations.into_iter().zip(earlier).collect())
    }

    /// Whether anything has to be kept apart.
    pub(super) fn is_needed(&self) -> bool {
        !self.0.is_empty()
    }

    /// By how many microseconds earlier what happens in this organization is said to be.
    pub(super) fn earlier(&self, organization: Uuid) -> i64 {
        self.0.get(&organization).copied().unwrap_or_default()
    }
}

//! Whether a write is enforced in an app: judged from one reading of who has applied what, made after the write was
//! sequenced.
//!
//! Enforced means that every subscription that counts has applied it, or that whoever has not holds no lease from before it
//! any more, since this replica has known the write for longer than the longest of their leases. Nobody who registers later
//! matters: a first lease needs a mark from after the registration, and that one has the write.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::lease::{drift, millis};
use crate::{
    rules::ids::{CommandId, OrganizationId, SubscriptionId},
    storage::{CountedRow, StandingRead, WriteRow},
};

/// How far a write is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nobody answers from before it.
    Enforced,
    /// So by whoever follows; but those are too few.
    NoInstances,
    /// The app serves stale answers: nothing is known of who cannot be reached.
    Unbounded,
    /// Somebody may still answer from before it.
    Pending,
}

/// Changes of one command in one organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The organization.
    pub organization: OrganizationId,
    /// The command.
    pub command: CommandId,
    /// The position of the first change.
    pub first: i64,
    /// The position of the last one.
    pub last: i64,
}

/// What is to be enforced.
#[derive(Debug, Clone)]
pub struct Write {
    /// The commands. None: it changed nothing, and is about what it saw.
    pub spans: Vec<Span>,
    /// What has to be applied.
    pub position: i64,
    /// The apps in whose scope it is, each with how many of its changes end access there. None: all.
    pub apps: Option<BTreeMap<String, i64>>,
    /// When it was recorded. For people.
    pub write_time: DateTime<Utc>,
    /// Since when this replica has known it, at the latest.
    pub known: Instant,
}

impl Write {
    /// A write of these commands. None: there are none.
    pub fn of(rows: &[WriteRow], known: Instant) -> Option<Self> {
        let mut spans: BTreeMap<(i64, OrganizationId, CommandId), (i64, i64)> = BTreeMap::new();
        let mut apps: BTreeMap<String, i64> = BTreeMap::new();
        let mut firsts: BTreeMap<CommandId, i64> = BTreeMap::new();
        for row in rows {
            let first = firsts.entry(CommandId(row.command_id)).or_insert(row.first_position);
            *first = row.first_position.min(*first);
        }
        for row in rows {
            let command = CommandId(row.command_id);
            let key = (firsts[&command], OrganizationId(row.organization_id), command);
            let span = spans.entry(key).or_insert((row.first_position, row.last_position));
            *span = (span.0.min(row.first_position), span.1.max(row.last_position));
            for app in &row.apps {
                *apps.entry(app.clone()).or_default() += row.revoking;
            }
        }
        let spans = spans.into_iter().map(|((_, organization, command), (first, last))| Span {
            organization,
            command,
            first,
            last,
        });
        Some(Self {
            spans: spans.collect(),
            position: rows.iter().map(|row| row.last_position).max()?,
            apps: Some(apps),
            write_time: rows.iter().map(|row| row.record_time).min()?,
            known,
        })
    }

    /// How many of its changes end access in an app.
    pub fn revoking(&self, app: &str) -> i64 {
        self.apps.as_ref().and_then(|apps| apps.get(app)).copied().unwrap_or_default()
    }
}

/// One reading: how far everyone is, at one moment.
#[derive(Debug, Clone)]
pub struct Standing {
    /// When it began: what was sequenced before, it is after.
    pub begun: Instant,
    /// When it was complete.
    pub at: Instant,
    /// The apps by name.
    pub apps: BTreeMap<String, AppStanding>,
}

/// An app in a reading.
#[derive(Debug, Clone)]
pub struct AppStanding {
    /// How long its leases last.
    pub ttl: Duration,
    /// Whether its instances go on answering after their lease.
    pub serve_stale: bool,
    /// How many instances it should have.
    pub min_instances: usize,
    /// Whether it is registered.
    pub registered: bool,
    /// Those that count, and those that were given up lately.
    pub subscriptions: Vec<Counted>,
    /// The least position that one that counts has applied.
    least: Option<i64>,
    /// The shortest ttl of one that counts.
    shortest: Duration,
    /// Whether one follows some organizations alone.
    filtered: bool,
}

/// A subscription in a reading.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Counted {
    pub id: SubscriptionId,
    pub instance: String,
    /// The organizations that it follows. Empty: all.
    pub organizations: Vec<OrganizationId>,
    /// Whether it may hold a lease. Otherwise it was given up lately.
    pub counted: bool,
    /// Whether it may get another.
    pub live: bool,
    pub applied: i64,
    pub ttl: Duration,
    pub grant_seq: i64,
    pub created: DateTime<Utc>,
    pub ended: Option<DateTime<Utc>>,
}

impl From<CountedRow> for Counted {
    fn from(row: CountedRow) -> Self {
        Self {
            id: SubscriptionId(row.subscription_id),
            instance: row.instance,
            organizations: row.organization_ids.into_iter().map(OrganizationId).collect(),
            counted: row.counted,
            live: row.state == "LIVE",
            applied: row.applied_position,
            ttl: millis(row.lease_ttl_ms),
            grant_seq: row.grant_seq,
            created: row.create_time,
            ended: row.end_time,
        }
    }
}

impl Standing {
    /// What a reading shows that took from `begun` until `at`.
    pub fn new(rows: Vec<StandingRead>, begun: Instant, at: Instant) -> Self {
        let mut apps: BTreeMap<String, AppStanding> = BTreeMap::new();
        for row in rows {
            let app = apps.entry(row.app).or_insert_with(|| AppStanding {
                ttl: millis(row.app_ttl_ms),
                serve_stale: row.serve_stale,
                min_instances: usize::try_from(row.min_instances).unwrap_or(1),
                registered: row.registered,
                subscriptions: Vec::new(),
                least: None,
                shortest: Duration::MAX,
                filtered: false,
            });
            if let Some(row) = row.subscription {
                app.add(row.into());
            }
        }
        Self { begun, at, apps }
    }

    /// The subscriptions that count.
    pub fn counted(&self) -> impl Iterator<Item = &Counted> {
        self.apps.values().flat_map(|app| &app.subscriptions).filter(|one| one.counted)
    }
}

impl AppStanding {
    fn add(&mut self, one: Counted) {
        if one.counted {
            self.least = Some(self.least.map_or(one.applied, |least| least.min(one.applied)));
            self.shortest = self.shortest.min(one.ttl);
            self.filtered |= !one.organizations.is_empty();
        }
        self.subscriptions.push(one);
    }

    /// Whether it is plain to see that somebody may still answer from before a write, without a look at each.
    pub fn is_plainly_pending(&self, write: &Write, now: Instant) -> bool {
        !self.filtered
            && self.least.is_some_and(|least| least < write.position)
            && now.saturating_duration_since(write.known) < drift(self.shortest)
    }

    /// Judges a write.
    pub fn judge(&self, write: &Write, now: Instant) -> Verdict {
        let follows = |one: &&Counted| {
            one.organizations.is_empty()
                || write.spans.is_empty()
                || write.spans.iter().any(|span| one.organizations.contains(&span.organization))
        };
        let (mut applied, mut lapsed, mut lagging) = (Vec::new(), Vec::new(), Vec::new());
        for (index, one) in self.subscriptions.iter().enumerate().filter(|(_, one)| follows(one)) {
            match one {
                Counted { counted: true, .. } if one.applied >= write.position => applied.push(index),
                Counted { counted: true, .. } => lagging.push(index),
                // Given up since the write: it was about them too.
                _ if one.applied < write.position && one.ended >= Some(write.write_time) => {
                    lapsed.push(index)
                }
                _ => {}
            }
        }
        let ttl_of = |index: &usize| self.subscriptions[*index].ttl;
        let longest = lagging.iter().map(ttl_of).max().unwrap_or_default();
        let all = [&applied, &lagging, &lapsed].into_iter().flatten();
        let within = drift(all.map(ttl_of).max().unwrap_or(self.ttl).max(self.ttl));
        if now.saturating_duration_since(write.known) >= drift(longest) {
            lapsed.append(&mut lagging);
        }
        let instances = applied.iter().chain(&lagging).chain(&lapsed);
        let named: BTreeSet<&str> =
            instances.map(|index| self.subscriptions[*index].instance.as_str()).collect();
        let settled = lagging.is_empty();
        let state = if self.serve_stale {
            State::Unbounded
        } else if !settled {
            State::Pending
        } else if named.len() < self.min_instances {
            State::NoInstances
        } else {
            State::Enforced
        };
        let bound = (!self.serve_stale).then_some(within);
        Verdict { state, settled, applied, lapsed, lagging, bound, within }
    }
}

/// A verdict about a write in an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// Whether nobody is waited for any more. Of an UNBOUNDED one, those that can be reached.
    pub settled: bool,
    /// Of the reading, those that count and have applied it.
    pub applied: Vec<usize>,
    /// Those that have not, and hold no lease from before it.
    pub lapsed: Vec<usize>,
    /// Those that may still answer from before it.
    pub lagging: Vec<usize>,
    /// How long after the write it is enforced at the latest.
    pub bound: Option<Duration>,
    /// The same, also where nothing is promised.
    pub within: Duration,
}

#[cfg(test)]
mod tests;

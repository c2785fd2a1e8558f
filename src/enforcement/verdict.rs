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
    rules::ids::{AppName, CommandId, OrganizationId, SubscriptionId},
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
    /// The apps in whose scope it is, each with what of it is. None: all.
    pub apps: Option<BTreeMap<String, Part>>,
    /// When it was recorded. For people.
    pub write_time: DateTime<Utc>,
    /// Since when this replica has known it, at the latest.
    pub known: Instant,
}

/// What of a write is in the scope of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// How many of its changes end access there, by the position of the last change of their command.
    pub revoking: BTreeMap<i64, i64>,
    /// Its commands; without those that the log has no more, since the history does not say whose scope they were in.
    pub commands: BTreeSet<CommandId>,
}

impl Write {
    /// Whether it is in the scope of an app.
    pub fn concerns(&self, app: &AppName) -> bool {
        self.apps.as_ref().is_none_or(|apps| apps.contains_key(app.as_str()))
    }

    /// A write of these commands. None: there are none.
    pub fn of(rows: &[WriteRow], known: Instant) -> Option<Self> {
        let mut spans: BTreeMap<(i64, OrganizationId, CommandId), (i64, i64)> = BTreeMap::new();
        let mut apps: BTreeMap<String, Part> = BTreeMap::new();
        let mut firsts: BTreeMap<CommandId, i64> = BTreeMap::new();
        let mut lasts: BTreeMap<CommandId, i64> = BTreeMap::new();
        for row in rows {
            let command = CommandId(row.command_id);
            let first = firsts.entry(command).or_insert(row.first_position);
            *first = row.first_position.min(*first);
            let last = lasts.entry(command).or_insert(row.last_position);
            *last = row.last_position.max(*last);
        }
        for row in rows {
            let command = CommandId(row.command_id);
            let key = (firsts[&command], OrganizationId(row.organization_id), command);
            let span = spans.entry(key).or_insert((row.first_position, row.last_position));
            *span = (span.0.min(row.first_position), span.1.max(row.last_position));
            for app in &row.apps {
                let part = apps.entry(app.clone()).or_default();
                *part.revoking.entry(lasts[&command]).or_default() += row.revoking;
                if !row.trimmed {
                    part.commands.insert(command);
                }
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
        self.owed(app, 0)
    }

    /// How many of its changes end access in an app, of those that are told to whoever is told of what is after a position:
    /// so many receipts are owed.
    pub fn owed(&self, app: &str, begin: i64) -> i64 {
        let part = self.apps.as_ref().and_then(|apps| apps.get(app));
        part.map_or(0, |part| part.revoking.range(begin + 1..).map(|(_, count)| count).sum())
    }

    /// Whether these are all of its commands that are in the scope of an app.
    pub fn is_all_in(&self, app: &str, commands: &BTreeSet<CommandId>) -> bool {
        match self.apps.as_ref().and_then(|apps| apps.get(app)) {
            Some(part) => part.commands.is_subset(commands),
            // The service's own, which follows everything, or one that only the rows of the history name.
            None => self.spans.iter().all(|span| commands.contains(&span.command)),
        }
    }
}

/// One reading: how far everyone is, at one moment.
#[derive(Debug, Clone)]
pub struct Standing {
    /// When it began: what was sequenced before, it is after.
    pub begun: Instant,
    /// When it was complete.
    pub at: Instant,
    /// What the clock of the database showed. For people.
    pub read_time: Option<DateTime<Utc>>,
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
    /// It was told of what is after this position.
    pub begin: i64,
    /// Where the log ended when it was given up.
    pub end: Option<i64>,
    /// Whether it may go on answering after its lease, as far as it was ever told.
    pub serve_stale: bool,
    /// Whether it counts, or was given up no longer ago than a while.
    pub lately: bool,
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
            begin: row.begin_position,
            end: row.end_position,
            serve_stale: row.stale_allowed,
            lately: row.lately,
        }
    }
}

impl Standing {
    /// What a reading shows that took from `begun` until `at`.
    pub fn new(rows: Vec<StandingRead>, begun: Instant, at: Instant) -> Self {
        let read_time = rows.first().map(|row| row.read_time);
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
        Self { begun, at, read_time, apps }
    }

    /// When the clock of the database showed a time, if nobody has set it since. None: it has not shown it yet.
    pub fn moment(&self, time: DateTime<Utc>) -> Option<Instant> {
        let ago = (self.read_time? - time).to_std().ok()?;
        self.at.checked_sub(ago)
    }

    /// The subscriptions that count.
    pub fn counted(&self) -> impl Iterator<Item = &Counted> {
        self.apps.values().flat_map(|app| &app.subscriptions).filter(|one| one.counted)
    }
}

impl AppStanding {
    /// How many were given up lately and have not come back under their name.
    pub fn gone(&self) -> usize {
        let here: BTreeSet<&str> =
            self.subscriptions.iter().filter(|one| one.counted).map(|one| one.instance.as_str()).collect();
        let gone = self
            .subscriptions
            .iter()
            .filter(|one| !one.counted && one.lately && !here.contains(one.instance.as_str()));
        // One that was given up twice is one.
        gone.map(|one| one.instance.as_str()).collect::<BTreeSet<_>>().len()
    }

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

    /// Whether one that was given up, and was told that it may answer without a lease, still matters: where the app serves
    /// stale answers, that is all there is to say.
    fn is_held(&self, one: &Counted) -> bool {
        one.serve_stale && !(self.serve_stale && self.registered)
    }

    /// Judges a write.
    pub fn judge(&self, write: &Write, now: Instant) -> Verdict {
        let follows = |one: &&Counted| {
            one.organizations.is_empty()
                || write.spans.is_empty()
                || write.spans.iter().any(|span| one.organizations.contains(&span.organization))
        };
        let (mut applied, mut lapsed, mut lagging) = (Vec::new(), Vec::new(), Vec::new());
        let mut gone: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, one) in self.subscriptions.iter().enumerate().filter(|(_, one)| follows(one)) {
            match one {
                Counted { counted: true, .. } if one.applied >= write.position => applied.push(index),
                Counted { counted: true, .. } => lagging.push(index),
                // Given up since the write: it was about them too. Or before, and told that it needs no lease: it is
                // named for who knows what became of it.
                _ if one.applied < write.position
                    && (one.end >= Some(write.position) || self.is_held(one)) =>
                {
                    lapsed.push(index);
                }
                // So it was about those who had applied it before.
                _ if one.applied >= write.position && one.begin < write.position => {
                    gone.insert(&one.instance, index);
                }
                _ => {}
            }
        }
        // Of the same name stands who was told of it, the newer one where both were.
        applied.retain(|index| {
            let one = &self.subscriptions[*index];
            if one.begin < write.position {
                gone.remove(one.instance.as_str());
            }
            !gone.contains_key(one.instance.as_str())
        });
        let gone: Vec<usize> = gone.into_values().collect();
        let ttl_of = |index: &usize| self.subscriptions[*index].ttl;
        let longest = lagging.iter().map(ttl_of).max().unwrap_or_default();
        let all = [&applied, &gone, &lagging, &lapsed].into_iter().flatten();
        let within = drift(all.map(ttl_of).max().unwrap_or(self.ttl).max(self.ttl));
        if now.saturating_duration_since(write.known) >= drift(longest) {
            lapsed.append(&mut lagging);
        }
        let instances = applied.iter().chain(&gone).chain(&lagging).chain(&lapsed);
        let named: BTreeSet<&str> =
            instances.map(|index| self.subscriptions[*index].instance.as_str()).collect();
        let settled = lagging.is_empty();
        // Silence ends no lease of who was told to go on without one, however long ago that was.
        let stale = self.subscriptions.iter().filter(follows);
        let stale: Vec<&Counted> =
            stale.filter(|one| one.serve_stale && one.applied < write.position).collect();
        let state = if self.serve_stale {
            State::Unbounded
        } else if !settled {
            State::Pending
        } else if !stale.is_empty() {
            State::Unbounded
        } else if named.len() < self.min_instances {
            State::NoInstances
        } else {
            State::Enforced
        };
        let bound = (!self.serve_stale && stale.is_empty()).then_some(within);
        Verdict { state, settled, applied, gone, lapsed, lagging, bound }
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
    /// Those that had applied it when they were given up, one of each name.
    pub gone: Vec<usize>,
    /// Those that have not, and hold no lease from before it.
    pub lapsed: Vec<usize>,
    /// Those that may still answer from before it.
    pub lagging: Vec<usize>,
    /// How long after the write it is enforced at the latest.
    pub bound: Option<Duration>,
}

#[cfg(test)]
mod tests;

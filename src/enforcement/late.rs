//! What takes longer than its bound. That must not be. Where it is, it is told while somebody can still look at the
//! instances in question, and counted, once for each command and app.
//!
//! It is measured from when the command was recorded, by the clock of the database at both ends: a replica that hears of it
//! late has not made it sooner. That clock is for this alone; verdicts rest on none that can be set.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    lease::drift,
    report,
    verdict::{AppStanding, Standing, Write},
};

/// What a verdict may come later than its bound: readings have to be made.
const TICK: Duration = Duration::from_millis(500);

/// What is known of how late a command is.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// When it was committed, by the clock of this replica. None: nothing was read since it is known.
    committed: Option<Instant>,
    /// The apps of which it was told.
    told: BTreeSet<String>,
}

/// A command that takes longer than its bound in an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overdue {
    /// How long it has taken.
    took: Duration,
    /// How long it may take.
    bound: Duration,
    /// Who is late, or was waited out, by name.
    instances: Vec<String>,
    /// Whether it goes on.
    pending: bool,
}

/// The least that any bound in a reading can be: what is younger is late nowhere.
pub(super) fn least(standing: &Standing) -> Duration {
    let shortest = standing.apps.values().map(|app| app.ttl).min();
    drift(shortest.unwrap_or_default()) + TICK
}

impl Lateness {
    /// How long ago a command was committed, as a reading shows it.
    pub(super) fn age(&mut self, write: &Write, standing: &Standing, now: Instant) -> Duration {
        if self.committed.is_none() && standing.begun >= write.known {
            // Once: the clock of the database may be set while it is waited for.
            let recorded = standing.moment(write.write_time);
            self.committed = Some(recorded.map_or(write.known, |recorded| recorded.min(write.known)));
        }
        now.saturating_duration_since(self.committed.unwrap_or(write.known))
    }

    /// Tells of a command of this age in these apps, and counts it, where it takes longer than it may.
    pub(super) fn tell<'a>(
        &mut self,
        write: &Write,
        apps: impl Iterator<Item = &'a String>,
        standing: &Standing,
        age: Duration,
    ) {
        for name in apps {
            let Some(app) = standing.apps.get(name).filter(|_| !self.told.contains(name)) else { continue };
            let Some(overdue) = overdue(write, app, standing.at, age) else { continue };
            self.told.insert(name.clone());
            metrics::counter!("rollcall_enforcement_late_total", "app" => name.clone()).increment(1);
            let Overdue { took, bound, instances, pending } = overdue;
            let command = write.spans.last().map(|span| span.command.to_string()).unwrap_or_default();
            tracing::warn!(
                app = name,
                command.id = command,
                instances = instances.join(" "),
                pending,
                took_ms = took.as_millis(),
                bound_ms = bound.as_millis(),
                "a departure is enforced later than its bound"
            );
        }
    }
}

/// Whether a command of this age takes longer than it may in an app that was read at `at`.
fn overdue(write: &Write, app: &AppStanding, at: Instant, age: Duration) -> Option<Overdue> {
    if age <= drift(app.ttl) + TICK {
        return None;
    }
    let verdict = app.judge(write, at);
    // Where stale answers are served nothing is promised.
    let bound = verdict.bound.filter(|bound| age > *bound + TICK)?;
    // Who registered only afterwards has never answered from before it; where all are such, nobody has.
    let was_there = |index: &usize| app.subscriptions[*index].begin < write.position;
    let applied = verdict.applied.iter().any(was_there) || !verdict.gone.is_empty();
    let late = verdict.lagging.iter().chain(&verdict.lapsed).copied();
    let late: Vec<usize> = late.filter(was_there).collect();
    if !applied && late.is_empty() {
        return None;
    }
    Some(Overdue { took: age, bound, instances: report::names(app, &late), pending: !verdict.settled })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use uuid::Uuid;

    use super::*;
    use crate::{
        enforcement::verdict::Span,
        rules::ids::{CommandId, OrganizationId},
        storage::{CountedRow, StandingRead},
    };

    const TTL: Duration = Duration::from_secs(10);
    /// The first that is longer than the bound, and what a verdict may come later.
    const LATE: Duration = Duration::from_millis(10_601);
    const POSITION: i64 = 10;

    /// What the clock of the database shows when everything is read.
    fn read_time() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(1)
    }

    fn row(instance: &str, applied: i64, begin: i64) -> StandingRead {
        let subscription = CountedRow {
            subscription_id: Uuid::now_v7(),
            instance: instance.to_owned(),
            organization_ids: Vec::new(),
            state: "LIVE".to_owned(),
            counted: true,
            applied_position: applied,
            lease_ttl_ms: 10_000,
            grant_seq: 1,
            begin_position: begin,
            end_position: None,
            stale_allowed: false,
            lately: true,
        };
        StandingRead {
            app: "chat".to_owned(),
            app_ttl_ms: 10_000,
            serve_stale: false,
            min_instances: 1,
            registered: true,
            read_time: read_time(),
            subscription: Some(subscription),
        }
    }

    fn write(known: Instant, write_time: DateTime<Utc>) -> Write {
        let span = Span {
            organization: OrganizationId(Uuid::from_u128(1)),
            command: CommandId(Uuid::from_u128(2)),
            first: POSITION,
            last: POSITION,
        };
        Write { spans: vec![span], position: POSITION, apps: Some([].into()), write_time, known }
    }

    /// What is late of a write that has just become known.
    fn judged(rows: Vec<StandingRead>, age: Duration) -> Option<Overdue> {
        let known = Instant::now();
        let standing = Standing::new(rows, known, known);
        overdue(&write(known, read_time()), &standing.apps["chat"], known, age)
    }

    #[test]
    fn it_is_as_old_as_its_record_or_as_it_is_known() {
        let known = Instant::now();
        let at = known + Duration::from_millis(5);
        let standing = Standing::new(vec![row("a", 0, 0)], known, at);
        let age = |recorded, after| {
            let write = write(known, read_time() - TimeDelta::seconds(recorded));
            Lateness::default().age(&write, &standing, at + after)
        };
        assert_eq!(age(60, Duration::ZERO), Duration::from_secs(60));
        assert_eq!(age(60, TTL), Duration::from_secs(70));
        // A clock that was set back in between makes nothing younger than it is known to be.
        assert_eq!(age(-60, Duration::ZERO), Duration::from_millis(5));
        // Nor does one that is set while it is waited for make it older.
        let (mut lateness, write) = (Lateness::default(), write(known, read_time()));
        assert_eq!(lateness.age(&write, &standing, at), Duration::from_millis(5));
        let mut set = row("a", 0, 0);
        set.read_time += TimeDelta::days(1);
        let standing = Standing::new(vec![set], at, at + TTL);
        assert_eq!(lateness.age(&write, &standing, at + TTL), TTL + Duration::from_millis(5));
    }

    #[test]
    fn who_is_late_is_named_and_who_has_applied_it_is_not() {
        let rows = || vec![row("a", POSITION, 0), row("c", 0, 0), row("b", 9, 0)];
        assert_eq!(judged(rows(), drift(TTL) + TICK), None);
        let overdue = judged(rows(), LATE).expect("late");
        assert_eq!((overdue.instances, overdue.pending), (vec!["b".to_owned(), "c".to_owned()], true));
        // All have applied it, but it was known too late.
        let overdue = judged(vec![row("a", POSITION, 0)], LATE).expect("late");
        assert_eq!((overdue.instances, overdue.pending), (Vec::new(), false));
    }

    #[test]
    fn the_longest_lease_is_the_bound_and_where_nothing_is_promised_nothing_is_late() {
        let mut slow = row("a", 0, 0);
        slow.subscription.as_mut().expect("one").lease_ttl_ms = 60_000;
        assert_eq!(judged(vec![slow.clone()], Duration::from_secs(61)), None);
        assert!(judged(vec![slow], Duration::from_secs(62)).is_some());
        let stale = StandingRead { serve_stale: true, ..row("a", 0, 0) };
        assert_eq!(judged(vec![stale], 2 * LATE), None);
        // Nobody was there to let anybody in.
        assert_eq!(judged(vec![row("a", POSITION, POSITION)], 2 * LATE), None);
        assert_eq!(judged(vec![row("a", 0, POSITION)], 2 * LATE), None);
        assert_eq!(judged(vec![StandingRead { subscription: None, ..row("a", 0, 0) }], 2 * LATE), None);
    }

    #[test]
    fn it_is_told_once() {
        let known = Instant::now();
        let standing = Standing::new(vec![row("a", 0, 0)], known, known);
        let (mut lateness, write) = (Lateness::default(), write(known, read_time()));
        let chat = "chat".to_owned();
        lateness.tell(&write, [&chat].into_iter(), &standing, TTL);
        assert!(lateness.told.is_empty());
        for _ in 0..2 {
            lateness.tell(&write, [&chat].into_iter(), &standing, LATE);
            assert_eq!(lateness.told.len(), 1);
        }
        assert!(least(&standing) < LATE && least(&standing) > TTL);
    }
}

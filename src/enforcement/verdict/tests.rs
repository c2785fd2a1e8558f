//! Verdicts, state by state, and against a plain reading of what they mean.

use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::*;

const TTL: Duration = Duration::from_secs(10);
/// The position that has to be applied.
const POSITION: i64 = 10;

fn row(instance: &str, applied: i64, counted: bool) -> StandingRead {
    let subscription = CountedRow {
        subscription_id: Uuid::now_v7(),
        instance: instance.to_owned(),
        organization_ids: Vec::new(),
        state: if counted { "LIVE" } else { "LAPSED" }.to_owned(),
        counted,
        applied_position: applied,
        lease_ttl_ms: 10_000,
        grant_seq: 1,
        create_time: DateTime::UNIX_EPOCH,
        end_time: (!counted).then(Utc::now),
    };
    StandingRead { subscription: Some(subscription), ..nobody() }
}

fn nobody() -> StandingRead {
    StandingRead {
        app: "chat".to_owned(),
        app_ttl_ms: 10_000,
        serve_stale: false,
        min_instances: 1,
        registered: true,
        subscription: None,
    }
}

fn write(known: Instant) -> Write {
    let span = Span {
        organization: OrganizationId(Uuid::from_u128(1)),
        command: CommandId(Uuid::from_u128(2)),
        first: 9,
        last: POSITION,
    };
    Write {
        spans: vec![span],
        position: POSITION,
        apps: Some([("chat".to_owned(), 1)].into()),
        write_time: DateTime::UNIX_EPOCH,
        known,
    }
}

/// Judges what a reading shows that was made so long after the write was known.
fn judge(rows: Vec<StandingRead>, after: Duration) -> Verdict {
    let known = Instant::now();
    let standing = Standing::new(rows, known, known + after);
    standing.apps["chat"].judge(&write(known), standing.at)
}

#[test]
fn everyone_has_applied_it() {
    let verdict = judge(vec![row("a", POSITION, true), row("b", 99, true)], Duration::ZERO);
    assert_eq!((verdict.state, verdict.applied.len(), verdict.settled), (State::Enforced, 2, true));
    assert_eq!(verdict.bound, Some(drift(TTL)));
}

#[test]
fn one_who_lags_is_waited_for_as_long_as_its_lease_may_last() {
    let rows = || vec![row("a", POSITION, true), row("b", POSITION - 1, true)];
    for after in [Duration::ZERO, TTL, Duration::from_millis(10_099)] {
        let verdict = judge(rows(), after);
        assert_eq!((verdict.state, verdict.lagging.len(), verdict.settled), (State::Pending, 1, false));
    }
    let verdict = judge(rows(), Duration::from_millis(10_100));
    assert_eq!((verdict.state, verdict.lapsed.len(), verdict.settled), (State::Enforced, 1, true));
    // The longest lease of those that lag counts, and of nobody else.
    let mut slow = row("c", 0, true);
    slow.subscription.as_mut().expect("one").lease_ttl_ms = 60_000;
    let rows = || [rows(), vec![slow.clone()]].concat();
    assert_eq!(judge(rows(), Duration::from_secs(60)).state, State::Pending);
    assert_eq!(judge(rows(), Duration::from_millis(60_600)).lapsed.len(), 2);
    slow.subscription.as_mut().expect("one").applied_position = POSITION;
    let rows = vec![row("b", 0, true), slow.clone()];
    assert_eq!(judge(rows, Duration::from_millis(10_100)).state, State::Enforced);
}

#[test]
fn who_was_given_up_since_is_told_and_who_was_before_is_not() {
    let verdict = judge(vec![row("a", 0, false)], Duration::ZERO);
    assert_eq!((verdict.state, verdict.lapsed.len()), (State::Enforced, 1));
    let mut before = row("a", 0, false);
    before.subscription.as_mut().expect("one").end_time = Some(DateTime::UNIX_EPOCH - chrono::Days::new(1));
    let verdict = judge(vec![before], Duration::ZERO);
    assert_eq!((verdict.state, verdict.lapsed.len()), (State::NoInstances, 0));
    // And who had applied it is nobody to be told of.
    assert_eq!(judge(vec![row("a", POSITION, false)], Duration::ZERO).lapsed.len(), 0);
}

#[test]
fn too_few_instances_are_told_once_those_are_through() {
    assert_eq!(judge(vec![nobody()], Duration::ZERO).state, State::NoInstances);
    let two = |applied| {
        let row = row("a", applied, true);
        vec![StandingRead { min_instances: 2, ..row }]
    };
    assert_eq!(judge(two(0), Duration::ZERO).state, State::Pending);
    assert_eq!(judge(two(POSITION), Duration::ZERO).state, State::NoInstances);
    // A name that was taken over is one instance.
    let twice = || {
        let rows = [row("a", POSITION, true), row("a", POSITION, true)];
        rows.map(|row| StandingRead { min_instances: 2, ..row }).to_vec()
    };
    assert_eq!(judge(twice(), Duration::ZERO).state, State::NoInstances);
}

#[test]
fn an_app_that_serves_stale_answers_is_unbounded_whatever_was_applied() {
    for (applied, settled) in [(0, false), (POSITION, true)] {
        let row = StandingRead { serve_stale: true, ..row("a", applied, true) };
        let verdict = judge(vec![row], Duration::ZERO);
        assert_eq!((verdict.state, verdict.settled, verdict.bound), (State::Unbounded, settled, None));
    }
}

#[test]
fn who_follows_other_organizations_alone_does_not_matter() {
    let mut elsewhere = row("a", 0, true);
    elsewhere.subscription.as_mut().expect("one").organization_ids = vec![Uuid::from_u128(7)];
    let verdict = judge(vec![elsewhere.clone(), row("b", POSITION, true)], Duration::ZERO);
    assert_eq!((verdict.state, verdict.applied.len()), (State::Enforced, 1));
    elsewhere.subscription.as_mut().expect("one").organization_ids.push(Uuid::from_u128(1));
    assert_eq!(judge(vec![elsewhere], Duration::ZERO).state, State::Pending);
}

#[test]
fn a_write_is_put_together_from_the_changes_of_its_commands() {
    let row = |command: u128, (first_position, last_position), apps: &[&str], revoking| WriteRow {
        command_id: Uuid::from_u128(command),
        organization_id: Uuid::from_u128(1),
        first_position,
        last_position,
        record_time: DateTime::UNIX_EPOCH,
        apps: apps.iter().map(|app| (*app).to_owned()).collect(),
        revoking,
    };
    let rows =
        [row(3, (8, 8), &["chat"], 1), row(2, (3, 5), &["chat", "boards"], 2), row(2, (4, 4), &["chat"], 1)];
    let write = Write::of(&rows, Instant::now()).expect("a write");
    let spans: Vec<_> =
        write.spans.iter().map(|span| (span.command.0.as_u128(), span.first, span.last)).collect();
    assert_eq!(spans, [(2, 3, 5), (3, 8, 8)]);
    assert_eq!((write.position, write.revoking("chat"), write.revoking("boards")), (8, 4, 2));
    assert_eq!(write.revoking("track"), 0);
    assert!(Write::of(&[], Instant::now()).is_none());
}

proptest! {
    /// What it means, read off each subscription by itself.
    #[test]
    fn a_verdict_is_what_it_means(
        subscriptions in vec((0_i64..20, any::<bool>(), 2_000_i64..30_000, any::<bool>()), 0..12),
        after in 0_u64..40_000,
        min_instances in 1_i32..4,
    ) {
        let rows: Vec<StandingRead> = subscriptions.iter().enumerate().map(|(index, (applied, counted, ttl, elsewhere))| {
            let mut row = StandingRead { min_instances, ..row(&index.to_string(), *applied, *counted) };
            let one = row.subscription.as_mut().expect("one");
            one.lease_ttl_ms = *ttl;
            if *elsewhere {
                one.organization_ids = vec![Uuid::from_u128(7)];
            }
            row
        }).chain([StandingRead { min_instances, ..nobody() }]).collect();
        let known = Instant::now();
        let standing = Standing::new(rows, known, known + Duration::from_millis(after));
        let app = &standing.apps["chat"];
        let write = write(known);
        let verdict = app.judge(&write, standing.at);

        let about: Vec<_> = subscriptions.iter().filter(|one| !one.3).collect();
        let lags: Vec<_> = about.iter().filter(|one| one.1 && one.0 < POSITION).collect();
        let out = lags.iter().all(|one| after >= millis_of(drift(millis(one.2))));
        let there = about.iter().filter(|one| one.1 || one.0 < POSITION).count();
        prop_assert_eq!(verdict.settled, out);
        let wanted = match (out, there >= usize::try_from(min_instances).expect("few")) {
            (false, _) => State::Pending,
            (true, true) => State::Enforced,
            (true, false) => State::NoInstances,
        };
        prop_assert_eq!(verdict.state, wanted);
        prop_assert!(!app.is_plainly_pending(&write, standing.at) || !verdict.settled);
    }
}

fn millis_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000)).expect("short")
}

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
        begin_position: 0,
        end_position: (!counted).then_some(99),
        stale_allowed: false,
        lately: true,
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
        read_time: DateTime::UNIX_EPOCH,
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
        apps: Some(
            [("chat".to_owned(), Part { revoking: [(POSITION, 1)].into(), commands: [span.command].into() })]
                .into(),
        ),
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
    before.subscription.as_mut().expect("one").end_position = Some(POSITION - 1);
    let verdict = judge(vec![before], Duration::ZERO);
    assert_eq!((verdict.state, verdict.lapsed.len()), (State::NoInstances, 0));
}

#[test]
fn who_was_given_up_and_had_applied_it_is_told_unless_somebody_goes_on_for_it() {
    let told = |rows: Vec<StandingRead>| {
        let Verdict { state, applied, gone, lapsed, .. } = judge(rows, Duration::ZERO);
        (state, applied.len(), gone.len(), lapsed.len())
    };
    assert_eq!(told(vec![row("a", POSITION, false)]), (State::Enforced, 0, 1, 0));
    // Twice given up under its name is one.
    assert_eq!(told(vec![row("a", POSITION, false), row("a", 12, false)]), (State::Enforced, 0, 1, 0));
    assert_eq!(told(vec![row("a", POSITION, false), row("a", 12, true)]), (State::Enforced, 1, 0, 0));
    // Neither who was never told of it, nor who only took the name.
    let later = |applied, counted| {
        let mut row = row("a", applied, counted);
        row.subscription.as_mut().expect("one").begin_position = POSITION;
        row
    };
    assert_eq!(told(vec![later(12, false)]), (State::NoInstances, 0, 0, 0));
    assert_eq!(told(vec![row("a", POSITION, false), later(12, true)]), (State::Enforced, 0, 1, 0));
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
fn who_was_told_to_go_on_without_a_lease_is_never_waited_out() {
    let told = |applied, counted| {
        let mut row = row("a", applied, counted);
        row.subscription.as_mut().expect("one").stale_allowed = true;
        judge(vec![row], Duration::from_millis(10_100))
    };
    assert_eq!((told(0, true).state, told(0, true).bound), (State::Unbounded, None));
    assert_eq!((told(0, false).state, told(0, false).bound), (State::Unbounded, None));
    // Also one that was given up long before: it is named, but not as one that left lately.
    let mut before = row("a", 0, false);
    let one = before.subscription.as_mut().expect("one");
    (one.stale_allowed, one.lately, one.end_position) = (true, false, Some(POSITION - 1));
    let now = Instant::now();
    assert_eq!(Standing::new(vec![before.clone()], now, now).apps["chat"].gone(), 0);
    let verdict = judge(vec![before.clone(), row("b", POSITION, true)], Duration::ZERO);
    assert_eq!((verdict.state, verdict.lapsed.len()), (State::Unbounded, 1));
    let serving = StandingRead { serve_stale: true, ..before };
    assert_eq!(judge(vec![serving], Duration::ZERO).lapsed.len(), 0, "the app says it all");
    assert_eq!(told(POSITION, true).state, State::Enforced, "it has applied it");
    let mut row = row("a", 0, true);
    row.subscription.as_mut().expect("one").stale_allowed = true;
    assert_eq!(judge(vec![row], Duration::ZERO).state, State::Pending, "it may apply it yet");
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
        trimmed: command == 2,
    };
    let rows =
        [row(3, (8, 8), &["chat"], 1), row(2, (3, 5), &["chat", "boards"], 2), row(2, (4, 4), &["chat"], 1)];
    let write = Write::of(&rows, Instant::now()).expect("a write");
    let spans: Vec<_> =
        write.spans.iter().map(|span| (span.command.0.as_u128(), span.first, span.last)).collect();
    assert_eq!(spans, [(2, 3, 5), (3, 8, 8)]);
    assert_eq!((write.position, write.revoking("chat"), write.revoking("boards")), (8, 4, 2));
    assert_eq!(write.revoking("track"), 0);
    // Who is told of what is after a position owes for the commands that end there.
    let owed = [0, 4, 5, 7, 8].map(|begin| write.owed("chat", begin));
    assert_eq!(owed, [4, 4, 1, 1, 0]);
    // What the log has no more may have been in its scope or not.
    let of = |commands: &[u128]| commands.iter().map(|id| CommandId(Uuid::from_u128(*id))).collect();
    assert!(write.is_all_in("chat", &of(&[3])) && !write.is_all_in("chat", &of(&[2])));
    assert!(write.is_all_in("rollcall", &of(&[2, 3])) && !write.is_all_in("rollcall", &of(&[3])));
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
        let there = about.len();
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

//! What is promised, and the checks that it holds in every state that can be reached.

use std::time::Instant;

use stateright::{Checker as _, HasDiscoveries, Model, Path, Property};

use crate::{
    rules::Rule,
    state::{CHANGES, Database, PROCESSES, RowState, State},
    steps::{self, Step},
    world::{Failover, World},
};

/// No check that begins later than the longest lease after a change was committed answers from before it.
pub(crate) const BOUND: &str = "bound";
/// After a verdict said ENFORCED no process answers from before the change, also none that comes later.
pub(crate) const VERDICT: &str = "verdict";

/// What has to be possible, or else the promises would be kept by doing nothing.
const POSSIBLE: [&str; 4] = ["lease", "last moment", "lapse", "enforced beside a lease"];

/// The protocol in one world.
pub(crate) struct Protocol {
    world: World,
    steps: Vec<Step>,
}

impl Protocol {
    pub(crate) fn new(world: World) -> Self {
        Self { steps: steps::all(&world), world }
    }

    /// The shortest way to break a promise.
    pub(crate) fn broken(self, promise: &'static str) -> Option<Path<State, Step>> {
        // One thread looks at shorter ways first, and finds the same one each time.
        let found = HasDiscoveries::AnyOf([promise].into());
        self.checker().threads(1).finish_when(found).spawn_bfs().join().discovery(promise)
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let database = Database { ttl: self.world.ttl, ..Database::default() };
        let standby = self.world.has_standby().then_some(database);
        vec![State { database, standby, ..State::default() }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Step>) {
        actions.extend_from_slice(&self.steps);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        steps::after(&self.world, state, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BOUND, |protocol, state| {
                stale(state).all(|(p, x)| state.committed[x].is_none_or(|age| age <= protocol.ttl(state, p)))
            }),
            Property::always(VERDICT, |_, state: &State| stale(state).all(|(_, x)| !state.enforced[x])),
            Property::sometimes(POSSIBLE[0], |_, state: &State| leases(state) > 0),
            // The bound is no larger than it has to be.
            Property::sometimes(POSSIBLE[1], |protocol, state| {
                stale(state).any(|(p, x)| state.committed[x] == Some(protocol.ttl(state, p)))
            }),
            Property::sometimes(POSSIBLE[2], |_, state: &State| {
                state.database.rows.iter().any(|row| row.state == RowState::Lapsed)
            }),
            Property::sometimes(POSSIBLE[3], |_, state: &State| state.enforced[0] && leases(state) > 0),
        ]
    }
}

impl Protocol {
    fn ttl(&self, state: &State, p: usize) -> u8 {
        match state.database.rows[p].ttl {
            // The failover lost the row.
            0 => self.world.ttl,
            ttl => ttl,
        }
    }
}

fn leases(state: &State) -> usize {
    state.processes.iter().filter(|process| process.lease.is_some()).count()
}

/// Which process answers from before which change now.
fn stale(state: &State) -> impl Iterator<Item = (usize, usize)> {
    let pairs = (0..PROCESSES).flat_map(|p| (0..CHANGES).map(move |x| (p, x)));
    pairs.filter(|(p, x)| {
        state.committed[*x].is_some() && !state.lost[*x] && state.processes[*p].answers_from_before(*x)
    })
}

/// Looks at every state of a world.
fn holds(name: &str, world: World) {
    let begun = Instant::now();
    let checker = Protocol::new(world).checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    println!(
        "{name}: {} states, {} steps between them, the furthest after {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64()
    );
    for promise in [BOUND, VERDICT] {
        if let Some(path) = checker.discovery(promise) {
            panic!("{name}: {promise} breaks:\n{}", crate::story::tell(path).join("\n"));
        }
    }
    for possible in POSSIBLE {
        let needs_verdicts = possible != POSSIBLE[0] && possible != POSSIBLE[1];
        let found = checker.discovery(possible).is_some();
        assert!(found || (needs_verdicts && !world.verdicts), "{name}: never: {possible}");
    }
}

#[test]
fn every_step_of_one_replica_and_one_process() {
    holds("every step", World { calls_in_steps: true, ..World::SMALL });
}

#[test]
fn two_replicas() {
    holds("two replicas", World { replicas: 2, ..World::SMALL });
}

#[test]
fn two_processes() {
    holds("two processes", World { processes: 2, ttl: 1, grants_at_once: true, ..World::SMALL });
}

#[test]
fn a_process_that_replaces_another() {
    let world = World { processes: 2, ttl: 1, grants_at_once: true, same_name: true, ..World::SMALL };
    holds("replaced", world);
}

#[test]
fn two_changes() {
    holds("two changes", World { changes: 2, grants_at_once: true, ..World::SMALL });
}

#[test]
fn a_longest_lease_that_is_set_anew() {
    holds("another ttl", World { ttl_is_set: true, ..World::SMALL });
}

#[test]
fn a_failover_that_loses_nothing() {
    holds("failover", World { failover: Failover::Lossless, ..World::SMALL });
}

/// Of what a failover lost nothing is promised, and no verdict. The bound holds for all else.
#[test]
fn a_failover_that_loses_something() {
    let world = World {
        changes: 2,
        grants_at_once: true,
        failover: Failover::Lossy,
        verdicts: false,
        ..World::SMALL
    };
    holds("loss", world);
}

/// Where nothing is lost the old marks stay true, whatever follows the server that made them, if that was fenced.
#[test]
fn marks_that_survive_a_failover() {
    let off = Some(Rule::MarksDroppedAtReconnect);
    holds("old marks", World { failover: Failover::Lossless, off, ..World::SMALL });
}

//! What can happen next, and what it does. Any step can be delayed for ever, so a message may be lost or late, and a
//! replica or process may pause, without steps of their own.

use crate::{
    rules::Rule,
    state::{CHANGES, Connection, Database, Log, Phase, Process, Replica, Row, RowState, State},
    world::{Failover, World},
};

/// One thing that happens. Numbers are those of replicas (`r`), processes (`p`) and changes (`x`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Tick,
    ReplicaSleeps(usize),
    ProcessSleeps(usize),
    Draw(usize),
    Commit(usize),
    Sequence,
    SetTtl(u8),
    /// All three at once.
    Mark {
        r: usize,
        last_first: bool,
    },
    BeginMark(usize),
    RunMark {
        r: usize,
        last_first: bool,
    },
    EndMark(usize),
    RestartReplica(usize),
    Learn {
        r: usize,
        p: usize,
    },
    BeginRegister(usize),
    Register(usize),
    Apply {
        p: usize,
        r: usize,
    },
    Refill(usize),
    Send(usize),
    /// Sent, taken and recorded at once; the answer still travels.
    Acknowledge {
        p: usize,
        r: usize,
    },
    SendReceived {
        p: usize,
        r: usize,
    },
    Take {
        r: usize,
        p: usize,
    },
    Record {
        r: usize,
        p: usize,
    },
    Receive(usize),
    Die(usize),
    Forget(usize),
    RestartWithLease(usize),
    RestartWithSubscription(usize),
    Stop(usize),
    CloseStopped(usize),
    CloseRunning(usize),
    CloseByOther(usize),
    BeginLook,
    Look,
    End(usize),
    Remember,
    Verdict(usize),
    VerdictByTime(usize),
    Replicate,
    FailOver,
    Reconnect(usize),
}

/// Everything that might happen in this world. What cannot happen now changes nothing.
pub(crate) fn all(world: &World) -> Vec<Step> {
    let mut steps = vec![Step::Tick];
    let off = |rule| !world.holds(rule);
    let (replicas, processes) = (0..world.replicas, 0..world.processes);
    for x in 0..world.changes {
        if off(Rule::SequencedAfterCommit) {
            steps.push(Step::Draw(x));
        }
        steps.push(Step::Commit(x));
    }
    if off(Rule::MarkSequences) {
        steps.push(Step::Sequence);
    }
    if world.ttl_is_set {
        steps.extend([Step::SetTtl(1), Step::SetTtl(2)]);
    }
    let orders: &[bool] = if world.changes > 1 { &[false, true] } else { &[false] };
    for r in replicas.clone() {
        for &last_first in orders {
            if world.calls_in_steps {
                steps.push(Step::RunMark { r, last_first });
            } else {
                steps.push(Step::Mark { r, last_first });
            }
        }
        if world.calls_in_steps {
            steps.extend([Step::BeginMark(r), Step::EndMark(r)]);
        }
        steps.push(Step::RestartReplica(r));
        if off(Rule::ClockOfReplicaCountsSleep) {
            steps.push(Step::ReplicaSleeps(r));
        }
        if world.failover != Failover::Never {
            steps.push(Step::Reconnect(r));
        }
        for p in processes.clone() {
            steps.extend([Step::Learn { r, p }, Step::Apply { p, r }]);
            if world.grants_at_once {
                steps.push(Step::Acknowledge { p, r });
            } else {
                steps.extend([Step::Take { r, p }, Step::Record { r, p }]);
            }
            if off(Rule::AppliedAcknowledged) {
                steps.push(Step::SendReceived { p, r });
            }
        }
    }
    for p in processes {
        if off(Rule::RegistrationCommitted) {
            steps.push(Step::BeginRegister(p));
        }
        steps.extend([Step::Register(p), Step::Receive(p), Step::Die(p), Step::Forget(p)]);
        if !world.grants_at_once {
            steps.push(Step::Send(p));
        }
        if world.failover == Failover::Lossy {
            steps.push(Step::Refill(p));
        }
        steps.extend([Step::Stop(p), Step::CloseStopped(p), Step::CloseByOther(p)]);
        let only_without = [
            (Rule::ClockOfProcessCountsSleep, Step::ProcessSleeps(p)),
            (Rule::RestartForgetsLease, Step::RestartWithLease(p)),
            (Rule::RestartOpensAnew, Step::RestartWithSubscription(p)),
            (Rule::HolderStopsFirst, Step::CloseRunning(p)),
        ];
        steps.extend(only_without.into_iter().filter(|(rule, _)| off(*rule)).map(|(_, step)| step));
        if world.verdicts {
            steps.push(Step::End(p));
        }
    }
    if world.verdicts {
        steps.push(Step::Look);
        if off(Rule::SilenceCountedFromAfter) {
            steps.push(Step::BeginLook);
        }
        if off(Rule::VerdictOnFreshRows) {
            steps.push(Step::Remember);
        }
        for x in 0..world.changes {
            steps.extend([Step::Verdict(x), Step::VerdictByTime(x)]);
        }
    }
    if world.failover != Failover::Never {
        steps.push(Step::FailOver);
    }
    if world.has_standby() {
        steps.push(Step::Replicate);
    }
    steps
}

/// The state after a step. None: it cannot happen now.
pub(crate) fn after(world: &World, state: &State, step: Step) -> Option<State> {
    let mut next = *state;
    let holds = |rule| world.holds(rule);
    let happened = match step {
        Step::Tick => next.tick(world, None, None),
        Step::ReplicaSleeps(r) => next.tick(world, Some(r), None),
        Step::ProcessSleeps(p) => next.tick(world, None, Some(p)),
        Step::Draw(x) => next.draw(x),
        Step::Commit(x) => next.commit(world, x),
        Step::Sequence => next.database.sequence(false),
        Step::SetTtl(ttl) => std::mem::replace(&mut next.database.ttl, ttl) != ttl,
        Step::Mark { r, last_first } => {
            next.begin_mark(r) && next.run_mark(world, r, last_first) && next.end_mark(world, r)
        }
        Step::BeginMark(r) => next.begin_mark(r),
        Step::RunMark { r, last_first } => next.run_mark(world, r, last_first),
        Step::EndMark(r) => next.end_mark(world, r),
        Step::RestartReplica(r) => {
            let connection = next.replicas[r].connection;
            next.replicas[r] = Replica { connection, ..Replica::default() };
            connection == Connection::Primary
        }
        Step::Learn { r, p } => {
            let known = &mut next.replicas[r].since_known[p];
            let news = known.is_none() && next.database.rows[p].counts();
            *known = known.or(news.then_some([false; CHANGES + 1]));
            news
        }
        Step::BeginRegister(p) => {
            next.database.rows[p].head = next.database.log.len();
            std::mem::replace(&mut next.processes[p].phase, Phase::Registering) == Phase::Absent
        }
        Step::Register(p) => next.register(world, p),
        Step::Apply { p, r } => next.apply(p, r),
        Step::Refill(p) => {
            let process = &mut next.processes[p];
            let forked = !next.database.log.has(process.applied);
            // Swapped in once it is as far as a sequencing call found that began after the last page was read.
            next.database.sequence(false);
            process.applied = next.database.log;
            forked && process.phase == Phase::Running
        }
        Step::Acknowledge { p, r } => {
            let cursor = next.processes[p].applied;
            next.send(p, cursor) && next.take(world, r, p) && next.record(world, r, p)
        }
        Step::Send(p) => {
            let cursor = next.processes[p].applied;
            next.send(p, cursor)
        }
        Step::SendReceived { p, r } => {
            let cursor = next.replicas[r].window;
            next.send(p, cursor)
        }
        Step::Take { r, p } => next.take(world, r, p),
        Step::Record { r, p } => next.record(world, r, p),
        Step::Receive(p) => next.receive(world, p),
        Step::Die(p) => next.end_process(p, Phase::Dead),
        Step::Forget(p) => {
            let over = next.processes[p].phase == Phase::Dead && !next.database.rows[p].counts();
            next.processes[p].phase = Phase::Absent;
            next.clear_subscription(p);
            over
        }
        Step::RestartWithLease(p) => {
            let Process { phase, lease, .. } = next.processes[p];
            next.hang_up(p);
            next.processes[p].applied = Log::default();
            phase == Phase::Running && lease.is_some()
        }
        Step::RestartWithSubscription(p) => {
            next.hang_up(p);
            next.processes[p].lease = None;
            next.processes[p].applied = Log::default();
            next.processes[p].phase == Phase::Running
        }
        Step::Stop(p) => next.end_process(p, Phase::Closing),
        Step::CloseStopped(p) => {
            let stopped = std::mem::replace(&mut next.processes[p].phase, Phase::Dead) == Phase::Closing;
            if next.database.rows[p].counts() {
                next.database.rows[p].state = RowState::Closed;
            }
            stopped
        }
        Step::CloseRunning(p) => {
            let row = &mut next.database.rows[p];
            next.processes[p].phase == Phase::Running
                && std::mem::replace(&mut row.state, RowState::Closed) == RowState::Live
        }
        Step::CloseByOther(p) => next.database.rows[p].close_by_other(world),
        Step::BeginLook => next.looking.replace(0).is_none(),
        Step::Look => next.look(world),
        Step::End(p) => {
            let row = &mut next.database.rows[p];
            let silent = if holds(Rule::SilenceLongerThanTtl) { row.ttl + 1 } else { 1 };
            let ended = row.counts() && next.watched[p].is_some_and(|watched| watched >= silent);
            row.state = RowState::Lapsed;
            next.watched[p] = None;
            ended
        }
        Step::Remember => next.remembered.replace(next.database.rows) != Some(next.database.rows),
        Step::Verdict(x) => {
            let rows =
                if holds(Rule::VerdictOnFreshRows) { Some(next.database.rows) } else { next.remembered };
            let position = next.database.log.position(x);
            let applied = position.zip(rows).is_some_and(|(position, rows)| {
                rows.iter().all(|row| !row.counts() || row.applied >= position)
            });
            applied && !std::mem::replace(&mut next.enforced[x], true)
        }
        Step::VerdictByTime(x) => {
            let Database { log, rows, .. } = next.database;
            let lagging = |row: &&Row| log.position(x).is_some_and(|x| row.counts() && row.applied < x);
            let longest = rows.iter().filter(lagging).map(|row| row.ttl).max();
            let waited = longest.zip(next.committed[x]).is_some_and(|(longest, age)| {
                if holds(Rule::VerdictByTimeWaits) { age > longest } else { age > 0 }
            });
            waited && !std::mem::replace(&mut next.enforced[x], true)
        }
        Step::Replicate => {
            let happens = !next.failed_over && next.standby != Some(next.database);
            next.standby = Some(next.database);
            happens
        }
        Step::FailOver => next.fail_over(world),
        Step::Reconnect(r) => next.reconnect(world, r),
    };
    if !happened {
        return None;
    }
    next.forget_what_cannot_matter(world);
    (next != *state).then_some(next)
}

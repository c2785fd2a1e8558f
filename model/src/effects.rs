//! What the steps do to the state, and which states are one.

use crate::{
    rules::Rule,
    state::{
        CHANGES, Call, Connection, Database, Grant, Log, MarkCall, PROCESSES, Phase, Process, REPLICAS, Row,
        RowState, State,
    },
    world::{Failover, World},
};

impl Database {
    /// Gives all that is pending its positions.
    pub(crate) fn sequence(&mut self, last_first: bool) -> bool {
        let order = if last_first { [1, 0] } else { [0, 1] };
        let mut any = false;
        for x in order {
            if std::mem::take(&mut self.pending[x]) {
                self.log.push(x);
                any = true;
            }
        }
        any
    }
}

impl Row {
    pub(crate) fn close_by_other(&mut self, world: &World) -> bool {
        let like_silence = world.holds(Rule::ClosedByOthersLikeSilence);
        let live = self.state == RowState::Live;
        self.state = if like_silence { RowState::Fading } else { RowState::Closed };
        live
    }
}

impl State {
    /// States that differ only in what nothing will ever ask for are one. Without a rule something may ask after all;
    /// then the state stays as it is, but for the rules about failovers, which change nothing of this.
    pub(crate) fn forget_what_cannot_matter(&mut self, world: &World) {
        if world.off.is_some() && world.failover == Failover::Never {
            return;
        }
        for p in 0..world.processes {
            let row = &mut self.database.rows[p];
            // A row that has ended is never written again, and no verdict counts it.
            if !row.counts() {
                row.applied = 0;
                self.watched[p] = None;
            }
            let Some(call) = &mut self.processes[p].call else { continue };
            // A lease that has ended before its answer comes is none.
            let age = call.age;
            call.answer = call.answer.filter(|lease| *lease >= age);
            for grant in self.replicas.iter_mut().filter_map(|replica| replica.grants[p].as_mut()) {
                grant.lease = grant.lease.filter(|lease| *lease >= age);
            }
        }
        // A mark from before each registration that the replica knows gives no lease, now or ever: who registers later
        // needs newer ones all the more.
        for replica in &mut self.replicas[..world.replicas] {
            for head in 0..=CHANGES {
                if !replica.since_known.iter().flatten().any(|marks| marks[head]) {
                    replica.marks[head] = None;
                }
            }
        }
        // Replicas are alike, and so are processes of different names: which is which does not matter.
        if self.replicas[1] < self.replicas[0] && world.replicas == REPLICAS {
            self.replicas.swap(0, 1);
        }
        let key = |p: usize| {
            (
                self.processes[p],
                self.database.rows[p],
                self.watched[p],
                self.replicas.map(|of| (of.since_known[p], of.grants[p])),
            )
        };
        if world.processes == PROCESSES && key(1) < key(0) {
            self.processes.swap(0, 1);
            self.database.rows.swap(0, 1);
            self.watched.swap(0, 1);
            for replica in &mut self.replicas {
                replica.since_known.swap(0, 1);
                replica.grants.swap(0, 1);
                if let Some(call) = &mut replica.call {
                    call.known.swap(0, 1);
                }
            }
        }
    }

    /// A tick passes; the clock of one replica or of one process may stand still meanwhile.
    pub(crate) fn tick(&mut self, world: &World, replica: Option<usize>, process: Option<usize>) -> bool {
        let longest = world.ttl;
        let older = |age: &mut u8| *age = (*age + 1).min(longest + 1);
        self.committed.iter_mut().flatten().for_each(older);
        self.watched.iter_mut().flatten().for_each(older);
        self.looking.iter_mut().for_each(older);
        for (r, of) in self.replicas.iter_mut().enumerate() {
            if Some(r) == replica {
                continue;
            }
            for head in 0..=CHANGES {
                of.marks[head] = of.marks[head].map(|age| age + 1).filter(|age| *age <= longest);
                if of.marks[head].is_none() {
                    of.since_known.iter_mut().flatten().for_each(|marks| marks[head] = false);
                }
            }
            if let Some(call) = &mut of.call {
                older(&mut call.age);
            }
        }
        for (p, of) in self.processes.iter_mut().enumerate() {
            if Some(p) == process {
                continue;
            }
            of.lease = of.lease.and_then(|left| left.checked_sub(1));
            if let Some(call) = &mut of.call {
                older(&mut call.age);
            }
        }
        true
    }

    pub(crate) fn draw(&mut self, x: usize) -> bool {
        let drawn = self.drawn.iter().copied().max().unwrap_or_default();
        let first = self.committed[x].is_none() && self.drawn[x] == 0;
        self.drawn[x] = drawn.max(self.database.log.len()) + 1;
        first
    }

    pub(crate) fn commit(&mut self, world: &World, x: usize) -> bool {
        if self.committed[x].replace(0).is_some() {
            return false;
        }
        if world.holds(Rule::SequencedAfterCommit) {
            self.database.pending[x] = true;
            return true;
        }
        let drawn = self.drawn[x];
        if drawn > 0 {
            self.database.log.fill(drawn, x);
        }
        drawn > 0
    }

    pub(crate) fn begin_mark(&mut self, r: usize) -> bool {
        let replica = &mut self.replicas[r];
        let known = replica.since_known.map(|known| known.is_some());
        replica.connection != Connection::Broken
            && replica.call.replace(MarkCall { age: 0, known, head: None }).is_none()
    }

    pub(crate) fn run_mark(&mut self, world: &World, r: usize, last_first: bool) -> bool {
        let replica = &mut self.replicas[r];
        let Some(call) = replica.call.as_mut().filter(|call| call.head.is_none()) else { return false };
        let log = match (replica.connection, self.former, self.standby) {
            (Connection::Broken, ..) => return false,
            (Connection::Former, former, _) => {
                // What is pending there can get no position: no standby confirms it.
                match former.filter(|former| former.pending == [false; CHANGES]) {
                    Some(former) => former.log,
                    None => return false,
                }
            }
            (Connection::Primary, _, Some(standby)) if !world.holds(Rule::MarkFromPrimary) => standby.log,
            (Connection::Primary, ..) => {
                if world.holds(Rule::MarkSequences) {
                    self.database.sequence(last_first);
                }
                self.database.log
            }
        };
        call.head = Some(log.len());
        true
    }

    pub(crate) fn end_mark(&mut self, world: &World, r: usize) -> bool {
        let replica = &mut self.replicas[r];
        let Some((call, head)) = replica.call.and_then(|call| Some((call, call.head?))) else { return false };
        replica.call = None;
        let log = if replica.connection == Connection::Former { self.former.map(|it| it.log) } else { None };
        let log = log.unwrap_or(self.database.log).up_to(head);
        // It reads on from where it was.
        while let Some(more) = log.after(replica.window) {
            replica.window = more;
        }
        let age = if world.holds(Rule::MarkCountedFromBefore) { call.age } else { 0 };
        let head = usize::from(head);
        if age <= world.ttl && replica.marks[head].is_none_or(|known| age < known || call.age == 0) {
            replica.marks[head] = Some(age);
            for (known, marks) in call.known.iter().zip(&mut replica.since_known) {
                if let Some(marks) = marks {
                    marks[head] = *known;
                }
            }
        }
        true
    }

    pub(crate) fn register(&mut self, world: &World, p: usize) -> bool {
        let Process { phase, .. } = self.processes[p];
        let may = match phase {
            Phase::Absent => world.holds(Rule::RegistrationCommitted),
            Phase::Registering => true,
            // It heard that its subscription is over, and keeps what it has.
            Phase::Running => matches!(self.database.rows[p].state, RowState::Lapsed | RowState::Closed),
            Phase::Closing | Phase::Dead => false,
        };
        if !may {
            return false;
        }
        let head = if phase == Phase::Registering { self.database.rows[p].head } else { 0 };
        self.hang_up(p);
        self.clear_subscription(p);
        self.processes[p].phase = Phase::Running;
        // The holder of an instance's name is replaced by whoever comes with the same one.
        if world.same_name {
            for other in 0..PROCESSES {
                if other != p && self.database.rows[other].state == RowState::Live {
                    self.database.rows[other].close_by_other(world);
                }
            }
        }
        self.database.rows[p] = Row { state: RowState::Live, applied: 0, ttl: self.database.ttl, head };
        true
    }

    pub(crate) fn clear_subscription(&mut self, p: usize) {
        self.database.rows[p] = Row::default();
        self.watched[p] = None;
        for replica in &mut self.replicas {
            replica.since_known[p] = None;
            replica.grants[p] = None;
        }
    }

    pub(crate) fn apply(&mut self, p: usize, r: usize) -> bool {
        let (window, process) = (self.replicas[r].window, &mut self.processes[p]);
        if process.phase != Phase::Running || !window.has(process.applied) {
            return false;
        }
        let Some(moved) = window.after(process.applied) else { return false };
        process.applied = moved;
        true
    }

    pub(crate) fn send(&mut self, p: usize, cursor: Log) -> bool {
        self.hang_up(p);
        self.processes[p].call = Some(Call { age: 0, cursor, answer: None });
        self.processes[p].phase == Phase::Running
    }

    /// Nobody waits any more for the answer to the call that the process has open. A replica that took it goes on.
    pub(crate) fn hang_up(&mut self, p: usize) {
        self.processes[p].call = None;
        for replica in &mut self.replicas {
            if let Some(grant) = &mut replica.grants[p] {
                grant.lease = None;
            }
        }
    }

    /// A replica takes a call and computes the lease, or none, from what it has in memory.
    pub(crate) fn take(&mut self, world: &World, r: usize, p: usize) -> bool {
        let Some(call) = self.processes[p].call else { return false };
        let (row, log) = (self.database.rows[p], self.database.log);
        let replica = &mut self.replicas[r];
        if replica.grants[p].is_some_and(|grant| grant.lease.is_some()) {
            return false;
        }
        let beside = if call.cursor.len() <= replica.window.len() { replica.window } else { log };
        if world.holds(Rule::CursorCompared) && !beside.has(call.cursor) {
            return false;
        }
        let ttl = if world.holds(Rule::TtlOfRegistration) { row.ttl } else { self.database.ttl };
        let may = |head: &usize| {
            let at = u8::try_from(*head).expect("heads are small");
            let known = replica.since_known[p].is_some_and(|marks| marks[*head]);
            (at <= call.cursor.len() || !world.holds(Rule::HeadNotPastCursor))
                && if world.holds(Rule::RegistrationCommitted) {
                    known || !world.holds(Rule::FirstLeaseAfterRegistration)
                } else {
                    at >= row.head
                }
        };
        let newest = (0..=CHANGES).filter(may).filter_map(|head| replica.marks[head]).min();
        let lease = newest.and_then(|age| ttl.checked_sub(age));
        if world.holds(Rule::GrantRecorded) {
            replica.grants[p] = Some(Grant { cursor: call.cursor.len(), lease });
        } else {
            self.answer(p, lease);
        }
        true
    }

    /// The row takes the grant; then it is answered.
    pub(crate) fn record(&mut self, world: &World, r: usize, p: usize) -> bool {
        let Some(grant) = self.replicas[r].grants[p].take() else { return false };
        let row = &mut self.database.rows[p];
        let live = row.state == RowState::Live;
        if live {
            row.applied = row.applied.max(grant.cursor);
            if !world.holds(Rule::TtlOfRegistration) && grant.lease.is_some() {
                row.ttl = row.ttl.max(self.database.ttl);
            }
            let known = &mut self.replicas[r].since_known[p];
            *known = known.or(Some([false; CHANGES + 1]));
            if world.holds(Rule::SilenceOfSameGrants) {
                self.watched[p] = None;
            }
        }
        if live || !world.holds(Rule::LiveChecked) {
            self.answer(p, grant.lease);
        }
        true
    }

    /// Of two answers to one call, by two replicas, the longer is the one to be afraid of.
    pub(crate) fn answer(&mut self, p: usize, lease: Option<u8>) {
        if let Some(call) = &mut self.processes[p].call {
            call.answer = call.answer.max(lease);
        }
    }

    pub(crate) fn receive(&mut self, world: &World, p: usize) -> bool {
        let process = &mut self.processes[p];
        let Some((call, lease)) = process.call.and_then(|call| Some((call, call.answer?))) else {
            return false;
        };
        let age = if world.holds(Rule::LeaseCountedFromBefore) { call.age } else { 0 };
        process.lease = process.lease.max(lease.checked_sub(age));
        self.hang_up(p);
        true
    }

    pub(crate) fn end_process(&mut self, p: usize, phase: Phase) -> bool {
        self.hang_up(p);
        let before = std::mem::replace(&mut self.processes[p], Process { phase, ..Process::default() });
        before.phase == Phase::Running
    }

    /// A replica reads how many grants each row has had. Where the number is the one that it knew, it watches on.
    pub(crate) fn look(&mut self, world: &World) -> bool {
        let age = if world.holds(Rule::SilenceCountedFromAfter) { Some(0) } else { self.looking };
        for (watched, row) in self.watched.iter_mut().zip(self.database.rows) {
            *watched = watched.or(age.filter(|_| row.counts()));
        }
        self.looking = None;
        age.is_some()
    }

    pub(crate) fn fail_over(&mut self, world: &World) -> bool {
        if std::mem::replace(&mut self.failed_over, true) {
            return false;
        }
        let fenced = world.holds(Rule::FormerPrimaryFenced);
        self.former = (!fenced).then_some(self.database);
        if world.failover == Failover::Lossy {
            let Some(standby) = self.standby else { return false };
            self.database = standby;
            for x in 0..CHANGES {
                let kept = standby.pending[x] || standby.log.contains(x);
                self.lost[x] = self.committed[x].is_some() && !kept;
                self.enforced[x] &= kept;
            }
        }
        self.standby = None;
        for replica in &mut self.replicas {
            replica.connection = if fenced { Connection::Broken } else { Connection::Former };
            if fenced {
                replica.call = None;
            }
        }
        true
    }

    pub(crate) fn reconnect(&mut self, world: &World, r: usize) -> bool {
        let log = self.database.log;
        let replica = &mut self.replicas[r];
        if std::mem::take(&mut replica.connection) == Connection::Primary {
            return false;
        }
        replica.call = None;
        if world.holds(Rule::MarksDroppedAtReconnect) {
            replica.marks = [None; CHANGES + 1];
            replica.since_known.iter_mut().flatten().for_each(|marks| *marks = [false; CHANGES + 1]);
        }
        if world.holds(Rule::WindowDroppedAtFork) && !log.has(replica.window) {
            replica.window = Log::default();
        }
        true
    }
}

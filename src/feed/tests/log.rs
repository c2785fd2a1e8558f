//! A log in memory. Every call takes a millisecond, or as long as a test says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use tokio::time::sleep;
use uuid::Uuid;

use super::{app, organization};
use crate::{
    feed::{
        Changes, Entry, LogSource, Page, Point, Range, Scope, Sequence, Sequenced, SourceError, Standing,
        Thing,
    },
    rules::{
        Reason,
        ids::{AppName, ChangeId, CommandId, MemberId},
        roles::{MembershipState, OrganizationRole},
    },
};

/// What a command changes: a member of an app. Members live in the organizations 0, 1 and 2, by turns.
pub(super) type Subject = (&'static str, u128);

#[derive(Clone)]
struct Stored {
    app: AppName,
    entry: Entry,
}

/// What a test sees and sets.
pub(super) struct State {
    /// Committed, not yet sequenced: the changes of one command each.
    pending: Vec<Vec<Stored>>,
    changes: Vec<Stored>,
    /// Every change that ever had a position, lost ones included.
    ever: BTreeMap<ChangeId, Entry>,
    /// Positions up to this one were trimmed.
    floor: i64,
    things: BTreeMap<MemberId, (AppName, Thing)>,
    commands: u128,
    lost_tails: u128,
    /// Commits of others that happen right after the snapshot page of that number was read.
    after_page: BTreeMap<usize, Vec<Subject>>,
    /// Reads of changes so far.
    pub(super) reads: usize,
    /// Reads of snapshot pages so far.
    pub(super) pages: usize,
    /// Sequencing calls so far.
    pub(super) calls: usize,
    pub(super) reads_fail: bool,
    pub(super) calls_fail: bool,
    pub(super) read_takes: Duration,
    pub(super) call_takes: Duration,
}

/// The log; clones are the same log.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<State>>);

/// What a scope should be sent, and the id of every change of the log.
#[derive(Clone)]
pub(super) struct Truth {
    pub(super) entries: Vec<Entry>,
    pub(super) ids: Vec<ChangeId>,
}

impl Truth {
    pub(super) fn has(&self, point: Point) -> bool {
        match usize::try_from(point.position) {
            Ok(0) => point == Point::ZERO,
            Ok(position) => self.ids.get(position - 1) == Some(&point.change_id),
            Err(_) => false,
        }
    }
}

impl Log {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            pending: Vec::new(),
            changes: Vec::new(),
            ever: BTreeMap::new(),
            floor: 0,
            things: BTreeMap::new(),
            commands: 0,
            lost_tails: 0,
            after_page: BTreeMap::new(),
            reads: 0,
            pages: 0,
            calls: 0,
            reads_fail: false,
            calls_fail: false,
            read_takes: Duration::from_millis(1),
            call_takes: Duration::from_millis(1),
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the log")
    }

    /// Commits one command.
    pub(super) fn commit(&self, subjects: &[Subject]) {
        self.state().commit(subjects);
    }

    /// Commits one command that changes so many members of an app.
    pub(super) fn commit_many(&self, app: &'static str, changes: u128) {
        self.commit(&(0..changes).map(|member| (app, member)).collect::<Vec<_>>());
    }

    /// Commits the erasure of a member.
    pub(super) fn erase(&self, app: &'static str, member: u128) {
        self.state().erase(app, member);
    }

    /// Commits a command after the snapshot page of that number, counted from 0, was read.
    pub(super) fn commit_after_page(&self, page: usize, subjects: &[Subject]) {
        self.state().after_page.insert(page, subjects.to_vec());
    }

    /// Gives positions to what is committed, as another replica would, and returns the head.
    pub(super) fn sequence_now(&self) -> Point {
        self.state().sequence()
    }

    /// Retention trims up to a position.
    pub(super) fn trim(&self, floor: i64) {
        self.state().floor = floor;
    }

    /// What [`encode`] wrote.
    pub(super) fn decode(&self, bytes: &[u8]) -> Vec<Entry> {
        let state = self.state();
        let id = |bytes: &[u8]| ChangeId(Uuid::from_slice(bytes).expect("sixteen bytes"));
        bytes.chunks(ENCODED).map(|bytes| state.ever[&id(bytes)].clone()).collect()
    }

    /// A failover that loses everything after a position; what is committed from now on gets other ids.
    pub(super) fn lose_after(&self, position: usize) {
        let mut state = self.state();
        state.changes.truncate(position);
        state.pending.clear();
        state.lost_tails += 1;
    }

    pub(super) fn truth(&self, scope: &Scope) -> Truth {
        let state = self.state();
        Truth {
            entries: state.of(scope, 0, i64::MAX).map(|stored| stored.entry.clone()).collect(),
            ids: state.changes.iter().map(|stored| stored.entry.point.change_id).collect(),
        }
    }
}

impl State {
    fn commit(&mut self, subjects: &[Subject]) {
        self.commands += 1;
        let command_id = CommandId(Uuid::from_u128(self.commands));
        let command = subjects
            .iter()
            .map(|&(name, member)| {
                let thing = self.touch(name, member);
                let entry = Entry {
                    point: Point::ZERO,
                    command_id,
                    command_end: 0,
                    apps: vec![app(name)],
                    reason: Reason::RoleChanged,
                    thing,
                    record_time: SystemTime::UNIX_EPOCH,
                    caller: "test".to_owned(),
                    acting_member_id: None,
                    handover_to: None,
                    assignments: None,
                    traceparent: None,
                };
                Stored { app: app(name), entry }
            })
            .collect();
        self.pending.push(command);
    }

    fn erase(&mut self, name: &'static str, member: u128) {
        self.commit(&[(name, member)]);
        let erased = self.pending.last_mut().and_then(|command| command.last_mut()).expect("one change");
        if let Thing::Member { state, .. } = &mut erased.entry.thing {
            *state = MembershipState::Erased;
        }
    }

    /// The next version of a member.
    fn touch(&mut self, name: &'static str, member: u128) -> Thing {
        let of_app = u128::from(name.as_bytes()[0]) << 64;
        let id = MemberId(Uuid::from_u128(of_app | member));
        let version = 1 + self.things.get(&id).map_or(0, |(_, thing)| version(thing).1);
        let thing = Thing::Member {
            organization_id: organization(member % 3),
            id,
            account_id: None,
            role: OrganizationRole::Member,
            state: MembershipState::Active,
            leaving: false,
            tombstone_id: None,
            version,
            profile: None,
            external_ids: Vec::new(),
        };
        self.things.insert(id, (app(name), thing.clone()));
        thing
    }

    fn sequence(&mut self) -> Point {
        for mut command in std::mem::take(&mut self.pending) {
            let before = self.changes.len();
            let end = before + command.len();
            for (index, stored) in command.iter_mut().enumerate() {
                let position = before + index + 1;
                let id = self.lost_tails << 64 | position as u128;
                stored.entry.point =
                    Point { position: position as i64, change_id: ChangeId(Uuid::from_u128(id)) };
                stored.entry.command_end = end as i64;
                self.ever.insert(stored.entry.point.change_id, stored.entry.clone());
            }
            self.changes.append(&mut command);
        }
        self.changes.last().map_or(Point::ZERO, |stored| stored.entry.point)
    }

    fn at(&self, position: i64) -> Option<ChangeId> {
        let index = usize::try_from(position).expect("a position").checked_sub(1);
        index.and_then(|index| self.changes.get(index)).map(|stored| stored.entry.point.change_id)
    }

    fn of<'a>(&'a self, scope: &'a Scope, after: i64, until: i64) -> impl Iterator<Item = &'a Stored> {
        let end = usize::try_from(until).expect("a position").min(self.changes.len());
        let begin = usize::try_from(after).expect("a position").min(end);
        self.changes[begin..end].iter().filter(move |stored| is_in(scope, &stored.app, &stored.entry.thing))
    }
}

/// Which member at which version.
pub(super) fn version(thing: &Thing) -> (MemberId, i64) {
    match thing {
        Thing::Member { id, version, .. } => (*id, *version),
        other => panic!("the log has members alone, not {other:?}"),
    }
}

fn is_in(scope: &Scope, app: &AppName, thing: &Thing) -> bool {
    let Thing::Member { organization_id, .. } = thing else { return false };
    let organizations = scope.organizations();
    scope.app() == app && (organizations.is_empty() || organizations.contains(organization_id))
}

fn unreachable() -> SourceError {
    SourceError("switched off".to_owned())
}

/// What an encoded change takes.
const ENCODED: usize = 16;

/// Encodes a change as its id: the log knows the rest.
pub(super) fn encode(entry: &Entry, _profiles: bool, out: &mut Vec<u8>) {
    out.extend(entry.point.change_id.0.as_bytes());
}

impl Sequence for Log {
    async fn sequence(&mut self, after: Option<Point>, limit: usize) -> Result<Sequenced, SourceError> {
        let (takes, fails) = {
            let mut state = self.state();
            state.calls += 1;
            (state.call_takes, state.calls_fail)
        };
        sleep(takes).await;
        let mut state = self.state();
        if fails || (after.is_some() && state.reads_fail) {
            return Err(unreachable());
        }
        let head = state.sequence();
        let Some(after) = after else {
            return Ok(Sequenced { head, same_history: true, floor: 0, entries: Vec::new() });
        };
        let floor = state.floor;
        let same_history = after.position <= floor || state.at(after.position) == Some(after.change_id);
        let from = after.position.max(floor);
        let behind = state.changes.iter().skip(usize::try_from(from).expect("a position"));
        let entries = behind.take(limit).map(|stored| stored.entry.clone()).collect();
        Ok(Sequenced { head, same_history, floor, entries })
    }
}

impl LogSource for Log {
    async fn changes(
        &self,
        scope: &Scope,
        _profiles: bool,
        known: Point,
        Range { after, until }: Range,
        limit: usize,
    ) -> Result<Changes, SourceError> {
        let takes = {
            let mut state = self.state();
            state.reads += 1;
            state.read_takes
        };
        sleep(takes).await;
        let state = self.state();
        if state.reads_fail {
            return Err(unreachable());
        }
        let floor = state.floor;
        let same_history = known.position <= floor || state.at(known.position) == Some(known.change_id);
        let entries = state.of(scope, after.max(floor), until).take(limit);
        Ok(Changes { entries: entries.map(|stored| stored.entry.clone()).collect(), floor, same_history })
    }

    type Cursor = MemberId;

    async fn snapshot(
        &self,
        scope: &Scope,
        _profiles: bool,
        noted: Point,
        cursor: Option<MemberId>,
        limit: usize,
    ) -> Result<Page<MemberId>, SourceError> {
        let takes = self.state().read_takes;
        sleep(takes).await;
        let same_history =
            noted == Point::ZERO || self.change_at(noted.position).await? == Some(noted.change_id);
        let mut state = self.state();
        let things: Vec<Thing> = state
            .things
            .iter()
            .filter(|(id, (app, thing))| cursor.is_none_or(|after| **id > after) && is_in(scope, app, thing))
            .map(|(_, (_, thing))| thing.clone())
            .take(limit)
            .collect();
        let next = things.last().filter(|_| things.len() == limit).map(|thing| version(thing).0);
        let page = state.pages;
        state.pages += 1;
        if let Some(subjects) = state.after_page.remove(&page) {
            state.commit(&subjects);
        }
        Ok(Page { things, next, same_history })
    }

    async fn change_at(&self, position: i64) -> Result<Option<ChangeId>, SourceError> {
        let state = self.state();
        if state.reads_fail {
            return Err(unreachable());
        }
        Ok(state.at(position))
    }

    async fn standing(&self, point: Point) -> Result<Standing, SourceError> {
        let floor = self.state().floor;
        let found = self.change_at(point.position).await?;
        Ok(match found {
            _ if point.position < floor => Standing::Compacted,
            Some(found) if found != point.change_id => Standing::Forked,
            None if point != Point::ZERO => Standing::Forked,
            _ => Standing::There,
        })
    }
}

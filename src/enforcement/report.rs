//! What is told of a write: the verdict in each app, with who is late and what was ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    OWN_APP,
    lease::drift,
    verdict::{AppStanding, Standing, State, Verdict, Write},
};
use crate::{
    rules::ids::{CommandId, OrganizationId, SubscriptionId},
    storage::{EnforcementRow, ReceiptRow},
};

/// Late instances that are named. What is judged goes by all of them.
pub const NAMED: usize = 100;

/// How far a write is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What has to be applied.
    pub position: i64,
    /// The command; the last one, where there are several in one organization. None: it changed nothing, or several.
    pub command: Option<CommandId>,
    /// The organization. None: it changed nothing, or several.
    pub organization: Option<OrganizationId>,
    /// The state of all apps together.
    pub state: State,
    /// The apps, by name.
    pub apps: Vec<AppReport>,
}

/// How far a write is enforced in an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppReport {
    /// The app.
    pub app: String,
    /// How far.
    pub state: State,
    /// How many instances it is about.
    pub instances: usize,
    /// How many of them have applied it.
    pub applied: usize,
    /// How many of them have said that all is ended.
    pub ended: usize,
    /// How many of them were waited out.
    pub lapsed: usize,
    /// How many sessions were closed.
    pub ended_sessions: i64,
    /// How many things were handed over.
    pub handed_over: i64,
    /// When it was found enforced.
    pub enforce_time: Option<DateTime<Utc>>,
    /// How long after the write it is enforced at the latest.
    pub bound: Option<Duration>,
    /// Who is late, those first that are waited for.
    pub late: Vec<Late>,
}

/// An instance that is late.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Late {
    /// How far it is.
    pub state: InstanceState,
    /// Its name.
    pub instance: String,
    /// Its subscription. None: not recorded.
    pub subscription: Option<SubscriptionId>,
    /// Why it failed.
    pub detail: String,
}

/// How far an instance is. In the order in which late ones are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceState {
    /// It may still answer from before the write.
    Pending,
    /// It does not, but has not said what it ended.
    Applied,
    /// It could not end everything.
    Failed,
    /// It holds no lease from before the write; it may have applied it, and been given up before it said what it ended.
    Lapsed,
}

impl Report {
    /// Puts together what is told of a write: about these apps or, without any, about all in whose scope it is.
    pub fn new(
        write: &Write,
        asked: &[String],
        standing: &Standing,
        recorded: &[EnforcementRow],
        receipts: &[ReceiptRow],
    ) -> Self {
        let is_recorded = |app: &str| recorded.iter().any(|row| row.app == app);
        let shown: BTreeSet<&str> = if asked.is_empty() {
            let live = standing.apps.iter().filter(|(name, app)| match &write.apps {
                _ if app.subscriptions.is_empty() && !app.registered => false,
                // Nobody asks a service that has no replica of its own.
                _ if *name == OWN_APP => app.subscriptions.iter().any(|one| one.counted),
                Some(apps) => apps.contains_key(*name),
                None => true,
            });
            live.map(|(name, _)| name.as_str()).chain(recorded.iter().map(|row| row.app.as_str())).collect()
        } else {
            asked.iter().map(String::as_str).collect()
        };
        let shown = shown.into_iter().filter_map(|name| {
            let said: Vec<&ReceiptRow> = receipts.iter().filter(|row| row.app == name).collect();
            let app = standing.apps.get(name);
            let live = app.map(|app| of_app(name, app, write, standing, &said));
            if is_recorded(name) {
                let rows: Vec<&EnforcementRow> = recorded.iter().filter(|row| row.app == name).collect();
                return with_recorded(name, write, &rows, app, live, &said);
            }
            live
        });
        let apps: Vec<AppReport> = shown.collect();
        let organizations: BTreeSet<OrganizationId> =
            write.spans.iter().map(|span| span.organization).collect();
        Self {
            position: write.position,
            // Of several organizations none: it would lead from one to the other (R46).
            command: write.spans.last().map(|span| span.command).filter(|_| organizations.len() == 1),
            organization: organizations.first().copied().filter(|_| organizations.len() == 1),
            state: apps.iter().map(|app| app.state).max().unwrap_or(State::Enforced),
            apps,
        }
    }

    /// Whether nobody answers from before the write, as far as that can be waited for.
    pub fn is_decided(&self) -> bool {
        self.state != State::Pending
    }

    /// Whether besides everyone who has applied it has said that all is ended.
    pub fn is_ended(&self) -> bool {
        let waits = |late: &Late| matches!(late.state, InstanceState::Pending | InstanceState::Applied);
        self.is_decided() && !self.apps.iter().any(|app| app.late.iter().any(waits))
    }

    /// What a change of is worth a message.
    pub fn shape(&self) -> Vec<(String, State, [usize; 4])> {
        let of = |app: &AppReport| {
            (app.app.clone(), app.state, [app.instances, app.applied, app.ended, app.lapsed])
        };
        self.apps.iter().map(of).collect()
    }
}

/// What is so in an app now.
fn of_app(
    name: &str,
    app: &AppStanding,
    write: &Write,
    standing: &Standing,
    said: &[&ReceiptRow],
) -> AppReport {
    let verdict = app.judge(write, standing.at);
    let late_as = |index: &usize, state: InstanceState, detail: &str| {
        let one = &app.subscriptions[*index];
        Late { instance: one.instance.clone(), subscription: Some(one.id), state, detail: detail.to_owned() }
    };
    let mut ended = 0;
    let mut late: Vec<Late> = Vec::new();
    let applied = verdict.applied.iter().map(|index| (index, InstanceState::Applied));
    // Nobody waits for what it says, but it has not said it.
    let gone = verdict.gone.iter().map(|index| (index, InstanceState::Lapsed));
    for (index, owing) in applied.chain(gone) {
        let owed = owed(name, app, write, *index);
        match said.iter().find(|row| row.instance == app.subscriptions[*index].instance) {
            Some(row) if row.failed > 0 => {
                late.push(late_as(index, InstanceState::Failed, row.detail.as_deref().unwrap_or_default()));
            }
            Some(row) if row.receipts >= owed.max(1) => ended += 1,
            _ if owed > 0 => late.push(late_as(index, owing, "")),
            // Nothing was to be ended, or it came later and was never told of it.
            _ => {}
        }
    }
    late.extend(verdict.lagging.iter().map(|index| late_as(index, InstanceState::Pending, "")));
    late.extend(verdict.lapsed.iter().map(|index| late_as(index, InstanceState::Lapsed, "")));
    late.sort();
    let applied = verdict.applied.len() + verdict.gone.len();
    AppReport {
        app: name.to_owned(),
        state: verdict.state,
        instances: applied + verdict.lagging.len() + verdict.lapsed.len(),
        applied,
        ended,
        lapsed: verdict.lapsed.len(),
        ended_sessions: said.iter().map(|row| row.ended_sessions).sum(),
        handed_over: said.iter().map(|row| row.handed_over).sum(),
        enforce_time: None,
        bound: verdict.bound,
        late,
    }
}

/// How many receipts a subscription owes for a write. The service's own replicas have no sessions.
fn owed(name: &str, app: &AppStanding, write: &Write, index: usize) -> i64 {
    if name == OWN_APP { 0 } else { write.owed(name, app.subscriptions[index].begin) }
}

/// Those who have applied a write and owe receipts for it.
pub(super) fn owing(name: &str, app: &AppStanding, write: &Write, verdict: &Verdict) -> Vec<usize> {
    let applied = verdict.applied.iter().chain(&verdict.gone).copied();
    applied.filter(|index| owed(name, app, write, *index) > 0).collect()
}

/// What was recorded of the commands of a write in an app, with what was said since. None: not of all of them, and nothing
/// else is known.
fn with_recorded(
    name: &str,
    write: &Write,
    rows: &[&EnforcementRow],
    app: Option<&AppStanding>,
    live: Option<AppReport>,
    said: &[&ReceiptRow],
) -> Option<AppReport> {
    if !write.is_all_in(name, &rows.iter().map(|row| CommandId(row.command_id)).collect()) {
        return live;
    }
    let last = rows.iter().max_by_key(|row| row.position)?;
    let count = |of: fn(&EnforcementRow) -> i32| {
        rows.iter().map(|row| usize::try_from(of(row)).unwrap_or_default()).max().unwrap_or_default()
    };
    let state = rows.iter().map(|row| recorded_state(&row.state)).max()?;
    // What each owes who had applied it then.
    let mut owed: BTreeMap<&str, i64> = BTreeMap::new();
    for row in rows {
        let revoking = write.owed(name, row.position - 1) - write.owed(name, row.position);
        for instance in &row.applied_instances {
            *owed.entry(instance).or_default() += revoking;
        }
    }
    let least = |instance: &str| owed.get(instance).copied().unwrap_or_else(|| write.revoking(name)).max(1);
    let has_ended = |row: &&&ReceiptRow| row.failed == 0 && row.receipts >= least(&row.instance);
    let lapsed = |instance: &str| Late {
        instance: instance.to_owned(),
        subscription: None,
        state: InstanceState::Lapsed,
        detail: String::new(),
    };
    let failed = said.iter().filter(|row| row.failed > 0).map(|row| Late {
        subscription: Some(SubscriptionId(row.subscription_id)),
        state: InstanceState::Failed,
        detail: row.detail.clone().unwrap_or_default(),
        ..lapsed(&row.instance)
    });
    let live = live.map(|live| live.late).unwrap_or_default();
    let waited_out = rows.iter().flat_map(|row| &row.lapsed_instances).map(|instance| {
        let known =
            live.iter().find(|late| late.state == InstanceState::Lapsed && late.instance == *instance);
        known.cloned().unwrap_or_else(|| lapsed(instance))
    });
    // Of those who follow now it is known that they have applied it and can still say what they ended.
    let following: Vec<Late> =
        live.iter().filter(|late| late.state == InstanceState::Applied).cloned().collect();
    let is_there = |name: &str| following.iter().any(|late| late.instance == name);
    let silent = owed.keys().filter(|instance| {
        !is_there(instance) && !said.iter().filter(has_ended).any(|row| row.instance == **instance)
    });
    let mut by_name: BTreeMap<String, Late> = BTreeMap::new();
    for one in failed.chain(waited_out).chain(silent.map(|instance| lapsed(instance))) {
        by_name.entry(one.instance.clone()).or_insert(one);
    }
    // An earlier process of its name that was waited out says nothing of one that follows.
    let mut late: Vec<Late> = following.into_iter().chain(by_name.into_values()).collect();
    late.sort();
    Some(AppReport {
        app: name.to_owned(),
        state,
        instances: count(|row| row.instances),
        applied: count(|row| row.applied),
        ended: said.iter().filter(has_ended).count(),
        lapsed: count(|row| row.lapsed),
        ended_sessions: said.iter().map(|row| row.ended_sessions).sum(),
        handed_over: said.iter().map(|row| row.handed_over).sum(),
        // Of the others nobody can say when, or there is nobody.
        enforce_time: (state == State::Enforced).then_some(last.enforce_time),
        bound: app.filter(|_| state != State::Unbounded).map(|app| drift(app.ttl)),
        late,
    })
}

fn recorded_state(word: &str) -> State {
    match word {
        "UNBOUNDED" => State::Unbounded,
        "NO_INSTANCES" => State::NoInstances,
        _ => State::Enforced,
    }
}

/// The word that is recorded for a state.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Unbounded => "UNBOUNDED",
        State::NoInstances => "NO_INSTANCES",
        State::Enforced | State::Pending => "ENFORCED",
    }
}

/// The names of those that were waited out, to be recorded.
pub(super) fn names(app: &AppStanding, lapsed: &[usize]) -> Vec<String> {
    let names: BTreeMap<&str, ()> =
        lapsed.iter().map(|index| (app.subscriptions[*index].instance.as_str(), ())).collect();
    names.into_keys().take(NAMED).map(str::to_owned).collect()
}

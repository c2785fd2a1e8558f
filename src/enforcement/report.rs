//! What is told of a write: the verdict in each app, with who is late and what was ended.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    OWN_APP,
    lease::drift,
    verdict::{AppStanding, Standing, State, Write},
};
use crate::{
    rules::ids::{CommandId, OrganizationId, SubscriptionId},
    storage::{EnforcementRow, ReceiptRow},
};

/// Late instances that are named.
const NAMED: usize = 100;

/// How far a write is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What has to be applied.
    pub position: i64,
    /// The command; the last one, where there are several. None: it changed nothing.
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
    /// Who is late, by name.
    pub late: Vec<Late>,
}

/// An instance that is late.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Late {
    /// Its name.
    pub instance: String,
    /// Its subscription. None: not recorded.
    pub subscription: Option<SubscriptionId>,
    /// How far it is.
    pub state: InstanceState,
    /// Why it failed.
    pub detail: String,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceState {
    /// It may still answer from before the write.
    Pending,
    /// It does not, but has not said what it ended.
    Applied,
    /// It could not end everything.
    Failed,
    /// It holds no lease from before the write.
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
            command: write.spans.last().map(|span| span.command),
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
    let revoking = if name == OWN_APP { 0 } else { write.revoking(name) };
    let by: HashMap<Uuid, &ReceiptRow> = said.iter().map(|row| (row.subscription_id, *row)).collect();
    let late_as = |index: &usize, state: InstanceState, detail: &str| {
        let one = &app.subscriptions[*index];
        Late { instance: one.instance.clone(), subscription: Some(one.id), state, detail: detail.to_owned() }
    };
    let mut ended = 0;
    let mut late: Vec<Late> = Vec::new();
    for index in &verdict.applied {
        let one = &app.subscriptions[*index];
        match by.get(&one.id.0) {
            Some(row) if row.failed > 0 => {
                late.push(late_as(index, InstanceState::Failed, row.detail.as_deref().unwrap_or_default()));
            }
            Some(row) if row.receipts >= revoking => ended += 1,
            // Who came later was never told of it.
            _ if revoking > 0 && one.created <= write.write_time => {
                late.push(late_as(index, InstanceState::Applied, ""));
            }
            _ => {}
        }
    }
    late.extend(verdict.lagging.iter().map(|index| late_as(index, InstanceState::Pending, "")));
    late.extend(verdict.lapsed.iter().map(|index| late_as(index, InstanceState::Lapsed, "")));
    late.sort();
    late.truncate(NAMED);
    AppReport {
        app: name.to_owned(),
        state: verdict.state,
        instances: verdict.applied.len() + verdict.lagging.len() + verdict.lapsed.len(),
        applied: verdict.applied.len(),
        ended,
        lapsed: verdict.lapsed.len(),
        ended_sessions: said.iter().map(|row| row.ended_sessions).sum(),
        handed_over: said.iter().map(|row| row.handed_over).sum(),
        enforce_time: None,
        bound: verdict.bound,
        late,
    }
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
    let commands: BTreeSet<Uuid> = rows.iter().map(|row| row.command_id).collect();
    if write.spans.iter().any(|span| !commands.contains(&span.command.0)) {
        return live;
    }
    let last = rows.iter().max_by_key(|row| row.position)?;
    let count = |of: fn(&EnforcementRow) -> i32| {
        rows.iter().map(|row| usize::try_from(of(row)).unwrap_or_default()).max().unwrap_or_default()
    };
    let state = rows.iter().map(|row| recorded_state(&row.state)).max()?;
    let revoking = write.revoking(name).max(1);
    let failed = said.iter().filter(|row| row.failed > 0).map(|row| Late {
        instance: row.instance.clone(),
        subscription: Some(SubscriptionId(row.subscription_id)),
        state: InstanceState::Failed,
        detail: row.detail.clone().unwrap_or_default(),
    });
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| &row.lapsed_instances).collect();
    let lapsed = names.into_iter().map(|instance| Late {
        instance: instance.clone(),
        subscription: None,
        state: InstanceState::Lapsed,
        detail: String::new(),
    });
    // Who has applied it and still owes a receipt is known of those that follow now.
    let owing =
        live.into_iter().flat_map(|live| live.late).filter(|late| late.state == InstanceState::Applied);
    let mut late: Vec<Late> = failed.chain(lapsed).chain(owing).collect();
    late.sort();
    late.dedup();
    late.truncate(NAMED);
    Some(AppReport {
        app: name.to_owned(),
        state,
        instances: count(|row| row.instances),
        applied: count(|row| row.applied),
        ended: said.iter().filter(|row| row.failed == 0 && row.receipts >= revoking).count(),
        lapsed: count(|row| row.lapsed),
        ended_sessions: said.iter().map(|row| row.ended_sessions).sum(),
        handed_over: said.iter().map(|row| row.handed_over).sum(),
        enforce_time: (state != State::Unbounded).then_some(last.enforce_time),
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

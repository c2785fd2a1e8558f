//! One run of `rollcall watch`: open the state, follow, end in order.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rollcall_client::{Event, Watch, WatchError, WatchOptions, v1};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Format, WatchArgs,
    acknowledge::Acknowledger,
    error::WatchFailure,
    goal::Goal,
    json,
    output::{self, Printed},
    rows,
    saver::Saver,
    state::{State, StateFile},
    text,
};
use crate::cli::{files, roster, run};

/// How long `--until-current` waits for a service: a script wants an answer.
const REACH: Duration = Duration::from_secs(10);

pub(super) async fn run(args: WatchArgs) -> Result<(), WatchFailure> {
    let stop = run::stop_on_signals().map_err(WatchFailure::Signals)?;
    let mut session = Session::open(args)?;
    let followed = session.follow(&stop).await;
    session.finish(followed).await
}

struct Session {
    watch: Watch,
    format: Format,
    state: State,
    saver: Option<Saver>,
    acknowledger: Option<Acknowledger>,
    replica_out: Option<PathBuf>,
    /// With `--until-current`.
    goal: Option<Goal>,
    /// Until when a service must be reached; set only with a goal, and only while there is none.
    reach_by: Option<Instant>,
    connection: Connection,
}

/// What was last said about the connection, so that it is said once.
#[derive(Debug, PartialEq, Eq)]
enum Connection {
    None,
    Open,
    Lost(String),
    /// The app is not registered yet.
    Waiting,
}

impl Session {
    fn open(args: WatchArgs) -> Result<Self, WatchFailure> {
        let WatchArgs {
            endpoint,
            app,
            instance,
            organizations,
            state_file,
            output: format,
            profiles,
            replica_out,
            until_current,
        } = args;
        let client = endpoint.connect()?;
        check_places(state_file.as_deref(), replica_out.as_deref())?;
        let mut state = State::new(&app, &organizations, profiles || replica_out.is_some());
        let mut saver = None;
        if let Some(path) = &state_file {
            let (file, found) = StateFile::open(path, &app)?;
            saver = Some(Saver::new(file));
            state = match found {
                Some(found) => resume(found, state),
                None => state,
            };
        }
        Ok(Self {
            watch: Watch::new(client.clone(), options(&state, instance.clone())),
            format,
            state,
            saver,
            acknowledger: instance.map(|_| Acknowledger::start(&client)),
            replica_out,
            goal: until_current.then(Goal::default),
            reach_by: until_current.then(|| Instant::now() + REACH),
            connection: Connection::None,
        })
    }

    /// Follows until there is a reason to end: a signal, a reader who left, the goal, or an error.
    async fn follow(&mut self, stop: &CancellationToken) -> Result<(), WatchFailure> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                due = due(&mut self.saver) => { due?; self.save(); }
                () = at(self.reach_by) => return Err(self.unreachable()),
                event = self.watch.next() => match event {
                    Ok(event) => if self.take(event, stop).await? { return Ok(()) },
                    Err(WatchError::AppNotFound { app }) if self.goal.is_none() => self.await_app(&app),
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    /// Applies, prints and covers one event; says whether that was the last one.
    async fn take(&mut self, event: Event, stop: &CancellationToken) -> Result<bool, WatchFailure> {
        let received = SystemTime::now();
        self.note(&event);
        self.state.replica.apply(&event);
        let lines = match self.format {
            Format::Text => text::lines(&event, &self.state.replica, received),
            Format::Jsonl => json::lines(&event, received),
        };
        if output::print(lines, stop).await? == Printed::ReaderGone {
            // The cursor stays before what was not printed. That the replica is past it does no harm: when it comes
            // again its version is not higher.
            return Ok(true);
        }
        self.cover(matches!(event, Event::Batch(_)));
        if let (Event::SnapshotEnd(_), Some(_)) = (&event, &self.saver) {
            // Before the first change is printed: whoever was told a change can resume behind it.
            self.save();
            written(&mut self.saver).await?;
        }
        Ok(self.goal.as_mut().is_some_and(|goal| goal.reached(&event, &self.state.replica)))
    }

    /// Moves the cursor past what was printed, and tells who wants to know.
    fn cover(&mut self, changed: bool) {
        // Also where nothing has changed: who acknowledges nothing for longer than a lease is given up.
        if let (Some(acknowledger), Some(applied)) = (&self.acknowledger, self.watch.acknowledgeable()) {
            acknowledger.applied(applied);
        }
        if self.state.cursor.as_deref() == self.watch.cursor() {
            return;
        }
        self.state.cursor = self.watch.cursor().map(str::to_owned);
        if let Some(saver) = &mut self.saver {
            saver.changed(changed);
        }
    }

    fn save(&mut self) {
        if let Some(saver) = &mut self.saver {
            let begun = Instant::now();
            let content = serde_json::to_vec(&self.state).expect("a replica can be written to memory");
            saver.begin(content, begun.elapsed());
        }
    }

    /// Says on stderr what a person wants to know of the connection, each thing once.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Opened(opened) => {
                self.state.store_id.clone_from(&opened.store_id);
                self.reach_by = None;
                self.connection = Connection::Open;
                eprintln!("rollcall watch: {}", describe_opening(&self.state, opened));
            }
            Event::Disconnected { cause, .. } => {
                if self.goal.is_some() {
                    self.reach_by.get_or_insert_with(|| Instant::now() + REACH);
                }
                if !matches!(self.connection, Connection::Lost(_)) {
                    eprintln!("rollcall watch: no connection ({cause}); trying again");
                }
                self.connection = Connection::Lost(cause.to_string());
            }
            _ => {}
        }
    }

    fn await_app(&mut self, app: &str) {
        if self.connection != Connection::Waiting {
            eprintln!("rollcall watch: no app called {app:?} is registered yet; waiting for it");
            self.connection = Connection::Waiting;
        }
    }

    fn unreachable(&self) -> WatchFailure {
        let cause = match &self.connection {
            Connection::Lost(cause) => cause.clone(),
            _ => "no answer".to_owned(),
        };
        WatchFailure::Unreachable { seconds: REACH.as_secs(), cause }
    }

    /// Saves, writes the roster, says farewell; whatever the end was, and each even where the one before failed.
    async fn finish(mut self, followed: Result<(), WatchFailure>) -> Result<(), WatchFailure> {
        let saved = self.save_last().await;
        let written = self.write_roster(followed.is_ok());
        if let (Some(acknowledger), Connection::Open) = (self.acknowledger.take(), &self.connection) {
            acknowledger.finish(self.watch.subscription_id().map(str::to_owned)).await;
        }
        followed.and(saved).and(written)
    }

    async fn save_last(&mut self) -> Result<(), WatchFailure> {
        written(&mut self.saver).await?;
        if self.saver.as_ref().is_some_and(Saver::is_due) {
            self.save();
        }
        written(&mut self.saver).await
    }

    fn write_roster(&self, ended_well: bool) -> Result<(), WatchFailure> {
        let (Some(path), replica) = (&self.replica_out, &self.state.replica) else { return Ok(()) };
        if !replica.is_filled() && !ended_well {
            // Nothing was received, and that was an error: an older file says more than an empty one.
            return Ok(());
        }
        let rows = rows::of(replica);
        roster::write(path, &rows)?;
        if !replica.is_filled() {
            eprintln!("rollcall watch: {} is empty: no snapshot was complete", path.display());
        } else if !replica.is_ready() {
            eprintln!(
                "rollcall watch: {} may mix states of different times: the snapshot is of one time at position {}, \
                 and the stream ended at {}",
                path.display(),
                replica.ready_position(),
                replica.position()
            );
        }
        Ok(())
    }
}

fn check_places(state_file: Option<&Path>, replica_out: Option<&Path>) -> Result<(), WatchFailure> {
    for path in [state_file, replica_out].into_iter().flatten() {
        files::check_writable_place(path)?;
    }
    match (state_file, replica_out) {
        (Some(first), Some(second)) if first == second => {
            Err(WatchFailure::SameFile { first: first.to_owned(), second: second.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The state to go on from: the one found, unless it is not enough for what is asked now.
fn resume(found: State, asked: State) -> State {
    let missing = if found.organization_ids != asked.organization_ids {
        "follows other organizations"
    } else if asked.profiles && !found.profiles {
        "has no names and addresses"
    } else {
        // Profiles that are there are kept current, also by a run that does not show them.
        return found;
    };
    eprintln!("rollcall watch: the state file {missing}; beginning with a snapshot");
    asked
}

fn options(state: &State, instance: Option<String>) -> WatchOptions {
    WatchOptions {
        app: state.app.clone(),
        instance,
        organization_ids: state.organization_ids.clone(),
        cursor: state.cursor.clone(),
        include_profiles: state.profiles,
        snapshot_if_refused: true,
    }
}

fn describe_opening(state: &State, opened: &v1::Opened) -> String {
    let (app, head) = (&state.app, opened.head_position);
    match (opened.snapshot_follows, opened.cursor_refusal()) {
        (false, _) => format!("following {app} from position {}, head {head}", state.replica.position()),
        (true, v1::ErrorReason::Unspecified) => format!("following {app} from a snapshot, head {head}"),
        (true, reason) => {
            let reason = reason.as_str_name().trim_start_matches("ERROR_REASON_");
            format!("following {app} from a new snapshot ({reason}), head {head}")
        }
    }
}

async fn due(saver: &mut Option<Saver>) -> Result<(), WatchFailure> {
    match saver {
        Some(saver) => Ok(saver.due().await?),
        None => std::future::pending().await,
    }
}

async fn written(saver: &mut Option<Saver>) -> Result<(), WatchFailure> {
    match saver {
        Some(saver) => Ok(saver.written().await?),
        None => Ok(()),
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

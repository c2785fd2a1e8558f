//! `rollcall demo`: the thirty-second proof. A service with its own Postgres and one instance of each of three apps, all
//! separate processes of this very binary; people leave, return and are removed, and the terminal shows what each app
//! was told and how soon; then a trace is replayed, and every replica must equal the service's own lists. At the end
//! people with open sessions are deactivated, and it shows when no app lets them in any more, also with one frozen.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, builder::FalseyValueParser};
use rollcall_client::{ConnectError, connect, describe, v1};
use tonic::Status;

mod check;
mod company;
mod departures;
mod inbox;
mod instance;
mod screen;
mod stage;

use super::{
    files::{self, FileError},
    lists::ListError,
    replay::{self, ReplayError},
    run,
    trace::{self, Trace, TraceError},
    watch::StateError,
};
use company::Company;
pub(super) use instance::{InstanceArgs, run as run_instance};
use screen::Screen;
use stage::Stage;

/// The apps of the demo, which are those of the trace format.
const APPS: [&str; 3] = ["chat", "time-tracking", "boards"];
/// Sixty to a hundred rows of our own making, in the format of a real trace.
const EXCERPT: &[u8] = include_bytes!("../../demo/trace.csv");
/// How long an app may take to hear of a change before the demo has failed. Bookmarks come every second.
const HEARING: Duration = Duration::from_secs(15);
/// The same for a whole trace, which the apps follow while it is replayed.
const CATCHING_UP: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Needs nothing but Postgres binaries on this machine; leaves nothing behind. Exits with 0 only if
every replica equals the service's own lists, and nobody was let in who was out.

Examples:
  rollcall demo
  ROLLCALL_TRACE=history.csv rollcall demo";

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArgs {
    /// Replay this trace [default: an excerpt that comes with rollcall]
    #[arg(long, value_name = "FILE.csv", env = "ROLLCALL_TRACE")]
    trace: Option<PathBuf>,
    /// Print without colours, also on a terminal
    #[arg(long, env = "NO_COLOR", value_parser = FalseyValueParser::new())]
    no_color: bool,
}

#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{name}: {error}")]
    Trace { name: String, error: Box<TraceError> },
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("the service did not start{}", said(.log))]
    NotStarted { log: String },
    #[error("{app} was not told within {} s{}", within.as_secs(), said(.log))]
    NotTold { app: &'static str, within: Duration, log: String },
    #[error("the instance of {app} did not end in order{}", said(.log))]
    NotEnded { app: &'static str, log: String },
    #[error("{app} left no state file")]
    NoState { app: &'static str },
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}", describe(.0))]
    Call(Box<Status>),
    #[error("the service answered without the {0} that it promises")]
    Incomplete(&'static str),
    #[error(transparent)]
    List(#[from] ListError),
    #[error("the trace: {0}")]
    Replay(#[from] ReplayError),
    #[error("a replica differs from the service's lists")]
    Different,
    #[error("the service did not find the departure enforced in time")]
    NotEnforced,
    #[error("{app} let somebody in who was out")]
    LetIn { app: &'static str },
    #[error("the instance of {app} said nothing{}", said(.log))]
    Silent { app: &'static str, log: String },
    #[error("interrupted")]
    Interrupted,
}

impl From<Status> for DemoError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// The last words of a process, where it said any.
fn said(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; it said:\n{log}") }
}

pub(super) fn run(args: DemoArgs) -> ExitCode {
    run::to_end("demo", demo(args))
}

async fn demo(args: DemoArgs) -> Result<(), DemoError> {
    let DemoArgs { trace, no_color } = args;
    let screen = Screen::new(no_color);
    // Set to nothing is as good as not set.
    let trace = load(trace.as_deref().filter(|path| !path.as_os_str().is_empty()))?;
    let stop =
        run::stop_on_signals().map_err(|source| DemoError::System { what: "listen for signals", source })?;
    let mut stage = Stage::new()?;
    let result = tokio::select! {
        result = play(&mut stage, &screen, &trace) => result,
        () = stop.cancelled() => Err(DemoError::Interrupted),
    };
    stage.clear().await;
    screen.verdict(result.is_ok());
    result
}

/// The trace to replay, read before anything is started.
fn load(path: Option<&Path>) -> Result<(String, Trace), DemoError> {
    let (name, bytes) = match path {
        Some(path) => (path.display().to_string(), files::read(path)?),
        None => ("the excerpt that comes with rollcall".to_owned(), EXCERPT.to_vec()),
    };
    match trace::parse(&bytes) {
        Ok(trace) => Ok((name, trace)),
        Err(error) => Err(DemoError::Trace { name, error: Box::new(error) }),
    }
}

async fn play(stage: &mut Stage, screen: &Screen, (name, trace): &(String, Trace)) -> Result<(), DemoError> {
    start(stage, screen).await?;
    let client = connect(stage.endpoint())?;
    let mut company = Company::new(client.clone());
    for step in company::STEPS {
        let begun = Instant::now();
        let title = company.play(*step).await?;
        let answered = begun.elapsed();
        stage.await_head(&client, step.told(), HEARING).await?;
        screen.step(title, answered, &stage.take_told(), &company);
    }
    replay_trace(stage, screen, &client, name, trace).await?;
    check_all(stage, screen, &client).await?;
    departures::play(stage, screen, &client, &mut company).await
}

async fn start(stage: &mut Stage, screen: &Screen) -> Result<(), DemoError> {
    let begun = Instant::now();
    screen.title("Starting Postgres and the service");
    stage.start_service().await?;
    screen.line(&format!("{} after {:.1} s", stage.endpoint(), begun.elapsed().as_secs_f64()));
    let client = connect(stage.endpoint())?;
    for app in APPS {
        let request = v1::RegisterAppRequest {
            app: app.to_owned(),
            request_id: company::request_id(),
            ..Default::default()
        };
        client.apps().register_app(request).await?;
        stage.start_follower(app)?;
    }
    stage.await_head(&client, &[], HEARING).await?;
    stage.take_told();
    screen.line(&format!("one instance each of {} follows it, each a process of its own", APPS.join(", ")));
    Ok(())
}

async fn replay_trace(
    stage: &mut Stage,
    screen: &Screen,
    client: &rollcall_client::Client,
    name: &str,
    trace: &Trace,
) -> Result<(), DemoError> {
    screen.title(&format!("Replaying {} rows of {name}", trace.rows.len()));
    let totals = replay::apply_trace(client, trace, replay::CONCURRENCY, || {}).await?;
    stage.await_head(client, &[], CATCHING_UP).await?;
    screen.line(&format!(
        "rows = {}, seconds = {:.1}, rows_per_second = {:.0}",
        totals.rows,
        totals.took.as_secs_f64(),
        totals.rows_per_second()
    ));
    let told = stage.take_told();
    screen.delays(told.iter().map(|(app, told)| (*app, told.as_slice())));
    Ok(())
}

async fn check_all(
    stage: &mut Stage,
    screen: &Screen,
    client: &rollcall_client::Client,
) -> Result<(), DemoError> {
    screen.title("Comparing each replica with the service's own lists");
    stage.await_acknowledged(client, HEARING).await?;
    let delivered: BTreeMap<&str, usize> = stage.delivered();
    let replicas = stage.end_followers().await?;
    let mut equal = true;
    for (app, replica) in &replicas {
        let comparison = check::compare(client, app, replica).await?;
        equal &= comparison.differences.is_empty();
        screen.comparison(app, &comparison, delivered.get(app).copied().unwrap_or_default());
    }
    if equal { Ok(()) } else { Err(DemoError::Different) }
}

//! `rollcall replay`: applies a trace through the public API, as a trusted import: it records what happened elsewhere, so
//! it acts for nobody. Many rows are in flight at once, none overtakes another that it depends on ([`plan`]).
//!
//! Every call carries a request id made of the file and its line, so a replay that died can simply be run again: what was
//! applied is answered as it is, and the rest is applied.

use std::{
    cell::Cell, io::IsTerminal as _, num::NonZeroUsize, path::PathBuf, pin::pin, process::ExitCode,
    time::Duration,
};

use clap::Args;
use rollcall_client::{ConnectError, connect};
use tokio::time::Instant;

mod apply;
mod engine;
mod known;
mod plan;

use super::{
    EndpointArgs,
    files::{self, FileError},
    run,
    trace::{self, TraceError},
};
pub(super) use engine::{ReplayError, run as apply_trace};

const EXAMPLES: &str = "\
The file has the columns time,organization,op,workspace,app,person,role, one row per event;
op is one of
  member.add  member.role  member.remove
  workspace.create  workspace.delete  workspace.add  workspace.role  workspace.remove
It is read and checked whole before the first row is applied; an error names line and column. An
organization begins with its first row, the member.add of an owner, and with an empty workspace of
the app chat, since it must have one. Where a replay is cut short, run it again: it goes on where it
was. Another file that names the same organizations makes new ones of the same names.

Prints rows, seconds and rows_per_second.

Examples:
  rollcall replay history.csv
  rollcall replay --endpoint http://rollcall:7400 --concurrency 32 history.csv";

/// Arguments of `replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// How many rows may be on their way at once; rows that depend on each other never are
    #[arg(long, value_name = "ROWS", default_value_t = CONCURRENCY)]
    concurrency: NonZeroUsize,
    /// The trace
    file: PathBuf,
}

/// Enough to share each fsync of the database among several rows; more waits in its queue instead.
pub(super) const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(16).expect("sixteen is not zero");

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {error}; nothing was applied", path.display())]
    Trace { path: PathBuf, error: Box<TraceError> },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}: {error}", path.display())]
    Replay { path: PathBuf, error: ReplayError },
}

pub(super) fn run(args: ReplayArgs) -> ExitCode {
    run::to_end("replay", replay(args))
}

async fn replay(args: ReplayArgs) -> Result<(), CommandError> {
    let ReplayArgs { endpoint: EndpointArgs { endpoint }, concurrency, file: path } = args;
    let trace = trace::parse(&files::read(&path)?)
        .map_err(|error| CommandError::Trace { path: path.clone(), error: Box::new(error) })?;
    let client = connect(&endpoint)?;
    let done = Cell::new(0);
    let replaying = engine::run(&client, &trace, concurrency, || done.set(done.get() + 1));
    let totals = reporting(replaying, || done.get(), trace.rows.len())
        .await
        .map_err(|error| CommandError::Replay { path, error })?;
    totals.lines().iter().for_each(|line| run::say(line));
    Ok(())
}

/// Tells on stderr how far the work is, until it is done: often where a person looks, seldom in a log.
async fn reporting<T>(work: impl Future<Output = T>, done: impl Fn() -> usize, rows: usize) -> T {
    let terminal = std::io::stderr().is_terminal();
    let every = Duration::from_millis(if terminal { 200 } else { 5_000 });
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    let mut work = pin!(work);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = ticks.tick() => match terminal {
                true => eprint!("\r{} of {rows} rows", done()),
                false => eprintln!("{} of {rows} rows", done()),
            },
        }
    };
    if terminal {
        // Over the counter, so that neither the result nor an error begins in the middle of its line.
        eprint!("\r{:40}\r", "");
    }
    result
}

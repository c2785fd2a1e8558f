//! `rollcall replay`: applies a trace through the public API, as a trusted import: it records what happened elsewhere, so
//! it acts for nobody. Many rows are in flight at once, none overtakes another that it depends on ([`plan`]).
//!
//! Every call carries a request id made of the file and its line, so a replay that died can simply be run again: what was
//! applied is answered as it is, and the rest is applied.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode};

use clap::Args;
use rollcall_client::ConnectError;

mod apply;
mod engine;
mod plan;

use super::{
    EndpointArgs,
    files::{self, FileError},
    progress::Progress,
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
    let ReplayArgs { endpoint, concurrency, file: path } = args;
    let trace = trace::parse(&files::read(&path)?)
        .map_err(|error| CommandError::Trace { path: path.clone(), error: Box::new(error) })?;
    let client = endpoint.connect()?;
    let progress = Progress::new("rows", trace.rows.len());
    let totals = progress
        .during(engine::run(&client, &trace, concurrency, || progress.step()))
        .await
        .map_err(|error| CommandError::Replay { path, error })?;
    totals.lines().iter().for_each(|line| run::say(line));
    Ok(())
}

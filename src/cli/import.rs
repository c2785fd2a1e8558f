//! `rollcall import`: brings a service to contain a roster, through the public API, as a workload that acts for nobody.
//!
//! The roster is read and checked whole, then compared with what the service has ([`found`]); the difference is the
//! [`plan`], and only that is applied ([`apply`]). So importing again does nothing, and an import that was cut short is
//! simply run again. What the service has and the roster has not stays.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Instant};

use clap::Args;
use rollcall_client::ConnectError;

mod apply;
mod found;
mod plan;

use self::{
    apply::StepError,
    found::{FindError, Found},
    plan::{Clash, Plan},
};
use super::{
    EndpointArgs,
    csv_file::Located,
    files::{self, FileError},
    lists::Lists,
    progress::{Progress, Totals},
    replay, roster,
    roster::read::RosterError,
    run,
};

/// So many lines are named where there are more.
const NAMED: usize = 20;

const EXAMPLES: &str = "\
The file has the columns organization,workspace,app,person,role, as export writes it: a row for
each member of an organization (workspace and app empty) and one for each member of a workspace.
It is read and checked whole before anything is done; an error names line and column. An
organization needs an owner; where the file names no workspace of it, it begins with an empty one,
rollcall-replay of the app chat.

Organizations and workspaces are known by their names, persons by their addresses. What is missing
is created or added (who was removed returns), and roles are changed to those of the file. What
the service has beyond the file is never removed. Who is DEACTIVATED stays so, and the import is
refused, unless --reactivate is given.

Prints the plan on stderr, and at the end rows, seconds and rows_per_second. Importing again
changes nothing; an import that was cut short can be run again.

Examples:
  rollcall import --plan roster.csv                 what would be done
  rollcall import roster.csv";

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Print what would be done, and change nothing
    #[arg(long, visible_alias = "dry-run")]
    plan: bool,
    /// Also reactivate those in the roster who are DEACTIVATED
    #[arg(long)]
    reactivate: bool,
    /// How many calls may be on their way at once
    #[arg(long, value_name = "CALLS", default_value_t = replay::CONCURRENCY)]
    concurrency: NonZeroUsize,
    /// The roster
    file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {error}; nothing was applied", path.display())]
    Roster { path: PathBuf, error: Box<RosterError> },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}: {error}; nothing was applied", path.display())]
    Find { path: PathBuf, error: Box<FindError> },
    #[error("{}: {error}; nothing was applied", path.display())]
    Clash { path: PathBuf, error: Box<Located<Clash>> },
    #[error("{}: {}; nothing was applied", path.display(), deactivated(lines))]
    Deactivated { path: PathBuf, lines: Vec<usize> },
    #[error("{}: {error}", path.display())]
    Step { path: PathBuf, error: StepError },
}

fn deactivated(lines: &[usize]) -> String {
    let mut named: Vec<String> = lines.iter().take(NAMED).map(usize::to_string).collect();
    if lines.len() > NAMED {
        named.push(format!("and {} more", lines.len() - NAMED));
    }
    format!("those in lines {} are DEACTIVATED; --reactivate would reactivate them", named.join(", "))
}

pub(super) fn run(args: ImportArgs) -> ExitCode {
    run::to_end("import", import(args))
}

async fn import(args: ImportArgs) -> Result<(), CommandError> {
    let ImportArgs { endpoint, plan: only_plan, reactivate, concurrency, file } = args;
    let roster = roster::read::parse(&files::read(&file)?)
        .map_err(|error| CommandError::Roster { path: file.clone(), error: Box::new(error) })?;
    let begun = Instant::now();
    let client = endpoint.connect()?;
    let found = Found::read(&Lists::new(client.clone()), &roster, concurrency.get())
        .await
        .map_err(|error| CommandError::Find { path: file.clone(), error: Box::new(error) })?;
    let plan = Plan::of(&roster, &found)
        .map_err(|error| CommandError::Clash { path: file.clone(), error: Box::new(error) })?;
    drop(found);
    for line in plan.counts.lines() {
        if only_plan { run::say(&line) } else { eprintln!("{line}") }
    }
    if !reactivate && !plan.deactivated.is_empty() {
        return Err(CommandError::Deactivated { path: file, lines: plan.deactivated });
    }
    if only_plan {
        return Ok(());
    }
    let progress = Progress::new("steps", plan.steps());
    progress
        .during(apply::apply(client, roster.digest, plan, concurrency.get(), || progress.step()))
        .await
        .map_err(|error| CommandError::Step { path: file, error })?;
    let totals = Totals { rows: roster.rows, took: begun.elapsed() };
    totals.lines().iter().for_each(|line| run::say(line));
    Ok(())
}

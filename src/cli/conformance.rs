//! `rollcall conformance`: tries an instance, in whatever language, against the contract that apps follow the feed by.
//!
//! It starts the instance again and again, each time before a scripted service of its own ([`desk`]), and asks it over a line
//! protocol what it would answer ([`instance`]). `docs/consumer-contract.md` has the clauses, the protocol, and what cannot be
//! tried from outside.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use tokio::sync::Semaphore;

use self::{
    clauses::{CLAUSES, Clause},
    report::{Failure, Line, Passed},
    stage::Stage,
};
use super::run;
pub(super) use client::{InstanceArgs, run as run_instance};

mod clauses;
mod client;
mod desk;
mod digest;
mod instance;
mod line;
mod report;
mod stage;
mod world;

/// No script takes longer, however slowly the instance starts.
const LONGEST: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
COMMAND is started once for each script, with ROLLCALL_URL (http://127.0.0.1:PORT), ROLLCALL_APP,
ROLLCALL_INSTANCE and ROLLCALL_STATE (a file to keep its state in) in its environment. It follows
the feed there, answers `check ACCOUNT WORKSPACE` on stdin with `allowed ROLE`, `denied` or
`stale` on stdout, and ends when stdin ends. See docs/consumer-contract.md. Without a COMMAND the
replica of the Rust client is tried.

Prints a line for each clause, and exits with 0 only when all of them passed.

Examples:
  rollcall conformance
  rollcall conformance --app chat -- python3 instance.py
  rollcall conformance --app chat --only C3,C12 -o json -- ./my-instance";

/// How to print the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

/// Arguments of `conformance`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConformanceArgs {
    /// The app that the instance belongs to; it need not be registered anywhere
    #[arg(long, value_name = "NAME", default_value = "chat")]
    app: String,
    /// Only these clauses, by their ids
    #[arg(long, value_name = "CLAUSES", value_delimiter = ',', value_parser = clause_ids())]
    only: Vec<String>,
    /// How many instances run at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    output: Format,
    /// What starts an instance, with its arguments [default: one of the Rust client]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn clause_ids() -> clap::builder::PossibleValuesParser {
    CLAUSES.iter().map(|clause| clause.id).collect::<Vec<_>>().into()
}

pub(super) fn run(args: ConformanceArgs) -> ExitCode {
    run::to_end("conformance", all(args))
}

/// Tries all clauses side by side, and prints each in its turn.
async fn all(args: ConformanceArgs) -> std::io::Result<ExitCode> {
    let ConformanceArgs { app, only, jobs, output, command } = args;
    let places = Arc::new(Semaphore::new(jobs as usize));
    let command: Arc<[String]> = if command.is_empty() { own_instance()? } else { command }.into();
    let wanted = |clause: &&Clause| only.is_empty() || only.iter().any(|id| id == clause.id);
    let running: Vec<_> = CLAUSES
        .iter()
        .filter(wanted)
        .map(|clause| {
            let scripts = (0..clause.scripts.len())
                .map(|script| {
                    let (places, command, app) = (Arc::clone(&places), Arc::clone(&command), app.clone());
                    tokio::spawn(async move {
                        let _place = places.acquire_owned().await;
                        one(clause, script, &command, &app).await
                    })
                })
                .collect::<Vec<_>>();
            (clause, scripts)
        })
        .collect();
    let (tried, mut passed) = (running.len(), 0);
    for (clause, scripts) in running {
        let mut outcome: Passed = Ok(());
        for script in scripts {
            let ended = script.await.unwrap_or_else(|error| {
                Err(Failure::new("a script that runs to its end", error.to_string()))
            });
            outcome = outcome.and(ended);
        }
        let line = Line::new(clause.id, clause.title, outcome);
        passed += usize::from(line.passed);
        run::say(&match output {
            Format::Text => line.to_string(),
            Format::Json => serde_json::to_string(&line).expect("strings can be written to memory"),
        });
    }
    eprintln!("{passed} of {tried} clauses passed");
    Ok(if passed == tried { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// This program, as an instance.
fn own_instance() -> std::io::Result<Vec<String>> {
    let program = std::env::current_exe()?.into_os_string().into_string();
    let program = program.map_err(|_| std::io::Error::other("the path of this program is no text"))?;
    Ok(vec![program, "conformance-instance".to_owned()])
}

/// One script on a stage of its own. Of an instance that fails, what it said last on stderr is shown.
async fn one(clause: &Clause, script: usize, command: &[String], app: &str) -> Passed {
    let name = format!("conformance-{}-{script}", clause.id);
    let mut stage = Stage::set(command, app, &name).await?;
    let play = clause.scripts[script](&mut stage);
    let outcome = tokio::time::timeout(LONGEST, play).await.unwrap_or_else(|_| {
        Err(Failure::new("a script that runs to its end", format!("no end within {} s", LONGEST.as_secs())))
    });
    if outcome.is_err() {
        for line in stage.instance.errors() {
            eprintln!("{name}: {line}");
        }
    }
    outcome
}

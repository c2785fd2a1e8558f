//! `rollcall doctor`: looks whether a database is set up as the service needs it, and changes nothing.

use std::{num::NonZeroUsize, process::ExitCode, time::Duration};

use clap::Args;

use self::judge::{Finding, Level};
use super::run;
use crate::storage::{self, StorageError};

mod judge;

/// A database or pooler that does not answer is said not to.
const PATIENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
One line for each thing that was looked at: ok, a warning, or that it fails, and what to do then.
Run it with the service's own URLs: what a role may do and is set to depends on the role. It
changes nothing and shows no password. The exit code is 1 where something fails.

Examples:
  rollcall doctor --database-url postgresql://rollcall_service@db.example.com/rollcall
  rollcall doctor --database-url postgresql://pooler/db --direct-database-url postgresql://host/db";

/// Arguments of `doctor`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Postgres to look at, as the service is given it: postgresql://user:password@host/database
    #[arg(long, env = "ROLLCALL_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: String,
    /// The same Postgres, reached directly, where --database-url goes through a pooler in transaction mode
    #[arg(long, env = "ROLLCALL_DIRECT_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    direct_database_url: Option<String>,
    /// Connections that the pool of one service makes
    #[arg(long, env = "ROLLCALL_POOL_SIZE", value_name = "NUMBER", default_value = "16")]
    pool_size: NonZeroUsize,
}

impl std::fmt::Debug for DoctorArgs {
    /// Without the URLs, which may have a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DoctorArgs").field("pool_size", &self.pool_size).finish_non_exhaustive()
    }
}

pub(super) fn run(args: DoctorArgs) -> ExitCode {
    run::to_end("doctor", async { Ok::<_, std::convert::Infallible>(examine(args).await) })
}

/// Looks, prints what was found, and sums it up.
async fn examine(args: DoctorArgs) -> ExitCode {
    let findings = findings(&args).await;
    for Finding { level, says } in &findings {
        run::say(&format!("{:<8} {says}", level.word()));
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (ok, warnings, fails) = (count(Level::Ok), count(Level::Warning), count(Level::Fails));
    run::say(&format!("{ok} ok, {warnings} with a warning, {fails} that fail"));
    if fails == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn findings(args: &DoctorArgs) -> Vec<Finding> {
    let DoctorArgs { database_url, direct_database_url, pool_size } = args;
    let direct_url = direct_database_url.as_deref().filter(|url| !url.is_empty());
    let mut findings = Vec::new();
    let observed = in_time(storage::observe(database_url)).await;
    findings.extend(match &observed {
        Ok(observed) => judge::database(observed, pool_size.get()),
        Err(error) => vec![Finding::fails(format!("--database-url: {error}"))],
    });
    if let Some(direct_url) = direct_url {
        findings.extend(match in_time(storage::observe(direct_url)).await {
            Ok(direct) => judge::same(observed.as_ref().ok(), &direct),
            Err(error) => vec![Finding::fails(format!("--direct-database-url: {error}"))],
        });
        findings.push(match in_time(storage::pooler_fits(database_url)).await {
            Ok(()) => Finding::ok("the pooler keeps the prepared statements of its clients apart"),
            Err(error) => Finding::fails(error.to_string()),
        });
    }
    if observed.is_err() && direct_url.is_none() {
        // It would say the same once more.
        return findings;
    }
    findings.push(match in_time(storage::notifications_arrive(direct_url.unwrap_or(database_url))).await {
        Ok(()) => Finding::ok("notifications arrive"),
        Err(error) => Finding::fails(error.to_string()),
    });
    findings
}

async fn in_time<T>(looking: impl Future<Output = Result<T, StorageError>>) -> Result<T, StorageError> {
    let looked = tokio::time::timeout(PATIENCE, looking).await;
    looked.unwrap_or_else(|_| {
        Err(StorageError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs())))
    })
}

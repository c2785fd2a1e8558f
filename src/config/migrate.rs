//! What `rollcall migrate` is told.

use clap::Args;

use super::LogArgs;

/// Settings of `rollcall migrate`.
#[derive(Debug, Clone, Default, Args)]
pub struct MigrateArgs {
    /// Postgres to migrate: postgresql://user:password@host/database
    #[arg(long, env = "ROLLCALL_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// Role that serves, where that is not the one that migrates: it is given what it needs for that, and no more
    #[arg(long, env = "ROLLCALL_SERVICE_ROLE", value_name = "ROLE", value_parser = role)]
    pub service_role: Option<String>,
    /// Seconds to wait for another that migrates, and for locks that others hold [default: 300]
    #[arg(long, env = "ROLLCALL_MIGRATE_WAIT_SECONDS", value_name = "SECONDS")]
    pub wait_seconds: Option<u64>,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The name of a role. An empty one is a variable that somebody meant to fill.
fn role(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty; set ROLLCALL_SERVICE_ROLE to the role that serves, or unset it".to_owned()),
        role => Ok(role.to_owned()),
    }
}

//! `rollcall migrate`: brings a database to this version's schema.

use std::{process::ExitCode, time::Duration};

use crate::{
    config::{MigrateArgs, TracesConfig},
    storage::{WAIT, migrate_within},
    telemetry,
};

/// Migrates and says what it ran.
pub(super) fn run(args: &MigrateArgs) -> ExitCode {
    if let Err(error) = telemetry::start(&args.log.resolve(), &TracesConfig::none(), "rollcall-migrate", None)
    {
        eprintln!("rollcall migrate: {error}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rollcall migrate: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let wait = args.wait_seconds.map_or(WAIT, Duration::from_secs);
    match runtime.block_on(migrate_within(&args.database_url, args.service_role.as_deref(), wait)) {
        Ok(ran) if ran.is_empty() => println!("nothing to migrate"),
        Ok(ran) => ran.iter().for_each(|name| println!("migrated {name}")),
        Err(error) => {
            eprintln!("rollcall migrate: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

//! Placeholder.

use std::process::ExitCode;

use crate::config::MigrateArgs;

pub(crate) fn run(_args: MigrateArgs) -> ExitCode {
    ExitCode::FAILURE
}

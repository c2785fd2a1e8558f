//! Placeholder.

use std::process::ExitCode;

use crate::config::ServeArgs;

pub(crate) fn run(_args: ServeArgs) -> ExitCode {
    ExitCode::FAILURE
}

//! Stub.
use std::process::ExitCode;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {}
pub(super) fn run(_args: DemoArgs) -> ExitCode {
    ExitCode::FAILURE
}

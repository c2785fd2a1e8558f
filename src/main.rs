//! The `rollcall` binary: reads the command line and hands over. No runtime here: `serve` must start its Postgres from
//! the main thread before there are others, so each command makes its own.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    rollcall::cli::Cli::parse().run()
}

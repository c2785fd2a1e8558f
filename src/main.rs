//! The `rollcall` binary.

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}
#[derive(Subcommand)]
enum Command {
    Serve(rollcall::config::ServeArgs),
    Migrate(rollcall::config::MigrateArgs),
}

fn main() -> std::process::ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => rollcall::cli::serve::run(args),
        Command::Migrate(args) => rollcall::cli::migrate::run(&args),
    }
}

//! The command line: what can be asked, and who answers.
//!
//! Each command is a file of its own with its arguments and `run`, which makes whatever runtime it needs and gives the
//! exit code: 0 done, 1 failed (with the reason on stderr), 2 not understood.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use rollcall_client::{Client, ClientOptions, ConnectError, Credentials, TlsFiles, connect_with};

mod account;
mod agent;
mod app;
mod audit;
mod calls;
mod check;
mod completions;
mod confirm;
mod conformance;
mod contract;
mod csv_file;
mod demo;
mod departures;
mod doctor;
mod enforced;
mod erasure;
mod export;
mod files;
#[doc(hidden)]
pub mod fuzzed;
mod health;
mod history;
mod import;
mod invite;
mod known;
mod lists;
mod lost;
mod man;
mod member;
mod migrate;
mod names;
mod organization;
mod output;
mod progress;
mod replay;
mod roster;
mod run;
mod serve;
mod service;
mod times;
mod trace;
mod watch;
mod workspace;

use crate::config::{MigrateArgs, ServeArgs};

const EXAMPLES: &str = "\
Examples:
  rollcall demo                                      see it work, in half a minute
  rollcall serve --data-dir ./data                   a service with a Postgres of its own
  rollcall serve --database-url postgres://...       a service on a Postgres of yours
  rollcall watch --app chat                          what the app \"chat\" is told, as it happens
  rollcall replay history.csv                        import what happened elsewhere
  rollcall export --output roster.csv                who is in what, now
  rollcall import roster.csv                         see to it that they are in it
  rollcall member deactivate ID --organization ID --plan    what would happen, in sentences
  rollcall history --organization ID                 what happened in an organization
  rollcall departures --organization ID --csv        who left it, and what each app did
  rollcall audit verify --database-url postgres://...       whether anybody changed what is stored
  rollcall agent --app chat                          access checks beside an app in any language

Every command explains itself: rollcall help watch";

/// The `rollcall` command.
#[derive(Debug, Parser)]
#[command(
    name = "rollcall",
    version,
    about = "Knows who belongs to which organization and workspace, and tells every app"
)]
#[command(after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(Box<ServeArgs>),
    /// Show everything at work: a service, three apps, people who leave and return
    Demo(demo::DemoArgs),
    /// Be an instance of an app, for `demo`
    #[command(hide = true)]
    DemoInstance(demo::InstanceArgs),
    /// Bring a database to the schema of this version, and exit
    Migrate(MigrateArgs),
    /// Follow an app's stream, and print it
    Watch(watch::WatchArgs),
    /// Apply a trace (CSV) of what happened elsewhere, through the public API
    Replay(replay::ReplayArgs),
    /// Write who is in what (CSV)
    Export(export::ExportArgs),
    /// See to it that a service has everyone in a roster (CSV), through the public API
    Import(import::ImportArgs),
    /// Look whether a database is set up as the service needs it
    Doctor(doctor::DoctorArgs),
    /// Create, find, change and delete accounts: the persons
    Account(account::AccountArgs),
    /// Register, list, change and unregister apps: the products that follow
    App(app::AppArgs),
    /// Create, list, change and delete organizations
    Organization(organization::OrganizationArgs),
    /// Create, list, change and delete contracts, by which organizations share seats
    Contract(contract::ContractArgs),
    /// Create, list, rename and delete workspaces
    Workspace(workspace::WorkspaceArgs),
    /// Add, list, change, deactivate, bring back, remove and erase members
    Member(member::MemberArgs),
    /// Invite a person, and answer an invitation
    Invite(invite::InviteArgs),
    /// Export the ledger of erasures, and apply it after a restore
    Erasure(erasure::ErasureArgs),
    /// List what a failover lost of who left, and decide about it
    Lost(lost::LostArgs),
    /// List what happened in an organization, or say what a member was
    History(Box<history::HistoryArgs>),
    /// List who left an organization, when and by whom, and what each app did
    Departures(departures::DeparturesArgs),
    /// List who commanded what and was refused what, and check that log and audit are as they were written
    Audit(audit::AuditArgs),
    /// Answer access checks beside an app in any language: the replica as a sidecar
    Agent(agent::AgentArgs),
    /// Try an instance, in whatever language, against the contract that apps follow the feed by
    Conformance(conformance::ConformanceArgs),
    /// Be an instance of the Rust client, for `conformance`
    #[command(hide = true)]
    ConformanceInstance(conformance::InstanceArgs),
    /// Ask whether a person may use a workspace, and as what
    Check(check::CheckArgs),
    /// Ask a service whether it is serving
    Health(health::HealthArgs),
    /// Print a script that completes commands and options in your shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write those of all commands into a directory
    Man(man::ManArgs),
}

/// Where the service is.
#[derive(Debug, Clone, Args)]
struct EndpointArgs {
    /// Where the service is
    #[arg(long, value_name = "URL", env = "ROLLCALL_ENDPOINT", default_value = "http://127.0.0.1:7400")]
    endpoint: String,
    /// File with the token that proves who calls; it is read again while the command runs
    #[arg(long, value_name = "FILE", env = "ROLLCALL_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// File of the authorities that the service's certificate may be of (PEM) [default: those of this machine]
    #[arg(long, value_name = "FILE", env = "ROLLCALL_SERVER_CA")]
    server_ca: Option<PathBuf>,
    /// File of the certificate that proves who calls (PEM)
    #[arg(long, value_name = "FILE", env = "ROLLCALL_CLIENT_CERTIFICATE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// File of its key (PEM)
    #[arg(long, value_name = "FILE", env = "ROLLCALL_CLIENT_KEY", requires = "client_certificate")]
    client_key: Option<PathBuf>,
}

impl EndpointArgs {
    /// Prepares a connection.
    fn connect(&self) -> Result<Client, ConnectError> {
        let Self { endpoint, token_file, server_ca, client_certificate, client_key } = self;
        let credentials = match token_file {
            Some(path) => Credentials::default().bearer_file(path),
            None => Credentials::default(),
        };
        let certificate = client_certificate.clone().zip(client_key.clone());
        let files = TlsFiles { ca: server_ca.clone(), certificate, server_name: None };
        let tls_files = Some(files).filter(|files| *files != TlsFiles::default());
        connect_with(
            &[endpoint.as_str()],
            &ClientOptions { credentials, tls_files, ..ClientOptions::default() },
        )
    }
}

impl Cli {
    /// Runs the command to its end.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve::run(*args),
            Command::Demo(args) => demo::run(args),
            Command::DemoInstance(args) => demo::run_instance(args),
            Command::Migrate(args) => migrate::run(&args),
            Command::Doctor(args) => doctor::run(args),
            Command::Watch(args) => watch::run(args),
            Command::Replay(args) => replay::run(args),
            Command::Export(args) => export::run(args),
            Command::Import(args) => import::run(args),
            Command::Account(args) => account::run(args),
            Command::App(args) => app::run(args),
            Command::Organization(args) => organization::run(args),
            Command::Contract(args) => contract::run(args),
            Command::Workspace(args) => workspace::run(args),
            Command::Member(args) => member::run(args),
            Command::Invite(args) => invite::run(args),
            Command::Erasure(args) => erasure::run(args),
            Command::Lost(args) => lost::run(args),
            Command::History(args) => history::run(*args),
            Command::Departures(args) => departures::run(args),
            Command::Audit(args) => audit::run(args),
            Command::Agent(args) => agent::run(args),
            Command::Conformance(args) => conformance::run(args),
            Command::ConformanceInstance(args) => conformance::run_instance(args),
            Command::Check(args) => check::run(args),
            Command::Health(args) => health::run(args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_has_a_help_text() {
        check_help(&Cli::command(), "rollcall");
    }

    fn check_help(command: &clap::Command, path: &str) {
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path} {}", argument.get_id());
        }
        for inner in command.get_subcommands() {
            let path = format!("{path} {}", inner.get_name());
            assert!(inner.get_about().is_some(), "{path}");
            check_help(inner, &path);
        }
    }
}

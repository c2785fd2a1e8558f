//! `rollcall watch`: follows an app's stream and prints it, keeps cursor and replica in a file, writes the replica as a
//! roster at its end.
//!
//! What it promises:
//! 1. Everything that the state file covers was printed before. After whatever end it resumes there: nothing is lost, and
//!    what was printed after the last save is printed again, with the same `change_id`.
//! 2. The state file is replaced whole: a reader sees the old state or the new one.
//! 3. SIGTERM and Ctrl-C end it in order whether the service answers or not: the state is saved and the roster written.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};

mod acknowledge;
mod error;
mod goal;
pub(super) mod json;
mod output;
mod rows;
mod saver;
mod session;
mod state;
mod text;

pub(super) use state::{StateError, read_replica};

use super::{EndpointArgs, run};

const DETAILS: &str = "\
Formats:
  text    one line per change: position, reason, who, what they are now, and how many
          milliseconds after it was recorded it arrived
  jsonl   one JSON object per line, without personal data; `kind` says which:
    opened         store_id subscription_id head_position snapshot_follows cursor_refusal
    snapshot       page, and the thing: one line for each thing of a snapshot
    snapshot_end   position ready_position
    change         position change_id command_id reason record_time received_ms_after_record
                   caller [acting_member_id], and the thing
    bookmark       position: everything up to here was printed
    disconnected   cause retry_in_ms
    the thing      subject (organization, workspace, member or workspace_member), state, version,
                   organization_id [workspace_id] [member_id] [app] [role]
                   [leaving: true, of a member who is announced to leave]

With --state-file the stream is resumed where the file stands, after any end, kill -9 included:
what was printed after the last save is printed again, with the same change_id. A file of another
app, or in use, is refused.

Examples:
  rollcall watch --app chat
  rollcall watch --app chat --instance chat-1 --state-file chat.state --output jsonl
  rollcall watch --app chat --until-current --replica-out chat.csv";

/// Arguments of `watch`.
#[derive(Debug, Args)]
#[command(after_help = DETAILS)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// The app whose stream to follow. Not registered yet: waits for it, unless --until-current
    #[arg(long, value_name = "NAME")]
    app: String,
    /// Follow as this instance of the app, which acknowledges what it has applied [default: as an observer]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Follow only this organization; may be repeated [default: all]
    #[arg(long = "organization", value_name = "ID")]
    organizations: Vec<String>,
    /// Keep cursor and replica here, and resume from here
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Ask for names and e-mail addresses (personal data), and show them in text
    #[arg(long)]
    profiles: bool,
    /// When it ends, write who is in which workspace of the app here, in the format of `rollcall export`; asks for
    /// names and addresses, as --profiles does
    #[arg(long, value_name = "FILE.csv")]
    replica_out: Option<PathBuf>,
    /// End at the head that it finds instead of following on
    #[arg(long)]
    until_current: bool,
}

/// How a stream is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Jsonl,
}

pub(super) fn run(args: WatchArgs) -> ExitCode {
    run::to_end("watch", session::run(args))
}

//! `rollcall audit`: who commanded what and was refused what, and whether log and audit are as they were written.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Take},
    path::{Path, PathBuf},
    process::ExitCode,
};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use prost_types::Timestamp;
use rollcall_client::v1;

use super::{
    output::row,
    run,
    service::{CommandError, ReadArgs, print_pages},
    times,
};
use crate::{
    audit::{
        compare::{self, Compared, Keeping, Kept},
        heads::{Head, HeadError, HeadsKey},
        verify::{self, Checked, Verified, What},
    },
    config::{AUDIT_DAYS, LOG_DAYS},
    storage::{ChainEnds, ChainReader, StorageError},
};

/// Lines of a file of heads that are compared at once.
const LINES: usize = 1_000;
/// Bytes of such a line at most: it has some 400.
const LINE: u64 = 4_096;

const EXAMPLES: &str = "\
Each entry is a command or a refusal: ids and words alone, no names or addresses. A time is RFC
3339, or a date, whose midnight in UTC is meant. `verify` reads the database itself, recomputes
both chains of hashes, and exits with 1 where one is broken. What it can and cannot tell:
docs/audit.md.

Examples:
  rollcall audit list --organization ID --refused
  rollcall audit list --caller chat --since 2026-01-01 -o json
  rollcall audit list --outcome ROLE_INSUFFICIENT -o csv
  rollcall audit verify --database-url postgres://...
  rollcall audit verify --database-url postgres://... --heads heads.jsonl --heads-key-file heads.key
  rollcall audit verify --database-url postgres://... --heads heads.jsonl --audit-retention-days 365";

/// The options of `rollcall audit`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List who commanded what and was refused what, the newest first
    List(Box<ListArgs>),
    /// Check the chains of the log and of the audit, and name the first break of each
    Verify(VerifyArgs),
}

/// The options of `rollcall audit list`.
#[derive(Debug, Args)]
struct ListArgs {
    /// Only about this organization
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// Only of this calling workload
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Only of workloads that acted for this account
    #[arg(long, value_name = "ACCOUNT")]
    actor: Option<String>,
    /// Only with this outcome: OK, or the reason of a refusal
    #[arg(long, value_name = "REASON")]
    outcome: Option<String>,
    /// Only refusals
    #[arg(long)]
    refused: bool,
    /// Only what was recorded at this time or later
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    since: Option<Timestamp>,
    /// Only what was recorded before this time
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    until: Option<Timestamp>,
    #[command(flatten)]
    read: ReadArgs,
}

row! {
    /// An entry of the audit.
    EntryRow {
        position: i64,
        record_time: Option<String>,
        caller: String,
        actor_account_id: String,
        actor: String,
        method: String,
        outcome: String,
        times: i64,
        organization_id: String,
        command_id: String,
        request_id: String,
    }
}

fn row(entry: v1::AuditEntry) -> EntryRow {
    EntryRow {
        position: entry.position,
        record_time: entry.record_time.as_ref().and_then(times::rfc3339),
        caller: entry.caller,
        actor_account_id: entry.actor_account_id,
        actor: entry.actor,
        method: entry.method,
        outcome: entry.outcome,
        times: entry.times,
        organization_id: entry.organization_id,
        command_id: entry.command_id,
        request_id: entry.request_id,
    }
}

async fn list(args: ListArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::ListAuditEntriesRequest {
        organization_id: args.organization.unwrap_or_default(),
        caller: args.caller.unwrap_or_default(),
        actor_account_id: args.actor.unwrap_or_default(),
        outcome: args.outcome.unwrap_or_default(),
        refused_only: args.refused,
        start_time: args.since,
        end_time: args.until,
        ..Default::default()
    };
    print_pages!(service.client, audit.list_audit_entries, entries, request, service.format, row)
}

/// The options of `rollcall audit verify`.
#[derive(Debug, Args)]
struct VerifyArgs {
    /// The database; reading is enough
    #[arg(long, env = "ROLLCALL_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: String,
    /// Exported heads (--audit-heads-file of `serve`) that the chains must go through
    #[arg(long, value_name = "FILE")]
    heads: Option<PathBuf>,
    /// What sealed them (--audit-heads-key-file of `serve`)
    #[arg(long, value_name = "FILE", requires = "heads")]
    heads_key_file: Option<PathBuf>,
    /// Days that changes stay in the log, as `serve` has it; where that was changed, the fewest
    #[arg(long, env = "ROLLCALL_LOG_RETENTION_DAYS", value_name = "DAYS", default_value_t = LOG_DAYS)]
    log_retention_days: u16,
    /// Days that the audit is kept, as `serve` has it; where that was changed, the fewest; 0: for ever
    #[arg(long, env = "ROLLCALL_AUDIT_RETENTION_DAYS", value_name = "DAYS", default_value_t = AUDIT_DAYS)]
    audit_retention_days: u16,
}

impl VerifyArgs {
    fn keeping(&self) -> Keeping {
        let audit = match self.audit_retention_days {
            0 => Kept::ForEver,
            days => Kept::Days(days),
        };
        Keeping { log: Kept::Days(self.log_retention_days), audit, now: Utc::now() }
    }
}

/// Why a check is not done.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("cannot read {}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: a key has at least 32 bytes", .0.display())]
    Key(PathBuf),
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Runs a command about the audit.
pub(super) fn run(args: AuditArgs) -> ExitCode {
    match args.command {
        AuditCommand::List(args) => run::to_end("audit list", list(*args)),
        AuditCommand::Verify(args) => match check(&args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("rollcall audit verify: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Whether all holds.
fn check(args: &VerifyArgs) -> Result<bool, VerifyError> {
    let key = args.heads_key_file.as_deref().map(read_key).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(VerifyError::Start)?.block_on(check_all(args, key.as_ref()))
}

async fn check_all(args: &VerifyArgs, key: Option<&HeadsKey>) -> Result<bool, VerifyError> {
    // First: a service that goes on writing exports heads of what comes after the moment that is read.
    let exported = args.heads.as_ref().map(|path| exported(path)).transpose()?;
    let keeping = args.keeping();
    let mut reader = ChainReader::open(&args.database_url).await?;
    let ends = reader.ends().await?;
    let log = verify::log(&mut reader, &ends).await?;
    let log = said("log", What::Change, log);
    let audit = verify::audit(&mut reader, &ends).await?;
    let audit = said("audit", What::Entry, audit);
    let mut compared = Compared::default();
    let mut holds = log.is_some() && audit.is_some();
    if let (Some(path), Some(lines)) = (&args.heads, exported) {
        match check_heads(&mut reader, &ends, &keeping, path, lines, key).await? {
            Some(found) => compared = found,
            None => holds = false,
        }
    }
    if let Some(log) = log.filter(|_| ends.log_floor > 0 && !compared.log_was_due) {
        warn_of_a_cut("log", What::Change, ends.log_floor, &log, keeping.log, keeping.now);
    }
    if let Some(audit) = audit.filter(|_| ends.audit_floor > 0 && !compared.audit_was_due) {
        warn_of_a_cut("audit", What::Entry, ends.audit_floor, &audit, keeping.audit, keeping.now);
    }
    Ok(holds)
}

/// Says that what is gone may not have been trimmed, where what is left does not reach back as far as it is kept.
fn warn_of_a_cut(name: &str, what: What, floor: i64, left: &Verified, kept: Kept, now: DateTime<Utc>) {
    if !kept.looks_cut(left.first, now) {
        return;
    }
    let left = match left.first {
        Some(first) => format!("the first {what} that is left and can be checked is of {first}"),
        None => "nothing is left that can be checked".to_owned(),
    };
    println!(
        "{name}: WARNING: everything up to {what} {floor} is gone, and {left}, although it is kept {kept}: either little was \
         recorded, or it was removed too early. Exported heads from all of that time (--heads) tell"
    );
}

/// Compares the exported heads with the chains, and says what was found. None: something is broken.
async fn check_heads(
    reader: &mut ChainReader,
    ends: &ChainEnds,
    keeping: &Keeping,
    path: &Path,
    mut lines: BufReader<Take<File>>,
    key: Option<&HeadsKey>,
) -> Result<Option<Compared>, VerifyError> {
    let failed = |error| VerifyError::File { path: path.to_owned(), error };
    let (mut number, mut cut) = (0_usize, None::<(usize, usize)>);
    let (mut unchecked, mut compared) = (0, Compared::default());
    loop {
        // Heads, and in which line each stands.
        let (mut page, mut at) = (Vec::new(), Vec::new());
        let mut broken = None;
        while page.len() < LINES
            && let Some(line) = next_line(&mut lines).map_err(failed)?
        {
            number += 1;
            match Head::parse(&line, key) {
                Ok(head) => {
                    page.push(head);
                    at.push(number);
                }
                Err(HeadError::Cut) => {
                    let (first, others) = cut.unwrap_or((number, 0));
                    cut = Some((first, if first == number { 0 } else { others + 1 }));
                }
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        match compare::heads(reader, ends, &page, keeping).await? {
            Ok(found) => compared = compared.and(found),
            Err((index, against)) => {
                println!("heads: BROKEN: line {} of {}: {against}", at[index], page[index].time);
                return Ok(None);
            }
        }
        if key.is_none() {
            unchecked += page.iter().filter(|head| head.mac.is_some()).count();
        }
        if let Some(error) = broken {
            println!("heads: BROKEN: line {number} {error}");
            return Ok(None);
        }
        if page.len() < LINES {
            break;
        }
    }
    if let Some((first, others)) = cut {
        let others = if others == 0 { String::new() } else { format!(", and so were {others} others") };
        println!("heads: line {first} {}{others}", HeadError::Cut);
    }
    let Compared { same, trimmed, .. } = compared;
    if same + trimmed == 0 {
        println!("heads: BROKEN: {} has none", path.display());
        return Ok(None);
    }
    let older = match trimmed {
        0 => String::new(),
        trimmed => format!("; {trimmed} older than what is kept cannot be compared"),
    };
    println!("heads: {same} exported heads are those of the chains{older}");
    if unchecked > 0 {
        println!(
            "heads: WARNING: {unchecked} of {} are sealed, and the seals were not checked: that needs their key \
             (--heads-key-file)",
            same + trimmed
        );
    }
    Ok(Some(compared))
}

/// The heads that the file has now, and none that come later.
fn exported(path: &Path) -> Result<BufReader<Take<File>>, VerifyError> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|error| VerifyError::File { path: path.to_owned(), error })?;
    // A pipe has no length.
    let length = if metadata.is_file() { metadata.len() } else { u64::MAX };
    Ok(BufReader::new(file.take(length)))
}

/// The next line. None: there is no more.
fn next_line(lines: &mut BufReader<Take<File>>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = (&mut *lines).take(LINE).read_until(b'\n', &mut line)?;
    Ok((read > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
}

/// Says what was found of a chain. None: it is broken.
fn said(name: &str, what: What, checked: Checked) -> Option<Verified> {
    match &checked {
        Ok(Verified { head: 0, .. }) => println!("{name}: empty"),
        Ok(Verified { after, head, .. }) if after == head => {
            println!("{name}: nothing after {what} {head} yet; all before it is gone");
        }
        Ok(Verified { after, head, hash, .. }) => {
            let all = match what {
                What::Change => "changes",
                What::Entry => "entries",
            };
            println!("{name}: {all} {} to {head} are as they were written; head {hash}", after + 1);
        }
        Err(found) => println!("{name}: BROKEN: {found}"),
    }
    checked.ok()
}

fn read_key(path: &Path) -> Result<HeadsKey, VerifyError> {
    let bytes = std::fs::read(path).map_err(|error| VerifyError::File { path: path.to_owned(), error })?;
    HeadsKey::new(&bytes).ok_or_else(|| VerifyError::Key(path.to_owned()))
}

//! `rollcall erasure`: the ledger of what was erased, which is kept outside of the store and applied again to one that
//! was restored from a backup.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use rollcall_client::v1;
use serde_json::Value;

use super::{
    output::{Printer, row},
    run,
    service::{ActArgs, CommandError, ReadArgs, call, print_pages, request_id},
    times,
    watch::json::short,
};

const EXAMPLES: &str = "\
The ledger has ids alone, and each entry is sealed with a key that the store and its backups have:
no other store accepts it, and no changed entry. Export it often, whole, to a place that is not
restored together with the store: after a restore, apply it, before anybody reads. Then look for
organizations that have no owner any more, because the one who came after the backup is not in it.

Examples:
  rollcall erasure list -o json > ledger.jsonl
  rollcall erasure apply ledger.jsonl
  rollcall organization list --filter 'without_owner = true'
  rollcall erasure get RECEIPT";

/// Arguments of `erasure`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ErasureArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the ledger of erasures; as JSON lines it is what `apply` reads
    List(ListArgs),
    /// Erase again what a ledger lists: what is erased already changes nothing
    Apply(ApplyArgs),
    /// Print what was erased and on which day, to whoever holds the receipt
    Get(GetArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
struct ApplyArgs {
    /// The ledger, as `rollcall erasure list -o json` wrote it
    file: PathBuf,
    /// Begin with this line: where an earlier run broke off
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    from_line: usize,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The receipt
    receipt: String,
    #[command(flatten)]
    read: ReadArgs,
}

row! {
    /// An entry of the ledger.
    ErasureRow {
        erasure_id: String,
        organization_id: String,
        member_id: String,
        tombstone_id: String,
        account_id: String,
        erased_by: &'static str,
        erase_time: Option<String>,
        seal: String,
    }
}

row! {
    /// What a receipt tells.
    ReceiptRow {
        erase_time: Option<String>,
        erased_by: &'static str,
        profiles: i32,
        addresses: i32,
        external_ids: i32,
        invitations: i32,
        mails: i32,
    }
}

row! {
    /// What applying a ledger did.
    AppliedRow { entries: i64, applied: i64, unchanged: i64 }
}

const ERASED_BY: &str = "ERASED_BY_";

fn row(erasure: v1::Erasure) -> ErasureRow {
    ErasureRow {
        erased_by: short(erasure.erased_by().as_str_name(), ERASED_BY),
        erase_time: erasure.erase_time.as_ref().and_then(times::rfc3339),
        erasure_id: erasure.erasure_id,
        organization_id: erasure.organization_id,
        member_id: erasure.member_id,
        tombstone_id: erasure.tombstone_id,
        account_id: erasure.account_id,
        seal: erasure.seal,
    }
}

/// Reads a line of a ledger: the inverse of [`row`].
fn entry(line: &str) -> Option<v1::Erasure> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    let erased_by = v1::ErasedBy::from_str_name(&format!("{ERASED_BY}{}", text("erased_by")?))?;
    let erase_time = text("erase_time").map(|time| times::parse(&time)).transpose().ok()?;
    Some(v1::Erasure {
        erasure_id: text("erasure_id")?,
        organization_id: text("organization_id")?,
        member_id: text("member_id")?,
        tombstone_id: text("tombstone_id")?,
        account_id: text("account_id")?,
        erased_by: erased_by.into(),
        erase_time,
        seal: text("seal")?,
    })
}

pub(super) fn run(args: ErasureArgs) -> ExitCode {
    match args.what {
        What::List(args) => run::to_end("erasure list", list(args)),
        What::Apply(args) => run::to_end("erasure apply", apply(args)),
        What::Get(args) => run::to_end("erasure get", get(args)),
    }
}

async fn list(args: ListArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::ListErasuresRequest::default();
    print_pages!(service.client, members.list_erasures, erasures, request, service.format, row)
}

async fn get(args: GetArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::GetErasureRequest { receipt: args.receipt, ..Default::default() };
    let answer = call!(service.client, members.get_erasure, request)?;
    let row = ReceiptRow {
        erase_time: answer.erase_time.as_ref().and_then(times::rfc3339),
        erased_by: short(answer.erased_by().as_str_name(), ERASED_BY),
        profiles: answer.profiles,
        addresses: answer.addresses,
        external_ids: answer.external_ids,
        invitations: answer.invitations,
        mails: answer.mails,
    };
    Printer::new(service.format).print(&[row])?;
    Ok(())
}

async fn apply(args: ApplyArgs) -> Result<(), CommandError> {
    let text = fs::read_to_string(&args.file)
        .map_err(|error| CommandError::Input(format!("cannot read {}: {error}", args.file.display())))?;
    // The whole file, before the first line is applied.
    let numbered = text.lines().enumerate().map(|(index, line)| {
        let bad = || {
            CommandError::Input(format!("line {} is no entry of a ledger; nothing was applied", index + 1))
        };
        entry(line).map(|entry| (index + 1, entry)).ok_or_else(bad)
    });
    let entries: Vec<(usize, v1::Erasure)> = numbered.collect::<Result<_, _>>()?;
    let service = args.act.open()?;
    let mut row = AppliedRow { entries: 0, applied: 0, unchanged: 0 };
    for (line, erasure) in entries.into_iter().filter(|(line, _)| *line >= args.from_line) {
        let request = v1::ReapplyErasureRequest {
            erasure: Some(erasure),
            acting_account_id: service.acting.clone(),
            request_id: request_id(),
            ..Default::default()
        };
        let answer = call!(service.client, members.reapply_erasure, request).inspect_err(|_| {
            eprintln!("stopped at line {line}: go on from there with --from-line {line}");
        })?;
        row.entries += 1;
        if answer.applied {
            row.applied += 1;
        } else {
            row.unchanged += 1;
        }
    }
    Printer::new(service.format).print(&[row])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_list_prints_is_what_apply_reads() {
        let erasure = v1::Erasure {
            erasure_id: "e".to_owned(),
            organization_id: "o".to_owned(),
            member_id: "m".to_owned(),
            tombstone_id: "t".to_owned(),
            account_id: String::new(),
            erased_by: v1::ErasedBy::Owner.into(),
            erase_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 250_000_000 }),
            seal: "s".to_owned(),
        };
        let line = serde_json::to_string(&row(erasure.clone())).unwrap();
        assert_eq!(entry(&line), Some(erasure));
        for bad in ["", "{}", "[]", "{\"erasure_id\":\"e\"}"] {
            assert_eq!(entry(bad), None, "{bad}");
        }
    }
}

//! `rollcall lost`: revocations that the log lost in a failover. What that means, and what to do: `docs/operations.md`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use rollcall_client::v1;

use super::{
    output::row,
    run,
    service::{CommandError, ReadArgs, call, print_pages, request_id},
    times,
    watch::json::short,
};

const EXAMPLES: &str = "\
A failover that lost the end of the log may have lost that somebody left. The instances that knew
keep them out and report it. For each one decide: let them leave again and say so, or let the
access stand.

Examples:
  rollcall lost list
  rollcall member deactivate MEMBER --organization ID
  rollcall lost resolve CHANGE --applied-again
  rollcall lost resolve CHANGE --dropped";

/// Arguments of `lost`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LostArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List those that wait for a decision
    List(ListArgs),
    /// Decide about one
    Resolve(ResolveArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
struct ResolveArgs {
    /// The change that was lost
    change: String,
    #[command(flatten)]
    decision: Decision,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Decision {
    /// The command was given again: the log has it now
    #[arg(long)]
    applied_again: bool,
    /// The access stands: instances let them in again
    #[arg(long)]
    dropped: bool,
}

row! {
    /// A lost revocation.
    LostRow {
        change_id: String,
        organization_id: String,
        workspace_id: String,
        member_id: String,
        reason: &'static str,
        record_time: Option<String>,
        app: String,
        instance: String,
    }
}

fn row(lost: v1::LostRevocation) -> LostRow {
    LostRow {
        reason: short(lost.reason().as_str_name(), "CHANGE_REASON_"),
        record_time: lost.record_time.as_ref().and_then(times::rfc3339),
        change_id: lost.change_id,
        organization_id: lost.organization_id,
        workspace_id: lost.workspace_id,
        member_id: lost.member_id,
        app: lost.app,
        instance: lost.instance,
    }
}

pub(super) fn run(args: LostArgs) -> ExitCode {
    match args.what {
        What::List(args) => run::to_end("lost list", list(args)),
        What::Resolve(args) => run::to_end("lost resolve", resolve(args)),
    }
}

async fn list(args: ListArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::ListLostRevocationsRequest::default();
    print_pages!(service.client, feed.list_lost_revocations, revocations, request, service.format, row)
}

async fn resolve(args: ResolveArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let decision = if args.decision.applied_again {
        v1::LostRevocationDecision::AppliedAgain
    } else {
        v1::LostRevocationDecision::Dropped
    };
    let request = v1::ResolveLostRevocationRequest {
        change_id: args.change,
        decision: decision.into(),
        request_id: request_id(),
    };
    call!(service.client, feed.resolve_lost_revocation, request)?;
    Ok(())
}

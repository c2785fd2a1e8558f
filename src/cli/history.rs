//! `rollcall history`: what happened in an organization, and what a member was at an earlier time.

use std::{io, process::ExitCode};

use clap::{Args, Subcommand};
use prost_types::Timestamp;
use rollcall_client::{Client, ConnectError, describe, retry, v1};
use serde::Serialize;
use tonic::Status;

use super::{
    EndpointArgs,
    lists::patience,
    output::{OutputArgs, Printer, Row},
    run,
    service::ActingArgs,
    times,
    watch::json::{Thing, reason_word, short},
};

mod at;

/// Changes that are asked for at once at most.
const PAGE: i32 = 1_000;

const EXAMPLES: &str = "\
Lists the changes of an organization, the newest first, for as long as the service keeps them.
There are ids, states, roles and reasons, no names or addresses. A time is RFC 3339, or a date,
whose midnight in UTC is meant. With `-o json` each change is one JSON object on a line, with the
keys position, change_id, command_id, reason, record_time, caller, acting_member_id, subject,
organization_id, workspace_id, member_id, role, state, leaving, version, tombstone_id,
handover_to_member_id and assignments; those that a change does not have are absent.

Examples:
  rollcall history --organization ID
  rollcall history --organization ID --member ID --oldest-first
  rollcall history --organization ID --reason deactivated --reason removed --since 2026-01-01
  rollcall history --organization ID --acting-member ID -o json
  rollcall history at --organization ID --member ID --time 2026-03-01T17:00:00Z";

/// Arguments of `history`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct HistoryArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say what a member was after a position of the log, or at a time
    At(at::AtArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The organization
    #[arg(long, value_name = "ID", required = true)]
    organization: Option<String>,
    /// Only changes of this member and of the memberships in workspaces
    #[arg(long, value_name = "ID")]
    member: Option<String>,
    /// Only changes that were commanded for this member
    #[arg(long, value_name = "ID")]
    acting_member: Option<String>,
    /// Only changes of this workspace and of the memberships in it
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// Only changes of this kind, such as `deactivated`; may be repeated
    #[arg(long, value_name = "REASON", value_parser = parse_reason)]
    reason: Vec<v1::ChangeReason>,
    /// Only changes recorded at this time or later
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    since: Option<Timestamp>,
    /// Only changes recorded before this time
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    until: Option<Timestamp>,
    /// Begin with the oldest change
    #[arg(long)]
    oldest_first: bool,
    /// At most so many changes
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,
    #[command(flatten)]
    acting: ActingArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Why a command about the past failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HistoryError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}{}", describe(.0), super::service::unreached(.0))]
    Call(Box<Status>),
    #[error("the service answered without the {0} that it promises")]
    Incomplete(&'static str),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl From<Status> for HistoryError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

fn parse_reason(text: &str) -> Result<v1::ChangeReason, String> {
    let word = text.to_uppercase().replace('-', "_");
    let reason = v1::ChangeReason::from_str_name(&format!("CHANGE_REASON_{word}"));
    reason.filter(|reason| *reason != v1::ChangeReason::Unspecified).ok_or_else(|| {
        let known = (1..).map_while(|number| v1::ChangeReason::try_from(number).ok());
        let known: Vec<String> = known.map(|reason| reason_word(reason).to_lowercase()).collect();
        format!("one of {}", known.join(", "))
    })
}

pub(super) fn run(args: HistoryArgs) -> ExitCode {
    match args {
        HistoryArgs { what: Some(What::At(at)), .. } => run::to_end("history at", at::print(at)),
        HistoryArgs { what: None, list, endpoint } => run::to_end("history", print(list, endpoint)),
    }
}

async fn print(args: ListArgs, endpoint: EndpointArgs) -> Result<(), HistoryError> {
    let client = endpoint.connect()?;
    let mut printer = Printer::new(args.output.output);
    let mut left = args.limit;
    let order = if args.oldest_first { v1::ChangeOrder::OldestFirst } else { v1::ChangeOrder::NewestFirst };
    let mut request = v1::ListChangesRequest {
        // None only with a subcommand.
        organization_id: args.organization.unwrap_or_default(),
        member_id: args.member.unwrap_or_default(),
        acting_member_id: args.acting_member.unwrap_or_default(),
        workspace_id: args.workspace.unwrap_or_default(),
        reasons: args.reason.into_iter().map(Into::into).collect(),
        start_time: args.since,
        end_time: args.until,
        order: order.into(),
        acting_account_id: args.acting.account(),
        ..Default::default()
    };
    loop {
        request.page_size =
            left.and_then(|left| i32::try_from(left).ok()).map_or(PAGE, |left| left.clamp(1, PAGE));
        let page = page(&client, &request).await?;
        let mut rows: Vec<ChangeRow<'_>> = page.changes.iter().filter_map(ChangeRow::of).collect();
        if let Some(left) = &mut left {
            rows.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left = left.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        }
        let read = printer.print(&rows)?;
        if !read || left == Some(0) {
            return Ok(());
        }
        if page.next_page_token.is_empty() {
            if page.trimmed_position > 0 {
                eprintln!("changes up to position {} may no longer be kept", page.trimmed_position);
            }
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

async fn page(client: &Client, request: &v1::ListChangesRequest) -> Result<v1::ListChangesResponse, Status> {
    let call = async || client.feed().list_changes(request.clone()).await;
    retry(&patience(), call).await
}

/// A change.
#[derive(Serialize)]
struct ChangeRow<'a> {
    position: i64,
    change_id: &'a str,
    command_id: &'a str,
    reason: &'static str,
    record_time: Option<String>,
    caller: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    acting_member_id: &'a str,
    #[serde(flatten)]
    thing: Thing<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    tombstone_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    handover_to_member_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    assignments: Option<&'static str>,
}

impl<'a> ChangeRow<'a> {
    fn of(change: &'a v1::Change) -> Option<Self> {
        let subject = change.subject.as_ref()?;
        let member = match &subject.subject {
            Some(v1::subject::Subject::Member(member)) => Some(member),
            _ => None,
        };
        let assignments = Some(change.assignments()).filter(|policy| *policy != v1::Assignments::Unspecified);
        Some(Self {
            position: change.position,
            change_id: &change.change_id,
            command_id: &change.command_id,
            reason: reason_word(change.reason()),
            record_time: change.record_time.as_ref().and_then(times::rfc3339),
            caller: &change.caller,
            acting_member_id: &change.acting_member_id,
            thing: Thing::of(subject)?,
            tombstone_id: member.map(|member| member.tombstone_id.as_str()).unwrap_or_default(),
            handover_to_member_id: &change.handover_to_member_id,
            assignments: assignments.map(|policy| short(policy.as_str_name(), "ASSIGNMENTS_")),
        })
    }
}

impl Row for ChangeRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "position",
        "record_time",
        "reason",
        "subject",
        "member_id",
        "workspace_id",
        "state",
        "role",
        "caller",
        "acting_member_id",
    ];

    fn cells(&self) -> Vec<String> {
        let Thing { subject, workspace_id, member_id, role, state, .. } = &self.thing;
        vec![
            self.position.to_string(),
            self.record_time.clone().unwrap_or_default(),
            self.reason.to_owned(),
            (*subject).to_owned(),
            member_id.unwrap_or_default().to_owned(),
            workspace_id.unwrap_or_default().to_owned(),
            (*state).to_owned(),
            role.unwrap_or_default().to_owned(),
            self.caller.to_owned(),
            self.acting_member_id.to_owned(),
        ]
    }
}

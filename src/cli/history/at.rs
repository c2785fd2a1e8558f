//! `rollcall history at`: what a member was.

use clap::Args;
use prost_types::Timestamp;
use rollcall_client::{retry, v1};
use serde::Serialize;

use super::HistoryError;
use crate::cli::{
    EndpointArgs,
    lists::patience,
    output::{OutputArgs, Printer, Row},
    service::ActingArgs,
    times,
    watch::json::short,
};

const EXAMPLES: &str = "\
Prints state and role in the organization (on the first line, with no workspace) and in each
workspace that the member had been in by then. A position, as `rollcall history` prints it, is
exact: it means right after that change. A time is compared with when changes were recorded. Exits
with 1 where the member did not exist yet, and where the service no longer keeps what tells it.

Examples:
  rollcall history at --organization ID --member ID --position 1200
  rollcall history at --organization ID --member ID --time 2026-03-01 -o json";

/// Arguments of `history at`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AtArgs {
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// The member
    #[arg(long, value_name = "ID")]
    member: String,
    /// Right after the change at this position
    #[arg(long, value_name = "NUMBER", required_unless_present = "time", conflicts_with = "time")]
    position: Option<i64>,
    /// At this time: RFC 3339, or a date, whose midnight in UTC is meant
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    time: Option<Timestamp>,
    #[command(flatten)]
    acting: ActingArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

pub(super) async fn print(args: AtArgs) -> Result<(), HistoryError> {
    use v1::get_membership_at_request::At;
    let AtArgs { organization, member, position, time, acting, output, endpoint } = args;
    let client = endpoint.connect()?;
    let request = v1::GetMembershipAtRequest {
        organization_id: organization,
        member_id: member,
        at: position.map(At::Position).or(time.map(At::Time)),
        acting_account_id: acting.account(),
        ..Default::default()
    };
    let call = async || client.feed().get_membership_at(request.clone()).await;
    let v1::GetMembershipAtResponse { member, workspace_members } = retry(&patience(), call).await?;
    let member = member.ok_or(HistoryError::Incomplete("member"))?;
    let first = StandingRow {
        workspace_id: None,
        state: short(member.state().as_str_name(), "MEMBER_STATE_"),
        role: short(member.role().as_str_name(), "ORGANIZATION_ROLE_"),
        version: member.version,
        leaving: Some(member.leaving),
    };
    let others = workspace_members.iter().map(|row| StandingRow {
        workspace_id: Some(&row.workspace_id),
        state: short(row.state().as_str_name(), "WORKSPACE_MEMBER_STATE_"),
        role: short(row.role().as_str_name(), "WORKSPACE_ROLE_"),
        version: row.version,
        leaving: None,
    });
    let rows: Vec<StandingRow<'_>> = std::iter::once(first).chain(others).collect();
    Printer::new(output.output).print(&rows)?;
    Ok(())
}

/// What a member was, in the organization or in a workspace.
#[derive(Serialize)]
struct StandingRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<&'a str>,
    state: &'static str,
    role: &'static str,
    version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaving: Option<bool>,
}

impl Row for StandingRow<'_> {
    const COLUMNS: &'static [&'static str] = &["workspace_id", "state", "role", "version", "leaving"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.workspace_id.unwrap_or_default().to_owned(),
            self.state.to_owned(),
            self.role.to_owned(),
            self.version.to_string(),
            self.leaving.map(|leaving| leaving.to_string()).unwrap_or_default(),
        ]
    }
}

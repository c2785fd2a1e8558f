//! `rollcall check`: whether a person may use a workspace, asked of the service's own replica.

use std::process::ExitCode;

use clap::Args;
use rollcall_client::v1;

use super::{
    account::parse_external_id,
    output::{Printer, row},
    run,
    service::{CommandError, ReadArgs, call},
    watch::json::short,
};

const EXAMPLES: &str = "\
Exits with 0 where the person may use the workspace and with 1 where not. Where the service cannot
tell (ACCESS_STALE) it says so on stderr, and exits with 1 too.

Examples:
  rollcall check ACCOUNT WORKSPACE
  rollcall check https://login.example.com=8f14e45f WORKSPACE -o json
  rollcall check ACCOUNT WORKSPACE --at-least-as-fresh TOKEN";

/// The most that the service takes.
const MAX_STALENESS: u32 = 3_600;

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// The person: an account, or an external id as ISSUER=SUBJECT
    person: String,
    /// The workspace
    workspace: String,
    /// Answer at least as fresh as the write that answered with this token
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    at_least_as_fresh: String,
    /// Take an answer that is so old at most, also one from before a departure that is enforced, where the service cannot tell
    /// what is so now [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_STALENESS)))]
    max_staleness: Option<u32>,
    #[command(flatten)]
    read: ReadArgs,
}

row! {
    /// An answer.
    AccessRow {
        allowed: bool,
        denial_reason: &'static str,
        member_id: String,
        organization_role: &'static str,
        workspace_role: &'static str,
        leaving: bool,
        position: i64,
        stale: bool,
    }
}

pub(super) fn run(args: CheckArgs) -> ExitCode {
    run::to_end("check", check(args))
}

fn person(text: &str) -> Result<v1::access_check::Person, CommandError> {
    if text.contains('=') {
        let id = parse_external_id(text).map_err(CommandError::Input)?;
        return Ok(v1::access_check::Person::ExternalId(id));
    }
    Ok(v1::access_check::Person::AccountId(text.to_owned()))
}

/// The answer is the result, on stdout; only what prevents one is an error.
async fn check(args: CheckArgs) -> Result<ExitCode, CommandError> {
    let CheckArgs { person: text, workspace, at_least_as_fresh, max_staleness, read } = args;
    let service = read.open()?;
    let request = v1::CheckAccessRequest {
        check: Some(v1::AccessCheck {
            person: Some(person(&text)?),
            workspace_id: workspace,
            ..Default::default()
        }),
        at_least_as_fresh,
        max_staleness: max_staleness
            .map(|seconds| prost_types::Duration { seconds: i64::from(seconds), nanos: 0 }),
    };
    let answer = call!(service.client, access.check_access, request)?;
    let access = answer.access.ok_or(CommandError::Incomplete("access"))?;
    let row = AccessRow {
        allowed: access.allowed,
        denial_reason: known(access.denial_reason().as_str_name(), "DENIAL_REASON_"),
        organization_role: known(access.organization_role().as_str_name(), "ORGANIZATION_ROLE_"),
        workspace_role: known(access.workspace_role().as_str_name(), "WORKSPACE_ROLE_"),
        member_id: access.member_id,
        leaving: access.leaving,
        position: answer.position,
        stale: answer.stale,
    };
    Printer::new(service.format).print(&[row])?;
    Ok(if access.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The word of a value; nothing where there is none.
fn known(name: &'static str, prefix: &str) -> &'static str {
    match short(name, prefix) {
        "UNSPECIFIED" => "",
        word => word,
    }
}

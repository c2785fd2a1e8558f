//! `rollcall invite`: asking a person to become a member.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use rollcall_client::v1;

use super::{
    output::{Format, Printer, row},
    run,
    service::{ActArgs, CommandError, Role, call, parse_pair, print_pages, request_id},
    times,
    watch::json::short,
};

const EXAMPLES: &str = "\
Whoever has the secret of an invitation can answer it in the person's place: it is for the link that
is mailed to the invited address, and for nobody else. The invited address is personal data.

Examples:
  rollcall invite create bob@example.com --organization ID --workspace WORKSPACE --role member
  rollcall invite create eve@example.com --organization ID --workspace WORKSPACE=guest --role guest
  rollcall invite list --organization ID
  rollcall invite accept SECRET --acting ACCOUNT --name Bob
  rollcall invite revoke INVITATION --organization ID --acting ACCOUNT";

/// Arguments of `invite`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InviteArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Invite an address to an organization and to workspaces of it
    Create(CreateArgs),
    /// Print an invitation
    Get(GetArgs),
    /// List the pending invitations of an organization
    List(ListArgs),
    /// Send a pending invitation again, with a new secret
    Resend(ResendArgs),
    /// Take a pending invitation back, or one workspace of it
    Revoke(RevokeArgs),
    /// Become a member
    Accept(AcceptArgs),
    /// End an invitation that is not wanted
    Decline(DeclineArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The address
    email: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// The role in the organization [default: member, or what a pending invitation of the address has]
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// A workspace, with a role in it: admin, member (the default) or guest; may be repeated
    #[arg(long = "workspace", value_name = "ID[=ROLE]")]
    workspaces: Vec<String>,
    /// The language of its mail: en or de
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
    /// For how many hours it can be accepted: 1 to 720 [default: 168]
    #[arg(long, value_name = "HOURS")]
    hours: Option<u16>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The invitation
    invitation: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Also those that have ended
    #[arg(long)]
    include_ended: bool,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct ResendArgs {
    /// The invitation
    invitation: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// For how many hours it can be accepted from now on: 1 to 720 [default: 168]
    #[arg(long, value_name = "HOURS")]
    hours: Option<u16>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// The invitation
    invitation: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Take back this workspace alone
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct AcceptArgs {
    /// The secret of the invitation
    secret: String,
    /// The name to be shown in the organization
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct DeclineArgs {
    /// The secret of the invitation
    secret: String,
    #[command(flatten)]
    act: ActArgs,
}

row! {
    /// An invitation.
    InvitationRow {
        invitation_id: String,
        email: String,
        role: &'static str,
        state: &'static str,
        workspace_ids: Vec<String>,
        send_time: Option<String>,
        expire_time: Option<String>,
        member_id: String,
    }
}

row! {
    /// An invitation that was just sent.
    SentRow { invitation_id: String, expire_time: Option<String>, secret: String }
}

row! {
    /// Who came of an invitation.
    AcceptedRow {
        organization_id: String,
        member_id: String,
        role: &'static str,
        state: &'static str,
        active_workspace_ids: Vec<String>,
    }
}

fn row(invitation: v1::Invitation) -> InvitationRow {
    let live = invitation.workspaces.iter().filter(|workspace| !workspace.revoked);
    InvitationRow {
        role: short(invitation.role().as_str_name(), "ORGANIZATION_ROLE_"),
        state: short(invitation.state().as_str_name(), "INVITATION_STATE_"),
        workspace_ids: live.map(|workspace| workspace.workspace_id.clone()).collect(),
        send_time: invitation.send_time.as_ref().and_then(times::rfc3339),
        expire_time: invitation.expire_time.as_ref().and_then(times::rfc3339),
        invitation_id: invitation.invitation_id,
        email: invitation.email,
        member_id: invitation.member_id,
    }
}

fn print(format: Format, invitation: Option<v1::Invitation>) -> Result<(), CommandError> {
    let invitation = invitation.ok_or(CommandError::Incomplete("invitation"))?;
    Printer::new(format).print(&[row(invitation)])?;
    Ok(())
}

fn print_sent(
    format: Format,
    invitation: Option<v1::Invitation>,
    secret: String,
) -> Result<(), CommandError> {
    let invitation = invitation.ok_or(CommandError::Incomplete("invitation"))?;
    let expire_time = invitation.expire_time.as_ref().and_then(times::rfc3339);
    let row = SentRow { invitation_id: invitation.invitation_id, expire_time, secret };
    Printer::new(format).print(&[row])?;
    Ok(())
}

fn time_to_live(hours: Option<u16>) -> Option<prost_types::Duration> {
    hours.map(|hours| prost_types::Duration { seconds: i64::from(hours) * 3_600, nanos: 0 })
}

fn workspace(text: &str) -> Result<v1::InvitationWorkspace, CommandError> {
    let (id, role) = parse_pair(text).unwrap_or_else(|_| (text.to_owned(), "member".to_owned()));
    let role = super::names::workspace_role(&role).ok_or_else(|| {
        CommandError::Input(format!("a role in a workspace is {}", super::names::WORKSPACE_ROLES))
    })?;
    Ok(v1::InvitationWorkspace { workspace_id: id, role: role.into(), revoked: false })
}

pub(super) fn run(args: InviteArgs) -> ExitCode {
    match args.what {
        What::Create(args) => run::to_end("invite create", create(args)),
        What::Get(args) => run::to_end("invite get", get(args)),
        What::List(args) => run::to_end("invite list", list(args)),
        What::Resend(args) => run::to_end("invite resend", resend(args)),
        What::Revoke(args) => run::to_end("invite revoke", revoke(args)),
        What::Accept(args) => run::to_end("invite accept", accept(args)),
        What::Decline(args) => run::to_end("invite decline", decline(args)),
    }
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::CreateInvitationRequest {
        organization_id: args.organization,
        email: args.email,
        role: args.role.map(v1::OrganizationRole::from).unwrap_or_default().into(),
        workspaces: args.workspaces.iter().map(|text| workspace(text)).collect::<Result<_, _>>()?,
        language: args.language.unwrap_or_default(),
        time_to_live: time_to_live(args.hours),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    let answer = call!(service.client, invitations.create_invitation, request)?;
    print_sent(service.format, answer.invitation, answer.secret)
}

async fn get(args: GetArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::GetInvitationRequest {
        organization_id: args.organization,
        invitation_id: args.invitation,
        acting_account_id: service.acting,
        ..Default::default()
    };
    print(service.format, call!(service.client, invitations.get_invitation, request)?.invitation)
}

async fn list(args: ListArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::ListInvitationsRequest {
        organization_id: args.organization,
        include_ended: args.include_ended,
        acting_account_id: service.acting,
        ..Default::default()
    };
    print_pages!(service.client, invitations.list_invitations, invitations, request, service.format, row)
}

async fn resend(args: ResendArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::ResendInvitationRequest {
        organization_id: args.organization,
        invitation_id: args.invitation,
        time_to_live: time_to_live(args.hours),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    let answer = call!(service.client, invitations.resend_invitation, request)?;
    print_sent(service.format, answer.invitation, answer.secret)
}

async fn revoke(args: RevokeArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::RevokeInvitationRequest {
        organization_id: args.organization,
        invitation_id: args.invitation,
        workspace_id: args.workspace.unwrap_or_default(),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, invitations.revoke_invitation, request)?.invitation)
}

async fn accept(args: AcceptArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::AcceptInvitationRequest {
        secret: args.secret,
        acting_account_id: service.acting,
        display_name: args.name.unwrap_or_default(),
        request_id: request_id(),
        ..Default::default()
    };
    let answer = call!(service.client, invitations.accept_invitation, request)?;
    let member = answer.member.ok_or(CommandError::Incomplete("member"))?;
    let row = AcceptedRow {
        role: short(member.role().as_str_name(), "ORGANIZATION_ROLE_"),
        state: short(member.state().as_str_name(), "MEMBER_STATE_"),
        organization_id: member.organization_id,
        member_id: member.member_id,
        active_workspace_ids: answer.active_workspace_ids,
    };
    Printer::new(service.format).print(&[row])?;
    Ok(())
}

async fn decline(args: DeclineArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::DeclineInvitationRequest {
        secret: args.secret,
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, invitations.decline_invitation, request)?.invitation)
}

//! `rollcall member`: who belongs to an organization or a workspace, and how they leave and return.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use rollcall_client::v1;

use super::{
    output::{Format, Printer, row},
    run,
    service::{ActArgs, CommandError, Role, call, print_pages, request_id},
    times,
    watch::json::short,
};

mod batch;
mod depart;
mod plan;
mod sentences;
mod terms;

const EXAMPLES: &str = "\
With --workspace a command is about that workspace alone. --plan says in sentences what would happen
and what stands in the way, changes nothing, and exits with 1 where something does. Names are
personal data: they are on stdout alone.

Examples:
  rollcall member add --organization ID --account ACCOUNT --role member --name \"Ada Lovelace\"
  rollcall member add MEMBER --organization ID --workspace WORKSPACE --role admin
  rollcall member list --organization ID --filter 'state = DEACTIVATED'
  rollcall member deactivate MEMBER --organization ID --acting ACCOUNT --plan
  rollcall member deactivate MEMBER --organization ID --acting ACCOUNT --successor OTHER
  rollcall member reactivate MEMBER --organization ID --acting ACCOUNT
  rollcall member leave --organization ID --acting ACCOUNT --yes
  rollcall member erase MEMBER --organization ID --acting ACCOUNT --yes";

/// Arguments of `member`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct MemberArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Add an account to an organization, or a member to a workspace
    Add(AddArgs),
    /// Print a member
    Get(GetArgs),
    /// List the members of an organization or a workspace, with their states
    List(ListArgs),
    /// Change the role, the name or the planned return of a member
    Update(UpdateArgs),
    /// Cut the access of members, who stay listed and can be brought back
    Deactivate(Box<depart::DeactivateArgs>),
    /// Bring a deactivated member back
    Reactivate(ReactivateArgs),
    /// End a membership; the account stays
    Remove(Box<depart::RemoveArgs>),
    /// Erase the personal data of a deactivated or removed member in this organization, for good
    Erase(Box<depart::EraseArgs>),
    /// Leave an organization or a workspace, as the person acted for
    Leave(Box<depart::LeaveArgs>),
}

#[derive(Debug, Args)]
struct AddArgs {
    /// The member to add to a workspace
    #[arg(requires = "workspace", required_unless_present = "account")]
    member: Option<String>,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// The account to add to the organization
    #[arg(long, conflicts_with = "workspace")]
    account: Option<String>,
    /// The workspace to add a member to
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// The role in the organization, or in the workspace
    #[arg(long, value_enum)]
    role: Role,
    /// The name to be shown in the organization
    #[arg(long, conflicts_with = "workspace")]
    name: Option<String>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The member
    member: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// What they are in this workspace
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Only this workspace
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// Also those who are invited
    #[arg(long)]
    include_invited: bool,
    /// Only those that it describes, such as 'role = GUEST AND state = ACTIVE'
    #[arg(long, value_name = "FILTER", conflicts_with = "include_invited")]
    filter: Option<String>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct UpdateArgs {
    /// The member
    member: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Change the role in this workspace
    #[arg(long, value_name = "ID", requires = "role")]
    workspace: Option<String>,
    /// The new role
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// The new name, shown in this organization
    #[arg(long, conflicts_with = "workspace")]
    name: Option<String>,
    /// Whether the right to delete entries is withdrawn, from who is to leave
    #[arg(long, value_name = "BOOL", conflicts_with = "workspace")]
    leaving: Option<bool>,
    /// When the deactivated member is planned to return, or none
    #[arg(long, value_name = "TIME|none", conflicts_with = "workspace")]
    return_time: Option<String>,
    /// Who becomes admin of the workspace where the last one loses the role
    #[arg(long, value_name = "MEMBER", requires = "workspace")]
    successor: Option<String>,
    /// Accept that the workspace is left without an active admin
    #[arg(long, requires = "workspace")]
    leave_without_admin: bool,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct ReactivateArgs {
    /// The member
    member: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Bring them back in this workspace, and in the organization where that is needed
    #[arg(long, value_name = "ID", conflicts_with_all = ["restore", "restore_workspaces"])]
    workspace: Option<String>,
    /// Which workspaces open again
    #[arg(long, value_enum, conflicts_with = "restore_workspaces")]
    restore: Option<Restore>,
    /// Open this workspace again and no other that is not named; may be repeated
    #[arg(long = "restore-workspace", value_name = "ID")]
    restore_workspaces: Vec<String>,
    #[command(flatten)]
    act: ActArgs,
}

/// Which workspaces a reactivation opens again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Restore {
    /// Those that closed with the organization
    LastCascade,
    /// All that are closed for the member
    All,
}

row! {
    /// A member of an organization.
    MemberRow {
        member_id: String,
        display_name: String,
        email: String,
        role: &'static str,
        state: &'static str,
        leaving: bool,
        return_time: Option<String>,
        account_id: String,
        tombstone_id: String,
        version: i64,
    }
}

row! {
    /// A member of a workspace.
    WorkspaceMemberRow {
        workspace_id: String,
        member_id: String,
        role: &'static str,
        state: &'static str,
        version: i64,
    }
}

row! {
    /// Who was brought back.
    ReactivatedRow {
        member_id: String,
        state: &'static str,
        active_workspace_ids: Vec<String>,
        deactivated_workspace_ids: Vec<String>,
    }
}

/// The word for a state.
fn state(member: &v1::Member) -> &'static str {
    short(member.state().as_str_name(), "MEMBER_STATE_")
}

fn row(member: v1::Member) -> MemberRow {
    let role = short(member.role().as_str_name(), "ORGANIZATION_ROLE_");
    let state = state(&member);
    let profile = member.profile.unwrap_or_default();
    MemberRow {
        member_id: member.member_id,
        display_name: profile.display_name,
        email: profile.email,
        role,
        state,
        leaving: member.leaving,
        return_time: member.return_time.as_ref().and_then(times::rfc3339),
        account_id: member.account_id,
        tombstone_id: member.tombstone_id,
        version: member.version,
    }
}

fn workspace_row(member: v1::WorkspaceMember) -> WorkspaceMemberRow {
    WorkspaceMemberRow {
        role: short(member.role().as_str_name(), "WORKSPACE_ROLE_"),
        state: short(member.state().as_str_name(), "WORKSPACE_MEMBER_STATE_"),
        workspace_id: member.workspace_id,
        member_id: member.member_id,
        version: member.version,
    }
}

fn print(format: Format, member: Option<v1::Member>) -> Result<(), CommandError> {
    let member = member.ok_or(CommandError::Incomplete("member"))?;
    Printer::new(format).print(&[row(member)])?;
    Ok(())
}

fn print_in_workspace(format: Format, member: Option<v1::WorkspaceMember>) -> Result<(), CommandError> {
    let member = member.ok_or(CommandError::Incomplete("membership"))?;
    Printer::new(format).print(&[workspace_row(member)])?;
    Ok(())
}

pub(super) fn run(args: MemberArgs) -> ExitCode {
    match args.what {
        What::Add(args) => run::to_end("member add", add(args)),
        What::Get(args) => run::to_end("member get", get(args)),
        What::List(args) => run::to_end("member list", list(args)),
        What::Update(args) => run::to_end("member update", update(args)),
        What::Deactivate(args) => run::to_end("member deactivate", depart::deactivate(*args)),
        What::Reactivate(args) => run::to_end("member reactivate", reactivate(args)),
        What::Remove(args) => run::to_end("member remove", depart::remove(*args)),
        What::Erase(args) => run::to_end("member erase", depart::erase(*args)),
        What::Leave(args) => run::to_end("member leave", depart::leave(*args)),
    }
}

async fn add(args: AddArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    if let Some(workspace) = args.workspace {
        let request = v1::AddWorkspaceMemberRequest {
            organization_id: args.organization,
            workspace_id: workspace,
            member_id: args.member.unwrap_or_default(),
            role: args.role.in_workspace()?.into(),
            acting_account_id: service.acting,
            request_id: request_id(),
            ..Default::default()
        };
        let answer = call!(service.client, members.add_workspace_member, request)?;
        return print_in_workspace(service.format, answer.workspace_member);
    }
    let request = v1::AddMemberRequest {
        organization_id: args.organization,
        account_id: args.account.unwrap_or_default(),
        role: v1::OrganizationRole::from(args.role).into(),
        display_name: args.name.unwrap_or_default(),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, members.add_member, request)?.member)
}

async fn get(args: GetArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    if let Some(workspace) = args.workspace {
        let request = v1::GetWorkspaceMemberRequest {
            organization_id: args.organization,
            workspace_id: workspace,
            member_id: args.member,
            acting_account_id: service.acting,
            ..Default::default()
        };
        let answer = call!(service.client, members.get_workspace_member, request)?;
        return print_in_workspace(service.format, answer.workspace_member);
    }
    let request = v1::GetMemberRequest {
        organization_id: args.organization,
        member_id: args.member,
        acting_account_id: service.acting,
        ..Default::default()
    };
    print(service.format, call!(service.client, members.get_member, request)?.member)
}

async fn list(args: ListArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let filter = args.filter.unwrap_or_default();
    if let Some(workspace) = args.workspace {
        let request = v1::ListWorkspaceMembersRequest {
            organization_id: args.organization,
            workspace_id: workspace,
            include_invited: args.include_invited,
            filter,
            acting_account_id: service.acting,
            ..Default::default()
        };
        return print_pages!(
            service.client,
            members.list_workspace_members,
            workspace_members,
            request,
            service.format,
            workspace_row
        );
    }
    let request = v1::ListMembersRequest {
        organization_id: args.organization,
        include_invited: args.include_invited,
        filter,
        acting_account_id: service.acting,
        ..Default::default()
    };
    print_pages!(service.client, members.list_members, members, request, service.format, row)
}

async fn update(args: UpdateArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    if let Some(workspace) = args.workspace {
        let role = args.role.map(Role::in_workspace).transpose()?.unwrap_or_default();
        let membership = v1::WorkspaceMember {
            organization_id: args.organization,
            workspace_id: workspace,
            member_id: args.member,
            role: role.into(),
            ..Default::default()
        };
        let request = v1::UpdateWorkspaceMemberRequest {
            workspace_member: Some(membership),
            update_mask: Some(prost_types::FieldMask { paths: vec!["role".to_owned()] }),
            successor_member_id: args.successor.unwrap_or_default(),
            leave_without_admin: args.leave_without_admin,
            acting_account_id: service.acting,
            request_id: request_id(),
            ..Default::default()
        };
        let answer = call!(service.client, members.update_workspace_member, request)?;
        return print_in_workspace(service.format, answer.workspace_member);
    }
    let given = [
        ("role", args.role.is_some()),
        ("profile.display_name", args.name.is_some()),
        ("leaving", args.leaving.is_some()),
        ("return_time", args.return_time.is_some()),
    ];
    let paths = given.iter().filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect();
    let return_time = args.return_time.filter(|time| time != "none");
    let return_time = return_time.map(|time| times::parse(&time)).transpose().map_err(CommandError::Input)?;
    let member = v1::Member {
        organization_id: args.organization,
        member_id: args.member,
        role: args.role.map(v1::OrganizationRole::from).unwrap_or_default().into(),
        profile: args.name.map(|display_name| v1::Profile { display_name, email: String::new() }),
        leaving: args.leaving.unwrap_or_default(),
        return_time,
        ..Default::default()
    };
    let request = v1::UpdateMemberRequest {
        member: Some(member),
        update_mask: Some(prost_types::FieldMask { paths }),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, members.update_member, request)?.member)
}

async fn reactivate(args: ReactivateArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    if let Some(workspace) = args.workspace {
        let request = v1::ReactivateWorkspaceMemberRequest {
            organization_id: args.organization,
            workspace_id: workspace,
            member_id: args.member,
            acting_account_id: service.acting,
            request_id: request_id(),
            ..Default::default()
        };
        let answer = call!(service.client, members.reactivate_workspace_member, request)?;
        return print_in_workspace(service.format, answer.workspace_member);
    }
    let restore = match (args.restore, args.restore_workspaces.is_empty()) {
        (_, false) => v1::Restore::Listed,
        (Some(Restore::All), true) => v1::Restore::All,
        (Some(Restore::LastCascade) | None, true) => v1::Restore::LastCascade,
    };
    let request = v1::ReactivateMemberRequest {
        organization_id: args.organization,
        member_id: args.member,
        restore: restore.into(),
        workspace_ids: args.restore_workspaces,
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    let answer = call!(service.client, members.reactivate_member, request)?;
    let member = answer.member.ok_or(CommandError::Incomplete("member"))?;
    let row = ReactivatedRow {
        state: state(&member),
        member_id: member.member_id,
        active_workspace_ids: answer.active_workspace_ids,
        deactivated_workspace_ids: answer.deactivated_workspace_ids,
    };
    Printer::new(service.format).print(&[row])?;
    Ok(())
}

//! `rollcall workspace`: the places where members work together.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use rollcall_client::v1;

use super::{
    enforced::{AwaitArgs, Enforced},
    output::{Format, Printer, row},
    run,
    service::{ActArgs, CommandError, call, print_pages, request_id},
    watch::json::short,
};

const EXAMPLES: &str = "\
Examples:
  rollcall workspace create boards --organization ID --app boards
  rollcall workspace list --organization ID --without-admin
  rollcall workspace update WORKSPACE --organization ID --name lounge
  rollcall workspace delete WORKSPACE --organization ID --acting ACCOUNT --await 20";

/// Arguments of `workspace`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WorkspaceArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create a workspace of an app, with nobody in it
    Create(CreateArgs),
    /// List the live workspaces of an organization
    List(ListArgs),
    /// Rename a workspace
    Update(UpdateArgs),
    /// Delete a workspace; whoever was in no other active one is deactivated in the organization
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The name
    name: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// The app that it belongs to
    #[arg(long, value_name = "NAME")]
    app: String,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Only those of this app
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Only those in which no active member is admin
    #[arg(long, conflicts_with = "filter")]
    without_admin: bool,
    /// Only those that it describes, such as 'app = chat AND without_admin = true'
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct UpdateArgs {
    /// The workspace
    workspace: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// The new name
    #[arg(long)]
    name: String,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    /// The workspace
    workspace: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    #[command(flatten)]
    wait: AwaitArgs,
    #[command(flatten)]
    act: ActArgs,
}

row! {
    /// A workspace.
    WorkspaceRow {
        workspace_id: String,
        app: String,
        display_name: String,
        state: &'static str,
        version: i64,
    }
}

row! {
    /// A workspace that was deleted, and whom that took the organization.
    DeletedRow {
        workspace_id: String,
        state: &'static str,
        deactivated_member_ids: Vec<String>,
        enforcement: Option<Enforced>,
    }
}

fn state(workspace: &v1::Workspace) -> &'static str {
    short(workspace.state().as_str_name(), "WORKSPACE_STATE_")
}

fn row(workspace: v1::Workspace) -> WorkspaceRow {
    WorkspaceRow {
        state: state(&workspace),
        workspace_id: workspace.workspace_id,
        app: workspace.app,
        display_name: workspace.display_name,
        version: workspace.version,
    }
}

fn print(format: Format, workspace: Option<v1::Workspace>) -> Result<(), CommandError> {
    let workspace = workspace.ok_or(CommandError::Incomplete("workspace"))?;
    Printer::new(format).print(&[row(workspace)])?;
    Ok(())
}

pub(super) fn run(args: WorkspaceArgs) -> ExitCode {
    match args.what {
        What::Create(args) => run::to_end("workspace create", create(args)),
        What::List(args) => run::to_end("workspace list", list(args)),
        What::Update(args) => run::to_end("workspace update", update(args)),
        What::Delete(args) => run::to_end("workspace delete", delete(args)),
    }
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::CreateWorkspaceRequest {
        organization_id: args.organization,
        app: args.app,
        display_name: args.name,
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, organizations.create_workspace, request)?.workspace)
}

async fn list(args: ListArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let without_admin = args.without_admin.then(|| "without_admin = true".to_owned());
    let request = v1::ListWorkspacesRequest {
        organization_id: args.organization,
        app: args.app.unwrap_or_default(),
        filter: args.filter.or(without_admin).unwrap_or_default(),
        acting_account_id: service.acting,
        ..Default::default()
    };
    print_pages!(service.client, organizations.list_workspaces, workspaces, request, service.format, row)
}

async fn update(args: UpdateArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let workspace = v1::Workspace {
        organization_id: args.organization,
        workspace_id: args.workspace,
        display_name: args.name,
        ..Default::default()
    };
    let request = v1::UpdateWorkspaceRequest {
        workspace: Some(workspace),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] }),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, organizations.update_workspace, request)?.workspace)
}

async fn delete(args: DeleteArgs) -> Result<ExitCode, CommandError> {
    let service = args.act.open()?;
    let request = v1::DeleteWorkspaceRequest {
        organization_id: args.organization,
        workspace_id: args.workspace,
        await_enforcement: args.wait.wanted(),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    let answer = call!(service.client, organizations.delete_workspace, request)?;
    let workspace = answer.workspace.ok_or(CommandError::Incomplete("workspace"))?;
    let row = DeletedRow {
        state: state(&workspace),
        workspace_id: workspace.workspace_id,
        deactivated_member_ids: answer.deactivated_member_ids,
        enforcement: args.wait.told(answer.enforcement),
    };
    Printer::new(service.format).print(std::slice::from_ref(&row))?;
    Ok(Enforced::end(row.enforcement.as_ref(), "workspace delete", service.format))
}

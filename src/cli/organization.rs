//! `rollcall organization`: the customers and what they decide for themselves.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use rollcall_client::v1;

use super::{
    confirm::{ConfirmArgs, Unasked},
    enforced::{AwaitArgs, Enforced},
    output::{Format, Printer, row},
    run,
    service::{ActArgs, Bound, CommandError, ReadArgs, call, print_pages, request_id},
    watch::json::short,
};

const EXAMPLES: &str = "\
Examples:
  rollcall organization create \"Analytical Engines\" --owner ACCOUNT --app chat --workspace general
  rollcall organization update ID --seat-limit 20 --guest-inactivity-days 90
  rollcall organization update ID --self-deactivation false --acting ACCOUNT
  rollcall organization list --filter 'contract_id = ID' -o json
  rollcall organization delete ID --yes --await 20";

/// Arguments of `organization`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct OrganizationArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create an organization with its first workspace and its owner
    Create(Box<CreateArgs>),
    /// Print an organization
    Get(GetArgs),
    /// List the organizations
    List(ListArgs),
    /// Change the name, the contract or the settings of an organization
    Update(Box<UpdateArgs>),
    /// Delete an organization with everything in it, for good
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The name
    name: String,
    /// The account that will own it
    #[arg(long, value_name = "ACCOUNT")]
    owner: String,
    /// The name shown for the owner
    #[arg(long, value_name = "NAME")]
    owner_name: Option<String>,
    /// Leave the owner out of the first workspace
    #[arg(long)]
    owner_stays_out: bool,
    /// The app of the first workspace
    #[arg(long, value_name = "NAME")]
    app: String,
    /// The name of the first workspace
    #[arg(long, value_name = "NAME")]
    workspace: String,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct SettingsArgs {
    /// How many members may be active at once, or none: as many as wish
    #[arg(long, value_name = "NUMBER|none")]
    seat_limit: Option<Bound>,
    /// Whether members may deactivate themselves
    #[arg(long, value_name = "BOOL")]
    self_deactivation: Option<bool>,
    /// Whether an invitation may be accepted by an account with another address
    #[arg(long, value_name = "BOOL")]
    invitation_forwarding: Option<bool>,
    /// After how many days without activity a guest is deactivated, or none: never
    #[arg(long, value_name = "DAYS|none")]
    guest_inactivity_days: Option<Bound>,
    /// Whether a member is reactivated when the planned return comes
    #[arg(long, value_name = "BOOL")]
    reactivate_on_return: Option<bool>,
    /// How to name the author of content whom an owner had erased
    #[arg(long, value_name = "TEXT")]
    erased_alias: Option<String>,
    /// How to name the author of content who deleted the account
    #[arg(long, value_name = "TEXT")]
    deleted_account_alias: Option<String>,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The organization
    organization: String,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those that it describes, such as 'state = DELETED'
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
struct UpdateArgs {
    /// The organization
    organization: String,
    /// The new name
    #[arg(long)]
    name: Option<String>,
    /// The contract whose seats it shares, or none
    #[arg(long, value_name = "ID|none")]
    contract: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    /// The organization
    organization: String,
    #[command(flatten)]
    wait: AwaitArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    act: ActArgs,
}

row! {
    /// An organization.
    OrganizationRow {
        organization_id: String,
        display_name: String,
        state: &'static str,
        contract_id: String,
        seats_used: Option<i64>,
        seat_limit: Option<i64>,
        self_deactivation: bool,
        invitation_forwarding: bool,
        guest_inactivity_days: Option<i32>,
        reactivate_on_return: bool,
        erased_alias: String,
        deleted_account_alias: String,
        version: i64,
    }
}

row! {
    /// What was created with an organization.
    CreatedRow { organization_id: String, workspace_id: String, owner_member_id: String }
}

row! {
    /// What is left of a deleted organization.
    DeletedRow { organization_id: String, state: &'static str, enforcement: Option<Enforced> }
}

fn state(organization: &v1::Organization) -> &'static str {
    short(organization.state().as_str_name(), "ORGANIZATION_STATE_")
}

fn row(organization: v1::Organization) -> OrganizationRow {
    let state = state(&organization);
    let settings = organization.settings.unwrap_or_default();
    OrganizationRow {
        organization_id: organization.organization_id,
        display_name: organization.display_name,
        state,
        contract_id: organization.contract_id,
        seats_used: organization.seats_used,
        seat_limit: settings.seat_limit,
        self_deactivation: settings.self_deactivation,
        invitation_forwarding: settings.invitation_forwarding,
        guest_inactivity_days: settings.guest_inactivity_days,
        reactivate_on_return: settings.reactivate_on_return,
        erased_alias: settings.erased_alias,
        deleted_account_alias: settings.deleted_account_alias,
        version: organization.version,
    }
}

fn print(format: Format, organization: Option<v1::Organization>) -> Result<(), CommandError> {
    let organization = organization.ok_or(CommandError::Incomplete("organization"))?;
    Printer::new(format).print(&[row(organization)])?;
    Ok(())
}

pub(super) fn run(args: OrganizationArgs) -> ExitCode {
    match args.what {
        What::Create(args) => run::to_end("organization create", create(*args)),
        What::Get(args) => run::to_end("organization get", get(args)),
        What::List(args) => run::to_end("organization list", list(args)),
        What::Update(args) => run::to_end("organization update", update(*args)),
        What::Delete(args) => run::to_end("organization delete", delete(args)),
    }
}

/// A number of days as the API has it.
fn days(bound: Option<Bound>) -> Result<Option<i32>, CommandError> {
    let days = bound.and_then(|bound| bound.0).map(i32::try_from).transpose();
    days.map_err(|_| CommandError::Input("so many days are not possible".to_owned()))
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let SettingsArgs { seat_limit, guest_inactivity_days, .. } = args.settings;
    let settings = v1::NewOrganizationSettings {
        seat_limit: seat_limit.and_then(|bound| bound.0),
        self_deactivation: args.settings.self_deactivation,
        invitation_forwarding: args.settings.invitation_forwarding,
        guest_inactivity_days: days(guest_inactivity_days)?,
        reactivate_on_return: args.settings.reactivate_on_return,
        erased_alias: args.settings.erased_alias,
        deleted_account_alias: args.settings.deleted_account_alias,
    };
    let request = v1::CreateOrganizationRequest {
        display_name: args.name,
        owner_account_id: args.owner,
        first_workspace: Some(v1::FirstWorkspace { app: args.app, display_name: args.workspace }),
        owner_display_name: args.owner_name.unwrap_or_default(),
        owner_stays_out: args.owner_stays_out,
        acting_account_id: service.acting,
        request_id: request_id(),
        settings: Some(settings),
        ..Default::default()
    };
    let answer = call!(service.client, organizations.create_organization, request)?;
    let row = CreatedRow {
        organization_id: answer.organization.ok_or(CommandError::Incomplete("organization"))?.organization_id,
        workspace_id: answer.workspace.ok_or(CommandError::Incomplete("workspace"))?.workspace_id,
        owner_member_id: answer.owner.ok_or(CommandError::Incomplete("owner"))?.member_id,
    };
    Printer::new(service.format).print(&[row])?;
    Ok(())
}

async fn get(args: GetArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::GetOrganizationRequest {
        organization_id: args.organization,
        acting_account_id: service.acting,
        ..Default::default()
    };
    print(service.format, call!(service.client, organizations.get_organization, request)?.organization)
}

async fn list(args: ListArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request =
        v1::ListOrganizationsRequest { filter: args.filter.unwrap_or_default(), ..Default::default() };
    print_pages!(
        service.client,
        organizations.list_organizations,
        organizations,
        request,
        service.format,
        row
    )
}

async fn update(args: UpdateArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let settings = args.settings;
    let given = [
        ("display_name", args.name.is_some()),
        ("contract_id", args.contract.is_some()),
        ("settings.seat_limit", settings.seat_limit.is_some()),
        ("settings.self_deactivation", settings.self_deactivation.is_some()),
        ("settings.invitation_forwarding", settings.invitation_forwarding.is_some()),
        ("settings.guest_inactivity_days", settings.guest_inactivity_days.is_some()),
        ("settings.reactivate_on_return", settings.reactivate_on_return.is_some()),
        ("settings.erased_alias", settings.erased_alias.is_some()),
        ("settings.deleted_account_alias", settings.deleted_account_alias.is_some()),
    ];
    let paths = given.iter().filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect();
    let organization = v1::Organization {
        organization_id: args.organization,
        display_name: args.name.unwrap_or_default(),
        contract_id: args.contract.filter(|id| id != "none").unwrap_or_default(),
        settings: Some(v1::OrganizationSettings {
            seat_limit: settings.seat_limit.and_then(|bound| bound.0),
            self_deactivation: settings.self_deactivation.unwrap_or_default(),
            invitation_forwarding: settings.invitation_forwarding.unwrap_or_default(),
            guest_inactivity_days: days(settings.guest_inactivity_days)?,
            reactivate_on_return: settings.reactivate_on_return.unwrap_or_default(),
            erased_alias: settings.erased_alias.unwrap_or_default(),
            deleted_account_alias: settings.deleted_account_alias.unwrap_or_default(),
        }),
        ..Default::default()
    };
    let request = v1::UpdateOrganizationRequest {
        organization: Some(organization),
        update_mask: Some(prost_types::FieldMask { paths }),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, organizations.update_organization, request)?.organization)
}

async fn delete(args: DeleteArgs) -> Result<ExitCode, CommandError> {
    let service = args.act.open()?;
    let shown = format!(
        "Organization {} is deleted, with its workspaces and members, for good. The accounts stay.",
        args.organization
    );
    args.confirm.confirm(&shown, Unasked::Refused)?;
    let request = v1::DeleteOrganizationRequest {
        organization_id: args.organization,
        confirm: true,
        await_enforcement: args.wait.wanted(),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    let answer = call!(service.client, organizations.delete_organization, request)?;
    let organization = answer.organization.ok_or(CommandError::Incomplete("organization"))?;
    let row = DeletedRow {
        state: state(&organization),
        organization_id: organization.organization_id,
        enforcement: args.wait.told(answer.enforcement),
    };
    Printer::new(service.format).print(std::slice::from_ref(&row))?;
    Ok(Enforced::end(row.enforcement.as_ref(), "organization delete", service.format))
}

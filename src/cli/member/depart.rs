//! `rollcall member deactivate`, `remove`, `erase` and `leave`: planned first, then done exactly as planned.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use prost_types::Timestamp;
use rollcall_client::v1;

use super::{batch, plan::Departure, state, terms::TermsArgs};
use crate::cli::{
    confirm::{ConfirmArgs, Unasked},
    enforced::{AwaitArgs, Enforced},
    output::{Format, Printer, row},
    run::say,
    service::{ActArgs, CommandError, Service, call, request_id},
    times,
    watch::json::short,
};

const DEACTIVATE: &str = "\
One member is planned first, and deactivated only as planned; on a terminal you are asked before.
Several are deactivated one after another, each with a line that says what became of them.";

/// Arguments of `member deactivate`.
#[derive(Debug, Args)]
#[command(after_help = DEACTIVATE)]
pub(super) struct DeactivateArgs {
    /// The member, or several, at most 500
    #[arg(required = true, value_name = "MEMBER")]
    members: Vec<String>,
    /// When the member is planned to return: RFC 3339, or a date, whose midnight in UTC is meant
    #[arg(long, value_name = "TIME", value_parser = times::parse, conflicts_with = "workspace")]
    return_time: Option<Timestamp>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// Arguments of `member remove`.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The member
    member: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// Arguments of `member leave`.
#[derive(Debug, Args)]
pub(super) struct LeaveArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// Arguments of `member erase`.
#[derive(Debug, Args)]
pub(super) struct EraseArgs {
    /// The member
    member: String,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// What becomes of what is assigned to the member
    #[arg(long, value_enum, conflicts_with = "hand_over_to")]
    assignments: Option<Assignments>,
    /// Who takes over what is assigned to the member
    #[arg(long, value_name = "MEMBER")]
    hand_over_to: Option<String>,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// This workspace alone; whoever is deactivated in the last one loses the organization too
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct HowArgs {
    /// Say what would happen and what stands in the way, and change nothing
    #[arg(long)]
    pub(super) plan: bool,
    #[command(flatten)]
    pub(super) wait: AwaitArgs,
    #[command(flatten)]
    pub(super) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(super) act: ActArgs,
}

/// What becomes of what is assigned to somebody who is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Assignments {
    /// It stays, under the alias
    Keep,
    /// It is cleared
    Clear,
}

row! {
    /// What became of a member.
    DepartedRow {
        member_id: String,
        state: &'static str,
        workspace_ids: Vec<String>,
        organization_left: bool,
        seats_freed: i32,
        other_organization_ids: Vec<String>,
        account_deleted: bool,
        organization_deleted: bool,
        receipt: Option<String>,
        enforcement: Option<Enforced>,
    }
}

/// What a command answered, as far as it is printed.
struct Done {
    state: &'static str,
    receipt: Option<String>,
    enforcement: Option<v1::Enforcement>,
}

impl Done {
    fn member(
        member: Option<v1::Member>,
        enforcement: Option<v1::Enforcement>,
    ) -> Result<Self, CommandError> {
        let member = member.ok_or(CommandError::Incomplete("member"))?;
        Ok(Self { state: state(&member), receipt: None, enforcement })
    }

    fn membership(
        membership: Option<v1::WorkspaceMember>,
        enforcement: Option<v1::Enforcement>,
    ) -> Result<Self, CommandError> {
        let membership = membership.ok_or(CommandError::Incomplete("membership"))?;
        let state = short(membership.state().as_str_name(), "WORKSPACE_MEMBER_STATE_");
        Ok(Self { state, receipt: None, enforcement })
    }
}

pub(super) async fn deactivate(args: DeactivateArgs) -> Result<ExitCode, CommandError> {
    let DeactivateArgs { mut members, return_time, place, terms, how } = args;
    let service = how.act.open()?;
    if members.len() > 1 {
        if place.workspace.is_some() || return_time.is_some() {
            let text = "--workspace and --return-time are for one member at a time";
            return Err(CommandError::Input(text.to_owned()));
        }
        return batch::deactivate(&service, place.organization, members, terms.into_terms(), &how).await;
    }
    let kind = match place.workspace {
        Some(_) => v1::DepartureKind::DeactivateInWorkspace,
        None => v1::DepartureKind::Deactivate,
    };
    let mut terms = terms.into_terms();
    let member = members.pop().unwrap_or_default();
    let departure =
        planned(&service, place, member, kind, &terms, Besides { return_time, ..Besides::default() });
    let departure = departure.await?;
    let text = departure.text(&service.client).await?;
    if let Some(code) = stop(&departure, &text, &service, &how, Unasked::Done)? {
        return Ok(code);
    }
    terms.plan_etag.clone_from(&departure.plan.etag);
    let Departure { organization: organization_id, member: member_id, .. } = &departure;
    let done = if let Some(workspace_id) = &departure.workspace {
        let request = v1::DeactivateWorkspaceMemberRequest {
            organization_id: organization_id.clone(),
            workspace_id: workspace_id.clone(),
            member_id: member_id.clone(),
            acting_account_id: service.acting.clone(),
            request_id: request_id(),
            await_enforcement: how.wait.wanted(),
            departure: Some(terms),
            ..Default::default()
        };
        let answer = call!(service.client, members.deactivate_workspace_member, request)?;
        Done::membership(answer.workspace_member, answer.enforcement)?
    } else {
        let request = v1::DeactivateMemberRequest {
            organization_id: organization_id.clone(),
            member_id: member_id.clone(),
            acting_account_id: service.acting.clone(),
            request_id: request_id(),
            await_enforcement: how.wait.wanted(),
            return_time,
            departure: Some(terms),
            ..Default::default()
        };
        let answer = call!(service.client, members.deactivate_member, request)?;
        Done::member(answer.member, answer.enforcement)?
    };
    finish(departure, &text, &service, how.wait, done)
}

pub(super) async fn remove(args: RemoveArgs) -> Result<ExitCode, CommandError> {
    let RemoveArgs { member, place, terms, how } = args;
    let service = how.act.open()?;
    let kind = match place.workspace {
        Some(_) => v1::DepartureKind::RemoveFromWorkspace,
        None => v1::DepartureKind::Remove,
    };
    let mut terms = terms.into_terms();
    let departure = planned(&service, place, member, kind, &terms, Besides::default()).await?;
    let text = departure.text(&service.client).await?;
    if let Some(code) = stop(&departure, &text, &service, &how, Unasked::Done)? {
        return Ok(code);
    }
    terms.plan_etag.clone_from(&departure.plan.etag);
    let Departure { organization: organization_id, member: member_id, .. } = &departure;
    let done = if let Some(workspace_id) = &departure.workspace {
        let request = v1::RemoveWorkspaceMemberRequest {
            organization_id: organization_id.clone(),
            workspace_id: workspace_id.clone(),
            member_id: member_id.clone(),
            acting_account_id: service.acting.clone(),
            request_id: request_id(),
            await_enforcement: how.wait.wanted(),
            departure: Some(terms),
            ..Default::default()
        };
        let answer = call!(service.client, members.remove_workspace_member, request)?;
        Done::membership(answer.workspace_member, answer.enforcement)?
    } else {
        let request = v1::RemoveMemberRequest {
            organization_id: organization_id.clone(),
            member_id: member_id.clone(),
            acting_account_id: service.acting.clone(),
            request_id: request_id(),
            await_enforcement: how.wait.wanted(),
            departure: Some(terms),
            ..Default::default()
        };
        let answer = call!(service.client, members.remove_member, request)?;
        Done::member(answer.member, answer.enforcement)?
    };
    finish(departure, &text, &service, how.wait, done)
}

pub(super) async fn erase(args: EraseArgs) -> Result<ExitCode, CommandError> {
    let EraseArgs { member, organization, assignments, hand_over_to, how } = args;
    let service = how.act.open()?;
    let assignments = match (hand_over_to.is_some(), assignments) {
        (true, _) => v1::Assignments::HandOver,
        (false, Some(Assignments::Clear)) => v1::Assignments::Clear,
        (false, Some(Assignments::Keep) | None) => v1::Assignments::Keep,
    };
    let mut terms = v1::DepartureTerms {
        handover_to_member_id: hand_over_to.unwrap_or_default(),
        ..v1::DepartureTerms::default()
    };
    let place = PlaceArgs { organization, workspace: None };
    let besides = Besides { assignments, ..Besides::default() };
    let departure = planned(&service, place, member, v1::DepartureKind::Erase, &terms, besides).await?;
    let text = departure.text(&service.client).await?;
    if let Some(code) = stop(&departure, &text, &service, &how, Unasked::Refused)? {
        return Ok(code);
    }
    terms.plan_etag.clone_from(&departure.plan.etag);
    let request = v1::EraseMemberRequest {
        organization_id: departure.organization.clone(),
        member_id: departure.member.clone(),
        confirm: true,
        assignments: assignments.into(),
        departure: Some(terms),
        acting_account_id: service.acting.clone(),
        request_id: request_id(),
        await_enforcement: how.wait.wanted(),
        ..Default::default()
    };
    let answer = call!(service.client, members.erase_member, request)?;
    let receipt = Some(answer.receipt).filter(|receipt| !receipt.is_empty());
    let done = Done { receipt, ..Done::member(answer.member, answer.enforcement)? };
    finish(departure, &text, &service, how.wait, done)
}

pub(super) async fn leave(args: LeaveArgs) -> Result<ExitCode, CommandError> {
    let LeaveArgs { place, terms, how } = args;
    let service = how.act.open()?;
    if service.acting.is_empty() {
        return Err(CommandError::Input("say who leaves: --acting ACCOUNT".to_owned()));
    }
    let mut terms = terms.into_terms();
    let departure = planned_leave(&service, place, &terms).await?;
    let text = departure.text(&service.client).await?;
    if let Some(code) = stop(&departure, &text, &service, &how, Unasked::Refused)? {
        return Ok(code);
    }
    terms.plan_etag.clone_from(&departure.plan.etag);
    let done = if let Some(workspace_id) = &departure.workspace {
        let request = v1::LeaveWorkspaceRequest {
            organization_id: departure.organization.clone(),
            workspace_id: workspace_id.clone(),
            confirm: true,
            departure: Some(terms),
            acting_account_id: service.acting.clone(),
            request_id: request_id(),
            await_enforcement: how.wait.wanted(),
            ..Default::default()
        };
        let answer = call!(service.client, members.leave_workspace, request)?;
        Done::membership(answer.workspace_member, answer.enforcement)?
    } else {
        let request = v1::LeaveOrganizationRequest {
            organization_id: departure.organization.clone(),
            confirm: true,
            departure: Some(terms),
            acting_account_id: service.acting.clone(),
            request_id: request_id(),
            await_enforcement: how.wait.wanted(),
            ..Default::default()
        };
        let answer = call!(service.client, members.leave_organization, request)?;
        Done::member(answer.member, answer.enforcement)?
    };
    finish(departure, &text, &service, how.wait, done)
}

/// What a plan is about besides the terms, of the kinds that have it.
#[derive(Default)]
struct Besides {
    assignments: v1::Assignments,
    return_time: Option<Timestamp>,
}

async fn planned(
    service: &Service,
    place: PlaceArgs,
    member: String,
    kind: v1::DepartureKind,
    terms: &v1::DepartureTerms,
    besides: Besides,
) -> Result<Departure, CommandError> {
    let PlaceArgs { organization, workspace } = place;
    let Besides { assignments, return_time } = besides;
    let request = v1::PlanDepartureRequest {
        organization_id: organization.clone(),
        member_id: member.clone(),
        kind: kind.into(),
        workspace_id: workspace.clone().unwrap_or_default(),
        departure: Some(terms.clone()),
        assignments: assignments.into(),
        return_time,
        acting_account_id: service.acting.clone(),
        ..Default::default()
    };
    let plan = call!(service.client, members.plan_departure, request)?.plan;
    let plan = plan.ok_or(CommandError::Incomplete("plan"))?;
    let handover_to = terms.handover_to_member_id.clone();
    Ok(Departure { organization, member, workspace, kind, handover_to, return_time, plan })
}

/// What leaving would lose, as the service tells whoever has not confirmed yet.
async fn planned_leave(
    service: &Service,
    place: PlaceArgs,
    terms: &v1::DepartureTerms,
) -> Result<Departure, CommandError> {
    let PlaceArgs { organization, workspace } = place;
    let (kind, plan) = if let Some(workspace_id) = &workspace {
        let request = v1::LeaveWorkspaceRequest {
            organization_id: organization.clone(),
            workspace_id: workspace_id.clone(),
            departure: Some(terms.clone()),
            acting_account_id: service.acting.clone(),
            ..Default::default()
        };
        let answer = call!(service.client, members.leave_workspace, request)?;
        (v1::DepartureKind::DeactivateInWorkspace, answer.plan)
    } else {
        let request = v1::LeaveOrganizationRequest {
            organization_id: organization.clone(),
            departure: Some(terms.clone()),
            acting_account_id: service.acting.clone(),
            ..Default::default()
        };
        let answer = call!(service.client, members.leave_organization, request)?;
        (v1::DepartureKind::Deactivate, answer.plan)
    };
    let plan = plan.ok_or(CommandError::Incomplete("plan"))?;
    let member = own_member(service, &organization).await?;
    let handover_to = terms.handover_to_member_id.clone();
    Ok(Departure { organization, member, workspace, kind, handover_to, return_time: None, plan })
}

/// The member that the acting person is.
async fn own_member(service: &Service, organization: &str) -> Result<String, CommandError> {
    let mut request = v1::ListAccountOrganizationsRequest {
        account_id: service.acting.clone(),
        page_size: crate::cli::service::PAGE,
        ..Default::default()
    };
    loop {
        let page = call!(service.client, accounts.list_account_organizations, request.clone())?;
        let mut members = page.organizations.into_iter().filter_map(|one| one.member);
        if let Some(member) = members.find(|member| member.organization_id == organization) {
            return Ok(member.member_id);
        }
        if page.next_page_token.is_empty() {
            return Err(CommandError::Incomplete("member"));
        }
        request.page_token = page.next_page_token;
    }
}

/// Whether it ends with the plan: because only that was asked for, because something stands in the way, because it is
/// not meant.
fn stop(
    departure: &Departure,
    text: &[String],
    service: &Service,
    how: &HowArgs,
    unasked: Unasked,
) -> Result<Option<ExitCode>, CommandError> {
    if how.plan {
        return Ok(Some(departure.print(text, service.format)));
    }
    if !departure.plan.blockers.is_empty() {
        return Err(CommandError::Blocked(departure.plan.blockers.clone()));
    }
    let plan = &departure.plan;
    let unasked = if plan.account_deleted || plan.organization_deleted { Unasked::Refused } else { unasked };
    how.confirm.confirm(&text.join(" "), unasked)?;
    Ok(None)
}

/// Says what was done: it was done as planned, or refused. Where it was waited for, how far it is enforced.
fn finish(
    departure: Departure,
    text: &[String],
    service: &Service,
    wait: AwaitArgs,
    done: Done,
) -> Result<ExitCode, CommandError> {
    let Done { state, receipt, enforcement } = done;
    let enforcement = wait.told(enforcement);
    if service.format == Format::Table {
        say(&text.join(" "));
        if let Some(receipt) = receipt {
            say(&format!("Receipt: {receipt}"));
        }
        return Ok(Enforced::end(enforcement.as_ref(), "member", service.format));
    }
    let workspace_ids = departure.workspaces().into_iter().map(str::to_owned).collect();
    let row = DepartedRow {
        state,
        workspace_ids,
        organization_left: departure.leaves_organization(),
        seats_freed: departure.plan.seats_freed,
        account_deleted: departure.plan.account_deleted,
        organization_deleted: departure.plan.organization_deleted,
        receipt,
        member_id: departure.member,
        other_organization_ids: departure.plan.other_organization_ids,
        enforcement,
    };
    Printer::new(service.format).print(std::slice::from_ref(&row))?;
    Ok(Enforced::end(row.enforcement.as_ref(), "member", service.format))
}

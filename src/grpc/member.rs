//! MemberService.

use std::collections::{BTreeSet, HashMap};

use chrono::Utc;
use tokio::try_join;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{
    Services, activity, authz, convert, departure, enforcement, filter, invitation::merged, parse, status,
    status::Terms, unless_validated,
};
use crate::{
    engine::{EngineError, Order},
    identity::Kind,
    proto::{
        self, AddMemberRequest, AddMemberResponse, AddWorkspaceMemberRequest, AddWorkspaceMemberResponse,
        BatchDeactivateMembersRequest, BatchDeactivateMembersResponse, BatchGetMembersRequest,
        BatchGetMembersResponse, DeactivateMemberRequest, DeactivateMemberResponse,
        DeactivateWorkspaceMemberRequest, DeactivateWorkspaceMemberResponse, EraseMemberRequest,
        EraseMemberResponse, GetErasureRequest, GetErasureResponse, GetMemberRequest, GetMemberResponse,
        GetWorkspaceMemberRequest, GetWorkspaceMemberResponse, LeaveOrganizationRequest,
        LeaveOrganizationResponse, LeaveWorkspaceRequest, LeaveWorkspaceResponse, ListErasuresRequest,
        ListErasuresResponse, ListMembersRequest, ListMembersResponse, ListWorkspaceMembersRequest,
        ListWorkspaceMembersResponse, PlanDepartureRequest, PlanDepartureResponse, ReactivateMemberRequest,
        ReactivateMemberResponse, ReactivateWorkspaceMemberRequest, ReactivateWorkspaceMemberResponse,
        ReapplyErasureRequest, ReapplyErasureResponse, RemoveMemberRequest, RemoveMemberResponse,
        RemoveWorkspaceMemberRequest, RemoveWorkspaceMemberResponse, ReportActivityRequest,
        ReportActivityResponse, UpdateMemberRequest, UpdateMemberResponse, UpdateWorkspaceMemberRequest,
        UpdateWorkspaceMemberResponse, member_service_server::MemberService,
    },
    rules::{
        Command, Departure, Restore, Violation,
        ids::{MemberId, OrganizationId, WorkspaceId},
    },
    storage::{Named, Reach},
};

/// Ids that BatchGetMembers takes at most.
const MAX_BATCH: usize = 1_000;

fn restore(message: &ReactivateMemberRequest) -> Result<Restore, Status> {
    let listed = message.workspace_ids.iter().map(|id| parse::required("workspace_ids", id));
    let listed: BTreeSet<WorkspaceId> = listed.collect::<Result<_, _>>()?;
    match proto::Restore::try_from(message.restore) {
        Ok(proto::Restore::Listed) => Ok(Restore::Listed(listed)),
        _ if !listed.is_empty() => {
            Err(status::invalid_field("workspace_ids", "goes with RESTORE_LISTED alone"))
        }
        Ok(proto::Restore::Unspecified | proto::Restore::LastCascade) => Ok(Restore::LastCascade),
        Ok(proto::Restore::All) => Ok(Restore::All),
        Err(_) => Err(status::invalid_field("restore", "must be a known value")),
    }
}

#[async_trait]
impl MemberService for Services {
    async fn add_member(
        &self,
        request: Request<AddMemberRequest>,
    ) -> Result<Response<AddMemberResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let command = Command::AddMember {
            member: MemberId::generate(),
            account: parse::required("account_id", &message.account_id)?,
            role: parse::organization_role("role", message.role)?,
        };
        let display_name = parse::display_name("display_name", &message.display_name)?.map(Some);
        let context = self
            .context("AddMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let order = Order { display_name, ..Order::new(organization, command) };
        let done = self.engine.execute(context, order).await.map_err(status::engine)?;
        unless_validated!(done);
        let (member, token) = try_join!(self.member_of(organization, &done), self.token(&done))?;
        Ok(Response::new(AddMemberResponse { member, token }))
    }

    async fn get_member(
        &self,
        request: Request<GetMemberRequest>,
    ) -> Result<Response<GetMemberResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let id = parse::required("member_id", &message.member_id)?;
        let reach = authz::reach(&request, &message.acting_account_id)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, Named { members: vec![id], ..authz::organization(organization) }).await?;
        let member = Some(convert::member(self.read_member(organization, id).await?));
        Ok(Response::new(GetMemberResponse { member }))
    }

    async fn batch_get_members(
        &self,
        request: Request<BatchGetMembersRequest>,
    ) -> Result<Response<BatchGetMembersResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        if message.member_ids.is_empty() || message.member_ids.len() > MAX_BATCH {
            return Err(status::invalid_field("member_ids", format!("must be 1 to {MAX_BATCH} ids")));
        }
        let ids =
            message.member_ids.iter().map(|id| parse::required::<MemberId>("member_ids", id).map(|id| id.0));
        let ids: Vec<Uuid> = ids.collect::<Result<_, _>>()?;
        let reach = authz::reach(&request, &message.acting_account_id)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, authz::organization(organization)).await?;
        let settings = self.read_organization(organization).await?.settings;
        let found = self.engine.database().members_by_id(organization, reach.app.as_ref(), &ids).await;
        let found = found.map_err(status::storage)?;
        let found: HashMap<Uuid, _> = found.into_iter().map(|read| (read.member.member_id, read)).collect();
        let asked = message.member_ids.iter().cloned().zip(&ids);
        let members = asked.map(|(text, id)| convert::rendered(text, found.get(id), &settings)).collect();
        Ok(Response::new(BatchGetMembersResponse { members }))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let message = request.get_ref();
        let id = parse::required("organization_id", &message.organization_id)?;
        let filter = filter::members(&message.filter)?;
        filter::without_invitees(&message.filter, message.include_invited)?;
        let which = if message.include_invited { "members and invitees" } else { "members" };
        let list = [which, &message.organization_id, &message.filter];
        let reach = authz::reach(&request, &message.acting_account_id)?;
        let page = self.page(&request, &reach, (message.page_size, &message.page_token), &list)?;
        let after = page.after_id()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, authz::organization(id)).await?;
        self.read_organization(id).await?;
        let app = reach.app.as_ref();
        let invitees = self.invitees(id, app, message.include_invited, after, page.limit()).await?;
        let rows = self.engine.database().members(id, app, &filter, after, page.limit()).await;
        let mut rows = merged(rows.map_err(status::storage)?, invitees, |row| row.member.member_id);
        let next_page_token = self.next_page(&page, &mut rows, |row| row.member.member_id.to_string());
        let members = rows.into_iter().map(convert::member).collect();
        Ok(Response::new(ListMembersResponse { members, next_page_token }))
    }

    async fn update_member(
        &self,
        request: Request<UpdateMemberRequest>,
    ) -> Result<Response<UpdateMemberResponse>, Status> {
        let message = request.get_ref();
        let member = parse::present("member", message.member.as_ref())?;
        let organization = parse::required("member.organization_id", &member.organization_id)?;
        let id = parse::required("member.member_id", &member.member_id)?;
        let known = ["role", "profile.display_name", "leaving", "return_time"];
        let paths = parse::mask(message.update_mask.as_ref(), &known)?;
        let names = |path: &str| paths.iter().any(|named| named == path);
        let role = names("role").then(|| parse::organization_role("member.role", member.role)).transpose()?;
        let shown = member.profile.as_ref().map(|profile| profile.display_name.as_str()).unwrap_or_default();
        let display_name = names("profile.display_name")
            .then(|| parse::display_name("member.profile.display_name", shown))
            .transpose()?;
        let return_time = names("return_time")
            .then(|| parse::moment("member.return_time", member.return_time))
            .transpose()?;
        let context = self
            .context("UpdateMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&member.etag);
        let command = Command::UpdateMember {
            member: id,
            role,
            profile_changes: false,
            profile_named: display_name.is_some(),
            leaving: names("leaving").then_some(member.leaving),
            return_time,
        };
        let order = Order { display_name, ..Order::new(organization, command) };
        let done = self.engine.execute(context, order).await.map_err(|error| match error {
            error @ EngineError::Violation(Violation::ReturnTime { .. }) => {
                status::invalid_field("member.return_time", error)
            }
            error => status::engine(error),
        })?;
        unless_validated!(done);
        let (member, token) = try_join!(self.member_of(organization, &done), self.token(&done))?;
        Ok(Response::new(UpdateMemberResponse { member, token }))
    }

    async fn deactivate_member(
        &self,
        request: Request<DeactivateMemberRequest>,
    ) -> Result<Response<DeactivateMemberResponse>, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let organization = parse::required("organization_id", &message.organization_id)?;
        let id = parse::required("member_id", &message.member_id)?;
        let context = self
            .context("DeactivateMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let return_time = parse::moment("return_time", message.return_time)?;
        let decided = self.decided(&context, organization, message.departure.as_ref()).await?;
        let order = decided.order(organization, |departure| Command::DeactivateMember {
            member: id,
            departure,
            return_time,
        });
        let reach = context.reach.clone();
        let done = self.depart(context, order).await?;
        unless_validated!(done);
        let (standing, token) = try_join!(self.standing_of(organization, &reach, &done), self.token(&done))?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        Ok(Response::new(DeactivateMemberResponse {
            member: Some(convert::member(standing.member)),
            deactivated_workspace_ids: convert::ids(standing.closed),
            other_organization_ids: convert::ids(standing.others),
            token,
            enforcement,
        }))
    }

    async fn reactivate_member(
        &self,
        request: Request<ReactivateMemberRequest>,
    ) -> Result<Response<ReactivateMemberResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let id = parse::required("member_id", &message.member_id)?;
        let restore = restore(message)?;
        let context = self
            .context("ReactivateMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let reach = context.reach.clone();
        let done =
            self.execute(context, organization, Command::ReactivateMember { member: id, restore }).await?;
        unless_validated!(done);
        let (standing, token) = try_join!(self.standing_of(organization, &reach, &done), self.token(&done))?;
        Ok(Response::new(ReactivateMemberResponse {
            member: Some(convert::member(standing.member)),
            active_workspace_ids: convert::ids(standing.active),
            deactivated_workspace_ids: convert::ids(standing.deactivated),
            token,
        }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let organization = parse::required("organization_id", &message.organization_id)?;
        let id = parse::required("member_id", &message.member_id)?;
        let context = self
            .context("RemoveMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let decided = self.decided(&context, organization, message.departure.as_ref()).await?;
        let order = decided.order(organization, |departure| Command::RemoveMember { member: id, departure });
        let done = self.depart(context, order).await?;
        unless_validated!(done);
        let (member, token) = try_join!(self.member_of(organization, &done), self.token(&done))?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        Ok(Response::new(RemoveMemberResponse { member, token, enforcement }))
    }

    async fn report_activity(
        &self,
        request: Request<ReportActivityRequest>,
    ) -> Result<Response<ReportActivityResponse>, Status> {
        let activities = activity::parsed(&request.get_ref().activities, Utc::now())?;
        let caller = parse::who(&request)?;
        let app = (caller.kind != Kind::Operator).then_some(&caller.name);
        let if_named_so = caller.kind == Kind::Anyone;
        let unknown = self.engine.database().report_activity(app, if_named_so, &activities).await;
        let unknown_member_ids = convert::ids(unknown.map_err(status::storage)?);
        Ok(Response::new(ReportActivityResponse { unknown_member_ids }))
    }

    async fn plan_departure(
        &self,
        request: Request<PlanDepartureRequest>,
    ) -> Result<Response<PlanDepartureResponse>, Status> {
        let plan = Some(self.planned_departure(&request).await?);
        Ok(Response::new(PlanDepartureResponse { plan }))
    }

    async fn leave_organization(
        &self,
        request: Request<LeaveOrganizationRequest>,
    ) -> Result<Response<LeaveOrganizationResponse>, Status> {
        self.left_organization(&request).await.map(Response::new)
    }

    async fn leave_workspace(
        &self,
        request: Request<LeaveWorkspaceRequest>,
    ) -> Result<Response<LeaveWorkspaceResponse>, Status> {
        self.left_workspace(&request).await.map(Response::new)
    }

    async fn batch_deactivate_members(
        &self,
        request: Request<BatchDeactivateMembersRequest>,
    ) -> Result<Response<BatchDeactivateMembersResponse>, Status> {
        self.deactivated_members(&request).await.map(Response::new)
    }

    async fn erase_member(
        &self,
        request: Request<EraseMemberRequest>,
    ) -> Result<Response<EraseMemberResponse>, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let organization = parse::required("organization_id", &message.organization_id)?;
        let id = parse::required("member_id", &message.member_id)?;
        let context = self
            .context("EraseMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let decided = self.decided(&context, organization, message.departure.as_ref()).await?;
        let command = departure::erasure(id, message.assignments, &decided)?;
        if !message.confirm {
            return Err(status::unconfirmed());
        }
        let order = decided.order(organization, |_| command);
        let done = self.depart(context, order).await?;
        unless_validated!(done);
        let (member, token) = try_join!(self.member_of(organization, &done), self.token(&done))?;
        let (receipt, account_deleted) = self.receipt_of(&request, &done).await?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        Ok(Response::new(EraseMemberResponse { member, account_deleted, receipt, token, enforcement }))
    }

    async fn get_erasure(
        &self,
        request: Request<GetErasureRequest>,
    ) -> Result<Response<GetErasureResponse>, Status> {
        let message = request.get_ref();
        let id = self.open_receipt(&request, &message.receipt)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        let found = self.engine.database().erasure(id).await.map_err(status::storage)?;
        Ok(Response::new(convert::receipt(found.ok_or_else(status::receipt_invalid)?)))
    }

    async fn list_erasures(
        &self,
        request: Request<ListErasuresRequest>,
    ) -> Result<Response<ListErasuresResponse>, Status> {
        let message = request.get_ref();
        self.not_for_apps(&request).await?;
        let asked = (message.page_size, message.page_token.as_str());
        let page = self.page(&request, &Reach::ALL, asked, &["erasures"])?;
        let after = page.after_id()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        let rows = self.engine.database().erasures(after, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.erasure_id.to_string());
        let erasures = rows.into_iter().map(|row| self.ledger_entry(row)).collect();
        Ok(Response::new(ListErasuresResponse { erasures, next_page_token }))
    }

    async fn reapply_erasure(
        &self,
        request: Request<ReapplyErasureRequest>,
    ) -> Result<Response<ReapplyErasureResponse>, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        self.not_for_apps(&request).await?;
        let context = self
            .context("ReapplyErasure", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let ledger = self.ledger(message.erasure.as_ref())?;
        let done = self.engine.reapply_erasure(context, ledger).await.map_err(status::engine)?;
        unless_validated!(done);
        let token = self.token(&done).await?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        let applied = done.subject.erasure_id.is_some();
        Ok(Response::new(ReapplyErasureResponse { applied, token, enforcement }))
    }

    async fn add_workspace_member(
        &self,
        request: Request<AddWorkspaceMemberRequest>,
    ) -> Result<Response<AddWorkspaceMemberResponse>, Status> {
        let message = request.get_ref();
        let (organization, workspace, member) =
            ids(&message.organization_id, &message.workspace_id, &message.member_id)?;
        let role = parse::workspace_role("role", message.role)?;
        let context = self
            .context("AddWorkspaceMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let command = Command::AddWorkspaceMember { workspace, member, role };
        let done = self.execute(context, organization, command).await?;
        unless_validated!(done);
        let (workspace_member, token) =
            try_join!(self.workspace_member_of(organization, &done), self.token(&done))?;
        Ok(Response::new(AddWorkspaceMemberResponse { workspace_member, token }))
    }

    async fn get_workspace_member(
        &self,
        request: Request<GetWorkspaceMemberRequest>,
    ) -> Result<Response<GetWorkspaceMemberResponse>, Status> {
        let message = request.get_ref();
        let (organization, workspace, member) =
            ids(&message.organization_id, &message.workspace_id, &message.member_id)?;
        let reach = authz::reach(&request, &message.acting_account_id)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        let of = authz::organization(organization);
        self.reached(&reach, Named { workspaces: vec![workspace], members: vec![member], ..of }).await?;
        let found = self.read_workspace_member(organization, workspace, member).await?;
        Ok(Response::new(GetWorkspaceMemberResponse {
            workspace_member: Some(convert::workspace_member(found)),
        }))
    }

    async fn list_workspace_members(
        &self,
        request: Request<ListWorkspaceMembersRequest>,
    ) -> Result<Response<ListWorkspaceMembersResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let workspace = parse::required("workspace_id", &message.workspace_id)?;
        let filter = filter::workspace_members(&message.filter)?;
        filter::without_invitees(&message.filter, message.include_invited)?;
        let which =
            if message.include_invited { "workspace members and invitees" } else { "workspace members" };
        let list = [which, &message.organization_id, &message.workspace_id, &message.filter];
        let reach = authz::reach(&request, &message.acting_account_id)?;
        let page = self.page(&request, &reach, (message.page_size, &message.page_token), &list)?;
        let after = page.after_id()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, Named { workspaces: vec![workspace], ..authz::organization(organization) })
            .await?;
        self.read_workspace(organization, workspace).await?;
        let asked = message.include_invited;
        let invitees = self.invitees_to(organization, workspace, asked, after, page.limit()).await?;
        let rows =
            self.engine.database().workspace_members(organization, workspace, &filter, after, page.limit());
        let mut rows = merged(rows.await.map_err(status::storage)?, invitees, |row| row.member_id);
        let next_page_token = self.next_page(&page, &mut rows, |row| row.member_id.to_string());
        let workspace_members = rows.into_iter().map(convert::workspace_member).collect();
        Ok(Response::new(ListWorkspaceMembersResponse { workspace_members, next_page_token }))
    }

    async fn update_workspace_member(
        &self,
        request: Request<UpdateWorkspaceMemberRequest>,
    ) -> Result<Response<UpdateWorkspaceMemberResponse>, Status> {
        let message = request.get_ref();
        let membership = parse::present("workspace_member", message.workspace_member.as_ref())?;
        let organization = parse::required("workspace_member.organization_id", &membership.organization_id)?;
        let workspace = parse::required("workspace_member.workspace_id", &membership.workspace_id)?;
        let member = parse::required("workspace_member.member_id", &membership.member_id)?;
        parse::mask(message.update_mask.as_ref(), &["role"])?;
        let role = parse::workspace_role("workspace_member.role", membership.role)?;
        let context = self
            .context("UpdateWorkspaceMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&membership.etag);
        let departure = Departure {
            successor: parse::optional("successor_member_id", &message.successor_member_id)?,
            leave_without_admin: message.leave_without_admin,
            ..Departure::default()
        };
        let command = Command::SetWorkspaceRole { workspace, member, role, departure };
        let done = self.engine.execute(context, Order::new(organization, command)).await;
        let done = done.map_err(|error| status::with_terms(error, Terms::Role))?;
        unless_validated!(done);
        let (workspace_member, token) =
            try_join!(self.workspace_member_of(organization, &done), self.token(&done))?;
        Ok(Response::new(UpdateWorkspaceMemberResponse { workspace_member, token }))
    }

    async fn deactivate_workspace_member(
        &self,
        request: Request<DeactivateWorkspaceMemberRequest>,
    ) -> Result<Response<DeactivateWorkspaceMemberResponse>, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let (organization, workspace, member) =
            ids(&message.organization_id, &message.workspace_id, &message.member_id)?;
        let context = self
            .context("DeactivateWorkspaceMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let decided = self.decided(&context, organization, message.departure.as_ref()).await?;
        let order = decided.order(organization, |departure| Command::DeactivateWorkspaceMember {
            workspace,
            member,
            departure,
        });
        let reach = context.reach.clone();
        let done = self.depart(context, order).await?;
        unless_validated!(done);
        let (standing, workspace_member, token) = try_join!(
            self.standing_of(organization, &reach, &done),
            self.workspace_member_of(organization, &done),
            self.token(&done)
        )?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        Ok(Response::new(DeactivateWorkspaceMemberResponse {
            workspace_member,
            member: Some(convert::member(standing.member)),
            other_organization_ids: convert::ids(standing.others),
            organization_deactivated: standing.closed_in_organization,
            token,
            enforcement,
        }))
    }

    async fn reactivate_workspace_member(
        &self,
        request: Request<ReactivateWorkspaceMemberRequest>,
    ) -> Result<Response<ReactivateWorkspaceMemberResponse>, Status> {
        let message = request.get_ref();
        let (organization, workspace, member) =
            ids(&message.organization_id, &message.workspace_id, &message.member_id)?;
        let context = self
            .context("ReactivateWorkspaceMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let command = Command::ReactivateWorkspaceMember { workspace, member };
        let done = self.execute(context, organization, command).await?;
        unless_validated!(done);
        let (workspace_member, member, token) = try_join!(
            self.workspace_member_of(organization, &done),
            self.member_of(organization, &done),
            self.token(&done)
        )?;
        Ok(Response::new(ReactivateWorkspaceMemberResponse { workspace_member, member, token }))
    }

    async fn remove_workspace_member(
        &self,
        request: Request<RemoveWorkspaceMemberRequest>,
    ) -> Result<Response<RemoveWorkspaceMemberResponse>, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let (organization, workspace, member) =
            ids(&message.organization_id, &message.workspace_id, &message.member_id)?;
        let context = self
            .context("RemoveWorkspaceMember", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only)
            .expecting(&message.etag);
        let decided = self.decided(&context, organization, message.departure.as_ref()).await?;
        let order = decided.order(organization, |departure| Command::RemoveWorkspaceMember {
            workspace,
            member,
            departure,
        });
        let done = self.depart(context, order).await?;
        unless_validated!(done);
        let (workspace_member, token) =
            try_join!(self.workspace_member_of(organization, &done), self.token(&done))?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        Ok(Response::new(RemoveWorkspaceMemberResponse { workspace_member, token, enforcement }))
    }
}

/// The three ids of a membership.
fn ids(
    organization: &str,
    workspace: &str,
    member: &str,
) -> Result<(OrganizationId, WorkspaceId, MemberId), Status> {
    Ok((
        parse::required("organization_id", organization)?,
        parse::required("workspace_id", workspace)?,
        parse::required("member_id", member)?,
    ))
}

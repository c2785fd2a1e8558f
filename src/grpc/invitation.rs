//! InvitationService, and the invitees beside the members.

use std::{collections::BTreeMap, time::Duration};

use tokio::try_join;
use tonic::{Request, Response, Status, async_trait};

use super::{Services, authz, convert, parse, status, unless_validated};
use crate::{
    engine::{Done, InvitationOrder, Order, Sending},
    proto::{
        self, AcceptInvitationRequest, AcceptInvitationResponse, CreateInvitationRequest,
        CreateInvitationResponse, DeclineInvitationRequest, DeclineInvitationResponse, ErrorReason,
        GetInvitationRequest, GetInvitationResponse, Invitation, InvitationWorkspace, ListInvitationsRequest,
        ListInvitationsResponse, ResendInvitationRequest, ResendInvitationResponse, RevokeInvitationRequest,
        RevokeInvitationResponse, invitation_service_server::InvitationService,
    },
    rules::{
        Command, InvitationCommand, Violation,
        ids::{AccountId, AppName, Email, InvitationId, Malformed, MemberId, OrganizationId, WorkspaceId},
        invitations::{Invite, MAX_WORKSPACES},
        roles::{Language, WorkspaceRole},
    },
    seal::{Fields, Purpose},
    storage::{InvitationRead, MemberRead, Named, WorkspaceMemberRead},
};

/// For how long an invitation can be accepted where the request does not say.
const TIME_TO_LIVE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What a request may say: who has no hour to answer was not asked, and who has more than a month forgets.
const SHORTEST: Duration = Duration::from_secs(60 * 60);
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a secret says.
struct Secret {
    organization: OrganizationId,
    invitation: InvitationId,
    generation: i32,
}

fn time_to_live(field: &str, given: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(prost_types::Duration { seconds, nanos }) = given else { return Ok(TIME_TO_LIVE) };
    // By hand: the conversion of the crate ends the task on what no duration can be.
    let parts = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok());
    let lifetime = parts.filter(|(_, nanos)| *nanos < 1_000_000_000);
    let lifetime = lifetime.map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let lifetime = lifetime.filter(|lifetime| (SHORTEST..=LONGEST).contains(lifetime));
    lifetime.ok_or_else(|| status::invalid_field(field, "must be between an hour and 30 days"))
}

fn workspaces(named: &[InvitationWorkspace]) -> Result<BTreeMap<WorkspaceId, WorkspaceRole>, Status> {
    const FIELD: &str = "workspaces";
    if named.len() > MAX_WORKSPACES {
        return Err(status::invalid_field(FIELD, format!("must be at most {MAX_WORKSPACES}")));
    }
    let mut workspaces = BTreeMap::new();
    for workspace in named {
        let id = parse::required("workspaces.workspace_id", &workspace.workspace_id)?;
        let role = parse::workspace_role("workspaces.role", workspace.role)?;
        if workspaces.insert(id, role).is_some() {
            return Err(status::invalid_field(FIELD, "must name each workspace once"));
        }
    }
    Ok(workspaces)
}

impl Services {
    /// By how this address is known where it is counted.
    fn sending(&self, email: Email, time_to_live: Duration) -> Sending {
        let address_mac = self.seal.fingerprint("invitation", email.key().as_bytes());
        Sending { email, address_mac, time_to_live }
    }

    /// The secret with which an invitation is accepted. Empty: it has ended.
    fn secret_of(&self, row: &InvitationRead) -> String {
        if !row.is_pending() {
            return String::new();
        }
        let mut payload = row.organization_id.as_bytes().to_vec();
        payload.extend(row.invitation_id.as_bytes());
        payload.extend(row.generation.to_be_bytes());
        self.seal.seal(Purpose::Invitation, &payload)
    }

    /// Whatever is wrong with a secret, the answer is one: it helps nobody to guess.
    fn open_secret(&self, text: &str) -> Result<Secret, Status> {
        if text.is_empty() {
            return Err(status::invalid_field("secret", "must be given"));
        }
        let payload = self.seal.open(Purpose::Invitation, text).ok();
        let opened = payload.and_then(|payload| {
            let mut fields = Fields(&payload);
            Some(Secret {
                organization: OrganizationId(fields.uuid()?),
                invitation: InvitationId(fields.uuid()?),
                generation: fields.i32()?,
            })
        });
        opened.ok_or_else(|| status::violation(Violation::InvitationSecret))
    }

    async fn read_invitation(
        &self,
        organization: OrganizationId,
        id: InvitationId,
    ) -> Result<InvitationRead, Status> {
        let found = self.engine.database().invitation(organization, id).await.map_err(status::storage)?;
        if let Some(invitation) = found {
            return Ok(invitation);
        }
        self.read_organization(organization).await?;
        Err(status::not_found(ErrorReason::InvitationNotFound, "invitation", id))
    }

    /// The same with its secret, which gives all that the invitation does: so it is shown to a workload as itself, and
    /// where that acts for a person, to one who may manage the whole invitation. The mail brings it in any case.
    async fn invitation_and_secret(
        &self,
        organization: OrganizationId,
        done: &Done,
        acting: Option<AccountId>,
    ) -> Result<(Option<Invitation>, String), Status> {
        let (invitation, secret) = self.invitation_of(organization, done).await?;
        let (Some(account), Some(id)) = (acting, done.subject.invitation_id) else {
            return Ok((invitation, secret));
        };
        let whole = self.engine.database().manages_whole_invitation(organization, id, account).await;
        Ok((invitation, if whole.map_err(status::storage)? { secret } else { String::new() }))
    }

    /// The invitation that a write shows, with its secret.
    async fn invitation_of(
        &self,
        organization: OrganizationId,
        done: &Done,
    ) -> Result<(Option<Invitation>, String), Status> {
        let id = done.subject.invitation_id.ok_or_else(status::unrecorded)?;
        let row = self.read_invitation(organization, id).await?;
        let secret = self.secret_of(&row);
        Ok((Some(convert::invitation(row)), secret))
    }

    /// Adds those who are invited to a page of members, in the one order of the ids. They are read first: who accepts
    /// meanwhile is in both, and counts as a member; read the other way round, they could be in neither (R52).
    pub(super) async fn invitees(
        &self,
        organization: OrganizationId,
        app: Option<&AppName>,
        asked: bool,
        after: Option<uuid::Uuid>,
        limit: i64,
    ) -> Result<Vec<MemberRead>, Status> {
        if !asked {
            return Ok(Vec::new());
        }
        let rows = self.engine.database().invitations(organization, app, false, after, limit).await;
        Ok(rows.map_err(status::storage)?.into_iter().map(InvitationRead::into_member).collect())
    }

    /// The same for a page of members of a workspace.
    pub(super) async fn invitees_to(
        &self,
        organization: OrganizationId,
        workspace: WorkspaceId,
        asked: bool,
        after: Option<uuid::Uuid>,
        limit: i64,
    ) -> Result<Vec<WorkspaceMemberRead>, Status> {
        if !asked {
            return Ok(Vec::new());
        }
        let rows = self.engine.database().invitations_to(organization, workspace, after, limit).await;
        let rows = rows.map_err(status::storage)?.into_iter();
        Ok(rows.filter_map(|row| row.into_workspace_member(workspace)).collect())
    }
}

/// Members and invitees, by id; a member rather than an invitee of the same id.
pub(super) fn merged<T>(members: Vec<T>, invitees: Vec<T>, id: impl Fn(&T) -> uuid::Uuid) -> Vec<T> {
    if invitees.is_empty() {
        return members;
    }
    let mut all: BTreeMap<uuid::Uuid, T> = invitees.into_iter().map(|row| (id(&row), row)).collect();
    all.extend(members.into_iter().map(|row| (id(&row), row)));
    all.into_values().collect()
}

#[async_trait]
impl InvitationService for Services {
    async fn create_invitation(
        &self,
        request: Request<CreateInvitationRequest>,
    ) -> Result<Response<CreateInvitationResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let email: Email = parse::required("email", &message.email)?;
        let role = match proto::OrganizationRole::try_from(message.role) {
            Ok(proto::OrganizationRole::Unspecified) => None,
            _ => Some(parse::organization_role("role", message.role)?),
        };
        let workspaces = workspaces(&message.workspaces)?;
        let language = parse::language("language", &message.language)?.unwrap_or(Language::En);
        let sending = self.sending(email.clone(), time_to_live("time_to_live", message.time_to_live)?);
        let context = self
            .context("CreateInvitation", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let acting = context.acting;
        let order = InvitationOrder {
            organization,
            invitation: InvitationId::generate(),
            command: InvitationCommand::Invite(Invite { email, role, workspaces, language }),
            sending: Some(sending),
        };
        let done = self.engine.manage_invitation(context, order).await.map_err(status::engine)?;
        unless_validated!(done);
        let ((invitation, secret), token) =
            try_join!(self.invitation_and_secret(organization, &done, acting), self.token(&done))?;
        Ok(Response::new(CreateInvitationResponse { invitation, secret, token }))
    }

    async fn get_invitation(
        &self,
        request: Request<GetInvitationRequest>,
    ) -> Result<Response<GetInvitationResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let id = parse::required("invitation_id", &message.invitation_id)?;
        let reach = authz::reach(&request, &message.acting_account_id)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, Named { invitation: Some(id), ..authz::organization(organization) }).await?;
        let invitation = Some(convert::invitation(self.read_invitation(organization, id).await?));
        Ok(Response::new(GetInvitationResponse { invitation }))
    }

    async fn list_invitations(
        &self,
        request: Request<ListInvitationsRequest>,
    ) -> Result<Response<ListInvitationsResponse>, Status> {
        let message = request.get_ref();
        let id = parse::required("organization_id", &message.organization_id)?;
        let which = if message.include_ended { "all" } else { "pending" };
        let list = ["invitations", &message.organization_id, which];
        let reach = authz::reach(&request, &message.acting_account_id)?;
        let page = self.page(&request, &reach, (message.page_size, &message.page_token), &list)?;
        let after = page.after_id()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, authz::organization(id)).await?;
        self.read_organization(id).await?;
        let (app, ended_too) = (reach.app.as_ref(), message.include_ended);
        let rows = self.engine.database().invitations(id, app, ended_too, after, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.invitation_id.to_string());
        let invitations = rows.into_iter().map(convert::invitation).collect();
        Ok(Response::new(ListInvitationsResponse { invitations, next_page_token }))
    }

    async fn accept_invitation(
        &self,
        request: Request<AcceptInvitationRequest>,
    ) -> Result<Response<AcceptInvitationResponse>, Status> {
        let message = request.get_ref();
        let Secret { organization, invitation, generation } = self.open_secret(&message.secret)?;
        let display_name = parse::display_name("display_name", &message.display_name)?.map(Some);
        let context = self
            .context("AcceptInvitation", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let account =
            context.acting.ok_or_else(|| status::malformed("acting_account_id", Malformed::Empty))?;
        let reach = context.reach.clone();
        // Whoever is new gets the id of the invitation.
        let member = MemberId(invitation.0);
        let command = Command::AcceptInvitation { invitation, member, account, generation };
        let order = Order { display_name, ..Order::new(organization, command) };
        let done = self.engine.execute(context, order).await.map_err(status::engine)?;
        unless_validated!(done);
        let ((invitation, _), standing, token) = try_join!(
            self.invitation_of(organization, &done),
            self.standing_of(organization, &reach, &done),
            self.token(&done)
        )?;
        Ok(Response::new(AcceptInvitationResponse {
            invitation,
            member: Some(convert::member(standing.member)),
            active_workspace_ids: convert::ids(standing.active),
            token,
        }))
    }

    async fn decline_invitation(
        &self,
        request: Request<DeclineInvitationRequest>,
    ) -> Result<Response<DeclineInvitationResponse>, Status> {
        let message = request.get_ref();
        let Secret { organization, invitation, generation } = self.open_secret(&message.secret)?;
        let context = self
            .context("DeclineInvitation", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let command = InvitationCommand::Decline { generation };
        let order = InvitationOrder { organization, invitation, command, sending: None };
        let done = self.engine.manage_invitation(context, order).await.map_err(status::engine)?;
        unless_validated!(done);
        let ((invitation, _), token) = try_join!(self.invitation_of(organization, &done), self.token(&done))?;
        Ok(Response::new(DeclineInvitationResponse { invitation, token }))
    }

    async fn resend_invitation(
        &self,
        request: Request<ResendInvitationRequest>,
    ) -> Result<Response<ResendInvitationResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let invitation = parse::required("invitation_id", &message.invitation_id)?;
        let time_to_live = time_to_live("time_to_live", message.time_to_live)?;
        let context = self
            .context("ResendInvitation", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let acting = context.acting;
        let of = authz::organization(organization);
        let named = Named { invitation: Some(invitation), former: true, ..of };
        self.reached(&context.reach, named).await?;
        // The address never changes, so it can be read before the invitation is locked.
        let email = self.read_invitation(organization, invitation).await?.email;
        let email = email.map(|email| email.parse()).transpose().map_err(|_| status::unrecorded())?;
        let sending = email.map(|email| self.sending(email, time_to_live));
        let order = InvitationOrder { organization, invitation, command: InvitationCommand::Resend, sending };
        let done = self.engine.manage_invitation(context, order).await.map_err(status::engine)?;
        unless_validated!(done);
        let ((invitation, secret), token) =
            try_join!(self.invitation_and_secret(organization, &done, acting), self.token(&done))?;
        Ok(Response::new(ResendInvitationResponse { invitation, secret, token }))
    }

    async fn revoke_invitation(
        &self,
        request: Request<RevokeInvitationRequest>,
    ) -> Result<Response<RevokeInvitationResponse>, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let invitation = parse::required("invitation_id", &message.invitation_id)?;
        let workspace = parse::optional("workspace_id", &message.workspace_id)?;
        let context = self
            .context("RevokeInvitation", &request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let command = InvitationCommand::Revoke { workspace };
        let order = InvitationOrder { organization, invitation, command, sending: None };
        let done = self.engine.manage_invitation(context, order).await.map_err(status::engine)?;
        unless_validated!(done);
        let ((invitation, _), token) = try_join!(self.invitation_of(organization, &done), self.token(&done))?;
        Ok(Response::new(RevokeInvitationResponse { invitation, token }))
    }
}

//! What the answers of MemberService show.

use tonic::Status;
use uuid::Uuid;

use super::{Services, convert, status};
use crate::{
    engine::Done,
    proto::{ErrorReason, Member, WorkspaceMember},
    rules::{
        ids::{CommandId, MemberId, OrganizationId, WorkspaceId},
        roles::MembershipState,
    },
    storage::{MemberRead, WorkspaceMemberRead},
};

impl Services {
    pub(super) async fn read_member(
        &self,
        organization: OrganizationId,
        id: MemberId,
    ) -> Result<MemberRead, Status> {
        let found = self.engine.database().member(organization, id).await.map_err(status::storage)?;
        if let Some(member) = found {
            return Ok(member);
        }
        self.read_organization(organization).await?;
        Err(status::not_found(ErrorReason::MemberNotFound, "member", id))
    }

    pub(super) async fn read_workspace_member(
        &self,
        organization: OrganizationId,
        workspace: WorkspaceId,
        member: MemberId,
    ) -> Result<WorkspaceMemberRead, Status> {
        let found = self.engine.database().workspace_member(organization, workspace, member).await;
        if let Some(membership) = found.map_err(status::storage)? {
            return Ok(membership);
        }
        self.read_workspace(organization, workspace).await?;
        self.read_member(organization, member).await?;
        Err(status::not_found(ErrorReason::WorkspaceMemberNotFound, "workspace member", member))
    }

    /// The member that a write shows.
    pub(super) async fn member_of(
        &self,
        organization: OrganizationId,
        done: &Done,
    ) -> Result<Option<Member>, Status> {
        let id = done.subject.member_id.ok_or_else(status::unrecorded)?;
        Ok(Some(convert::member(self.read_member(organization, id).await?)))
    }

    /// The membership that a write shows.
    pub(super) async fn workspace_member_of(
        &self,
        organization: OrganizationId,
        done: &Done,
    ) -> Result<Option<WorkspaceMember>, Status> {
        let workspace = done.subject.workspace_id.ok_or_else(status::unrecorded)?;
        let member = done.subject.member_id.ok_or_else(status::unrecorded)?;
        Ok(Some(convert::workspace_member(
            self.read_workspace_member(organization, workspace, member).await?,
        )))
    }

    /// Where to send a person next (R21 d).
    pub(super) async fn other_organizations(
        &self,
        organization: OrganizationId,
        member: Option<&Member>,
    ) -> Result<Vec<String>, Status> {
        let account = member.and_then(|member| member.account_id.parse::<Uuid>().ok()).unwrap_or_default();
        let found = self.engine.database().other_active_organizations(organization, account).await;
        found.map(convert::ids).map_err(status::storage)
    }

    /// The workspaces of a member in a state, those that a command closed or all.
    pub(super) async fn workspaces_in(
        &self,
        organization: OrganizationId,
        member: MemberId,
        state: MembershipState,
        closed_by: Option<CommandId>,
    ) -> Result<Vec<String>, Status> {
        let found = self.engine.database().workspaces_of_member(organization, member, state, closed_by).await;
        found.map(convert::ids).map_err(status::storage)
    }

    /// Whether a member is DEACTIVATED in the organization since a command (R13).
    pub(super) async fn closed_by(
        &self,
        organization: OrganizationId,
        member: &Member,
        command: CommandId,
    ) -> Result<bool, Status> {
        let closed = self.engine.database().members_deactivated_by(organization, command).await;
        Ok(convert::ids(closed.map_err(status::storage)?).contains(&member.member_id))
    }
}

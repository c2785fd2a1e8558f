//! What the answers of MemberService show.

use tonic::Status;

use super::{Services, convert, status};
use crate::{
    engine::Done,
    proto::{ErrorReason, Member, WorkspaceMember},
    rules::{
        Violation,
        ids::{InvitationId, MemberId, OrganizationId, WorkspaceId},
        tables::Standing,
    },
    storage::{MemberRead, MemberStanding, Reach, WorkspaceMemberRead},
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
        let invitation = self.engine.database().invitation(organization, InvitationId(id.0)).await;
        let invited = invitation.map_err(status::storage)?.is_some_and(|found| found.is_pending());
        let standing = if invited { Standing::Invited } else { Standing::None };
        Err(status::violation(Violation::Member { member: id, standing }))
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

    /// What a departure or a return shows: the member, their workspaces, and where to send them next (R21 d), as far as
    /// whoever commands it sees.
    pub(super) async fn standing_of(
        &self,
        organization: OrganizationId,
        reach: &Reach,
        done: &Done,
    ) -> Result<MemberStanding, Status> {
        let id = done.subject.member_id.ok_or_else(status::unrecorded)?;
        let found = self.engine.database().member_standing(organization, id, done.command_id()).await;
        let found = found.map_err(status::storage)?.ok_or_else(status::unrecorded)?;
        Ok(MemberStanding {
            active: self.own_workspaces(reach, organization, found.active).await?,
            deactivated: self.own_workspaces(reach, organization, found.deactivated).await?,
            closed: self.own_workspaces(reach, organization, found.closed).await?,
            others: self.known_of(reach, found.others).await?,
            ..found
        })
    }
}

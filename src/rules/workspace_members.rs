//! What commands about a member in one workspace do.

use super::{
    change::Reason,
    command::Actor,
    departure::{Departure, Reach},
    draft::Draft,
    erasure,
    ids::{MemberId, WorkspaceId},
    members,
    roles::{MembershipState, WorkspaceRole, WorkspaceState},
    state::{Member, WorkspaceMember},
    tables::{Action, Outcome, Standing, accepts},
    violation::Violation,
};

/// Checks permission (R61), the workspace, and the table of states (R62). None: there is nothing to do.
fn accept(
    draft: &Draft<'_>,
    action: Action,
    workspace: WorkspaceId,
    member: &Member,
) -> Result<Option<WorkspaceMember>, Violation> {
    let workspace = draft.workspace(workspace)?;
    draft.permit(action, member)?;
    let ends = matches!(action, Action::DeactivateWorkspaceMember | Action::RemoveWorkspaceMember);
    if workspace.state == WorkspaceState::Deleted && !ends {
        return Err(Violation::WorkspaceDeleted(workspace.id));
    }
    let membership = draft.membership(workspace.id, member.id);
    let standing = Standing::from(membership.as_ref().map(|membership| membership.state));
    match accepts(action, standing) {
        Outcome::Changes => Ok(Some(membership.unwrap_or(WorkspaceMember {
            organization_id: member.organization_id,
            workspace_id: workspace.id,
            member_id: member.id,
            role: WorkspaceRole::Guest,
            state: MembershipState::Active,
            revoked_by: None,
            version: 0,
        }))),
        Outcome::Nothing => Ok(None),
        Outcome::Refused => Err(Violation::WorkspaceMember { member: member.id, standing }),
    }
}

pub(super) fn add(
    draft: &mut Draft<'_>,
    workspace: WorkspaceId,
    member: MemberId,
    role: WorkspaceRole,
) -> Result<(), Violation> {
    draft.workspace(workspace)?;
    let member = draft.member(member)?;
    draft.permit(Action::AddWorkspaceMember, &member)?;
    if member.state != MembershipState::Active {
        return Err(Violation::Member { member: member.id, standing: Standing::from(Some(member.state)) });
    }
    if accept(draft, Action::AddWorkspaceMember, workspace, &member)?.is_none() {
        return Ok(());
    }
    let before = draft.membership(workspace, member.id);
    draft.join_workspace(member, workspace, before, role)
}

pub(super) fn set_role(
    draft: &mut Draft<'_>,
    workspace: WorkspaceId,
    member: MemberId,
    role: WorkspaceRole,
    departure: &Departure,
) -> Result<(), Violation> {
    let member = draft.member(member)?;
    let Some(membership) = accept(draft, Action::SetWorkspaceRole, workspace, &member)? else {
        return Ok(());
    };
    if membership.role != role {
        if membership.role == WorkspaceRole::Admin && membership.state == MembershipState::Active {
            draft.demote(&member, &membership, departure)?;
        }
        draft.push_membership(WorkspaceMember { role, ..membership }, Reason::RoleChanged);
    }
    Ok(())
}

/// R12, R13, R14: one workspace, and the organization with it where it was the last ACTIVE one.
pub(super) fn deactivate(
    draft: &mut Draft<'_>,
    workspace: WorkspaceId,
    member: MemberId,
    departure: &Departure,
) -> Result<(), Violation> {
    let member = draft.member(member)?;
    let Some(membership) = accept(draft, Action::DeactivateWorkspaceMember, workspace, &member)? else {
        return Ok(());
    };
    let closing = [membership.clone()];
    let last = !members::in_state(draft, member.id, &[MembershipState::Active])
        .iter()
        .any(|other| other.workspace_id != workspace);
    let reach =
        if last && member.state == MembershipState::Active { Reach::Organization } else { Reach::Workspace };
    if reach == Reach::Organization && *draft.actor == Actor::App {
        // Nor does an app, by way of its workspace, reach an admin whom it could not deactivate (R61).
        draft.permit(Action::DeactivateMember, &member)?;
    }
    draft.depart(&member, &closing, reach, departure)?;
    if erasure::ends_more(draft, member.id, departure)? {
        return Ok(());
    }
    draft.revoke_membership(membership, MembershipState::Deactivated, Reason::Deactivated);
    if reach == Reach::Organization {
        draft.revoke_member(member, MembershipState::Deactivated, Reason::DeactivatedWithLastWorkspace);
    }
    Ok(())
}

/// R34: a member who is DEACTIVATED in the organization becomes ACTIVE there too.
pub(super) fn reactivate(
    draft: &mut Draft<'_>,
    workspace: WorkspaceId,
    member: MemberId,
) -> Result<(), Violation> {
    let member = draft.member(member)?;
    let Some(membership) = accept(draft, Action::ReactivateWorkspaceMember, workspace, &member)? else {
        return Ok(());
    };
    if member.state == MembershipState::Deactivated {
        // Who opens the organization again must be allowed to do just that (R11).
        draft.permit(Action::ReactivateMember, &member)?;
        draft.push_member(
            Member { state: MembershipState::Active, revoked_by: None, ..member },
            Reason::ReactivatedWithWorkspace,
        );
    }
    draft.push_membership(
        WorkspaceMember { state: MembershipState::Active, revoked_by: None, ..membership },
        Reason::Reactivated,
    );
    Ok(())
}

pub(super) fn remove(
    draft: &mut Draft<'_>,
    workspace: WorkspaceId,
    member: MemberId,
    departure: &Departure,
) -> Result<(), Violation> {
    let member = draft.member(member)?;
    let Some(membership) = accept(draft, Action::RemoveWorkspaceMember, workspace, &member)? else {
        return Ok(());
    };
    let closing = [membership.clone()];
    let closing = if membership.state == MembershipState::Active { &closing[..] } else { &[] };
    draft.depart(&member, closing, Reach::Workspace, departure)?;
    draft.revoke_membership(membership, MembershipState::Removed, Reason::Removed);
    Ok(())
}

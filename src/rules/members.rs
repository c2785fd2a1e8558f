//! What commands about a member in the organization do.

use std::collections::BTreeSet;

use super::{
    change::Reason,
    command::{Actor, Restore},
    departure::{Departure, Reach},
    draft::Draft,
    erasure,
    ids::{AccountId, MemberId, WorkspaceId},
    roles::{MembershipState, OrganizationRole, WorkspaceState},
    state::{Member, Moment, WorkspaceMember},
    tables::{Action, Outcome, Standing, accepts},
    time,
    violation::Violation,
};

/// Asks the table of states (R62).
pub(super) fn accept(
    action: Action,
    member: MemberId,
    state: Option<MembershipState>,
) -> Result<Outcome, Violation> {
    let standing = Standing::from(state);
    match accepts(action, standing) {
        Outcome::Refused => Err(Violation::Member { member, standing }),
        outcome => Ok(outcome),
    }
}

/// R29, R50: a REMOVED member returns with the same id and in no workspace.
pub(super) fn add(
    draft: &mut Draft<'_>,
    id: MemberId,
    account_id: AccountId,
    role: OrganizationRole,
) -> Result<(), Violation> {
    draft.permit_grant(role)?;
    draft.permit_thing(Action::AddMember)?;
    let before = draft.state.members.get(&id).cloned();
    accept(Action::AddMember, id, before.as_ref().map(|member| member.state))?;
    enter(draft, id, account_id, role)
}

/// An account becomes a member, or a member is one again.
pub(super) fn enter(
    draft: &mut Draft<'_>,
    id: MemberId,
    account_id: AccountId,
    role: OrganizationRole,
) -> Result<(), Violation> {
    let before = draft.state.members.get(&id).cloned();
    let Some(organization_id) = draft.state.organization.as_ref().map(|organization| organization.id) else {
        return Ok(());
    };
    let reason = if before.is_some() { Reason::Returned } else { Reason::Created };
    let member = before.unwrap_or(Member {
        organization_id,
        id,
        account_id: Some(account_id),
        role,
        state: MembershipState::Active,
        revoked_by: None,
        leaving: false,
        return_time: None,
        vouched: false,
        tombstone: None,
        apps: BTreeSet::new(),
        version: 0,
    });
    let vouched = member.vouched
        || match draft.actor {
            Actor::Workload => true,
            Actor::App => false,
            Actor::Person { account, .. } => *account == account_id,
        };
    // Who returns starts anew, without what was announced before they left (R59).
    let state = MembershipState::Active;
    draft.push_member(Member { role, state, revoked_by: None, leaving: false, vouched, ..member }, reason);
    Ok(())
}

/// R03: a changed role is a changed role, and nothing else.
pub(super) fn update(
    draft: &mut Draft<'_>,
    id: MemberId,
    role: Option<OrganizationRole>,
    profile_changes: bool,
    profile_named: bool,
) -> Result<(), Violation> {
    let member = draft.member(id)?;
    if let Some(role) = role {
        draft.permit_grant(role)?;
        draft.permit(Action::SetRole, &member)?;
        accept(Action::SetRole, id, Some(member.state))?;
        if role != member.role {
            draft.keep_an_owner(&[member.id]);
            draft.push_member(Member { role, ..member.clone() }, Reason::RoleChanged);
        }
    }
    if profile_named {
        draft.permit(Action::SetProfile, &member)?;
        accept(Action::SetProfile, id, Some(member.state))?;
        if profile_changes {
            let member = draft.member(id)?;
            draft.push_member(member, Reason::ProfileChanged);
        }
    }
    Ok(())
}

/// R19: the organization and every workspace in it, at once.
pub(super) fn deactivate(
    draft: &mut Draft<'_>,
    id: MemberId,
    departure: &Departure,
    return_time: Option<Moment>,
) -> Result<(), Violation> {
    let member = draft.member(id)?;
    draft.permit(Action::DeactivateMember, &member)?;
    time::permit_return(draft, &member, return_time)?;
    if accept(Action::DeactivateMember, id, Some(member.state))? == Outcome::Nothing {
        return Ok(());
    }
    time::check_return(draft, return_time)?;
    let closing = in_state(draft, id, &[MembershipState::Active]);
    draft.depart(&member, &closing, Reach::Organization, departure)?;
    if erasure::ends_more(draft, id, departure)? {
        return Ok(());
    }
    close(draft, Member { return_time, ..member }, Reason::Deactivated);
    Ok(())
}

/// Takes a member's access to the organization and to everything in it.
pub(super) fn close(draft: &mut Draft<'_>, member: Member, reason: Reason) {
    let id = member.id;
    draft.revoke_member(member, MembershipState::Deactivated, reason);
    for membership in in_state(draft, id, &[MembershipState::Active]) {
        draft.revoke_membership(
            membership,
            MembershipState::Deactivated,
            Reason::DeactivatedWithOrganization,
        );
    }
}

/// R30, R33: back with the role; of the workspaces, those that `restore` names.
pub(super) fn reactivate(draft: &mut Draft<'_>, id: MemberId, restore: &Restore) -> Result<(), Violation> {
    let member = draft.member(id)?;
    draft.permit(Action::ReactivateMember, &member)?;
    if accept(Action::ReactivateMember, id, Some(member.state))? == Outcome::Nothing {
        return Ok(());
    }
    reopen(draft, member, restore, Reason::Reactivated)
}

/// Gives a DEACTIVATED member the access back.
pub(super) fn reopen(
    draft: &mut Draft<'_>,
    member: Member,
    restore: &Restore,
    reason: Reason,
) -> Result<(), Violation> {
    let id = member.id;
    let closed_with = member.revoked_by;
    let restored: Vec<WorkspaceMember> = match restore {
        Restore::LastCascade => in_state(draft, id, &[MembershipState::Deactivated])
            .into_iter()
            .filter(|membership| membership.revoked_by == closed_with)
            .collect(),
        Restore::All => in_state(draft, id, &[MembershipState::Deactivated]),
        Restore::Listed(workspaces) => listed(draft, id, workspaces)?,
    };
    draft.push_member(Member { state: MembershipState::Active, revoked_by: None, ..member }, reason);
    for membership in restored {
        draft.push_membership(
            WorkspaceMember { state: MembershipState::Active, revoked_by: None, ..membership },
            Reason::RestoredWithOrganization,
        );
    }
    Ok(())
}

fn listed(
    draft: &Draft<'_>,
    member: MemberId,
    workspaces: &BTreeSet<WorkspaceId>,
) -> Result<Vec<WorkspaceMember>, Violation> {
    let mut restored = Vec::new();
    for id in workspaces {
        if draft.workspace(*id)?.state == WorkspaceState::Deleted {
            return Err(Violation::WorkspaceDeleted(*id));
        }
        let membership = draft.membership(*id, member);
        let standing = Standing::from(membership.as_ref().map(|membership| membership.state));
        match (accepts(Action::ReactivateWorkspaceMember, standing), membership) {
            (Outcome::Changes, Some(membership)) => restored.push(membership),
            _ => return Err(Violation::WorkspaceMember { member, standing }),
        }
    }
    Ok(restored)
}

/// R25, R29: out of the organization and of every workspace; nothing cascades to the account (R02).
pub(super) fn remove(draft: &mut Draft<'_>, id: MemberId, departure: &Departure) -> Result<(), Violation> {
    let member = draft.member(id)?;
    draft.permit(Action::RemoveMember, &member)?;
    if accept(Action::RemoveMember, id, Some(member.state))? == Outcome::Nothing {
        return Ok(());
    }
    if member.state == MembershipState::Active {
        let closing = in_state(draft, id, &[MembershipState::Active]);
        draft.depart(&member, &closing, Reach::Organization, departure)?;
    } else {
        draft.hand_over(&member, departure)?;
    }
    if erasure::ends_more(draft, id, departure)? {
        return Ok(());
    }
    draft.revoke_member(member, MembershipState::Removed, Reason::Removed);
    for membership in in_state(draft, id, &[MembershipState::Active, MembershipState::Deactivated]) {
        draft.revoke_membership(membership, MembershipState::Removed, Reason::RemovedWithOrganization);
    }
    Ok(())
}

pub(super) fn in_state(
    draft: &Draft<'_>,
    member: MemberId,
    states: &[MembershipState],
) -> Vec<WorkspaceMember> {
    draft
        .state
        .memberships_of(member)
        .filter(|membership| states.contains(&membership.state))
        .cloned()
        .collect()
}

//! What commands about the organization itself do.

use std::collections::BTreeSet;

use super::{
    change::{Reason, Subject},
    command::{Actor, CreateOrganization, OrganizationUpdate},
    decide::permit_account,
    draft::Draft,
    ids::MemberId,
    roles::{MembershipState, OrganizationRole, OrganizationState, WorkspaceRole, WorkspaceState},
    seats::{Seats, SeatsOf},
    state::{Member, Organization, Workspace, WorkspaceMember},
    tables::Action,
    violation::Violation,
};

/// R01: an organization begins with a workspace.
pub(super) fn create(draft: &mut Draft<'_>, command: &CreateOrganization) -> Result<(), Violation> {
    let CreateOrganization {
        organization,
        display_name,
        settings,
        owner,
        account,
        workspace,
        app,
        workspace_name,
        owner_joins,
    } = command;
    let acting = match draft.actor {
        Actor::Workload | Actor::App => None,
        Actor::Person { account, .. } => Some(*account),
    };
    permit_account(Action::CreateOrganization, acting, Some(*account))?;
    if settings.seat_limit.is_some() {
        permit_account(Action::SetSeats, acting, Some(*account))?;
    }
    let apps = BTreeSet::from([app.clone()]);
    let created = Organization {
        id: *organization,
        display_name: display_name.clone(),
        state: OrganizationState::Active,
        contract: None,
        settings: settings.clone(),
        apps: apps.clone(),
        version: 1,
    };
    draft.push(Subject::Organization(created), Reason::Created, apps.clone());
    let first = Workspace {
        organization_id: *organization,
        id: *workspace,
        app: app.clone(),
        display_name: workspace_name.clone(),
        state: WorkspaceState::Active,
        version: 1,
    };
    draft.push(Subject::Workspace(first), Reason::Created, apps.clone());
    let member = Member {
        organization_id: *organization,
        id: *owner,
        account_id: Some(*account),
        role: OrganizationRole::Owner,
        state: MembershipState::Active,
        revoked_by: None,
        leaving: false,
        return_time: None,
        vouched: true,
        tombstone: None,
        apps: if *owner_joins { apps } else { BTreeSet::new() },
        version: 0,
    };
    draft.push_member(member, Reason::Created);
    if *owner_joins {
        let membership = WorkspaceMember {
            organization_id: *organization,
            workspace_id: *workspace,
            member_id: *owner,
            role: WorkspaceRole::Admin,
            state: MembershipState::Active,
            revoked_by: None,
            version: 0,
        };
        draft.push_membership(membership, Reason::Created);
    }
    Ok(())
}

/// The name and the settings; seats and contract are for workloads alone. Nobody is put out by a lower limit.
pub(super) fn update(draft: &mut Draft<'_>, update: &OrganizationUpdate) -> Result<(), Violation> {
    draft.permit_thing(Action::UpdateOrganization)?;
    if update.names_seats() {
        draft.permit_thing(Action::SetSeats)?;
    }
    let Some(mut organization) = draft.state.organization.clone() else { return Ok(()) };
    if let Some(display_name) = &update.display_name
        && organization.display_name != *display_name
    {
        organization.display_name = display_name.clone();
        organization.version += 1;
        let apps = organization.apps.clone();
        draft.push(Subject::Organization(organization.clone()), Reason::Renamed, apps);
    }
    let before = organization.clone();
    update.apply(&mut organization);
    if organization != before {
        keep_seats(draft.state.seats.as_ref(), &before, &organization)?;
        organization.version += 1;
        let apps = organization.apps.clone();
        draft.push(Subject::Organization(organization), Reason::SettingsChanged, apps);
    }
    Ok(())
}

/// Refuses a limit that is below what is used, and a contract that has no room for who is here.
fn keep_seats(seats: Option<&Seats>, before: &Organization, after: &Organization) -> Result<(), Violation> {
    let limit = after.settings.seat_limit.filter(|_| after.settings.seat_limit != before.settings.seat_limit);
    let joined = after.contract.filter(|_| after.contract != before.contract);
    if limit.is_none() && joined.is_none() {
        return Ok(());
    }
    let seats = seats.ok_or(Violation::SeatsNotCounted)?;
    if let Some(limit) = limit.filter(|limit| seats.used > *limit) {
        return Err(Violation::SeatsInUse { of: SeatsOf::Organization(after.id), used: seats.used, limit });
    }
    let Some(joined) = joined else { return Ok(()) };
    let contract =
        seats.contract.as_ref().filter(|contract| contract.id == joined).ok_or(Violation::SeatsNotCounted)?;
    match contract.limit.filter(|limit| contract.used > *limit) {
        Some(limit) => {
            Err(Violation::SeatsInUse { of: SeatsOf::Contract(joined), used: contract.used, limit })
        }
        None => Ok(()),
    }
}

/// The command: by an owner or a workload, who confirmed it. Again changes nothing, whoever asks: the owners are REMOVED
/// by then.
pub(super) fn delete_confirmed(draft: &mut Draft<'_>, confirmed: bool) -> Result<(), Violation> {
    if draft.state.organization.as_ref().is_none_or(Organization::is_deleted) {
        return Ok(());
    }
    draft.permit_thing(Action::DeleteOrganization)?;
    if !confirmed {
        return Err(Violation::NotConfirmed);
    }
    delete(draft);
    Ok(())
}

/// Ends the organization and everything in it. The slice has all its live workspaces, and all members who belong with all
/// their memberships. The accounts stay (R02). Who decides that it may end, and asks for the confirmation, is the caller.
pub(super) fn delete(draft: &mut Draft<'_>) {
    let Some(mut organization) = draft.state.organization.clone() else { return };
    let reason = Reason::OrganizationDeleted;
    let belongs =
        |state: MembershipState| matches!(state, MembershipState::Active | MembershipState::Deactivated);
    let memberships: Vec<WorkspaceMember> =
        draft.state.workspace_members.values().filter(|own| belongs(own.state)).cloned().collect();
    for membership in memberships {
        draft.revoke_membership(membership, MembershipState::Removed, reason);
    }
    let members: Vec<MemberId> =
        draft.state.members.values().filter(|member| belongs(member.state)).map(|member| member.id).collect();
    for id in members {
        if let Ok(member) = draft.member(id) {
            draft.revoke_member(member, MembershipState::Removed, reason);
        }
    }
    let workspaces: Vec<Workspace> = draft
        .state
        .workspaces
        .values()
        .filter(|workspace| workspace.state == WorkspaceState::Active)
        .cloned()
        .collect();
    for mut workspace in workspaces {
        workspace.state = WorkspaceState::Deleted;
        workspace.version += 1;
        let apps = BTreeSet::from([workspace.app.clone()]);
        draft.push(Subject::Workspace(workspace), reason, apps);
    }
    // Without it the contract could never be deleted.
    organization.contract = None;
    organization.state = OrganizationState::Deleted;
    organization.version += 1;
    let apps = organization.apps.clone();
    draft.push(Subject::Organization(organization), Reason::Deleted, apps);
}

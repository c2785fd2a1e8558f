//! What a command does: [`decide`].

use std::collections::BTreeSet;

use super::{
    change::{Change, Reason, Subject},
    command::{Actor, Command},
    departure::Blocker,
    draft::Draft,
    erasure,
    ids::{AccountId, AppName, CommandId, DisplayName, MemberId, WorkspaceId},
    invitations, members, organizations,
    roles::{MembershipState, OrganizationRole, WorkspaceState},
    seats,
    state::{Member, State, Workspace, WorkspaceMember},
    tables::{Action, ActorKind, Target, permitted},
    time,
    violation::Violation,
    workspace_members,
};

/// The most changes that one command may produce (C4): what a client can be asked to take as one whole.
pub const MAX_CHANGES: usize = 5_000;

/// Decides what a command does to a slice of the store: its changes in order, none where there is nothing to do.
///
/// A function of its arguments: no I/O, no clock, no randomness. It does not change `state`; the engine persists the
/// changes and [`State::apply`] makes them true in a slice.
pub fn decide(
    state: &State,
    actor: &Actor,
    command: &Command,
    id: CommandId,
) -> Result<Vec<Change>, Violation> {
    let Plan { changes, blockers } = plan(state, actor, command, id)?;
    if blockers.is_empty() { Ok(changes) } else { Err(Violation::Blocked(blockers)) }
}

/// What a command would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in order, as far as nothing stands in the way.
    pub changes: Vec<Change>,
    /// What stands in the way of a departure.
    pub blockers: Vec<Blocker>,
}

/// The same as [`decide`], also where something stands in the way.
pub fn plan(state: &State, actor: &Actor, command: &Command, id: CommandId) -> Result<Plan, Violation> {
    if let Some(organization) = state.organization.as_ref().filter(|organization| organization.is_deleted())
        // Personal data can be erased there as well.
        && !matches!(command, Command::DeleteOrganization { .. } | Command::EraseMember(_))
    {
        return Err(Violation::OrganizationDeleted(organization.id));
    }
    let mut draft = Draft::new(state, actor, id);
    match command {
        Command::CreateOrganization(command) => organizations::create(&mut draft, command),
        Command::UpdateOrganization(update) => organizations::update(&mut draft, update),
        Command::DeleteOrganization { confirmed } => organizations::delete_confirmed(&mut draft, *confirmed),
        Command::CreateWorkspace { workspace, app, display_name } => {
            create_workspace(&mut draft, *workspace, app, display_name)
        }
        Command::RenameWorkspace { workspace, display_name } => {
            rename_workspace(&mut draft, *workspace, display_name)
        }
        Command::DeleteWorkspace { workspace } => delete_workspace(&mut draft, *workspace),
        Command::AddMember { member, account, role } => members::add(&mut draft, *member, *account, *role),
        Command::AcceptInvitation { member, account, generation, .. } => {
            invitations::accept(&mut draft, *member, *account, *generation)
        }
        Command::UpdateMember { member, role, profile_changes, profile_named, leaving, return_time } => {
            members::update(&mut draft, *member, *role, *profile_changes, *profile_named)
                .and_then(|()| time::announce(&mut draft, *member, *leaving, *return_time))
        }
        Command::DeactivateMember { member, departure, return_time } => {
            members::deactivate(&mut draft, *member, departure, *return_time)
        }
        Command::DeactivateInactive { member } => time::deactivate_inactive(&mut draft, *member),
        Command::ReturnAsPlanned { member } => time::return_as_planned(&mut draft, *member),
        Command::ReactivateMember { member, restore } => members::reactivate(&mut draft, *member, restore),
        Command::RemoveMember { member, departure } => members::remove(&mut draft, *member, departure),
        Command::EraseMember(erasure) => erasure::erase_member(&mut draft, erasure),
        Command::AddWorkspaceMember { workspace, member, role } => {
            workspace_members::add(&mut draft, *workspace, *member, *role)
        }
        Command::SetWorkspaceRole { workspace, member, role, departure } => {
            workspace_members::set_role(&mut draft, *workspace, *member, *role, departure)
        }
        Command::DeactivateWorkspaceMember { workspace, member, departure } => {
            workspace_members::deactivate(&mut draft, *workspace, *member, departure)
        }
        Command::ReactivateWorkspaceMember { workspace, member } => {
            workspace_members::reactivate(&mut draft, *workspace, *member)
        }
        Command::RemoveWorkspaceMember { workspace, member, departure } => {
            workspace_members::remove(&mut draft, *workspace, *member, departure)
        }
    }?;
    if draft.changes.len() > MAX_CHANGES {
        return Err(Violation::TooLarge { changes: draft.changes.len(), limit: MAX_CHANGES });
    }
    seats::check(state, &draft.changes)?;
    Ok(Plan { changes: draft.changes, blockers: draft.blockers })
}

/// Whether a person, or a workload as itself, may create an account or an organization for `account`, or change it.
/// These commands stand outside of any organization, so that only "oneself" and "another" are told apart.
pub fn permit_account(
    action: Action,
    acting: Option<AccountId>,
    account: Option<AccountId>,
) -> Result<(), Violation> {
    let Some(acting) = acting else { return Ok(()) };
    let target = if Some(acting) == account { Target::Own } else { Target::Other(OrganizationRole::Guest) };
    permitted(action, ActorKind::Outsider, target).map_err(Violation::Denied)
}

/// The changes that tell of a member what changed of the account (R23), one for each reason. What it is now is in no change.
pub fn account_changed(member: &Member, reasons: &[Reason], command: CommandId) -> Vec<Change> {
    let versions = member.version + 1..;
    let change = |(version, reason): (i64, &Reason)| Change {
        apps: member.apps.clone(),
        subject: Subject::Member(Member { version, ..member.clone() }),
        reason: *reason,
        command,
        handover_to: None,
        assignments: None,
    };
    versions.zip(reasons).map(change).collect()
}

fn create_workspace(
    draft: &mut Draft<'_>,
    id: WorkspaceId,
    app: &AppName,
    display_name: &DisplayName,
) -> Result<(), Violation> {
    draft.permit_thing(Action::CreateWorkspace)?;
    let Some(mut organization) = draft.state.organization.clone() else { return Ok(()) };
    let organization_id = organization.id;
    let apps = BTreeSet::from([app.clone()]);
    if organization.apps.insert(app.clone()) {
        organization.version += 1;
        // Those that knew it before are told too, since its version goes up.
        let known_in = organization.apps.clone();
        draft.push(Subject::Organization(organization), Reason::ScopeEntered, known_in);
    }
    let workspace = Workspace {
        organization_id,
        id,
        app: app.clone(),
        display_name: display_name.clone(),
        state: WorkspaceState::Active,
        version: 1,
    };
    draft.push(Subject::Workspace(workspace), Reason::Created, apps);
    Ok(())
}

fn rename_workspace(
    draft: &mut Draft<'_>,
    id: WorkspaceId,
    display_name: &DisplayName,
) -> Result<(), Violation> {
    draft.permit_thing(Action::UpdateWorkspace)?;
    let mut workspace = draft.workspace(id)?;
    if workspace.state == WorkspaceState::Deleted {
        return Err(Violation::WorkspaceDeleted(id));
    }
    if workspace.display_name != *display_name {
        workspace.display_name = display_name.clone();
        workspace.version += 1;
        let apps = BTreeSet::from([workspace.app.clone()]);
        draft.push(Subject::Workspace(workspace), Reason::Renamed, apps);
    }
    Ok(())
}

/// R01: the last workspace stays; members for whom it was the only ACTIVE one are deactivated as by R13.
fn delete_workspace(draft: &mut Draft<'_>, id: WorkspaceId) -> Result<(), Violation> {
    draft.permit_thing(Action::DeleteWorkspace)?;
    let mut workspace = draft.workspace(id)?;
    if workspace.state == WorkspaceState::Deleted {
        return Ok(());
    }
    if draft.state.live_workspaces <= 1 {
        return Err(Violation::LastWorkspace(id));
    }
    let memberships: Vec<WorkspaceMember> = draft
        .state
        .workspace_members
        .values()
        .filter(|membership| membership.workspace_id == id && membership.state != MembershipState::Removed)
        .cloned()
        .collect();
    for membership in &memberships {
        draft.revoke_membership(membership.clone(), MembershipState::Removed, Reason::RemovedWithWorkspace);
    }
    // Only who was ACTIVE in it loses the organization with it: a membership closed before took nothing along now.
    let cascading: Vec<MemberId> = memberships
        .iter()
        .filter(|membership| membership.state == MembershipState::Active)
        .map(|membership| membership.member_id)
        .filter(|member| draft.is_without_workspace(*member))
        .collect();
    let leaving: Vec<Member> = cascading
        .into_iter()
        .filter_map(|member| draft.state.members.get(&member).cloned())
        .filter(|member| member.state == MembershipState::Active)
        .collect();
    for member in &leaving {
        // An admin does not reach, by way of a workspace, an owner whom they could not deactivate (R61).
        draft.permit(Action::DeactivateMember, member)?;
    }
    draft.keep_an_owner(&leaving.iter().map(|member| member.id).collect::<Vec<_>>());
    for member in leaving {
        if draft.is_actor(member.id) && !draft.state.actor_belongs_elsewhere {
            draft.blockers.push(Blocker::OnlyOrganization(member.id));
        }
        draft.revoke_member(member, MembershipState::Deactivated, Reason::DeactivatedWithLastWorkspace);
    }
    workspace.state = WorkspaceState::Deleted;
    workspace.version += 1;
    let apps = BTreeSet::from([workspace.app.clone()]);
    draft.push(Subject::Workspace(workspace), Reason::Deleted, apps);
    Ok(())
}

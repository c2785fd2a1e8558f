//! Settings and the end of an organization, asked of `decide`.

use std::collections::BTreeMap;

use super::{
    model::{Thing, check_change},
    *,
};
use crate::rules::{
    ActingMember, Actor, Command, Departure, OrganizationUpdate, Reason, Restore, SettingsUpdate, Subject,
    Violation, decide,
};

pub(super) fn renaming(name: &str) -> Command {
    Command::UpdateOrganization(OrganizationUpdate {
        display_name: Some(shown(name)),
        ..OrganizationUpdate::default()
    })
}

pub(super) fn setting(settings: SettingsUpdate) -> Command {
    Command::UpdateOrganization(OrganizationUpdate { settings, ..OrganizationUpdate::default() })
}

#[test]
fn each_setting_is_changed_alone_and_once() {
    let some = SettingsUpdate::default;
    let updates = [
        SettingsUpdate { seat_limit: Some(Some(9)), ..some() },
        SettingsUpdate { self_deactivation: Some(false), ..some() },
        SettingsUpdate { invitation_forwarding: Some(true), ..some() },
        SettingsUpdate { guest_inactivity_days: Some(Some(30)), ..some() },
        SettingsUpdate { reactivate_on_return: Some(true), ..some() },
        SettingsUpdate { erased_alias: Some(shown("gone")), ..some() },
        SettingsUpdate { deleted_account_alias: Some(shown("nobody")), ..some() },
    ];
    let mut wanted = Settings::default();
    let mut state = slice();
    for (number, update) in (1..).zip(updates) {
        state.seats = Some(seats::of(&state));
        let changes = decide(&state, &Actor::Workload, &setting(update.clone()), NOW).expect("allowed");
        changes.iter().for_each(|change| state.apply(change));
        update.apply(&mut wanted);
        let organization = state.organization.as_ref().expect("it is there");
        assert_eq!(organization.settings, wanted);
        assert_eq!(organization.version, 1 + number);
        let told: Vec<_> = changes.iter().map(|change| change.reason).collect();
        assert_eq!(told, [Reason::SettingsChanged]);
        assert_eq!(decide(&state, &Actor::Workload, &setting(update), NOW), Ok(vec![]), "again");
    }
    let both = Command::UpdateOrganization(OrganizationUpdate {
        display_name: Some(shown("Other")),
        settings: SettingsUpdate { self_deactivation: Some(true), ..some() },
        ..OrganizationUpdate::default()
    });
    let changes = decide(&state, &Actor::Workload, &both, NOW).expect("allowed");
    let told: Vec<_> = changes.iter().map(|change| (change.reason, change.subject.version())).collect();
    assert_eq!(told, [(Reason::Renamed, 9), (Reason::SettingsChanged, 10)]);
}

/// R06: whoever it is, in the organization and in a workspace, and also by deleting the workspace.
#[test]
fn r06_nobody_leaves_by_themselves_where_the_organization_does_not_allow_it() {
    let (member, workspace) = (ACTOR, HOME);
    for role in OrganizationRole::ALL {
        let mut state = slice();
        put_member(&mut state, member, *role, MembershipState::Active);
        put_membership(&mut state, HOME, member, WorkspaceRole::Admin, MembershipState::Active);
        let actor = Actor::Person {
            account: account_of(member),
            member: Some(ActingMember { id: member, role: *role, state: MembershipState::Active }),
            workspace_admin: true,
        };
        for command in [
            Command::DeactivateMember { member, departure: Departure::regardless(), return_time: None },
            Command::RemoveMember { member, departure: Departure::regardless() },
            Command::DeactivateWorkspaceMember { workspace, member, departure: Departure::regardless() },
            Command::RemoveWorkspaceMember { workspace, member, departure: Departure::regardless() },
            Command::DeleteWorkspace { workspace },
        ] {
            state.organization.as_mut().expect("it is there").settings.self_deactivation = true;
            let allowed = decide(&state, &actor, &command, NOW);
            state.organization.as_mut().expect("it is there").settings.self_deactivation = false;
            let answer = decide(&state, &actor, &command, NOW);
            let name = command.name();
            match allowed {
                Ok(_) => {
                    assert_eq!(answer, Err(Violation::SelfDeactivationOff(member)), "{name} by {role:?}")
                }
                Err(_) => assert_eq!(answer, allowed, "{name} by {role:?}: the role is looked at first"),
            }
            // Others still may.
            assert!(decide(&state, &Actor::Workload, &command, NOW).is_ok(), "{name}");
        }
    }
}

/// Ends the organization of a run, whatever became of it.
pub(super) fn check_end(state: &mut State, versions: &mut BTreeMap<Thing, i64>) {
    let before = state.clone();
    let unsure = Command::DeleteOrganization { confirmed: false };
    assert_eq!(decide(state, &Actor::Workload, &unsure, NOW), Err(Violation::NotConfirmed));
    let delete = Command::DeleteOrganization { confirmed: true };
    let changes = decide(state, &Actor::Workload, &delete, NOW).expect("a workload may");
    for change in &changes {
        check_change(state, change, versions);
        let expected = match change.subject {
            Subject::Organization(_) => Reason::Deleted,
            _ => Reason::OrganizationDeleted,
        };
        assert_eq!(change.reason, expected, "{change:?}");
        state.apply(change);
    }
    assert!(state.organization.as_ref().is_some_and(Organization::is_deleted));
    assert!(matches!(changes.last().map(|change| &change.subject), Some(Subject::Organization(_))));
    assert!(state.workspaces.values().all(|room| room.state == WorkspaceState::Deleted));
    assert_eq!((state.live_workspaces, state.active_owners.len()), (0, 0));
    for member in state.members.values() {
        assert_eq!(member.state, MembershipState::Removed);
        let was = &before.members[&member.id];
        assert_eq!(member.account_id, was.account_id, "R02");
        assert_eq!(
            member == was,
            was.state == MembershipState::Removed,
            "who was gone before is not told of"
        );
    }
    assert!(state.workspace_members.values().all(|own| own.state == MembershipState::Removed));
    for again in [&delete, &unsure] {
        assert_eq!(decide(state, &Actor::Workload, again, NOW), Ok(vec![]), "again");
    }
}

#[test]
fn r62_a_deleted_organization_accepts_nothing() {
    let mut state = slice();
    put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Active);
    put_membership(&mut state, HOME, TARGET, WorkspaceRole::Member, MembershipState::Active);
    let delete = Command::DeleteOrganization { confirmed: true };
    let changes = decide(&state, &Actor::Workload, &delete, NOW).expect("a workload may");
    assert_eq!(changes.len(), 6, "a membership, two members, two workspaces, the organization: {changes:?}");
    changes.iter().for_each(|change| state.apply(change));
    let (member, workspace) = (TARGET, HOME);
    let (account, role) = (account_of(TARGET), WorkspaceRole::Guest);
    for command in [
        renaming("Other"),
        setting(SettingsUpdate::default()),
        Command::CreateWorkspace { workspace, app: app("chat"), display_name: shown("new") },
        Command::RenameWorkspace { workspace, display_name: shown("Other") },
        Command::DeleteWorkspace { workspace },
        Command::AddMember { member, account, role: OrganizationRole::Guest },
        Command::UpdateMember {
            member,
            role: None,
            profile_changes: true,
            profile_named: true,
            leaving: None,
            return_time: None,
        },
        Command::DeactivateMember { member, departure: Departure::regardless(), return_time: None },
        Command::ReactivateMember { member, restore: Restore::All },
        Command::DeactivateInactive { member },
        Command::ReturnAsPlanned { member },
        Command::RemoveMember { member, departure: Departure::regardless() },
        Command::AddWorkspaceMember { workspace, member, role },
        Command::SetWorkspaceRole { workspace, member, role, departure: Departure::regardless() },
        Command::DeactivateWorkspaceMember { workspace, member, departure: Departure::regardless() },
        Command::ReactivateWorkspaceMember { workspace, member },
        Command::RemoveWorkspaceMember { workspace, member, departure: Departure::regardless() },
    ] {
        let answer = decide(&state, &Actor::Workload, &command, NOW);
        assert_eq!(answer, Err(Violation::OrganizationDeleted(ORGANIZATION)), "{}", command.name());
    }
}

/// Who deletes it is an owner no more: also for them, again is nothing to do.
#[test]
fn deleting_again_changes_nothing_for_whoever_asks() {
    let mut state = slice();
    state.organization.as_mut().expect("it is there").state = OrganizationState::Deleted;
    let outsider = Actor::Person { account: account_of(ACTOR), member: None, workspace_admin: false };
    for confirmed in [true, false] {
        assert_eq!(decide(&state, &outsider, &Command::DeleteOrganization { confirmed }, NOW), Ok(vec![]));
    }
}

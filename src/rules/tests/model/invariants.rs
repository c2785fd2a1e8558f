//! What must hold after every step, whatever the step was.

use super::*;

/// What must hold of every state, whatever happened.
pub(super) fn check_state(state: &State) {
    let live = state.workspaces.values().filter(|room| room.state == WorkspaceState::Active).count();
    assert!(live >= 1, "R01");
    assert_eq!(state.live_workspaces, live);
    let owners: BTreeSet<MemberId> = state
        .members
        .values()
        .filter(|found| found.role == OrganizationRole::Owner && found.state == MembershipState::Active)
        .map(|found| found.id)
        .collect();
    assert!(!owners.is_empty(), "R60");
    assert_eq!(state.active_owners, owners);
    for found in state.members.values() {
        assert_eq!(found.revoked_by.is_none(), found.state == MembershipState::Active, "{found:?}");
        for own in state.memberships_of(found.id) {
            assert_eq!(own.revoked_by.is_none(), own.state == MembershipState::Active, "{own:?}");
            assert!(
                found.state == MembershipState::Active || own.state != MembershipState::Active,
                "out means out: {own:?}"
            );
            assert!(
                found.state != MembershipState::Removed || own.state == MembershipState::Removed,
                "R25: {own:?}"
            );
            let room = &state.workspaces[&own.workspace_id];
            assert!(found.apps.contains(&room.app), "{found:?} has or had a workspace of {}", room.app);
            assert!(room.state == WorkspaceState::Active || own.state == MembershipState::Removed, "{own:?}");
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::rules::tests) enum Thing {
    Organization,
    Workspace(WorkspaceId),
    Member(MemberId),
    WorkspaceMember(WorkspaceId, MemberId),
}

fn thing(subject: &Subject) -> Thing {
    match subject {
        Subject::Organization(_) => Thing::Organization,
        Subject::Workspace(workspace) => Thing::Workspace(workspace.id),
        Subject::Member(member) => Thing::Member(member.id),
        Subject::WorkspaceMember(own) => Thing::WorkspaceMember(own.workspace_id, own.member_id),
    }
}

/// What must hold of every change: versions, scopes, and that a scope grows by a change alone.
pub(in crate::rules::tests) fn check_change(
    before: &State,
    change: &Change,
    versions: &mut BTreeMap<Thing, i64>,
) {
    let version = versions.entry(thing(&change.subject)).or_default();
    assert_eq!(change.subject.version(), *version + 1, "{change:?}");
    *version += 1;
    assert_eq!(change.subject.organization_id(), ORGANIZATION);
    let only = |app: &AppName| BTreeSet::from([app.clone()]);
    match &change.subject {
        Subject::Member(after) => {
            let knew = before.members.get(&after.id).map(|found| found.apps.clone()).unwrap_or_default();
            let new: BTreeSet<AppName> = after.apps.difference(&knew).cloned().collect();
            assert_eq!(change.reason == Reason::ScopeEntered, !new.is_empty(), "{change:?}");
            assert!(after.apps.is_superset(&knew), "no scope shrinks: {change:?}");
            assert_eq!(change.apps, after.apps, "every app that knows it, or comes to: {change:?}");
            check_reason(before.members.get(&after.id).map(|found| found.state), after.state, change);
        }
        Subject::WorkspaceMember(own) => {
            let was = before.workspace_members.get(&(own.workspace_id, own.member_id));
            check_reason(was.map(|found| found.state), own.state, change);
            assert_eq!(change.apps, only(&before.workspaces[&own.workspace_id].app), "{change:?}");
        }
        Subject::Workspace(room) => assert_eq!(change.apps, only(&room.app), "{change:?}"),
        Subject::Organization(after) => {
            let knew = &before.organization.as_ref().expect("it was founded").apps;
            let new: BTreeSet<AppName> = after.apps.difference(knew).cloned().collect();
            assert_eq!(change.reason == Reason::ScopeEntered, !new.is_empty(), "{change:?}");
            assert_eq!(change.apps, after.apps, "every app that knows it, or comes to: {change:?}");
        }
    }
}

/// Who loses access is told for a reason that says so, and nobody else is.
fn check_reason(before: Option<MembershipState>, after: MembershipState, change: &Change) {
    let is_active = after == MembershipState::Active;
    if before == Some(MembershipState::Active) && !is_active {
        assert!(change.reason.ends_access(), "{change:?}");
    }
    assert!(!(is_active && change.reason.ends_access()), "{change:?}");
}

/// R24: what was done is done; the same once more, by the same actor, changes nothing.
pub(super) fn check_repetition(state: &State, step: &Step, command: &Command, number: usize) {
    if matches!(step.verb, Verb::Deactivate | Verb::Leave | Verb::Remove | Verb::Expel) {
        // By a workload: a person may just have deactivated themselves and may no longer do anything else.
        let again = decide(state, &Actor::Workload, command, command_id(number));
        assert_eq!(again, Ok(vec![]), "R24: {step:?} again");
    }
}

/// R33: exactly the memberships that the command which closed the organization closed with it.
pub(super) fn check_restoration(before: &State, after: &State, id: MemberId) {
    let closed_by = before.members[&id].revoked_by;
    for own in before.memberships_of(id) {
        let now = &after.workspace_members[&(own.workspace_id, id)];
        let of_the_cascade = own.state == MembershipState::Deactivated && own.revoked_by == closed_by;
        assert_eq!(now.state == MembershipState::Active, of_the_cascade, "R33: {own:?}");
        assert_eq!(now.role, own.role, "R30");
    }
}

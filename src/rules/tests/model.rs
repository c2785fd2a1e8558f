//! Random commands against a naive model: a small organization, written a second time without slices, drafts or
//! tables, and the invariants that must hold after every step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::rules::{
    ActingMember, Actor, Command, CreateOrganization, Reason, Restore, Subject, change::Change, decide,
};

mod naive;
use naive::{Naive, Standing};

const PEOPLE: usize = 5;
const ROOMS: usize = 4;
const APPS: [&str; 2] = ["boards", "chat"];
const ROLES: [OrganizationRole; 4] =
    [OrganizationRole::Guest, OrganizationRole::Member, OrganizationRole::Admin, OrganizationRole::Owner];
const ROOM_ROLES: [WorkspaceRole; 3] = [WorkspaceRole::Guest, WorkspaceRole::Member, WorkspaceRole::Admin];

/// One command, in small numbers: people and rooms by index.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    CreateRoom { app: usize },
    RenameRoom,
    DeleteRoom,
    Add { role: OrganizationRole },
    SetRole { role: OrganizationRole },
    Rename { other: bool },
    Deactivate,
    ReactivateLast,
    ReactivateAll,
    ReactivateOne,
    Remove,
    Join { role: WorkspaceRole },
    SetRoomRole { role: WorkspaceRole },
    Leave,
    Rejoin,
    Expel,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// None: a workload. Beyond the people: someone who is no member.
    actor: Option<usize>,
    belongs_elsewhere: bool,
    person: usize,
    room: usize,
    verb: Verb,
}

fn step() -> impl Strategy<Value = Step> {
    let role = || prop::sample::select(&ROLES[..]);
    let room_role = || prop::sample::select(&ROOM_ROLES[..]);
    let verb = prop_oneof![
        2 => (0..APPS.len()).prop_map(|app| Verb::CreateRoom { app }),
        1 => Just(Verb::RenameRoom),
        1 => Just(Verb::DeleteRoom),
        4 => role().prop_map(|role| Verb::Add { role }),
        2 => role().prop_map(|role| Verb::SetRole { role }),
        1 => any::<bool>().prop_map(|other| Verb::Rename { other }),
        3 => Just(Verb::Deactivate),
        3 => Just(Verb::ReactivateLast),
        1 => Just(Verb::ReactivateAll),
        1 => Just(Verb::ReactivateOne),
        1 => Just(Verb::Remove),
        6 => room_role().prop_map(|role| Verb::Join { role }),
        1 => room_role().prop_map(|role| Verb::SetRoomRole { role }),
        5 => Just(Verb::Leave),
        3 => Just(Verb::Rejoin),
        1 => Just(Verb::Expel),
    ];
    // Half of the commands come from a workload, which may do everything: else most of a run would be refusals.
    let actor = prop_oneof![3 => Just(None), 3 => (0..=PEOPLE).prop_map(Some)];
    (actor, any::<bool>(), 0..PEOPLE, 0..ROOMS, verb).prop_map(
        |(actor, belongs_elsewhere, person, room, verb)| Step {
            actor,
            belongs_elsewhere,
            person,
            room,
            verb,
        },
    )
}

fn member(index: usize) -> MemberId {
    MemberId(Uuid::from_u128(100 + index as u128))
}

fn workspace(index: usize) -> WorkspaceId {
    WorkspaceId(Uuid::from_u128(200 + index as u128))
}

fn command_id(number: usize) -> CommandId {
    CommandId(Uuid::from_u128(300 + number as u128))
}

fn command(step: &Step, number: usize) -> Command {
    let (member, workspace) = (member(step.person), workspace(step.room));
    let update = |role, changes, named| Command::UpdateMember {
        member,
        role,
        profile_changes: changes,
        profile_named: named,
    };
    match step.verb {
        Verb::CreateRoom { app: of } => Command::CreateWorkspace {
            workspace,
            app: app(APPS[of]),
            display_name: shown(&format!("room {number}")),
        },
        Verb::RenameRoom => {
            Command::RenameWorkspace { workspace, display_name: shown(&format!("room {number}")) }
        }
        Verb::DeleteRoom => Command::DeleteWorkspace { workspace },
        Verb::Add { role } => Command::AddMember { member, account: account_of(member), role },
        Verb::SetRole { role } => update(Some(role), false, false),
        Verb::Rename { other } => update(None, other, true),
        Verb::Deactivate => Command::DeactivateMember { member },
        Verb::ReactivateLast => Command::ReactivateMember { member, restore: Restore::LastCascade },
        Verb::ReactivateAll => Command::ReactivateMember { member, restore: Restore::All },
        Verb::ReactivateOne => {
            Command::ReactivateMember { member, restore: Restore::Listed(BTreeSet::from([workspace])) }
        }
        Verb::Remove => Command::RemoveMember { member },
        Verb::Join { role } => Command::AddWorkspaceMember { workspace, member, role },
        Verb::SetRoomRole { role } => Command::SetWorkspaceRole { workspace, member, role },
        Verb::Leave => Command::DeactivateWorkspaceMember { workspace, member },
        Verb::Rejoin => Command::ReactivateWorkspaceMember { workspace, member },
        Verb::Expel => Command::RemoveWorkspaceMember { workspace, member },
    }
}

/// The acting person as the engine would load them.
fn actor(state: &State, step: &Step) -> Actor {
    let Some(index) = step.actor else { return Actor::Workload };
    let found = state.members.get(&member(index));
    let about_a_room = !matches!(
        step.verb,
        Verb::CreateRoom { .. }
            | Verb::Add { .. }
            | Verb::SetRole { .. }
            | Verb::Rename { .. }
            | Verb::Deactivate
            | Verb::ReactivateLast
            | Verb::ReactivateAll
            | Verb::ReactivateOne
            | Verb::Remove
    );
    let administers = state
        .workspace_members
        .get(&(workspace(step.room), member(index)))
        .is_some_and(|own| own.role == WorkspaceRole::Admin && own.state == MembershipState::Active);
    Actor::Person {
        account: account_of(member(index)),
        member: found.map(|found| ActingMember { id: found.id, role: found.role, state: found.state }),
        workspace_admin: about_a_room && administers,
    }
}

fn founded() -> (State, Naive) {
    let found = Command::CreateOrganization(CreateOrganization {
        organization: ORGANIZATION,
        display_name: shown("Engines"),
        owner: member(0),
        account: account_of(member(0)),
        workspace: workspace(0),
        app: app(APPS[0]),
        workspace_name: shown("general"),
        owner_joins: true,
    });
    let mut state = State::default();
    for change in decide(&state, &Actor::Workload, &found, command_id(0)).expect("nothing stands against it")
    {
        state.apply(&change);
    }
    (state, Naive::founded())
}

/// The state, said in the words of the model.
fn as_seen(state: &State) -> Naive {
    let standing = |membership: MembershipState, revoked_by: Option<CommandId>| match membership {
        MembershipState::Active => Standing::In,
        MembershipState::Deactivated => {
            Standing::Out { by: revoked_by.map_or(usize::MAX, |id| (id.0.as_u128() - 300) as usize) }
        }
        MembershipState::Removed => Standing::Gone,
    };
    let mut seen = Naive::default();
    for index in 0..ROOMS {
        seen.rooms[index] = state.workspaces.get(&workspace(index)).map(|room| {
            let of = APPS.iter().position(|app| *app == room.app.as_str()).expect("one of ours");
            (of, room.state == WorkspaceState::Active)
        });
    }
    for index in 0..PEOPLE {
        let Some(found) = state.members.get(&member(index)) else { continue };
        seen.people[index].role = found.role;
        seen.people[index].standing = standing(found.state, found.revoked_by);
        for own in state.memberships_of(found.id) {
            let room = (0..ROOMS).find(|room| workspace(*room) == own.workspace_id).expect("one of ours");
            seen.people[index].rooms[room] = (standing(own.state, own.revoked_by), own.role);
        }
    }
    seen
}

/// What must hold of every state, whatever happened.
fn check_state(state: &State) {
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
enum Thing {
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
fn check_change(before: &State, change: &Change, versions: &mut BTreeMap<Thing, i64>) {
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
            assert_eq!(change.apps, if new.is_empty() { after.apps.clone() } else { new }, "{change:?}");
        }
        Subject::WorkspaceMember(own) => {
            assert_eq!(change.apps, only(&before.workspaces[&own.workspace_id].app), "{change:?}");
        }
        Subject::Workspace(room) => assert_eq!(change.apps, only(&room.app), "{change:?}"),
        Subject::Organization(after) => {
            let knew = &before.organization.as_ref().expect("it was founded").apps;
            let new: BTreeSet<AppName> = after.apps.difference(knew).cloned().collect();
            assert_eq!(change.reason == Reason::ScopeEntered, !new.is_empty(), "{change:?}");
            assert_eq!(change.apps, if new.is_empty() { after.apps.clone() } else { new }, "{change:?}");
        }
    }
}

/// R24: what was done is done; the same once more, by the same actor, changes nothing.
fn check_repetition(state: &State, step: &Step, command: &Command, number: usize) {
    if matches!(step.verb, Verb::Deactivate | Verb::Leave | Verb::Remove | Verb::Expel) {
        // By a workload: a person may just have deactivated themselves and may no longer do anything else.
        let again = decide(state, &Actor::Workload, command, command_id(number));
        assert_eq!(again, Ok(vec![]), "R24: {step:?} again");
    }
}

/// R33: exactly the memberships that the command which closed the organization closed with it.
fn check_restoration(before: &State, after: &State, id: MemberId) {
    let closed_by = before.members[&id].revoked_by;
    for own in before.memberships_of(id) {
        let now = &after.workspace_members[&(own.workspace_id, id)];
        let of_the_cascade = own.state == MembershipState::Deactivated && own.revoked_by == closed_by;
        assert_eq!(now.state == MembershipState::Active, of_the_cascade, "R33: {own:?}");
        assert_eq!(now.role, own.role, "R30");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn r24_r33_r60_random_commands_do_what_the_naive_model_does(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let (mut state, mut naive) = founded();
        let mut versions = BTreeMap::from([
            (Thing::Organization, 1),
            (Thing::Workspace(workspace(0)), 1),
            (Thing::Member(member(0)), 1),
            (Thing::WorkspaceMember(workspace(0), member(0)), 1),
        ]);
        for (number, step) in steps.iter().enumerate().map(|(index, step)| (index + 1, step)) {
            // A workspace id is given once: creating it again is nothing that the engine could ask.
            if matches!(step.verb, Verb::CreateRoom { .. }) && naive.rooms[step.room].is_some() {
                continue;
            }
            state.actor_belongs_elsewhere = step.belongs_elsewhere;
            let command = command(step, number);
            let before = state.clone();
            let answer = decide(&state, &actor(&state, step), &command, command_id(number));
            prop_assert_eq!(&state, &before, "deciding changes nothing");
            let wanted = naive.after(step, number);
            prop_assert_eq!(answer.is_ok(), wanted.is_some(), "{:?} answered {:?} in {:#?}", step, answer, naive);
            let (Ok(changes), Some(wanted)) = (answer, wanted) else { continue };
            for change in &changes {
                check_change(&state, change, &mut versions);
                state.apply(change);
            }
            check_state(&state);
            prop_assert_eq!(&as_seen(&state), &wanted, "after {:?} in {:#?}", step, naive);
            check_repetition(&state, step, &command, number + 1);
            if matches!(step.verb, Verb::ReactivateLast) && !changes.is_empty() {
                check_restoration(&before, &state, member(step.person));
            }
            naive = wanted;
        }
    }
}

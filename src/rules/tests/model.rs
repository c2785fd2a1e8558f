//! Random commands against a naive model: a small organization, written a second time without slices, drafts or
//! tables, and the invariants that must hold after every step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::rules::{
    ActingMember, Actor, Command, CreateOrganization, Departure, Reason, Restore, SettingsUpdate, Subject,
    change::Change, decide,
};

mod invariants;
mod naive;
pub(super) use invariants::{Thing, check_change};
use invariants::{check_repetition, check_restoration, check_state};
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
    LimitSeats { limit: Option<i64> },
    AllowLeaving { allowed: bool },
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
        3 => Just(Verb::DeleteRoom),
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
        2 => prop::option::of(1..=PEOPLE as i64).prop_map(|limit| Verb::LimitSeats { limit }),
        1 => any::<bool>().prop_map(|allowed| Verb::AllowLeaving { allowed }),
    ];
    // Workloads may do everything, and people to themselves more than to others: else a run is mostly refusals.
    let actor = prop_oneof![
        3 => Just(By::Workload),
        2 => Just(By::Themselves),
        3 => (0..=PEOPLE).prop_map(By::Person),
    ];
    (actor, any::<bool>(), 0..PEOPLE, 0..ROOMS, verb).prop_map(
        |(by, belongs_elsewhere, person, room, verb)| {
            let actor = match by {
                By::Workload => None,
                By::Themselves => Some(person),
                By::Person(index) => Some(index),
            };
            Step { actor, belongs_elsewhere, person, room, verb }
        },
    )
}

#[derive(Debug, Clone, Copy)]
enum By {
    Workload,
    Themselves,
    Person(usize),
}

/// Where a run begins: two more rooms, and everyone but the last in two of them.
fn beginning() -> Vec<Step> {
    let step = |person, room, verb| Step { actor: None, belongs_elsewhere: true, person, room, verb };
    let mut steps = vec![step(0, 1, Verb::CreateRoom { app: 1 }), step(0, 2, Verb::CreateRoom { app: 0 })];
    for (person, role) in ROLES.iter().rev().enumerate().skip(1) {
        steps.push(step(person, 0, Verb::Add { role: *role }));
        steps.push(step(person, person % 3, Verb::Join { role: WorkspaceRole::Admin }));
        steps.push(step(person, (person + 1) % 3, Verb::Join { role: WorkspaceRole::Member }));
    }
    steps
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
        leaving: None,
        return_time: None,
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
        Verb::Deactivate => {
            Command::DeactivateMember { member, departure: Departure::regardless(), return_time: None }
        }
        Verb::ReactivateLast => Command::ReactivateMember { member, restore: Restore::LastCascade },
        Verb::ReactivateAll => Command::ReactivateMember { member, restore: Restore::All },
        Verb::ReactivateOne => {
            Command::ReactivateMember { member, restore: Restore::Listed(BTreeSet::from([workspace])) }
        }
        Verb::Remove => Command::RemoveMember { member, departure: Departure::regardless() },
        Verb::Join { role } => Command::AddWorkspaceMember { workspace, member, role },
        Verb::SetRoomRole { role } => {
            Command::SetWorkspaceRole { workspace, member, role, departure: Departure::regardless() }
        }
        Verb::Leave => {
            Command::DeactivateWorkspaceMember { workspace, member, departure: Departure::regardless() }
        }
        Verb::Rejoin => Command::ReactivateWorkspaceMember { workspace, member },
        Verb::Expel => {
            Command::RemoveWorkspaceMember { workspace, member, departure: Departure::regardless() }
        }
        Verb::LimitSeats { limit } => {
            organizations::setting(SettingsUpdate { seat_limit: Some(limit), ..SettingsUpdate::default() })
        }
        Verb::AllowLeaving { allowed } => organizations::setting(SettingsUpdate {
            self_deactivation: Some(allowed),
            ..SettingsUpdate::default()
        }),
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
            | Verb::LimitSeats { .. }
            | Verb::AllowLeaving { .. }
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
        settings: Settings::default(),
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
        MembershipState::Erased => unreachable!("no command of this model erases"),
    };
    let settings = &state.organization.as_ref().expect("it was founded").settings;
    let mut seen = Naive {
        seat_limit: settings.seat_limit,
        leaving_allowed: settings.self_deactivation,
        ..Naive::default()
    };
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn r24_r33_r60_random_commands_do_what_the_naive_model_does(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let (mut state, mut naive) = founded();
        let mut versions = BTreeMap::from([
            (Thing::Organization, 1),
            (Thing::Workspace(workspace(0)), 1),
            (Thing::Member(member(0)), 1),
            (Thing::WorkspaceMember(workspace(0), member(0)), 1),
        ]);
        let steps = beginning().into_iter().chain(steps);
        for (number, step) in steps.enumerate().map(|(index, step)| (index + 1, step)) {
            let step = &step;
            // A workspace id is given once: creating it again is nothing that the engine could ask.
            if matches!(step.verb, Verb::CreateRoom { .. }) && naive.rooms[step.room].is_some() {
                continue;
            }
            state.actor_belongs_elsewhere = step.belongs_elsewhere;
            state.seats = Some(seats::of(&state));
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
        organizations::check_end(&mut state, &mut versions);
    }
}

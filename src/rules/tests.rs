//! Tests of the rules as a function: the two tables cell by cell, and random commands against a naive model.
//!
//! What the tables should say is written out here a second time, from the rules, in words; the cells are then asked
//! of [`decide`] itself, so that a command that forgets to look a cell up fails as well as a wrong cell does.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{
    ids::{AccountId, AppName, CommandId, DisplayName, MemberId, OrganizationId, WorkspaceId},
    roles::{MembershipState, OrganizationRole, OrganizationState, WorkspaceRole, WorkspaceState},
    state::{Member, Moment, Organization, Settings, State, Workspace, WorkspaceMember},
};

mod departures;
mod invitations;
mod model;
mod notices;
mod organizations;
mod permissions;
mod scopes;
mod seats;
mod states;
mod time;

/// The workspace, of app `chat`, that commands about a workspace are about.
const HOME: WorkspaceId = WorkspaceId(Uuid::from_u128(1));
/// Another workspace, of app `boards`.
const AWAY: WorkspaceId = WorkspaceId(Uuid::from_u128(2));
/// The command that closed whatever a slice holds as closed.
const EARLIER: CommandId = CommandId(Uuid::from_u128(3));
/// The command under test.
const NOW: CommandId = CommandId(Uuid::from_u128(4));
const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(5));
/// An ACTIVE owner who takes no part: the organization always keeps one (R60).
const SPARE_OWNER: MemberId = MemberId(Uuid::from_u128(6));
/// The member that commands are about.
const TARGET: MemberId = MemberId(Uuid::from_u128(7));
/// The acting member.
const ACTOR: MemberId = MemberId(Uuid::from_u128(8));

fn app(name: &str) -> AppName {
    name.parse().expect("a well-formed app name")
}

fn shown(name: &str) -> DisplayName {
    name.parse().expect("a well-formed shown name")
}

fn account_of(member: MemberId) -> AccountId {
    AccountId(Uuid::from_u128(member.0.as_u128() + 1_000))
}

/// An organization with the workspaces [`HOME`] and [`AWAY`] and an owner who is in none of them.
fn slice() -> State {
    let mut state = State {
        organization: Some(Organization {
            id: ORGANIZATION,
            display_name: shown("Engines"),
            state: OrganizationState::Active,
            contract: None,
            settings: Settings::default(),
            apps: BTreeSet::from([app("boards"), app("chat")]),
            version: 1,
        }),
        actor_belongs_elsewhere: true,
        ..State::default()
    };
    for (id, of) in [(HOME, "chat"), (AWAY, "boards")] {
        state.workspaces.insert(
            id,
            Workspace {
                organization_id: ORGANIZATION,
                id,
                app: app(of),
                display_name: shown(of),
                state: WorkspaceState::Active,
                version: 1,
            },
        );
    }
    state.live_workspaces = 2;
    put_member(&mut state, SPARE_OWNER, OrganizationRole::Owner, MembershipState::Active);
    state
}

fn put_member(state: &mut State, id: MemberId, role: OrganizationRole, standing: MembershipState) {
    let active = standing == MembershipState::Active;
    if active && role == OrganizationRole::Owner {
        state.active_owners.insert(id);
    }
    state.members.insert(
        id,
        Member {
            organization_id: ORGANIZATION,
            id,
            account_id: Some(account_of(id)),
            role,
            state: standing,
            revoked_by: (!active).then_some(EARLIER),
            leaving: false,
            return_time: None,
            vouched: true,
            tombstone: None,
            apps: BTreeSet::new(),
            version: 1,
        },
    );
}

fn put_membership(
    state: &mut State,
    workspace: WorkspaceId,
    member: MemberId,
    role: WorkspaceRole,
    standing: MembershipState,
) {
    let of = state.workspaces[&workspace].app.clone();
    state.members.get_mut(&member).expect("the member comes first").apps.insert(of);
    state.workspace_members.insert(
        (workspace, member),
        WorkspaceMember {
            organization_id: ORGANIZATION,
            workspace_id: workspace,
            member_id: member,
            role,
            state: standing,
            revoked_by: (standing != MembershipState::Active).then_some(EARLIER),
            version: 1,
        },
    );
}

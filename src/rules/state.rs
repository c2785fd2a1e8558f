//! The slice of the store that a command is decided on, and the things in it.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{
    change::{Change, Subject},
    ids::{AccountId, AppName, CommandId, ContractId, DisplayName, MemberId, OrganizationId, WorkspaceId},
    invitations::Invitation,
    roles::{ErasedBy, MembershipState, OrganizationRole, OrganizationState, WorkspaceRole, WorkspaceState},
    seats::Seats,
};

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// The name shown to people.
    pub display_name: DisplayName,
    /// Live or deleted.
    pub state: OrganizationState,
    /// The contract whose seats it shares.
    pub contract: Option<ContractId>,
    /// What it decided for itself.
    pub settings: Settings,
    /// The apps that have or had a workspace in it: whose scope it is in.
    pub apps: BTreeSet<AppName>,
    /// +1 with each change.
    pub version: i64,
}

impl Organization {
    /// Whether it is gone for good.
    pub fn is_deleted(&self) -> bool {
        self.state == OrganizationState::Deleted
    }
}

/// What an organization decides for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many members may be ACTIVE. None: as many as wish.
    pub seat_limit: Option<i64>,
    /// Whether members may deactivate themselves (R06).
    pub self_deactivation: bool,
    /// Whether an invitation may be accepted by an account with another address than the invited one.
    pub invitation_forwarding: bool,
    /// After how many days without activity a guest is deactivated (R55). None: never.
    pub guest_inactivity_days: Option<i32>,
    /// Whether a member is reactivated when the planned return comes (R56).
    pub reactivate_on_return: bool,
    /// How to name the author of content who was erased by an owner (R44).
    pub erased_alias: DisplayName,
    /// How to name the author of content whose account was deleted by themselves (R45).
    pub deleted_account_alias: DisplayName,
}

impl Default for Settings {
    fn default() -> Self {
        let alias = |text: &str| text.parse().expect("an alias is a shown name");
        Self {
            seat_limit: None,
            self_deactivation: true,
            invitation_forwarding: false,
            guest_inactivity_days: None,
            reactivate_on_return: false,
            erased_alias: alias("deleteduser"),
            deleted_account_alias: alias("UNKNOWN user"),
        }
    }
}

/// A moment: microseconds since 1970, as the database keeps them. The rules compare moments and ask no clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

/// What stands for an ERASED member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// Random, and another one in each organization (R46).
    pub id: Uuid,
    /// Who had the member erased.
    pub erased_by: ErasedBy,
}

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// The organization that owns it.
    pub organization_id: OrganizationId,
    /// Its id.
    pub id: WorkspaceId,
    /// The app that it belongs to.
    pub app: AppName,
    /// The name shown to people.
    pub display_name: DisplayName,
    /// Live or deleted.
    pub state: WorkspaceState,
    /// +1 with each change.
    pub version: i64,
}

/// An account in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The member's id.
    pub id: MemberId,
    /// The account. None: ERASED.
    pub account_id: Option<AccountId>,
    /// What the member may do.
    pub role: OrganizationRole,
    /// Whether the member has access.
    pub state: MembershipState,
    /// The command that last took the access away (R24, R33). None while ACTIVE.
    pub revoked_by: Option<CommandId>,
    /// Whether the right to delete entries is withdrawn, before the member leaves (R59).
    pub leaving: bool,
    /// When a DEACTIVATED member is planned to return (R56).
    pub return_time: Option<Moment>,
    /// Whether the person agreed to belong, or a workload as itself said that they do. Whom another person added has
    /// agreed to nothing (R43).
    pub vouched: bool,
    /// What stands for the member. None: not ERASED.
    pub tombstone: Option<Tombstone>,
    /// The apps in which the member has or had a workspace membership: whose scope the member is in.
    pub apps: BTreeSet<AppName>,
    /// +1 with each change.
    pub version: i64,
}

/// A member in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceMember {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The member.
    pub member_id: MemberId,
    /// What the member may do in it.
    pub role: WorkspaceRole,
    /// Whether the member has access to it.
    pub state: MembershipState,
    /// The command that last took the access away (R24, R33). None while ACTIVE.
    pub revoked_by: Option<CommandId>,
    /// +1 with each change.
    pub version: i64,
}

/// What a command is decided on. The engine loads, under locks, what the command is about:
/// the members named or swept along with *all* their workspace memberships, and the workspaces of those.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The organization.
    pub organization: Option<Organization>,
    /// The workspaces that the command or a membership names.
    pub workspaces: BTreeMap<WorkspaceId, Workspace>,
    /// The members that the command is about.
    pub members: BTreeMap<MemberId, Member>,
    /// All memberships of those members.
    pub workspace_members: BTreeMap<(WorkspaceId, MemberId), WorkspaceMember>,
    /// How many live workspaces the organization has. Loaded for the deletion of one (R01).
    pub live_workspaces: usize,
    /// The ACTIVE owners. Loaded, with the organization locked, where one of them may cease to be one (R60);
    /// empty otherwise, which refuses.
    pub active_owners: BTreeSet<MemberId>,
    /// Its seats. Counted, with the organization and its contract locked, where they are limited and somebody may take
    /// one (R35), or where the limits change; none otherwise, which refuses.
    pub seats: Option<Seats>,
    /// The ACTIVE admins of the workspaces in which a member who leaves is one, by workspace. Loaded, with the
    /// organization locked, where a workspace may lose its last one (R57); empty otherwise, which blocks.
    pub workspace_admins: BTreeSet<(WorkspaceId, MemberId)>,
    /// Whether anyone but the acting person belongs, ACTIVE or DEACTIVATED, to the organization (R60).
    pub others_belong: bool,
    /// The invitation that is to be accepted.
    pub invitation: Option<Invitation>,
    /// Whether the acting account has the invited address.
    pub actor_is_invited: bool,
    /// Whether the acting person belongs, ACTIVE or DEACTIVATED, to another organization (R36, R40).
    pub actor_belongs_elsewhere: bool,
    /// The app that calls, where an app does and names ADMINs (R15).
    pub calling_app: Option<AppName>,
    /// The moment of the decision. Loaded for commands that compare moments; otherwise so long ago that nothing is due.
    pub now: Moment,
    /// When the member that the command is about was last active (R55). Loaded as `now` is.
    pub last_active: Moment,
}

impl State {
    /// Makes a change true in this slice.
    pub fn apply(&mut self, change: &Change) {
        match change.subject.clone() {
            Subject::Organization(organization) => self.organization = Some(organization),
            Subject::Workspace(workspace) => {
                let before =
                    self.workspaces.insert(workspace.id, workspace.clone()).map(|before| before.state);
                match (before, workspace.state) {
                    (None, WorkspaceState::Active) => self.live_workspaces += 1,
                    (Some(WorkspaceState::Active), WorkspaceState::Deleted) => self.live_workspaces -= 1,
                    _ => {}
                }
            }
            Subject::Member(member) => {
                if member.role == OrganizationRole::Owner && member.state == MembershipState::Active {
                    self.active_owners.insert(member.id);
                } else {
                    self.active_owners.remove(&member.id);
                }
                self.members.insert(member.id, member);
            }
            Subject::WorkspaceMember(membership) => {
                self.workspace_members.insert((membership.workspace_id, membership.member_id), membership);
            }
        }
    }

    /// The memberships of a member.
    pub fn memberships_of(&self, member: MemberId) -> impl Iterator<Item = &WorkspaceMember> {
        self.workspace_members.values().filter(move |membership| membership.member_id == member)
    }
}

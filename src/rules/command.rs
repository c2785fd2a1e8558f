//! Commands: one request that changes something, with every id and name already parsed or made.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    departure::Departure,
    ids::{AccountId, AppName, ContractId, DisplayName, InvitationId, MemberId, OrganizationId, WorkspaceId},
    roles::{Assignments, ErasedBy, MembershipState, OrganizationRole, WorkspaceRole},
    state::{Moment, Organization, Settings},
    tables::ActorKind,
};

/// What to do in one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Create an organization with its first workspace and its owner (R01).
    CreateOrganization(CreateOrganization),
    /// Change the name, the settings or the contract of the organization.
    UpdateOrganization(OrganizationUpdate),
    /// Delete the organization with everything in it.
    DeleteOrganization {
        /// Whether the request says that it is meant.
        confirmed: bool,
    },
    /// Create a workspace.
    CreateWorkspace {
        /// The id that it gets.
        workspace: WorkspaceId,
        /// The app that it belongs to.
        app: AppName,
        /// Its name.
        display_name: DisplayName,
    },
    /// Rename a workspace.
    RenameWorkspace {
        /// The workspace.
        workspace: WorkspaceId,
        /// The new name.
        display_name: DisplayName,
    },
    /// Delete a workspace and end its memberships.
    DeleteWorkspace {
        /// The workspace.
        workspace: WorkspaceId,
    },
    /// Add an account, or bring a REMOVED member back.
    AddMember {
        /// The member that the account has here, or the id that it gets.
        member: MemberId,
        /// The account.
        account: AccountId,
        /// The role.
        role: OrganizationRole,
    },
    /// Become a member by an invitation (R29, R50).
    AcceptInvitation {
        /// The invitation.
        invitation: InvitationId,
        /// The member that the account has here, or the id that it gets: that of the invitation.
        member: MemberId,
        /// The account.
        account: AccountId,
        /// The generation of the secret.
        generation: i32,
    },
    /// Change the role, the profile, or what was announced of the member's future.
    UpdateMember {
        /// The member.
        member: MemberId,
        /// The new role.
        role: Option<OrganizationRole>,
        /// Whether the profile, which the engine keeps, is another one.
        profile_changes: bool,
        /// Whether the request names the profile, changed or not.
        profile_named: bool,
        /// Whether the right to delete entries is withdrawn (R59).
        leaving: Option<bool>,
        /// When the member is planned to return (R56). Some(None): not any more.
        return_time: Option<Option<Moment>>,
    },
    /// Deactivate in the organization and everywhere in it.
    DeactivateMember {
        /// The member.
        member: MemberId,
        /// What is decided beforehand.
        departure: Departure,
        /// When the member is planned to return (R56).
        return_time: Option<Moment>,
    },
    /// Deactivate a guest who was inactive for as long as the organization allows (R55). Only time commands it.
    DeactivateInactive {
        /// The member.
        member: MemberId,
    },
    /// Reactivate in the organization.
    ReactivateMember {
        /// The member.
        member: MemberId,
        /// Which workspaces to restore.
        restore: Restore,
    },
    /// Reactivate a member whose planned return has come, where the organization wants that (R56). Only time commands it.
    ReturnAsPlanned {
        /// The member.
        member: MemberId,
    },
    /// Remove from the organization and everywhere in it.
    RemoveMember {
        /// The member.
        member: MemberId,
        /// What is decided beforehand.
        departure: Departure,
    },
    /// Erase the personal data of a member.
    EraseMember(EraseMember),
    /// Add to a workspace, or bring back one REMOVED from it.
    AddWorkspaceMember {
        /// The workspace.
        workspace: WorkspaceId,
        /// The member.
        member: MemberId,
        /// The role.
        role: WorkspaceRole,
    },
    /// Change the role in a workspace.
    SetWorkspaceRole {
        /// The workspace.
        workspace: WorkspaceId,
        /// The member.
        member: MemberId,
        /// The new role.
        role: WorkspaceRole,
        /// Of what is decided beforehand, who is ADMIN afterwards (R57).
        departure: Departure,
    },
    /// Deactivate in one workspace.
    DeactivateWorkspaceMember {
        /// The workspace.
        workspace: WorkspaceId,
        /// The member.
        member: MemberId,
        /// What is decided beforehand.
        departure: Departure,
    },
    /// Reactivate in one workspace.
    ReactivateWorkspaceMember {
        /// The workspace.
        workspace: WorkspaceId,
        /// The member.
        member: MemberId,
    },
    /// Remove from one workspace.
    RemoveWorkspaceMember {
        /// The workspace.
        workspace: WorkspaceId,
        /// The member.
        member: MemberId,
        /// What is decided beforehand.
        departure: Departure,
    },
}

impl Command {
    /// What it is called, for people who read logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateOrganization(_) => "CreateOrganization",
            Self::UpdateOrganization(_) => "UpdateOrganization",
            Self::DeleteOrganization { .. } => "DeleteOrganization",
            Self::CreateWorkspace { .. } => "CreateWorkspace",
            Self::RenameWorkspace { .. } => "RenameWorkspace",
            Self::DeleteWorkspace { .. } => "DeleteWorkspace",
            Self::AddMember { .. } => "AddMember",
            Self::AcceptInvitation { .. } => "AcceptInvitation",
            Self::UpdateMember { .. } => "UpdateMember",
            Self::DeactivateMember { .. } => "DeactivateMember",
            Self::DeactivateInactive { .. } => "DeactivateInactive",
            Self::ReactivateMember { .. } => "ReactivateMember",
            Self::ReturnAsPlanned { .. } => "ReturnAsPlanned",
            Self::RemoveMember { .. } => "RemoveMember",
            Self::EraseMember(_) => "EraseMember",
            Self::AddWorkspaceMember { .. } => "AddWorkspaceMember",
            Self::SetWorkspaceRole { .. } => "SetWorkspaceRole",
            Self::DeactivateWorkspaceMember { .. } => "DeactivateWorkspaceMember",
            Self::ReactivateWorkspaceMember { .. } => "ReactivateWorkspaceMember",
            Self::RemoveWorkspaceMember { .. } => "RemoveWorkspaceMember",
        }
    }
}

/// The end of a member's personal data in one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseMember {
    /// The member.
    pub member: MemberId,
    /// What will stand for the member: random (R46).
    pub tombstone: Uuid,
    /// Why it is done, which decides what may stand against it.
    pub cause: ErasureCause,
    /// What becomes of what is assigned to the member (R46).
    pub assignments: Assignments,
    /// What is decided beforehand; of it, who takes over.
    pub departure: Departure,
}

/// Why a member is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureCause {
    /// An owner wants it (R42): the member is DEACTIVATED or REMOVED.
    Owner,
    /// The person deletes the account (R45): in whatever state the member is.
    Account,
    /// It was done before, in a store that was restored from before that: nothing stands against it.
    Ledger(ErasedBy),
}

/// A new organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOrganization {
    /// The id that the organization gets.
    pub organization: OrganizationId,
    /// Its name.
    pub display_name: DisplayName,
    /// What it decides for itself.
    pub settings: Settings,
    /// The id that the owner's member gets.
    pub owner: MemberId,
    /// The owner's account.
    pub account: AccountId,
    /// The id that the first workspace gets.
    pub workspace: WorkspaceId,
    /// The app that the first workspace belongs to.
    pub app: AppName,
    /// The name of the first workspace.
    pub workspace_name: DisplayName,
    /// Whether the owner becomes ADMIN of the first workspace.
    pub owner_joins: bool,
}

/// What changes of an organization. None: stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganizationUpdate {
    /// The new name.
    pub display_name: Option<DisplayName>,
    /// The contract that it is to share. Some(None): none.
    pub contract: Option<Option<ContractId>>,
    /// The settings.
    pub settings: SettingsUpdate,
}

impl OrganizationUpdate {
    /// Whether it is about seats, which an organization does not decide for itself.
    pub fn names_seats(&self) -> bool {
        self.contract.is_some() || self.settings.seat_limit.is_some()
    }

    /// Makes contract and settings so.
    pub fn apply(&self, organization: &mut Organization) {
        if let Some(contract) = self.contract {
            organization.contract = contract;
        }
        self.settings.apply(&mut organization.settings);
    }
}

/// What changes of the settings. None: stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SettingsUpdate {
    pub seat_limit: Option<Option<i64>>,
    pub self_deactivation: Option<bool>,
    pub invitation_forwarding: Option<bool>,
    pub guest_inactivity_days: Option<Option<i32>>,
    pub reactivate_on_return: Option<bool>,
    pub erased_alias: Option<DisplayName>,
    pub deleted_account_alias: Option<DisplayName>,
}

impl SettingsUpdate {
    /// Makes the settings so.
    pub fn apply(&self, settings: &mut Settings) {
        let Self {
            seat_limit,
            self_deactivation,
            invitation_forwarding,
            guest_inactivity_days,
            reactivate_on_return,
            erased_alias,
            deleted_account_alias,
        } = self.clone();
        set(&mut settings.seat_limit, seat_limit);
        set(&mut settings.self_deactivation, self_deactivation);
        set(&mut settings.invitation_forwarding, invitation_forwarding);
        set(&mut settings.guest_inactivity_days, guest_inactivity_days);
        set(&mut settings.reactivate_on_return, reactivate_on_return);
        set(&mut settings.erased_alias, erased_alias);
        set(&mut settings.deleted_account_alias, deleted_account_alias);
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Which workspace memberships a reactivation restores (R33).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restore {
    /// Exactly those that closed with the organization.
    LastCascade,
    /// All DEACTIVATED ones.
    All,
    /// These.
    Listed(BTreeSet<WorkspaceId>),
}

/// For whom a command is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The calling workload itself.
    Workload,
    /// The calling app itself, where callers are told apart (R15).
    App,
    /// A person.
    Person {
        /// The person's account.
        account: AccountId,
        /// The person's member in the organization, whatever its state.
        member: Option<ActingMember>,
        /// Whether the person is an ACTIVE admin of the workspace that the command is about.
        workspace_admin: bool,
    },
}

/// The acting person in the organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActingMember {
    /// The member.
    pub id: MemberId,
    /// The role.
    pub role: OrganizationRole,
    /// The state.
    pub state: MembershipState,
}

impl Actor {
    /// What counts of the actor for the table of permissions.
    pub fn kind(&self) -> ActorKind {
        let (member, workspace_admin) = match self {
            Self::Workload => return ActorKind::Workload,
            Self::App => return ActorKind::App,
            Self::Person { member, workspace_admin, .. } => (member, workspace_admin),
        };
        match member {
            Some(ActingMember { role, state: MembershipState::Active, .. }) => match role {
                OrganizationRole::Owner => ActorKind::Owner,
                OrganizationRole::Admin => ActorKind::Admin,
                OrganizationRole::Member if *workspace_admin => ActorKind::WorkspaceAdmin,
                OrganizationRole::Guest if *workspace_admin => ActorKind::WorkspaceAdminGuest,
                OrganizationRole::Member => ActorKind::Member,
                OrganizationRole::Guest => ActorKind::Guest,
            },
            _ => ActorKind::Outsider,
        }
    }

    /// The same in a workspace of which the person is an ACTIVE admin.
    pub fn as_workspace_admin(&self) -> Self {
        match self.clone() {
            Self::Person { account, member, .. } => Self::Person { account, member, workspace_admin: true },
            itself => itself,
        }
    }

    /// The acting person's member in the organization.
    pub fn member_id(&self) -> Option<MemberId> {
        match self {
            Self::Workload | Self::App => None,
            Self::Person { member, .. } => member.map(|member| member.id),
        }
    }
}

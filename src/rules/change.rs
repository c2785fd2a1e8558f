//! Changes: what a command did, one fact each.

use std::collections::BTreeSet;

use super::{
    ids::{AppName, CommandId, MemberId, OrganizationId},
    roles::{Assignments, words},
    state::{Member, Organization, Workspace, WorkspaceMember},
};

words!(
    /// Why a change happened. The same words as `ChangeReason` in the API.
    Reason {
        /// The thing is new.
        Created = "CREATED",
        /// A name changed.
        Renamed = "RENAMED",
        /// Personal data of the member changed.
        ProfileChanged = "PROFILE_CHANGED",
        /// Identity providers know the member's account under other ids.
        ExternalIdsChanged = "EXTERNAL_IDS_CHANGED",
        /// The thing became part of an app's scope.
        ScopeEntered = "SCOPE_ENTERED",
        /// The role changed, the state did not (R03).
        RoleChanged = "ROLE_CHANGED",
        /// The settings of the organization changed.
        SettingsChanged = "SETTINGS_CHANGED",
        /// The right to delete entries was withdrawn from a member who is to leave (R59).
        LeavingSet = "LEAVING_SET",
        /// That right was given back.
        LeavingCleared = "LEAVING_CLEARED",
        /// A DEACTIVATED member is planned to return at another time, or not at all any more (R56).
        ReturnChanged = "RETURN_CHANGED",
        /// By a command about this very thing.
        Deactivated = "DEACTIVATED",
        /// The last ACTIVE workspace closed (R13).
        DeactivatedWithLastWorkspace = "DEACTIVATED_WITH_LAST_WORKSPACE",
        /// The member was deactivated in the organization (R19).
        DeactivatedWithOrganization = "DEACTIVATED_WITH_ORGANIZATION",
        /// A guest was inactive for as long as the organization allows (R55).
        DeactivatedForInactivity = "DEACTIVATED_FOR_INACTIVITY",
        /// By a command about this very thing.
        Reactivated = "REACTIVATED",
        /// The planned return came (R56).
        ReactivatedAsPlanned = "REACTIVATED_AS_PLANNED",
        /// One of the workspaces was reactivated (R34).
        ReactivatedWithWorkspace = "REACTIVATED_WITH_WORKSPACE",
        /// The member was reactivated in the organization (R33).
        RestoredWithOrganization = "RESTORED_WITH_ORGANIZATION",
        /// By a command about this very thing.
        Removed = "REMOVED",
        /// The member was removed from the organization.
        RemovedWithOrganization = "REMOVED_WITH_ORGANIZATION",
        /// The workspace was deleted.
        RemovedWithWorkspace = "REMOVED_WITH_WORKSPACE",
        /// Added again after a removal (R29).
        Returned = "RETURNED",
        /// The workspace or the organization was deleted.
        Deleted = "DELETED",
        /// The organization was deleted, and its workspaces, members and memberships with it.
        OrganizationDeleted = "ORGANIZATION_DELETED",
        /// An owner had the member erased (R42).
        Erased = "ERASED",
        /// The person deleted the account (R45).
        AccountDeleted = "ACCOUNT_DELETED",
        /// The member was erased.
        RemovedWithErasure = "REMOVED_WITH_ERASURE",
    }
);

impl Reason {
    /// Whether a change of a member or a membership for this reason takes access away, or the last that was left of it:
    /// what an app ends sessions for.
    pub fn ends_access(self) -> bool {
        match self {
            Self::Deactivated
            | Self::DeactivatedWithLastWorkspace
            | Self::DeactivatedWithOrganization
            | Self::DeactivatedForInactivity
            | Self::Removed
            | Self::RemovedWithOrganization
            | Self::RemovedWithWorkspace
            | Self::Deleted
            | Self::OrganizationDeleted
            | Self::Erased
            | Self::AccountDeleted
            | Self::RemovedWithErasure => true,
            Self::Created
            | Self::Renamed
            | Self::ProfileChanged
            | Self::ExternalIdsChanged
            | Self::ScopeEntered
            | Self::RoleChanged
            | Self::SettingsChanged
            | Self::LeavingSet
            | Self::LeavingCleared
            | Self::ReturnChanged
            | Self::Reactivated
            | Self::ReactivatedAsPlanned
            | Self::ReactivatedWithWorkspace
            | Self::RestoredWithOrganization
            | Self::Returned => false,
        }
    }
}

/// A thing as it is after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An organization.
    Organization(Organization),
    /// A workspace.
    Workspace(Workspace),
    /// A member.
    Member(Member),
    /// A membership in a workspace.
    WorkspaceMember(WorkspaceMember),
}

impl Subject {
    /// The organization that the thing belongs to.
    pub fn organization_id(&self) -> OrganizationId {
        match self {
            Self::Organization(organization) => organization.id,
            Self::Workspace(workspace) => workspace.organization_id,
            Self::Member(member) => member.organization_id,
            Self::WorkspaceMember(membership) => membership.organization_id,
        }
    }

    /// The version of the thing after the change.
    pub fn version(&self) -> i64 {
        match self {
            Self::Organization(organization) => organization.version,
            Self::Workspace(workspace) => workspace.version,
            Self::Member(member) => member.version,
            Self::WorkspaceMember(membership) => membership.version,
        }
    }
}

/// One fact: a thing has a new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The thing as it is now, its version one higher than before.
    pub subject: Subject,
    /// Why.
    pub reason: Reason,
    /// The command that made it. A write that reaches several organizations is a command of its own in each (R46).
    pub command: CommandId,
    /// The apps whose scope the change is in. Empty: no app is told (a member who is in no workspace).
    pub apps: BTreeSet<AppName>,
    /// Of a departure: who takes over what is assigned to the member (R58).
    pub handover_to: Option<MemberId>,
    /// Of an erasure: what becomes of what is assigned to the member (R46).
    pub assignments: Option<Assignments>,
}

//! Changes: what a command did, one fact each.

use std::collections::BTreeSet;

use super::{
    ids::{AppName, OrganizationId},
    roles::words,
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
        /// The thing became part of an app's scope.
        ScopeEntered = "SCOPE_ENTERED",
        /// The role changed, the state did not (R03).
        RoleChanged = "ROLE_CHANGED",
        /// By a command about this very thing.
        Deactivated = "DEACTIVATED",
        /// The last ACTIVE workspace closed (R13).
        DeactivatedWithLastWorkspace = "DEACTIVATED_WITH_LAST_WORKSPACE",
        /// The member was deactivated in the organization (R19).
        DeactivatedWithOrganization = "DEACTIVATED_WITH_ORGANIZATION",
        /// By a command about this very thing.
        Reactivated = "REACTIVATED",
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
        /// The workspace was deleted.
        Deleted = "DELETED",
    }
);

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
    /// The apps whose scope the change is in. Empty: no app is told (a member who is in no workspace).
    pub apps: BTreeSet<AppName>,
}

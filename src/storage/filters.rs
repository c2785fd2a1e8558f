//! What a list can be asked for. What is not named does not matter.

use chrono::{DateTime, Utc};

use crate::rules::{
    ids::{AppName, ContractId, Email},
    roles::{MembershipState, OrganizationRole, OrganizationState, WorkspaceRole},
};

/// Which members of an organization.
#[derive(Debug, Clone, Default)]
pub struct MemberFilter {
    /// ACTIVE or DEACTIVATED.
    pub state: Option<MembershipState>,
    /// The role in the organization.
    pub role: Option<OrganizationRole>,
    /// Whether they are to leave (R59).
    pub leaving: Option<bool>,
    /// Only who is planned to return at this moment or later (R56).
    pub return_from: Option<DateTime<Utc>>,
    /// Only who is planned to return before this moment.
    pub return_until: Option<DateTime<Utc>>,
    /// The address of the account.
    pub email: Option<Email>,
}

/// Which members of a workspace.
#[derive(Debug, Clone, Default)]
pub struct WorkspaceMemberFilter {
    /// ACTIVE or DEACTIVATED.
    pub state: Option<MembershipState>,
    /// The role in the workspace.
    pub role: Option<WorkspaceRole>,
}

/// Which live workspaces.
#[derive(Debug, Clone, Default)]
pub struct WorkspaceFilter {
    /// The app that they belong to.
    pub app: Option<AppName>,
    /// Whether they are without an ACTIVE ADMIN (R57).
    pub without_admin: Option<bool>,
}

/// Which organizations.
#[derive(Debug, Clone, Default)]
pub struct OrganizationFilter {
    /// The state. None: ACTIVE.
    pub state: Option<OrganizationState>,
    /// The contract whose seats they share.
    pub contract: Option<ContractId>,
    /// Whether they are without an ACTIVE OWNER (R60).
    pub without_owner: Option<bool>,
}

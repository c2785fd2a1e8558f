//! The two tables: who may do what to whom (R61), and which state accepts which command (R62).
//!
//! Both are data, read by [`permitted`] and [`accepts`] and tested cell by cell. A cell of the first is `y` (yes),
//! `.` (the role does not suffice) or `^` (the target or the granted role is above the actor's own); a cell of the
//! second is `c` (changes), `-` (nothing to do) or `x` (refused, with the reason that the standing gives).

use super::roles::{InvitationState, MembershipState, OrganizationRole};

/// What can be done, as far as permission and state are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Action {
    CreateAccount,
    UpdateAccount,
    SetExternalIds,
    CreateOrganization,
    UpdateOrganization,
    SetSeats,
    DeleteOrganization,
    ManageContracts,
    CreateWorkspace,
    UpdateWorkspace,
    DeleteWorkspace,
    GrantRole,
    AddMember,
    SetRole,
    SetProfile,
    SetLeaving,
    ClearLeaving,
    PlanReturn,
    DeactivateMember,
    ReactivateMember,
    RemoveMember,
    EraseMember,
    DeleteAccount,
    AddWorkspaceMember,
    SetWorkspaceRole,
    DeactivateWorkspaceMember,
    ReactivateWorkspaceMember,
    RemoveWorkspaceMember,
    InviteMember,
    AcceptInvitation,
    DeclineInvitation,
    ResendInvitation,
    RevokeInvitation,
    RevokeInvitationWorkspace,
}

impl Action {
    /// Whether it takes access away from the member that it is about.
    pub fn is_departure(self) -> bool {
        matches!(
            self,
            Self::DeactivateMember
                | Self::RemoveMember
                | Self::DeactivateWorkspaceMember
                | Self::RemoveWorkspaceMember
        )
    }
}

/// Who acts: what counts of an actor for one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A workload as itself: an import, an administration tool. Bound by every rule but those about roles.
    Workload,
    /// An app as itself (R15), below the admins of the organization.
    App,
    /// An ACTIVE owner of the organization.
    Owner,
    /// An ACTIVE admin of the organization.
    Admin,
    /// An ACTIVE admin of the workspace that the command is about, a member in the organization.
    WorkspaceAdmin,
    /// The same, a guest in the organization: every MEMBER is above them, there as well.
    WorkspaceAdminGuest,
    /// Another ACTIVE member.
    Member,
    /// An ACTIVE guest.
    Guest,
    /// Anyone who is not ACTIVE in the organization.
    Outsider,
}

/// Whom or what it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The acting person; or nobody in particular, for commands about a thing.
    Own,
    /// Another person with this role, or, for [`Action::GrantRole`], the role that is granted.
    Other(OrganizationRole),
}

/// Why an actor may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denial {
    /// The role does not suffice (R05).
    RoleInsufficient,
    /// The target or the granted role is above the actor's own (R61).
    RoleAboveOwn,
}

/// The rows of a permission: the actors in the order of [`ActorKind`]; the columns: the person themselves (or no
/// person), then owner, admin, member, guest.
type Rows = [&'static str; 9];

const OPERATOR_ONLY: Rows = ["yyyyy", ".....", ".....", ".....", ".....", ".....", ".....", ".....", "....."];
const OWN_ONLY: Rows = ["yyyyy", ".....", "y....", "y....", "y....", "y....", "y....", "y....", "y...."];
const OWNERS: Rows = ["yyyyy", ".....", "yyyyy", ".....", ".....", ".....", ".....", ".....", "....."];
const ADMINS: Rows = ["yyyyy", ".....", "yyyyy", "yyyyy", ".....", ".....", ".....", ".....", "....."];
const ADMINS_AND_APPS: Rows =
    ["yyyyy", "yyyyy", "yyyyy", "yyyyy", ".....", ".....", ".....", ".....", "....."];
const ADMINS_AND_WORKSPACE_ADMINS: Rows =
    ["yyyyy", "yyyyy", "yyyyy", "yyyyy", "yyyyy", "yyyyy", ".....", ".....", "....."];
const ADMINS_UP_TO_OWN: Rows =
    ["yyyyy", ".^^yy", "yyyyy", "y^yyy", ".....", ".....", ".....", ".....", "....."];
const ADMINS_ON_OTHERS: Rows =
    ["yyyyy", ".^^yy", ".yyyy", ".^yyy", ".....", ".....", ".....", ".....", "....."];
const ADMINS_OR_OWN: Rows = ["yyyyy", ".^^yy", "yyyyy", "y^yyy", "y....", "y....", "y....", "y....", "y...."];
// In its own workspaces an app commands everybody, as who administers all of them would.
const WORKSPACE_ADMINS_UP_TO_OWN: Rows =
    ["yyyyy", "yyyyy", "yyyyy", "y^yyy", "y^^yy", "y^^^y", ".....", ".....", "....."];
const INVITERS_UP_TO_OWN: Rows =
    ["yyyyy", ".^^yy", "yyyyy", "y^yyy", "y^^yy", "y^^^y", ".....", ".....", "....."];

/// Who may do what to whom (R04, R05, R07, R10, R15, R61). Of invitations the target is the role that they give. Accepting
/// and declining have no rows: the secret is what permits them.
const PERMISSIONS: &[(Action, Rows)] = &[
    (Action::CreateAccount, OPERATOR_ONLY),
    (Action::UpdateAccount, OWN_ONLY),
    (Action::SetExternalIds, OPERATOR_ONLY),
    (Action::CreateOrganization, OWN_ONLY),
    (Action::UpdateOrganization, ADMINS),
    (Action::SetSeats, OPERATOR_ONLY),
    (Action::DeleteOrganization, OWNERS),
    (Action::ManageContracts, OPERATOR_ONLY),
    (Action::CreateWorkspace, ADMINS_AND_APPS),
    (Action::UpdateWorkspace, ADMINS_AND_WORKSPACE_ADMINS),
    (Action::DeleteWorkspace, ADMINS_AND_APPS),
    (Action::GrantRole, ["yyyyy", ".^^yy", "yyyyy", ".^yyy", ".^^..", ".^^^.", ".^^..", ".^^^.", "....."]),
    (Action::AddMember, ADMINS_AND_APPS),
    (Action::SetRole, ADMINS_UP_TO_OWN),
    (Action::SetProfile, ["yyyyy", ".^^yy", "yyyyy", "y^yyy", "y....", "y....", "y....", "y....", "....."]),
    // Nobody gives the right to delete entries back to themselves.
    (Action::SetLeaving, ADMINS_ON_OTHERS),
    (Action::ClearLeaving, ADMINS_ON_OTHERS),
    // As reactivating: a return that is carried out by itself must not be planned by who could not reactivate (R11).
    (Action::PlanReturn, ADMINS_UP_TO_OWN),
    (Action::DeactivateMember, ADMINS_OR_OWN),
    (Action::ReactivateMember, ADMINS_UP_TO_OWN),
    (Action::RemoveMember, ADMINS_UP_TO_OWN),
    (Action::EraseMember, OWNERS),
    (Action::DeleteAccount, OWN_ONLY),
    (Action::AddWorkspaceMember, WORKSPACE_ADMINS_UP_TO_OWN),
    (Action::SetWorkspaceRole, WORKSPACE_ADMINS_UP_TO_OWN),
    (
        Action::DeactivateWorkspaceMember,
        ["yyyyy", "yyyyy", "yyyyy", "y^yyy", "y^^yy", "y^^^y", "y....", "y....", "y...."],
    ),
    (Action::ReactivateWorkspaceMember, WORKSPACE_ADMINS_UP_TO_OWN),
    (Action::RemoveWorkspaceMember, WORKSPACE_ADMINS_UP_TO_OWN),
    (Action::InviteMember, INVITERS_UP_TO_OWN),
    (Action::ResendInvitation, INVITERS_UP_TO_OWN),
    (Action::RevokeInvitation, ADMINS_UP_TO_OWN),
    (Action::RevokeInvitationWorkspace, WORKSPACE_ADMINS_UP_TO_OWN),
];

/// Whether an actor may do this to this target.
pub fn permitted(action: Action, actor: ActorKind, target: Target) -> Result<(), Denial> {
    let row = match actor {
        ActorKind::Workload => 0,
        ActorKind::App => 1,
        ActorKind::Owner => 2,
        ActorKind::Admin => 3,
        ActorKind::WorkspaceAdmin => 4,
        ActorKind::WorkspaceAdminGuest => 5,
        ActorKind::Member => 6,
        ActorKind::Guest => 7,
        ActorKind::Outsider => 8,
    };
    let column = match target {
        Target::Own => 0,
        Target::Other(OrganizationRole::Owner) => 1,
        Target::Other(OrganizationRole::Admin) => 2,
        Target::Other(OrganizationRole::Member) => 3,
        Target::Other(OrganizationRole::Guest) => 4,
    };
    let cell = PERMISSIONS.iter().find(|(of, _)| *of == action).map(|(_, rows)| rows[row].as_bytes()[column]);
    match cell {
        Some(b'y') => Ok(()),
        Some(b'^') => Err(Denial::RoleAboveOwn),
        // An action without a row is denied to all.
        _ => Err(Denial::RoleInsufficient),
    }
}

/// What a membership is, in an organization or in a workspace, when a command arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// There is none and was none.
    None,
    /// There is none yet: an invitation is pending.
    Invited,
    /// Has access.
    Active,
    /// Belongs without access.
    Deactivated,
    /// Belonged once.
    Removed,
    /// Personal data is gone for good.
    Erased,
}

impl From<Option<MembershipState>> for Standing {
    fn from(state: Option<MembershipState>) -> Self {
        match state {
            None => Self::None,
            Some(MembershipState::Active) => Self::Active,
            Some(MembershipState::Deactivated) => Self::Deactivated,
            Some(MembershipState::Removed) => Self::Removed,
            Some(MembershipState::Erased) => Self::Erased,
        }
    }
}

/// What a state does with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Something changes.
    Changes,
    /// What the command wants is so already (R24).
    Nothing,
    /// Refused; the standing is the reason.
    Refused,
}

/// Which standing accepts which command (R62): none, INVITED, ACTIVE, DEACTIVATED, REMOVED, ERASED. Commands about a member meet the
/// standing in the organization, those about a workspace member the standing in the workspace.
const TRANSITIONS: &[(Action, &str)] = &[
    (Action::AddMember, "ccxxcx"),
    (Action::SetRole, "xxccxx"),
    (Action::SetProfile, "xxccxx"),
    (Action::SetLeaving, "xxcxxx"),
    (Action::ClearLeaving, "xxccxx"),
    (Action::PlanReturn, "xxxcxx"),
    (Action::DeactivateMember, "xxc-xx"),
    (Action::ReactivateMember, "xx-cxx"),
    (Action::RemoveMember, "xxcc-x"),
    (Action::EraseMember, "xxxcc-"),
    (Action::AddWorkspaceMember, "cxxxcx"),
    (Action::SetWorkspaceRole, "xxccxx"),
    (Action::DeactivateWorkspaceMember, "xxc-xx"),
    (Action::ReactivateWorkspaceMember, "xx-cxx"),
    (Action::RemoveWorkspaceMember, "xxcc-x"),
    (Action::InviteMember, "ccxxcc"),
    (Action::AcceptInvitation, "cccxcx"),
];

/// What a standing does with a command. Actions that are not about a membership are refused.
pub fn accepts(action: Action, standing: Standing) -> Outcome {
    let column = match standing {
        Standing::None => 0,
        Standing::Invited => 1,
        Standing::Active => 2,
        Standing::Deactivated => 3,
        Standing::Removed => 4,
        Standing::Erased => 5,
    };
    match TRANSITIONS.iter().find(|(of, _)| *of == action).map(|(_, row)| row.as_bytes()[column]) {
        Some(b'c') => Outcome::Changes,
        Some(b'-') => Outcome::Nothing,
        _ => Outcome::Refused,
    }
}

/// Which state of an invitation accepts which command about it (R62): PENDING, ACCEPTED, DECLINED, REVOKED, EXPIRED.
const INVITATIONS: &[(Action, &str)] = &[
    // Accepting again by the same account, which the table does not know, changes nothing.
    (Action::AcceptInvitation, "cxxxx"),
    (Action::DeclineInvitation, "cx-xx"),
    (Action::ResendInvitation, "cxxxx"),
    // Whatever has ended is dead already, but who accepted is there (R54).
    (Action::RevokeInvitation, "cx---"),
    (Action::RevokeInvitationWorkspace, "cx---"),
];

/// What the state of an invitation does with a command about it.
pub fn invitation_accepts(action: Action, state: InvitationState) -> Outcome {
    let column = match state {
        InvitationState::Pending => 0,
        InvitationState::Accepted => 1,
        InvitationState::Declined => 2,
        InvitationState::Revoked => 3,
        InvitationState::Expired => 4,
    };
    match INVITATIONS.iter().find(|(of, _)| *of == action).map(|(_, row)| row.as_bytes()[column]) {
        Some(b'c') => Outcome::Changes,
        Some(b'-') => Outcome::Nothing,
        _ => Outcome::Refused,
    }
}

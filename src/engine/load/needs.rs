//! What each command locks and names.

use crate::{
    rules::{
        Command, Departure, EraseMember,
        ids::{ContractId, MemberId, WorkspaceId},
        roles::{MembershipState, WorkspaceRole},
        state::{Member, WorkspaceMember},
    },
    storage::Lock,
};

/// What a command locks and names.
pub(in crate::engine) struct Needs {
    pub(super) organization: Lock,
    pub(in crate::engine) workspace: Option<(WorkspaceId, Lock)>,
    pub(in crate::engine) member: Option<MemberId>,
    /// Whether the member's departure or demotion is about "the last owner" if they are one.
    pub(super) ends_owner: bool,
    /// Whether everything in the organization is locked and loaded: all who belong, and all that is live.
    pub(super) whole: bool,
    /// Whether the seats are counted, and of which contract.
    pub(super) seats: Option<Option<ContractId>>,
}

impl Needs {
    pub(in crate::engine) fn of(command: &Command) -> Self {
        let thing = |organization, workspace| Self {
            organization,
            workspace,
            member: None,
            ends_owner: false,
            whole: false,
            seats: None,
        };
        let about = |organization, member| Self { member: Some(member), ..thing(organization, None) };
        match command {
            Command::CreateOrganization(_) => thing(Lock::None, None),
            Command::UpdateOrganization(update) => Self {
                seats: update.names_seats().then(|| update.contract.flatten()),
                ..thing(Lock::Update, None)
            },
            Command::DeleteOrganization { .. } => Self { whole: true, ..thing(Lock::Update, None) },
            Command::CreateWorkspace { .. } => thing(Lock::Update, None),
            Command::RenameWorkspace { workspace, .. } => thing(Lock::None, Some((*workspace, Lock::Update))),
            Command::DeleteWorkspace { workspace } => thing(Lock::Update, Some((*workspace, Lock::Update))),
            Command::AddMember { member, .. }
            | Command::AcceptInvitation { member, .. }
            | Command::ReactivateMember { member, .. }
            | Command::ReturnAsPlanned { member } => about(Lock::Share, *member),
            Command::UpdateMember { member, role, .. } => {
                Self { ends_owner: role.is_some(), ..about(Lock::None, *member) }
            }
            Command::DeactivateInactive { member } => about(Lock::None, *member),
            Command::DeactivateMember { member, .. }
            | Command::RemoveMember { member, .. }
            | Command::EraseMember(EraseMember { member, .. }) => {
                Self { ends_owner: true, ..about(Lock::None, *member) }
            }
            Command::AddWorkspaceMember { workspace, member, .. }
            | Command::ReactivateWorkspaceMember { workspace, member } => {
                Self { workspace: Some((*workspace, Lock::Share)), ..about(Lock::Share, *member) }
            }
            Command::SetWorkspaceRole { workspace, member, .. }
            | Command::RemoveWorkspaceMember { workspace, member, .. } => {
                Self { workspace: Some((*workspace, Lock::None)), ..about(Lock::None, *member) }
            }
            Command::DeactivateWorkspaceMember { workspace, member, .. } => Self {
                workspace: Some((*workspace, Lock::None)),
                ends_owner: true,
                ..about(Lock::None, *member)
            },
        }
    }

    /// Whether the command may take the acting person's own access to the organization.
    pub(super) fn may_end(&self, acting: Option<MemberId>) -> bool {
        match self.member {
            Some(member) => self.ends_owner && Some(member) == acting,
            // A deleted workspace takes along whoever was in no other.
            None => {
                self.workspace.is_some_and(|(_, lock)| lock == Lock::Update)
                    && self.organization == Lock::Update
            }
        }
    }
}

/// What a departure, or the end of a role, was decided with.
pub(in crate::engine) fn departure_of(command: &Command) -> Option<&Departure> {
    match command {
        Command::DeactivateMember { departure, .. }
        | Command::RemoveMember { departure, .. }
        | Command::DeactivateWorkspaceMember { departure, .. }
        | Command::RemoveWorkspaceMember { departure, .. }
        | Command::SetWorkspaceRole { departure, .. }
        | Command::EraseMember(EraseMember { departure, .. }) => Some(departure),
        _ => None,
    }
}

/// Whether what the command takes away includes being the ADMIN of a workspace, which may be left without one (R57).
pub(super) fn ends_admin(command: &Command, member: &Member, memberships: &[WorkspaceMember]) -> bool {
    if !departure_of(command).is_some_and(Departure::asks_about_admins) {
        return false;
    }
    let within = match command {
        Command::SetWorkspaceRole { role: WorkspaceRole::Admin, .. } => return false,
        Command::SetWorkspaceRole { workspace, .. }
        | Command::DeactivateWorkspaceMember { workspace, .. }
        | Command::RemoveWorkspaceMember { workspace, .. } => Some(*workspace),
        _ => None,
    };
    memberships.iter().any(|membership| {
        membership.member_id == member.id
            && membership.role == WorkspaceRole::Admin
            && membership.state == MembershipState::Active
            && within.is_none_or(|workspace| workspace == membership.workspace_id)
    })
}

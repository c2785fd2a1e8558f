//! Why a command is refused.

use std::time::Duration;

use super::{
    departure::Blocker,
    ids::{AppName, InvitationId, MemberId, OrganizationId, WorkspaceId},
    invitations::InvitationBound,
    roles::InvitationState,
    seats::SeatsOf,
    tables::{Denial, Standing},
};

/// A rule that a command would break. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The actor may not do this to this target (R05, R61).
    #[error("the acting person may not do this")]
    Denied(Denial),
    /// The organization does not let its members deactivate or remove themselves (R06).
    #[error("members of this organization do not deactivate or remove themselves; an owner or admin can")]
    SelfDeactivationOff(MemberId),
    /// The organization is deleted.
    #[error("organization {0} is deleted")]
    OrganizationDeleted(OrganizationId),
    /// What cannot be undone was not confirmed.
    #[error("this cannot be undone, and has to be confirmed")]
    NotConfirmed,
    /// No seat is free (R35).
    #[error("all {limit} seats are in use")]
    NoSeat {
        /// Whose seats.
        of: SeatsOf,
        /// How many are in use.
        used: i64,
        /// How many there are.
        limit: i64,
    },
    /// More seats are in use than there would be.
    #[error("{used} seats are in use, more than the {limit} that there would be")]
    SeatsInUse {
        /// Whose seats.
        of: SeatsOf,
        /// How many are, or would be, in use.
        used: i64,
        /// How many there would be.
        limit: i64,
    },
    /// The seats decide, and the slice does not have them: the engine asks again with them. No caller hears of it.
    #[error("the seats were not counted")]
    SeatsNotCounted,
    /// The calling app does not own the workspace.
    #[error("the workspace belongs to app {app}")]
    WorkspaceOfOtherApp {
        /// The app that owns it.
        app: AppName,
    },
    /// The state of the member does not accept the command (R62).
    #[error("member {member} is {standing:?}")]
    Member {
        /// The member, where there is one.
        member: MemberId,
        /// What it is.
        standing: Standing,
    },
    /// Only who is DEACTIVATED has a return to plan (R56).
    #[error("member {0} is ACTIVE")]
    MemberActive(MemberId),
    /// A planned return that is not in the future, or too far in it (R56).
    #[error("must be in the future, and at most {days} days ahead")]
    ReturnTime {
        /// How far ahead it may be.
        days: i64,
    },
    /// The state of the workspace membership does not accept the command (R62).
    #[error("member {member} is {standing:?} in the workspace")]
    WorkspaceMember {
        /// The member.
        member: MemberId,
        /// What the membership is.
        standing: Standing,
    },
    /// The workspace does not exist in this organization.
    #[error("no workspace {0} in this organization")]
    NoWorkspace(WorkspaceId),
    /// The workspace is deleted.
    #[error("workspace {0} is deleted")]
    WorkspaceDeleted(WorkspaceId),
    /// An organization keeps at least one workspace (R01).
    #[error("workspace {0} is the organization's last one")]
    LastWorkspace(WorkspaceId),
    /// Something must be decided before (R38, R39, R57, R60). Never empty.
    #[error("something stands in the way of the departure")]
    Blocked(Vec<Blocker>),
    /// A successor must be another ACTIVE member, no guest, and not leaving (R57).
    #[error("member {0} cannot succeed")]
    SuccessorUnfit(MemberId),
    /// Whoever takes over must be another ACTIVE member (R58).
    #[error("member {0} cannot take over")]
    HandoverUnfit(MemberId),
    /// The secret of an invitation is not the newest one, or of none.
    #[error("the secret of the invitation is dead")]
    InvitationSecret,
    /// The organization has no such invitation.
    #[error("no invitation {0} in this organization")]
    NoInvitation(InvitationId),
    /// A pending invitation of the address has another role, or everything that was asked for.
    #[error("invitation {0} of the address is pending")]
    InvitationExists(InvitationId),
    /// The state of the invitation does not accept the command (R54, R62).
    #[error("the invitation is {}", state.as_str())]
    Invitation {
        /// The invitation.
        invitation: InvitationId,
        /// What became of it.
        state: InvitationState,
    },
    /// The acting account does not have the invited address.
    #[error("the invitation is to another address than that of the acting account")]
    InvitationOfOtherAccount(InvitationId),
    /// Invitations are sent only so often.
    #[error("invitations were sent too often")]
    InvitationRate {
        /// What was sent too often.
        bound: InvitationBound,
        /// How long until the next one may be sent.
        wait: Duration,
    },
    /// More changes than one command may produce (C4).
    #[error("{changes} changes are more than the {limit} that one command may produce")]
    TooLarge {
        /// How many it would produce.
        changes: usize,
        /// How many it may.
        limit: usize,
    },
}

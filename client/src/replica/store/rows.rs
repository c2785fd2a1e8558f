//! What is held of each thing.

use uuid::Uuid;

use super::table::{Entry, hash};
use crate::v1::{
    MemberState, OrganizationRole, OrganizationState, WorkspaceMemberState, WorkspaceRole, WorkspaceState,
};

/// State, role, `leaving` and version of a thing in one word. 0: not known yet, only referred to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

const VERSION_SHIFT: u32 = 16;
const LEAVING: u64 = 1 << 15;

impl Word {
    /// States and roles are small numbers; one that is not is of a newer service and becomes 127, which allows nothing.
    pub(crate) fn new(state: i32, role: i32, leaving: bool, version: i64) -> Self {
        let small = |number: i32| u64::from(u8::try_from(number).unwrap_or(127).min(127));
        let leaving = if leaving { LEAVING } else { 0 };
        Self((version.unsigned_abs() << VERSION_SHIFT) | leaving | (small(role) << 8) | small(state))
    }

    pub(crate) fn is_known(self) -> bool {
        self.0 != 0
    }

    pub(crate) fn version(self) -> u64 {
        self.0 >> VERSION_SHIFT
    }

    pub(crate) fn state(self) -> u8 {
        (self.0 & 0x7f) as u8
    }

    pub(crate) fn leaving(self) -> bool {
        self.0 & LEAVING != 0
    }

    pub(crate) fn organization_role(self) -> OrganizationRole {
        OrganizationRole::try_from(self.role()).unwrap_or_default()
    }

    pub(crate) fn workspace_role(self) -> WorkspaceRole {
        WorkspaceRole::try_from(self.role()).unwrap_or_default()
    }

    fn role(self) -> i32 {
        ((self.0 >> 8) & 0x7f) as i32
    }

    pub(crate) fn is_active_member(self) -> bool {
        self.is(MEMBER_ACTIVE)
    }

    pub(crate) fn is_active_membership(self) -> bool {
        self.is(MEMBERSHIP_ACTIVE)
    }

    pub(crate) fn is_erased(self) -> bool {
        self.is(MEMBER_ERASED)
    }

    pub(crate) fn is(self, state: impl Into<i32>) -> bool {
        i32::from(self.state()) == state.into()
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OrganizationRow {
    pub(crate) id: Uuid,
    pub(crate) word: Word,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WorkspaceRow {
    pub(crate) id: Uuid,
    pub(crate) word: Word,
    pub(crate) organization: u32,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MemberRow {
    pub(crate) id: Uuid,
    /// Nil: not known, or ERASED.
    pub(crate) account: Uuid,
    pub(crate) word: Word,
    /// A session that was made at a lower version was revoked since.
    pub(crate) revoked: u64,
    pub(crate) organization: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Membership {
    pub(crate) workspace: u32,
    pub(crate) member: u32,
    pub(crate) word: Word,
    /// As [`MemberRow::revoked`].
    pub(crate) revoked: u64,
}

impl Membership {
    pub(super) fn hash_of(workspace: u32, member: u32) -> u32 {
        hash(u64::from(workspace) << 32 | u64::from(member), u64::from(member))
    }
}

impl Entry for Membership {
    fn hash(&self) -> u32 {
        Self::hash_of(self.workspace, self.member)
    }
}

/// Where the row with an id is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(super) hash: u32,
    pub(super) row: u32,
}

impl Entry for Place {
    fn hash(&self) -> u32 {
        self.hash
    }
}

/// Which member an account is in an organization. Hashed by the account alone, so that all its members stand together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccountMember {
    pub(super) hash: u32,
    pub(super) organization: u32,
    pub(super) member: u32,
}

impl Entry for AccountMember {
    fn hash(&self) -> u32 {
        self.hash
    }
}

pub(crate) const ORGANIZATION_DELETED: i32 = OrganizationState::Deleted as i32;
pub(crate) const WORKSPACE_DELETED: i32 = WorkspaceState::Deleted as i32;
pub(crate) const MEMBER_ACTIVE: i32 = MemberState::Active as i32;
pub(crate) const MEMBER_REMOVED: i32 = MemberState::Removed as i32;
pub(crate) const MEMBER_ERASED: i32 = MemberState::Erased as i32;
pub(crate) const MEMBERSHIP_ACTIVE: i32 = WorkspaceMemberState::Active as i32;
pub(crate) const MEMBERSHIP_REMOVED: i32 = WorkspaceMemberState::Removed as i32;

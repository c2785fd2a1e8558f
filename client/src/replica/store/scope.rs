//! One moment of an app's scope, and the question that is asked of it.

use std::{collections::HashSet, sync::Arc};

use uuid::Uuid;

use super::{
    arena::Arena,
    externals::Externals,
    rows::{
        AccountMember, MEMBER_ACTIVE, MEMBER_ERASED, MEMBER_REMOVED, MEMBERSHIP_ACTIVE, MEMBERSHIP_REMOVED,
        MemberRow, Membership, ORGANIZATION_DELETED, OrganizationRow, Place, WORKSPACE_DELETED, WorkspaceRow,
    },
    table::{Table, hash_id},
};
use crate::{
    replica::{Allowed, Person, Stamp},
    v1::DenialReason,
};

/// Rows of one kind, and where each id is.
#[derive(Debug, Clone)]
pub(crate) struct Rows<T> {
    pub(crate) rows: Arena<T>,
    places: Table<Place>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { rows: Arena::default(), places: Table::default() }
    }
}

/// A row that has its own id.
pub(crate) trait Row: Copy + Default {
    fn id(&self) -> Uuid;
    fn referred_to(id: Uuid) -> Self;
}

impl<T: Row> Rows<T> {
    pub(crate) fn place(&self, id: Uuid) -> Option<u32> {
        let hash = hash_id(id);
        let found = self.places.find(hash, |place| self.rows.get(place.row).id() == id);
        found.map(|place| place.row)
    }

    /// The place of an id; a new one where only references to it have come so far.
    pub(super) fn intern(&mut self, id: Uuid) -> u32 {
        self.place(id).unwrap_or_else(|| {
            let row = self.rows.push(T::referred_to(id));
            self.places.insert(Place { hash: hash_id(id), row });
            row
        })
    }
}

/// Everything that checks read. A clone shares all of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) organizations: Rows<OrganizationRow>,
    pub(crate) workspaces: Rows<WorkspaceRow>,
    pub(crate) members: Rows<MemberRow>,
    pub(crate) memberships: Table<Membership>,
    pub(super) accounts: Table<AccountMember>,
    pub(super) externals: Externals,
    /// What revocations that the log lost still deny: members, in one workspace or in all.
    pub(crate) lost: Arc<HashSet<(Uuid, Option<Uuid>)>>,
    /// Everything at or before it is in.
    pub(crate) position: i64,
    pub(crate) digest: u128,
}

impl Scope {
    /// Whether the person may use the workspace: else the first reason why not, in the order of `DenialReason`. With what
    /// a session of theirs must not be older than.
    pub(crate) fn check(
        &self,
        person: Person<'_>,
        workspace_id: Uuid,
    ) -> Result<(Allowed, Revoked), DenialReason> {
        // Before the workspace is looked up: the processor waits for memory for both at once.
        let account = match person {
            Person::Account(account) => Some(account),
            Person::External { issuer, subject } => self.externals.account(issuer, subject),
        };
        let members = account.map(|account| (account, self.accounts.run(hash_id(account))));
        let place = self.workspaces.place(workspace_id).ok_or(DenialReason::WorkspaceUnknown)?;
        let workspace = self.workspaces.rows.get(place);
        if !workspace.word.is_known() {
            return Err(DenialReason::WorkspaceUnknown);
        }
        let organization = self.organizations.rows.get(workspace.organization);
        if workspace.word.is(WORKSPACE_DELETED) || organization.word.is(ORGANIZATION_DELETED) {
            return Err(DenialReason::WorkspaceDeleted);
        }
        let (account, members) = members.ok_or(DenialReason::NotAMember)?;
        let member = self.among(members, account, workspace.organization).ok_or(DenialReason::NotAMember)?;
        self.check_member(place, member)
    }

    /// Why the member, of whom this is known, may not use the workspace. `None`: allowed.
    pub(crate) fn denial(&self, member_id: Uuid, workspace_id: Uuid) -> Option<DenialReason> {
        let Some(workspace) = self.workspaces.place(workspace_id) else {
            return Some(DenialReason::WorkspaceUnknown);
        };
        let row = self.workspaces.rows.get(workspace);
        if row.word.is(WORKSPACE_DELETED)
            || self.organizations.rows.get(row.organization).word.is(ORGANIZATION_DELETED)
        {
            return Some(DenialReason::WorkspaceDeleted);
        }
        match self.members.place(member_id) {
            Some(member) => self.check_member(workspace, member).err(),
            None => Some(DenialReason::NotAMember),
        }
    }

    fn check_member(&self, place: u32, member_place: u32) -> Result<(Allowed, Revoked), DenialReason> {
        let workspace = self.workspaces.rows.get(place);
        let member = self.members.rows.get(member_place);
        if !member.word.is(MEMBER_ACTIVE) {
            let gone = member.word.is(MEMBER_REMOVED) || member.word.is(MEMBER_ERASED);
            return Err(if gone { DenialReason::NotAMember } else { DenialReason::MemberDeactivated });
        }
        let membership = self.membership(place, member_place).ok_or(DenialReason::NotInWorkspace)?;
        if !membership.word.is(MEMBERSHIP_ACTIVE) {
            let gone = membership.word.is(MEMBERSHIP_REMOVED);
            return Err(if gone {
                DenialReason::NotInWorkspace
            } else {
                DenialReason::WorkspaceMemberDeactivated
            });
        }
        if !self.lost.is_empty() && self.is_lost(member.id, workspace.id) {
            return Err(DenialReason::RevocationLost);
        }
        let allowed = Allowed {
            organization_id: self.organizations.rows.get(workspace.organization).id,
            member_id: member.id,
            organization_role: member.word.organization_role(),
            workspace_role: membership.word.workspace_role(),
            leaving: member.word.leaving(),
            stamp: Stamp {
                member_id: member.id,
                member_version: member.word.version(),
                membership_version: membership.word.version(),
            },
        };
        Ok((allowed, Revoked { member: member.revoked, membership: membership.revoked }))
    }

    pub(crate) fn membership(&self, workspace: u32, member: u32) -> Option<&Membership> {
        let is = |entry: &Membership| entry.workspace == workspace && entry.member == member;
        self.memberships.find(Membership::hash_of(workspace, member), is)
    }

    #[cfg(test)]
    pub(super) fn member_of(&self, account: Uuid, organization: u32) -> Option<u32> {
        self.among(self.accounts.run(hash_id(account)), account, organization)
    }

    /// Which of these members, whose accounts have one hash, is this account's in this organization.
    fn among(&self, members: &[AccountMember], account: Uuid, organization: u32) -> Option<u32> {
        let is = |entry: &&AccountMember| {
            entry.organization == organization && self.members.rows.get(entry.member).account == account
        };
        members.iter().find(is).map(|entry| entry.member)
    }

    /// Whether the account has a member, in whichever organization.
    pub(super) fn has_member(&self, account: Uuid) -> bool {
        let hash = hash_id(account);
        self.accounts.find(hash, |entry| self.members.rows.get(entry.member).account == account).is_some()
    }

    fn is_lost(&self, member: Uuid, workspace: Uuid) -> bool {
        self.lost.contains(&(member, None)) || self.lost.contains(&(member, Some(workspace)))
    }
}

/// The versions of the last revocations: a session that was made at a lower one is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Revoked {
    pub(crate) member: u64,
    pub(crate) membership: u64,
}

impl Revoked {
    pub(crate) fn ends(&self, stamp: &Stamp, member_id: Uuid) -> bool {
        stamp.member_id != member_id
            || stamp.member_version < self.member
            || stamp.membership_version < self.membership
    }
}

impl Row for OrganizationRow {
    fn id(&self) -> Uuid {
        self.id
    }
    fn referred_to(id: Uuid) -> Self {
        Self { id, ..Self::default() }
    }
}

impl Row for WorkspaceRow {
    fn id(&self) -> Uuid {
        self.id
    }
    fn referred_to(id: Uuid) -> Self {
        Self { id, ..Self::default() }
    }
}

impl Row for MemberRow {
    fn id(&self) -> Uuid {
        self.id
    }
    fn referred_to(id: Uuid) -> Self {
        Self { id, ..Self::default() }
    }
}

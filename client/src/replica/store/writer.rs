//! The one writer of a scope: applies things by the rule that a higher version wins, and says what that did.

use uuid::Uuid;

use super::{
    Body, Scope, Thing,
    digest::{self, Key},
    externals::Identities,
    rows::{
        AccountMember, MEMBER_ACTIVE, MEMBERSHIP_ACTIVE, Membership, ORGANIZATION_DELETED, WORKSPACE_DELETED,
        Word,
    },
    table::hash_id,
};
use crate::v1::ExternalId;

/// A scope that is written to, with what only its writer needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) scope: Scope,
    /// The external ids of the accounts that have some: for the handler, and to know which to forget.
    pub(crate) identities: Identities,
}

/// Where a thing comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A page of a snapshot: what happened to the thing before is not known, so sessions of earlier versions count as
    /// revoked.
    Snapshot,
    /// A change: sessions are over when it ends the access.
    Change,
}

/// Whose access may be another one now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touched {
    Nobody,
    Member(Uuid),
    Everyone,
}

/// What applying a thing did.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) touched: Touched,
    /// Of a member or membership: the account of the member, as it is or, severed just now, was.
    pub(crate) account: Option<Uuid>,
    /// The external ids of that account, likewise.
    pub(crate) external_ids: Vec<ExternalId>,
}

impl Store {
    /// Applies a thing unless a state at least as new is held.
    pub(crate) fn apply(&mut self, thing: &Thing, source: Source) -> Touched {
        let Thing { organization, word, body } = thing;
        let organization = self.scope.organizations.intern(*organization);
        match body {
            Body::Organization => self.apply_organization(organization, *word),
            Body::Workspace(id) => self.apply_workspace(organization, *id, *word),
            Body::Member { member, account, external_ids } => {
                self.apply_member(organization, *member, *account, external_ids, *word, source)
            }
            Body::Membership { workspace, member } => {
                self.apply_membership(organization, *workspace, *member, *word, source)
            }
        }
    }

    /// As [`Store::apply`], with who the person is: what a handler is told.
    pub(crate) fn apply_and_tell(&mut self, thing: &Thing, source: Source) -> Applied {
        let member = match &thing.body {
            Body::Member { member, .. } | Body::Membership { member, .. } => Some(*member),
            Body::Organization | Body::Workspace(_) => None,
        };
        // Before applying: an erasure severs them.
        let before = member.and_then(|member| self.account_of(member));
        let ids_before = before.map(|account| self.external_ids(account).to_vec()).unwrap_or_default();
        let touched = self.apply(thing, source);
        let account = before.or_else(|| member.and_then(|member| self.account_of(member)));
        let external_ids = match account {
            Some(account) if ids_before.is_empty() => self.external_ids(account).to_vec(),
            _ => ids_before,
        };
        Applied { touched, account, external_ids }
    }

    pub(crate) fn external_ids(&self, account: Uuid) -> &[ExternalId] {
        self.identities.of(account)
    }

    pub(crate) fn account_of(&self, member: Uuid) -> Option<Uuid> {
        let place = self.scope.members.place(member)?;
        Some(self.scope.members.rows.get(place).account).filter(|account| !account.is_nil())
    }

    /// Takes over what `old` knows of revocations, where a thing did not change since: what a snapshot cannot tell.
    pub(crate) fn remember(&mut self, old: &Scope) {
        let members: Vec<(u32, Uuid, Word)> =
            self.scope.members.rows.iter().map(|(place, row)| (place, row.id, row.word)).collect();
        for (place, id, word) in members {
            if let Some(held) = old.members.place(id).map(|place| old.members.rows.get(place))
                && held.word == word
            {
                self.scope.members.rows.get_mut(place).revoked = held.revoked;
            }
        }
        let memberships: Vec<Membership> = self.scope.memberships.iter().copied().collect();
        for membership in memberships {
            let Membership { workspace, member, word, .. } = membership;
            if let Some(held) = same(&self.scope, old, workspace, member)
                && held.word == word
                && let Some(entry) = self.membership_mut(workspace, member)
            {
                entry.revoked = held.revoked;
            }
        }
    }

    fn membership_mut(&mut self, workspace: u32, member: u32) -> Option<&mut Membership> {
        let is = |entry: &Membership| entry.workspace == workspace && entry.member == member;
        self.scope.memberships.find_mut(Membership::hash_of(workspace, member), is)
    }

    fn apply_organization(&mut self, place: u32, word: Word) -> Touched {
        let row = self.scope.organizations.rows.get(place);
        if word.version() <= row.word.version() {
            return Touched::Nobody;
        }
        self.count(Key::Organization(row.id), row.word, word);
        self.scope.organizations.rows.get_mut(place).word = word;
        if word.is(ORGANIZATION_DELETED) { Touched::Everyone } else { Touched::Nobody }
    }

    fn apply_workspace(&mut self, organization: u32, id: Uuid, word: Word) -> Touched {
        let place = self.scope.workspaces.intern(id);
        let row = self.scope.workspaces.rows.get(place);
        if word.version() <= row.word.version() {
            return Touched::Nobody;
        }
        self.count(Key::Workspace(id), row.word, word);
        let row = self.scope.workspaces.rows.get_mut(place);
        (row.word, row.organization) = (word, organization);
        if word.is(WORKSPACE_DELETED) { Touched::Everyone } else { Touched::Nobody }
    }

    fn apply_member(
        &mut self,
        organization: u32,
        id: Uuid,
        account: Uuid,
        external_ids: &[ExternalId],
        word: Word,
        source: Source,
    ) -> Touched {
        let place = self.scope.members.intern(id);
        let old = *self.scope.members.rows.get(place);
        if word.version() <= old.word.version() {
            return Touched::Nobody;
        }
        self.count(Key::Member(id), old.word, word);
        let row = self.scope.members.rows.get_mut(place);
        row.word = word;
        row.account = account;
        row.organization = organization;
        row.revoked = revoked(old.revoked, word, source, MEMBER_ACTIVE);
        if old.account != account {
            if !old.account.is_nil() {
                let hash = hash_id(old.account);
                self.scope.accounts.remove(hash, |entry| entry.member == place);
                if !self.scope.has_member(old.account) {
                    self.identify(old.account, &[]);
                }
            }
            if !account.is_nil() {
                self.scope.accounts.insert(AccountMember {
                    hash: hash_id(account),
                    organization,
                    member: place,
                });
            }
        }
        if !account.is_nil() {
            self.identify(account, external_ids);
        }
        Touched::Member(id)
    }

    fn apply_membership(
        &mut self,
        organization: u32,
        workspace_id: Uuid,
        member_id: Uuid,
        word: Word,
        source: Source,
    ) -> Touched {
        let workspace = self.scope.workspaces.intern(workspace_id);
        if !self.scope.workspaces.rows.get(workspace).word.is_known() {
            self.scope.workspaces.rows.get_mut(workspace).organization = organization;
        }
        let member = self.scope.members.intern(member_id);
        let old = self.scope.membership(workspace, member).copied();
        let (old_word, old_revoked) = old.map_or((Word::default(), 0), |old| (old.word, old.revoked));
        if word.version() <= old_word.version() {
            return Touched::Nobody;
        }
        self.count(Key::Membership { workspace: workspace_id, member: member_id }, old_word, word);
        let revoked = revoked(old_revoked, word, source, MEMBERSHIP_ACTIVE);
        match self.membership_mut(workspace, member) {
            Some(entry) => (entry.word, entry.revoked) = (word, revoked),
            None => self.scope.memberships.insert(Membership { workspace, member, word, revoked }),
        }
        Touched::Member(member_id)
    }

    pub(super) fn count(&mut self, key: Key, old: Word, new: Word) {
        self.scope.digest =
            self.scope.digest.wrapping_sub(digest::of(key, old)).wrapping_add(digest::of(key, new));
    }

    /// Gives an account these external ids, and no others.
    pub(crate) fn identify(&mut self, account: Uuid, ids: &[ExternalId]) {
        if self.external_ids(account) == ids {
            return;
        }
        for id in self.identities.replace(account, ids) {
            self.scope.externals.remove(&id, account);
        }
        for id in ids {
            self.scope.externals.add(id, account);
        }
    }
}

/// Sessions of which versions are over, after a thing took on this state.
fn revoked(before: u64, word: Word, source: Source, active: i32) -> u64 {
    match source {
        Source::Snapshot => word.version(),
        Source::Change if !word.is(active) => word.version(),
        Source::Change => before,
    }
}

/// The membership that is at these places of `new`, in `old`.
fn same<'a>(new: &Scope, old: &'a Scope, workspace: u32, member: u32) -> Option<&'a Membership> {
    let workspace = old.workspaces.place(new.workspaces.rows.get(workspace).id)?;
    let member = old.members.place(new.members.rows.get(member).id)?;
    old.membership(workspace, member)
}

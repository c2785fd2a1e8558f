//! A store as rows of a file, and back. Rows stand in the order of their places, so that places stay.

use uuid::Uuid;

use super::{
    Store,
    digest::Key,
    rows::{AccountMember, Membership, Word},
    table::hash_id,
};
use crate::replica::file::{Row, Rows};

/// What a file holds of a store, besides the external ids.
pub(crate) struct Dump<'a> {
    pub(crate) organizations: Rows<'a>,
    pub(crate) workspaces: Rows<'a>,
    pub(crate) members: Rows<'a>,
    pub(crate) memberships: Rows<'a>,
}

impl Store {
    pub(crate) fn dump(&self) -> Dump<'_> {
        let scope = &self.scope;
        let id = |id: &Uuid| id.as_bytes().to_vec();
        Dump {
            organizations: Box::new(scope.organizations.rows.iter().map(move |(_, row)| Row {
                id: id(&row.id),
                word: row.word.0,
                ..Row::default()
            })),
            workspaces: Box::new(scope.workspaces.rows.iter().map(move |(_, row)| Row {
                id: id(&row.id),
                word: row.word.0,
                parent: row.organization,
                ..Row::default()
            })),
            members: Box::new(scope.members.rows.iter().map(move |(_, row)| Row {
                id: id(&row.id),
                word: row.word.0,
                parent: row.organization,
                revoked: row.revoked,
                account: if row.account.is_nil() { Vec::new() } else { id(&row.account) },
                ..Row::default()
            })),
            memberships: Box::new(scope.memberships.iter().map(|row| Row {
                word: row.word.0,
                parent: row.workspace,
                member: row.member,
                revoked: row.revoked,
                ..Row::default()
            })),
        }
    }

    // Each gives nothing for a row that cannot be.

    pub(crate) fn restore_organization(&mut self, row: &Row) -> Option<()> {
        let (id, word) = (Uuid::from_slice(&row.id).ok()?, Word(row.word));
        let place = self.scope.organizations.intern(id);
        self.scope.organizations.rows.get_mut(place).word = word;
        self.count(Key::Organization(id), Word::default(), word);
        Some(())
    }

    pub(crate) fn restore_workspace(&mut self, row: &Row) -> Option<()> {
        let (id, word) = (Uuid::from_slice(&row.id).ok()?, Word(row.word));
        self.is_organization(row.parent)?;
        let place = self.scope.workspaces.intern(id);
        let held = self.scope.workspaces.rows.get_mut(place);
        (held.word, held.organization) = (word, row.parent);
        self.count(Key::Workspace(id), Word::default(), word);
        Some(())
    }

    pub(crate) fn restore_member(&mut self, row: &Row) -> Option<()> {
        let (id, word) = (Uuid::from_slice(&row.id).ok()?, Word(row.word));
        let account =
            if row.account.is_empty() { Uuid::nil() } else { Uuid::from_slice(&row.account).ok()? };
        self.is_organization(row.parent)?;
        let place = self.scope.members.intern(id);
        let held = self.scope.members.rows.get_mut(place);
        (held.word, held.organization, held.revoked, held.account) = (word, row.parent, row.revoked, account);
        if !account.is_nil() {
            let hash = hash_id(account);
            self.scope.accounts.insert(AccountMember { hash, organization: row.parent, member: place });
        }
        self.count(Key::Member(id), Word::default(), word);
        Some(())
    }

    pub(crate) fn restore_membership(&mut self, row: &Row) -> Option<()> {
        let workspace = ((row.parent as usize) < self.scope.workspaces.rows.len()).then_some(row.parent)?;
        let member = ((row.member as usize) < self.scope.members.rows.len()).then_some(row.member)?;
        let word = Word(row.word);
        let key = Key::Membership {
            workspace: self.scope.workspaces.rows.get(workspace).id,
            member: self.scope.members.rows.get(member).id,
        };
        self.scope.memberships.insert(Membership { workspace, member, word, revoked: row.revoked });
        self.count(key, Word::default(), word);
        Some(())
    }

    fn is_organization(&self, place: u32) -> Option<()> {
        ((place as usize) < self.scope.organizations.rows.len()).then_some(())
    }
}

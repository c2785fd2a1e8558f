//! Accounts by their external ids. An id is kept as a keyed hash: 16 bytes instead of two strings, and no personal data
//! where checks read.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use uuid::Uuid;

use super::table::{Entry, Table, hash_id};
use crate::v1::ExternalId;

#[derive(Debug, Clone, Default)]
pub(crate) struct Externals {
    table: Table<External>,
    keys: [RandomState; 2],
}

#[derive(Debug, Clone, Copy)]
struct External {
    key: [u64; 2],
    account: Uuid,
}

impl Entry for External {
    fn hash(&self) -> u32 {
        (self.key[0] >> 32) as u32
    }
}

impl Externals {
    pub(super) fn account(&self, issuer: &str, subject: &str) -> Option<Uuid> {
        let wanted = External { key: self.key(issuer, subject), account: Uuid::nil() };
        self.table.find(wanted.hash(), |entry| entry.key == wanted.key).map(|entry| entry.account)
    }

    pub(super) fn add(&mut self, id: &ExternalId, account: Uuid) {
        let new = External { key: self.key(&id.issuer, &id.subject), account };
        match self.table.find_mut(new.hash(), |entry| entry.key == new.key) {
            Some(entry) => *entry = new,
            None => self.table.insert(new),
        }
    }

    /// Takes an id from an account, unless another has it by now.
    pub(super) fn remove(&mut self, id: &ExternalId, account: Uuid) {
        let old = External { key: self.key(&id.issuer, &id.subject), account };
        self.table.remove(old.hash(), |entry| entry.key == old.key && entry.account == account);
    }

    fn key(&self, issuer: &str, subject: &str) -> [u64; 2] {
        self.keys.each_ref().map(|key| key.hash_one((issuer, subject)))
    }
}

/// So many parts share the accounts: a part is copied when it changes while a file is written from a clone.
const PARTS: u32 = 256;

/// The external ids of the accounts that have some, as they are: for the handler and the state file.
#[derive(Debug, Clone)]
pub(crate) struct Identities {
    parts: Vec<Arc<HashMap<Uuid, Box<[ExternalId]>>>>,
}

impl Default for Identities {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| Arc::default()).collect() }
    }
}

impl Identities {
    pub(super) fn of(&self, account: Uuid) -> &[ExternalId] {
        self.parts[part(account)].get(&account).map(|ids| &**ids).unwrap_or_default()
    }

    /// Gives an account these ids, and says which it had.
    pub(super) fn replace(&mut self, account: Uuid, ids: &[ExternalId]) -> Box<[ExternalId]> {
        let part = Arc::make_mut(&mut self.parts[part(account)]);
        let before = if ids.is_empty() { part.remove(&account) } else { part.insert(account, ids.into()) };
        before.unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Uuid, &[ExternalId])> {
        self.parts.iter().flat_map(|part| part.iter()).map(|(account, ids)| (account, &**ids))
    }
}

fn part(account: Uuid) -> usize {
    (hash_id(account) % PARTS) as usize
}

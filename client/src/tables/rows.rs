//! The four tables, and the one rule for writing them: a higher version wins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::v1::{Member, Organization, Subject, Workspace, WorkspaceMember, subject};

/// Everything of a scope by its id. Ordered, so that what is stored and listed is the same for the same state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rows {
    #[serde(with = "listed")]
    pub(super) organizations: BTreeMap<String, Organization>,
    #[serde(with = "listed")]
    pub(super) workspaces: BTreeMap<String, Workspace>,
    #[serde(with = "listed")]
    pub(super) members: BTreeMap<String, Member>,
    #[serde(with = "listed")]
    pub(super) workspace_members: BTreeMap<(String, String), WorkspaceMember>,
}

impl Rows {
    pub(super) fn apply(&mut self, subject: &Subject) {
        match &subject.subject {
            Some(subject::Subject::Organization(row)) => put(&mut self.organizations, row),
            Some(subject::Subject::Workspace(row)) => put(&mut self.workspaces, row),
            Some(subject::Subject::Member(row)) => put(&mut self.members, row),
            Some(subject::Subject::WorkspaceMember(row)) => put(&mut self.workspace_members, row),
            // A kind of thing that this client does not know yet: it has nothing to answer about it either.
            None => {}
        }
    }
}

/// A thing with an id and a version.
pub(super) trait Row: Clone {
    type Key: Ord;
    fn key(&self) -> Self::Key;
    fn version(&self) -> i64;
}

fn put<R: Row>(table: &mut BTreeMap<R::Key, R>, row: &R) {
    let key = row.key();
    if table.get(&key).is_none_or(|held| held.version() < row.version()) {
        table.insert(key, row.clone());
    }
}

impl Row for Organization {
    type Key = String;
    fn key(&self) -> String {
        self.organization_id.clone()
    }
    fn version(&self) -> i64 {
        self.version
    }
}

impl Row for Workspace {
    type Key = String;
    fn key(&self) -> String {
        self.workspace_id.clone()
    }
    fn version(&self) -> i64 {
        self.version
    }
}

impl Row for Member {
    type Key = String;
    fn key(&self) -> String {
        self.member_id.clone()
    }
    fn version(&self) -> i64 {
        self.version
    }
}

impl Row for WorkspaceMember {
    type Key = (String, String);
    fn key(&self) -> (String, String) {
        (self.workspace_id.clone(), self.member_id.clone())
    }
    fn version(&self) -> i64 {
        self.version
    }
}

/// A table stored as the list of its rows: the key is in the row.
mod listed {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Row;

    pub(super) fn serialize<S, R>(table: &BTreeMap<R::Key, R>, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        R: Row + Serialize,
    {
        serializer.collect_seq(table.values())
    }

    pub(super) fn deserialize<'de, D, R>(deserializer: D) -> Result<BTreeMap<R::Key, R>, D::Error>
    where
        D: Deserializer<'de>,
        R: Row + Deserialize<'de>,
    {
        let rows = Vec::<R>::deserialize(deserializer)?;
        Ok(rows.into_iter().map(|row| (row.key(), row)).collect())
    }
}

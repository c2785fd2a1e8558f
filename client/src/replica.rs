//! The state that a stream tells, kept in memory: everything of an app's scope by its id.
//!
//! - A thing is replaced only by a higher `version`, so redelivery and pages that run ahead do no harm.
//! - A snapshot fills new tables beside the old ones, which answer until it is complete.
//! - It can be stored (serde) and read back beside the cursor that it belongs to. A snapshot that is still being filled
//!   is not stored: there is no cursor for it.

use serde::{Deserialize, Serialize};

mod tables;

use crate::{
    Event,
    v1::{ChangeBatch, Member, Organization, Subject, Workspace, WorkspaceMember},
};
use tables::Tables;

/// What is known of an app's scope, REMOVED and DELETED things included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    #[serde(flatten)]
    tables: Tables,
    /// The snapshot that is being received.
    #[serde(skip)]
    filling: Option<Tables>,
    /// Whether a snapshot was ever complete.
    filled: bool,
    position: i64,
    ready_position: i64,
}

impl Replica {
    /// Applies what a watch gave. Each part of a long command is applied as it arrives.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Opened(opened) => self.filling = opened.snapshot_follows.then(Tables::default),
            Event::SnapshotPage(page) => {
                let filling = self.filling.get_or_insert_default();
                page.subjects.iter().for_each(|subject| filling.apply(subject));
            }
            Event::SnapshotEnd(end) => {
                self.tables = self.filling.take().unwrap_or_default();
                self.filled = true;
                self.position = end.position;
                self.ready_position = end.ready_position;
            }
            Event::Batch(batch) => self.apply_batch(batch),
            Event::Bookmark(bookmark) => self.reached(bookmark.position),
            Event::Disconnected { .. } => {}
        }
    }

    /// Applies one change of a batch, for callers who look at the state between two of them. The position moves with
    /// the batch only.
    pub fn apply_subject(&mut self, subject: &Subject) {
        self.tables.apply(subject);
    }

    /// Everything at or before this position is in the replica.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The position that must be passed before the last snapshot is of one time.
    #[must_use]
    pub fn ready_position(&self) -> i64 {
        self.ready_position
    }

    /// Whether the replica is the state at one time: a snapshot was completed and its `ready_position` passed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.filled && self.position >= self.ready_position
    }

    /// Whether a snapshot was ever completed.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    /// The organizations, by id.
    pub fn organizations(&self) -> impl Iterator<Item = &Organization> {
        self.tables.organizations.values()
    }

    /// The workspaces, by id.
    pub fn workspaces(&self) -> impl Iterator<Item = &Workspace> {
        self.tables.workspaces.values()
    }

    /// The members, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.tables.members.values()
    }

    /// The memberships, by workspace id and member id.
    pub fn workspace_members(&self) -> impl Iterator<Item = &WorkspaceMember> {
        self.tables.workspace_members.values()
    }

    /// One organization.
    #[must_use]
    pub fn organization(&self, organization_id: &str) -> Option<&Organization> {
        self.tables.organizations.get(organization_id)
    }

    /// One workspace.
    #[must_use]
    pub fn workspace(&self, workspace_id: &str) -> Option<&Workspace> {
        self.tables.workspaces.get(workspace_id)
    }

    /// One member.
    #[must_use]
    pub fn member(&self, member_id: &str) -> Option<&Member> {
        self.tables.members.get(member_id)
    }

    /// One membership.
    #[must_use]
    pub fn workspace_member(&self, workspace_id: &str, member_id: &str) -> Option<&WorkspaceMember> {
        self.tables.workspace_members.get(&(workspace_id.to_owned(), member_id.to_owned()))
    }

    fn apply_batch(&mut self, batch: &ChangeBatch) {
        batch.changes.iter().filter_map(|change| change.subject.as_ref()).for_each(|subject| {
            self.tables.apply(subject);
        });
        // Short of a whole command the replica is between two positions.
        if let (false, Some(last)) = (batch.more_parts, batch.changes.last()) {
            self.reached(last.position);
        }
    }

    fn reached(&mut self, position: i64) {
        self.position = self.position.max(position);
    }
}

#[cfg(test)]
mod tests;

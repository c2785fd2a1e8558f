//! The state that a stream tells as plain tables: everything of an app's scope by its id, names included, for who lists,
//! exports or compares. To answer access checks, use [`crate::Replica`].
//!
//! - A thing is replaced only by a higher `version`, so redelivery and pages that run ahead do no harm.
//! - A snapshot fills new tables beside the old ones, which answer until it is complete.
//! - It can be stored (serde) and read back beside the cursor that it belongs to. A snapshot that is still being filled
//!   is not stored: there is no cursor for it.

use serde::{Deserialize, Serialize};

mod rows;

use crate::{
    Event,
    v1::{ChangeBatch, Member, Organization, Subject, Workspace, WorkspaceMember},
};
use rows::Rows;

/// What is known of an app's scope, REMOVED and DELETED things included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tables {
    #[serde(flatten)]
    rows: Rows,
    /// The snapshot that is being received.
    #[serde(skip)]
    filling: Option<Rows>,
    /// Whether a snapshot was ever complete.
    filled: bool,
    position: i64,
    ready_position: i64,
}

impl Tables {
    /// Applies what a watch gave. Each part of a long command is applied as it arrives.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Opened(opened) => self.filling = opened.snapshot_follows.then(Rows::default),
            Event::SnapshotPage(page) => {
                let filling = self.filling.get_or_insert_default();
                page.subjects.iter().for_each(|subject| filling.apply(subject));
            }
            Event::SnapshotEnd(end) => {
                self.rows = self.filling.take().unwrap_or_default();
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
        self.rows.apply(subject);
    }

    /// Everything at or before this position is in the tables.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The position that must be passed before the last snapshot is of one time.
    #[must_use]
    pub fn ready_position(&self) -> i64 {
        self.ready_position
    }

    /// Whether this is the state at one time: a snapshot was completed and its `ready_position` passed.
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
        self.rows.organizations.values()
    }

    /// The workspaces, by id.
    pub fn workspaces(&self) -> impl Iterator<Item = &Workspace> {
        self.rows.workspaces.values()
    }

    /// The members, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.rows.members.values()
    }

    /// The memberships, by workspace id and member id.
    pub fn workspace_members(&self) -> impl Iterator<Item = &WorkspaceMember> {
        self.rows.workspace_members.values()
    }

    /// One organization.
    #[must_use]
    pub fn organization(&self, organization_id: &str) -> Option<&Organization> {
        self.rows.organizations.get(organization_id)
    }

    /// One workspace.
    #[must_use]
    pub fn workspace(&self, workspace_id: &str) -> Option<&Workspace> {
        self.rows.workspaces.get(workspace_id)
    }

    /// One member.
    #[must_use]
    pub fn member(&self, member_id: &str) -> Option<&Member> {
        self.rows.members.get(member_id)
    }

    /// One membership.
    #[must_use]
    pub fn workspace_member(&self, workspace_id: &str, member_id: &str) -> Option<&WorkspaceMember> {
        self.rows.workspace_members.get(&(workspace_id.to_owned(), member_id.to_owned()))
    }

    fn apply_batch(&mut self, batch: &ChangeBatch) {
        batch.changes.iter().filter_map(|change| change.subject.as_ref()).for_each(|subject| {
            self.rows.apply(subject);
        });
        // Short of a whole command the tables are between two positions.
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

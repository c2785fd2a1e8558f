//! The ids that the service gave to the names of a file. Learned from each answer; a row finds what it needs here,
//! because the rows that it depends on were answered before it was begun.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

#[derive(Debug, Default)]
pub(super) struct Known {
    ids: Mutex<HashMap<Name, String>>,
}

/// What a file calls a thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Account(String),
    Organization(String),
    Member { organization: String, person: String },
    Workspace { organization: String, workspace: String },
}

impl Known {
    pub(super) fn learn(&self, name: Name, id: String) {
        self.ids().insert(name, id);
    }

    pub(super) fn id(&self, name: &Name) -> Option<String> {
        self.ids().get(name).cloned()
    }

    /// Held for one look-up, never across an await.
    fn ids(&self) -> MutexGuard<'_, HashMap<Name, String>> {
        self.ids.lock().expect("no code that holds the lock panics")
    }
}

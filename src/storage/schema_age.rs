//! How a schema compares with what this program knows, and whether the program may serve on it: a function of which
//! migrations were run, and of the one that the schema asks for. Who asks the database is said elsewhere.

use std::collections::BTreeSet;

use diesel::{
    migration::{Migration, MigrationSource as _},
    pg::Pg,
};

use super::{error::StorageError, migrate::MIGRATIONS};

/// The migration from which on a schema says which programs may serve on it (`store.least_migration`).
pub(super) const SAYS_LEAST: &str = "20261122000014";

/// Which migrations a database and this program do not share, by version, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaAge {
    /// Those of this program that the database has not seen.
    pub missing: Vec<String>,
    /// Those of the database that this program does not know.
    pub unknown: Vec<String>,
    /// The one that whoever serves must know, where this program does not.
    pub needed: Option<String>,
}

/// What follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit<'a> {
    /// The schema is that of this program.
    Same,
    /// The program is newer: it migrates, or somebody does.
    Older,
    /// The schema is newer, and this program may serve on it.
    Newer,
    /// The schema is newer, and serves no program without this migration.
    TooNew(&'a str),
    /// Each has what the other has not.
    Apart,
}

impl SchemaAge {
    /// Compares the migrations that were run, and the one that whoever serves must know, with those of this program.
    pub(super) fn of(ran: &BTreeSet<String>, least: Option<String>) -> Result<Self, StorageError> {
        let known: Vec<Box<dyn Migration<Pg>>> =
            MIGRATIONS.migrations().map_err(|error| StorageError::Unfit(error.to_string()))?;
        let known: BTreeSet<String> = known.iter().map(|known| known.name().version().to_string()).collect();
        Ok(Self {
            missing: known.difference(ran).cloned().collect(),
            unknown: ran.difference(&known).cloned().collect(),
            needed: least.filter(|least| !known.contains(least)),
        })
    }

    /// What follows.
    pub fn fit(&self) -> Fit<'_> {
        match (&self.missing[..], &self.unknown[..], &self.needed) {
            ([], _, Some(needed)) => Fit::TooNew(needed),
            ([], [], None) => Fit::Same,
            ([], _, None) => Fit::Newer,
            (_, [], _) => Fit::Older,
            _ => Fit::Apart,
        }
    }
}

//! Migrations as an operator meets them: one that fails, one that waits for others, a schema that is older or newer than
//! the program; and whether they may be run while the release before serves.

mod ages;
mod half;
mod statements;
mod waits;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    process::binary::ended,
    support::{Database, create_database},
};

/// The directories of the migrations, in order.
fn all() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let entries = fs::read_dir(directory).expect("the migrations");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    found
}

/// The name of one, as it is told.
fn name(migration: &Path) -> &str {
    migration.file_name().and_then(|name| name.to_str()).expect("a name")
}

/// The version that is kept of it.
fn version(migration: &Path) -> String {
    let (date_and_number, _) = name(migration).split_once('_').expect("a name behind the number");
    date_and_number.replace('-', "")
}

/// A database whose schema ends before the migration of this name.
async fn before(wanted: &str) -> Database {
    let database = create_database().await;
    let (code, said) = ended(&["migrate", "--database-url", &database.url], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    for migration in all().iter().rev() {
        let down = fs::read_to_string(migration.join("down.sql")).expect("down.sql");
        let forget =
            format!("DELETE FROM __diesel_schema_migrations WHERE version = '{}'", version(migration));
        database.client.batch_execute(&format!("{down};{forget}")).await.expect("the way back");
        if name(migration).ends_with(wanted) {
            return database;
        }
    }
    panic!("there is no migration {wanted}")
}

/// The versions that were run, in order.
async fn ran(database: &Database) -> Vec<String> {
    let query = "SELECT version FROM __diesel_schema_migrations ORDER BY version";
    let rows = database.client.query(query, &[]).await.expect("what was run");
    rows.iter().map(|row| row.get(0)).collect()
}

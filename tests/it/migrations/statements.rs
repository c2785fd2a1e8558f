//! Whether a migration may be run while the release before serves: statement by statement, which tables it locks, rewrites
//! and reads as a whole meanwhile.
//!
//! A table that is locked against writes holds up commands until the migration is done. That is a moment where only the
//! catalogue changes, and as long as the table is large where its rows are read, rewritten or changed.

use std::{collections::BTreeMap, fs};

use tokio_postgres::Client;

use super::{all, before, name, version};
use crate::support::create_database;

/// What of the migrations is done behind a lock all the same, and why it does not take long.
const BRIEF: [(&str, &str, &str); 4] = [
    (
        "workspace_ids",
        "workspaces is read as a whole",
        "some 100 bytes each: an index of 100,000 takes 0.1 s, and is read past",
    ),
    (
        "stale_subscriptions",
        "subscriptions is read as a whole",
        "a row for each instance of the last days: thousands",
    ),
    ("stale_subscriptions", "rows are changed", "the same rows"),
    ("traceparent", "rows are changed", "the one row of log_floor"),
];

/// The first migration that had to be run beside another release: `row_security` has an outage.
const FIRST: &str = "workspace_ids";

/// The statements of a text, without what is said about them.
fn split(text: &str) -> Vec<String> {
    let (mut statements, mut statement) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let piece = if rest.starts_with("--") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
            continue;
        } else if let Some(body) = rest.strip_prefix("$$") {
            body.find("$$").map_or(rest, |end| &rest[..end + 4])
        } else if next == '\'' {
            rest[1..].find('\'').map_or(rest, |end| &rest[..end + 2])
        } else {
            &rest[..next.len_utf8()]
        };
        rest = &rest[piece.len()..];
        match piece {
            ";" => statements.push(std::mem::take(&mut statement).trim().to_owned()),
            _ => statement.push_str(piece),
        }
    }
    statements.push(statement.trim().to_owned());
    statements.retain(|statement| !statement.is_empty());
    statements
}

/// Of each table that was there before: where its rows are, how often it was read as a whole, and whether this transaction
/// keeps others from writing to it.
async fn look(client: &Client, tables: &[u32]) -> BTreeMap<u32, (String, u32, i64, bool)> {
    let query = "
        SELECT c.oid, c.relname::text, pg_relation_filenode(c.oid), coalesce(s.seq_scan, 0), EXISTS (
            SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.relation = c.oid
                AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
        FROM pg_class c LEFT JOIN pg_stat_xact_user_tables s ON s.relid = c.oid
        WHERE c.oid = ANY($1)";
    let rows = client.query(query, &[&tables]).await.expect("the tables");
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3), row.get(4)))).collect()
}

/// Runs statements in a transaction, and says what of it holds others up for as long as a table is large.
async fn judge(client: &Client, text: &str) -> Vec<String> {
    client.batch_execute("BEGIN").await.expect("a transaction");
    let query = "SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    let rows = client.query(query, &[]).await.expect("the tables");
    let tables: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let mut wrong = Vec::new();
    let mut before = look(client, &tables).await;
    for statement in split(text) {
        client.batch_execute(&statement).await.expect(&statement);
        let after = look(client, &tables).await;
        let locked = after.values().any(|(_, _, _, locked)| *locked);
        let first = statement.split_whitespace().next().unwrap_or_default().to_uppercase();
        // Which way its rows are found is up to the planner.
        let changes = ["UPDATE", "DELETE"].contains(&&*first);
        if locked && changes {
            wrong.push("rows are changed".to_owned());
        }
        for (table, (name, file, scans, _)) in &after {
            let (_, file_before, scans_before, _) = &before[table];
            if file != file_before {
                wrong.push(format!("{name} is written anew"));
            }
            if locked && !changes && scans > scans_before {
                wrong.push(format!("{name} is read as a whole"));
            }
        }
        before = after;
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

#[tokio::test]
async fn no_migration_holds_the_release_before_up() {
    let database = before(FIRST).await;
    let (mut found, mut reached) = (Vec::new(), false);
    for migration in all() {
        reached |= name(&migration).ends_with(FIRST);
        if !reached {
            continue;
        }
        let text = fs::read_to_string(migration.join("up.sql")).expect("up.sql");
        let (_, short) = name(&migration).split_once('_').expect("a name");
        found.extend(judge(&database.client, &text).await.into_iter().map(|what| (short.to_owned(), what)));
        database.client.batch_execute("COMMIT").await.expect("done");
    }
    found.sort();
    let mut brief = BRIEF.map(|(migration, what, _)| (migration.to_owned(), what.to_owned()));
    brief.sort();
    assert_eq!(found, brief, "what is done behind a lock, and what may be");
}

#[tokio::test]
async fn what_holds_others_up_is_found() {
    let database = create_database().await;
    rollcall::storage::migrate(&database.url, None).await.expect("migrated");
    for (text, wrong) in [
        (
            "ALTER TABLE members ALTER COLUMN version TYPE numeric",
            &["members is read as a whole", "members is written anew"][..],
        ),
        (
            "ALTER TABLE members ADD COLUMN a uuid DEFAULT gen_random_uuid()",
            &["members is read as a whole", "members is written anew"],
        ),
        ("CREATE INDEX a ON members (state)", &["members is read as a whole"]),
        ("ALTER TABLE members ADD CONSTRAINT a CHECK (version >= 0)", &["members is read as a whole"]),
        (
            "ALTER TABLE members ADD COLUMN a text; ALTER TABLE members ALTER a SET NOT NULL",
            &["members is read as a whole"],
        ),
        ("ALTER TABLE apps ADD COLUMN a text; UPDATE members SET version = 1", &["rows are changed"]),
        ("ALTER TABLE members ADD COLUMN a text NOT NULL DEFAULT ''", &[]),
        ("ALTER TABLE members ADD CONSTRAINT a CHECK (version >= 0) NOT VALID", &[]),
        (
            "CREATE TABLE a (b text); CREATE INDEX c ON a (b); COMMENT ON TABLE a IS 'it''s; brief' -- ; more",
            &[],
        ),
        ("UPDATE members SET version = version", &[]),
    ] {
        assert_eq!(judge(&database.client, text).await, wrong, "{text}");
        database.client.batch_execute("ROLLBACK").await.expect("undone");
    }
}

/// Whether the release before cannot go on after a migration: something that it uses is gone, or asks more of it.
fn takes_away(text: &str) -> bool {
    let text = split(text).join(";").to_uppercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let has = |phrase: &str| text.contains(phrase);
    let drops =
        ["DROP TABLE", "DROP COLUMN", "DROP FUNCTION", "RENAME", "SET NOT NULL", "ROW LEVEL SECURITY"];
    // What the release before does not write, because it does not know it.
    let mut columns = text.split([',', ';']).filter(|clause| clause.contains("ADD COLUMN"));
    drops.into_iter().any(has)
        || (has("ALTER COLUMN") && has(" TYPE "))
        || columns.any(|column| column.contains("NOT NULL") && !column.contains("DEFAULT"))
}

/// An older program is to refuse to start on a schema that it cannot serve on, which only the schema can tell it.
#[test]
fn who_takes_something_away_says_which_programs_may_serve() {
    for (text, wanted) in [
        ("ALTER TABLE a DROP COLUMN b", true),
        ("ALTER TABLE a\n    RENAME TO b", true),
        ("ALTER TABLE a ALTER COLUMN b SET NOT NULL", true),
        ("ALTER TABLE a ALTER COLUMN b TYPE text", true),
        ("ALTER TABLE a ADD COLUMN b text NOT NULL DEFAULT '', ADD COLUMN c text NOT NULL", true),
        ("ALTER TABLE a ADD COLUMN b text NOT NULL DEFAULT '', ADD COLUMN c text", false),
        ("-- DROP TABLE a\nALTER TABLE a ADD COLUMN type text", false),
    ] {
        assert_eq!(takes_away(text), wanted, "{text}");
    }
    for migration in all().iter().skip_while(|migration| !name(migration).ends_with("least_migration")) {
        let text = fs::read_to_string(migration.join("up.sql")).expect("up.sql");
        let said = format!("least_migration = '{}'", version(migration));
        assert!(!takes_away(&text) || text.contains(&said), "{}: UPDATE store SET {said}", name(migration));
    }
}

//! The schema: that `src/storage/schema.rs` tells the truth, that everything is explained, that keys begin with the
//! organization, and that migrations can be run by anyone at any time, also backwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use rollcall::storage::migrate;
use tokio_postgres::Client;

use crate::support::{Database, create_database};

/// Ours are all tables but the one in which diesel keeps what was run.
const OURS: &str = "c.relnamespace = 'public'::regnamespace AND c.relname <> '__diesel_schema_migrations'";

/// Indexes of tables with an `organization_id` that do not begin with it.
const NOT_BY_ORGANIZATION: [(&str, &str); 30] = [
    ("workspaces_by_id", "an app asks whether somebody may use a workspace by its id alone"),
    ("members_by_account", "finds the organizations of an account, which is above them"),
    ("pending_changes_pkey", "the queue of the one log: taken in the order of the whole store"),
    ("changes_pkey", "the one log: positions order the whole store"),
    ("changes_by_command", "the one log: finds the end of a command by the command's id alone"),
    ("history_by_command", "the same for commands whose changes were trimmed from the log"),
    ("history_by_age", "what is too old goes, whosever it is"),
    (
        "invitations_by_email",
        "finds the invitations to an address, whosever they are, when its account is deleted",
    ),
    ("invitations_by_expiry", "what has expired ends, whosever it is"),
    ("members_return_due", "who is planned to return is looked for in the whole store"),
    ("organizations_by_contract", "finds the organizations of a contract, which is above them"),
    ("erasures_pkey", "the one ledger: applied to the whole store"),
    ("mails_due", "the one outbox: what is due is sent, whosever it is"),
    ("mails_by_age", "the one outbox: what is too old is dropped, whosever it is"),
    ("mails_by_account", "mail to an account, which is above the organizations, is dropped with it"),
    ("mails_pkey", "the one outbox: sent in the order of the whole store"),
    ("history_by_position", "the one log: finds the command of a position by that alone"),
    ("enforcements_by_age", "what is too old goes, whosever it is"),
    ("receipts_by_age", "what is too old goes, whosever it is"),
    ("lost_revocations_pkey", "the log lost them; an operator decides about those of the whole store"),
    ("lost_revocations_waiting", "the same, for the list of those that wait"),
    ("pending_audit_entries_pkey", "the queue of the one audit: taken in the order of the whole store"),
    ("audit_entries_pkey", "the one audit: its chain goes through the whole store"),
    ("audit_entries_by_caller", "callers are above the organizations"),
    ("audit_entries_by_actor", "an actor stands for one organization, or for none"),
    ("audit_entries_refused", "operators look for refusals, whosever they are"),
    ("audit_entries_by_time", "operators look for a time, in the whole store"),
    ("audit_actors_pkey", "found by what the entries say"),
    ("audit_actors_account_id_organization_id_key", "an erased account goes from all organizations"),
    ("requests_pkey", "request ids belong to the caller, also those that name no organization"),
];

/// Tables with an `organization_id` whose rows are not held by it.
const WITHOUT_POLICY: [(&str, &str); 4] = [
    ("requests", "request ids belong to the caller, also those that name no organization"),
    ("pending_audit_entries", "the one audit: what was refused is of whoever was asked for, or of nobody"),
    ("audit_entries", "the one audit: a chain over the whole store"),
    ("audit_actors", "the one audit: who is meant by a name in it"),
];

#[derive(Debug, PartialEq, Default)]
struct Table {
    key: Vec<String>,
    /// Names with types as diesel calls them, in order.
    columns: Vec<(String, String)>,
}

type Tables = BTreeMap<String, Table>;

async fn migrated() -> Database {
    let database = create_database().await;
    migrate(&database.url, None).await.expect("migrated");
    database
}

async fn strings(client: &Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).await.expect("a query of the catalogue");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_tables_are_as_diesel_sees_them() {
    let database = migrated().await;
    let source = fs::read_to_string(root().join("src/storage/schema.rs")).expect("schema.rs");
    let (seen, real) = (parse(&source), read(&database.client).await);
    let names = |tables: &Tables| tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&seen), names(&real));
    for (name, table) in &real {
        assert_eq!(&seen[name], table, "{name}: what schema.rs says, and what is so");
    }
}

/// The `table!` macros of a source.
fn parse(source: &str) -> Tables {
    let mut tables = Tables::new();
    for piece in source.split("diesel::table! {").skip(1) {
        let (head, rest) = piece.split_once('{').expect("columns in braces");
        let (name, key) = head.trim().trim_end_matches(')').split_once('(').expect("a key");
        let (columns, _) = rest.split_once('}').expect("an end of the columns");
        let list = |text: &str| text.split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>();
        let columns = list(columns).into_iter().filter(|column| !column.is_empty()).map(|column| {
            let (name, kind) = column.split_once("->").expect("a type");
            (name.trim().to_owned(), kind.trim().to_owned())
        });
        let table = Table { key: list(key), columns: columns.collect() };
        assert!(tables.insert(name.trim().to_owned(), table).is_none(), "{name} twice");
    }
    tables
}

async fn read(client: &Client) -> Tables {
    let mut tables = Tables::new();
    let columns = format!(
        "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull \
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE {OURS} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY c.relname, a.attnum"
    );
    for row in client.query(&columns, &[]).await.expect("the columns") {
        let (kind, not_null): (String, bool) = (row.get(2), row.get(3));
        let kind = diesel_type(&kind);
        let kind = if not_null { kind } else { format!("Nullable<{kind}>") };
        tables.entry(row.get(0)).or_default().columns.push((row.get(1), kind));
    }
    let keys = format!(
        "SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid \
         CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, n) \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
         WHERE {OURS} AND i.indisprimary ORDER BY c.relname, k.n"
    );
    for row in client.query(&keys, &[]).await.expect("the keys") {
        tables.entry(row.get(0)).or_default().key.push(row.get(1));
    }
    tables
}

fn diesel_type(sql: &str) -> String {
    if let Some(element) = sql.strip_suffix("[]") {
        return format!("Array<{}>", diesel_type(element));
    }
    match sql {
        "boolean" => "Bool",
        "integer" => "Int4",
        "bigint" => "Int8",
        "text" => "Text",
        "uuid" => "Uuid",
        "bytea" => "Bytea",
        "timestamp with time zone" => "Timestamptz",
        other => panic!("{other}: say here what diesel calls it"),
    }
    .to_owned()
}

#[tokio::test]
async fn everything_is_explained() {
    let database = migrated().await;
    let tables = format!("FROM pg_class c WHERE {OURS} AND c.relkind IN ('r', 'p', 'v', 'm')");
    let columns = format!(
        "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE {OURS} AND c.relkind IN ('r', 'p', 'v', 'm')"
    );
    // Also the types that are no tables: enums, domains and ranges; there are none yet.
    let functions = "FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace";
    let types =
        "FROM pg_type t WHERE t.typnamespace = 'public'::regnamespace AND t.typtype IN ('e', 'd', 'r')";
    for (name, comment, from, least) in [
        ("c.relname::text", "obj_description(c.oid, 'pg_class')", tables.as_str(), 16),
        ("c.relname || '.' || a.attname", "col_description(c.oid, a.attnum)", &columns, 100),
        ("p.proname || '()'", "obj_description(p.oid, 'pg_proc')", functions, 1),
        ("t.typname::text", "obj_description(t.oid, 'pg_type')", types, 0),
    ] {
        let all = strings(&database.client, &format!("SELECT {name} {from}")).await;
        assert!(all.len() >= least, "only {all:?} were looked at");
        let and = if from.contains("WHERE") { "AND" } else { "WHERE" };
        let query = format!("SELECT {name} {from} {and} coalesce(trim({comment}), '') = '' ORDER BY 1");
        let unexplained = strings(&database.client, &query).await;
        assert!(unexplained.is_empty(), "COMMENT ON {}", unexplained.join(", "));
    }
}

#[tokio::test]
async fn keys_begin_with_the_organization() {
    let database = migrated().await;
    let query = format!(
        "SELECT x.relname::text FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid \
         JOIN pg_class x ON x.oid = i.indexrelid \
         JOIN pg_attribute o ON o.attrelid = c.oid AND o.attname = 'organization_id' \
         WHERE {OURS} AND i.indkey[0] <> o.attnum"
    );
    let found: BTreeSet<String> = strings(&database.client, &query).await.into_iter().collect();
    let excused: BTreeSet<String> = NOT_BY_ORGANIZATION.map(|(index, _)| index.to_owned()).into();
    assert_eq!(found, excused, "what does not begin with organization_id, and what may");

    // So that a row can only refer to rows of its own organization.
    let query = format!(
        "SELECT f.conname::text FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid \
         JOIN pg_attribute o ON o.attrelid = f.conrelid AND o.attname = 'organization_id' \
         JOIN pg_attribute r ON r.attrelid = f.confrelid AND r.attname = 'organization_id' \
         WHERE {OURS} AND f.contype = 'f' AND (f.conkey[1] <> o.attnum OR f.confkey[1] <> r.attnum)"
    );
    assert_eq!(strings(&database.client, &query).await, Vec::<String>::new());
}

#[tokio::test]
async fn rows_of_an_organization_are_held_by_a_policy() {
    let database = migrated().await;
    let of_organization = format!(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute o ON o.attrelid = c.oid AND o.attname = 'organization_id' \
         WHERE {OURS} AND c.relkind IN ('r', 'p')"
    );
    let tables: BTreeSet<String> = strings(&database.client, &of_organization).await.into_iter().collect();
    // The one policy of the table, for everything and everybody, with the same condition as any other's.
    let held = "SELECT min(c.relname::text) FROM pg_class c JOIN pg_policies p ON p.tablename = c.relname \
                WHERE c.relrowsecurity AND c.relforcerowsecurity AND p.policyname = 'of_organization' AND p.cmd = 'ALL' \
                  AND p.permissive = 'PERMISSIVE' AND p.roles = '{public}' AND p.with_check IS NULL \
                GROUP BY c.oid";
    let held: BTreeSet<String> = strings(&database.client, held).await.into_iter().collect();
    let excused = BTreeSet::from(WITHOUT_POLICY.map(|(table, _)| table));
    let free: Vec<&str> = tables.difference(&held).map(String::as_str).collect();
    assert!(free.iter().all(|table| excused.contains(table)), "{free:?}");
    assert!(free.contains(&"requests"), "{free:?}");
    assert!(held.len() >= 17 && held.is_subset(&tables), "{held:?}");
    let policies = "SELECT DISTINCT qual FROM pg_policies WHERE schemaname = 'public'";
    assert_eq!(strings(&database.client, policies).await.len(), 1, "one condition");
    let count = "SELECT count(*)::text FROM pg_policies WHERE schemaname = 'public'";
    assert_eq!(strings(&database.client, count).await, [held.len().to_string()], "one policy each");
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let database = create_database().await;
    let ran = migrate(&database.url, None).await.expect("migrated");
    assert_eq!(ran.len(), migrations().len(), "{ran:?}");
    let before = picture(&database.client).await;
    assert_eq!(migrate(&database.url, None).await.expect("nothing to do"), Vec::<String>::new());
    assert_eq!(picture(&database.client).await, before);
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let database = create_database().await;
    let url = database.url.as_str();
    let (a, b, c, d) =
        tokio::join!(migrate(url, None), migrate(url, None), migrate(url, None), migrate(url, None));
    let mut ran: Vec<usize> =
        [a, b, c, d].map(|ran| ran.expect("each of the four succeeds").len()).into_iter().collect();
    ran.sort_unstable();
    assert_eq!(ran, [0, 0, 0, migrations().len()], "one of them does it, the others wait");
    assert_eq!(strings(&database.client, "SELECT store_id::text FROM store").await.len(), 1);
}

#[tokio::test]
async fn down_undoes_up() {
    let database = migrated().await;
    let before = picture(&database.client).await;
    for migration in migrations().iter().rev() {
        let down = fs::read_to_string(migration.join("down.sql")).expect("down.sql");
        database.client.batch_execute(&down).await.expect("the way back");
    }
    assert_eq!(picture(&database.client).await, Vec::<String>::new(), "left over");
    database.client.batch_execute("DELETE FROM __diesel_schema_migrations").await.expect("forgotten");
    migrate(&database.url, None).await.expect("migrated again");
    assert_eq!(picture(&database.client).await, before);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directories of the migrations, in order.
fn migrations() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("migrations")).expect("the migrations");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    assert!(!found.is_empty());
    found
}

/// Everything that a migration can make, in words.
async fn picture(client: &Client) -> Vec<String> {
    let ours = OURS;
    let query = format!(
        "SELECT 'relation ' || c.relname || ' ' || c.relkind::text || ' ' || coalesce(c.reloptions::text, '') FROM pg_class c \
         WHERE {ours} AND c.relname <> '__diesel_schema_migrations_pkey' \
         UNION ALL SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) \
                || ' ' || a.attnotnull::text || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') \
                || ' ' || coalesce(col_description(c.oid, a.attnum), '') \
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 \
            LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
            WHERE {ours} AND c.relkind = 'r' \
         UNION ALL SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
            WHERE {ours} \
         UNION ALL SELECT 'constraint ' || k.conname || ' ' || pg_get_constraintdef(k.oid) \
            FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE {ours} \
         UNION ALL SELECT 'function ' || pg_get_functiondef(p.oid) FROM pg_proc p \
            WHERE p.pronamespace = 'public'::regnamespace \
         UNION ALL SELECT 'row security ' || c.relname || ' ' || c.relforcerowsecurity::text FROM pg_class c \
            WHERE {ours} AND c.relrowsecurity \
         UNION ALL SELECT 'policy ' || p.tablename || ' ' || p.policyname || ' ' || p.qual FROM pg_policies p \
         ORDER BY 1"
    );
    strings(client, &query).await
}

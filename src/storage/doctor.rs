//! What a database is set to, as somebody sees it who has the service's role and changes nothing. What to think of it is
//! said elsewhere.
//!
//! Everything is asked as plain text and without prepared statements: a pooler that keeps none must not keep its doctor from
//! saying so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow, error::SqlState};

use super::{
    check_pooler,
    connect::{CONNECT, Target, describe},
    error::StorageError,
    listen::prove_direct,
    schema_age::{SAYS_LEAST, SchemaAge},
};

/// The settings that are looked at. `synchronous_commit` is what the role has before a session sets anything.
const SETTINGS: &str = "SELECT name, CASE name WHEN 'synchronous_commit' THEN reset_val ELSE setting END
    FROM pg_settings WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes', 'max_connections',
    'superuser_reserved_connections', 'log_parameter_max_length', 'log_parameter_max_length_on_error',
    'log_statement', 'log_min_duration_statement', 'log_min_duration_sample', 'log_statement_sample_rate',
    'log_transaction_sample_rate', 'log_duration', 'log_error_verbosity', 'auto_explain.log_min_duration',
    'auto_explain.log_parameter_max_length', 'pgaudit.log_parameter', 'server_version_num')";

const ROLE: &str = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user";

/// The schema in which the service's tables are: where this role finds them, or `public`, if it may not even look there.
const HOME: &str = "
    WITH home AS (SELECT coalesce((SELECT relnamespace FROM pg_class WHERE oid = to_regclass('store')),
        (SELECT relnamespace FROM pg_class WHERE relname = 'store' AND relnamespace = to_regnamespace('public')
            AND NOT has_schema_privilege(relnamespace, 'USAGE'))) AS id)";

/// Whether there is a list of migrations, and whether this role may read it.
const READABLE: &str = "
    SELECT has_schema_privilege(home.id, 'USAGE') AND has_table_privilege(pg_class.oid, 'SELECT')
    FROM pg_class, home WHERE relnamespace = home.id AND relname = '__diesel_schema_migrations'";

/// How many tables there are, and of how many of them this role may read nothing.
const TABLES: &str = "
    SELECT count(*), count(*) FILTER (WHERE NOT has_table_privilege(pg_class.oid, 'SELECT'))
    FROM pg_class, home WHERE relnamespace = home.id AND relkind IN ('r', 'p')";

const MIGRATED: &str = "SELECT version FROM __diesel_schema_migrations";

/// The migration that whoever serves must know.
const LEAST: &str = "SELECT least_migration FROM store";

/// What of that schema a role (an expression of SQL) may not use, and must: `rollcall migrate --service-role` gives it.
pub(super) fn missing(role: &str) -> String {
    format!(
        "{HOME}
    SELECT privilege || ' on ' || relname AS text FROM pg_class, home,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
        WHERE relnamespace = home.id AND relkind IN ('r', 'p')
        AND (privilege = 'SELECT' OR relname NOT IN ('store', 'mac_keys', '__diesel_schema_migrations'))
        AND NOT has_table_privilege({role}, pg_class.oid, privilege)
    UNION ALL SELECT 'USAGE on sequence ' || relname FROM pg_class, home
        WHERE relnamespace = home.id
        AND CASE relkind WHEN 'S' THEN NOT has_sequence_privilege({role}, pg_class.oid, 'USAGE') ELSE false END
    UNION ALL SELECT 'EXECUTE on function ' || proname FROM pg_proc, home
        WHERE pronamespace = home.id AND NOT has_function_privilege({role}, pg_proc.oid, 'EXECUTE')
    UNION ALL SELECT 'USAGE on schema ' || nspname FROM pg_namespace, home
        WHERE pg_namespace.oid = home.id AND NOT has_schema_privilege({role}, pg_namespace.oid, 'USAGE')
    ORDER BY 1"
    )
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The settings that matter, as Postgres spells them. What is not loaded is not there.
    pub settings: BTreeMap<String, String>,
    /// Whether no privilege and no policy holds the role.
    pub unbound: bool,
    /// Privileges that the role lacks: `INSERT on members`.
    pub missing: Vec<String>,
    /// Whether there are tables of which it may read none.
    pub reads_nothing: bool,
    /// The schema.
    pub schema: Schema,
    /// By how many seconds the database's clock is ahead of this machine's, and how exactly that is known.
    pub clock: (f64, f64),
}

/// What was seen of the schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Schema {
    /// There is none yet.
    #[default]
    None,
    /// There is one, and the role may not read which migrations made it.
    Hidden,
    /// There is one of this age.
    Of(SchemaAge),
}

/// Looks at the database of a URL.
pub async fn observe(url: &str) -> Result<Observed, StorageError> {
    let client = connect(&Target::parse(url)?).await?;
    let settings = rows(&client, SETTINGS)
        .await?
        .iter()
        .filter_map(|row| Some((text(row, 0)?, text(row, 1)?)))
        .collect();
    let role = rows(&client, ROLE).await?;
    let schema = match rows(&client, &format!("{HOME}{READABLE}")).await?.first().map(|row| row.get(0)) {
        None => Schema::None,
        Some(Some("t")) => Schema::Of(schema_age(&client).await?),
        Some(_) => Schema::Hidden,
    };
    let missing =
        rows(&client, &missing("current_user")).await?.iter().filter_map(|row| text(row, 0)).collect();
    let tables = rows(&client, &format!("{HOME}{TABLES}")).await?;
    let reads_nothing = tables.first().is_some_and(|row| row.get(0) != Some("0") && row.get(0) == row.get(1));
    let before = now();
    let there = rows(&client, "SELECT extract(epoch FROM clock_timestamp())").await?;
    let after = now();
    let there: f64 = there.first().and_then(|row| row.get(0)?.parse().ok()).unwrap_or_default();
    Ok(Observed {
        settings,
        unbound: role.first().and_then(|row| row.get(0)) == Some("t"),
        missing,
        reads_nothing,
        schema,
        clock: (there - (before + after) / 2.0, (after - before) / 2.0),
    })
}

/// Fails where notifications do not arrive over this URL, as through a pooler in transaction mode.
pub async fn notifications_arrive(url: &str) -> Result<(), StorageError> {
    // As if through a pooler: nothing is to be set for a session that is somebody else's afterwards.
    prove_direct(&Target::parse(url)?.pooled()).await
}

/// Fails where a pooler before this URL does not keep prepared statements.
pub async fn pooler_fits(url: &str) -> Result<(), StorageError> {
    check_pooler(&Target::parse(url)?.pooled()).await
}

async fn schema_age(client: &Client) -> Result<SchemaAge, StorageError> {
    let there: BTreeSet<String> =
        rows(client, MIGRATED).await?.iter().filter_map(|row| text(row, 0)).collect();
    let least = match there.contains(SAYS_LEAST) {
        // A role that may not read it is told which privilege it lacks.
        true => rows(client, LEAST).await.ok().and_then(|rows| text(rows.first()?, 0)),
        false => None,
    };
    SchemaAge::of(&there, least)
}

async fn connect(target: &Target) -> Result<Client, StorageError> {
    let failed = |error: tokio_postgres::Error| match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => StorageError::Unfit(
            "the role may not connect to this database: GRANT CONNECT ON DATABASE ... TO the role".to_owned(),
        ),
        _ => StorageError::Unavailable(describe(&error)),
    };
    let connect_to = |host: Config| async move {
        match target.tls() {
            None => {
                let (client, connection) = host.connect(NoTls).await.map_err(failed)?;
                // Ends with the client.
                tokio::spawn(connection);
                Ok(client)
            }
            Some(tls) => {
                let (client, connection) = host.connect(tls).await.map_err(failed)?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    };
    let connecting = tokio::time::timeout(CONNECT, target.hosts().first(connect_to)).await;
    connecting.unwrap_or_else(|_| Err(StorageError::Unavailable("connecting took too long".to_owned())))
}

async fn rows(client: &Client, query: &str) -> Result<Vec<SimpleQueryRow>, StorageError> {
    let messages = client.simple_query(query).await;
    let messages = messages.map_err(|error| StorageError::Unavailable(describe(&error)))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.collect())
}

fn text(row: &SimpleQueryRow, column: usize) -> Option<String> {
    row.get(column).map(str::to_owned)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).unwrap_or_default()
}

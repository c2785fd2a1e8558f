//! Migrations: embedded in the binary, run by one replica at a time.

use std::collections::BTreeSet;

use diesel::{
    QueryableByName,
    migration::{Migration, MigrationSource as _},
    pg::Pg,
    sql_query, sql_types,
};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{
    connect::Target, doctor::missing, error::StorageError, listen::prove_direct, tenant::SESSION_ACROSS,
};

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");
/// The advisory lock that keeps replicas which start together from migrating together.
const LOCK: &str = "SELECT pg_advisory_lock(8243122705118244)";

/// Brings the database to this version's schema. Returns the names of the migrations that were run. A service role, which
/// is another one than migrates, gets what it needs to serve.
pub async fn migrate(database_url: &str, service_role: Option<&str>) -> Result<Vec<String>, StorageError> {
    let target = Target::parse(database_url)?;
    // First: a pooler in transaction mode would keep the lock below for whoever it lends that session to next.
    prove_direct(&target).await?;
    let mut connection =
        target.connect().await.map_err(|error| StorageError::Unavailable(error.to_string()))?;
    check_server(&mut connection).await?;
    // Another replica may migrate for longer than a statement may usually take. A migration may change every row.
    let settings = format!("SET statement_timeout = '5min'; SET lock_timeout = '5min'; {SESSION_ACROSS}");
    connection.batch_execute(&settings).await?;
    connection.batch_execute(LOCK).await?;
    let mut ran = Vec::new();
    // A role that may only serve may not even look whether there is something to do, as diesel looks.
    if !is_migrated(&mut connection).await? {
        // diesel_migrations is synchronous; a thread of its own may block.
        let running = tokio::task::spawn_blocking(move || {
            let mut harness = AsyncMigrationHarness::new(connection);
            let versions = harness.run_pending_migrations(MIGRATIONS).map_err(|error| error.to_string())?;
            let names = versions.iter().map(ToString::to_string).collect();
            Ok::<(Vec<String>, AsyncPgConnection), String>((names, harness.into_inner()))
        });
        (ran, connection) = match running.await {
            Ok(ran) => ran.map_err(|error| StorageError::Unfit(format!("migrating failed: {error}")))?,
            Err(_) => return Err(StorageError::Unfit("migrating panicked".to_owned())),
        };
    }
    if let Some(role) = service_role {
        grant(&mut connection, role).await?;
    }
    // The lock goes with the connection.
    Ok(ran)
}

#[derive(QueryableByName)]
struct Ran {
    #[diesel(sql_type = sql_types::Text)]
    version: String,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = sql_types::Bool)]
    found: bool,
}

/// Whether every migration of this version was run.
async fn is_migrated(connection: &mut AsyncPgConnection) -> Result<bool, StorageError> {
    let query = "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS found";
    if !sql_query(query).get_result::<Found>(connection).await?.found {
        return Ok(false);
    }
    let query = "SELECT version FROM __diesel_schema_migrations";
    let ran: Vec<Ran> = sql_query(query).load(connection).await?;
    let ran: BTreeSet<String> = ran.into_iter().map(|ran| ran.version).collect();
    let embedded: Vec<Box<dyn Migration<Pg>>> =
        MIGRATIONS.migrations().map_err(|error| StorageError::Unfit(error.to_string()))?;
    Ok(embedded.iter().all(|migration| ran.contains(&migration.name().version().to_string())))
}

/// What lets the role $1 serve: reading and writing rows. It may change no table, no policy and no key, and in later
/// migrations it gets the same. Functions may be called by everybody, and do what their caller may.
const GRANTS: &str = "
    SELECT concat_ws('; ',
        format('GRANT USAGE ON SCHEMA public TO %I', $1),
        string_agg(format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', c.oid::regclass, $1), '; ')
            FILTER (WHERE c.relkind IN ('r', 'p')),
        string_agg(format('GRANT USAGE ON %s TO %I', c.oid::regclass, $1), '; ') FILTER (WHERE c.relkind = 'S'),
        format('REVOKE INSERT, UPDATE, DELETE ON store, mac_keys, __diesel_schema_migrations FROM %I', $1),
        format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', $1),
        format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO %I', $1)) AS text
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND pg_get_userbyid(c.relowner) = current_user";

/// A line of text.
#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = sql_types::Text)]
    text: String,
}

async fn grant(connection: &mut AsyncPgConnection, role: &str) -> Result<(), StorageError> {
    let unfit = |error| {
        StorageError::Unfit(format!("the role of the service cannot be given what it needs: {error}"))
    };
    let grants: Line =
        sql_query(GRANTS).bind::<sql_types::Text, _>(role).get_result(connection).await.map_err(unfit)?;
    connection.batch_execute(&grants.text).await.map_err(unfit)?;
    // Who does not own the tables gives nothing of them, and Postgres does not call that an error.
    let missing = sql_query(missing("$1::name"));
    let missing: Vec<Line> =
        missing.bind::<sql_types::Text, _>(role).load(connection).await.map_err(unfit)?;
    let [Line { text: first }, ..] = &missing[..] else { return Ok(()) };
    let owner = "SELECT pg_get_userbyid(relowner)::text AS text FROM pg_class WHERE oid = 'store'::regclass";
    let owner: Line = sql_query(owner).get_result(connection).await.map_err(unfit)?;
    let (number, owner) = (missing.len(), owner.text);
    Err(StorageError::Unfit(format!(
        "the role of the service still lacks {number} privileges, the first of them {first}: only {owner}, who owns the \
         tables, can give them; migrate as {owner}"
    )))
}

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = sql_types::Bool)]
    held: bool,
}

/// Warns of a role that no policy holds: what is asked for is then all that keeps organizations apart.
pub(super) async fn check_role(connection: &mut AsyncPgConnection) -> Result<(), StorageError> {
    let query = "SELECT NOT (rolsuper OR rolbypassrls) AS held FROM pg_roles WHERE rolname = current_user";
    if !sql_query(query).get_result::<Held>(connection).await?.held {
        tracing::warn!(
            "the database role is a superuser or has BYPASSRLS, so row level security does not hold it: \
             serve with a role of its own (rollcall migrate --service-role)"
        );
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Server {
    #[diesel(sql_type = sql_types::Integer)]
    version: i32,
    #[diesel(sql_type = sql_types::Text)]
    synchronous_commit: String,
}

/// Refuses a server that breaks a promise: too old, or one that acknowledges commits before they are durable (C15).
///
/// Asked is what the role has there before a session of ours sets anything, and what the session has: through a pooler
/// neither need be what we set. A default that is too low is somebody's decision, so it is refused instead of overruled in
/// silence; should it be lowered later, the sessions and the pooled transactions of this service keep to `on` by themselves.
pub(crate) async fn check_server(connection: &mut AsyncPgConnection) -> Result<(), StorageError> {
    let query = "SELECT current_setting('server_version_num')::int AS version, \
                 CASE WHEN setting IN ('on', 'remote_apply') THEN reset_val ELSE setting END AS synchronous_commit \
                 FROM pg_settings WHERE name = 'synchronous_commit'";
    let server: Server = sql_query(query).get_result(connection).await?;
    if server.version < 150_000 {
        return Err(StorageError::Unfit("Postgres 15 or later is needed".to_owned()));
    }
    if !["on", "remote_apply"].contains(&server.synchronous_commit.as_str()) {
        let message = format!(
            "synchronous_commit is {}: a write that was answered could be lost; set it to on for the role (ALTER ROLE), \
             and let no pooler change it",
            server.synchronous_commit
        );
        return Err(StorageError::Unfit(message));
    }
    Ok(())
}

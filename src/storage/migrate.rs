//! Migrations: embedded in the binary, run by one replica at a time, while replicas of the release before serve.
//!
//! Each migration is one transaction. What fails says which one it was, what stays of those before it, and which way to go.
//! A migration that waits for a lock holds up whoever comes behind it in the queue for that lock, the service's own
//! commands too: so each statement waits two seconds at most, lets go of everything, and the migration is tried again.

use std::{collections::BTreeSet, time::Duration};

use diesel::{
    QueryableByName,
    migration::{Migration, MigrationSource as _},
    pg::Pg,
    sql_query, sql_types,
};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tokio::time::{Instant, sleep};

use super::{
    connect::Target,
    doctor::missing,
    error::{StorageError, is_conflict},
    listen::prove_direct,
    schema_age::{Fit, SAYS_LEAST, SchemaAge},
    tenant::SESSION_ACROSS,
};

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");
/// The advisory lock that keeps replicas which start together from migrating together.
const LOCK: &str = "SELECT pg_advisory_lock(8243122705118244)";
/// How long a migration waits for another that runs, and tries again for locks that others hold.
pub const WAIT: Duration = Duration::from_secs(5 * 60);
/// How long a statement of a migration waits for a lock, and so how long it holds up those behind it. Longer than the
/// second after which Postgres ends an autovacuum that is in the way, shorter than the three after which a command gives up.
const LOCK_WAIT: &str = "2s";
/// Between two attempts: those who were held up go first.
const AGAIN: Duration = Duration::from_secs(1);

/// Brings the database to this version's schema. Returns the names of the migrations that were run. A service role, which
/// is another one than migrates, gets what it needs to serve.
pub async fn migrate(database_url: &str, service_role: Option<&str>) -> Result<Vec<String>, StorageError> {
    migrate_within(database_url, service_role, WAIT).await
}

/// The same, waiting so long for what others hold.
pub async fn migrate_within(
    database_url: &str,
    service_role: Option<&str>,
    wait: Duration,
) -> Result<Vec<String>, StorageError> {
    let target = Target::parse(database_url)?;
    // First: a pooler in transaction mode would keep the lock below for whoever it lends that session to next.
    prove_direct(&target).await?;
    let mut connection =
        target.connect().await.map_err(|error| StorageError::Unavailable(error.to_string()))?;
    check_server(&mut connection).await?;
    // A migration may change every row, for longer than a statement may usually take.
    let (millis, seconds) = (wait.as_millis().max(1), wait.as_secs());
    let settings = format!("SET statement_timeout = 0; SET lock_timeout = {millis}; {SESSION_ACROSS}");
    connection.batch_execute(&settings).await?;
    connection.batch_execute(LOCK).await.map_err(|error| match StorageError::from(error) {
        StorageError::Conflict(_) => StorageError::Unfit(format!(
            "another process has been migrating this database for {seconds} s: see whether it goes on, then run \
             `rollcall migrate` again"
        )),
        other => other,
    })?;
    let settings = format!("SET statement_timeout = '5min'; SET lock_timeout = '{LOCK_WAIT}'");
    connection.batch_execute(&settings).await?;
    let age = age(&mut connection).await?;
    // A role that may only serve may not even look whether there is something to do, as diesel looks.
    let mut ran = Vec::new();
    if must_run(&age)? {
        may_migrate(&mut connection, &age).await?;
        (connection, ran) = run(connection, &age, Instant::now() + wait).await?;
    }
    if let Some(role) = service_role {
        grant(&mut connection, role).await?;
    }
    // The lock goes with the connection.
    Ok(ran)
}

/// Whether there is something to migrate, or that this program has nothing to do on this schema, and what has.
fn must_run(age: &SchemaAge) -> Result<bool, StorageError> {
    let (missing, unknown) = (age.missing.len(), age.unknown.len());
    match age.fit() {
        Fit::Same => Ok(false),
        Fit::Older => Ok(true),
        Fit::Newer => {
            tracing::warn!(
                unknown,
                "the schema has migrations of a newer release, on which this one may serve: bring the program up"
            );
            Ok(false)
        }
        Fit::TooNew(needed) => Err(StorageError::Unfit(format!(
            "the schema is newer than this program by {unknown} migrations, and serves no program that does not know \
             {needed}: start the release that migrated it, or a later one; the way back to this one is to restore a backup \
             from before"
        ))),
        Fit::Apart => Err(StorageError::Unfit(format!(
            "the schema has {unknown} migrations that this program does not know and lacks {missing} that it has: this is \
             another line of versions, nothing was changed; use the program that migrated it"
        ))),
    }
}

/// Runs what is missing, one after the other. Gives the connection back, and the names.
async fn run(
    mut connection: AsyncPgConnection,
    age: &SchemaAge,
    deadline: Instant,
) -> Result<(AsyncPgConnection, Vec<String>), StorageError> {
    let mut ran: Vec<String> = Vec::new();
    for version in &age.missing {
        let name = loop {
            let version = version.clone();
            // diesel_migrations is synchronous; a thread of its own may block.
            let running = tokio::task::spawn_blocking(move || {
                let mut harness = AsyncMigrationHarness::new(connection);
                let outcome = run_one(&mut harness, &version);
                (harness.into_inner(), outcome)
            });
            let outcome;
            (connection, outcome) =
                running.await.map_err(|_| StorageError::Unfit("migrating panicked".to_owned()))?;
            match outcome {
                Ok(name) => break name,
                Err((name, error)) if is_conflict(&error) && Instant::now() < deadline => {
                    tracing::info!(migration = name, "waits for a lock that others hold; it is tried again");
                    sleep(AGAIN).await;
                }
                Err((name, error)) => return Err(failed(&name, &error, &ran)),
            }
        };
        ran.push(name);
    }
    Ok((connection, ran))
}

/// Runs the migration of this version. Gives its name, in any case, and what went wrong.
fn run_one(
    harness: &mut AsyncMigrationHarness<AsyncPgConnection>,
    version: &str,
) -> Result<String, (String, String)> {
    let unnamed = |error: String| (version.to_owned(), error);
    // Makes the table of what was run, where there is none.
    harness.applied_migrations().map_err(|error| unnamed(error.to_string()))?;
    let all: Vec<Box<dyn Migration<Pg>>> =
        MIGRATIONS.migrations().map_err(|error| unnamed(error.to_string()))?;
    let found = all.iter().find(|one| one.name().version().to_string() == version);
    let migration = found.ok_or_else(|| unnamed("it is not among those of this program".to_owned()))?;
    let name = migration.name().to_string();
    match harness.run_migration(migration) {
        Ok(_) => Ok(name),
        Err(error) => Err((name, error.to_string())),
    }
}

/// What is said of a migration that fails.
fn failed(name: &str, error: &str, ran: &[String]) -> StorageError {
    let kept = match ran {
        [] => String::new(),
        [.., last] => format!(", and what was run before it stays: {} migrations, up to {last}", ran.len()),
    };
    let mend = if is_conflict(error) {
        "end the transaction that holds what it waits for (the oldest xact_start in pg_stat_activity)"
    } else {
        "mend what it says"
    };
    StorageError::Unfit(format!(
        "migrating failed: {error}. The migration {name} changed nothing{kept}. Replicas of the release before serve on; \
         {mend}, then run `rollcall migrate` again: it goes on with this migration"
    ))
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = sql_types::Bool)]
    found: bool,
}

/// How old the schema is.
async fn age(connection: &mut AsyncPgConnection) -> Result<SchemaAge, StorageError> {
    let query = "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS found";
    if !sql_query(query).get_result::<Found>(connection).await?.found {
        return SchemaAge::of(&BTreeSet::new(), None);
    }
    let query = "SELECT version AS text FROM __diesel_schema_migrations";
    let ran: Vec<Line> = sql_query(query).load(connection).await?;
    let ran: BTreeSet<String> = ran.into_iter().map(|ran| ran.text).collect();
    let least = match ran.contains(SAYS_LEAST) {
        true => {
            let query = "SELECT least_migration AS text FROM store";
            Some(sql_query(query).get_result::<Line>(connection).await?.text)
        }
        false => None,
    };
    SchemaAge::of(&ran, least)
}

/// Whether this role may change the schema: as who owns it, or, where there is none, as who may make it.
const MAY_MIGRATE: &str = "
    SELECT coalesce((SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('store')),
        has_schema_privilege(current_user, 'public', 'CREATE')) AS found";

/// Refuses a role that may only serve before it tries: what Postgres would say names the first statement, and no way out.
async fn may_migrate(connection: &mut AsyncPgConnection, age: &SchemaAge) -> Result<(), StorageError> {
    if sql_query(MAY_MIGRATE).get_result::<Found>(connection).await?.found {
        return Ok(());
    }
    let role: Line = sql_query("SELECT current_user::text AS text").get_result(connection).await?;
    let (role, missing) = (role.text, age.missing.len());
    Err(StorageError::Unfit(format!(
        "the schema is older than this program by {missing} migrations, and {role} may not change it: run `rollcall \
         migrate` of this program as the owner of the database, with --service-role {role}, or give the service \
         --migration-database-url"
    )))
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

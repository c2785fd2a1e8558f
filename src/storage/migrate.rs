//! Migrations: embedded in the binary, run by one replica at a time.

use diesel::sql_query;
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{connect::Target, error::StorageError, listen::prove_direct};

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");
/// The advisory lock that keeps replicas which start together from migrating together.
const LOCK: &str = "SELECT pg_advisory_lock(8243122705118244)";

/// Brings the database to this version's schema. Returns the names of the migrations that were run.
pub async fn migrate(database_url: &str) -> Result<Vec<String>, StorageError> {
    let target = Target::parse(database_url)?;
    // First: a pooler in transaction mode would keep the lock below for whoever it lends that session to next.
    prove_direct(&target).await?;
    let mut connection =
        target.connect().await.map_err(|error| StorageError::Unavailable(error.to_string()))?;
    check_server(&mut connection).await?;
    // Another replica may migrate for longer than a statement may usually take.
    connection.batch_execute("SET statement_timeout = '5min'; SET lock_timeout = '5min'").await?;
    connection.batch_execute(LOCK).await?;
    // diesel_migrations is synchronous; a thread of its own may block. The lock goes with the connection.
    let ran = tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        let versions = harness.run_pending_migrations(MIGRATIONS).map_err(|error| error.to_string())?;
        Ok::<Vec<String>, String>(versions.iter().map(ToString::to_string).collect())
    });
    match ran.await {
        Ok(ran) => ran.map_err(|error| StorageError::Unfit(format!("migrating failed: {error}"))),
        Err(_) => Err(StorageError::Unfit("migrating panicked".to_owned())),
    }
}

#[derive(diesel::QueryableByName)]
struct Server {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    version: i32,
    #[diesel(sql_type = diesel::sql_types::Text)]
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

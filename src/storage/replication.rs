//! Whether what is committed is on another server too, before it is answered (C15).

use diesel::{QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
};

/// What the primary says of its synchronous standbys.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct Replication {
    /// Whether commits wait for standbys.
    #[diesel(sql_type = sql_types::Bool)]
    pub wanted: bool,
    /// Whether one that commits wait for is connected.
    #[diesel(sql_type = sql_types::Bool)]
    pub synchronous: bool,
    /// Whether the role may not see what standbys do.
    #[diesel(sql_type = sql_types::Bool)]
    pub hidden: bool,
}

/// Whoever has not the privileges of `pg_read_all_stats` sees the rows and nothing in them.
struct ReadReplication;

impl Text for ReadReplication {
    const SQL: &'static str = "
        SELECT current_setting('synchronous_standby_names') <> '' AS wanted,
               EXISTS (SELECT FROM pg_stat_replication
                       WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')) AS synchronous,
               EXISTS (SELECT FROM pg_stat_replication WHERE sync_state IS NULL) AS hidden";
}

impl Database {
    /// Asks the primary about its synchronous standbys.
    pub async fn replication(&self) -> Result<Replication, StorageError> {
        let query = prepared::<ReadReplication, _>(|sql| sql);
        Ok(query.get_result(&mut self.read_outside().await?).await?)
    }
}

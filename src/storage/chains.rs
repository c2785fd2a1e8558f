//! The chains of the log and of the audit, read for who checks them: in pages, at one moment.
//!
//! Everything is read as it is stored. What it should be is computed elsewhere, so that no function of a database that
//! somebody changed is asked whether it was changed.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, QueryDsl as _, Queryable, QueryableByName, Selectable, SelectableHelper as _,
    sql_query, sql_types,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use uuid::Uuid;

use super::{
    Database,
    connect::Target,
    error::StorageError,
    schema::{audit_actors, audit_entries, batches, changes},
    tenant::Tenant,
};

/// In one statement, so of one moment.
const ENDS: &str = "
    SELECT s.store_id, l.position AS log_position, l.change_id AS log_change_id, l.hash AS log_hash,
           f.position AS log_floor, a.position AS audit_position, a.hash AS audit_hash,
           a.floor_position AS audit_floor, a.floor_hash AS audit_floor_hash
    FROM store s, log_head l, log_floor f, audit_head a";

/// Where the chains begin and end.
#[derive(Debug, Clone, Default, PartialEq, Eq, QueryableByName)]
pub struct ChainEnds {
    /// The store.
    #[diesel(sql_type = sql_types::Uuid)]
    pub store_id: Uuid,
    /// Where the log ends.
    #[diesel(sql_type = sql_types::BigInt)]
    pub log_position: i64,
    /// Its newest change.
    #[diesel(sql_type = sql_types::Uuid)]
    pub log_change_id: Uuid,
    /// Its hash there.
    #[diesel(sql_type = sql_types::Binary)]
    pub log_hash: Vec<u8>,
    /// Changes at or before this position were trimmed.
    #[diesel(sql_type = sql_types::BigInt)]
    pub log_floor: i64,
    /// Where the audit ends.
    #[diesel(sql_type = sql_types::BigInt)]
    pub audit_position: i64,
    /// Its hash there.
    #[diesel(sql_type = sql_types::Binary)]
    pub audit_hash: Vec<u8>,
    /// Entries at or before this position were trimmed.
    #[diesel(sql_type = sql_types::BigInt)]
    pub audit_floor: i64,
    /// The hash at the floor.
    #[diesel(sql_type = sql_types::Binary)]
    pub audit_floor_hash: Vec<u8>,
}

/// A batch of the log.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = batches, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct BatchLink {
    pub last_position: i64,
    pub first_position: i64,
    pub hash: Vec<u8>,
    pub sequence_time: DateTime<Utc>,
}

/// A change as it is hashed.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = changes, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct LogLink {
    pub position: i64,
    pub change_id: Uuid,
    pub command_id: Uuid,
    pub command_end: i64,
    pub organization_id: Uuid,
    pub apps: Vec<String>,
    pub subject: String,
    pub workspace_id: Option<Uuid>,
    pub member_id: Option<Uuid>,
    pub state: String,
    pub role: Option<String>,
    pub version: i64,
    pub reason: String,
    pub caller: String,
    pub acting_member_id: Option<Uuid>,
    pub record_time: DateTime<Utc>,
    pub leaving: Option<bool>,
    pub tombstone_id: Option<Uuid>,
    pub handover_to_member_id: Option<Uuid>,
    pub assignments: Option<String>,
}

/// An entry of the audit as it is hashed.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = audit_entries, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct AuditLink {
    pub position: i64,
    pub record_time: DateTime<Utc>,
    pub caller: Option<String>,
    pub actor: Option<Vec<u8>>,
    pub method: String,
    pub request_id: Option<Uuid>,
    pub command_id: Option<Uuid>,
    pub organization_id: Option<Uuid>,
    pub outcome: String,
    pub times: i64,
    pub hash: Vec<u8>,
}

/// Who an actor of the audit is.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = audit_actors, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct AuditActor {
    pub actor: Vec<u8>,
    pub salt: Uuid,
    pub account_id: Uuid,
    pub organization_id: Option<Uuid>,
}

/// A connection that sees both chains as they are at one moment, however long it reads.
pub struct ChainReader {
    connection: AsyncPgConnection,
}

impl ChainReader {
    /// Begins to read a database.
    pub async fn open(database_url: &str) -> Result<Self, StorageError> {
        let target = Target::parse(database_url)?;
        let connected = target.connect().await;
        let mut connection = connected.map_err(|error| StorageError::Unavailable(error.to_string()))?;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        connection.batch_execute(&format!("{begin}{}", Tenant::Across.setting())).await?;
        Ok(Self { connection })
    }

    /// Where the chains begin and end.
    pub async fn ends(&mut self) -> Result<ChainEnds, StorageError> {
        Ok(sql_query(ENDS).get_result(&mut self.connection).await?)
    }

    /// The next batches after a position.
    pub async fn batches(&mut self, after: i64, limit: i64) -> Result<Vec<BatchLink>, StorageError> {
        let query = batches::table
            .filter(batches::last_position.gt(after))
            .order(batches::last_position)
            .limit(limit)
            .select(BatchLink::as_select());
        Ok(query.load(&mut self.connection).await?)
    }

    /// The next changes after a position.
    pub async fn changes(&mut self, after: i64, limit: i64) -> Result<Vec<LogLink>, StorageError> {
        let query = changes::table
            .filter(changes::position.gt(after))
            .order(changes::position)
            .limit(limit)
            .select(LogLink::as_select());
        Ok(query.load(&mut self.connection).await?)
    }

    /// The next entries after a position.
    pub async fn entries(&mut self, after: i64, limit: i64) -> Result<Vec<AuditLink>, StorageError> {
        let query = audit_entries::table
            .filter(audit_entries::position.gt(after))
            .order(audit_entries::position)
            .limit(limit)
            .select(AuditLink::as_select());
        Ok(query.load(&mut self.connection).await?)
    }

    /// The next actors after one.
    pub async fn actors(&mut self, after: &[u8], limit: i64) -> Result<Vec<AuditActor>, StorageError> {
        let query = audit_actors::table
            .filter(audit_actors::actor.gt(after))
            .order(audit_actors::actor)
            .limit(limit)
            .select(AuditActor::as_select());
        Ok(query.load(&mut self.connection).await?)
    }

    /// The hashes of batches that end at these positions.
    pub async fn log_hashes(&mut self, positions: &[i64]) -> Result<Vec<(i64, Vec<u8>)>, StorageError> {
        let query = batches::table
            .filter(batches::last_position.eq_any(positions))
            .select((batches::last_position, batches::hash));
        Ok(query.load(&mut self.connection).await?)
    }

    /// The hashes of entries at these positions.
    pub async fn audit_hashes(&mut self, positions: &[i64]) -> Result<Vec<(i64, Vec<u8>)>, StorageError> {
        let query = audit_entries::table
            .filter(audit_entries::position.eq_any(positions))
            .select((audit_entries::position, audit_entries::hash));
        Ok(query.load(&mut self.connection).await?)
    }
}

impl Database {
    /// Where the chains begin and end.
    pub async fn chain_ends(&self) -> Result<ChainEnds, StorageError> {
        Ok(sql_query(ENDS).get_result(&mut self.read_outside().await?).await?)
    }
}

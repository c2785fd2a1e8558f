//! Postgres: pool, transactions, rows, queries, the log. diesel, and the only place that knows it.
//!
//! [`Database`] hands out connections for single statements ([`Database::read`]) and transactions
//! ([`Database::begin`]); the other modules add the statements, each beside the type that it loads.

mod accounts;
mod apps;
mod connect;
mod error;
mod listen;
mod lock;
mod log;
mod migrate;
mod persist;
mod reads;
mod requests;
mod retention;
mod rows;
mod schema;
mod snapshot;
mod subscriptions;
mod transaction;

use diesel::QueryDsl as _;
use diesel_async::{
    AsyncPgConnection, RunQueryDsl as _,
    pooled_connection::deadpool::{Object, Pool},
};

pub use self::{
    accounts::{NewAccount, Taken},
    apps::AppRow,
    error::StorageError,
    listen::Listener,
    lock::Lock,
    log::{Acting, ChangeOrigin, Head, LogRow, ReadChanges, Sequencer, Tail},
    migrate::migrate,
    reads::{AccountOrganizationRow, MemberRead, OrganizationRead, WorkspaceMemberRead, WorkspaceRead},
    requests::{RequestRow, RequestSubject},
    retention::{PointAndFloor, Retention, Trimmed},
    rows::AccountRow,
    snapshot::{SnapshotCursor, SnapshotPage, SnapshotRow},
    subscriptions::{NewSubscription, SubscriptionRow},
    transaction::Transaction,
};
use crate::rules::ids::StoreId;

/// One database: a pool of connections and what is needed to make others.
#[derive(Clone)]
pub struct Database {
    pool: Pool<AsyncPgConnection>,
    target: connect::Target,
}

/// What a store is, read once at start.
pub struct Identity {
    /// The identity of the log.
    pub store_id: StoreId,
    /// The keys that seal cursors and tokens, by id, the newest last.
    pub keys: Vec<(i32, Vec<u8>)>,
}

impl Database {
    /// Connects to a migrated database. Fails when it cannot be reached or breaks a promise (version, durability).
    pub async fn open(url: &str, pool_size: usize) -> Result<Self, StorageError> {
        let target = connect::Target::parse(url)?;
        let database = Self { pool: target.pool(pool_size)?, target };
        migrate::check_server(&mut *database.read().await?).await?;
        Ok(database)
    }

    /// A connection for single statements, each its own transaction.
    pub async fn read(&self) -> Result<Object<AsyncPgConnection>, StorageError> {
        Ok(self.pool.get().await?)
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Transaction, StorageError> {
        Transaction::begin(self.pool.get().await?).await
    }

    /// Reads what this store is.
    pub async fn identity(&self) -> Result<Identity, StorageError> {
        use schema::{mac_keys, store};
        let mut connection = self.read().await?;
        let store_id = store::table.select(store::store_id).first(&mut connection).await?;
        let keys = mac_keys::table
            .select((mac_keys::key_id, mac_keys::secret))
            .order(mac_keys::key_id)
            .load(&mut connection)
            .await?;
        Ok(Identity { store_id: StoreId(store_id), keys })
    }
}

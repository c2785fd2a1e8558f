//! Postgres: pool, transactions, rows, queries, the log. diesel, and the only place that knows it.
//!
//! [`Database`] hands out connections for single statements ([`Database::read_in`]) and transactions
//! ([`Database::transaction`]); the other modules add the statements, each beside the type that it loads. Each says whose
//! rows it may see ([`Tenant`]), and the database holds it to that.

mod accounts;
mod activity;
mod answers;
mod apart;
mod apps;
mod audit;
mod chains;
mod connect;
mod contracts;
mod departures;
mod doctor;
mod enforcement;
mod erase;
mod error;
mod filters;
mod history;
mod hosts;
mod inventory;
mod invitation_reads;
mod invitation_writes;
mod invitations;
mod lease;
mod limit;
mod listen;
mod lock;
mod log;
mod lost;
mod mails;
mod migrate;
mod persist;
mod persons;
mod prepared;
mod reach;
mod reads;
mod replication;
mod requests;
mod retention;
mod rows;
mod schema;
mod schema_age;
mod snapshot;
mod subscriptions;
mod tenant;
mod transaction;
mod verdicts;

use std::time::Duration;

use diesel::QueryDsl as _;
use diesel_async::{
    AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _, pooled_connection::deadpool::Pool,
};

pub use self::{
    accounts::{AccountKey, AccountRead, AccountWrite, NewAccount},
    activity::{Activity, DueReturn, InactiveGuest, MemberTimes},
    answers::MemberStanding,
    apps::{AppRow, AppSettings},
    audit::{AuditFilter, AuditRow, AuditWrite, OK, Refusal},
    chains::{AuditActor, AuditLink, BatchLink, ChainEnds, ChainReader, LogLink},
    contracts::{ContractRow, ContractUse},
    departures::{DepartureKey, DepartureRow},
    doctor::{Observed, Schema, notifications_arrive, observe, pooler_fits},
    enforcement::{Applied, CountedRow, Enforcer, Granted, ReceiptWrite, StandingRead},
    erase::{Erased, ErasureRow, ErasureWrite},
    error::StorageError,
    filters::{MemberFilter, OrganizationFilter, WorkspaceFilter, WorkspaceMemberFilter},
    history::{Between, HistoryFilter, HistoryPage, Past, StandingRow, When},
    inventory::{InventoryCursor, LiveRow},
    invitation_reads::{INVITED, InvitationRead},
    invitation_writes::{InvitationChange, InvitationWrite, NewInvitation},
    invitations::WhichInvitation,
    lease::Reading,
    listen::Listener,
    lock::{Lock, Whose},
    log::{Acting, ChangeOrigin, Head, LogRow, ReadChanges, RecordedRow, Sequencer, Tail},
    lost::{LostRevocation, LostRevocationRow},
    mails::{InvitationToSend, MailRow},
    migrate::{WAIT, migrate, migrate_within},
    persist::{ProfileWrite, Writes},
    reach::{Named, Reach, Unreached},
    reads::{
        AccountOrganizationRow, MemberColumns, MemberRead, OrganizationRead, WorkspaceMemberRead,
        WorkspaceRead,
    },
    replication::Replication,
    requests::{Claim, RequestRow, RequestSubject},
    retention::{PointAndFloor, Retention, Trimmed},
    rows::{AccountRow, SettingsColumns},
    schema_age::{Fit, SchemaAge},
    snapshot::{SnapshotCursor, SnapshotPage, SnapshotRow},
    subscriptions::{NewSubscription, Opened, Resumed, SubscriptionRow},
    tenant::Tenant,
    transaction::Transaction,
    verdicts::{EnforcementRow, EnforcementWrite, LookedUp, ReceiptRow, SentChange, WriteRow},
};
use crate::rules::ids::{OrganizationId, StoreId};

/// Calls that may wait for each connection of the pool. Where a call takes 10 ms, the last of them has its connection
/// within a sixth of a second; who comes after that is told at once instead of in seconds.
const WAITING: usize = 16;

/// How a database is reached.
#[derive(Clone)]
pub struct Connections {
    /// Where the pool connects to.
    pub url: String,
    /// Where sequencing and notifications connect to, where `url` is a pooler in transaction mode. None: to `url`.
    pub direct_url: Option<String>,
    /// Where migrations connect to, as the owner of the tables. None: as the role that serves, and directly.
    pub migration_url: Option<String>,
    /// Connections of the pool at most.
    pub pool_size: usize,
}

impl Connections {
    /// The URL that leads to the server itself.
    pub fn direct_url(&self) -> &str {
        self.direct_url.as_deref().unwrap_or(&self.url)
    }

    /// Brings the database to this version's schema, and lets the role that serves do so, where that is another one.
    pub async fn migrate(&self) -> Result<Vec<String>, StorageError> {
        let Some(owner) = &self.migration_url else { return migrate(self.direct_url(), None).await };
        let serves = connect::Target::parse(self.direct_url())?;
        let role = serves.user().ok_or_else(|| {
            StorageError::Unfit("the URL of the database must name the role that serves".to_owned())
        })?;
        migrate(owner, Some(role)).await
    }
}

/// How the pool stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStanding {
    /// Connections that it may have.
    pub size: usize,
    /// Those in use.
    pub used: usize,
    /// Those that wait to be used.
    pub idle: usize,
    /// Calls that wait for one.
    pub waiting: usize,
}

/// One database: a pool of connections and what is needed to make others.
#[derive(Clone)]
pub struct Database {
    pool: Pool<AsyncPgConnection>,
    /// How the pool's connections are made.
    pooled: bool,
    tls: connect::Tls,
    /// The server itself.
    target: connect::Target,
}

/// How long trying a pooler may take.
const POOLER: Duration = Duration::from_secs(5);

fn unfit_pooler() -> StorageError {
    let message = "the pooler before --database-url does not keep prepared statements: that needs PgBouncer 1.21 or later \
                   with max_prepared_statements, or a connection without it";
    StorageError::Unfit(message.to_owned())
}

struct Probe;

impl prepared::Text for Probe {
    const SQL: &'static str = "SELECT 1";
}

/// Refuses a pooler in transaction mode that cannot keep the prepared statements of its clients apart. The first client
/// prepares one; the second then holds the session that this was done on, so that the first one's next transaction gets
/// another.
async fn check_pooler(through: &connect::Target) -> Result<(), StorageError> {
    let connect =
        || async { through.connect().await.map_err(|error| StorageError::Unavailable(error.to_string())) };
    let (mut first, mut second) = (connect().await?, connect().await?);
    let unfit = |error: diesel::result::Error| {
        tracing::warn!(%error, "the pooler was tried");
        unfit_pooler()
    };
    prepared::prepared::<Probe, _>(|query| query).execute(&mut first).await.map_err(unfit)?;
    second.batch_execute("BEGIN").await.map_err(unfit)?;
    prepared::prepared::<Probe, _>(|query| query).execute(&mut first).await.map_err(unfit)?;
    second.batch_execute("ROLLBACK").await.map_err(unfit)
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
    pub async fn open(connections: &Connections) -> Result<Self, StorageError> {
        let mut through = connect::Target::parse(&connections.url)?;
        if connections.direct_url.is_some() {
            through = through.pooled();
        }
        if through.is_pooled() {
            // Some do not even answer to what is sent together.
            let checked = tokio::time::timeout(POOLER, check_pooler(&through)).await;
            checked.unwrap_or_else(|_| Err(unfit_pooler()))?;
        }
        let target = connect::Target::parse(connections.direct_url())?;
        let pool = through.pool(connections.pool_size)?;
        let mut connection = pool.get().await?;
        migrate::check_server(&mut connection).await?;
        migrate::check_role(&mut connection).await?;
        drop(connection);
        Ok(Self { pool, pooled: through.is_pooled(), tls: through.tls(), target })
    }

    /// Connections of the pool at most.
    pub fn pool_size(&self) -> usize {
        self.pool.status().max_size
    }

    /// How the pool stands.
    pub fn pool(&self) -> PoolStanding {
        let status = self.pool.status();
        // `available` is what is idle; what was made and is not idle is in use.
        let idle = status.available.min(status.size);
        PoolStanding { size: status.max_size, used: status.size - idle, idle, waiting: status.waiting }
    }

    /// A connection for single statements, each its own transaction, that see the rows of one organization.
    pub async fn read_in(&self, organization: OrganizationId) -> Result<Reading, StorageError> {
        self.reading(Tenant::Organization(organization)).await
    }

    /// The same for what belongs to no organization.
    pub async fn read_outside(&self) -> Result<Reading, StorageError> {
        self.reading(Tenant::Outside).await
    }

    /// The same for the rows of all organizations. Beside each use stands why it cannot be one.
    pub async fn read_across(&self) -> Result<Reading, StorageError> {
        self.reading(Tenant::Across).await
    }

    async fn reading(&self, tenant: Tenant) -> Result<Reading, StorageError> {
        Ok(Reading::new(self.lease().await?, self.pooled, tenant))
    }

    /// A connection for a transaction, which [`Transaction::open`] begins.
    pub async fn transaction(&self, tenant: Tenant) -> Result<Transaction, StorageError> {
        Ok(Transaction::new(self.lease().await?, self.pooled, tenant))
    }

    async fn lease(&self) -> Result<lease::Lease, StorageError> {
        let status = self.pool.status();
        if status.waiting >= status.max_size * WAITING {
            return Err(StorageError::Overloaded);
        }
        Ok(lease::Lease::new(self.pool.get().await?, self.tls.clone()))
    }

    /// Reads what this store is.
    pub async fn identity(&self) -> Result<Identity, StorageError> {
        use schema::{mac_keys, store};
        let mut connection = self.read_outside().await?;
        let store_id = store::table.select(store::store_id).first(&mut connection).await?;
        let keys = mac_keys::table
            .select((mac_keys::key_id, mac_keys::secret))
            .order(mac_keys::key_id)
            .load(&mut connection)
            .await?;
        Ok(Identity { store_id: StoreId(store_id), keys })
    }
}

//! The audit: an entry with every command, in its transaction; refusals beside, many in one statement; chaining, severing
//! and trimming, which functions in the database do.
//!
//! An entry has ids and words alone. Whose account acted leads through `audit_actors`, a row that an erasure deletes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, JoinOnDsl as _, NullableExpressionMethods as _, QueryDsl as _, Queryable,
    QueryableByName, sql_query, sql_types,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    erase::Erased,
    error::StorageError,
    prepared::{Text, prepared},
    schema::{audit_actors, audit_entries},
    transaction::Transaction,
};
use crate::rules::ids::{AccountId, CallerName, CommandId, OrganizationId, RequestId};

/// Entries that are chained in one statement at most: some tens of milliseconds of work.
const BATCH: i64 = 1_000;
/// Entries that are dropped in one statement at most.
const TRIM: i64 = 5_000;

/// The outcome of what was done.
pub const OK: &str = "OK";

/// An entry of a command that is done.
#[derive(Debug, Clone, Copy)]
pub struct AuditWrite<'a> {
    /// The calling workload.
    pub caller: &'a CallerName,
    /// The account for whom it acted. None: as itself.
    pub acting: Option<AccountId>,
    /// The method.
    pub method: &'a str,
    /// The request id.
    pub request_id: Option<RequestId>,
    /// The command, where it changed something that is recorded under one.
    pub command: Option<CommandId>,
    /// The organization.
    pub organization: Option<OrganizationId>,
}

/// A refusal, or many equal ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When. Of many: the first.
    pub time: DateTime<Utc>,
    /// The calling workload. None: it is not known who called.
    pub caller: Option<CallerName>,
    /// The account for whom it said to act.
    pub acting: Option<AccountId>,
    /// The method.
    pub method: String,
    /// The request id.
    pub request_id: Option<RequestId>,
    /// The organization that was named.
    pub organization: Option<OrganizationId>,
    /// The reason.
    pub reason: String,
    /// How many it stands for.
    pub times: i64,
}

/// An entry as it is read.
#[derive(Debug, Clone, Queryable)]
#[allow(missing_docs)]
pub struct AuditRow {
    pub position: i64,
    pub record_time: DateTime<Utc>,
    pub caller: Option<String>,
    pub actor: Option<Vec<u8>>,
    pub account_id: Option<Uuid>,
    pub method: String,
    pub request_id: Option<Uuid>,
    pub command_id: Option<Uuid>,
    pub organization_id: Option<Uuid>,
    pub outcome: String,
    pub times: i64,
}

/// Which entries. What is not named does not matter.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// About an organization.
    pub organization: Option<OrganizationId>,
    /// Of a calling workload.
    pub caller: Option<CallerName>,
    /// By an account that acted.
    pub acting: Option<AccountId>,
    /// With this outcome: OK, or a reason.
    pub outcome: Option<String>,
    /// Refusals alone.
    pub refused: bool,
    /// Recorded at this moment or later.
    pub start: Option<DateTime<Utc>>,
    /// Recorded before this moment.
    pub end: Option<DateTime<Utc>>,
}

/// Needs nothing that the transaction decides later, so it stands anywhere in its pipeline before what severs.
struct InsertEntry;

impl Text for InsertEntry {
    const SQL: &'static str = "
        INSERT INTO pending_audit_entries (caller, acting_account_id, method, request_id, command_id, organization_id,
                                           outcome)
        VALUES ($1, $2, $3, $4, $5, $6, 'OK')";
}

struct InsertRefusals;

impl Text for InsertRefusals {
    const SQL: &'static str = "
        INSERT INTO pending_audit_entries (record_time, caller, acting_account_id, method, request_id, organization_id,
                                           outcome, times)
        SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)";
}

struct Sever;

impl Text for Sever {
    const SQL: &'static str = "SELECT sever_audit($1, $2)";
}

struct Chain;

impl Text for Chain {
    const SQL: &'static str = "SELECT * FROM chain_audit($1)";
}

#[derive(QueryableByName)]
struct Chained {
    #[diesel(sql_type = sql_types::Bool)]
    more: bool,
}

#[derive(QueryableByName)]
struct Removed {
    #[diesel(sql_type = sql_types::BigInt)]
    removed: i64,
    #[diesel(sql_type = sql_types::Bool)]
    more: bool,
}

type Id = sql_types::Nullable<sql_types::Uuid>;
type OptionalUuids = sql_types::Array<Id>;
type Texts = sql_types::Array<sql_types::Text>;

impl Transaction {
    /// Writes an entry down together with what it tells of.
    pub(super) async fn audit(&self, entry: &AuditWrite<'_>) -> Result<(), StorageError> {
        let AuditWrite { caller, acting, method, request_id, command, organization } = entry;
        let query = prepared::<InsertEntry, _>(|sql| {
            sql.bind::<sql_types::Text, _>(caller.as_str())
                .bind::<Id, _>(acting.map(|id| id.0))
                .bind::<sql_types::Text, _>(*method)
                .bind::<Id, _>(request_id.map(|id| id.0))
                .bind::<Id, _>(command.map(|id| id.0))
                .bind::<Id, _>(organization.map(|id| id.0))
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    /// Takes who is erased out of the audit: behind the entry of the erasure itself. The end of an organization severs
    /// nobody, its members keep their accounts.
    pub(super) async fn sever_audit(&self, erased: &Erased) -> Result<(), StorageError> {
        let (account, organization) = match erased {
            Erased::Member { organization, account, .. } => (account, Some(organization.0)),
            Erased::Account { account, .. } => (account, None),
            Erased::Organization(_) => return Ok(()),
        };
        let query =
            prepared::<Sever, _>(|sql| sql.bind::<sql_types::Uuid, _>(account.0).bind::<Id, _>(organization));
        query.execute(&mut self.connection()).await?;
        Ok(())
    }
}

impl Database {
    /// Writes refusals down.
    pub async fn audit_refusals(&self, refusals: &[Refusal]) -> Result<(), StorageError> {
        fn column<T>(refusals: &[Refusal], cell: impl Fn(&Refusal) -> T) -> Vec<T> {
            refusals.iter().map(cell).collect()
        }
        let query = prepared::<InsertRefusals, _>(|sql| {
            sql.bind::<sql_types::Array<sql_types::Timestamptz>, _>(column(refusals, |one| one.time))
                .bind::<sql_types::Array<sql_types::Nullable<sql_types::Text>>, _>(column(refusals, |one| {
                    one.caller.as_ref().map(|caller| caller.as_str().to_owned())
                }))
                .bind::<OptionalUuids, _>(column(refusals, |one| one.acting.map(|id| id.0)))
                .bind::<Texts, _>(column(refusals, |one| one.method.clone()))
                .bind::<OptionalUuids, _>(column(refusals, |one| one.request_id.map(|id| id.0)))
                .bind::<OptionalUuids, _>(column(refusals, |one| one.organization.map(|id| id.0)))
                .bind::<Texts, _>(column(refusals, |one| one.reason.clone()))
                .bind::<sql_types::Array<sql_types::BigInt>, _>(column(refusals, |one| one.times))
        });
        query.execute(&mut self.read_outside().await?).await?;
        Ok(())
    }

    /// Chains all that waits. Whatever was committed before this call is chained behind it.
    pub async fn chain_audit(&self) -> Result<(), StorageError> {
        let mut connection = self.read_outside().await?;
        loop {
            let query = prepared::<Chain, _>(|sql| sql.bind::<sql_types::BigInt, _>(BATCH));
            let Chained { more } = query.get_result(&mut connection).await?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Drops a batch of the entries that are older than they are kept for. Returns how many, and whether there is more to
    /// do.
    pub async fn trim_audit(&self, keep: Duration) -> Result<(i64, bool), StorageError> {
        let query = sql_query("SELECT * FROM trim_audit(make_interval(secs => $1), $2)")
            .bind::<sql_types::Double, _>(keep.as_secs_f64())
            .bind::<sql_types::BigInt, _>(TRIM);
        let Removed { removed, more } = query.get_result(&mut self.read_outside().await?).await?;
        Ok((removed, more))
    }

    /// Lists chained entries, the newest first, from before a position. Each filter alone has an index; of several the
    /// database takes one and looks through the rest.
    pub async fn audit_entries(
        &self,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StorageError> {
        let AuditFilter { organization, caller, acting, outcome, refused, start, end } = filter;
        let mut query = audit_entries::table
            .left_join(audit_actors::table.on(audit_entries::actor.eq(audit_actors::actor.nullable())))
            .filter(audit_entries::position.lt(before.unwrap_or(i64::MAX)))
            .order(audit_entries::position.desc())
            .limit(limit)
            .select((
                audit_entries::position,
                audit_entries::record_time,
                audit_entries::caller,
                audit_entries::actor,
                audit_actors::account_id.nullable(),
                audit_entries::method,
                audit_entries::request_id,
                audit_entries::command_id,
                audit_entries::organization_id,
                audit_entries::outcome,
                audit_entries::times,
            ))
            .into_boxed();
        if let Some(organization) = organization {
            query = query.filter(audit_entries::organization_id.eq(organization.0));
        }
        if let Some(caller) = caller {
            query = query.filter(audit_entries::caller.eq(caller.as_str()));
        }
        if let Some(acting) = acting {
            query = query.filter(audit_actors::account_id.eq(acting.0));
        }
        if let Some(outcome) = outcome {
            query = query.filter(audit_entries::outcome.eq(outcome));
        }
        if *refused {
            query = query.filter(audit_entries::outcome.ne(OK));
        }
        if let Some(start) = start {
            query = query.filter(audit_entries::record_time.ge(start));
        }
        if let Some(end) = end {
            query = query.filter(audit_entries::record_time.lt(end));
        }
        Ok(query.load(&mut self.read_outside().await?).await?)
    }
}

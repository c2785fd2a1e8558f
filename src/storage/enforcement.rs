//! What leases and verdicts rest on: granting, giving up who is silent, and how far everyone is, in one statement.
//!
//! These go over connections of their own, and so does what acknowledgements are compared with and what is recorded of
//! verdicts (`verdicts`): a lease must not run out because the pool is busy.

use chrono::{DateTime, Utc};
use diesel::{QueryableByName, sql_types};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use uuid::Uuid;

use super::{
    Database,
    connect::Target,
    error::StorageError,
    prepared::{Text, prepared},
    tenant::SESSION_ACROSS,
};
use crate::rules::ids::{ChangeId, OrganizationId, SubscriptionId};

/// A connection of one task: its own, made anew after a failure.
pub struct Enforcer {
    target: Target,
    connection: Option<AsyncPgConnection>,
}

/// What an instance says that it has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Who.
    pub subscription: SubscriptionId,
    /// Up to where.
    pub position: i64,
    /// The change that stands there.
    pub change: ChangeId,
}

/// What an instance says that it ended because of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptWrite {
    /// Who.
    pub subscription: SubscriptionId,
    /// The organization of the change.
    pub organization: OrganizationId,
    /// The position of the change.
    pub position: i64,
    /// Whether all that there was is ended.
    pub ended: bool,
    /// How many sessions were closed.
    pub ended_sessions: i32,
    /// How many things were handed over.
    pub handed_over: i32,
    /// Why it failed.
    pub detail: String,
    /// Whether the change ended access.
    pub revoking: bool,
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// It is stored, and the subscription may be given a lease.
    Granted {
        /// What is stored as applied now.
        applied: i64,
    },
    /// The row is locked by somebody else: to be tried again.
    Busy,
    /// The log of this server has another change at that position, or none: nothing is stored.
    Forked,
    /// The subscription has ended, and another process follows under its instance name, or has.
    Replaced,
    /// The subscription has ended.
    Ended,
    /// There is none.
    Missing,
}

/// An app, and one of the subscriptions that count in it, or that were given up lately.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct StandingRead {
    #[diesel(sql_type = sql_types::Text)]
    pub app: String,
    #[diesel(sql_type = sql_types::BigInt)]
    pub app_ttl_ms: i64,
    #[diesel(sql_type = sql_types::Bool)]
    pub serve_stale: bool,
    #[diesel(sql_type = sql_types::Integer)]
    pub min_instances: i32,
    #[diesel(sql_type = sql_types::Bool)]
    pub registered: bool,
    /// When this was read, by the clock of the database.
    #[diesel(sql_type = sql_types::Timestamptz)]
    pub read_time: DateTime<Utc>,
    #[diesel(embed)]
    pub subscription: Option<CountedRow>,
}

/// A subscription as verdicts see it.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct CountedRow {
    #[diesel(sql_type = sql_types::Uuid)]
    pub subscription_id: Uuid,
    #[diesel(sql_type = sql_types::Text)]
    pub instance: String,
    #[diesel(sql_type = sql_types::Array<sql_types::Uuid>)]
    pub organization_ids: Vec<Uuid>,
    #[diesel(sql_type = sql_types::Text)]
    pub state: String,
    #[diesel(sql_type = sql_types::Bool)]
    pub counted: bool,
    #[diesel(sql_type = sql_types::BigInt)]
    pub applied_position: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    pub lease_ttl_ms: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    pub grant_seq: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    pub begin_position: i64,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    pub end_position: Option<i64>,
    /// Whether it was ever told that it may go on answering after its lease.
    #[diesel(sql_type = sql_types::Bool)]
    pub stale_allowed: bool,
    /// Whether it counts, or was given up no longer ago than a while.
    #[diesel(sql_type = sql_types::Bool)]
    pub lately: bool,
}

/// $1 subscriptions, $2 what each has applied, $11 the changes there, and a receipt in each element of $3 to $10. Locks in
/// the order of the ids, and waits for nobody: who is locked is being ended, or granted by another replica. What is applied
/// is compared once more with the very log that it is stored beside: behind a failover that lost the end of the log this may be
/// the new primary, while the cursor was compared with what this replica knew of the old one.
struct Grant;

impl Text for Grant {
    const SQL: &'static str = "
        WITH given AS (
            SELECT g.subscription_id, g.applied,
                   coalesce(g.applied <= f.position OR c.change_id = g.change_id, false) AS there
            FROM unnest($1, $2, $11) AS g (subscription_id, applied, change_id)
            CROSS JOIN log_floor f LEFT JOIN changes c ON c.position = g.applied
        ), locked AS (
            SELECT s.subscription_id, g.applied FROM subscriptions s JOIN given g USING (subscription_id)
            WHERE s.state = 'LIVE' AND g.there ORDER BY s.subscription_id FOR NO KEY UPDATE OF s SKIP LOCKED
        ), granted AS (
            UPDATE subscriptions s
            SET applied_position = greatest(s.applied_position, l.applied), grant_seq = s.grant_seq + 1,
                acknowledge_time = now()
            FROM locked l WHERE s.subscription_id = l.subscription_id
            RETURNING s.subscription_id, s.applied_position, s.app, s.instance
        ), said AS (
            INSERT INTO receipts (organization_id, position, subscription_id, app, instance, outcome, ended_sessions,
                                  handed_over, detail, revoking)
            SELECT r.organization_id, r.position, g.subscription_id, g.app, g.instance,
                   CASE WHEN r.ended THEN 'ENDED' ELSE 'FAILED' END, r.ended_sessions, r.handed_over, r.detail,
                   r.revoking
            FROM unnest($3, $4, $5, $6, $7, $8, $9, $10)
                AS r (subscription_id, organization_id, position, ended, ended_sessions, handed_over, detail, revoking)
            JOIN granted g USING (subscription_id)
            ON CONFLICT (organization_id, position, subscription_id) DO UPDATE
            SET outcome = excluded.outcome, ended_sessions = excluded.ended_sessions,
                handed_over = excluded.handed_over, detail = excluded.detail, record_time = clock_timestamp()
            WHERE receipts.outcome = 'FAILED'
        )
        SELECT given.subscription_id, given.there, granted.applied_position, s.state,
               CASE s.state WHEN 'LIVE' THEN false WHEN 'REPLACED' THEN true ELSE EXISTS (
                   SELECT FROM subscriptions other
                   WHERE other.app = s.app AND other.instance = s.instance AND other.state = 'LIVE'
               ) END AS replaced
        FROM given LEFT JOIN granted USING (subscription_id) LEFT JOIN subscriptions s USING (subscription_id)";
}

#[derive(QueryableByName)]
struct GrantRow {
    #[diesel(sql_type = sql_types::Uuid)]
    subscription_id: Uuid,
    #[diesel(sql_type = sql_types::Bool)]
    there: bool,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    applied_position: Option<i64>,
    /// As it was before the statement.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    state: Option<String>,
    /// Whether its instance name is another's, as in `subscriptions`.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Bool>)]
    replaced: Option<bool>,
}

impl GrantRow {
    fn granted(&self) -> Granted {
        match (self.applied_position, self.state.as_deref()) {
            (Some(applied), _) => Granted::Granted { applied },
            (None, None) => Granted::Missing,
            (None, Some("LIVE")) if self.there => Granted::Busy,
            (None, Some("LIVE")) => Granted::Forked,
            (None, Some(_)) if self.replaced == Some(true) => Granted::Replaced,
            (None, Some(_)) => Granted::Ended,
        }
    }
}

/// Every app with the subscriptions that count in it, and those that were given up lately: one statement, so that what it
/// shows was so at one moment. Who was told that it may answer without a lease is held against an app that does so no more
/// until it has said goodbye: neither time nor a newer one of its name proves that it has ended.
struct ReadStanding;

impl Text for ReadStanding {
    const SQL: &'static str = "
        SELECT a.app, a.lease_ttl_ms AS app_ttl_ms, a.serve_stale, a.min_instances,
               a.unregister_time IS NULL AS registered, now() AS read_time, s.*
        FROM apps a LEFT JOIN (
            SELECT c.app AS of_app, c.subscription_id, c.instance, c.organization_ids, c.state, c.counted,
                   c.applied_position, c.lease_ttl_ms, c.grant_seq, c.begin_position, c.end_position,
                   c.serve_stale AS stale_allowed, true AS lately
            FROM subscriptions c WHERE c.counted
            UNION ALL
            SELECT e.app, e.subscription_id, e.instance, e.organization_ids, e.state, e.counted, e.applied_position,
                   e.lease_ttl_ms, e.grant_seq, e.begin_position, e.end_position, false, true
            FROM subscriptions e
            WHERE NOT e.counted AND e.state IN ('LAPSED', 'REPLACED') AND e.grant_seq > 0 AND NOT e.serve_stale
              AND e.end_time > now() - interval '15 minutes'
            UNION ALL
            SELECT h.app, h.subscription_id, h.instance, h.organization_ids, h.state, h.counted, h.applied_position,
                   h.lease_ttl_ms, h.grant_seq, h.begin_position, h.end_position, true,
                   h.end_time > now() - interval '15 minutes'
            FROM subscriptions h JOIN apps b ON b.app = h.app
            WHERE h.serve_stale AND NOT h.counted AND h.state IN ('LAPSED', 'REPLACED')
              -- Where the app serves stale answers that alone says what is to be said.
              AND (h.end_time > now() - interval '15 minutes' OR NOT b.serve_stale OR b.unregister_time IS NOT NULL)
        ) s ON s.of_app = a.app";
}

/// Gives up the subscriptions $1 that were granted nothing since the $2.
struct GiveUp;

impl Text for GiveUp {
    const SQL: &'static str = "
        UPDATE subscriptions s
        SET counted = false, state = CASE s.state WHEN 'REPLACED' THEN 'REPLACED' ELSE 'LAPSED' END, end_time = now(),
            end_position = (SELECT position FROM log_head)
        FROM unnest($1, $2) AS silent (subscription_id, grant_seq)
        WHERE s.subscription_id = silent.subscription_id AND s.grant_seq = silent.grant_seq AND s.counted
        RETURNING s.subscription_id";
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = sql_types::Uuid)]
    subscription_id: Uuid,
}

type Uuids = sql_types::Array<sql_types::Uuid>;
type Numbers = sql_types::Array<sql_types::BigInt>;
type Integers = sql_types::Array<sql_types::Integer>;

impl Database {
    /// A connection for one of the tasks of enforcement.
    pub fn enforcer(&self) -> Enforcer {
        Enforcer { target: self.target.clone(), connection: None }
    }
}

impl Enforcer {
    /// The connection for one statement. Given back only when that succeeds: one that is dropped in the middle of a
    /// statement would answer the next call with the answer to this one.
    pub(super) async fn take(&mut self) -> Result<AsyncPgConnection, StorageError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => {
                let connected = self.target.connect().await;
                let mut connection =
                    connected.map_err(|error| StorageError::Unavailable(error.to_string()))?;
                // Receipts are stored together, whosever they are.
                connection.batch_execute(SESSION_ACROSS).await?;
                Ok(connection)
            }
        }
    }

    /// Gives the connection back behind a statement that succeeded.
    pub(super) fn give(&mut self, connection: AsyncPgConnection) {
        self.connection = Some(connection);
    }

    /// Stores what instances have applied, never less than before, and what they ended; each that is LIVE, and has applied
    /// what this log has, may then be given a lease. A subscription may stand in `applied` once, and once for each change in `receipts`.
    pub async fn grant(
        &mut self,
        applied: &[Applied],
        receipts: &[ReceiptWrite],
    ) -> Result<Vec<(SubscriptionId, Granted)>, StorageError> {
        let ids: Vec<Uuid> = applied.iter().map(|one| one.subscription.0).collect();
        let positions: Vec<i64> = applied.iter().map(|one| one.position).collect();
        let there: Vec<Uuid> = applied.iter().map(|one| one.change.0).collect();
        let of: Vec<Uuid> = receipts.iter().map(|receipt| receipt.subscription.0).collect();
        let organizations: Vec<Uuid> = receipts.iter().map(|receipt| receipt.organization.0).collect();
        let changes: Vec<i64> = receipts.iter().map(|receipt| receipt.position).collect();
        let ended: Vec<bool> = receipts.iter().map(|receipt| receipt.ended).collect();
        let sessions: Vec<i32> = receipts.iter().map(|receipt| receipt.ended_sessions).collect();
        let handed_over: Vec<i32> = receipts.iter().map(|receipt| receipt.handed_over).collect();
        let details: Vec<&str> = receipts.iter().map(|receipt| receipt.detail.as_str()).collect();
        let revoking: Vec<bool> = receipts.iter().map(|receipt| receipt.revoking).collect();
        let query = prepared::<Grant, _>(|query| {
            query
                .bind::<Uuids, _>(ids)
                .bind::<Numbers, _>(positions)
                .bind::<Uuids, _>(of)
                .bind::<Uuids, _>(organizations)
                .bind::<Numbers, _>(changes)
                .bind::<sql_types::Array<sql_types::Bool>, _>(ended)
                .bind::<Integers, _>(sessions)
                .bind::<Integers, _>(handed_over)
                .bind::<sql_types::Array<sql_types::Text>, _>(details)
                .bind::<sql_types::Array<sql_types::Bool>, _>(revoking)
                .bind::<Uuids, _>(there)
        });
        let mut connection = self.take().await?;
        let rows: Vec<GrantRow> = query.load(&mut connection).await?;
        self.give(connection);
        Ok(rows.into_iter().map(|row| (SubscriptionId(row.subscription_id), row.granted())).collect())
    }

    /// Reads how far everyone is.
    pub async fn standing(&mut self) -> Result<Vec<StandingRead>, StorageError> {
        let query = prepared::<ReadStanding, _>(|query| query);
        let mut connection = self.take().await?;
        let rows = query.load(&mut connection).await?;
        self.give(connection);
        Ok(rows)
    }

    /// Gives up subscriptions of which this was the last grant. Returns those for which it still was.
    pub async fn give_up(
        &mut self,
        silent: &[(SubscriptionId, i64)],
    ) -> Result<Vec<SubscriptionId>, StorageError> {
        let (ids, seqs): (Vec<Uuid>, Vec<i64>) = silent.iter().map(|(id, seq)| (id.0, *seq)).unzip();
        let query = prepared::<GiveUp, _>(|query| query.bind::<Uuids, _>(ids).bind::<Numbers, _>(seqs));
        let mut connection = self.take().await?;
        let rows: Vec<Id> = query.load(&mut connection).await?;
        self.give(connection);
        Ok(rows.into_iter().map(|row| SubscriptionId(row.subscription_id)).collect())
    }
}

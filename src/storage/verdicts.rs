//! What is known of how a write was enforced: what it was, what was recorded, and what instances said that they ended.
//! Whoever asks for it reads from the pool; what the tasks of enforcement need goes over their own connections.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryableByName, SelectableHelper as _,
    sql_query, sql_types,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    enforcement::Enforcer,
    error::StorageError,
    prepared::{Text, prepared},
    schema::{changes, enforcements, history, subscriptions},
    subscriptions::SubscriptionRow,
    tenant::Tenant,
};
use crate::rules::{
    Reason,
    ids::{CommandId, OrganizationId},
};

/// Changes of a command with the same apps.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct WriteRow {
    #[diesel(sql_type = sql_types::Uuid)]
    pub command_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    pub organization_id: Uuid,
    /// The first of them.
    #[diesel(sql_type = sql_types::BigInt)]
    pub first_position: i64,
    /// The last of them.
    #[diesel(sql_type = sql_types::BigInt)]
    pub last_position: i64,
    /// When the first was recorded.
    #[diesel(sql_type = sql_types::Timestamptz)]
    pub record_time: DateTime<Utc>,
    #[diesel(sql_type = sql_types::Array<sql_types::Text>)]
    pub apps: Vec<String>,
    /// How many of them end access.
    #[diesel(sql_type = sql_types::BigInt)]
    pub revoking: i64,
    /// Whether the log has them no more.
    #[diesel(sql_type = sql_types::Bool)]
    pub trimmed: bool,
}

/// What was recorded of a command in an app.
#[derive(Debug, Clone, diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = enforcements, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct EnforcementRow {
    pub organization_id: Uuid,
    pub command_id: Uuid,
    pub app: String,
    pub position: i64,
    pub state: String,
    pub write_time: DateTime<Utc>,
    pub enforce_time: DateTime<Utc>,
    pub instances: i32,
    pub applied: i32,
    pub lapsed: i32,
    pub lapsed_instances: Vec<String>,
    pub applied_instances: Vec<String>,
}

/// What is to be recorded of a command in an app.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct EnforcementWrite {
    pub organization: OrganizationId,
    pub command: CommandId,
    pub app: String,
    pub position: i64,
    pub state: &'static str,
    pub write_time: DateTime<Utc>,
    pub instances: i32,
    pub applied: i32,
    pub lapsed: i32,
    pub lapsed_instances: Vec<String>,
    pub applied_instances: Vec<String>,
}

/// What one instance has said of a write, by whichever of its subscriptions.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct ReceiptRow {
    #[diesel(sql_type = sql_types::Text)]
    pub app: String,
    #[diesel(sql_type = sql_types::Uuid)]
    pub subscription_id: Uuid,
    #[diesel(sql_type = sql_types::Text)]
    pub instance: String,
    /// Of how many changes that ended access.
    #[diesel(sql_type = sql_types::BigInt)]
    pub receipts: i64,
    /// Of how many changes that something failed, and since then nothing else.
    #[diesel(sql_type = sql_types::BigInt)]
    pub failed: i64,
    /// Why one of these failed.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub detail: Option<String>,
    #[diesel(sql_type = sql_types::BigInt)]
    pub ended_sessions: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    pub handed_over: i64,
}

/// What acknowledgements are compared with, at one moment each.
#[derive(Debug, Default)]
pub struct LookedUp {
    /// The subscriptions that there are.
    pub subscriptions: HashMap<Uuid, SubscriptionRow>,
    /// The changes that the log has, by position.
    pub changes: HashMap<i64, SentChange>,
    /// The floor: changes at or before this position were trimmed.
    pub floor: i64,
    /// The change that stood at the floor.
    at_floor: Option<Uuid>,
}

impl LookedUp {
    /// The change at a position, which may be the floor. None: there is none, or it was trimmed.
    pub fn change_at(&self, position: i64) -> Option<Uuid> {
        let found = self.changes.get(&position).map(|change| change.change_id);
        found.or(self.at_floor.filter(|_| position == self.floor))
    }
}

#[derive(QueryableByName)]
struct SentRow {
    #[diesel(sql_type = sql_types::BigInt)]
    floor: i64,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    at_floor: Option<Uuid>,
    #[diesel(embed)]
    change: Option<SentChange>,
}

/// A change, as far as it matters to whom it is sent.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct SentChange {
    #[diesel(sql_type = sql_types::BigInt)]
    pub position: i64,
    #[diesel(sql_type = sql_types::Uuid)]
    pub change_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    pub organization_id: Uuid,
    #[diesel(sql_type = sql_types::Array<sql_types::Text>)]
    pub apps: Vec<String>,
    /// Whether it ended access.
    #[diesel(sql_type = sql_types::Bool)]
    pub revoking: bool,
}

/// What is read of changes `c` to tell what their commands are. $2: the reasons that end access.
macro_rules! write_columns {
    ($apps:literal, $trimmed:literal) => {
        concat!(
            "SELECT c.command_id, c.organization_id, min(c.position) AS first_position, max(c.position) AS last_position,
                    min(c.record_time) AS record_time, ",
            $apps,
            " AS apps, ",
            $trimmed,
            " AS trimmed, count(*) FILTER (WHERE c.subject IN ('MEMBER', 'WORKSPACE_MEMBER') AND c.state <> 'ACTIVE'
                                          AND c.reason = ANY ($2)) AS revoking "
        )
    };
}

/// The commands $1, in the log.
const LOGGED: &str = concat!(
    write_columns!("c.apps", "false"),
    "FROM changes c WHERE c.command_id = ANY ($1) GROUP BY c.command_id, c.organization_id, c.apps"
);

/// The commands $1, in the history, which does not say whose scope a change was in: every app of the organization.
const TRIMMED: &str = concat!(
    write_columns!("o.apps", "true"),
    "FROM history c JOIN organizations o ON o.organization_id = c.organization_id
     WHERE c.command_id = ANY ($1) GROUP BY c.command_id, c.organization_id, o.apps"
);

/// The commands among the changes after $1 that took access away in the last ten minutes.
const REVOKED: &str = concat!(
    write_columns!("c.apps", "false"),
    "FROM changes c
     WHERE c.command_id IN (
         SELECT r.command_id FROM changes r
         WHERE r.position > $1 AND r.subject IN ('MEMBER', 'WORKSPACE_MEMBER') AND r.state <> 'ACTIVE'
           AND r.reason = ANY ($2) AND r.record_time > now() - interval '10 minutes')
     GROUP BY c.command_id, c.organization_id, c.apps"
);

/// A row in each element of $1 to $11. What is recorded stays.
struct Record;

impl Text for Record {
    const SQL: &'static str = "
        INSERT INTO enforcements (organization_id, command_id, app, position, state, write_time, instances, applied,
                                  lapsed, lapsed_instances, applied_instances)
        SELECT r.organization_id, r.command_id, r.app, r.position, r.state, r.write_time, r.instances, r.applied,
               r.lapsed, string_to_array(r.lapsed_names, ' '), string_to_array(r.applied_names, ' ')
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            AS r (organization_id, command_id, app, position, state, write_time, instances, applied, lapsed,
                  lapsed_names, applied_names)
        ON CONFLICT DO NOTHING";
}

/// $1 organizations, $2 and $3 the first and last positions of a write in each. OFFSET 0 keeps the two apart: joined, the
/// planner may compare all receipts of the organization with each command of a batch, which takes seconds in a large one.
struct ReadReceipts;

impl Text for ReadReceipts {
    const SQL: &'static str = "
        WITH said AS (
            SELECT r.app, r.instance, r.position, bool_or(r.outcome = 'ENDED') AS ended,
                   bool_or(r.revoking) AS revoking, max(r.ended_sessions) AS ended_sessions,
                   max(r.handed_over) AS handed_over, min(r.detail) AS detail,
                   (array_agg(r.subscription_id ORDER BY r.subscription_id DESC))[1] AS subscription_id
            FROM unnest($1, $2, $3) AS w (organization_id, first_position, last_position)
            CROSS JOIN LATERAL (
                SELECT * FROM receipts of_one
                WHERE of_one.organization_id = w.organization_id
                  AND of_one.position BETWEEN w.first_position AND w.last_position
                OFFSET 0
            ) r
            GROUP BY r.app, r.instance, r.position
        )
        SELECT app, instance, (array_agg(subscription_id ORDER BY subscription_id DESC))[1] AS subscription_id,
               count(*) FILTER (WHERE revoking) AS receipts, count(*) FILTER (WHERE NOT ended) AS failed,
               min(detail) FILTER (WHERE NOT ended) AS detail,
               coalesce(sum(ended_sessions), 0)::bigint AS ended_sessions,
               coalesce(sum(handed_over), 0)::bigint AS handed_over
        FROM said GROUP BY app, instance";
}

/// The changes at $1, and the floor. $2: the reasons that end access.
struct ReadSent;

impl Text for ReadSent {
    const SQL: &'static str = "
        SELECT f.position AS floor, f.change_id AS at_floor, c.position, c.change_id, c.organization_id, c.apps,
               c.subject IN ('MEMBER', 'WORKSPACE_MEMBER') AND c.state <> 'ACTIVE' AND c.reason = ANY ($2) AS revoking
        FROM log_floor f LEFT JOIN changes c ON c.position = ANY ($1)";
}

type Uuids = sql_types::Array<sql_types::Uuid>;
type Numbers = sql_types::Array<sql_types::BigInt>;
type Integers = sql_types::Array<sql_types::Integer>;
type Texts = sql_types::Array<sql_types::Text>;

fn revoking() -> Vec<&'static str> {
    Reason::ALL.iter().filter(|reason| reason.ends_access()).map(|reason| reason.as_str()).collect()
}

impl Database {
    /// What commands are, in the log or, of those that it has no more, in the history.
    pub async fn writes(&self, commands: &[CommandId]) -> Result<Vec<WriteRow>, StorageError> {
        let mut ids: Vec<Uuid> = commands.iter().map(|command| command.0).collect();
        // Across: a command does not say whose it is: that is what is asked.
        let mut connection = self.read_across().await?;
        let query = sql_query(LOGGED).bind::<Uuids, _>(&ids).bind::<Texts, _>(revoking());
        let mut rows: Vec<WriteRow> = query.load(&mut connection).await?;
        ids.retain(|id| rows.iter().all(|row| row.command_id != *id));
        if !ids.is_empty() {
            // After the log: changes only ever move from there to here.
            let query = sql_query(TRIMMED).bind::<Uuids, _>(&ids).bind::<Texts, _>(revoking());
            rows.extend(query.load::<WriteRow>(&mut connection).await?);
        }
        Ok(rows)
    }

    /// The command of the change at a position, also of one that was trimmed into the history.
    pub async fn command_at(&self, position: i64) -> Result<Option<CommandId>, StorageError> {
        // Across: nor does a position.
        let mut connection = self.read_across().await?;
        let query = changes::table.find(position).select(changes::command_id);
        let found: Option<Uuid> = match query.first(&mut connection).await.optional()? {
            Some(found) => Some(found),
            None => {
                let query = history::table.filter(history::position.eq(position)).select(history::command_id);
                query.first(&mut connection).await.optional()?
            }
        };
        Ok(found.map(CommandId))
    }

    /// What is recorded of commands.
    pub async fn enforcements(
        &self,
        commands: &[(OrganizationId, CommandId)],
    ) -> Result<Vec<EnforcementRow>, StorageError> {
        let (organizations, ids): (Vec<Uuid>, Vec<Uuid>) =
            commands.iter().map(|(organization, command)| (organization.0, command.0)).unzip();
        let query = enforcements::table
            .filter(enforcements::organization_id.eq_any(organizations))
            .filter(enforcements::command_id.eq_any(ids))
            .select(EnforcementRow::as_select());
        Ok(query
            .load(
                &mut self.reading(Tenant::of(commands.iter().map(|(organization, _)| *organization))).await?,
            )
            .await?)
    }

    /// What was said of the changes of an organization at these positions, from the first to the last, by instance.
    pub async fn receipts(
        &self,
        spans: &[(OrganizationId, i64, i64)],
    ) -> Result<Vec<ReceiptRow>, StorageError> {
        let query = prepared::<ReadReceipts, _>(|query| {
            query
                .bind::<Uuids, _>(spans.iter().map(|span| span.0.0).collect::<Vec<_>>())
                .bind::<Numbers, _>(spans.iter().map(|span| span.1).collect::<Vec<_>>())
                .bind::<Numbers, _>(spans.iter().map(|span| span.2).collect::<Vec<_>>())
        });
        Ok(query.load(&mut self.reading(Tenant::of(spans.iter().map(|span| span.0))).await?).await?)
    }
}

impl Enforcer {
    /// The commands behind a position that took access away lately.
    pub async fn revoked(&mut self, after: i64) -> Result<Vec<WriteRow>, StorageError> {
        let query = sql_query(REVOKED).bind::<sql_types::BigInt, _>(after).bind::<Texts, _>(revoking());
        let mut connection = self.take().await?;
        let rows = query.load(&mut connection).await?;
        self.give(connection);
        Ok(rows)
    }

    /// The apps in which something is recorded of commands.
    pub async fn recorded(
        &mut self,
        commands: &[(OrganizationId, CommandId)],
    ) -> Result<Vec<(CommandId, String)>, StorageError> {
        let (organizations, ids): (Vec<Uuid>, Vec<Uuid>) =
            commands.iter().map(|(organization, command)| (organization.0, command.0)).unzip();
        let mut connection = self.take().await?;
        let query = enforcements::table
            .filter(enforcements::organization_id.eq_any(organizations))
            .filter(enforcements::command_id.eq_any(ids))
            .select((enforcements::command_id, enforcements::app));
        let rows: Vec<(Uuid, String)> = query.load(&mut connection).await?;
        self.give(connection);
        Ok(rows.into_iter().map(|(command, app)| (CommandId(command), app)).collect())
    }

    /// Records how commands were enforced.
    pub async fn record_enforcements(&mut self, writes: &[EnforcementWrite]) -> Result<(), StorageError> {
        let query = prepared::<Record, _>(|query| {
            query
                .bind::<Uuids, _>(writes.iter().map(|one| one.organization.0).collect::<Vec<_>>())
                .bind::<Uuids, _>(writes.iter().map(|one| one.command.0).collect::<Vec<_>>())
                .bind::<Texts, _>(writes.iter().map(|one| one.app.as_str()).collect::<Vec<_>>())
                .bind::<Numbers, _>(writes.iter().map(|one| one.position).collect::<Vec<_>>())
                .bind::<Texts, _>(writes.iter().map(|one| one.state).collect::<Vec<_>>())
                .bind::<sql_types::Array<sql_types::Timestamptz>, _>(
                    writes.iter().map(|one| one.write_time).collect::<Vec<_>>(),
                )
                .bind::<Integers, _>(writes.iter().map(|one| one.instances).collect::<Vec<_>>())
                .bind::<Integers, _>(writes.iter().map(|one| one.applied).collect::<Vec<_>>())
                .bind::<Integers, _>(writes.iter().map(|one| one.lapsed).collect::<Vec<_>>())
                // Names of instances have no spaces.
                .bind::<Texts, _>(writes.iter().map(|one| one.lapsed_instances.join(" ")).collect::<Vec<_>>())
                .bind::<Texts, _>(
                    writes.iter().map(|one| one.applied_instances.join(" ")).collect::<Vec<_>>(),
                )
        });
        let mut connection = self.take().await?;
        query.execute(&mut connection).await?;
        self.give(connection);
        Ok(())
    }

    /// Looks up subscriptions, and what the log has at positions.
    pub async fn look_up(
        &mut self,
        subscriptions: &[Uuid],
        positions: &[i64],
    ) -> Result<LookedUp, StorageError> {
        let mut connection = self.take().await?;
        let mut found = LookedUp::default();
        if !subscriptions.is_empty() {
            let query = subscriptions::table
                .filter(subscriptions::subscription_id.eq_any(subscriptions))
                .select(SubscriptionRow::as_select());
            let rows: Vec<SubscriptionRow> = query.load(&mut connection).await?;
            found.subscriptions = rows.into_iter().map(|row| (row.subscription_id, row)).collect();
        }
        if !positions.is_empty() {
            let query = prepared::<ReadSent, _>(|query| {
                query.bind::<Numbers, _>(positions).bind::<Texts, _>(revoking())
            });
            for SentRow { floor, at_floor, change } in query.load(&mut connection).await? {
                (found.floor, found.at_floor) = (floor, at_floor);
                found.changes.extend(change.map(|change| (change.position, change)));
            }
        }
        self.give(connection);
        Ok(found)
    }
}

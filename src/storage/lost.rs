//! Revocations that the log lost, as instances report them, and what was decided about each (C7).

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable, QueryableByName, Selectable,
    SelectableHelper as _, sql_types,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
    schema::lost_revocations,
    tenant::Tenant,
    transaction::Transaction,
};
use crate::rules::ids::{ChangeId, MemberId, OrganizationId, SubscriptionId, WorkspaceId};

/// A revocation that an instance had applied and that the log does not have.
#[derive(Debug, Clone)]
pub struct LostRevocation {
    /// The change.
    pub change: ChangeId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its workspace. None: the whole organization.
    pub workspace: Option<WorkspaceId>,
    /// Whose access it ended.
    pub member: MemberId,
    /// The word of why.
    pub reason: &'static str,
    /// When it had been recorded, where that is known.
    pub record_time: Option<DateTime<Utc>>,
}

/// One as it is stored.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = lost_revocations, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct LostRevocationRow {
    pub change_id: Uuid,
    pub organization_id: Uuid,
    pub workspace_id: Option<Uuid>,
    pub member_id: Uuid,
    pub reason: String,
    pub record_time: Option<DateTime<Utc>>,
    pub app: String,
    pub instance: String,
}

/// Each once, whoever reports it: the first report is kept.
struct Report;

impl Text for Report {
    const SQL: &'static str = "
        INSERT INTO lost_revocations (change_id, organization_id, workspace_id, member_id, reason, record_time, app,
                                      instance)
        SELECT DISTINCT ON (t.change_id) t.change_id, t.organization_id, t.workspace_id, t.member_id, t.reason,
               t.record_time, s.app, s.instance
        FROM unnest($2, $3, $4, $5, $6, $7)
            AS t (change_id, organization_id, workspace_id, member_id, reason, record_time)
        CROSS JOIN subscriptions s
        WHERE s.subscription_id = $1
        ORDER BY t.change_id
        ON CONFLICT (change_id) DO NOTHING";
}

/// What was applied again is resolved for an instance that has applied everything there is of the member: told before, it
/// would let in who is out.
struct Resolved;

impl Text for Resolved {
    const SQL: &'static str = "
        SELECT l.change_id
        FROM lost_revocations l CROSS JOIN subscriptions s
        WHERE s.subscription_id = $1 AND l.change_id = ANY ($2) AND l.decision IS NOT NULL
          AND (l.decision = 'DROPPED' OR NOT EXISTS (
                   SELECT FROM changes c
                   WHERE c.organization_id = l.organization_id AND c.member_id = l.member_id
                     AND c.position > s.applied_position
                   UNION ALL
                   SELECT FROM pending_changes p
                   WHERE p.organization_id = l.organization_id AND p.member_id = l.member_id))
        ORDER BY l.change_id";
}

#[derive(QueryableByName)]
struct ResolvedRow {
    #[diesel(sql_type = sql_types::Uuid)]
    change_id: Uuid,
}

type Uuids = sql_types::Array<sql_types::Uuid>;

impl Database {
    /// Stores what a subscription reports. Returns how many of them nobody had reported before.
    pub async fn report_lost(
        &self,
        reporter: SubscriptionId,
        lost: &[LostRevocation],
    ) -> Result<usize, StorageError> {
        let query = prepared::<Report, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(reporter.0)
                .bind::<Uuids, _>(lost.iter().map(|lost| lost.change.0).collect::<Vec<_>>())
                .bind::<Uuids, _>(lost.iter().map(|lost| lost.organization.0).collect::<Vec<_>>())
                .bind::<sql_types::Array<sql_types::Nullable<sql_types::Uuid>>, _>(
                    lost.iter().map(|lost| lost.workspace.map(|id| id.0)).collect::<Vec<_>>(),
                )
                .bind::<Uuids, _>(lost.iter().map(|lost| lost.member.0).collect::<Vec<_>>())
                .bind::<sql_types::Array<sql_types::Text>, _>(
                    lost.iter().map(|lost| lost.reason).collect::<Vec<_>>(),
                )
                .bind::<sql_types::Array<sql_types::Nullable<sql_types::Timestamptz>>, _>(
                    lost.iter().map(|lost| lost.record_time).collect::<Vec<_>>(),
                )
        });
        Ok(query
            .execute(&mut self.reading(Tenant::of(lost.iter().map(|lost| lost.organization))).await?)
            .await?)
    }

    /// Which of some lost revocations a subscription need not deny on their account any more.
    pub async fn resolved_lost(
        &self,
        reporter: SubscriptionId,
        lost: &[LostRevocation],
    ) -> Result<Vec<Uuid>, StorageError> {
        let query = prepared::<Resolved, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(reporter.0)
                .bind::<Uuids, _>(lost.iter().map(|lost| lost.change.0).collect::<Vec<_>>())
        });
        let rows: Vec<ResolvedRow> = query
            .load(&mut self.reading(Tenant::of(lost.iter().map(|lost| lost.organization))).await?)
            .await?;
        Ok(rows.into_iter().map(|row| row.change_id).collect())
    }

    /// Lists those that wait for a decision, from after one.
    pub async fn lost_revocations(
        &self,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<LostRevocationRow>, StorageError> {
        let query = lost_revocations::table
            .filter(lost_revocations::decision.is_null())
            .filter(lost_revocations::change_id.gt(after.unwrap_or_default()))
            .order(lost_revocations::change_id)
            .limit(limit)
            .select(LostRevocationRow::as_select());
        // Across: an operator decides about those of the whole store.
        Ok(query.load(&mut self.read_across().await?).await?)
    }

    /// How many nobody has decided about.
    pub async fn undecided_lost(&self) -> Result<i64, StorageError> {
        let query = lost_revocations::table.filter(lost_revocations::decision.is_null()).count();
        // Across: the same.
        Ok(query.get_result(&mut self.read_across().await?).await?)
    }
}

impl Transaction {
    /// Writes a decision down. False: nobody reported the change.
    pub async fn decide_lost(&self, change: ChangeId, decision: &str) -> Result<bool, StorageError> {
        let decided: Option<Uuid> = diesel::update(lost_revocations::table.find(change.0))
            .set((
                lost_revocations::decision.eq(decision),
                lost_revocations::decide_time.eq(diesel::dsl::now),
            ))
            .returning(lost_revocations::change_id)
            .get_result(&mut self.connection())
            .await
            .optional()?;
        Ok(decided.is_some())
    }
}

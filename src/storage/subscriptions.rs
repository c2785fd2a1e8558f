//! Subscriptions: which processes follow the log, and how far each has applied it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable,
    QueryableByName, Selectable, SelectableHelper as _, sql_query, sql_types,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    lease::Reading,
    schema::{apps, subscriptions},
    tenant::Tenant,
};
use crate::rules::ids::{AppName, InstanceName, SubscriptionId};

/// A subscription to be opened.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    /// The id that it gets.
    pub id: SubscriptionId,
    /// The app.
    pub app: AppName,
    /// The process.
    pub instance: InstanceName,
    /// The organizations that it filters by.
    pub organization_ids: Vec<Uuid>,
    /// Its first stream.
    pub stream_id: Uuid,
    /// What it is told of stands after this position.
    pub begin: i64,
    /// The subscription whose cursor it goes on from.
    pub follows: Option<SubscriptionId>,
}

/// A subscription as it is.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = subscriptions, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct SubscriptionRow {
    pub subscription_id: Uuid,
    pub app: String,
    pub instance: String,
    pub organization_ids: Vec<Uuid>,
    pub state: String,
    pub applied_position: i64,
    pub create_time: DateTime<Utc>,
    pub acknowledge_time: Option<DateTime<Utc>>,
    pub grant_seq: i64,
    pub lease_ttl_ms: i64,
    pub receipts_position: i64,
}

/// A subscription that has a new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The subscription whose place it took.
    pub replaced: Option<SubscriptionId>,
    /// The longest lease that it may get.
    pub ttl_ms: i64,
    /// Whether the app may go on answering after its lease.
    pub serve_stale: bool,
}

/// What became of a subscription that was to be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// It has the new stream.
    Opened(Opened),
    /// It is live, and follows other organizations.
    Other,
    /// It has ended, and another process follows under its instance name, or has: this one is to stop.
    Replaced,
    /// It has ended.
    Ended,
}

/// How subscriptions stand. One that was given up or closed is replaced too, once another is live under its name: it would
/// put that one out if it came back as if nothing had been.
const STANDING: &str = "
    SELECT s.subscription_id, s.stream_id, s.state = 'LIVE' AS live,
           s.state = 'REPLACED' OR s.state <> 'LIVE' AND EXISTS (
               SELECT FROM subscriptions other
               WHERE other.app = s.app AND other.instance = s.instance AND other.state = 'LIVE'
           ) AS replaced
    FROM subscriptions s WHERE s.subscription_id = ANY($1)";

#[derive(QueryableByName)]
struct StandingRow {
    #[diesel(sql_type = sql_types::Uuid)]
    subscription_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    stream_id: Uuid,
    #[diesel(sql_type = sql_types::Bool)]
    live: bool,
    #[diesel(sql_type = sql_types::Bool)]
    replaced: bool,
}

async fn standing(connection: &mut Reading, ids: Vec<Uuid>) -> Result<Vec<StandingRow>, StorageError> {
    let query = sql_query(STANDING).bind::<sql_types::Array<sql_types::Uuid>, _>(ids);
    Ok(query.load(connection).await?)
}

impl Database {
    /// Opens a subscription; a live one of the same instance name is replaced. None: the app is not registered.
    pub async fn open_subscription(&self, new: &NewSubscription) -> Result<Option<Opened>, StorageError> {
        let transaction = self.transaction(Tenant::Outside).await?;
        transaction.begin().await?;
        // One opening of an instance name at a time: two at once would both find nobody to replace.
        sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind::<sql_types::Text, _>(format!("{}/{}", new.app, new.instance))
            .execute(&mut transaction.connection())
            .await?;
        // Held until the commit: whoever unregisters the app then finds this one.
        let app: Option<(i64, bool)> = apps::table
            .find(new.app.as_str())
            .filter(apps::unregister_time.is_null())
            .select((apps::lease_ttl_ms, apps::serve_stale))
            .for_key_share()
            .first(&mut transaction.connection())
            .await
            .optional()?;
        let Some((ttl_ms, serve_stale)) = app else { return Ok(None) };
        let live = subscriptions::app
            .eq(new.app.as_str())
            .and(subscriptions::instance.eq(new.instance.as_str()))
            .and(subscriptions::state.eq("LIVE"));
        let replaced: Option<Uuid> = diesel::update(subscriptions::table.filter(live))
            .set((
                subscriptions::state.eq("REPLACED"),
                subscriptions::end_time.eq(diesel::dsl::now),
                // It may still answer, unless it was never granted a lease and needs one.
                subscriptions::counted.eq(subscriptions::grant_seq.gt(0).or(subscriptions::serve_stale)),
            ))
            .returning(subscriptions::subscription_id)
            .get_result(&mut transaction.connection())
            .await
            .optional()?;
        // What the instance was told of earlier it may still give receipts for.
        let earlier: Option<i64> = match new.follows {
            Some(id) => subscriptions::table
                .find(id.0)
                .filter(subscriptions::app.eq(new.app.as_str()))
                .filter(subscriptions::instance.eq(new.instance.as_str()))
                .select(subscriptions::receipts_position)
                .first(&mut transaction.connection())
                .await
                .optional()?,
            None => None,
        };
        diesel::insert_into(subscriptions::table)
            .values((
                subscriptions::subscription_id.eq(new.id.0),
                subscriptions::app.eq(new.app.as_str()),
                subscriptions::instance.eq(new.instance.as_str()),
                subscriptions::organization_ids.eq(&new.organization_ids),
                subscriptions::stream_id.eq(new.stream_id),
                subscriptions::state.eq("LIVE"),
                subscriptions::lease_ttl_ms.eq(ttl_ms),
                subscriptions::begin_position.eq(new.begin),
                subscriptions::receipts_position.eq(earlier.unwrap_or(new.begin)),
                subscriptions::serve_stale.eq(serve_stale),
            ))
            .execute(&mut transaction.connection())
            .await?;
        transaction.commit().await?;
        Ok(Some(Opened { replaced: replaced.map(SubscriptionId), ttl_ms, serve_stale }))
    }

    /// Gives a live subscription of this filter another stream. What its instance is told of `serve_stale` is recorded for
    /// good: whether it heard that the app does so no more, nobody knows.
    pub async fn resume_subscription(
        &self,
        id: SubscriptionId,
        organization_ids: &[Uuid],
        stream_id: Uuid,
    ) -> Result<Resumed, StorageError> {
        let mut connection = self.read_outside().await?;
        let live = subscriptions::table.find(id.0).filter(subscriptions::state.eq("LIVE"));
        let app =
            subscriptions::table.find(id.0).select(subscriptions::app).first::<String>(&mut connection).await;
        let Some(app) = app.optional()? else { return Ok(Resumed::Ended) };
        let serve_stale: bool =
            apps::table.find(app).select(apps::serve_stale).first(&mut connection).await?;
        let updated: Option<i64> =
            diesel::update(live.filter(subscriptions::organization_ids.eq(organization_ids)))
                .set((
                    subscriptions::stream_id.eq(stream_id),
                    subscriptions::serve_stale
                        .eq(subscriptions::serve_stale.or::<_, sql_types::Bool>(serve_stale)),
                ))
                .returning(subscriptions::lease_ttl_ms)
                .get_result(&mut connection)
                .await
                .optional()?;
        let Some(ttl_ms) = updated else {
            let row = standing(&mut connection, vec![id.0]).await?.pop();
            return Ok(match row {
                Some(row) if row.live => Resumed::Other,
                Some(row) if row.replaced => Resumed::Replaced,
                _ => Resumed::Ended,
            });
        };
        Ok(Resumed::Opened(Opened { replaced: None, ttl_ms, serve_stale }))
    }

    /// Reads a subscription, also an ended one.
    pub async fn subscription(&self, id: SubscriptionId) -> Result<Option<SubscriptionRow>, StorageError> {
        let query = subscriptions::table.find(id.0).select(SubscriptionRow::as_select());
        Ok(query.first(&mut self.read_outside().await?).await.optional()?)
    }

    /// Ends a subscription. Where its process answers no more, as itself says or somebody who knows, it counts no longer, also
    /// where it had ended before; otherwise, until its lease must have run out.
    pub async fn close_subscription(&self, id: SubscriptionId, has_ended: bool) -> Result<(), StorageError> {
        let mut connection = self.read_outside().await?;
        diesel::update(subscriptions::table.find(id.0))
            .filter(subscriptions::state.eq("LIVE"))
            .set((
                subscriptions::state.eq("CLOSED"),
                subscriptions::end_time.eq(diesel::dsl::now),
                subscriptions::counted.eq(subscriptions::grant_seq.gt(0).or(subscriptions::serve_stale)),
            ))
            .execute(&mut connection)
            .await?;
        if has_ended {
            diesel::update(subscriptions::table.find(id.0))
                .filter(subscriptions::state.ne("LIVE"))
                // Also of one that was given up or replaced: it may have been told that it needs no lease.
                .filter(subscriptions::counted.or(subscriptions::state.ne("CLOSED")))
                .set((subscriptions::state.eq("CLOSED"), subscriptions::counted.eq(false)))
                .execute(&mut connection)
                .await?;
        }
        Ok(())
    }

    /// Lists the subscriptions that count by id, from after one.
    pub async fn subscriptions(
        &self,
        app: Option<&AppName>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<SubscriptionRow>, StorageError> {
        let mut query = subscriptions::table
            .filter(subscriptions::counted)
            .filter(subscriptions::subscription_id.gt(after.unwrap_or_default()))
            .order(subscriptions::subscription_id)
            .limit(limit)
            .select(SubscriptionRow::as_select())
            .into_boxed();
        if let Some(app) = app {
            query = query.filter(subscriptions::app.eq(app.as_str().to_owned()));
        }
        Ok(query.load(&mut self.read_outside().await?).await?)
    }

    /// Which of some streams must end, and whether each was replaced (true) or its subscription closed (false).
    pub async fn ended_streams(
        &self,
        streams: &[(SubscriptionId, Uuid)],
    ) -> Result<Vec<(SubscriptionId, Uuid, bool)>, StorageError> {
        let ids: Vec<Uuid> = streams.iter().map(|(id, _)| id.0).collect();
        let rows = standing(&mut self.read_outside().await?, ids).await?;
        let found: HashMap<Uuid, StandingRow> =
            rows.into_iter().map(|row| (row.subscription_id, row)).collect();
        let ended = streams.iter().filter_map(|(id, stream)| {
            let row = found.get(&id.0)?;
            // A live one has a newer stream.
            (!row.live || row.stream_id != *stream).then_some((*id, *stream, row.live || row.replaced))
        });
        Ok(ended.collect())
    }
}

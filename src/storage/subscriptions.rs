//! Subscriptions: which processes follow the log, and how far each has applied it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable,
    Selectable, SelectableHelper as _, sql_query, sql_types,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
    schema::subscriptions,
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
}

impl Database {
    /// Opens a subscription; a live one of the same instance name is replaced, and returned.
    pub async fn open_subscription(
        &self,
        new: &NewSubscription,
    ) -> Result<Option<SubscriptionId>, StorageError> {
        let transaction = self.transaction().await?;
        transaction.begin().await?;
        // One opening of an instance name at a time: two at once would both find nobody to replace.
        sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind::<sql_types::Text, _>(format!("{}/{}", new.app, new.instance))
            .execute(&mut transaction.connection())
            .await?;
        let live = subscriptions::app
            .eq(new.app.as_str())
            .and(subscriptions::instance.eq(new.instance.as_str()))
            .and(subscriptions::state.eq("LIVE"));
        let replaced: Option<Uuid> = diesel::update(subscriptions::table.filter(live))
            .set((subscriptions::state.eq("REPLACED"), subscriptions::end_time.eq(diesel::dsl::now)))
            .returning(subscriptions::subscription_id)
            .get_result(&mut transaction.connection())
            .await
            .optional()?;
        diesel::insert_into(subscriptions::table)
            .values((
                subscriptions::subscription_id.eq(new.id.0),
                subscriptions::app.eq(new.app.as_str()),
                subscriptions::instance.eq(new.instance.as_str()),
                subscriptions::organization_ids.eq(&new.organization_ids),
                subscriptions::stream_id.eq(new.stream_id),
                subscriptions::state.eq("LIVE"),
            ))
            .execute(&mut transaction.connection())
            .await?;
        transaction.commit().await?;
        Ok(replaced.map(SubscriptionId))
    }

    /// Gives a live subscription another stream. False: it is not live.
    pub async fn resume_subscription(
        &self,
        id: SubscriptionId,
        organization_ids: &[Uuid],
        stream_id: Uuid,
    ) -> Result<bool, StorageError> {
        let updated = diesel::update(subscriptions::table.find(id.0))
            .filter(subscriptions::state.eq("LIVE"))
            .set((
                subscriptions::organization_ids.eq(organization_ids),
                subscriptions::stream_id.eq(stream_id),
            ))
            .execute(&mut self.read().await?)
            .await?;
        Ok(updated == 1)
    }

    /// Reads a subscription, also an ended one.
    pub async fn subscription(&self, id: SubscriptionId) -> Result<Option<SubscriptionRow>, StorageError> {
        let query = subscriptions::table.find(id.0).select(SubscriptionRow::as_select());
        Ok(query.first(&mut self.read().await?).await.optional()?)
    }

    /// Stores what a live subscription has applied, never less than before. None: it is not live.
    pub async fn acknowledge(&self, id: SubscriptionId, applied: i64) -> Result<Option<i64>, StorageError> {
        #[derive(diesel::QueryableByName)]
        struct Applied {
            #[diesel(sql_type = sql_types::BigInt)]
            applied_position: i64,
        }
        struct Acknowledge;
        impl Text for Acknowledge {
            const SQL: &'static str = "UPDATE subscriptions SET applied_position = greatest(applied_position, $2), \
                 acknowledge_time = now() WHERE subscription_id = $1 AND state = 'LIVE' RETURNING applied_position";
        }
        let query = prepared::<Acknowledge, _>(|query| {
            query.bind::<sql_types::Uuid, _>(id.0).bind::<sql_types::BigInt, _>(applied)
        });
        let row: Option<Applied> = query.get_result(&mut self.read().await?).await.optional()?;
        Ok(row.map(|row| row.applied_position))
    }

    /// Ends a subscription. An ended one stays as it is.
    pub async fn close_subscription(&self, id: SubscriptionId) -> Result<(), StorageError> {
        diesel::update(subscriptions::table.find(id.0))
            .filter(subscriptions::state.eq("LIVE"))
            .set((subscriptions::state.eq("CLOSED"), subscriptions::end_time.eq(diesel::dsl::now)))
            .execute(&mut self.read().await?)
            .await?;
        Ok(())
    }

    /// Lists live subscriptions by id, from after one.
    pub async fn subscriptions(
        &self,
        app: Option<&AppName>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<SubscriptionRow>, StorageError> {
        let mut query = subscriptions::table
            .filter(subscriptions::state.eq("LIVE"))
            .filter(subscriptions::subscription_id.gt(after.unwrap_or_default()))
            .order(subscriptions::subscription_id)
            .limit(limit)
            .select(SubscriptionRow::as_select())
            .into_boxed();
        if let Some(app) = app {
            query = query.filter(subscriptions::app.eq(app.as_str().to_owned()));
        }
        Ok(query.load(&mut self.read().await?).await?)
    }

    /// Which of some streams must end, and whether each was replaced (true) or its subscription closed (false).
    pub async fn ended_streams(
        &self,
        streams: &[(SubscriptionId, Uuid)],
    ) -> Result<Vec<(SubscriptionId, Uuid, bool)>, StorageError> {
        let ids: Vec<Uuid> = streams.iter().map(|(id, _)| id.0).collect();
        let rows: Vec<(Uuid, String, Uuid)> = subscriptions::table
            .filter(subscriptions::subscription_id.eq_any(ids))
            .select((subscriptions::subscription_id, subscriptions::state, subscriptions::stream_id))
            .load(&mut self.read().await?)
            .await?;
        let found: HashMap<Uuid, (String, Uuid)> =
            rows.into_iter().map(|(id, state, newest)| (id, (state, newest))).collect();
        let ended = streams.iter().filter_map(|(id, stream)| {
            let (state, newest) = found.get(&id.0)?;
            (state != "LIVE" || newest != stream).then_some((*id, *stream, state != "CLOSED"))
        });
        Ok(ended.collect())
    }
}

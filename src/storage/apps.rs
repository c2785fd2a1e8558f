//! Apps.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable,
    Selectable, SelectableHelper as _, sql_types,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
    schema::{apps, subscriptions, workspaces},
    transaction::Transaction,
};
use crate::rules::{
    ids::{AppName, WorkspaceId},
    roles::WorkspaceState,
};

/// What is stored of an app.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = apps, check_for_backend(diesel::pg::Pg))]
pub struct AppRow {
    /// The name.
    pub app: String,
    /// When it was registered first.
    pub create_time: DateTime<Utc>,
    /// How long a lease lasts.
    pub lease_ttl_ms: i64,
    /// Whether its instances go on answering after that.
    pub serve_stale: bool,
    /// How many instances it should have.
    pub min_instances: i32,
    /// When it was unregistered. None: it is registered.
    pub unregister_time: Option<DateTime<Utc>>,
    /// +1 with each change of it.
    pub version: i64,
}

/// What can be said of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppSettings {
    /// How long a lease lasts.
    pub lease_ttl: Duration,
    /// Whether its instances go on answering after that.
    pub serve_stale: bool,
    /// How many instances it should have.
    pub min_instances: i32,
}

impl AppRow {
    /// What was said of it.
    pub fn settings(&self) -> AppSettings {
        let Self { lease_ttl_ms, serve_stale, min_instances, .. } = *self;
        // The column has a bound of its own.
        let lease_ttl = Duration::from_millis(lease_ttl_ms.unsigned_abs());
        AppSettings { lease_ttl, serve_stale, min_instances }
    }
}

/// Milliseconds as the column has them: whoever parsed the duration has bounded it.
fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Stands in a first pipeline, so like a claim it does nothing outside of a transaction. One that was unregistered comes
/// back, with what is said of it now.
struct RegisterApp;

impl Text for RegisterApp {
    const SQL: &'static str = "
        INSERT INTO apps (app, lease_ttl_ms, serve_stale, min_instances)
        SELECT $1, $2, $3, $4 WHERE current_setting('rollcall.begun', true) = 'yes'
        ON CONFLICT (app) DO UPDATE
        SET lease_ttl_ms = excluded.lease_ttl_ms, serve_stale = excluded.serve_stale,
            min_instances = excluded.min_instances, unregister_time = NULL, version = apps.version + 1
        WHERE apps.unregister_time IS NOT NULL";
}

/// An app that may get a workspace, held so that it is not unregistered meanwhile.
struct AppForWorkspace;

impl Text for AppForWorkspace {
    const SQL: &'static str = "SELECT FROM apps WHERE app = $1 AND unregister_time IS NULL FOR SHARE";
}

impl Transaction {
    /// Registers an app, or registers it again. False: it is registered already.
    pub async fn register_app(&self, app: &AppName, settings: &AppSettings) -> Result<bool, StorageError> {
        let AppSettings { lease_ttl, serve_stale, min_instances } = *settings;
        let query = prepared::<RegisterApp, _>(|sql| {
            sql.bind::<sql_types::Text, _>(app.as_str())
                .bind::<sql_types::BigInt, _>(milliseconds(lease_ttl))
                .bind::<sql_types::Bool, _>(serve_stale)
                .bind::<sql_types::Integer, _>(min_instances)
        });
        Ok(query.execute(&mut self.connection()).await? == 1)
    }

    /// Reads an app, also an unregistered one, and holds it for this transaction alone. Whoever makes a workspace of it or
    /// opens a subscription holds it too.
    pub async fn app_alone(&self, app: &AppName) -> Result<Option<AppRow>, StorageError> {
        let query = apps::table.find(app.as_str()).select(AppRow::as_select()).for_update();
        Ok(query.first(&mut self.connection()).await.optional()?)
    }

    /// Changes what is said of an app that this transaction holds.
    pub async fn update_app(&self, app: &AppName, settings: &AppSettings) -> Result<(), StorageError> {
        let AppSettings { lease_ttl, serve_stale, min_instances } = *settings;
        diesel::update(apps::table.find(app.as_str()))
            .set((
                apps::lease_ttl_ms.eq(milliseconds(lease_ttl)),
                apps::serve_stale.eq(serve_stale),
                apps::min_instances.eq(min_instances),
                apps::version.eq(apps::version + 1),
            ))
            .execute(&mut self.connection())
            .await?;
        Ok(())
    }

    /// Unregisters an app that this transaction holds.
    pub async fn unregister_app(&self, app: &AppName) -> Result<(), StorageError> {
        diesel::update(apps::table.find(app.as_str()))
            .set((apps::unregister_time.eq(diesel::dsl::now), apps::version.eq(apps::version + 1)))
            .execute(&mut self.connection())
            .await?;
        Ok(())
    }

    /// Closes every subscription of an app. One that was granted a lease counts until it has been silent for long enough.
    pub async fn close_subscriptions_of(&self, app: &AppName) -> Result<(), StorageError> {
        diesel::update(subscriptions::table)
            .filter(subscriptions::app.eq(app.as_str()))
            .filter(subscriptions::state.eq("LIVE"))
            .set((
                subscriptions::state.eq("CLOSED"),
                subscriptions::end_time.eq(diesel::dsl::now),
                subscriptions::counted.eq(subscriptions::grant_seq.gt(0).or(subscriptions::serve_stale)),
            ))
            .execute(&mut self.connection())
            .await?;
        Ok(())
    }

    /// An ACTIVE workspace of an app, where it has one. Who holds the app knows that there will be no other.
    pub async fn active_workspace_of(&self, app: &AppName) -> Result<Option<WorkspaceId>, StorageError> {
        let found: Option<Uuid> = workspaces::table
            .filter(workspaces::app.eq(app.as_str()))
            .filter(workspaces::state.eq(WorkspaceState::Active.as_str()))
            .select(workspaces::workspace_id)
            .first(&mut self.connection())
            .await
            .optional()?;
        Ok(found.map(WorkspaceId))
    }

    /// Whether an app may get a workspace: it is registered, and stays so until the end of the transaction. The service's
    /// own has none.
    pub async fn app_for_workspace(&self, app: &AppName) -> Result<bool, StorageError> {
        if app.is_of_the_service() {
            return Ok(false);
        }
        let query = prepared::<AppForWorkspace, _>(|sql| sql.bind::<sql_types::Text, _>(app.as_str()));
        Ok(query.execute(&mut self.connection()).await? == 1)
    }

    /// Whether an app of this name is or was registered. Their rows stay, so no lock is needed.
    pub async fn is_app(&self, name: &str) -> Result<bool, StorageError> {
        let found: Option<String> =
            apps::table.find(name).select(apps::app).first(&mut self.connection()).await.optional()?;
        Ok(found.is_some())
    }
}

impl Database {
    /// Reads a registered app.
    pub async fn app(&self, app: &AppName) -> Result<Option<AppRow>, StorageError> {
        let query = apps::table
            .find(app.as_str())
            .filter(apps::unregister_time.is_null())
            .select(AppRow::as_select());
        Ok(query.first(&mut self.read_outside().await?).await.optional()?)
    }

    /// Lists registered apps by name, from after a name, or this one alone.
    pub async fn apps(
        &self,
        only: Option<&AppName>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<AppRow>, StorageError> {
        let mut query = apps::table
            .filter(apps::app.gt(after.unwrap_or_default()))
            .filter(apps::unregister_time.is_null())
            .order(apps::app)
            .limit(limit)
            .select(AppRow::as_select())
            .into_boxed();
        if let Some(only) = only {
            query = query.filter(apps::app.eq(only.as_str()));
        }
        Ok(query.load(&mut self.read_outside().await?).await?)
    }

    /// Which of some apps are unregistered.
    pub async fn unregistered(&self, names: Vec<String>) -> Result<Vec<String>, StorageError> {
        let query = apps::table
            .filter(apps::app.eq_any(names))
            .filter(apps::unregister_time.is_not_null())
            .select(apps::app);
        Ok(query.load(&mut self.read_outside().await?).await?)
    }
}

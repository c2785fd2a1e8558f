//! Apps.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable, Selectable,
    SelectableHelper as _,
};
use diesel_async::RunQueryDsl as _;

use super::{Database, error::StorageError, schema::apps, transaction::Transaction};
use crate::rules::ids::AppName;

/// What is stored of an app.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = apps, check_for_backend(diesel::pg::Pg))]
pub struct AppRow {
    /// The name.
    pub app: String,
    /// When it was registered.
    pub create_time: DateTime<Utc>,
}

impl Transaction {
    /// Registers an app. False: it is registered already.
    pub async fn insert_app(&self, app: &AppName) -> Result<bool, StorageError> {
        let inserted = diesel::insert_into(apps::table)
            .values(apps::app.eq(app.as_str()))
            .on_conflict(apps::app)
            .do_nothing()
            .execute(&mut self.connection())
            .await?;
        Ok(inserted == 1)
    }

    /// Whether an app of this name is registered. Apps stay, so no lock is needed.
    pub async fn is_app(&self, name: &str) -> Result<bool, StorageError> {
        let found: Option<String> =
            apps::table.find(name).select(apps::app).first(&mut self.connection()).await.optional()?;
        Ok(found.is_some())
    }
}

impl Database {
    /// Reads an app.
    pub async fn app(&self, app: &AppName) -> Result<Option<AppRow>, StorageError> {
        let query = apps::table.find(app.as_str()).select(AppRow::as_select());
        Ok(query.first(&mut self.read().await?).await.optional()?)
    }

    /// Lists apps by name, from after a name.
    pub async fn apps(&self, after: Option<&str>, limit: i64) -> Result<Vec<AppRow>, StorageError> {
        let query = apps::table
            .filter(apps::app.gt(after.unwrap_or_default()))
            .order(apps::app)
            .limit(limit)
            .select(AppRow::as_select());
        Ok(query.load(&mut self.read().await?).await?)
    }
}

//! Apps.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable, Selectable,
    SelectableHelper as _, sql_types,
};
use diesel_async::RunQueryDsl as _;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
    schema::apps,
    transaction::Transaction,
};
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

/// Stands in a first pipeline, so like a claim it does nothing outside of a transaction.
struct InsertApp;

impl Text for InsertApp {
    const SQL: &'static str = "
        INSERT INTO apps (app) SELECT $1 WHERE current_setting('rollcall.begun', true) = 'yes'
        ON CONFLICT (app) DO NOTHING";
}

impl Transaction {
    /// Registers an app. False: it is registered already.
    pub async fn insert_app(&self, app: &AppName) -> Result<bool, StorageError> {
        let query = prepared::<InsertApp, _>(|sql| sql.bind::<sql_types::Text, _>(app.as_str()));
        Ok(query.execute(&mut self.connection()).await? == 1)
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

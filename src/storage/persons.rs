//! Whose account it is for whom somebody was proven to act, and how issuers call them.

use diesel::{OptionalExtension as _, QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
};
use crate::rules::ids::{AccountId, ExternalId};

struct AccountOf;

impl Text for AccountOf {
    const SQL: &'static str = "
        SELECT a.account_id
        FROM account_external_ids x JOIN accounts a USING (account_id)
        WHERE x.issuer = $1 AND x.subject = $2 AND a.state = 'ACTIVE'";
}

struct ExternalIdsOf;

impl Text for ExternalIdsOf {
    const SQL: &'static str = "
        SELECT x.issuer, x.subject
        FROM account_external_ids x JOIN accounts a USING (account_id)
        WHERE a.account_id = $1 AND a.state = 'ACTIVE'";
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = sql_types::Text)]
    issuer: String,
    #[diesel(sql_type = sql_types::Text)]
    subject: String,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = sql_types::Uuid)]
    account_id: Uuid,
}

impl Database {
    /// The account that has this external id, if it is there and ACTIVE.
    pub async fn account_of(&self, id: &ExternalId) -> Result<Option<AccountId>, StorageError> {
        let query = prepared::<AccountOf, _>(|sql| {
            sql.bind::<sql_types::Text, _>(id.issuer()).bind::<sql_types::Text, _>(id.subject())
        });
        let row: Option<Row> = query.get_result(&mut self.read_outside().await?).await.optional()?;
        Ok(row.map(|row| AccountId(row.account_id)))
    }

    /// How issuers call the person of an account. Empty: they do not, or it is not there and ACTIVE.
    pub async fn external_ids_of(&self, account: AccountId) -> Result<Vec<ExternalId>, StorageError> {
        let query = prepared::<ExternalIdsOf, _>(|sql| sql.bind::<sql_types::Uuid, _>(account.0));
        let rows: Vec<Named> = query.load(&mut self.read_outside().await?).await?;
        let corrupt = |_| StorageError::Corrupt { what: "external id", value: account.to_string() };
        rows.iter().map(|row| ExternalId::parse(&row.issuer, &row.subject).map_err(corrupt)).collect()
    }
}

//! Accounts: the only place where e-mail addresses are written.

use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
    SelectableHelper as _, sql_types,
};
use diesel_async::RunQueryDsl as _;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
    rows::AccountRow,
    schema::accounts,
    transaction::Transaction,
};
use crate::rules::ids::{AccountId, Email};

/// An account to be created.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The id that it gets.
    pub id: AccountId,
    /// Its address.
    pub email: Email,
}

/// Keeps an address to this transaction until its end, so that looking whether it is taken is enough: a unique violation
/// would quote the address in the server's log.
struct LockEmail;

impl Text for LockEmail {
    const SQL: &'static str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))";
}

/// Stands in a first pipeline, so like a claim it does nothing outside of a transaction.
struct InsertAccount;

impl Text for InsertAccount {
    const SQL: &'static str = "
        INSERT INTO accounts (account_id, email, email_key, state, version)
        SELECT $1, $2, $3, 'ACTIVE', 1 WHERE current_setting('rollcall.begun', true) = 'yes'
        ON CONFLICT (email_key) DO NOTHING";
}

struct UpdateEmail;

impl Text for UpdateEmail {
    const SQL: &'static str = "
        UPDATE accounts SET email = $2, email_key = $3, version = version + 1, update_time = now()
        WHERE account_id = $1";
}

impl Transaction {
    /// Keeps an address to this transaction until its end. Comes before what looks whether it is taken.
    pub async fn lock_email(&self, email: &Email) -> Result<(), StorageError> {
        prepared::<LockEmail, _>(|sql| sql.bind::<sql_types::Text, _>(email.key()))
            .execute(&mut self.connection())
            .await?;
        Ok(())
    }

    /// Inserts an account with a locked address. False: the address is taken, which is found without an error from the
    /// server, which would quote it in its log.
    pub async fn insert_account(&self, account: &NewAccount) -> Result<bool, StorageError> {
        let query = prepared::<InsertAccount, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(account.id.0)
                .bind::<sql_types::Text, _>(account.email.address())
                .bind::<sql_types::Text, _>(account.email.key())
        });
        Ok(query.execute(&mut self.connection()).await? == 1)
    }

    /// Whether a locked address belongs to another account than this.
    pub async fn is_taken(&self, email: &Email, by_other_than: AccountId) -> Result<bool, StorageError> {
        let holder: Option<uuid::Uuid> = accounts::table
            .filter(accounts::email_key.eq(email.key()).and(accounts::account_id.ne(by_other_than.0)))
            .select(accounts::account_id)
            .first(&mut self.connection())
            .await
            .optional()?;
        Ok(holder.is_some())
    }

    /// Changes the address of an account that this transaction has locked, to one that it has locked and that is free.
    pub(super) async fn update_email(&self, id: AccountId, email: &Email) -> Result<(), StorageError> {
        let query = prepared::<UpdateEmail, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(id.0)
                .bind::<sql_types::Text, _>(email.address())
                .bind::<sql_types::Text, _>(email.key())
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }
}

impl Database {
    /// Reads an account.
    pub async fn account(&self, id: AccountId) -> Result<Option<AccountRow>, StorageError> {
        let query = accounts::table.find(id.0).select(AccountRow::as_select());
        Ok(query.first(&mut self.read().await?).await.optional()?)
    }

    /// Finds the account of an address.
    pub async fn account_by_email(&self, email: &Email) -> Result<Option<AccountRow>, StorageError> {
        let query =
            accounts::table.filter(accounts::email_key.eq(email.key())).select(AccountRow::as_select());
        Ok(query.first(&mut self.read().await?).await.optional()?)
    }
}

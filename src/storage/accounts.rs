//! Accounts: the only place where e-mail addresses are written.

use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
    SelectableHelper as _, sql_query, sql_types,
};
use diesel_async::RunQueryDsl as _;

use super::{Database, error::StorageError, rows::AccountRow, schema::accounts, transaction::Transaction};
use crate::rules::ids::{AccountId, Email};

/// An account to be created.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The id that it gets.
    pub id: AccountId,
    /// Its address.
    pub email: Email,
}

/// The e-mail address belongs to another account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken;

impl Transaction {
    /// Inserts an account. A taken address is found without an error from the server, which would quote it in its log.
    pub async fn insert_account(&mut self, account: &NewAccount) -> Result<Result<(), Taken>, StorageError> {
        self.lock_email(&account.email).await?;
        let inserted = diesel::insert_into(accounts::table)
            .values((
                accounts::account_id.eq(account.id.0),
                accounts::email.eq(account.email.address()),
                accounts::email_key.eq(account.email.key()),
                accounts::state.eq("ACTIVE"),
                accounts::version.eq(1),
            ))
            .on_conflict(accounts::email_key)
            .do_nothing()
            .execute(&mut self.connection)
            .await?;
        Ok(if inserted == 1 { Ok(()) } else { Err(Taken) })
    }

    /// Changes the address of an account that this transaction has locked.
    pub async fn update_email(
        &mut self,
        id: AccountId,
        email: &Email,
    ) -> Result<Result<(), Taken>, StorageError> {
        self.lock_email(email).await?;
        let holder: Option<uuid::Uuid> = accounts::table
            .filter(accounts::email_key.eq(email.key()).and(accounts::account_id.ne(id.0)))
            .select(accounts::account_id)
            .first(&mut self.connection)
            .await
            .optional()?;
        if holder.is_some() {
            return Ok(Err(Taken));
        }
        diesel::update(accounts::table.find(id.0))
            .set((
                accounts::email.eq(email.address()),
                accounts::email_key.eq(email.key()),
                accounts::version.eq(accounts::version + 1),
                accounts::update_time.eq(diesel::dsl::now),
            ))
            .execute(&mut self.connection)
            .await?;
        Ok(Ok(()))
    }

    /// Keeps an address to this transaction until its end, so that looking whether it is taken is enough: a unique
    /// violation would quote the address in the server's log.
    async fn lock_email(&mut self, email: &Email) -> Result<(), StorageError> {
        sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))")
            .bind::<sql_types::Text, _>(email.key())
            .execute(&mut self.connection)
            .await?;
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

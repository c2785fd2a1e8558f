//! Transactions. One that is neither committed nor rolled back gives its connection up, and with it every lock.

use diesel_async::{
    AnsiTransactionManager, AsyncPgConnection, TransactionManager, pooled_connection::deadpool::Object,
};

use super::error::StorageError;

/// An open READ COMMITTED transaction.
pub struct Transaction {
    pub(super) connection: Object<AsyncPgConnection>,
}

impl Transaction {
    pub(super) async fn begin(mut connection: Object<AsyncPgConnection>) -> Result<Self, StorageError> {
        // Said aloud: the lock order relies on each statement seeing what was committed before it.
        let sql = "BEGIN ISOLATION LEVEL READ COMMITTED";
        AnsiTransactionManager::begin_transaction_sql(&mut *connection, sql).await?;
        Ok(Self { connection })
    }

    /// Commits. An error may mean that the commit happened: only a repetition with the same request id tells.
    pub async fn commit(mut self) -> Result<(), StorageError> {
        Ok(AnsiTransactionManager::commit_transaction(&mut *self.connection).await?)
    }

    /// Takes everything back. A failure is no news: the server does the same when the connection goes.
    pub async fn rollback(mut self) {
        let _ = AnsiTransactionManager::rollback_transaction(&mut *self.connection).await;
    }
}

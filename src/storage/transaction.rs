//! Transactions, in few round trips.
//!
//! The methods of [`Transaction`] are one statement each and take `&self`. Those that are awaited together, with
//! `futures_util::join!`, are sent together: a *pipeline*, one round trip. What a pipeline relies on:
//!
//! - **Statements go out in the order in which their futures are first polled.** The driver looks each one up in the
//!   connection's cache of prepared statements under a fair lock, which it holds across the round trip of preparing
//!   where it must, and sends the statement in the same poll in which it lets the lock go. So one that must be prepared
//!   holds back those behind it. `join!` of `futures_util` polls in the order of its arguments, each time; that of tokio
//!   begins elsewhere each time, and could let a later one pass when the task has used up its share of polls.
//! - **One statement to a future.** The second one of a future goes out when the answer to its first is there, behind
//!   whatever stands after it in the pipeline. Only what is itself a `join!` may send several.
//! - **BEGIN comes first and is the only text that is not prepared.** A simple query takes no lock of the cache, so
//!   anywhere else it could pass statements that wait to be prepared. COMMIT is prepared for that reason.
//! - **All futures of a pipeline are awaited, then their results looked at in order.** The first error is the cause; what
//!   follows it only says that the transaction was aborted. A future that is dropped early leaves its answer to whoever
//!   uses the connection next.
//!
//! The order of the locks, and that the pending changes come after all of them, rest on this.
//! `tests/it/pipeline.rs` tries it, with statements that are prepared and such that are not.
//!
//! READ COMMITTED takes a snapshot for each statement when it runs, also in a pipeline: what stands behind a lock sees
//! what was committed before the lock was granted.
//!
//! BEGIN and COMMIT are not known to diesel's transaction manager. A transaction that is dropped before its end gives its
//! connection up (see `lease`), and with it every lock; its running statement is cancelled on the server, but never once
//! COMMIT may have been sent.

use std::sync::atomic::{AtomicBool, Ordering};

use diesel::{QueryResult, sql_types};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use futures_util::join;

use super::{
    error::StorageError,
    lease::Lease,
    prepared::{Text, prepared},
    tenant::Tenant,
};

/// READ COMMITTED is said aloud: the lock order relies on each statement seeing what was committed before it. The mark
/// makes claims (see `requests`) impossible outside of a transaction.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL rollcall.begun = 'yes'";
/// The same where the session is a pooler's, which would hand settings of the session to whoever comes next.
pub(super) const BEGIN_POOLED: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL rollcall.begun = 'yes'; \
     SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '3s'; \
     SET LOCAL idle_in_transaction_session_timeout = '5s'; \
     SELECT set_config('synchronous_commit', 'on', true) \
     WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')";

struct Commit;

impl Text for Commit {
    const SQL: &'static str = "COMMIT";
}

/// The last statement of a pipeline that BEGIN is the first of.
pub(super) async fn commit(mut connection: &AsyncPgConnection) -> QueryResult<()> {
    prepared::<Commit, _>(|sql| sql).execute(&mut connection).await.map(|_| ())
}

/// $1 `yes` or nothing, until the end of the transaction.
struct SetAcross;

impl Text for SetAcross {
    const SQL: &'static str = "SELECT set_config('rollcall.across', $1, true)";
}

/// A READ COMMITTED transaction.
pub struct Transaction {
    lease: Lease,
    /// Whether its settings cannot be those of the session.
    pooled: bool,
    /// Whose rows it may see and write, to begin with.
    tenant: Tenant,
    /// Whether it may see and write those of all organizations now.
    across: AtomicBool,
}

impl Transaction {
    pub(super) fn new(lease: Lease, pooled: bool, tenant: Tenant) -> Self {
        Self { lease, pooled, tenant, across: AtomicBool::new(tenant == Tenant::Across) }
    }

    pub(super) fn connection(&self) -> &AsyncPgConnection {
        self.lease.connection()
    }

    /// Begins it: the first statement of the first pipeline.
    pub(super) async fn begin(&self) -> Result<(), StorageError> {
        self.lease.busy();
        let begin = if self.pooled { BEGIN_POOLED } else { BEGIN };
        let text = format!("{begin}{}", self.tenant.setting());
        Ok(self.connection().batch_execute(&text).await?)
    }

    /// Lets one statement, and nothing before or behind it, see the rows of all organizations. Whoever uses this says why
    /// the statement must look beyond its own. Is itself a pipeline.
    pub(super) async fn beyond<T>(
        &self,
        look: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        if AtomicBool::load(&self.across, Ordering::Relaxed) {
            return look.await;
        }
        let (widened, found, narrowed) = join!(self.set_across("yes"), look, self.set_across(""));
        widened?;
        let found = found?;
        narrowed?;
        Ok(found)
    }

    /// From here to its end it sees and writes the rows of all organizations: it turned out to be about more than its own.
    pub async fn widen(&self) -> Result<(), StorageError> {
        if !self.across.swap(true, Ordering::Relaxed) {
            self.set_across("yes").await?;
        }
        Ok(())
    }

    async fn set_across(&self, across: &str) -> Result<(), StorageError> {
        prepared::<SetAcross, _>(|sql| sql.bind::<sql_types::Text, _>(across))
            .execute(&mut self.connection())
            .await?;
        Ok(())
    }

    /// From here on nothing cancels what is sent: COMMIT is in it, or follows.
    pub(super) fn committing(&self) {
        self.lease.committing();
    }

    /// Commits: the last statement of the last pipeline. Ends an aborted transaction too, without an error, so it means
    /// something only if nothing before it failed.
    pub(super) async fn send_commit(&self) -> Result<(), StorageError> {
        commit(self.connection()).await?;
        self.lease.idle();
        Ok(())
    }

    /// Commits. An error may mean that the commit happened: only a repetition with the same request id tells.
    pub async fn commit(self) -> Result<(), StorageError> {
        self.committing();
        self.send_commit().await
    }

    /// Takes everything back. A failure is no news: the server does the same when the connection goes.
    pub async fn rollback(self) {
        if self.lease.is_idle() {
            return;
        }
        if self.connection().batch_execute("ROLLBACK").await.is_ok() {
            self.lease.idle();
        }
    }
}

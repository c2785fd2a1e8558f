//! Connections of the pool in the hands of a call.
//!
//! A call may end at any await: its caller hung up, or its deadline passed. A connection that is let go in the middle of
//! a statement or a transaction never returns to the pool. The next call on it would wait for what nobody wants any
//! more, or find itself in somebody's transaction. It is closed, and its statement is cancelled on the server.

use std::sync::atomic::{AtomicU8, Ordering};

use diesel::{
    QueryResult,
    query_builder::{AsQuery, QueryFragment, QueryId},
};
use diesel_async::{
    AsyncConnectionCore, AsyncPgConnection, SimpleAsyncConnection, pooled_connection::deadpool::Object,
};
use futures_util::{
    Stream, StreamExt as _,
    future::BoxFuture,
    join,
    stream::{Iter, iter},
};

use super::{
    connect::{Tls, cancel},
    tenant::Tenant,
    transaction::{BEGIN, BEGIN_POOLED, commit},
};

/// Nothing is going on: the pool may have it back.
const IDLE: u8 = 0;
/// A statement or a transaction is open: close the connection and cancel what runs.
const BUSY: u8 = 1;
/// A COMMIT may have been sent: close the connection, but cancel nothing.
const COMMITTING: u8 = 2;

/// A connection, and what becomes of it when it is dropped.
pub(super) struct Lease {
    /// None only while it is dropped.
    object: Option<Object<AsyncPgConnection>>,
    tls: Tls,
    state: AtomicU8,
}

impl Lease {
    pub(super) fn new(object: Object<AsyncPgConnection>, tls: Tls) -> Self {
        Self { object: Some(object), tls, state: AtomicU8::new(IDLE) }
    }

    pub(super) fn connection(&self) -> &AsyncPgConnection {
        self.object.as_ref().expect("taken only by drop")
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Relaxed) == IDLE
    }

    pub(super) fn idle(&self) {
        self.state.store(IDLE, Ordering::Relaxed);
    }

    pub(super) fn busy(&self) {
        self.state.store(BUSY, Ordering::Relaxed);
    }

    pub(super) fn committing(&self) {
        self.state.store(COMMITTING, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let state = *self.state.get_mut();
        let Some(object) = self.object.take().filter(|_| state != IDLE) else { return };
        // Taken from the pool for good; the pool makes another one when it needs it.
        let connection = Object::take(object);
        if state == BUSY {
            cancel(connection.cancel_token(), self.tls.clone());
        }
    }
}

/// A connection for single statements, each its own transaction. Where that says whose rows it may see, BEGIN with the
/// setting, the statement and COMMIT are one pipeline (see `transaction`), so one round trip.
pub struct Reading {
    lease: Lease,
    /// What begins each transaction. None: statements commit by themselves, and see nothing of any organization.
    begin: Option<String>,
}

impl Reading {
    pub(super) fn new(lease: Lease, pooled: bool, tenant: Tenant) -> Self {
        let begin = if pooled { BEGIN_POOLED } else { BEGIN };
        let begin = (tenant != Tenant::Outside).then(|| format!("{begin}{}", tenant.setting()));
        Self { lease, begin }
    }
}

/// Runs a statement that was not sent yet: between BEGIN and COMMIT, where there is a BEGIN.
async fn within<T>(
    lease: &Lease,
    begin: Option<&str>,
    statement: impl Future<Output = QueryResult<T>>,
) -> QueryResult<T> {
    lease.busy();
    let Some(begin) = begin else {
        let done = statement.await;
        lease.idle();
        return done;
    };
    let (begun, done, committed) = join!(
        async { lease.connection().batch_execute(begin).await },
        statement,
        commit(lease.connection()),
    );
    // Without a beginning nothing of any organization was seen, and without an end nobody may have the connection.
    begun?;
    let done = match done {
        Ok(done) => {
            committed?;
            done
        }
        // COMMIT has ended the aborted transaction.
        Err(error) => {
            if committed.is_ok() {
                lease.idle();
            }
            return Err(error);
        }
    };
    lease.idle();
    Ok(done)
}

impl SimpleAsyncConnection for Reading {
    /// Sees nothing of any organization: texts are for settings.
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        within(&self.lease, None, async { self.lease.connection().batch_execute(query).await }).await
    }
}

/// All rows, so that the statement has ended when this has. What failed first is what went wrong.
///
/// A statement that fails says so once, and then its end comes. A connection that is gone says so whenever it is asked, and
/// has no end: whoever asked for that would ask for ever, and keep each answer.
async fn whole<R>(rows: impl Stream<Item = QueryResult<R>>) -> QueryResult<Vec<R>> {
    let mut rows = std::pin::pin!(rows);
    let (mut read, mut failed) = (Vec::new(), None);
    while let Some(row) = rows.next().await {
        match row {
            Ok(row) => read.push(row),
            Err(error) if failed.is_none() => failed = Some(error),
            Err(_) => break,
        }
    }
    failed.map_or(Ok(read), Err)
}

type PgRow = <AsyncPgConnection as AsyncConnectionCore>::Row<'static, 'static>;

impl AsyncConnectionCore for Reading {
    type LoadFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<Self::Stream<'conn, 'query>>>;
    type ExecuteFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<usize>>;
    type Stream<'conn, 'query> = Iter<std::vec::IntoIter<QueryResult<PgRow>>>;
    type Row<'conn, 'query> = PgRow;
    type Backend = diesel::pg::Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Self::Backend> + QueryId + 'query,
    {
        let Self { lease, begin } = &*self;
        let mut connection = lease.connection();
        let loading = AsyncConnectionCore::load(&mut connection, source);
        let rows = async move { whole(loading.await?).await };
        Box::pin(async move {
            let rows = within(lease, begin.as_deref(), rows).await?;
            Ok(iter(rows.into_iter().map(Ok).collect::<Vec<_>>()))
        })
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Self::Backend> + QueryId + 'query,
    {
        let Self { lease, begin } = &*self;
        let mut connection = lease.connection();
        let executing = AsyncConnectionCore::execute_returning_count(&mut connection, source);
        Box::pin(async move { within(lease, begin.as_deref(), executing).await })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use diesel::result::Error;
    use futures_util::stream::repeat_with;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_gone_is_asked_no_more() {
        let rows = iter([Ok(1), Err(Error::BrokenTransactionManager)])
            .chain(repeat_with(|| Err(Error::NotFound)))
            // More than that would be for ever.
            .take(10_000);
        let asked = AtomicUsize::new(0);
        let counted = rows.inspect(|_| {
            asked.fetch_add(1, Ordering::Relaxed);
        });
        assert!(matches!(whole(counted).await, Err(Error::BrokenTransactionManager)));
        assert_eq!(asked.into_inner(), 3);
    }

    #[tokio::test]
    async fn a_statement_that_fails_is_read_to_its_end() {
        let asked = AtomicUsize::new(0);
        let rows = iter([Ok(1), Err(Error::NotFound), Ok(2)]);
        let counted = rows.inspect(|_| {
            asked.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(whole(counted).await, Err(Error::NotFound));
        assert_eq!(asked.into_inner(), 3);
        assert_eq!(whole(iter([Ok(1), Ok(2)])).await, Ok(vec![1, 2]));
    }
}

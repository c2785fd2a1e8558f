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
    StreamExt as _,
    future::BoxFuture,
    stream::{Iter, iter},
};

use super::connect::{Tls, cancel};

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

/// A connection for single statements, each its own transaction.
pub struct Reading(Lease);

impl Reading {
    pub(super) fn new(lease: Lease) -> Self {
        Self(lease)
    }
}

impl SimpleAsyncConnection for Reading {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.0.busy();
        let done = self.0.connection().batch_execute(query).await;
        self.0.idle();
        done
    }
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
        let lease = &self.0;
        let mut connection = lease.connection();
        let loading = AsyncConnectionCore::load(&mut connection, source);
        Box::pin(async move {
            lease.busy();
            // All rows, so that the statement has ended when this has.
            let rows = match loading.await {
                Ok(rows) => Ok(iter(rows.collect::<Vec<_>>().await)),
                Err(error) => Err(error),
            };
            lease.idle();
            rows
        })
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Self::Backend> + QueryId + 'query,
    {
        let lease = &self.0;
        let mut connection = lease.connection();
        let executing = AsyncConnectionCore::execute_returning_count(&mut connection, source);
        Box::pin(async move {
            lease.busy();
            let done = executing.await;
            lease.idle();
            done
        })
    }
}

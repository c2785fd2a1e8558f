//! Statements of fixed text that stay prepared. diesel prepares a `sql_query` anew at each call, which is a round trip
//! of its own; one that is made here is prepared once for each connection.
//!
//! The statement cache knows such a statement by the type of its [`Text`] alone, so the text is a constant of that type.

use std::marker::PhantomData;

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId, SqlQuery},
    sql_query,
    sql_types::Untyped,
};

/// The text of a statement.
pub(super) trait Text: 'static {
    /// The text, with parameters from `$1`.
    const SQL: &'static str;
}

/// A statement of fixed text with its parameters.
pub(super) struct Prepared<T, Q>(Q, PhantomData<fn() -> T>);

/// A statement; `bind` binds its parameters, in order, and does nothing else.
pub(super) fn prepared<T: Text, Q>(bind: impl FnOnce(SqlQuery) -> Q) -> Prepared<T, Q> {
    Prepared(bind(sql_query(T::SQL)), PhantomData)
}

impl<T, Q: QueryFragment<Pg>> QueryFragment<Pg> for Prepared<T, Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn is_safe_to_cache_prepared(&self, _: &Pg) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<T: Text, Q> QueryId for Prepared<T, Q> {
    type QueryId = Prepared<T, ()>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<T, Q> Query for Prepared<T, Q> {
    type SqlType = Untyped;
}

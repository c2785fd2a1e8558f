//! The tests of Rollcall through its public API, on a real Postgres, each test with a database of its own.

mod embedded;
mod support;

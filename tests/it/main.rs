//! The tests of Rollcall through its public API, on a real Postgres, each test with a database of its own.

mod bad_input;
mod embedded;
mod feed;
mod fixtures;
mod ordering;
mod rule_numbers;
mod rules;
mod support;

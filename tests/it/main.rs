//! The tests of Rollcall through its public API, on a real Postgres, each test with a database of its own.

mod architecture;
mod bad_input;
mod dependencies;
mod embedded;
mod examples;
mod fixtures;
mod process;
mod proto;
mod rule_numbers;
mod rules;
mod schema;
mod server;
mod small;
mod support;

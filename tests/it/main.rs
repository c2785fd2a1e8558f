//! The tests of Rollcall through its public API, on a real Postgres, each test with a database of its own.

mod bad_input;
mod cli;
mod embedded;
mod feed;
mod fixtures;
mod ordering;
mod processes;
mod replay_real;
mod rule_numbers;
mod rules;
mod support;
mod watch_client;

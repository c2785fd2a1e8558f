//! The tests of Rollcall through its public API, on a real Postgres, each test with a database of its own.

mod architecture;
mod bad_input;
mod chaos;
mod cli;
mod dependencies;
mod embedded;
mod examples;
mod faults;
mod feed;
mod fixtures;
mod ordering;
mod pipeline;
mod process;
mod processes;
mod proto;
mod python;
mod replay_real;
mod retention;
mod rule_numbers;
mod rules;
mod schema;
mod server;
mod small;
mod support;
mod tokens;
mod watch_client;

//! What the benches share. Each of them starts a Postgres and the built `rollcall` as processes of their own, measures
//! from outside, and puts every figure beside a yardstick that was measured in the same run, in turns with it.
//!
//! A bench that fails must stop, so everything here panics with the reason.

// Each bench uses a part of it.
#![allow(dead_code, unused_imports)]

pub(crate) mod capture;
pub(crate) mod checks;
pub(crate) mod child;
pub(crate) mod pgbench;
pub(crate) mod place;
pub(crate) mod proxy;
pub(crate) mod report;
pub(crate) mod seed;
pub(crate) mod skim;
pub(crate) mod trace;
pub(crate) mod writers;

/// A runtime for a bench, or for a child process of one.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

//! Rollcall knows who belongs to which organization and workspace, and tells every app of a product suite, in one
//! order.
//!
//! A *command* (add, change, deactivate, reactivate, remove) is decided by pure rules, written in one transaction, and
//! becomes *changes*. After the commit each change gets its *position* in the one order of the store. Every instance of
//! an app follows that order over a stream and keeps its own copy of the part that concerns it.
//!
//! A newcomer reads, in this order:
//!
//! 1. `proto/rollcall/v1/`: what can be asked, what is answered, and what may be relied on.
//! 2. This page: what the modules are.
//! 3. [`rules`]: the numbered rules, the two tables, and [`rules::decide()`].
//! 4. [`engine`]: one transaction for each command.
//! 5. `src/storage/log.rs`: how changes get their positions after the commit, and how they are read.
//! 6. [`feed`]: what a follower is sent, and when.
//!
//! The modules, each with what it may use of the others:
//!
//! - [`rules`] uses none of them. It has no I/O, and deciding knows no clock and no chance.
//! - [`seal`] makes the opaque texts that clients keep: cursors, tokens, page tokens. It uses [`rules`].
//! - [`storage`] is Postgres, and the only module that knows diesel. It uses [`rules`].
//! - [`spans`] is how spans of one process hang below those of another.
//! - [`engine`] uses [`rules`], [`spans`] and [`storage`].
//! - [`feed`] uses [`rules`] and [`seal`]. It knows neither SQL nor gRPC, so its tests can pause time.
//! - [`store_log`] joins the two: the database as [`feed`] reads it.
//! - [`enforcement`] grants leases and finds verdicts. It uses [`feed`], [`rules`] and [`storage`].
//! - [`access`] is the service's own replica, which follows it as an app's does. Access checks are answered from it.
//! - [`identity`] says who calls. It uses [`rules`].
//! - [`grpc`] parses, makes one call, and converts; [`proto`] is generated. Errors become statuses there alone.
//! - [`audit`] takes refusals, exports where log and audit end, and checks both. It uses [`rules`] and [`storage`].
//! - [`retention`] is the task that trims the log, in `app`.
//! - [`sweeper`] is the task that does what time brings, in `app`. It uses [`engine`], [`rules`] and [`storage`].
//! - [`mail`] is the task that sends mail, in `app`. It uses [`rules`], [`seal`] and [`storage`].
//! - [`agent`] is the replica of the client crate as a process beside an app. It answers with
//!   [`access`] and [`grpc`], and uses [`rules`] for what an id may be.
//! - [`app`] wires a service and starts and ends it.
//! - [`exporter`] is what is measured, as Prometheus reads it.
//! - [`config`] has the settings, [`telemetry`] the log and traces, [`embedded`] the private Postgres.
//! - [`cli`] has the commands of the program `rollcall`. Those that ask a service do it as any other client does.
//!
//! The crate is the service and its program, not a library for others: apps use the crate `rollcall-client` in
//! `client/`. `ARCHITECTURE.md` has the map with a write, a watch and a restart as walks.

pub mod access;
pub mod agent;
pub mod app;
pub mod audit;
pub mod cli;
pub mod config;
pub mod durability;
pub mod embedded;
pub mod enforcement;
pub mod engine;
pub mod exporter;
pub mod feed;
pub mod grpc;
pub mod identity;
pub mod mail;
pub mod proto;
pub mod retention;
pub mod rules;
pub mod seal;
pub mod spans;
pub mod storage;
pub mod store_log;
pub mod sweeper;
pub mod telemetry;

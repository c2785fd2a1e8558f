//! What the tests stand on: one Postgres for the run, a database and a service for each test.

mod callers;
mod channel;
mod cluster;
mod python;
mod replica;
mod server;

pub(crate) use self::{
    callers::{CALLERS, CallersFile, OPERATOR, istio, spiffe_id},
    channel::Channel,
    cluster::{Database, SERVICE, create_database, postgres_log, superuser},
    python::python,
    replica::Replica,
    server::{CallLimits, Server},
};

//! What the tests stand on: one Postgres for the run, a database and a service for each test.

mod channel;
mod cluster;
mod python;
mod replica;
mod server;

pub(crate) use self::{
    channel::Channel,
    cluster::{Database, create_database, postgres_log},
    python::python,
    replica::Replica,
    server::Server,
};

//! What the tests stand on: one Postgres for the run, a database and a service for each test.

mod cluster;
mod replica;
mod server;

pub(crate) use self::{
    cluster::{Database, create_database},
    replica::Replica,
    server::Server,
};

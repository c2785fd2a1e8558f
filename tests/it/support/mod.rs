//! What the tests stand on: one Postgres for the run, a database and a service for each test.

mod callers;
mod certificates;
mod channel;
mod cluster;
mod issuer;
mod python;
mod replica;
mod server;
mod sidecar;
mod statements;

pub(crate) use self::{
    callers::{CALLERS, CallersFile, OPERATOR, istio, spiffe_id},
    certificates::{Authority, Signed, client_tls, trusting},
    channel::Channel,
    cluster::{Database, SERVICE, create_database, postgres_log, superuser},
    issuer::{KeyServer, SigningKey, in_seconds, key_set, unsigned},
    python::{envoy, python, python_of_helm},
    replica::{Replica, free_address},
    server::{CallLimits, Server},
    sidecar::Sidecar,
    statements::Statements,
};

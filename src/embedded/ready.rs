//! Waits until the server serves, by being a client: nothing else proves it.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    DATABASE, EmbeddedError, SERVICE_ROLE, SUPERUSER,
    directory::Log,
    postmaster::Postmaster,
    socket::SocketDirectory,
    wire::{Connection, WireError},
};

/// For a server that says nothing.
const SILENT_LIMIT: Duration = Duration::from_secs(30);
/// For one that says it is starting: after a crash it replays its log, and stopping it would only make the
/// next start begin again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);

const CANNOT_CONNECT_NOW: &str = "57P03";
const NO_SUCH_DATABASE: &str = "3D000";

/// Returns when the database accepts connections, having created it and the role of the service if they were missing.
pub(super) fn wait(server: &Postmaster, socket: &SocketDirectory, log: &Log) -> Result<(), EmbeddedError> {
    let started = Instant::now();
    let mut limit = SILENT_LIMIT;
    loop {
        let last = match Connection::open(&socket.socket(), SUPERUSER, DATABASE) {
            Ok(mut connection) => {
                let created = connection.execute(&service_role());
                return created.map_err(|error| failure("create the role of the service", error, socket));
            }
            Err(WireError::Refused { sqlstate, .. }) if sqlstate == NO_SUCH_DATABASE => {
                create_database(socket)?;
                continue;
            }
            Err(WireError::Refused { sqlstate, message }) if sqlstate == CANNOT_CONNECT_NOW => {
                limit = RECOVERY_LIMIT;
                message
            }
            Err(WireError::Io(error)) => error.to_string(),
            Err(refused) => return Err(failure("accept a connection", refused, socket)),
        };
        let (log_file, log_tail) = (log.path.clone(), || log.tail());
        if let Some(status) = server.ended() {
            return Err(EmbeddedError::EndedEarly {
                status: status.to_string(),
                log: log_file,
                log_tail: log_tail(),
            });
        }
        if started.elapsed() > limit {
            return Err(EmbeddedError::NotReady { waited: limit, last, log: log_file, log_tail: log_tail() });
        }
        thread::sleep(POLL);
    }
}

/// Makes the role that the service connects as, in directories of earlier versions too.
fn service_role() -> String {
    format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{SERVICE_ROLE}') THEN \
         CREATE ROLE {SERVICE_ROLE} LOGIN; END IF; END $$"
    )
}

fn create_database(socket: &SocketDirectory) -> Result<(), EmbeddedError> {
    Connection::open(&socket.socket(), SUPERUSER, "postgres")
        .and_then(|mut connection| connection.execute(&format!("CREATE DATABASE {DATABASE}")))
        .map_err(|error| failure("create the database", error, socket))
}

fn failure(action: &'static str, error: WireError, socket: &SocketDirectory) -> EmbeddedError {
    match error {
        WireError::Refused { sqlstate, message } => EmbeddedError::Refused { action, sqlstate, message },
        WireError::Io(error) => EmbeddedError::io("connect to", &socket.socket())(error),
    }
}

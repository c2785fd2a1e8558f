//! What can go wrong between a directory and a running server: one variant per cause, with the facts that
//! the reader of the message needs to act.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Why a private Postgres could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Neither the given directory nor any usual place holds server binaries that are new enough.
    #[error(
        "no PostgreSQL server binaries (version 15 or newer) {}; install them with `{install}`, or run \
         scripts/postgres.sh of the source tree, which does the same",
        place(given.as_deref())
    )]
    NoBinaries {
        /// The configured directory, when there is one: then nothing else was searched.
        given: Option<PathBuf>,
        /// The command that installs them on this system.
        install: String,
    },

    /// The configured directory holds a server that is older than what the migrations need.
    #[error("the PostgreSQL server in {bin_dir} has version {major}; version 15 or newer is needed")]
    TooOld {
        /// The configured directory.
        bin_dir: PathBuf,
        /// The major version found there.
        major: u32,
    },

    /// The data was written by another major version, and Postgres cannot read across these.
    #[error(
        "{data_dir} was written by PostgreSQL {data_major}, but the server in {bin_dir} has version \
         {server_major}; install version {data_major} beside it, or move the data over with pg_upgrade"
    )]
    VersionMismatch {
        /// The data directory.
        data_dir: PathBuf,
        /// The major version that wrote it.
        data_major: u32,
        /// Where the server was found.
        bin_dir: PathBuf,
        /// The major version of that server.
        server_major: u32,
    },

    /// The directory holds somebody else's files. Nothing was changed.
    #[error(
        "{data_dir} is not empty and was not made by rollcall; nothing was changed. \
         Choose an empty directory or one that does not exist yet"
    )]
    Foreign {
        /// The refused directory.
        data_dir: PathBuf,
    },

    /// The directory is ours, but what should be the database is not one.
    #[error(
        "{pgdata} holds no readable PG_VERSION, so it is no database; restore it from a backup or remove it"
    )]
    NotADatabase {
        /// The directory that should hold the database.
        pgdata: PathBuf,
    },

    /// Another process supervises a server on this directory.
    #[error(
        "another rollcall{} serves from {data_dir}; stop that one, connect to it, or choose another directory",
        process(*pid)
    )]
    InUse {
        /// The directory both want.
        data_dir: PathBuf,
        /// The other process, unless it had not written its number yet.
        pid: Option<u32>,
    },

    /// A server without a supervisor still uses the directory and did not end in time.
    #[error("a PostgreSQL server (process {pid}) still uses {data_dir} and did not end within {waited:?}")]
    StillRunning {
        /// The directory.
        data_dir: PathBuf,
        /// The server, or one of its processes.
        pid: u32,
        /// How long it was given.
        waited: Duration,
    },

    /// Postgres refuses to run as root, and there is no other user to run it as.
    #[error("PostgreSQL does not run as root, and there is neither a user postgres nor nobody to run it as")]
    NoUser,

    /// The user that Postgres runs as cannot get to the data directory.
    #[error(
        "PostgreSQL does not run as root but as {user}, who cannot reach {data_dir} because {blocked_by} is \
         closed to others; choose a directory outside of it, such as one under /var/lib, or start rollcall as \
         an ordinary user"
    )]
    Unreachable {
        /// The data directory.
        data_dir: PathBuf,
        /// The directory on the way that is closed.
        blocked_by: PathBuf,
        /// Who cannot reach it.
        user: String,
    },

    /// The directory for the socket exists and others could put a socket of theirs into it.
    #[error("{path} is not a private directory of user number {uid}; remove it")]
    SocketDirectory {
        /// The directory.
        path: PathBuf,
        /// Who it should belong to.
        uid: u32,
    },

    /// The operating system refused something about a file or a directory.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// A program could not be started at all.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// `initdb` ended with an error; it leaves nothing behind.
    #[error("cannot create a database in {data_dir}: {output}")]
    Initdb {
        /// The data directory.
        data_dir: PathBuf,
        /// What it printed.
        output: String,
    },

    /// The server ended before it accepted a connection.
    #[error("the PostgreSQL server ended while starting ({status}); the end of {log} says:\n{log_tail}")]
    EndedEarly {
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of this attempt.
        log_tail: String,
    },

    /// The server runs but did not accept a connection in time.
    #[error(
        "the PostgreSQL server did not accept a connection within {waited:?} ({last}); the end of {log} \
         says:\n{log_tail}"
    )]
    NotReady {
        /// How long it was given.
        waited: Duration,
        /// What the last attempt met.
        last: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of this attempt.
        log_tail: String,
    },

    /// The server runs but refuses us.
    #[error("the PostgreSQL server refused to {action} (SQLSTATE {sqlstate}): {message}")]
    Refused {
        /// What it was asked to do.
        action: &'static str,
        /// Its code for the reason.
        sqlstate: String,
        /// Its words for it.
        message: String,
    },

    /// The server did not end, neither by a fast nor by an immediate shutdown.
    #[error("the PostgreSQL server (process {pid}) did not end within {waited:?}")]
    StopTimedOut {
        /// The server.
        pid: u32,
        /// How long it was given in all.
        waited: Duration,
    },
}

impl EmbeddedError {
    /// For `map_err`: the same I/O error with what was tried and where.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err`: a program that could not be started.
    pub(super) fn spawn(program: &Path) -> impl FnOnce(io::Error) -> Self {
        let program = program.to_path_buf();
        move |source| Self::Spawn { program, source }
    }
}

fn place(given: Option<&Path>) -> String {
    match given {
        Some(directory) => format!("in {}", directory.display()),
        None => "in any of the usual places".to_owned(),
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

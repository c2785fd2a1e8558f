//! The private Postgres of `rollcall demo`, of a `serve` without a database URL, and of the tests: started
//! from the binaries of this system, reachable through one socket only, and gone when the service is gone.
//!
//! What callers may rely on:
//!
//! 1. When [`Cluster::start`] returns, the database `rollcall` accepts connections at [`Cluster::url`], and the role of
//!    [`Cluster::service_url`] exists.
//! 2. One service per data directory: the second gets [`EmbeddedError::InUse`].
//! 3. A directory that is not empty and was not made here is refused and not changed.
//! 4. The server ends with the service, on Linux even when that is killed with SIGKILL; Ctrl-C in a terminal
//!    does not reach it before the service stops it.
//! 5. Only the user that the server runs as, and root, can connect. It listens on no network address.
//! 6. No values of statements reach the server's log, `postgres.log` in the data directory.
//! 7. With [`Durability::Durable`] a committed transaction survives a power failure.
//!
//! Left to others: migrations, pools, and restarting a server that ended by itself, which is logged as an
//! error. Everything here blocks; in asynchronous code call it where blocking is allowed.

mod binaries;
mod directory;
mod error;
mod identity;
mod initdb;
mod leftover;
mod postmaster;
mod ready;
mod socket;
mod wire;

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use self::{
    binaries::Binaries,
    directory::{Content, DataDirectory, Log},
    identity::Identity,
    postmaster::{Postmaster, server_command},
    socket::{SocketDirectory, percent_encode},
};

pub use self::error::EmbeddedError;

/// The role that owns everything, and the database that exists from the start.
const SUPERUSER: &str = "rollcall";
const DATABASE: &str = "rollcall";

/// The role of the service: it reads and writes rows, and policies hold it.
const SERVICE_ROLE: &str = "rollcall_service";

/// Settings of every server. They are given as arguments, so that they hold whatever the directory says.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    // Also when the build of the server has another default: it is part of the socket's name.
    "port=5432",
    "unix_socket_permissions=0700",
    "cluster_name=rollcall",
    "synchronous_commit=on",
    // The service classifies some failures by their text.
    "lc_messages=C",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_destination=stderr",
    "logging_collector=off",
    // People's addresses are in parameters, in statements, and in the details of violated constraints.
    "log_statement=none",
    "log_min_duration_statement=-1",
    "log_parameter_max_length=0",
    "log_parameter_max_length_on_error=0",
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
];

/// What losing power may cost, beside [`Durability::Durable`]'s time for each commit.
const VOLATILE_SETTINGS: &[&str] = &["fsync=off", "full_page_writes=off"];

/// How to run a private Postgres.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the data lives; created when it does not exist.
    pub data_dir: PathBuf,
    /// Where the server binaries are; without it the usual places are searched.
    pub bin_dir: Option<PathBuf>,
    /// What must survive a power failure.
    pub durability: Durability,
    /// How many clients may be connected at a time.
    pub max_connections: u32,
}

/// What must survive a power failure. A crash of the server or of the service loses nothing in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Every committed transaction.
    Durable,
    /// Nothing: after a power failure the data may be corrupt. For tests and for data that is thrown away;
    /// a directory that was ever used like this should not become a durable one.
    Volatile,
}

/// A running server. Dropping it stops the server, like [`Cluster::stop`], but only logs a failure to.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order: the server ends before others may use its directories.
    server: Postmaster,
    socket: SocketDirectory,
    _directory: DataDirectory,
}

impl Cluster {
    /// Starts a server on `options.data_dir` and returns when it accepts connections.
    ///
    /// Waits at most 30 seconds for a server that an earlier, killed service has left behind to end, and as
    /// long for the new one to answer; five minutes when it answers that it is recovering from a crash.
    pub fn start(options: &Options) -> Result<Self, EmbeddedError> {
        // Absolute, because the server runs in another working directory.
        let data_dir = std::path::absolute(&options.data_dir)
            .map_err(EmbeddedError::io("resolve", &options.data_dir))?;
        let binaries = binaries::find(options.bin_dir.as_deref(), directory::inspect(&data_dir)?.major())?;
        let identity = Identity::for_data(&data_dir.join("pgdata"))?;
        let directory = DataDirectory::claim(&data_dir, &identity, &binaries)?;
        // Looked at again under the lock: another service may just have created it.
        match directory::inspect(directory.root())?.major() {
            Some(major) => check_version(&directory, major, &binaries)?,
            None => initdb::create(&directory, &identity, &binaries, options.durability)?,
        }
        leftover::wait_for_end(directory.root(), &directory.pgdata())?;
        let socket = SocketDirectory::prepare(directory.root(), &identity)?;
        let log = directory.open_log(&identity)?;
        let command = postgres(options, &directory, &socket, &identity, &binaries, &log)?;
        let server = Postmaster::spawn(command)?;
        ready::wait(&server, &socket, &log)?;
        server.expect_to_live();
        tracing::info!(
            pid = server.pid(),
            version = binaries.major,
            binaries = %binaries.dir.display(),
            data_dir = %directory.root().display(),
            "the embedded database accepts connections"
        );
        Ok(Self { server, socket, _directory: directory })
    }

    /// Where to connect to `database` as the superuser, without a password.
    pub fn url(&self, database: &str) -> String {
        let host = percent_encode(self.socket_dir().as_os_str().as_bytes());
        format!("postgresql://{SUPERUSER}@{host}/{}", percent_encode(database.as_bytes()))
    }

    /// Where to connect to `database` as the role of the service, which row level security holds. It may do there what it
    /// was granted.
    pub fn service_url(&self, database: &str) -> String {
        self.url(database).replacen(SUPERUSER, SERVICE_ROLE, 1)
    }

    /// The directory of the socket, whose port is 5432.
    pub fn socket_dir(&self) -> &Path {
        self.socket.path()
    }

    /// The process number of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Ends the server's sessions and the server, and returns when it has ended. Bounded by 40 seconds: when
    /// it takes longer than 30 to write down what it holds, it is told to leave that to the next start.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        self.server.stop()
    }
}

impl Content {
    fn major(&self) -> Option<u32> {
        match self {
            Self::Database { major } => Some(*major),
            Self::Nothing | Self::Prepared => None,
        }
    }
}

fn check_version(directory: &DataDirectory, major: u32, binaries: &Binaries) -> Result<(), EmbeddedError> {
    if major == binaries.major {
        return Ok(());
    }
    Err(EmbeddedError::VersionMismatch {
        data_dir: directory.root().to_path_buf(),
        data_major: major,
        bin_dir: binaries.dir.clone(),
        server_major: binaries.major,
    })
}

fn postgres(
    options: &Options,
    directory: &DataDirectory,
    socket: &SocketDirectory,
    identity: &Identity,
    binaries: &Binaries,
    log: &Log,
) -> Result<Command, EmbeddedError> {
    let output = || log.file.try_clone().map_err(EmbeddedError::io("open", &log.path));
    let mut command = server_command(&binaries.postgres(), directory.root(), identity);
    command.stdout(output()?).stderr(output()?).process_group(0);
    command.arg("-D").arg(directory.pgdata());
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    if options.durability == Durability::Volatile {
        command.args(VOLATILE_SETTINGS.iter().flat_map(|setting| ["-c", setting]));
    }
    command.arg("-c").arg(format!("max_connections={}", options.max_connections));
    command.arg("-c").arg(socket_setting(socket.path()));
    Ok(command)
}

/// The setting is a list, so the path is quoted, and quotes within it are doubled.
fn socket_setting(directory: &Path) -> OsString {
    let mut setting = b"unix_socket_directories=\"".to_vec();
    for byte in directory.as_os_str().as_bytes() {
        setting.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    }
    setting.push(b'"');
    OsString::from_vec(setting)
}

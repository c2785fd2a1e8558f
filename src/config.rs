//! Settings: the only reader of the environment. Each one is a flag, an environment variable (`ROLLCALL_` and the flag's
//! name) and a key of the settings file, in this order of precedence.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;

/// Where the service listens where nothing is said. Loopback: until callers are authenticated, whoever reaches the port
/// may do anything.
const LISTEN: &str = "127.0.0.1:7400";
/// Connections to the database where nothing is said. More than two dozen help no Postgres on few cores.
const POOL: usize = 16;
/// Seconds that a drain may take where nothing is said: below Kubernetes' 30 s before it kills.
const DRAIN: u64 = 20;

/// Settings of `rollcall serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Settings file (TOML). Flags and environment variables override it; an unknown key is an error.
    #[arg(long, env = "ROLLCALL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one, which is printed [default: 127.0.0.1:7400]
    #[arg(long, env = "ROLLCALL_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Directory of a private Postgres that this command runs for itself
    #[arg(long, env = "ROLLCALL_DATA_DIR", value_name = "DIR", conflicts_with = "database_url")]
    pub data_dir: Option<PathBuf>,
    /// Postgres to use, 15 or later: postgresql://user:password@host/database
    #[arg(long, env = "ROLLCALL_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The same Postgres, reached directly: for sequencing and notifications, where --database-url goes through a pooler
    /// in transaction mode
    #[arg(long, env = "ROLLCALL_DIRECT_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub direct_database_url: Option<String>,
    /// Directory of Postgres' programs (initdb, postgres), for --data-dir [default: found]
    #[arg(long, env = "ROLLCALL_POSTGRES_BIN", value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
    /// Connections to the database; three more are made besides, for sequencing, notifications and migrations [default: 16]
    #[arg(long, env = "ROLLCALL_POOL_SIZE", value_name = "NUMBER")]
    pub pool_size: Option<NonZeroUsize>,
    /// Seconds that ending may take after SIGTERM before what is left is cut [default: 20]
    #[arg(long, env = "ROLLCALL_DRAIN_SECONDS", value_name = "SECONDS")]
    pub drain_seconds: Option<u64>,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Settings of the log.
#[derive(Debug, Clone, Default, Args)]
pub struct LogArgs {
    /// What to log, as in `info` or `rollcall=debug,warn` [default: info]
    #[arg(long, env = "ROLLCALL_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines on stderr look [default: text]
    #[arg(long, env = "ROLLCALL_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Settings of `rollcall migrate`.
#[derive(Debug, Clone, Default, Args)]
pub struct MigrateArgs {
    /// Postgres to migrate: postgresql://user:password@host/database
    #[arg(long, env = "ROLLCALL_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    database_url: Option<String>,
    direct_database_url: Option<String>,
    postgres_bin: Option<PathBuf>,
    pool_size: Option<NonZeroUsize>,
    drain_seconds: Option<u64>,
    log: Option<String>,
    log_format: Option<LogFormat>,
}

/// Which database.
#[derive(Clone, PartialEq, Eq)]
pub enum Store {
    /// A Postgres that exists.
    Url {
        /// Where it is.
        url: String,
        /// Where it is without the pooler, if `url` names one.
        direct_url: Option<String>,
    },
    /// A private one in a directory.
    DataDir {
        /// The directory.
        data_dir: PathBuf,
        /// Where Postgres' programs are.
        postgres_bin: Option<PathBuf>,
    },
}

/// What `rollcall serve` runs with.
pub struct ServeConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Which database.
    pub store: Store,
    /// Connections of the pool.
    pub pool_size: usize,
    /// How long a drain may take.
    pub drain: Duration,
    /// The log.
    pub log: LogConfig,
}

/// How to log.
#[derive(Debug, Clone, Default)]
pub struct LogConfig {
    /// What.
    pub filter: Option<String>,
    /// How.
    pub format: LogFormat,
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The settings file says something that cannot be.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What, and where.
        message: String,
    },
    /// No database is named. A forgotten secret must not start an empty store, so there is no default.
    #[error(
        "no database is named; give one of\n  --data-dir DIR       a private Postgres in this directory\n  \
         --database-url URL   a Postgres that you run"
    )]
    NoStore,
    /// Two databases are named.
    #[error("both --data-dir and --database-url are given; choose one")]
    TwoStores,
}

impl LogArgs {
    /// The settings without a file.
    pub fn resolve(&self) -> LogConfig {
        LogConfig { filter: self.log.clone(), format: self.log_format.unwrap_or_default() }
    }
}

impl ServeArgs {
    /// Puts flags and environment over the file, and the file over the defaults.
    pub fn resolve(self) -> Result<ServeConfig, ConfigError> {
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let store = store(&self, &file)?;
        Ok(ServeConfig {
            listen: self
                .listen
                .or(file.listen)
                .unwrap_or_else(|| LISTEN.parse().expect("the default is an address")),
            store,
            pool_size: self.pool_size.or(file.pool_size).map_or(POOL, NonZeroUsize::get),
            drain: Duration::from_secs(self.drain_seconds.or(file.drain_seconds).unwrap_or(DRAIN)),
            log: LogConfig {
                filter: self.log.log.or(file.log),
                format: self.log.log_format.or(file.log_format).unwrap_or_default(),
            },
        })
    }
}

fn store(args: &ServeArgs, file: &File) -> Result<Store, ConfigError> {
    // A store named on the command line or in the environment replaces the file's, whichever kind that is.
    // So does the way around its pooler: it leads to the same database.
    let (data_dir, url, direct_url) = match (&args.data_dir, &args.database_url) {
        (None, None) => {
            let direct_url = args.direct_database_url.as_ref().or(file.direct_database_url.as_ref());
            (&file.data_dir, &file.database_url, direct_url.cloned())
        }
        (data_dir, url) => (data_dir, url, args.direct_database_url.clone()),
    };
    match (data_dir, url) {
        (Some(_), Some(_)) => Err(ConfigError::TwoStores),
        (None, Some(url)) if !url.is_empty() => {
            Ok(Store::Url { url: url.clone(), direct_url: direct_url.filter(|url| !url.is_empty()) })
        }
        (Some(data_dir), None) => Ok(Store::DataDir {
            data_dir: data_dir.clone(),
            postgres_bin: args.postgres_bin.clone().or(file.postgres_bin.clone()),
        }),
        _ => Err(ConfigError::NoStore),
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Malformed { path: path.to_owned(), message: error.to_string() })
}

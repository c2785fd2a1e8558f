//! Settings: the only reader of the environment. Each one is a flag, an environment variable (`ROLLCALL_` and the flag's
//! name) and a key of the settings file, in this order of precedence.

use std::{
    net::{IpAddr, SocketAddr},
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;

mod identity;
mod mail;
mod migrate;
mod traces;

pub use self::{
    identity::{IdentityArgs, IdentityConfig, IdentityProblem, IdentityWay},
    migrate::MigrateArgs,
    traces::{TracesArgs, TracesConfig, TracesProblem},
};

/// Where the service listens where nothing is said. Loopback: there nothing has to be said of who may call.
const LISTEN: &str = "127.0.0.1:7400";
/// Connections to the database where nothing is said. More than two dozen help no Postgres on few cores.
const POOL: usize = 16;
/// Seconds that a drain may take where nothing is said: below Kubernetes' 30 s before it kills.
const DRAIN: u64 = 20;

/// MiB that the newest changes may take where nothing is said: some 60,000 of them, a minute at a thousand a second. Enough
/// for a stream that stumbles; one that is further behind reads the log.
const WINDOW_MIB: u16 = 32;
/// Seconds that a stream may go without a message taken where nothing is said: a process that is alive reads sooner.
const SLOW_CONSUMER: u64 = 30;
/// Seconds after which a stream ends where nothing is said. An hour after another replica was added it has its share.
const STREAM_MAX_AGE: u64 = 3_600;
/// Seconds between two looks for what time brings where nothing is said: it comes due in days.
const SWEEP: u64 = 60;
/// Days that changes stay in the log where nothing is said: longer than anybody is away and comes back to resume.
pub const LOG_DAYS: u16 = 30;
/// Days after which they go even if a follower has not applied them: one that never will must not fill the disk.
const LOG_MAX_DAYS: u16 = 90;
/// Hours for which a silent subscription holds back what it has not applied: a long weekend.
const SUBSCRIPTION_HOURS: u16 = 72;
/// Days that history is kept where nothing is said: two years.
const HISTORY_DAYS: u16 = 730;
/// Days that the audit is kept where nothing is said: as long as the history that it explains.
pub const AUDIT_DAYS: u16 = 730;
/// Seconds between two exported heads where nothing is said: what an owner of the database rewrites unseen is younger.
const HEADS: u64 = 300;

/// Settings of `rollcall serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Settings file (TOML). Flags and environment variables override it; an unknown key is an error.
    #[arg(long, env = "ROLLCALL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one, which is printed [default: 127.0.0.1:7400]
    #[arg(long, env = "ROLLCALL_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address of a port for Prometheus and probes: /metrics, /livez and /readyz over plain HTTP, for everybody who
    /// reaches it [default: none]
    #[arg(long, env = "ROLLCALL_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
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
    /// The same Postgres, as the role that owns the tables: for migrations, where --database-url names a role that may only
    /// serve
    #[arg(long, env = "ROLLCALL_MIGRATION_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub migration_database_url: Option<String>,
    /// Directory of Postgres' programs (initdb, postgres), for --data-dir [default: found]
    #[arg(long, env = "ROLLCALL_POSTGRES_BIN", value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
    /// Connections to the database; five more are made besides, for sequencing, notifications, leases and verdicts [default: 16]
    #[arg(long, env = "ROLLCALL_POOL_SIZE", value_name = "NUMBER")]
    pub pool_size: Option<NonZeroUsize>,
    /// Seconds that ending may take after SIGTERM before what is left is cut [default: 20]
    #[arg(long, env = "ROLLCALL_DRAIN_SECONDS", value_name = "SECONDS")]
    pub drain_seconds: Option<u64>,
    /// MiB of memory for the newest changes, from which streams are served; 0: streams read the database [default: 32]
    #[arg(long, env = "ROLLCALL_WINDOW_MIB", value_name = "MIB")]
    pub window_mib: Option<u16>,
    /// Seconds that a stream's reader may take no message before the stream is ended [default: 30]
    #[arg(long, env = "ROLLCALL_SLOW_CONSUMER_SECONDS", value_name = "SECONDS")]
    pub slow_consumer_seconds: Option<NonZeroU64>,
    /// Seconds after which a stream ends to be resumed, 20% more or less, and goes elsewhere: its connection takes no new
    /// calls by then [default: 3600]
    #[arg(long, env = "ROLLCALL_STREAM_MAX_AGE_SECONDS", value_name = "SECONDS")]
    pub stream_max_age_seconds: Option<NonZeroU64>,
    /// Seconds between two looks for inactive guests and planned returns [default: 60]
    #[arg(long, env = "ROLLCALL_SWEEP_INTERVAL_SECONDS", value_name = "SECONDS")]
    pub sweep_interval_seconds: Option<NonZeroU64>,
    /// Whether to answer access checks, from a replica of everything in memory [default: true]
    #[arg(long, env = "ROLLCALL_ACCESS_SERVICE", value_name = "BOOL")]
    pub access_service: Option<bool>,
    /// Who may call.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// How long to keep what.
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// What one caller may have.
    #[command(flatten)]
    pub limits: LimitsArgs,
    /// How to say where log and audit end.
    #[command(flatten)]
    pub audit: AuditArgs,
    /// How to send mail.
    #[command(flatten)]
    pub mail: MailArgs,
    /// Where to send traces.
    #[command(flatten)]
    pub traces: TracesArgs,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Settings of what one caller may have, on each replica; 0 is no limit.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitsArgs {
    /// Reads a second of one caller; 0: no limit [default: 5000]
    #[arg(long, env = "ROLLCALL_LIMIT_READS", value_name = "NUMBER")]
    pub limit_reads: Option<u32>,
    /// Writes a second of one caller; 0: no limit [default: 2000]
    #[arg(long, env = "ROLLCALL_LIMIT_WRITES", value_name = "NUMBER")]
    pub limit_writes: Option<u32>,
    /// Access checks a second of one caller; 0: no limit [default: 20000]
    #[arg(long, env = "ROLLCALL_LIMIT_CHECKS", value_name = "NUMBER")]
    pub limit_checks: Option<u32>,
    /// Streams that one caller may open in a second, with a burst of twenty times that; 0: no limit [default: 500]
    #[arg(long, env = "ROLLCALL_LIMIT_OPENINGS", value_name = "NUMBER")]
    pub limit_openings: Option<u32>,
    /// Streams that one caller may have open; 0: no limit [default: 12000]
    #[arg(long, env = "ROLLCALL_LIMIT_STREAMS", value_name = "NUMBER")]
    pub limit_streams: Option<u32>,
    /// Connections of all callers together; 0: no limit [default: 10000]
    #[arg(long, env = "ROLLCALL_LIMIT_CONNECTIONS", value_name = "NUMBER")]
    pub limit_connections: Option<u32>,
}

/// Settings of the heads of log and audit.
#[derive(Debug, Clone, Default, Args)]
pub struct AuditArgs {
    /// File to which the heads of log and audit are appended, for `rollcall audit verify --heads`; they are in the log of
    /// the service in any case
    #[arg(long, env = "ROLLCALL_AUDIT_HEADS_FILE", value_name = "FILE")]
    pub audit_heads_file: Option<PathBuf>,
    /// File with a secret of 32 bytes or more that seals them; keep it out of the database
    #[arg(long, env = "ROLLCALL_AUDIT_HEADS_KEY_FILE", value_name = "FILE")]
    pub audit_heads_key_file: Option<PathBuf>,
    /// Seconds between two heads [default: 300]
    #[arg(long, env = "ROLLCALL_AUDIT_HEADS_INTERVAL_SECONDS", value_name = "SECONDS")]
    pub audit_heads_interval_seconds: Option<NonZeroU64>,
}

/// Settings of mail.
#[derive(Clone, Default, Args)]
pub struct MailArgs {
    /// Mail server: smtps://USER:PASSWORD@HOST, smtp://USER:PASSWORD@HOST?starttls or smtp://HOST; without one no mail is
    /// sent
    #[arg(long, env = "ROLLCALL_SMTP_URL", value_name = "URL", hide_env_values = true)]
    pub smtp_url: Option<String>,
    /// Sender of the mail: Example <no-reply@example.com>
    #[arg(long, env = "ROLLCALL_SMTP_FROM", value_name = "ADDRESS")]
    pub smtp_from: Option<String>,
    /// Where an invited person accepts; the secret of the invitation is appended [default: the mail shows the secret]
    #[arg(long, env = "ROLLCALL_INVITATION_URL", value_name = "URL")]
    pub invitation_url: Option<String>,
}

impl std::fmt::Debug for MailArgs {
    /// Without the URL of the server, which has a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailArgs").field("smtp_from", &self.smtp_from).finish_non_exhaustive()
    }
}

/// Settings of the retention.
#[derive(Debug, Clone, Default, Args)]
pub struct RetentionArgs {
    /// Days that changes stay in the log, to resume after them [default: 30]
    #[arg(long, env = "ROLLCALL_LOG_RETENTION_DAYS", value_name = "DAYS")]
    pub log_retention_days: Option<u16>,
    /// Days after which they go also where a subscription has not applied them [default: 90]
    #[arg(long, env = "ROLLCALL_LOG_RETENTION_MAX_DAYS", value_name = "DAYS")]
    pub log_retention_max_days: Option<u16>,
    /// Hours for which a subscription that is silent holds back what it has not applied [default: 72]
    #[arg(long, env = "ROLLCALL_SUBSCRIPTION_RETENTION_HOURS", value_name = "HOURS")]
    pub subscription_retention_hours: Option<u16>,
    /// Days that the history of who had access when is kept; 0: for ever [default: 730]
    #[arg(long, env = "ROLLCALL_HISTORY_RETENTION_DAYS", value_name = "DAYS")]
    pub history_retention_days: Option<u16>,
    /// Days that the audit is kept; 0: for ever [default: 730]
    #[arg(long, env = "ROLLCALL_AUDIT_RETENTION_DAYS", value_name = "DAYS")]
    pub audit_retention_days: Option<u16>,
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

/// The settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    metrics_listen: Option<SocketAddr>,
    identity: Option<IdentityWay>,
    callers: Option<PathBuf>,
    mesh_peer: Option<IpAddr>,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    database_url: Option<String>,
    direct_database_url: Option<String>,
    migration_database_url: Option<String>,
    postgres_bin: Option<PathBuf>,
    pool_size: Option<NonZeroUsize>,
    drain_seconds: Option<u64>,
    window_mib: Option<u16>,
    slow_consumer_seconds: Option<NonZeroU64>,
    stream_max_age_seconds: Option<NonZeroU64>,
    sweep_interval_seconds: Option<NonZeroU64>,
    access_service: Option<bool>,
    log_retention_days: Option<u16>,
    log_retention_max_days: Option<u16>,
    subscription_retention_hours: Option<u16>,
    history_retention_days: Option<u16>,
    limit_reads: Option<u32>,
    limit_writes: Option<u32>,
    limit_checks: Option<u32>,
    limit_openings: Option<u32>,
    limit_streams: Option<u32>,
    limit_connections: Option<u32>,
    audit_retention_days: Option<u16>,
    audit_heads_file: Option<PathBuf>,
    audit_heads_key_file: Option<PathBuf>,
    audit_heads_interval_seconds: Option<NonZeroU64>,
    smtp_url: Option<String>,
    smtp_from: Option<String>,
    invitation_url: Option<String>,
    otlp_endpoint: Option<String>,
    otlp_ratio: Option<f64>,
    otlp_metrics_interval_seconds: Option<u64>,
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
        /// Where it is for the role that owns the tables, if `url` names another one.
        migration_url: Option<String>,
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
    /// Where Prometheus and probes ask. None: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Who may call.
    pub identity: IdentityConfig,
    /// Which database.
    pub store: Store,
    /// Connections of the pool.
    pub pool_size: usize,
    /// How long a drain may take.
    pub drain: Duration,
    /// What the newest changes may take of memory.
    pub window_bytes: usize,
    /// How long a stream's reader may take no message.
    pub slow_consumer: Duration,
    /// After how long a stream ends, 20% more or less.
    pub stream_max_age: Duration,
    /// How often to look for what time brings.
    pub sweep_every: Duration,
    /// Whether to answer access checks.
    pub access: bool,
    /// How long to keep what.
    pub retention: RetentionConfig,
    /// What one caller may have.
    pub limits: LimitsConfig,
    /// How to say where log and audit end.
    pub heads: HeadsConfig,
    /// Mail.
    pub mail: MailConfig,
    /// Traces.
    pub traces: TracesConfig,
    /// The log.
    pub log: LogConfig,
}

/// How long to keep what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Changes in the log.
    pub log: Duration,
    /// The same where a subscription has not applied them.
    pub log_max: Duration,
    /// Since when a subscription may have been silent to hold them back.
    pub subscriptions: Duration,
    /// History. None: for ever.
    pub history: Option<Duration>,
    /// The audit. None: for ever.
    pub audit: Option<Duration>,
}

/// How to say where log and audit end. No `Debug`: it has a key.
#[derive(Clone)]
pub struct HeadsConfig {
    /// The file to which heads are appended.
    pub file: Option<PathBuf>,
    /// The bytes that seal them.
    pub key: Option<Vec<u8>>,
    /// How often.
    pub every: Duration,
}

/// What one caller may have. None: as the service thinks right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Reads a second.
    pub reads: Option<u32>,
    /// Writes a second.
    pub writes: Option<u32>,
    /// Access checks a second.
    pub checks: Option<u32>,
    /// Streams opened a second.
    pub openings: Option<u32>,
    /// Streams open.
    pub streams: Option<u32>,
    /// Connections of all callers together.
    pub connections: Option<u32>,
}

/// How to send mail. No `Debug`: the URL has a password.
#[derive(Clone, Default)]
pub struct MailConfig {
    /// The mail server. None: no mail is sent.
    pub smtp_url: Option<String>,
    /// The sender.
    pub smtp_from: Option<String>,
    /// Where an invited person accepts.
    pub invitation_url: Option<String>,
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
    /// Ways to a database that is run by others are named for one that is not.
    #[error(
        "--direct-database-url and --migration-database-url are other ways to the Postgres of --database-url; \
         --data-dir has one of its own"
    )]
    OtherWays,
    /// The hard cap of the retention lies below what it caps.
    #[error("log_retention_max_days is {max_days}: it must be at least log_retention_days, which is {days}")]
    Retention {
        /// Days that changes stay.
        days: u16,
        /// Days after which they go in any case.
        max_days: u16,
    },
    /// It is not said, or not in one way, who may call.
    #[error(transparent)]
    Identity(#[from] IdentityProblem),
    /// What is to be sent to a collector cannot be.
    #[error(transparent)]
    Traces(#[from] TracesProblem),
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
        let retention = retention(&self.retention, &file)?;
        let limits = limits(&self.limits, &file);
        let heads = heads(self.audit, &file)?;
        let listen = self.listen.or(file.listen);
        let listen = listen.unwrap_or_else(|| LISTEN.parse().expect("the default is an address"));
        let of_file = IdentityArgs {
            identity: file.identity,
            callers: file.callers,
            mesh_peer: file.mesh_peer,
            tls_certificate: file.tls_certificate,
            tls_key: file.tls_key,
            tls_client_ca: file.tls_client_ca,
        };
        let traces = TracesArgs {
            otlp_endpoint: file.otlp_endpoint,
            otlp_ratio: file.otlp_ratio,
            otlp_metrics_interval_seconds: file.otlp_metrics_interval_seconds,
        };
        Ok(ServeConfig {
            listen,
            metrics_listen: self.metrics_listen.or(file.metrics_listen),
            identity: identity::resolve(self.identity, of_file, listen)?,
            store,
            pool_size: self.pool_size.or(file.pool_size).map_or(POOL, NonZeroUsize::get),
            drain: Duration::from_secs(self.drain_seconds.or(file.drain_seconds).unwrap_or(DRAIN)),
            window_bytes: usize::from(self.window_mib.or(file.window_mib).unwrap_or(WINDOW_MIB)) << 20,
            slow_consumer: seconds(self.slow_consumer_seconds.or(file.slow_consumer_seconds), SLOW_CONSUMER),
            stream_max_age: seconds(
                self.stream_max_age_seconds.or(file.stream_max_age_seconds),
                STREAM_MAX_AGE,
            ),
            sweep_every: seconds(self.sweep_interval_seconds.or(file.sweep_interval_seconds), SWEEP),
            access: self.access_service.or(file.access_service).unwrap_or(true),
            retention,
            limits,
            heads,
            mail: mail::resolve(self.mail, file.smtp_url, file.smtp_from, file.invitation_url),
            traces: self.traces.resolve(traces)?,
            log: LogConfig {
                filter: self.log.log.or(file.log),
                format: self.log.log_format.or(file.log_format).unwrap_or_default(),
            },
        })
    }
}

fn seconds(given: Option<NonZeroU64>, default: u64) -> Duration {
    Duration::from_secs(given.map_or(default, NonZeroU64::get))
}

fn store(args: &ServeArgs, file: &File) -> Result<Store, ConfigError> {
    // A store named on the command line or in the environment replaces the file's, whichever kind that is.
    // So do the ways around its pooler and as its owner: they lead to the same database.
    let (data_dir, url, direct_url, migration_url) = match (&args.data_dir, &args.database_url) {
        (None, None) => {
            let direct_url = args.direct_database_url.as_ref().or(file.direct_database_url.as_ref());
            let migration_url = args.migration_database_url.as_ref().or(file.migration_database_url.as_ref());
            (&file.data_dir, &file.database_url, direct_url.cloned(), migration_url.cloned())
        }
        (data_dir, url) => {
            (data_dir, url, args.direct_database_url.clone(), args.migration_database_url.clone())
        }
    };
    let said = |url: Option<String>| url.filter(|url| !url.is_empty());
    let (direct_url, migration_url) = (said(direct_url), said(migration_url));
    match (data_dir, url) {
        (Some(_), Some(_)) => Err(ConfigError::TwoStores),
        (None, Some(url)) if !url.is_empty() => {
            Ok(Store::Url { url: url.clone(), direct_url, migration_url })
        }
        (Some(_), None) if direct_url.is_some() || migration_url.is_some() => Err(ConfigError::OtherWays),
        (Some(data_dir), None) => Ok(Store::DataDir {
            data_dir: data_dir.clone(),
            postgres_bin: args.postgres_bin.clone().or(file.postgres_bin.clone()),
        }),
        _ => Err(ConfigError::NoStore),
    }
}

fn retention(args: &RetentionArgs, file: &File) -> Result<RetentionConfig, ConfigError> {
    let days = args.log_retention_days.or(file.log_retention_days).unwrap_or(LOG_DAYS);
    let max_days = args.log_retention_max_days.or(file.log_retention_max_days).unwrap_or(LOG_MAX_DAYS);
    if max_days < days {
        return Err(ConfigError::Retention { days, max_days });
    }
    let hours = args.subscription_retention_hours.or(file.subscription_retention_hours);
    let history = args.history_retention_days.or(file.history_retention_days).unwrap_or(HISTORY_DAYS);
    let audit = args.audit_retention_days.or(file.audit_retention_days).unwrap_or(AUDIT_DAYS);
    let in_hours = |hours: u16| Duration::from_secs(u64::from(hours) * 3_600);
    let in_days = |days: u16| 24 * in_hours(days);
    Ok(RetentionConfig {
        log: in_days(days),
        log_max: in_days(max_days),
        subscriptions: in_hours(hours.unwrap_or(SUBSCRIPTION_HOURS)),
        history: (history > 0).then(|| in_days(history)),
        audit: (audit > 0).then(|| in_days(audit)),
    })
}

fn heads(args: AuditArgs, file: &File) -> Result<HeadsConfig, ConfigError> {
    let AuditArgs { audit_heads_file, audit_heads_key_file, audit_heads_interval_seconds } = args;
    let key = audit_heads_key_file.or(file.audit_heads_key_file.clone());
    let key = key.map(|path| std::fs::read(&path).map_err(|error| ConfigError::Unreadable { path, error }));
    Ok(HeadsConfig {
        file: audit_heads_file.or(file.audit_heads_file.clone()),
        key: key.transpose()?,
        every: seconds(audit_heads_interval_seconds.or(file.audit_heads_interval_seconds), HEADS),
    })
}

fn limits(args: &LimitsArgs, file: &File) -> LimitsConfig {
    LimitsConfig {
        reads: args.limit_reads.or(file.limit_reads),
        writes: args.limit_writes.or(file.limit_writes),
        checks: args.limit_checks.or(file.limit_checks),
        openings: args.limit_openings.or(file.limit_openings),
        streams: args.limit_streams.or(file.limit_streams),
        connections: args.limit_connections.or(file.limit_connections),
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Malformed { path: path.to_owned(), message: error.to_string() })
}

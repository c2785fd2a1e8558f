//! Connections: TLS, timeouts, the pool.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use deadpool::{Runtime, managed::Timeouts};
use diesel::{ConnectionError, QueryResult};
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
        deadpool::{Hook, HookError, Pool},
    },
};
use futures_util::join;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::{
    CancelToken, Config, NoTls,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{error::StorageError, hosts::Hosts, transaction::commit};

/// How long a call waits for a connection of the pool. Longer than a burst takes to pass, shorter than callers' deadlines.
const POOL_WAIT: Duration = Duration::from_secs(3);
/// How long connecting may take, whichever host answers.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection may be silent before it is probed.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a connection of the pool lives, and how much longer it may. After a failover, or when servers are added
/// behind one name, the connections spread again within that time; a pool of 16 makes a new one every two minutes for it,
/// which nobody notices. They grow old at different times, so that not all of them are made anew at once.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
const LIFETIME_SPREAD: Duration = Duration::from_secs(10 * 60);
/// What every direct connection is set to. No statement of ours takes a second on a healthy database: these end what hangs,
/// so that neither a lock nor a connection is held by it. A replica that is frozen in the middle of a command holds its
/// locks for 5 s, well below the 15 s after which a command that waits for them gives up (five attempts of 3 s).
/// `client_connection_check_interval` ends the statement of a client that is gone.
/// A statement that was planned for whatever may be bound knows no limit and no range, so its cost looks high. Compiling it
/// or starting workers for it happens at each call and takes a hundred times longer than carrying it out.
/// The last one keeps a commit from being answered before it is on disk, should the role's default be lowered later than
/// the start, which refuses such a one.
const SESSION: &str = "SET statement_timeout = '10s'; SET lock_timeout = '3s'; \
     SET idle_in_transaction_session_timeout = '5s'; SET client_connection_check_interval = '500ms'; \
     SET jit = off; SET max_parallel_workers_per_gather = 0; \
     SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')";

/// A database URL, parsed and with TLS decided.
#[derive(Clone)]
pub(crate) struct Target {
    user: Option<String>,
    hosts: Hosts,
    tls: Tls,
    /// Whether it leads to a pooler that gives each transaction another session: nothing is set for a session then.
    pooled: bool,
}

/// How to make TLS. None: without.
pub(super) type Tls = Option<MakeRustlsConnect>;

impl Target {
    /// Parses a URL. `sslmode=verify-ca` and `verify-full`, which the driver does not know, are `require`, which here
    /// always verifies certificate and host name.
    pub(crate) fn parse(url: &str) -> Result<Self, StorageError> {
        let url = url
            .replace("sslmode=verify-full", "sslmode=require")
            .replace("sslmode=verify-ca", "sslmode=require");
        // The error is dropped on purpose: it may quote the password.
        let mut config: Config =
            url.parse().map_err(|_| StorageError::Unfit("the database URL cannot be parsed".to_owned()))?;
        // Of each address of a name: two of them are tried in time.
        config.connect_timeout(CONNECT / 2);
        // A server that vanished without a word is noticed in 15 s, not after the kernel's two hours.
        config
            .keepalives_idle(SILENCE)
            .keepalives_interval(SILENCE / 2)
            .keepalives_retries(2)
            .tcp_user_timeout(3 * SILENCE);
        if config.get_application_name().is_none() {
            config.application_name("rollcall");
        }
        let is_local = |host: &Host| matches!(host, Host::Unix(_));
        let local = !config.get_hosts().is_empty() && config.get_hosts().iter().all(is_local);
        let tls = (!local && config.get_ssl_mode() != SslMode::Disable).then(tls);
        let user = config.get_user().map(str::to_owned);
        Ok(Self { user, hosts: Hosts::of(&config), tls, pooled: false })
    }

    /// The same, through a pooler in transaction mode.
    pub(crate) fn pooled(self) -> Self {
        Self { pooled: true, ..self }
    }

    /// As whom it connects, where the URL says so.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.pooled
    }

    pub(super) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Makes one connection. A server that takes connections and says nothing, as one that is frozen, would be waited for
    /// until it is back, wherever the primary is by then.
    pub(crate) async fn connect(&self) -> Result<AsyncPgConnection, ConnectionError> {
        let connecting = tokio::time::timeout(CONNECT, self.hosts.first(|host| self.connect_to(host))).await;
        connecting
            .unwrap_or_else(|_| Err(ConnectionError::BadConnection("connecting took too long".to_owned())))
    }

    async fn connect_to(&self, host: Config) -> Result<AsyncPgConnection, ConnectionError> {
        let failed = |error: tokio_postgres::Error| ConnectionError::BadConnection(describe(&error));
        let mut connection = match &self.tls {
            None => {
                let (client, connection) = host.connect(NoTls).await.map_err(failed)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await?
            }
            Some(tls) => {
                let (client, connection) = host.connect(tls.clone()).await.map_err(failed)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await?
            }
        };
        if !self.pooled {
            connection.batch_execute(SESSION).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        }
        Ok(connection)
    }

    /// A pool of such connections.
    pub(crate) fn pool(&self, size: usize) -> Result<Pool<AsyncPgConnection>, StorageError> {
        let target = self.clone();
        let mut manager = ManagerConfig::default();
        // Fast: look whether the connection is closed, without a round trip.
        manager.recycling_method = RecyclingMethod::Fast;
        manager.custom_setup = Box::new(move |_| {
            let target = target.clone();
            Box::pin(async move {
                let connection = target.connect().await?;
                prepare_commit(&connection).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
                Ok(connection)
            })
        });
        Pool::builder(AsyncDieselConnectionManager::new_with_config(String::new(), manager))
            .max_size(size)
            .pre_recycle(Hook::sync_fn(|_, metrics| match metrics.age() > lifetime(metrics.created) {
                true => Err(HookError::message("old")),
                false => Ok(()),
            }))
            .runtime(Runtime::Tokio1)
            // Without these, deadpool waits for ever.
            .timeouts(Timeouts { wait: Some(POOL_WAIT), create: Some(CONNECT), recycle: Some(CONNECT) })
            .build()
            .map_err(|error| StorageError::Unfit(error.to_string()))
    }
}

/// Prepares COMMIT, so that no later transaction waits for that between its last statement and its end.
async fn prepare_commit(connection: &AsyncPgConnection) -> QueryResult<()> {
    let (begun, committed) = join!(async { (&*connection).batch_execute("BEGIN").await }, commit(connection));
    begun.and(committed)
}

/// How long a connection that was made then lives.
fn lifetime(created: std::time::Instant) -> Duration {
    let mut hasher = DefaultHasher::new();
    created.hash(&mut hasher);
    LIFETIME + LIFETIME_SPREAD.mul_f64((hasher.finish() % 1_000) as f64 / 1_000.0)
}

/// Cancels on the server what a connection that was given up still runs. It must never be used again: the server may
/// carry this out late, and would hit the next statement.
pub(super) fn cancel(token: CancelToken, tls: Tls) {
    // Without a runtime the process is ending, and the server notices by itself.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        let cancelling = async {
            match tls {
                Some(tls) => token.cancel_query(tls).await,
                None => token.cancel_query(NoTls).await,
            }
        };
        if !matches!(tokio::time::timeout(CONNECT, cancelling).await, Ok(Ok(()))) {
            tracing::debug!("a statement that nobody waits for could not be cancelled");
        }
    });
}

/// The driver's text with its cause: `tokio_postgres` says only "error connecting" at the top.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn tls() -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a system certificate cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

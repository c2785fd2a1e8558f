//! Wiring: what a running service consists of, and the order in which it starts and ends.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{self, Access},
    audit::{
        self, Audit,
        heads::{self, HeadsExport},
    },
    durability::{self, Durability},
    enforcement::{self, Enforcement},
    engine::Engine,
    feed::{Digests, Ending, Listener as TailListener, Marks, Registry, Window, digest, tail},
    grpc::{Owners, Services, channel_within, encode_change},
    identity::Gate,
    mail::{self, Delivery},
    retention,
    seal::Seal,
    storage::{Connections, Database, Listener, Retention, StorageError},
    store_log::{StoreLog, StoreSequence},
    sweeper,
};
pub use crate::{feed::Limits, grpc::CallLimits};

/// How often open streams are compared with their subscriptions, which another replica may have ended.
const LOOK: Duration = Duration::from_secs(1);
/// How long the first mark may take: a call takes milliseconds, after a crash a recovering Postgres some seconds.
const FIRST_MARK: Duration = Duration::from_secs(15);
/// How often what there is just now is measured.
const MEASURE: Duration = Duration::from_secs(1);
/// Measurements between two of what the database is asked for.
const SELDOM: u32 = 15;
/// How long the listener leaves a failing database alone.
const RELISTEN: Duration = Duration::from_secs(1);

/// Why a service does not start, or ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The database fails or does not fit.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The store has no key to seal with.
    #[error("the store has no key")]
    NoKey,
    /// Serving failed.
    #[error("serving failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// What a service is started with.
#[derive(Clone)]
pub struct Options {
    /// The database.
    pub connections: Connections,
    /// Where to listen.
    pub listen: SocketAddr,
    /// How long a drain may take.
    pub drain: Duration,
    /// What the newest changes, kept for the streams, may take of memory.
    pub window_bytes: usize,
    /// What bounds a stream.
    pub limits: Limits,
    /// What bounds a caller.
    pub calls: CallLimits,
    /// How long what is kept.
    pub retention: Retention,
    /// Where it says how log and audit end.
    pub heads: HeadsExport,
    /// How often it looks for what time brings.
    pub sweep_every: Duration,
    /// How mail is delivered. None: it is not.
    pub mail: Option<Delivery>,
    /// Whether access checks are answered.
    pub access: bool,
    /// Tells callers apart.
    pub gate: Gate,
}

/// A service that listens, and not yet serves.
pub struct App {
    services: Services,
    listener: TcpListener,
    address: SocketAddr,
    drain: Duration,
    tasks: Vec<JoinHandle<()>>,
}

impl App {
    /// Migrates the database, connects, binds the address.
    pub async fn start(options: &Options) -> Result<Self, AppError> {
        let Options {
            connections,
            listen,
            drain,
            window_bytes,
            limits,
            calls,
            retention: keep,
            heads: heads_export,
            sweep_every,
            mail,
            access,
            gate,
        } = options;
        let (listen, pool_size) = (*listen, connections.pool_size);
        for migration in connections.migrate().await? {
            tracing::info!(migration, "migrated");
        }
        let database = Database::open(connections).await?;
        let hints = database.listener();
        let identity = database.identity().await?;
        let store_id = identity.store_id;
        let seal = Arc::new(Seal::new(store_id, identity.keys).ok_or(AppError::NoKey)?);
        let failed = |error| AppError::Listen { address: listen, error };
        let socket = TcpListener::bind(listen).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let shutdown = CancellationToken::new();
        let source = Arc::new(StoreLog::new(database.clone(), pool_size));
        let sequence = StoreSequence(database.sequencer());
        let window = Arc::new(Window::new(encode_change, *window_bytes));
        let (listener, revocations) = enforcement::listener();
        // They are kept by who holds everything anyway.
        let digests = access.then(Arc::<Digests>::default);
        let listener = with_digests(listener, digests.clone());
        let (marks, sequencing) = tail::start(sequence, Arc::clone(&window), listener, shutdown.clone());
        // Whoever is told the address can watch at once.
        let first = tokio::time::timeout(FIRST_MARK, marks.since(tokio::time::Instant::now())).await;
        first.map_err(|_| StorageError::Unavailable("sequencing does not answer".to_owned()))?;
        let registry = Registry::default();
        let durability = Durability::default();
        let engine = Engine::new(database.clone());
        let audit = Audit::new(database.clone());
        let (enforcement, enforcing) =
            Enforcement::start(database.clone(), marks.clone(), revocations, shutdown.clone());
        let mut tasks = vec![
            sequencing,
            tokio::spawn(listen_for_hints(hints, marks.clone(), shutdown.clone())),
            tokio::spawn(end_ended(database.clone(), registry.clone(), shutdown.clone())),
            tokio::spawn(measure(database.clone(), registry.clone(), shutdown.clone())),
            tokio::spawn(sweeper::run(engine.clone(), *sweep_every, shutdown.clone())),
            tokio::spawn(durability::run(database.clone(), durability.clone(), shutdown.clone())),
            tokio::spawn(retention::run(database.clone(), *keep, shutdown.clone())),
            tokio::spawn(gate.clone().keep(shutdown.clone())),
            tokio::spawn(audit::run(audit.clone(), shutdown.clone())),
            tokio::spawn(heads::export(database.clone(), heads_export.clone(), shutdown.clone())),
            tokio::spawn(mail::run(database, Arc::clone(&seal), mail.clone(), shutdown.clone())),
        ];
        tasks.extend(enforcing);
        if let Some(digests) = &digests {
            let (digests, source) = (Arc::clone(digests), Arc::clone(&source));
            tasks.push(tokio::spawn(digest::keep(digests, source, marks.clone(), shutdown.clone())));
        }
        let opening = Arc::new(Semaphore::new((pool_size / 2).max(1)));
        let (limits, calls) = (*limits, *calls);
        // What it calls waits until the handlers are there.
        let (channel, within) = channel_within();
        let access = access.then(|| Access::start(channel, access::instance_name(address)));
        let services = Services {
            engine,
            enforcement,
            marks,
            source,
            window,
            limits,
            calls,
            opening,
            seal,
            registry,
            audit,
            durability,
            access,
            owners: Owners::default(),
            digests,
            gate: gate.clone(),
            is_within: false,
            shutdown,
        };
        if let Some(access) = services.access.clone() {
            let closed = CancellationToken::new();
            tasks.push(tokio::spawn(services.clone().serve_within(within, closed.clone())));
            tasks.push(tokio::spawn(end_access(access, services.shutdown.clone(), closed)));
        }
        tracing::info!(store.id = %store_id, address = %address, "started");
        Ok(Self { services, listener: socket, address, drain: *drain, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the service when cancelled.
    pub fn shutdown(&self) -> CancellationToken {
        self.services.shutdown.clone()
    }

    /// Says whether it may be sent calls: it reaches the log, and is not to end.
    pub fn readiness(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let (marks, shutdown) = (self.services.marks.clone(), self.services.shutdown.clone());
        move || marks.are_fresh() && !shutdown.is_cancelled()
    }

    /// Serves until the shutdown, drains, and ends.
    pub async fn serve(self) -> Result<(), AppError> {
        let Self { services, listener, drain, tasks, .. } = self;
        let audit = services.audit.clone();
        // Of two kinds of connections, so a large one.
        Box::pin(services.serve(listener, drain)).await?;
        // What was refused while it drained.
        if let Err(error) = audit.flush().await {
            tracing::warn!(%error, "the last refusals could not be written to the audit");
        }
        for task in tasks {
            // A task fails only by a panic, which its hook has logged.
            let _ = task.await;
        }
        Ok(())
    }
}

/// Lets digests follow what the tail tells.
fn with_digests(mut listener: TailListener, digests: Option<Arc<Digests>>) -> TailListener {
    let Some(digests) = digests else { return listener };
    Box::new(move |heard| {
        digests.hear(heard);
        listener(heard);
    })
}

/// Closes the subscription of the service's own replica first thing when the service ends: whoever waits for a departure is
/// not to wait for its lease too.
async fn end_access(access: Access, shutdown: CancellationToken, closed: CancellationToken) {
    shutdown.cancelled().await;
    access.end().await;
    closed.cancel();
}

/// Turns hints of other replicas into marks of this one.
async fn listen_for_hints(mut listener: Listener, marks: Marks, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            hint = listener.hint() => match hint {
                Ok(Some(head)) => marks.hint(head),
                Ok(None) => marks.wake(),
                Err(error) => {
                    tracing::debug!(%error, "notifications are interrupted; polling goes on");
                    tokio::time::sleep(RELISTEN).await;
                }
            },
        }
    }
}

/// Measures what there is just now.
#[allow(clippy::cast_precision_loss)]
async fn measure(database: Database, registry: Registry, shutdown: CancellationToken) {
    for round in 0_u32.. {
        let pool = database.pool();
        metrics::gauge!("rollcall_pool_size").set(pool.size as f64);
        metrics::gauge!("rollcall_pool_connections", "state" => "used").set(pool.used as f64);
        metrics::gauge!("rollcall_pool_connections", "state" => "idle").set(pool.idle as f64);
        metrics::gauge!("rollcall_pool_waiting").set(pool.waiting as f64);
        metrics::gauge!("rollcall_streams").set(registry.number() as f64);
        if round % SELDOM == 0 {
            match database.undecided_lost().await {
                Ok(waiting) => metrics::gauge!("rollcall_lost_revocations_waiting").set(waiting as f64),
                Err(error) => tracing::debug!(%error, "lost revocations cannot be counted"),
            }
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(MEASURE)).await.is_none() {
            return;
        }
    }
}

/// Ends the streams whose subscription was closed, or took another stream, or whose app was unregistered, through another
/// replica.
async fn end_ended(database: Database, registry: Registry, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let apps = registry.apps();
        if apps.is_empty() {
            continue;
        }
        match database.unregistered(apps.into_iter().collect()).await {
            Ok(ended) => ended.iter().for_each(|app| registry.end_app(app, Ending::Closed)),
            Err(error) => tracing::debug!(%error, "apps cannot be compared"),
        }
        let open = registry.streams();
        if open.is_empty() {
            continue;
        }
        match database.ended_streams(&open).await {
            Ok(ended) => {
                for (id, stream, replaced) in ended {
                    let ending = if replaced { Ending::Replaced } else { Ending::Closed };
                    registry.end_stream(id, stream, ending);
                }
            }
            Err(error) => tracing::debug!(%error, "subscriptions cannot be compared"),
        }
    }
}

//! `rollcall serve`: the service, on a database that it is given or on a private one.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use crate::{
    app::{App, AppError, CallLimits, Limits, Options},
    audit::heads::{HeadsExport, HeadsKey},
    config::{
        HeadsConfig, IdentityConfig, IdentityWay, LimitsConfig, MailConfig, RetentionConfig, ServeArgs,
        ServeConfig, Store,
    },
    embedded::{self, Cluster, Durability, EmbeddedError},
    exporter::{self, Exporter, Process, Ready},
    identity::{By, Gate, Mesh, TlsFiles, Way},
    mail::Delivery,
    storage::{Connections, Retention},
    telemetry,
};

/// Connections that the private Postgres allows: the pool, the service's own, and room for a look by hand.
const SPARE_CONNECTIONS: u32 = 24;

/// Why the service ended.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    #[error(transparent)]
    App(#[from] AppError),
    #[error("cannot listen on {address} for metrics: {error}")]
    Metrics { address: SocketAddr, error: std::io::Error },
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Runs until SIGTERM or SIGINT. Exits with 2 where the settings are at fault.
pub(super) fn run(args: ServeArgs) -> ExitCode {
    let config = match args.resolve() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("rollcall serve: {error}");
            return ExitCode::from(2);
        }
    };
    // Before anything is counted.
    let exporter = config.traces.metrics_every.map(|_| Exporter::install(Process::Service));
    let telemetry = match telemetry::start(&config.log, &config.traces, "rollcall", exporter) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("rollcall serve: {error}");
            return ExitCode::from(2);
        }
    };
    let MailConfig { smtp_url, smtp_from, invitation_url } = &config.mail;
    let mail = match Delivery::parse(smtp_url.as_deref(), smtp_from.as_deref(), invitation_url.as_deref()) {
        Ok(mail) => mail,
        Err(error) => {
            eprintln!("rollcall serve: {error}");
            return ExitCode::from(2);
        }
    };
    let gate = match Gate::open(&way(&config.identity)) {
        Ok(gate) => gate,
        Err(error) => {
            eprintln!("rollcall serve: {error}");
            return ExitCode::from(2);
        }
    };
    let HeadsConfig { file, key, every } = config.heads.clone();
    let key = key.map(|bytes| HeadsKey::new(&bytes));
    if matches!(key, Some(None)) {
        eprintln!(
            "rollcall serve: the key of the heads (--audit-heads-key-file) must have at least 32 bytes"
        );
        return ExitCode::from(2);
    }
    let heads = HeadsExport { file, key: key.flatten(), every };
    let served = serve(config, mail, gate, heads);
    telemetry.end();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall serve: {error}");
            ExitCode::FAILURE
        }
    }
}

fn way(config: &IdentityConfig) -> Way {
    match config.clone() {
        IdentityConfig::Insecure => Way::Insecure,
        IdentityConfig::Mesh { way, peer, callers } => {
            let mesh = if way == IdentityWay::Linkerd { Mesh::Linkerd } else { Mesh::Istio };
            Way::Told { by: By::Mesh { mesh, peer }, callers }
        }
        IdentityConfig::Direct { certificate, key, client_ca, callers } => {
            Way::Told { by: By::Direct(TlsFiles { certificate, key, client_ca }), callers }
        }
    }
}

fn serve(
    config: ServeConfig,
    mail: Option<Delivery>,
    gate: Gate,
    heads: HeadsExport,
) -> Result<(), ServeError> {
    // Before the runtime: the private Postgres ends with the thread that started it.
    let pool_size = config.pool_size;
    let (cluster, connections) = match &config.store {
        Store::Url { url, direct_url, migration_url } => {
            let (url, direct_url, migration_url) = (url.clone(), direct_url.clone(), migration_url.clone());
            (None, Connections { url, direct_url, migration_url, pool_size })
        }
        Store::DataDir { data_dir, postgres_bin } => {
            let cluster = Cluster::start(&embedded::Options {
                data_dir: data_dir.clone(),
                bin_dir: postgres_bin.clone(),
                durability: Durability::Durable,
                max_connections: u32::try_from(config.pool_size).unwrap_or(u32::MAX / 2) + SPARE_CONNECTIONS,
            })?;
            let url = cluster.service_url("rollcall");
            let migration_url = Some(cluster.url("rollcall"));
            (Some(cluster), Connections { url, direct_url: None, migration_url, pool_size })
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve_on(&connections, &config, mail, gate, heads));
    // Whatever a caller still waits for was cut at the deadline of the drain.
    runtime.shutdown_background();
    if let Some(cluster) = cluster {
        cluster.stop()?;
    }
    served
}

async fn serve_on(
    connections: &Connections,
    config: &ServeConfig,
    mail: Option<Delivery>,
    gate: Gate,
    heads: HeadsExport,
) -> Result<(), ServeError> {
    // Taken before anything is started, so that no signal is missed.
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let RetentionConfig { log, log_max, subscriptions, history, audit } = config.retention;
    let options = Options {
        connections: connections.clone(),
        listen: config.listen,
        drain: config.drain,
        window_bytes: config.window_bytes,
        limits: Limits { patience: config.slow_consumer, age: config.stream_max_age },
        calls: calls(&config.limits),
        retention: Retention { log, log_max, subscriptions, history, audit },
        heads,
        sweep_every: config.sweep_every,
        mail,
        access: config.access,
        gate: gate.clone(),
    };
    // First, so that whoever looks at a start that takes long finds it alive.
    let ready = Ready::default();
    if let Some(address) = config.metrics_listen {
        let asked = exporter::listen(address, Exporter::install(Process::Service), Arc::clone(&ready)).await;
        let address = asked.map_err(|error| ServeError::Metrics { address, error })?;
        println!("metrics on {address}");
    }
    let starting = App::start(&options);
    let app = tokio::select! {
        app = starting => app?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if gate.is_insecure() {
        tracing::warn!(address = %app.address(), "callers are not told apart: whoever reaches this address may do anything");
    }
    // It is set once in a process.
    let _ = ready.set(Box::new(app.readiness()));
    announce(app.address());
    let shutdown = app.shutdown();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
        shutdown.cancel();
    });
    Ok(app.serve().await?)
}

/// What one caller may have: what was said, and else what the service thinks right.
fn calls(config: &LimitsConfig) -> CallLimits {
    let LimitsConfig { reads, writes, checks, openings, streams, connections } = *config;
    let default = CallLimits::default();
    CallLimits {
        reads: reads.unwrap_or(default.reads),
        writes: writes.unwrap_or(default.writes),
        checks: checks.unwrap_or(default.checks),
        openings: openings.unwrap_or(default.openings),
        streams: streams.unwrap_or(default.streams),
        connections: connections.unwrap_or(default.connections),
    }
}

/// Scripts wait for this line.
fn announce(address: SocketAddr) {
    println!("listening on {address}");
}

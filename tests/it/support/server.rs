//! A real service in this process, on a database of its own.

use std::time::Duration;

use rollcall::{
    app::{App, Limits, Options},
    audit::heads::HeadsExport,
    identity::{By, Gate, Mesh, Way},
    mail::Delivery,
    storage::{Connections, Retention},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

pub(crate) use rollcall::app::CallLimits;

use super::{
    CALLERS, CallersFile, Channel, OPERATOR,
    cluster::{Database, create_database},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// As `serve` has it where nothing is said.
const RETENTION: Retention = Retention {
    log: DAY.saturating_mul(30),
    log_max: DAY.saturating_mul(90),
    subscriptions: DAY.saturating_mul(3),
    history: Some(DAY.saturating_mul(730)),
    audit: Some(DAY.saturating_mul(730)),
};

/// A running service.
pub(crate) struct Server {
    endpoint: String,
    database: Database,
    channel: Channel,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    callers: Option<CallersFile>,
}

impl Server {
    /// Starts on a fresh database.
    pub(crate) async fn start() -> Self {
        Self::on(create_database().await).await
    }

    /// Starts another replica on the database of a running one.
    pub(crate) async fn beside(other: &Server) -> Self {
        Self::on(other.database.another().await).await
    }

    /// Starts on a database, and looks for what time brings all the time.
    pub(crate) async fn sweeping(database: Database) -> Self {
        Self::with(database, |options| options.sweep_every = Duration::from_millis(50)).await
    }

    /// Starts on a database, and sends the mail that is queued in it.
    pub(crate) async fn mailing(database: Database, delivery: Delivery) -> Self {
        Self::with(database, |options| options.mail = Some(delivery)).await
    }

    /// Starts on a database, and says where log and audit end.
    pub(crate) async fn exporting(database: Database, heads: HeadsExport) -> Self {
        Self::with(database, |options| options.heads = heads).await
    }

    /// Starts on a fresh database, and serves streams from it alone.
    pub(crate) async fn without_window() -> Self {
        Self::with(create_database().await, |options| options.window_bytes = 0).await
    }

    /// Starts on a fresh database, where callers may have this much.
    pub(crate) async fn limiting(calls: CallLimits) -> Self {
        Self::with(create_database().await, |options| options.calls = calls).await
    }

    /// Starts on a database.
    pub(crate) async fn on(database: Database) -> Self {
        Self::with(database, |_| {}).await
    }

    /// Starts on a fresh database, and answers access checks.
    pub(crate) async fn checking() -> Self {
        Self::checking_on(create_database().await).await
    }

    /// Starts on a database, and answers access checks: returns when it does.
    pub(crate) async fn checking_on(database: Database) -> Self {
        Self::checking_with(database, |_| {}).await
    }

    /// The same, with streams served from the database alone.
    pub(crate) async fn checking_without_window(database: Database) -> Self {
        Self::checking_with(database, |options| options.window_bytes = 0).await
    }

    async fn checking_with(database: Database, change: impl FnOnce(&mut Options)) -> Self {
        let with_access = |options: &mut Options| {
            options.access = true;
            change(options);
        };
        let server = Self::with(database, with_access).await;
        server.access_is(ServingStatus::Serving).await;
        server
    }

    /// Waits until health says this of access checks.
    pub(crate) async fn access_is(&self, wanted: ServingStatus) {
        let request = HealthCheckRequest { service: "rollcall.v1.AccessService".to_owned() };
        let told = async {
            let watch = HealthClient::new(self.channel()).watch(request).await;
            let mut told = watch.expect("health").into_inner();
            while told.message().await.expect("health").expect("without end").status() != wanted {}
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("in time");
    }

    /// Starts on a fresh database, and tells the [`CALLERS`] apart. Its own channel calls as the operator.
    pub(crate) async fn telling_apart() -> Self {
        Self::telling_apart_on(create_database().await, CALLERS).await
    }

    /// Starts on a database, and tells these callers apart.
    pub(crate) async fn telling_apart_on(database: Database, callers: &str) -> Self {
        let file = CallersFile::new(callers);
        let gate = gate(&file);
        let mut server = Self::with(database, |options| options.gate = gate).await;
        server.channel = server.channel.calling_as(OPERATOR);
        server.callers = Some(file);
        server
    }

    /// Starts on a fresh database, tells the [`CALLERS`] apart, and answers access checks.
    pub(crate) async fn checking_and_telling_apart() -> Self {
        Self::checking_and_telling_apart_by(CALLERS).await
    }

    /// The same with these callers.
    pub(crate) async fn checking_and_telling_apart_by(callers: &str) -> Self {
        Self::checking_and_limiting(CallLimits::default(), callers).await
    }

    /// Starts on a fresh database, tells these callers apart, each of whom may have this much, and answers access checks.
    pub(crate) async fn checking_and_limiting(calls: CallLimits, callers: &str) -> Self {
        let file = CallersFile::new(callers);
        let gate = gate(&file);
        let change = |options: &mut Options| (options.gate, options.calls) = (gate, calls);
        let mut server = Self::checking_with(create_database().await, change).await;
        server.channel = server.channel.calling_as(OPERATOR);
        server.callers = Some(file);
        server
    }

    /// Whom it tells apart from now on, or soon.
    pub(crate) fn set_callers(&self, text: &str) {
        self.callers.as_ref().expect("it tells callers apart").write(text);
    }

    /// Starts on a database, with a pool of so many connections.
    pub(crate) async fn with_pool(database: Database, connections: usize) -> Self {
        Self::with(database, |options| options.connections.pool_size = connections).await
    }

    async fn with(database: Database, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options {
            connections: Connections {
                url: database.url.clone(),
                direct_url: None,
                migration_url: None,
                pool_size: 8,
            },
            listen: "127.0.0.1:0".parse().expect("an address"),
            drain: Duration::from_secs(5),
            window_bytes: 32 << 20,
            limits: Limits { patience: Duration::from_secs(30), age: Duration::from_secs(3_600) },
            calls: CallLimits::default(),
            retention: RETENTION,
            heads: HeadsExport { file: None, key: None, every: Duration::from_secs(300) },
            sweep_every: Duration::from_secs(60),
            mail: None,
            // Each would be an instance that every departure waits for.
            access: false,
            gate: Gate::insecure(),
        };
        change(&mut options);
        let app = App::start(&options).await.expect("the service starts");
        let endpoint = format!("http://{}", app.address());
        let shutdown = app.shutdown();
        let task = tokio::spawn(async move { app.serve().await.expect("the service serves") });
        let channel = Endpoint::from_shared(endpoint.clone()).expect("an endpoint").connect_lazy();
        Self { endpoint, database, channel: channel.into(), shutdown, task, callers: None }
    }

    /// A channel to it.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// A connection for looking at its database.
    pub(crate) fn database(&self) -> &tokio_postgres::Client {
        &self.database.client
    }

    /// Another connection to its database.
    pub(crate) async fn another_connection(&self) -> Database {
        self.database.another().await
    }

    /// Begins the drain, without waiting for its end.
    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Drains and ends it.
    pub(crate) async fn stop(self) -> Database {
        self.shutdown.cancel();
        self.task.await.expect("the service ends");
        self.database
    }
}

/// Tells the callers of this file apart by what Istio says of them.
fn gate(file: &CallersFile) -> Gate {
    let by = By::Mesh { mesh: Mesh::Istio, peer: None };
    Gate::open(&Way::Told { by, callers: file.path() }).expect("callers")
}

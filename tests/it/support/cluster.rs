//! One private Postgres for the whole run. It ends with the test process, also when that is killed.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use rollcall::embedded::{Cluster, Durability, Options};
use tempfile::TempDir;

struct Shared {
    cluster: Cluster,
    directory: TempDir,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let directory =
        tempfile::Builder::new().prefix("rollcall-test").tempdir().expect("a temporary directory");
    let cluster = Cluster::start(&Options {
        data_dir: directory.path().to_owned(),
        bin_dir: None,
        durability: Durability::Volatile,
        max_connections: 1_000,
    })
    .expect("a private Postgres for the tests");
    // A static is never dropped: what is left of the directory is removed by the next run.
    remove_leftovers(&directory);
    Shared { cluster, directory }
});

/// Directories of earlier runs whose Postgres is gone.
fn remove_leftovers(own: &TempDir) {
    let Some(parent) = own.path().parent() else { return };
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with("rollcall-test");
        if ours && path != own.path() && !path.join("pgdata/postmaster.pid").exists() {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A database of one test.
pub(crate) struct Database {
    /// Where it is, for the role of the service: row level security holds that, also as the owner.
    pub(crate) url: String,
    /// A connection for looking at it, as the superuser, who sees everything.
    pub(crate) client: tokio_postgres::Client,
}

impl Database {
    /// A database that is what this one is now. Nobody else may be connected to this one.
    pub(crate) async fn copy(self) -> (Self, Self) {
        let Self { url, client } = self;
        drop(client);
        let (_, name) = url.rsplit_once('/').expect("a URL with a database");
        let name = name.split('?').next().expect("a name").to_owned();
        // Postgres itself waits a moment until the others have gone.
        let copy = create(&format!("TEMPLATE {name}")).await;
        (Self { client: connect(&superuser(&url)).await, url }, copy)
    }

    /// A database of another Postgres.
    pub(crate) async fn at(url: &str) -> Self {
        Self { url: url.to_owned(), client: connect(&superuser(url)).await }
    }

    /// The same database, over another connection.
    pub(crate) async fn another(&self) -> Self {
        Self { url: self.url.clone(), client: connect(&superuser(&self.url)).await }
    }
}

/// What the Postgres of this run has written to its log.
pub(crate) async fn postgres_log() -> String {
    let read = || std::fs::read(SHARED.directory.path().join("postgres.log")).expect("the log of Postgres");
    let log = tokio::task::spawn_blocking(read).await.expect("it is read");
    String::from_utf8_lossy(&log).into_owned()
}

/// Creates an empty database.
pub(crate) async fn create_database() -> Database {
    create("").await
}

async fn create(options: &str) -> Database {
    let (admin, name) = tokio::task::spawn_blocking(|| {
        (SHARED.cluster.url("rollcall"), format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    })
    .await
    .expect("the cluster starts");
    connect(&admin)
        .await
        .batch_execute(&format!("CREATE DATABASE {name} OWNER {SERVICE} {options}"))
        .await
        .expect("a database");
    let url = SHARED.cluster.service_url(&name);
    let client = connect(&superuser(&url)).await;
    Database { url, client }
}

/// The role of the service.
pub(crate) const SERVICE: &str = "rollcall_service";

/// The same place for the superuser.
pub(crate) fn superuser(url: &str) -> String {
    url.replacen(SERVICE, "rollcall", 1)
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

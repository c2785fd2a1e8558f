//! T17: pgbouncer in transaction mode between the service and Postgres. The service says what to do instead of working
//! by luck, or works with a direct connection beside it.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::scene::{Pen, Reader, until};
use crate::{
    processes::{rollcall, run_well},
    small::Small,
    support::{Database, Replica, create_database},
};

/// A pgbouncer before one database. Killed when dropped.
struct Bouncer {
    _child: Child,
    _directory: TempDir,
    url: String,
}

impl Bouncer {
    /// None: there is none on this machine.
    async fn before(database: &Database, prepared: bool) -> Option<Self> {
        let found = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let program = found.into_iter().find(|path| fs::exists(path).unwrap_or(false))?;
        let config: tokio_postgres::Config = database.url.parse().expect("a URL");
        let Some(tokio_postgres::config::Host::Unix(socket)) = config.get_hosts().first() else {
            panic!("the tests' Postgres listens on a socket")
        };
        let name = config.get_dbname().expect("a database");
        let user = config.get_user().expect("a user");
        let directory = tempfile::tempdir().expect("a directory");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let statements = if prepared { "max_prepared_statements = 200\n" } else { "" };
        let settings = format!(
            "[databases]\n{name} = host={} dbname={name} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\npool_mode = transaction\nunix_socket_dir =\n{statements}",
            socket.display()
        );
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, settings).expect("its settings");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("readable");
        // It refuses to run as root, and Postgres' socket is its owner's: both are the one user.
        let mut command = match rustix::process::getuid().is_root() {
            true => {
                let owner = std::os::unix::fs::MetadataExt::uid(
                    &fs::metadata(socket).expect("the socket's directory"),
                );
                let mut command = Command::new("setpriv");
                let owner = owner.to_string();
                command.args(["--reuid", &owner, "--regid", &owner, "--clear-groups", program]);
                command
            }
            false => Command::new(program),
        };
        let log = fs::File::create(directory.path().join("log")).expect("its log");
        let child = command.arg("-q").arg(&file).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn();
        let url = format!("postgresql://{user}@127.0.0.1:{port}/{name}?sslmode=disable");
        let bouncer = Self { _child: child.expect("pgbouncer runs"), _directory: directory, url };
        until("pgbouncer to answer", async || {
            tokio_postgres::connect(&bouncer.url, tokio_postgres::NoTls).await.is_ok()
        })
        .await;
        Some(bouncer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t17_pgbouncer_in_transaction_mode_is_refused_or_used_with_a_direct_connection() {
    let database = create_database().await;
    let Some(bouncer) = Bouncer::before(&database, false).await else {
        println!("t17: pgbouncer is not installed: skipped");
        return;
    };
    let mut command = rollcall(["serve", "--listen", "127.0.0.1:0", "--database-url", &bouncer.url]);
    let output = timeout(Duration::from_secs(45), command.kill_on_drop(true).output()).await;
    let refused = match &output {
        Ok(output) => {
            let output = output.as_ref().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            println!("t17_alone = refused: {}", said.lines().last().unwrap_or_default());
            assert!(!output.status.success());
            Some(said)
        }
        Err(_) => {
            println!("t17_alone = it started, as if pgbouncer were Postgres");
            None
        }
    };
    if !run_well(["serve", "--help"]).await.contains("direct-database-url") {
        println!("t17: this service has no --direct-database-url: what it says and leaks is not judged");
        return;
    }
    let said = refused.expect("it refuses to start: session state would leak");
    assert!(said.contains("direct-database-url"), "it says what to do: {said}");
    drop(bouncer);

    // With a direct connection, and a pgbouncer that keeps prepared statements apart, it works or says why not.
    let Some(bouncer) = Bouncer::before(&database, true).await else { return };
    let arguments = ["--direct-database-url", &database.url, "--log", "warn"];
    let replica = Replica::start(&bouncer.url, &arguments).await;
    let small = Small::make(replica.client().channel(), "ada@example.com").await;
    let reader = [Reader::open(replica.client().channel(), &small.organization).await];
    let mut pen = Pen::new(replica.client().channel(), &small.organization);
    pen.lags(&reader, 20, Duration::from_millis(20)).await;
    // Nothing of a session stays on the connections that others are lent.
    let leaks =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%LISTEN%'
        AND application_name <> 'rollcall'";
    let leaks: i64 = database.client.query_one(leaks, &[]).await.expect("a count").get(0);
    println!("t17_leaks = {leaks}");
    assert_eq!(leaks, 0);
}

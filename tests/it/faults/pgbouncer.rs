//! T17: pgbouncer in transaction mode between the service and Postgres. The service says what to do instead of working
//! by luck, or works with a direct connection beside it.

use std::{collections::BTreeSet, fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

use super::scene::{Pen, soon, until};
use crate::{
    processes::{rollcall, run},
    small::Small,
    support::{Channel, Database, create_database},
};

/// A pgbouncer before one database. Killed when dropped.
struct Bouncer {
    child: Child,
    _directory: TempDir,
    url: String,
}

impl Bouncer {
    /// None: there is none on this machine.
    async fn before(database: &Database) -> Option<Self> {
        loop {
            let mut bouncer = Self::on_a_port(database).await?;
            // Who lost the port to another one between looking and listening has ended; what answered is that one.
            if bouncer.child.try_wait().expect("its state").is_none() {
                return Some(bouncer);
            }
        }
    }

    async fn on_a_port(database: &Database) -> Option<Self> {
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
        // Before 1.21 it cannot keep the prepared statements of its clients apart, and does not know the setting.
        let version = Command::new(program).arg("--version").output().await.expect("its version").stdout;
        let version = String::from_utf8_lossy(&version).into_owned();
        println!("t17_pgbouncer = {}", version.lines().next().unwrap_or_default());
        let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap_or(0);
        let statements = if minor >= 21 { "max_prepared_statements = 200\n" } else { "" };
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
        let bouncer = Self { child: child.expect("pgbouncer runs"), _directory: directory, url };
        until("pgbouncer to answer", async || {
            tokio_postgres::connect(&bouncer.url, tokio_postgres::NoTls).await.is_ok()
        })
        .await;
        Some(bouncer)
    }
}

/// How a service that is given these URLs begins.
enum Begin {
    /// It ends, and says this.
    Refuses(String),
    /// It serves there.
    Serves(Child, String),
}

async fn begin(arguments: &[&str]) -> Begin {
    let fixed = ["serve", "--listen", "127.0.0.1:0"];
    let mut command = rollcall(fixed.iter().chain(arguments));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
    while let Some(line) = soon("a word of the service", lines.next_line()).await.expect("a line") {
        if let Some(address) = line.strip_prefix("listening on ") {
            return Begin::Serves(child, format!("http://{address}"));
        }
    }
    let output = soon("the end of the service", child.wait_with_output()).await.expect("its end");
    assert!(!output.status.success());
    Begin::Refuses(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What others who use the same pgbouncer find on the connections that they are lent: settings and channels of ours.
async fn leaks(bouncer: &Bouncer) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let look = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
        (SELECT count(*) FROM pg_listening_channels())";
    for _ in 0..20 {
        let (client, connection) =
            tokio_postgres::connect(&bouncer.url, tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let rows = client.simple_query(look).await.expect("settings");
        for row in rows {
            let tokio_postgres::SimpleQueryMessage::Row(row) = row else { continue };
            for (index, clean) in ["0", "0", "0"].into_iter().enumerate() {
                let value = row.get(index).unwrap_or_default();
                if value != clean {
                    found.insert(format!(
                        "{} = {value}",
                        ["statement_timeout", "lock_timeout", "channels"][index]
                    ));
                }
            }
        }
    }
    found
}

/// Writes and reads; gives how many of the writes failed.
async fn work(endpoint: &str) -> usize {
    let channel = Channel::from(rollcall_client::connect(endpoint).expect("an endpoint").channel());
    let small = Small::make(channel.clone(), &format!("{}@example.com", uuid::Uuid::new_v4())).await;
    let mut writing = JoinSet::new();
    for _ in 0..20 {
        let mut pen = Pen::new(channel.clone(), &small.organization);
        writing.spawn(async move {
            let mut failed = 0;
            for _ in 0..10 {
                failed += usize::from(soon("an answer", pen.rename()).await.is_err());
            }
            failed
        });
    }
    writing.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn t17_pgbouncer_in_transaction_mode_is_refused_or_used_with_a_direct_connection() {
    let database = create_database().await;
    let Some(bouncer) = Bouncer::before(&database).await else {
        println!("t17: pgbouncer is not installed: skipped");
        return;
    };
    assert_eq!(leaks(&bouncer).await, BTreeSet::new(), "nothing before there is a service");
    // That the look finds what there is to be found.
    let (careless, connection) =
        tokio_postgres::connect(&bouncer.url, tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    careless.batch_execute("SET statement_timeout = '7s'").await.expect("a setting");
    assert_eq!(leaks(&bouncer).await, BTreeSet::from(["statement_timeout = 7s".to_owned()]));
    careless.batch_execute("RESET statement_timeout").await.expect("taken back");
    match begin(&["--database-url", &bouncer.url, "--log", "off"]).await {
        Begin::Refuses(said) => {
            println!("t17_alone = refused: {}", said.lines().last().unwrap_or_default());
            assert!(said.contains("direct-database-url"), "it says what to do: {said}");
        }
        Begin::Serves(_child, endpoint) => {
            let failed = work(&endpoint).await;
            panic!("it started as if pgbouncer were Postgres; {failed} of 200 calls failed");
        }
    }
    let arguments = ["--database-url", &bouncer.url, "--direct-database-url", &database.url];
    match begin(&arguments).await {
        Begin::Refuses(said) => println!("t17_direct = refused: {}", said.lines().last().unwrap_or_default()),
        Begin::Serves(_child, endpoint) => {
            let failed = work(&endpoint).await;
            println!("t17_direct_failed_of_200 = {failed}");
            let leaks = leaks(&bouncer).await;
            println!("t17_direct_leaks = {leaks:?}");
            assert_eq!((failed, leaks), (0, BTreeSet::new()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t17_a_doctor_finds_pgbouncer_in_transaction_mode() {
    let database = create_database().await;
    let Some(bouncer) = Bouncer::before(&database).await else {
        println!("t17: pgbouncer is not installed: skipped");
        return;
    };
    let alone = run(["doctor", "--database-url", &bouncer.url]).await;
    let said = String::from_utf8_lossy(&alone.stdout).into_owned();
    println!("{said}");
    assert_eq!(alone.status.code(), Some(1), "{said}");
    let fails: Vec<&str> = said.lines().filter(|line| line.starts_with("fails")).collect();
    assert!(matches!(fails[..], [line] if line.contains("--direct-database-url")), "{said}");
    let arguments = ["doctor", "--database-url", &bouncer.url, "--direct-database-url", &database.url];
    let said = String::from_utf8_lossy(&run(arguments).await.stdout).into_owned();
    assert!(said.lines().any(|line| line == "ok       notifications arrive"), "{said}");
}

//! A Postgres of a test's own that may be killed, copied and failed over, and a proxy before it: whoever is connected
//! through that does not know where the database is, nor what happened to the network.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use rollcall::embedded::{Cluster, Durability, Options};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    net::{TcpListener, UnixListener, UnixStream},
    process::Command,
    sync::watch,
    task::JoinHandle,
};

use super::{
    network::{Way, pass},
    scene::{soon, until},
};
use crate::support::{Database, SERVICE};

/// Where a server in this directory is found.
fn url(sockets: &Path) -> String {
    let host = sockets.to_str().expect("UTF-8").replace('/', "%2F");
    format!("postgresql://{SERVICE}@{host}/rollcall")
}

/// A server, and its data. Stopped when dropped.
pub(super) struct Postgres {
    // Dropped first: the server ends before its directory goes.
    cluster: Option<Cluster>,
    directory: TempDir,
    /// Where its programs are. None: wherever they are found.
    programs: Option<PathBuf>,
}

impl Postgres {
    /// A new one, with nothing in it.
    pub(super) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// A new one, of the programs in this directory.
    pub(super) async fn start_with(programs: Option<PathBuf>) -> Self {
        let directory = TempDir::new().expect("a directory");
        Self { cluster: None, directory, programs }.made().await
    }

    /// Where the programs are that a test uses where it says nothing else.
    pub(super) async fn programs() -> PathBuf {
        let postgres = Self::start().await;
        let server = fs::read_link(format!("/proc/{}/exe", postgres.pid())).expect("its program");
        server.parent().expect("a directory").to_owned()
    }

    /// A new one, somewhere in this directory.
    pub(super) async fn start_in(parent: &Path) -> Self {
        let directory = TempDir::new_in(parent).expect("a directory");
        Self { cluster: None, directory, programs: None }.made().await
    }

    /// The role of the service migrates too.
    async fn made(mut self) -> Self {
        self.start_again().await;
        let owner = format!("ALTER DATABASE rollcall OWNER TO {SERVICE}");
        self.database().await.client.batch_execute(&owner).await.expect("an owner");
        self
    }

    /// Its first process.
    pub(super) fn pid(&self) -> u32 {
        self.cluster().pid()
    }

    /// Has its write-ahead log lie in another directory from its next start on.
    pub(super) fn keep_log_in(&self, directory: &Path) {
        let log = self.directory.path().join("pgdata/pg_wal");
        let owner = fs::metadata(&log).expect("the log");
        let moved = std::process::Command::new("cp").arg("-a").arg(&log).arg(directory).status();
        assert!(moved.expect("cp").success(), "the log is copied");
        fs::remove_dir_all(&log).expect("the log");
        std::os::unix::fs::symlink(directory.join("pg_wal"), &log).expect("a link");
        chown(directory, Some(owner.uid()), Some(owner.gid())).expect("an owner");
    }

    /// Starts it on its data.
    pub(super) async fn start_again(&mut self) {
        let options = Options {
            data_dir: self.directory.path().to_owned(),
            bin_dir: self.programs.clone(),
            durability: Durability::Volatile,
            max_connections: 60,
        };
        let started = tokio::task::spawn_blocking(move || Cluster::start(&options)).await.expect("no panic");
        self.cluster = Some(started.expect("a Postgres"));
    }

    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("it runs")
    }

    /// Where its socket is.
    pub(super) fn sockets(&self) -> PathBuf {
        self.cluster().socket_dir().to_owned()
    }

    /// Where to connect to.
    pub(super) fn url(&self) -> String {
        url(&self.sockets())
    }

    /// A connection for looking into it.
    pub(super) async fn database(&self) -> Database {
        Database::at(&self.url()).await
    }

    /// Sends its first process a signal that ends it, and returns when it has ended.
    pub(super) async fn end(&mut self, signal: Signal) {
        self.end_with(signal, &[]).await;
    }

    /// Kills all of its processes at once, as the loss of its machine does: none of them commits or answers anything more.
    pub(super) async fn die(&mut self) {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children: Vec<Pid> =
            children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
        self.end_with(Signal::KILL, &children).await;
    }

    async fn end_with(&mut self, signal: Signal, others: &[Pid]) {
        let cluster = self.cluster.take().expect("it runs");
        let pid = i32::try_from(cluster.pid()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("a signal");
        for other in others {
            // One that has just ended by itself is gone all the same.
            let _ = kill_process(*other, signal);
        }
        let stat = format!("/proc/{}/stat", cluster.pid());
        until("the end of Postgres", async || {
            fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
        })
        .await;
        tokio::task::spawn_blocking(move || drop(cluster)).await.expect("no panic");
    }

    /// A program of Postgres that asks this server.
    fn program(&self, name: &str) -> Command {
        self.program_over(&self.sockets(), name)
    }

    /// The same over another way to it.
    fn program_over(&self, sockets: &Path, name: &str) -> Command {
        let server = fs::read_link(format!("/proc/{}/exe", self.cluster().pid())).expect("its program");
        let mut command = Command::new(server.with_file_name(name));
        command.arg("-h").arg(sockets).args(["-U", "rollcall", "-p", "5432", "-w"]);
        command.current_dir("/").kill_on_drop(true);
        command
    }

    /// Writes what the database has to a file.
    pub(super) async fn dump(&self, file: &Path) {
        let mut command = self.program("pg_dump");
        command.args(["-Fc", "-f"]).arg(file).arg("rollcall");
        well(command).await;
    }

    /// Makes the database what the file has, whatever it was.
    pub(super) async fn restore(&self, file: &Path) {
        let (mut drops, mut makes) = (self.program("dropdb"), self.program("createdb"));
        drops.args(["--force", "rollcall"]);
        makes.arg("rollcall");
        well(drops).await;
        well(makes).await;
        let mut command = self.program("pg_restore");
        command.args(["--single-transaction", "-d", "rollcall"]).arg(file);
        well(command).await;
    }

    /// A standby that follows this one: a copy of what it is now, and then of what it writes.
    pub(super) async fn standby(&self) -> Self {
        self.standby_over(&self.sockets()).await
    }

    /// One that hears of it over this proxy.
    pub(super) async fn standby_behind(&self, proxy: &Proxy) -> Self {
        // It runs as the owner of the data, whoever runs the test.
        let data = fs::metadata(self.directory.path().join("pgdata")).expect("the data of the primary");
        let directory = proxy.directory.path();
        for path in [directory, &directory.join(".s.PGSQL.5432")] {
            chown(path, Some(data.uid()), Some(data.gid())).expect("an owner");
        }
        self.standby_over(directory).await
    }

    async fn standby_over(&self, sockets: &Path) -> Self {
        let directory = TempDir::new().expect("a directory");
        let data = fs::metadata(self.directory.path().join("pgdata")).expect("the data of the primary");
        // What says that the directory is one of ours. The server runs as the owner of the data.
        let lock = directory.path().join("rollcall.lock");
        fs::write(&lock, "").expect("the lock");
        for path in [lock.as_path(), directory.path()] {
            chown(path, Some(data.uid()), Some(data.gid())).expect("an owner");
        }
        let mut command = self.program_over(sockets, "pg_basebackup");
        command.arg("-D").arg(directory.path().join("pgdata")).args(["-R", "-X", "stream", "-c", "fast"]);
        command.uid(data.uid()).gid(data.gid());
        well(command).await;
        let mut standby = Self { cluster: None, directory, programs: self.programs.clone() };
        standby.start_again().await;
        standby
    }

    /// Makes a standby the primary.
    pub(super) async fn promote(&self) {
        let promoted = self.database().await.client.query_one("SELECT pg_promote()", &[]).await;
        assert!(promoted.expect("an answer").get::<_, bool>(0), "it is promoted in time");
    }
}

async fn well(mut command: Command) {
    let output = soon("a program of Postgres", command.output()).await.expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[derive(Clone)]
struct Route {
    target: PathBuf,
    way: Way,
}

/// Stands between a service and a Postgres.
pub(super) struct Proxy {
    directory: TempDir,
    route: watch::Sender<Route>,
    tasks: Vec<JoinHandle<()>>,
}

impl Proxy {
    pub(super) fn before(postgres: &Postgres) -> Self {
        Self::to(postgres.sockets())
    }

    /// Before the server whose socket is in this directory.
    fn to(target: PathBuf) -> Self {
        let directory = TempDir::new().expect("a directory");
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).expect("a socket");
        let (route, routes) = watch::channel(Route { target, way: Way::Open });
        let task = tokio::spawn(async move {
            loop {
                let (from, _) = listener.accept().await.expect("a connection");
                tokio::spawn(carry(from, routes.clone()));
            }
        });
        Self { directory, route, tasks: vec![task] }
    }

    /// Where to connect to.
    pub(super) fn url(&self) -> String {
        url(self.directory.path())
    }

    /// Listens on TCP too, as the machine of a server does; gives its address there.
    pub(super) async fn listen(&mut self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let routes = self.route.subscribe();
        self.tasks.push(tokio::spawn(async move {
            loop {
                let (from, _) = listener.accept().await.expect("a connection");
                from.set_nodelay(true).expect("a socket");
                tokio::spawn(carry(from, routes.clone()));
            }
        }));
        address
    }

    /// From here on this passes.
    pub(super) fn let_pass(&self, way: Way) {
        self.route.send_modify(|route| route.way = way);
    }

    /// New connections lead to another server.
    pub(super) fn lead_to(&self, postgres: &Postgres) {
        self.route.send_modify(|route| route.target = postgres.sockets());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Carries one connection, for as long as not all of them end.
async fn carry(from: impl AsyncRead + AsyncWrite + Unpin, mut routes: watch::Receiver<Route>) {
    let mut closing = routes.clone();
    tokio::select! {
        () = serve(from, &mut routes) => {}
        _ = closing.wait_for(|route| route.way == Way::Closed) => {}
    }
}

async fn serve(from: impl AsyncRead + AsyncWrite + Unpin, routes: &mut watch::Receiver<Route>) {
    // Who calls while nothing passes is called through when something does, wherever that leads then.
    let Ok(route) = routes.wait_for(|route| route.way.there()).await.map(|route| route.clone()) else {
        return;
    };
    let Ok(to) = UnixStream::connect(route.target.join(".s.PGSQL.5432")).await else { return };
    let ((from_read, from_write), (to_read, to_write)) = (split(from), to.into_split());
    let (asks, answers) = (routes.clone(), routes.clone());
    // Whichever side ends, both connections do.
    tokio::select! {
        () = pass(from_read, to_write, asks, |route| route.way.there(), || {}) => {}
        () = pass(to_read, from_write, answers, |route| route.way.back(), || {}) => {}
    }
}

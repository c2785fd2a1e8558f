//! Where a bench happens: a private durable Postgres, databases in it, and the service as a process.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rollcall::embedded::{Cluster, Durability, Options};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// A Postgres that keeps every promise about durability: fsync and `synchronous_commit` are on.
pub(crate) struct Postgres {
    cluster: Cluster,
    number: AtomicU32,
    directory: TempDir,
}

impl Postgres {
    /// Starts it. Must be called outside of a runtime and on the main thread: the server ends with that thread.
    pub(crate) fn start() -> Self {
        raise_open_files();
        let directory = tempfile::Builder::new().prefix("rollcall-bench").tempdir().expect("a directory");
        let cluster = Cluster::start(&Options {
            data_dir: directory.path().to_owned(),
            bin_dir: None,
            durability: Durability::Durable,
            max_connections: 300,
        })
        .expect("a private Postgres");
        Self { cluster, number: AtomicU32::new(0), directory }
    }

    /// Where the role of the service connects to: row level security is measured with everything else.
    pub(crate) fn url(&self, database: &str) -> String {
        self.cluster.service_url(database)
    }

    pub(crate) fn socket_dir(&self) -> &Path {
        self.cluster.socket_dir()
    }

    /// What the server has written to its log so far.
    pub(crate) fn log(&self) -> String {
        let text = fs::read(self.directory.path().join("postgres.log")).expect("the log of Postgres");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A new database, a copy of another one where that is named.
    pub(crate) async fn create(&self, template: Option<&str>) -> String {
        let name = format!("bench_{}", self.number.fetch_add(1, Ordering::Relaxed));
        let template = template.map(|name| format!(" TEMPLATE {name}")).unwrap_or_default();
        let admin = self.connect("postgres").await;
        admin
            .batch_execute(&format!("CREATE DATABASE {name} OWNER rollcall_service{template}"))
            .await
            .expect("a database");
        name
    }

    /// A new database with the tables of the service.
    pub(crate) async fn create_migrated(&self) -> String {
        let name = self.create(None).await;
        let migrated = rollcall().args(["migrate", "--database-url", &self.url(&name)]).output();
        let migrated = migrated.expect("rollcall runs");
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        name
    }

    pub(crate) async fn connect(&self, database: &str) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.cluster.url(database), NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    }

    /// Says how the server is set, so that results can be judged.
    pub(crate) async fn describe(&self) {
        let admin = self.connect("postgres").await;
        for name in ["server_version", "fsync", "synchronous_commit", "shared_buffers"] {
            let row = admin.query_one(&format!("SHOW {name}"), &[]).await.expect("a setting");
            println!("# postgres {name} = {}", row.get::<_, String>(0));
        }
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!("# {cores} cores, shared by Postgres, the service and the load");
    }
}

/// The built program, with none of our own settings in its environment.
fn rollcall() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ROLLCALL_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end and gives what it printed.
pub(crate) fn run_rollcall(arguments: &[&str]) -> String {
    let output = rollcall().args(arguments).output().expect("rollcall runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running service.
pub(crate) struct Service {
    child: Child,
    pub(crate) endpoint: String,
}

impl Service {
    /// Starts it on a database, with what else is to be said on the command line.
    pub(crate) fn start(url: &str, arguments: &[&str]) -> Self {
        let mut command = rollcall();
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--database-url", url]);
        // One caller stands for many here: what is measured is the service, and not what one may take of it.
        command.args(["--limit-reads", "0", "--limit-writes", "0", "--limit-checks", "0"]);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("rollcall runs");
        let stdout = child.stdout.take().expect("its output");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("its output");
        let address = line.trim().strip_prefix("listening on ").expect("the service starts");
        Self { endpoint: format!("http://{address}"), child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
        kilobytes * 1024.0
    }

    /// CPU time used so far, in microseconds.
    pub(crate) fn cpu(&self) -> f64 {
        cpu(self.pid())
    }
}

/// CPU time that a process used so far, in microseconds.
pub(crate) fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("its times");
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th after it.
    let after = stat.rsplit_once(") ").expect("a name").1;
    let ticks: f64 =
        after.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks * 1e6 / rustix::param::clock_ticks_per_second() as f64
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Thousands of streams are thousands of sockets: as many open files as the system lets this process have.
pub(crate) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Where a program of Postgres is: beside the server's others, or on the search path.
pub(crate) fn program(name: &str) -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    versions.sort();
    versions.pop().unwrap_or_else(|| PathBuf::from(name))
}

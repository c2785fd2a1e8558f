//! `rollcall serve` as a process of its own on a database that outlives it: killed, and started again where it was.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rollcall_client::{Client, connect};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
    time::{Instant, timeout},
};

use crate::processes::{rollcall, rollcall_of};

/// Starting takes a fraction of a second; a machine that is kept busy by the test itself takes longer.
const START: Duration = Duration::from_secs(60);

/// One replica. Killed when dropped.
pub(crate) struct Replica {
    /// None: the program of this build.
    program: Option<PathBuf>,
    address: SocketAddr,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
    directory: tempfile::TempDir,
}

impl Replica {
    /// Starts one on a port of its own, with these further arguments of `serve`.
    pub(crate) async fn start(database_url: &str, arguments: &[&str]) -> Self {
        Self::start_with(database_url, arguments, &[]).await
    }

    /// The same with variables of the environment besides.
    pub(crate) async fn start_with(
        database_url: &str,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> Self {
        let mut replica = Self::prepared(database_url, arguments, variables);
        replica.restart().await;
        replica
    }

    /// One of another build.
    pub(crate) async fn of(program: &Path, database_url: &str, arguments: &[&str]) -> Self {
        let mut replica = Self::prepared(database_url, arguments, &[]);
        replica.runs(Some(program));
        replica.restart().await;
        replica
    }

    /// Which build it runs from its next start on. None: this one.
    pub(crate) fn runs(&mut self, program: Option<&Path>) {
        self.program = program.map(Path::to_owned);
    }

    fn prepared(database_url: &str, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        let address = free_address();
        let mut all: Vec<String> = vec!["serve".to_owned(), "--listen".to_owned(), address.to_string()];
        all.extend(["--database-url".to_owned(), database_url.to_owned()]);
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self { program: None, address, arguments: all, variables, log, child: None, directory }
    }

    /// Where it listens, before and after a restart.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same, without saying what is spoken there.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection to it.
    pub(crate) fn client(&self) -> Client {
        connect(&self.endpoint()).expect("an endpoint")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("it runs")
    }

    /// What it has written to its log, of all its lives.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it holds in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process in memory");
        let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        kilobytes * 1024
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.expect("it is killed");
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        child.wait().await.expect("its end")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("a signal");
    }

    /// Starts it again on the same port; returns when it listens.
    pub(crate) async fn restart(&mut self) {
        let deadline = Instant::now() + START;
        while !self.try_start().await {
            assert!(Instant::now() < deadline, "the replica does not start: {}", self.log());
        }
    }

    /// One attempt. False: it ended before it listened.
    async fn try_start(&mut self) -> bool {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("its log");
        let mut command = match &self.program {
            Some(program) => rollcall_of(program, &self.arguments),
            None => rollcall(&self.arguments),
        };
        // A replica that is killed would be waited for by every departure until its lease is over. Who tests that says so.
        command.env("ROLLCALL_ACCESS_SERVICE", "false");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(log).current_dir(self.directory.path());
        let mut child = command.spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if line.starts_with("listening on ") {
                    return true;
                }
            }
            false
        };
        let listens = timeout(START, listening).await.expect("the replica starts in time");
        if listens {
            // Nothing more is written there; the pipe stays open all the same.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            self.child = Some(child);
        }
        listens
    }
}

/// A port outside of the range that connections take theirs from: nobody is given it while its replica is down.
pub(crate) fn free_address() -> SocketAddr {
    for _ in 0..1_000 {
        let port = 10_000 + u16::try_from(uuid::Uuid::new_v4().as_u128() % 20_000).expect("small");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free")
}

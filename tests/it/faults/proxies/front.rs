//! A proxy that stands before two replicas of the service: a real one, as a process, killed and started again where it was.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rollcall_client::{Client, connect};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    time::timeout,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{page, programs};
use crate::{
    faults::scene::{soon, until},
    support::{Channel, free_address},
};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Envoy,
    Nginx,
    Haproxy,
}

impl Kind {
    /// As it stands in the names of figures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }
}

/// In what it differs from the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// After how long without a byte it cuts a stream.
    pub(super) idle: Duration,
    /// What else is put in the place of what.
    pub(super) changed: &'static [(&'static str, &'static str)],
}

impl Settings {
    pub(super) fn with(idle: Duration) -> Self {
        Self { idle, changed: &[] }
    }
}

/// Where a replica is called, and where it is asked how it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) calls: SocketAddr,
    pub(super) probes: SocketAddr,
}

/// What a proxy is told.
pub(super) struct Plan<'a> {
    pub(super) kind: Kind,
    pub(super) listen: SocketAddr,
    /// Where it can be asked how it does. Only Envoy is.
    pub(super) admin: SocketAddr,
    pub(super) replicas: [At; 2],
    pub(super) settings: Settings,
    /// A directory of its own.
    pub(super) directory: &'a Path,
}

/// Whether nobody listens there. Bound only: one that listens, however briefly, would take connections of who comes back.
fn is_free(address: SocketAddr) -> bool {
    let socket = TcpSocket::new_v4().expect("a socket");
    // What is left of old connections is in nobody's way.
    socket.set_reuseaddr(true).expect("a socket");
    socket.bind(address).is_ok()
}

/// One proxy. Killed when dropped.
pub(super) struct Front {
    kind: Kind,
    program: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
    replicas: [At; 2],
    settings: Settings,
    directory: TempDir,
    child: Option<Child>,
    /// How much there was in its log before this life.
    said: usize,
}

impl Front {
    /// Starts one; returns when calls get through it. None: this machine has none, and the reason was printed.
    pub(super) async fn start(kind: Kind, replicas: [At; 2], settings: Settings) -> Option<Self> {
        let program = programs::find(kind).await?;
        let mut front = Self {
            kind,
            program,
            listen: free_address(),
            admin: free_address(),
            replicas,
            settings,
            directory: TempDir::new().expect("a directory"),
            child: None,
            said: 0,
        };
        // Whoever else took one of the ports meanwhile keeps it.
        while !(front.try_start().await && front.passes().await) {
            (front.listen, front.admin) = (free_address(), free_address());
        }
        Some(front)
    }

    fn command(&self) -> Command {
        let directory = self.directory.path();
        let plan = Plan {
            kind: self.kind,
            listen: self.listen,
            admin: self.admin,
            replicas: self.replicas,
            settings: self.settings,
            directory,
        };
        let file = directory.join(if self.kind == Kind::Envoy { "envoy.yaml" } else { "settings" });
        fs::write(&file, page::settings(&plan)).expect("its settings");
        let mut command = Command::new(&self.program);
        // It inherits nothing that it could take for a setting.
        command.env_clear().current_dir("/");
        match self.kind {
            Kind::Envoy => {
                command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"])
            }
            Kind::Nginx => command.arg("-p").arg(directory).args(["-e", "stderr"]),
            Kind::Haproxy => command.arg("-db"),
        };
        command.arg(if self.kind == Kind::Haproxy { "-f" } else { "-c" }).arg(&file);
        command
    }

    /// One attempt. False: somebody else has its port.
    async fn try_start(&mut self) -> bool {
        // Who listens there already would be taken for the proxy until that has found out that it cannot.
        if !is_free(self.listen) {
            return false;
        }
        let path = self.directory.path().join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(path).expect("its log");
        self.said = self.log().len();
        let mut command = self.command();
        programs::with_libraries(&mut command, &self.program);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("its log")).stderr(log).kill_on_drop(true);
        self.child = Some(command.spawn().expect("the proxy runs"));
        let address = self.listen;
        let mut ended = false;
        until("the proxy to listen", async || {
            ended = self.has_ended();
            ended || TcpStream::connect(address).await.is_ok()
        })
        .await;
        // Once more: who took the port since answers at once, and the proxy ends a little later.
        !ended && !self.has_ended()
    }

    /// Whether it has ended by itself, because somebody else has its port.
    fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        let ended = child.is_some_and(|child| child.try_wait().expect("its state").is_some());
        if ended {
            let log = self.log().split_off(self.said);
            assert!(log.contains("in use") || log.contains("cannot bind"), "the proxy ended: {log}");
        }
        ended
    }

    /// All that it has said, in all of its lives.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Where it listens, before and after a restart.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// A new connection to it.
    pub(super) fn client(&self) -> Client {
        connect(&self.endpoint()).expect("an endpoint")
    }

    /// The same, for calls of the tests.
    pub(super) fn channel(&self) -> Channel {
        self.client().channel().into()
    }

    /// Waits until calls get through it. False: it ended meanwhile, because somebody else has its port.
    async fn passes(&mut self) -> bool {
        let (mut health, mut ended) = (HealthClient::new(self.channel()), false);
        until("a call through the proxy", async || {
            ended = self.has_ended();
            let call = health.check(HealthCheckRequest { service: String::new() });
            // Somebody else may never answer.
            ended || timeout(Duration::from_secs(5), call).await.is_ok_and(|answer| answer.is_ok())
        })
        .await;
        !ended && !self.has_ended()
    }

    /// Ends it by this signal; returns when it is gone.
    pub(super) async fn end(&mut self, signal: Signal) {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("a signal");
        soon("the end of the proxy", child.wait()).await.expect("its end");
    }

    /// Starts it where it was.
    pub(super) async fn start_again(&mut self) {
        // What the old one left may still have the port for a moment.
        until("the proxy", async || self.try_start().await).await;
    }

    /// What Envoy answers about itself.
    pub(super) async fn asked(&self, path: &str) -> String {
        let asking = async {
            let mut stream = TcpStream::connect(self.admin).await.expect("a connection");
            let request = format!("GET {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("it is asked");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            answer
        };
        soon("an answer of Envoy", asking).await
    }
}

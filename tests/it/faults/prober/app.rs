//! The apps: processes of the example `chat` of the client crate, each with its line to the service.

use std::{
    env,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::{super::scene::soon, line::Line};

/// The app of all of them.
pub(super) const APP: &str = "chat";

/// The built example. Built here where only the tests were.
fn program() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let own = env::current_exe().expect("this program");
        let profile = own.parent().and_then(|deps| deps.parent()).expect("the folder of the profile");
        let example = profile.join("examples/chat");
        if !example.exists() {
            let mut build = std::process::Command::new(env!("CARGO"));
            build.args(["build", "-p", "rollcall-client", "--example", "chat", "--target-dir"]);
            build.arg(profile.parent().expect("the target folder"));
            if profile.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().expect("cargo runs").success(), "the example `chat` is built");
        }
        example
    })
}

/// One instance. Killed when dropped.
pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) line: Line,
    pub(super) address: SocketAddr,
    /// Whether it answers only with a lease, as every app should.
    pub(super) leased: bool,
    /// When it was last woken from being frozen.
    pub(super) woken: Option<Instant>,
    flags: &'static [&'static str],
    child: Child,
}

impl App {
    pub(super) async fn start(
        name: &'static str,
        service: SocketAddr,
        flags: &'static [&'static str],
    ) -> Self {
        tokio::task::spawn_blocking(program).await.expect("an example");
        let line = Line::to(service).await;
        let (child, address) = run(name, &line, "127.0.0.1:0".parse().expect("an address"), flags).await;
        let leased = !flags.contains(&"--lease-off");
        Self { name, line, address, leased, woken: None, flags, child }
    }

    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn wake(&mut self) {
        // Before it goes on: what it answers from then on it may have decided only now.
        self.woken = Some(Instant::now());
        self.signal(Signal::CONT);
    }

    /// SIGKILL; returns when it is gone.
    pub(super) async fn kill(&mut self) {
        self.child.kill().await.expect("it is killed");
    }

    /// Starts it again under its name, where it listened.
    pub(super) async fn restart(&mut self) {
        (self.child, _) = run(self.name, &self.line, self.address, self.flags).await;
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("a signal");
    }
}

async fn run(name: &str, line: &Line, listen: SocketAddr, flags: &[&str]) -> (Child, SocketAddr) {
    let mut command = Command::new(program());
    command.args(["--service", &format!("http://{}", line.address), "--app", APP, "--instance", name]);
    command.args(["--listen", &listen.to_string()]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the example runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
    let said = soon("an app that listens", lines.next_line()).await.expect("a line");
    let said = said.unwrap_or_else(|| panic!("{name} ended before it listened"));
    let address = said.strip_prefix("listening ").expect("an address").parse().expect("an address");
    // Nothing more is written there; the pipe stays open all the same.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

/// Long enough that no lease from before goes on.
pub(super) fn over(ttl: Duration) -> Duration {
    ttl + Duration::from_millis(1_200)
}

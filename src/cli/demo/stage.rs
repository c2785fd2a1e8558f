//! The processes of the demo and the directory that they live in. Whatever happens, [`Stage::clear`] ends them and removes
//! it; dropping the stage does the same in haste.

use std::{
    collections::BTreeMap,
    env, fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rollcall_client::{Client, Tables, v1};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::watch,
};
use uuid::Uuid;

use super::{
    DemoError,
    inbox::{self, Heard, Told},
};
use crate::cli::watch::read_replica;

/// A short path, since a Unix socket's may have at most 107 bytes, and one that the user `postgres` can reach.
const PLACE: &str = "/tmp";
/// From nothing to a running service; initdb on a slow disk takes its time.
const STARTING: Duration = Duration::from_secs(90);
/// How long a process may take to end in order before it is killed.
const ENDING: Duration = Duration::from_secs(15);
/// Between two looks at what the service stores; there is nothing to be woken by.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// So much of a log is shown when its process failed.
const LAST_WORDS: usize = 12;

pub(super) struct Stage {
    directory: PathBuf,
    endpoint: String,
    service: Option<Child>,
    followers: Vec<Follower>,
}

struct Follower {
    app: &'static str,
    child: Child,
    heard: watch::Sender<Heard>,
}

impl Stage {
    pub(super) fn new() -> Result<Self, DemoError> {
        let directory = Path::new(PLACE).join(format!("rollcall-demo-{}", Uuid::new_v4().simple()));
        let made = fs::create_dir(&directory)
            .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)));
        made.map_err(|source| DemoError::System { what: "make a directory under /tmp", source })?;
        Ok(Self { directory, endpoint: String::new(), service: None, followers: Vec::new() })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Starts the service and waits until it says where it listens.
    pub(super) async fn start_service(&mut self) -> Result<(), DemoError> {
        let data = self.path("data");
        let mut command = self.command("serve")?;
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
        let mut child = spawn(&mut command)?;
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        self.service = Some(child);
        let not_started = || DemoError::NotStarted { log: self.last_words("serve") };
        let listening = tokio::time::timeout(STARTING, address(lines.ok_or_else(not_started)?)).await;
        let (address, rest) = listening.ok().flatten().ok_or_else(not_started)?;
        self.endpoint = format!("http://{address}");
        // Whatever else it prints must not fill the pipe.
        tokio::spawn(async move {
            let mut rest = rest;
            while let Ok(Some(_)) = rest.next_line().await {}
        });
        Ok(())
    }

    /// Starts an instance of an app.
    pub(super) fn start_follower(&mut self, app: &'static str) -> Result<(), DemoError> {
        let mut command = self.command(app)?;
        command.args(["--endpoint", &self.endpoint, "--app", app, "--instance", &instance(app)]);
        command.args(["--output", "jsonl", "--state-file"]).arg(self.path(&format!("{app}.state")));
        command.arg("--replica-out").arg(self.path(&format!("{app}.csv")));
        let mut child = spawn(&mut command)?;
        let heard = child.stdout.take().map(inbox::listen).unwrap_or_default();
        self.followers.push(Follower { app, child, heard });
        Ok(())
    }

    /// Waits until every app has heard everything that stands in the log now, and those in `told` of a change at least.
    pub(super) async fn await_head(
        &self,
        client: &Client,
        told: &[&str],
        within: Duration,
    ) -> Result<(), DemoError> {
        let list = v1::ListSubscriptionsRequest::default();
        let head = client.feed().list_subscriptions(list).await?.into_inner().head_position;
        let deadline = tokio::time::Instant::now() + within;
        for follower in &self.followers {
            let mut heard = follower.heard.subscribe();
            let due = usize::from(told.contains(&follower.app));
            let arrived = heard.wait_for(|heard| heard.position >= head && heard.told.len() >= due);
            if !matches!(tokio::time::timeout_at(deadline, arrived).await, Ok(Ok(_))) {
                let app = follower.app;
                return Err(DemoError::NotTold { app, within, log: self.last_words(app) });
            }
        }
        Ok(())
    }

    /// Waits until the service has stored that every instance applied everything.
    pub(super) async fn await_acknowledged(
        &self,
        client: &Client,
        within: Duration,
    ) -> Result<(), DemoError> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let list = v1::ListSubscriptionsRequest::default();
            let current = client.feed().list_subscriptions(list).await?.into_inner().subscriptions;
            let behind = self.followers.iter().find(|follower| {
                let instance = instance(follower.app);
                !current
                    .iter()
                    .any(|held| held.app == follower.app && held.instance == instance && held.lag == 0)
            });
            let Some(Follower { app, .. }) = behind else { return Ok(()) };
            if tokio::time::Instant::now() > deadline {
                return Err(DemoError::NotTold { app, within, log: self.last_words(app) });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What each app was told since this was asked last.
    pub(super) fn take_told(&self) -> Vec<(&'static str, Vec<Told>)> {
        let take = |follower: &Follower| {
            let mut told = Vec::new();
            follower.heard.send_modify(|heard| told = std::mem::take(&mut heard.told));
            (follower.app, told)
        };
        self.followers.iter().map(take).collect()
    }

    /// How many changes each app was told in all.
    pub(super) fn delivered(&self) -> BTreeMap<&'static str, usize> {
        self.followers.iter().map(|follower| (follower.app, follower.heard.borrow().delivered)).collect()
    }

    /// Ends the instances in order, and reads what they kept.
    pub(super) async fn end_followers(&mut self) -> Result<Vec<(&'static str, Tables)>, DemoError> {
        let mut replicas = Vec::new();
        for mut follower in std::mem::take(&mut self.followers) {
            let app = follower.app;
            if !end(&mut follower.child).await {
                return Err(DemoError::NotEnded { app, log: self.last_words(app) });
            }
            let replica = read_replica(&self.path(&format!("{app}.state")))?;
            replicas.push((app, replica.ok_or(DemoError::NoState { app })?));
        }
        Ok(replicas)
    }

    /// Ends everything and removes the directory.
    pub(super) async fn clear(mut self) {
        for mut follower in std::mem::take(&mut self.followers) {
            end(&mut follower.child).await;
        }
        if let Some(mut service) = self.service.take() {
            end(&mut service).await;
        }
    }

    fn command(&self, name: &str) -> Result<Command, DemoError> {
        let system = |what| move |source| DemoError::System { what, source };
        let program = env::current_exe().map_err(system("find this program"))?;
        let log = fs::File::create(self.path(&format!("{name}.log"))).map_err(system("write a log"))?;
        let mut command = Command::new(program);
        command.arg(if name == "serve" { "serve" } else { "watch" });
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        // Out of the terminal's group: Ctrl-C reaches the demo alone, which then ends the others in their order.
        command.process_group(0);
        Ok(command)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn last_words(&self, name: &str) -> String {
        let log = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The processes first: what is still running writes into the directory.
        self.followers.clear();
        self.service = None;
        // A killed Postgres may still be removing its own files for a moment.
        let removed = (0..20).any(|_| match fs::remove_dir_all(&self.directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(_) => {
                std::thread::sleep(LOOK_AGAIN);
                false
            }
        });
        if !removed {
            eprintln!("rollcall demo: cannot remove {}", self.directory.display());
        }
    }
}

fn instance(app: &str) -> String {
    format!("{app}-1")
}

fn spawn(command: &mut Command) -> Result<Child, DemoError> {
    command.spawn().map_err(|source| DemoError::System { what: "start a process", source })
}

/// The address in the line `listening on ADDRESS`, and the lines after it.
async fn address(
    mut lines: Lines<BufReader<ChildStdout>>,
) -> Option<(SocketAddr, Lines<BufReader<ChildStdout>>)> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix("listening on ") {
            return Some((address.trim().parse().ok()?, lines));
        }
    }
    None
}

/// Asks a process to end, then makes it; says whether it ended well by itself.
async fn end(child: &mut Child) -> bool {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended just now: then waiting tells.
        let _ = kill_process(pid, Signal::TERM);
    }
    match tokio::time::timeout(ENDING, child.wait()).await {
        Ok(status) => status.is_ok_and(|status| status.success()),
        Err(_) => {
            let _ = child.kill().await;
            false
        }
    }
}

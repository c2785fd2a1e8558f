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
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
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
    instances: Vec<Instance>,
}

/// A process that answers access checks for an app.
struct Instance {
    app: &'static str,
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What an instance answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Allowed,
    Denied,
    Stale,
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
        Ok(Self {
            directory,
            endpoint: String::new(),
            service: None,
            followers: Vec::new(),
            instances: Vec::new(),
        })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Starts the service and waits until it says where it listens.
    pub(super) async fn start_service(&mut self) -> Result<(), DemoError> {
        let data = self.path("data");
        let mut command = self.command("serve", "serve")?;
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

    /// Starts a process that follows an app's stream and says what it is told.
    pub(super) fn start_follower(&mut self, app: &'static str) -> Result<(), DemoError> {
        let mut command = self.command("watch", app)?;
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

    /// Starts a process that answers access checks for an app.
    pub(super) fn start_instance(&mut self, app: &'static str) -> Result<(), DemoError> {
        let mut command = self.command("demo-instance", app)?;
        command.args(["--endpoint", &self.endpoint, "--app", app, "--instance", &instance(app)]);
        let mut child = spawn(command.stdin(Stdio::piped()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(DemoError::Silent { app, log: self.log_of(app) });
        };
        self.instances.push(Instance { app, child, stdin, lines: BufReader::new(stdout).lines() });
        Ok(())
    }

    /// Asks the instance of an app something; [`Stage::said`] is its answer.
    pub(super) async fn ask(
        &mut self,
        app: &'static str,
        what: &str,
        account_id: &str,
        workspace_id: &str,
    ) -> Result<(), DemoError> {
        let line = format!("{what} {account_id} {workspace_id}\n");
        let written = self.instance(app)?.stdin.write_all(line.as_bytes()).await;
        written.map_err(|source| DemoError::System { what: "ask an instance", source })
    }

    /// Its next answer.
    pub(super) async fn said(&mut self, app: &'static str) -> Result<Said, DemoError> {
        let line = tokio::time::timeout(ENDING, self.instance(app)?.lines.next_line()).await;
        match line.ok().and_then(Result::ok).flatten().as_deref() {
            Some("allowed") => Ok(Said::Allowed),
            Some("denied") => Ok(Said::Denied),
            Some("stale") => Ok(Said::Stale),
            _ => Err(DemoError::Silent { app, log: self.log_of(app) }),
        }
    }

    /// Whether the instance of an app lets a person in.
    pub(super) async fn check(
        &mut self,
        app: &'static str,
        account_id: &str,
        workspace_id: &str,
    ) -> Result<Said, DemoError> {
        self.ask(app, "check", account_id, workspace_id).await?;
        self.said(app).await
    }

    /// Stops the process of an app in its tracks.
    pub(super) fn freeze(&mut self, app: &'static str) -> Result<(), DemoError> {
        signal(&self.instance(app)?.child, Signal::STOP)
            .map_err(|source| DemoError::System { what: "stop a process", source })
    }

    /// Lets it go on.
    pub(super) fn wake(&mut self, app: &'static str) -> Result<(), DemoError> {
        signal(&self.instance(app)?.child, Signal::CONT)
            .map_err(|source| DemoError::System { what: "continue a process", source })
    }

    /// Ends the instances.
    pub(super) async fn end_instances(&mut self) {
        for mut instance in std::mem::take(&mut self.instances) {
            end(&mut instance.child).await;
        }
    }

    /// What the process of an app said last on its stderr.
    pub(super) fn log_of(&self, app: &str) -> String {
        self.last_words(app)
    }

    fn instance(&mut self, app: &'static str) -> Result<&mut Instance, DemoError> {
        match self.instances.iter().position(|instance| instance.app == app) {
            Some(at) => Ok(&mut self.instances[at]),
            None => Err(DemoError::Silent { app, log: self.last_words(app) }),
        }
    }

    /// Ends everything and removes the directory.
    pub(super) async fn clear(mut self) {
        self.end_instances().await;
        for mut follower in std::mem::take(&mut self.followers) {
            end(&mut follower.child).await;
        }
        if let Some(mut service) = self.service.take() {
            end(&mut service).await;
        }
    }

    /// This program with a command, whose log gets a name.
    fn command(&self, what: &str, name: &str) -> Result<Command, DemoError> {
        let system = |what| move |source| DemoError::System { what, source };
        let program = env::current_exe().map_err(system("find this program"))?;
        let log = fs::File::create(self.path(&format!("{name}.log"))).map_err(system("write a log"))?;
        let mut command = Command::new(program);
        command.arg(what);
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
        self.instances.clear();
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

fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    pid.map_or(Ok(()), |pid| kill_process(pid, signal).map_err(io::Error::from))
}

/// Asks a process to end, then makes it; says whether it ended well by itself.
async fn end(child: &mut Child) -> bool {
    // It may have ended just now: then waiting tells. One that is frozen hears of it only when it goes on.
    let _ = signal(child, Signal::TERM);
    let _ = signal(child, Signal::CONT);
    match tokio::time::timeout(ENDING, child.wait()).await {
        Ok(status) => status.is_ok_and(|status| status.success()),
        Err(_) => {
            let _ = child.kill().await;
            false
        }
    }
}

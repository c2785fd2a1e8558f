//! The instance under test: a process that is asked for access over its stdin and stdout.

use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};
use uuid::Uuid;

/// An answer comes from memory; this is for a machine that is busy.
const ANSWER: Duration = Duration::from_secs(5);
/// So many of the last lines on stderr are kept, to be shown with a failure.
const ERRORS_KEPT: usize = 10;

/// What an instance says of somebody's access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Allowed(String),
    Denied,
    Stale,
    /// It has ended.
    Gone,
    /// It gave no answer in time, or none that is one.
    Nonsense(String),
}

impl Said {
    pub(super) fn allowed(role: &str) -> Self {
        Self::Allowed(role.to_owned())
    }

    fn read(line: &str) -> Self {
        match line.trim().split(' ').collect::<Vec<_>>()[..] {
            ["allowed", role] => Self::allowed(role),
            ["denied"] => Self::Denied,
            ["stale"] => Self::Stale,
            _ => Self::Nonsense(format!("the line {line:?}")),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(role) => write!(f, "`allowed {role}`"),
            Self::Denied => f.write_str("`denied`"),
            Self::Stale => f.write_str("`stale`"),
            Self::Gone => f.write_str("nothing, the process has ended"),
            Self::Nonsense(what) => f.write_str(what),
        }
    }
}

/// Where an instance is to be started, and what it is told.
#[derive(Debug, Clone)]
pub(super) struct Start<'a> {
    pub(super) command: &'a [String],
    pub(super) url: String,
    pub(super) app: &'a str,
    pub(super) instance: String,
    /// What it may keep its state in.
    pub(super) state: &'a Path,
}

/// A running instance. It and what it started end when this is dropped.
pub(super) struct Instance {
    child: Child,
    group: Option<Pid>,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    errors: Arc<Mutex<VecDeque<String>>>,
}

impl Instance {
    pub(super) fn start(start: Start<'_>) -> std::io::Result<Self> {
        let Start { command, url, app, instance, state } = start;
        let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(arguments)
            .env("ROLLCALL_URL", url)
            .env("ROLLCALL_APP", app)
            .env("ROLLCALL_INSTANCE", instance)
            .env("ROLLCALL_STATE", state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: a command that wraps the instance is stopped and ended with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let stderr = child.stderr.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let errors: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let kept = Arc::clone(&errors);
        // Ends with the process, which closes its stderr.
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == ERRORS_KEPT {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        Ok(Self { child, group, stdin, stdout: BufReader::new(stdout).lines(), errors })
    }

    /// Asks, and gives the answer.
    pub(super) async fn check(&mut self, account: Uuid, workspace: Uuid) -> Said {
        self.ask(account, workspace).await;
        self.answer().await
    }

    /// Asks only. An instance that has ended says so when its answer is read.
    pub(super) async fn ask(&mut self, account: Uuid, workspace: Uuid) {
        if let Some(stdin) = &mut self.stdin {
            let line = format!("check {account} {workspace}\n");
            if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
                self.stdin = None;
            }
        }
    }

    /// The answer to what was asked.
    pub(super) async fn answer(&mut self) -> Said {
        match tokio::time::timeout(ANSWER, self.stdout.next_line()).await {
            Ok(Ok(Some(line))) => Said::read(&line),
            Ok(_) => Said::Gone,
            Err(_) => Said::Nonsense(format!("no answer within {} s", ANSWER.as_secs())),
        }
    }

    /// Freezes the process with all that it started.
    pub(super) fn freeze(&self) -> std::io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen process go on.
    pub(super) fn thaw(&self) -> std::io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> std::io::Result<()> {
        match self.group {
            Some(group) => kill_process_group(group, signal).map_err(Into::into),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    /// Waits until it ends by itself, and says how.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("the process has ended ({status})"),
            Err(error) => format!("the process is out of reach ({error})"),
        }
    }

    /// Ends its stdin, which asks it to end. `None`: it did not within the time.
    pub(super) async fn end(&mut self, within: Duration) -> Option<ExitStatus> {
        self.stdin = None;
        tokio::time::timeout(within, self.child.wait()).await.ok()?.ok()
    }

    /// The last lines that it wrote on stderr.
    pub(super) fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Gone already, where nothing is left to end.
        let _ = self.signal(Signal::KILL);
    }
}

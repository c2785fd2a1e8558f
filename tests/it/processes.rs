//! The `rollcall` binary as a process: commands that end, and followers that are read, stopped and killed. Everything is
//! awaited with a bound.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// Nothing that a test awaits takes longer on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// A command that inherits none of the settings of whoever runs the tests.
pub(crate) fn rollcall<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    rollcall_of(Path::new(env!("CARGO_BIN_EXE_rollcall")), arguments)
}

/// The same of another build.
pub(crate) fn rollcall_of<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ROLLCALL_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    timeout(BOUND, rollcall(arguments).output()).await.expect("the command ends in time").unwrap()
}

/// Runs a command that must succeed; gives its stdout.
pub(crate) async fn run_well<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let output = run(arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with exit code 1; gives its stderr.
pub(crate) async fn run_badly<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let output = run(arguments).await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    errors
}

/// A command that was run by somebody at a terminal.
pub(crate) struct Session {
    pub(crate) code: Option<i32>,
    /// All that was to be seen on the terminal, what was typed included.
    pub(crate) screen: String,
    pub(crate) stdout: String,
}

/// Runs a command whose stdin and stderr are a terminal, at which this is typed.
pub(crate) async fn at_a_terminal<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    typed: &str,
) -> Session {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = File::from(rustix::fs::open(name, flags, Mode::empty()).unwrap());
    let mut terminal = File::from(terminal);
    let mut command = rollcall(arguments);
    command.stdin(inside.try_clone().unwrap()).stderr(inside).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    // With it go the copies of the terminal that this process holds: reading ends when the command has.
    drop(command);
    terminal.write_all(typed.as_bytes()).unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut screen = Vec::new();
        // Linux ends it with an error.
        let _ = terminal.read_to_end(&mut screen);
        String::from_utf8(screen).unwrap()
    });
    let output = timeout(BOUND, child.wait_with_output()).await.expect("the command ends in time").unwrap();
    let screen = timeout(BOUND, reading).await.expect("the terminal is closed").unwrap();
    Session { code: output.status.code(), screen, stdout: String::from_utf8(output.stdout).unwrap() }
}

/// A `rollcall watch --output jsonl` that is running. Its output is read all the time, so that it is never held up.
pub(crate) struct Follower {
    child: Child,
    reader: JoinHandle<()>,
    lines: mpsc::UnboundedReceiver<Value>,
    errors: watch::Receiver<String>,
    /// Every line that was looked at so far.
    pub(crate) seen: Vec<Value>,
}

/// What a follower left.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) errors: String,
    pub(crate) seen: Vec<Value>,
}

impl Follower {
    pub(crate) fn start<S: AsRef<OsStr>>(
        endpoint: &str,
        app: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::begin(rollcall(["watch", "--output", "jsonl", "--endpoint", endpoint, "--app", app]), arguments)
    }

    /// One of another build.
    pub(crate) fn of(program: &Path, endpoint: &str, app: &str) -> Self {
        let arguments = ["watch", "--output", "jsonl", "--endpoint", endpoint, "--app", app];
        Self::begin(rollcall_of(program, arguments), [] as [&str; 0])
    }

    fn begin<S: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (reader, lines) = read_lines(child.stdout.take().unwrap());
        let errors = read_errors(child.stderr.take().unwrap());
        Self { child, reader, lines, errors, seen: Vec::new() }
    }

    /// Takes lines until one of this kind that fits has come; gives that one.
    pub(crate) async fn until(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let taking = async {
            while let Some(line) = self.lines.recv().await {
                self.seen.push(line.clone());
                if line["kind"] == kind && fits(&line) {
                    return line;
                }
            }
            panic!("the follower ended before a {kind} that fits: {}", self.errors.borrow().as_str())
        };
        timeout(BOUND, taking).await.unwrap_or_else(|_| panic!("no {kind} that fits came in time"))
    }

    /// Takes lines until everything up to this position was told.
    pub(crate) async fn until_position(&mut self, position: i64) {
        // A bookmark follows within a second, also where the last change is not in this app's scope.
        self.until("bookmark", |line| line["position"].as_i64() >= Some(position)).await;
    }

    /// Waits until it has said this on stderr.
    pub(crate) async fn until_error(&mut self, text: &str) {
        let said = self.errors.wait_for(|errors| errors.contains(text));
        timeout(BOUND, said).await.unwrap_or_else(|_| panic!("{text:?} was not said in time")).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("the follower runs"), signal).unwrap();
    }

    /// Sends SIGTERM and waits.
    pub(crate) async fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Sends SIGKILL and waits.
    pub(crate) async fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// Closes its stdout, as a pager that was quit, and waits.
    pub(crate) async fn abandon(mut self) -> Option<i32> {
        self.reader.abort();
        timeout(BOUND, self.child.wait()).await.expect("the follower ends in time").unwrap().code()
    }

    /// Waits for the end, and takes what is left.
    pub(crate) async fn ended(mut self) -> Ended {
        let status = timeout(BOUND, self.child.wait()).await.expect("the follower ends in time").unwrap();
        timeout(BOUND, self.reader).await.expect("its output ends with it").unwrap();
        while let Some(line) = self.lines.recv().await {
            self.seen.push(line);
        }
        let mut errors = self.errors;
        // The sender goes when everything was read.
        while errors.changed().await.is_ok() {}
        let errors = errors.borrow().clone();
        Ended { code: status.code(), errors, seen: self.seen }
    }
}

fn read_lines(stdout: ChildStdout) -> (JoinHandle<()>, mpsc::UnboundedReceiver<Value>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let reader = tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            // The last line of a killed process may be half a line.
            if let Ok(line) = serde_json::from_str(&line) {
                // Whoever does not listen any more does not need it.
                let _ = sender.send(line);
            }
        }
    });
    (reader, receiver)
}

fn read_errors(stderr: ChildStderr) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|errors| {
                errors.push_str(&line);
                errors.push('\n');
            });
        }
    });
    receiver
}

/// The positions of the changes in these lines, in the order in which they came.
pub(crate) fn positions(lines: &[Value]) -> Vec<i64> {
    lines
        .iter()
        .filter(|line| line["kind"] == "change")
        .map(|line| line["position"].as_i64().unwrap())
        .collect()
}

/// The rows of a roster file without its header, optionally of one app; whatever their order and line ends.
pub(crate) fn roster(path: &Path, app: Option<&str>) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().skip(1).filter(|row| app.is_none_or(|app| row.split(',').nth(2) == Some(app)));
    rows.map(str::to_owned).collect()
}

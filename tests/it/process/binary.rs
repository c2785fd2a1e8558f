//! The binary as a process of its own, with what it prints in files.

use std::{
    ffi::OsStr,
    fs,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Child;
use tonic::transport::Endpoint;

use crate::{
    processes::rollcall,
    server::{soon, until},
    support::Channel,
};

/// A run of `rollcall`. Killed when dropped.
pub(crate) struct Run {
    child: Child,
    output: TempDir,
}

impl Run {
    /// Starts it with these arguments, and of our own variables only those given.
    pub(crate) fn new<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &str)]) -> Self {
        let output = TempDir::new().expect("a directory");
        let file = |name| Stdio::from(fs::File::create(output.path().join(name)).expect("a file"));
        let mut command = rollcall(arguments);
        command.envs(variables.iter().copied()).stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().expect("the binary runs");
        Self { child, output }
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.output.path().join("stdout")).expect("its output"))
            .into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.output.path().join("stderr")).expect("its output"))
            .into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("a signal");
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        soon("the end of the process", self.child.wait()).await.expect("its end")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }
}

/// A run that ends by itself: its exit code, and all that it said.
pub(crate) async fn ended<A: AsRef<OsStr>>(
    arguments: &[A],
    variables: &[(&str, &str)],
) -> (Option<i32>, String) {
    let mut run = Run::new(arguments, variables);
    let status = run.end().await;
    (status.code(), run.stdout() + &run.stderr())
}

/// A `rollcall serve` that serves.
pub(crate) struct Service {
    pub(crate) run: Run,
    endpoint: String,
}

impl Service {
    /// Starts it on a free port, and returns when it listens.
    pub(crate) async fn start(arguments: &[&OsStr]) -> Self {
        let fixed = ["serve", "--listen", "127.0.0.1:0"].map(OsStr::new);
        let mut run = Run::new(&[&fixed, arguments].concat(), &[]);
        let mut address = None;
        until("the address", async || {
            assert!(!run.has_ended(), "it ended: {}", run.stderr());
            let said = run.stdout();
            // A whole line: the end of the address is there too.
            let line = said.split_inclusive('\n').find_map(|line| line.strip_prefix("listening on "));
            address = line.and_then(|line| line.strip_suffix('\n')).map(str::to_owned);
            address.is_some()
        })
        .await;
        Self { run, endpoint: format!("http://{}", address.expect("found")) }
    }

    /// A new connection to it.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(self.endpoint.clone()).expect("an endpoint").connect_lazy().into()
    }

    /// Its address alone.
    pub(crate) fn address(&self) -> &str {
        self.endpoint.strip_prefix("http://").expect("as it was made")
    }

    /// Lets it drain, and end.
    pub(crate) async fn terminate(mut self) -> Run {
        self.run.signal(Signal::TERM);
        let status = self.run.end().await;
        assert!(status.success(), "{status:?}: {}", self.run.stderr());
        self.run
    }
}

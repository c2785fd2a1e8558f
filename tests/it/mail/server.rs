//! The mail server of the tests, a process: `tests/python/mail_server.py`.

use std::{collections::BTreeMap, path::Path, process::Stdio};

use rollcall::mail::Delivery;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{server::soon, support::python};

pub(super) const FROM: &str = "Rollcall <no-reply@example.net>";

/// How a service delivers to it.
pub(super) fn delivery(url: &str) -> Delivery {
    delivery_with(url, None)
}

/// The same, with an address to open in invitations.
pub(super) fn delivery_with(url: &str, invitation_url: Option<&str>) -> Delivery {
    Delivery::parse(Some(url), Some(FROM), invitation_url).expect("settings").expect("a mail server")
}

/// A message as it arrived.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Arrived {
    /// The sender's address in the envelope.
    pub(super) from: String,
    pub(super) recipients: Vec<String>,
    /// By their names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) text: String,
}

impl Arrived {
    pub(super) fn to(&self) -> &str {
        let [to] = self.recipients.as_slice() else { panic!("one recipient: {self:?}") };
        to
    }

    pub(super) fn subject(&self) -> &str {
        &self.headers["subject"]
    }

    pub(super) fn id(&self) -> &str {
        &self.headers["message-id"]
    }
}

/// A running mail server. Ends when dropped.
pub(super) struct MailServer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl MailServer {
    /// Starts one. None: there is no Python for it.
    pub(super) async fn start() -> Option<Self> {
        Self::on(0, 0.0).await
    }

    /// Starts one on this port, which thinks so many seconds about a message that it has got.
    pub(super) async fn on(port: u16, delay: f64) -> Option<Self> {
        Self::with(&[&port.to_string(), &delay.to_string()]).await
    }

    /// Starts one with these arguments.
    pub(super) async fn with(arguments: &[&str]) -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/mail_server.py");
        let mut command = Command::new(python().await?);
        // Without bytecode: it would be left beside the sources.
        command.arg("-B").arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("python");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let first = soon("the port", lines.next_line()).await.expect("a line").expect("it listens");
        Some(Self { child, lines, port: first.parse().expect("a port") })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// Ends it.
    pub(super) async fn stop(mut self) {
        self.child.kill().await.expect("it is killed");
    }

    /// Ends it; gives the messages that nobody asked for.
    pub(super) async fn rest(mut self) -> Vec<Arrived> {
        self.child.kill().await.expect("it is killed");
        let mut rest = Vec::new();
        while let Some(line) = soon("the end", self.lines.next_line()).await.expect("a line") {
            rest.push(serde_json::from_str(&line).expect("a message"));
        }
        rest
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Arrived {
        let line = soon("a mail", self.lines.next_line()).await.expect("a line").expect("it runs");
        serde_json::from_str(&line).expect("a message")
    }
}

//! `rollcall agent`: checks, revocations and receipts over HTTP, with the real service behind it.

mod checks;
mod ends;
mod grpc;
mod guide;
mod process;
mod receipts;
mod resume;

use std::{net::SocketAddr, time::Duration};

use rollcall::agent::{Agent, AgentError, Options};
use rollcall_client::{Client, ReplicaOptions, v1::*};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::fixtures::{Org, Person, World};

/// Longer than any answer takes, also on a busy machine: only a defect runs into it.
const BOUND: Duration = Duration::from_secs(20);

/// An agent in this process.
struct Beside {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), AgentError>>,
}

/// What was answered.
#[derive(Debug)]
struct Reply {
    code: u16,
    head: String,
    body: Value,
}

impl Beside {
    /// One of app `chat` that follows this world, and answers already.
    async fn start(world: &World) -> Self {
        Self::with(world, |_| {}).await
    }

    async fn with(world: &World, change: impl FnOnce(&mut Options)) -> Self {
        let agent = Self::of(world.server().channel().unchecked().into(), change).await;
        agent.events("").await.until("live").await;
        agent
    }

    /// One that follows what answers to this client.
    async fn of(client: Client, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options {
            client,
            replica: ReplicaOptions::new("chat", "chat-1"),
            listen: "127.0.0.1:0".parse().expect("an address"),
            receipt_patience: BOUND,
            write_patience: BOUND,
        };
        change(&mut options);
        let stop = CancellationToken::new();
        let agent = Agent::start(options, stop.clone()).await.expect("a port");
        Self { address: agent.address(), stop, task: tokio::spawn(agent.serve()) }
    }

    async fn send(&self, head: &str, body: &str) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).await.expect("a connection");
        let length = body.len();
        let request = format!("{head}\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}");
        connection.write_all(request.as_bytes()).await.expect("sent");
        connection
    }

    /// As HTTP/1.0, so that the answer ends with the connection.
    async fn call(&self, method: &str, path: &str, body: &str) -> Reply {
        let mut connection = self.send(&format!("{method} {path} HTTP/1.0"), body).await;
        let mut text = String::new();
        timeout(BOUND, connection.read_to_string(&mut text)).await.expect("in time").expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
        let body = serde_json::from_str(body).unwrap_or(Value::String(body.to_owned()));
        Reply { code, head: head.to_ascii_lowercase(), body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call("POST", path, &body.to_string()).await
    }

    async fn check(&self, account: &str, workspace: &str) -> Reply {
        self.get(&format!("/v1/check?account_id={account}&workspace_id={workspace}")).await
    }

    /// The stream of a reader that gives itself no name.
    async fn events(&self, last_event_id: &str) -> Events {
        self.events_of("/v1/revocations", last_event_id).await
    }

    async fn events_of(&self, path: &str, last_event_id: &str) -> Events {
        let head = format!("GET {path} HTTP/1.0\r\nlast-event-id: {last_event_id}");
        let mut lines = BufReader::new(self.send(&head, "").await).lines();
        let status = timeout(BOUND, lines.next_line()).await.expect("in time").expect("a line");
        assert_eq!(status.as_deref(), Some("HTTP/1.0 200 OK"));
        while lines.next_line().await.expect("a line").is_some_and(|line| !line.is_empty()) {}
        Events { lines, last_id: String::new(), beats: 0 }
    }

    /// Says that a revocation was ended by the reader of [`Beside::events`].
    async fn ended(&self, revocation: &Value, sessions: u32) -> Reply {
        let receipt = serde_json::json!({ "change_id": revocation["change_id"], "ended_sessions": sessions });
        self.post("/v1/receipts", &receipt).await
    }

    /// Ends it as a signal would.
    async fn end(self) {
        self.stop.cancel();
        timeout(BOUND, self.task).await.expect("in time").expect("no panic").expect("in order");
    }
}

/// A stream of events that is read.
struct Events {
    lines: Lines<BufReader<TcpStream>>,
    /// The last id that came.
    last_id: String,
    /// How many comments came.
    beats: usize,
}

/// An event: its kind, and its data.
type Event = (String, Value);

impl Events {
    /// The next event. `None`: the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        let (mut kind, mut data) = (String::new(), Value::Null);
        loop {
            let line = timeout(BOUND, self.lines.next_line()).await.expect("in time").ok()??;
            if line.is_empty() {
                if !kind.is_empty() {
                    return Some((kind, data));
                }
            } else if line.starts_with(':') {
                self.beats += 1;
            } else {
                let (field, value) = line.split_once(": ").expect("a field");
                match field {
                    "id" => self.last_id = value.to_owned(),
                    "event" => kind = value.to_owned(),
                    "data" => data = serde_json::from_str(value).expect("JSON"),
                    "retry" => assert_eq!(value, "1000"),
                    _ => panic!("{line}"),
                }
            }
        }
    }

    /// The data of the next event of this kind.
    async fn until(&mut self, kind: &str) -> Value {
        let reading = async {
            loop {
                let (came, data) = self.next().await.unwrap_or_else(|| panic!("it ended before {kind}"));
                if came == kind {
                    return data;
                }
            }
        };
        // Heartbeats come all the time.
        timeout(BOUND, reading).await.unwrap_or_else(|_| panic!("no {kind} in time"))
    }

    /// The data of the next revocation.
    async fn revocation(&mut self) -> Value {
        self.until("revocation").await
    }

    /// Reads to the end.
    async fn end(mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

/// An organization with somebody in its two workspaces of `chat`.
async fn scene(world: &World) -> (Org, Person) {
    let org = world.organization("ada").await;
    world.workspace(&org, "chat", "random").await;
    let bob = person(world, &org, "bob").await;
    (org, bob)
}

/// Somebody in all workspaces, so that leaving one is not the end of membership.
async fn person(world: &World, org: &Org, name: &str) -> Person {
    let workspaces = world.workspaces(org).await;
    let ids: Vec<&String> = workspaces.iter().map(|workspace| &workspace.workspace_id).collect();
    world.member_in(org, name, &ids).await
}

/// Takes somebody out of the workspace alone: one revocation. Returns the token.
async fn out(world: &World, org: &Org, person: &Person) -> String {
    world.operator().remove_from(org, &org.general, person).await.expect("removed").token
}

/// Waits until what the service knows of `chat` fits.
async fn report(world: &World, token: &str, fits: impl Fn(&AppEnforcement) -> bool) -> AppEnforcement {
    let looking = async {
        loop {
            let write = Some(get_enforcement_request::Write::Token(token.to_owned()));
            let answer =
                world.feed().get_enforcement(GetEnforcementRequest { write, ..Default::default() }).await;
            let report = answer.expect("a report").into_inner().enforcement.expect("the report");
            let chat = report.apps.into_iter().find(|app| app.app == "chat").expect("chat");
            if fits(&chat) {
                return chat;
            }
        }
    };
    timeout(BOUND, looking).await.expect("in time")
}

/// Why an instance failed to end something, as the service was told.
fn failure(chat: &AppEnforcement) -> Option<&str> {
    let failed = chat.late.iter().find(|late| late.state() == InstanceState::Failed)?;
    Some(&failed.detail)
}

//! Traces and metrics as a collector of other people's making receives them: `tests/python/otlp.py`, on the definitions that
//! OpenTelemetry publishes. Service and agent are processes, as whoever runs them has them.

mod failing;
mod metrics;
mod privacy;

use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};

use rollcall_client::v1::{
    account_service_client::AccountServiceClient, member_service_client::MemberServiceClient,
    organization_service_client::OrganizationServiceClient, *,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use tonic::Request;

use crate::{
    metrics::scrape::get,
    process::binary::{Run, Service},
    server::until,
    small::Small,
    support::{Channel, create_database, python},
};

/// Nothing that a test awaits takes longer on a busy machine.
const BOUND: Duration = Duration::from_secs(60);
/// What a caller of ours says of its own span.
const CALLER: &str = "00f067aa0ba902b7";

/// A collector in a process of its own.
struct Collector {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
    seen: Vec<Value>,
}

impl Collector {
    /// One that answers as this mode says. None: there is no Python for it, which was said.
    async fn start(port: u16, mode: &str) -> Option<Self> {
        let python = python().await?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/otlp.py");
        // Without bytecode: it would be left beside the sources.
        let mut command = Command::new(python);
        command.arg("-B").arg(script).args([&port.to_string(), mode]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("python");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line =
            timeout(BOUND, lines.next_line()).await.expect("in time").expect("a line").expect("a line");
        let port = line.strip_prefix("listening on ").and_then(|port| port.parse().ok()).expect("a port");
        Some(Self { child, lines, port, seen: Vec::new() })
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All that came until now, of whom has nothing more to send.
    async fn all(mut self) -> Vec<Value> {
        self.child.start_kill().expect("it runs");
        while let Some(line) = timeout(BOUND, self.lines.next_line()).await.expect("in time").expect("a line")
        {
            self.seen.push(serde_json::from_str(&line).expect("JSON"));
        }
        self.seen
    }

    /// The span that fits, of those that came or will come.
    async fn span(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let coming = async {
            loop {
                if let Some(span) = self.seen.iter().find(|span| fits(span)) {
                    return span.clone();
                }
                let line = self.lines.next_line().await.expect("a line").expect("it goes on");
                self.seen.push(serde_json::from_str(&line).expect("JSON"));
            }
        };
        let found = timeout(BOUND, coming).await;
        found.unwrap_or_else(|_| panic!("there is no {what}: {:#?}", self.seen))
    }
}

/// A service on this database that sends its traces there, and what else it is told.
async fn service(database_url: &str, endpoint: &str, more: &[&str]) -> Service {
    let fixed = ["--database-url", database_url, "--otlp-endpoint", endpoint];
    let arguments: Vec<&OsStr> = fixed.iter().chain(more).map(OsStr::new).collect();
    Service::start(&arguments).await
}

/// A request that is a part of this trace.
fn traced<T>(message: T, trace: &str, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let traceparent = format!("00-{trace}-{CALLER}-{flags}");
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("ASCII"));
    request.metadata_mut().insert("tracestate", "vendor=alice@example.com".parse().expect("ASCII"));
    request
}

async fn account(channel: &Channel, email: &str) -> String {
    let request = CreateAccountRequest { email: email.to_owned(), ..Default::default() };
    let made = AccountServiceClient::new(channel.clone()).create_account(request).await;
    made.expect("an account").into_inner().account.expect("the account").account_id
}

/// Makes an account a member.
async fn member(channel: &Channel, small: &Small, account_id: &str) -> String {
    let request = AddMemberRequest {
        organization_id: small.organization.clone(),
        account_id: account_id.to_owned(),
        role: OrganizationRole::Member.into(),
        ..Default::default()
    };
    let made = MemberServiceClient::new(channel.clone()).add_member(request).await;
    made.expect("a member").into_inner().member.expect("the member").member_id
}

async fn put_in(channel: &Channel, small: &Small, member_id: &str) {
    let request = AddWorkspaceMemberRequest {
        organization_id: small.organization.clone(),
        workspace_id: small.workspace.clone(),
        member_id: member_id.to_owned(),
        role: WorkspaceRole::Member.into(),
        ..Default::default()
    };
    MemberServiceClient::new(channel.clone()).add_workspace_member(request).await.expect("put in");
}

fn deactivating(small: &Small, member_id: &str) -> DeactivateMemberRequest {
    DeactivateMemberRequest {
        organization_id: small.organization.clone(),
        member_id: member_id.to_owned(),
        ..Default::default()
    }
}

/// An agent of `chat` that answers, with what else it is told.
async fn agent(service: &Service, endpoint: &str, told: &[&str]) -> Run {
    let follow = format!("http://{}", service.address());
    let arguments = ["agent", "--app", "chat", "--instance", "chat-traced", "--listen", "127.0.0.1:0"];
    let more = ["--endpoint", &follow, "--otlp-endpoint", endpoint, "--otlp-ratio", "0"];
    let run = Run::new(&[&arguments[..], &more, told].concat(), &[]);
    let mut address = None;
    until("an agent that answers", async || {
        let said = run.stdout();
        address = said.lines().find_map(|line| line.strip_prefix("listening on ")).map(str::to_owned);
        match &address {
            Some(address) => get(address, "/readyz").await.0 == 200,
            None => false,
        }
    })
    .await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_is_one_trace_from_the_call_to_the_instance() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let Some(mut collector) = Collector::start(0, "take").await else { return };
    let (database, endpoint) = (create_database().await, collector.endpoint());
    // Nothing but what a caller wants recorded. The filter leaves the spans out of the log, and not out of traces.
    let log = ["--otlp-ratio", "0", "--log-format", "json", "--log", "rollcall=debug,warn"];
    let service = service(&database.url, &endpoint, &log).await;
    let channel = service.channel();
    let small = Small::make(channel.clone(), "ada@example.com").await;
    let bob = member(&channel, &small, &account(&channel, "bob@example.com").await).await;
    put_in(&channel, &small, &bob).await;
    let agent = agent(&service, &endpoint, &[]).await;

    let mut members = MemberServiceClient::new(channel.clone());
    let request = traced(deactivating(&small, &bob), trace, "01");
    members.deactivate_member(request).await.expect("deactivated");

    let of_trace = |span: &Value| span["trace_id"] == trace;
    let named = |name: &'static str| move |span: &Value| of_trace(span) && span["name"] == name;
    let call = collector.span("call", named("rollcall.v1.MemberService/DeactivateMember")).await;
    let command = collector.span("command", named("command")).await;
    let change = collector.span("change", named("change")).await;
    let applied = |service: &'static str| {
        move |span: &Value| of_trace(span) && span["name"] == "apply" && span["service"] == service
    };
    let apply = collector.span("apply of the agent", applied("rollcall-agent")).await;
    let own = collector.span("apply of the service's own replica", applied("rollcall")).await;
    let handle = collector.span("handle", named("handle")).await;

    assert_eq!(call["parent_span_id"], CALLER, "{call}");
    assert_eq!(command["parent_span_id"], call["span_id"], "{command}");
    assert_eq!(change["parent_span_id"], command["span_id"], "{change}");
    for below in [&apply, &own, &handle] {
        assert_eq!(below["parent_span_id"], change["span_id"], "{below}");
    }
    assert_eq!(call["kind"], "SPAN_KIND_SERVER", "{call}");
    assert_eq!(apply["kind"], "SPAN_KIND_CONSUMER", "{apply}");
    assert_eq!(call["attributes"]["rpc.response.status_code"], "OK", "{call}");
    assert_eq!(apply["attributes"]["instance"], "chat-traced", "{apply}");
    assert_eq!(apply["attributes"]["command.id"], change["attributes"]["command.id"], "{apply} {change}");

    // Not recorded, as its caller says; nor what nobody said anything of.
    let quiet = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let request = traced(small.renaming("Quiet"), quiet, "00");
    OrganizationServiceClient::new(channel.clone()).update_organization(request).await.expect("renamed");
    // A method that there is not is called by no name of its caller's choosing.
    let strange = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    let path = "/rollcall.v1.Alice/Example".parse().expect("a path");
    let mut grpc = tonic::client::Grpc::new(channel.clone().unchecked());
    grpc.ready().await.expect("a connection");
    let codec = tonic_prost::ProstCodec::<AddMemberRequest, AddMemberResponse>::default();
    let request = traced(AddMemberRequest::default(), strange, "01");
    grpc.unary(request, path, codec).await.expect_err("there is none");
    let unknown = collector.span("strange call", |span| span["trace_id"] == strange).await;
    assert_eq!(
        (unknown["name"].as_str(), unknown["parent_span_id"].as_str()),
        (Some("unknown"), Some(CALLER))
    );

    let run = service.terminate().await;
    drop(agent);
    let traces = |span: &Value| span["trace_id"] == trace || span["trace_id"] == strange;
    let seen = collector.all().await;
    assert!(seen.iter().all(traces), "{seen:#?}");
    let all = serde_json::to_string(&seen).expect("JSON").to_lowercase();
    for personal in ["ada", "bob", "alice", "example.com", "engines", "quiet", "general"] {
        assert!(!all.contains(&format!("\"{personal}")) && !all.contains(&format!("{personal}@")), "{all}");
        assert!(!all.contains("alice"), "{all}");
    }
    // The lines of the log lead to the trace.
    let lines: Vec<Value> =
        run.stderr().lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    let answered = lines.iter().find(|line| line["message"] == "answered" && line["trace_id"] == trace);
    assert_eq!(answered.expect("a line of the call")["span_id"], call["span_id"], "{answered:?}");
    assert!(lines.iter().any(|line| line["message"] == "answered" && line["trace_id"] == quiet));
    let outside = lines.iter().find(|line| line["message"] == "started").expect("the line of the start");
    assert!(outside.get("trace_id").is_none(), "{outside}");
}

//! The examples in the comments of the API definitions, run as a newcomer would run them: by `buf curl`, which knows
//! of this service only what reflection tells.
//!
//! An example is a line of the comment above a method. The methods are gone through in the order of the files; what an
//! example saves under a name, those after it have as `$NAME`.
//!
//! - `Example request: {..}`: the call.
//! - `Example saves: NAME = path.in.answer`: what of the answer is kept.
//! - `Example before: Service/Method {..}`: a call that comes first.
//! - `Example before watch: {..}`: a stream that is open meanwhile.
//! - `Example before saves: NAME = path`: what of the answer, or of the messages, to the line above is kept.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStdout, Command},
    sync::OnceCell,
    time::Instant,
};

use crate::{
    proto::{Method, methods_of, services},
    support::Server,
};

/// The order in which a newcomer reads.
const ORDER: [&str; 8] = [
    "rollcall.v1.AppService",
    "rollcall.v1.AccountService",
    "rollcall.v1.OrganizationService",
    "rollcall.v1.MemberService",
    "rollcall.v1.InvitationService",
    "rollcall.v1.AccessService",
    "rollcall.v1.FeedService",
    "rollcall.v1.AuditService",
];
const HEALTH: &str = "grpc.health.v1.Health/Check";
/// Longer than any answer takes.
const BOUND: Duration = Duration::from_secs(20);
/// How long a stream is read for: it has no end. A bookmark comes within a second.
const STREAM: Duration = Duration::from_secs(3);

/// The path of `buf`. None where there is none and none can be installed: then the reason is printed.
async fn buf() -> Option<&'static str> {
    static BUF: OnceCell<Option<String>> = OnceCell::const_new();
    let find = async || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/buf.sh");
        let output = Command::new("sh").arg(script).output().await.expect("a shell");
        if output.status.success() {
            return Some(String::from_utf8(output.stdout).expect("a path").trim().to_owned());
        }
        println!("skipped: there is no buf: {}", String::from_utf8_lossy(&output.stderr));
        None
    };
    BUF.get_or_init(find).await.as_deref()
}

/// `buf curl` against one service.
struct Curl<'a> {
    buf: &'static str,
    server: &'a Server,
}

impl Curl<'_> {
    fn command(&self, path: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.buf);
        command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"]).args(arguments);
        command.arg(format!("{}/{path}", self.server.endpoint()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// What it prints, or, where it fails, what it says.
    async fn run(&self, path: &str, arguments: &[&str]) -> Result<String, String> {
        let run = tokio::time::timeout(BOUND, self.command(path, arguments).output()).await;
        let output = run.expect("an answer in time").expect("buf runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    async fn call(&self, method: &str, request: &str) -> Result<Value, String> {
        let answer = self.run(method, &["-d", request]).await?;
        Ok(serde_json::from_str(&answer).expect("an answer in JSON"))
    }

    fn stream(&self, method: &str, request: &str) -> Messages {
        let mut child = self.command(method, &["-d", request]).spawn().expect("buf runs");
        let output = child.stdout.take().expect("piped");
        Messages { child, output, text: Vec::new(), until: Instant::now() + STREAM }
    }
}

/// The messages of a stream that is open.
struct Messages {
    child: Child,
    output: ChildStdout,
    text: Vec<u8>,
    until: Instant,
}

impl Messages {
    /// Reads until what has come is enough, or the time is up, and gives what has come.
    async fn read(&mut self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        loop {
            // The last one may be cut off.
            let came = serde_json::Deserializer::from_slice(&self.text).into_iter().map_while(Result::ok);
            let came: Vec<Value> = came.collect();
            if enough(&came) {
                return came;
            }
            match tokio::time::timeout_at(self.until, self.output.read_buf(&mut self.text)).await {
                Ok(Ok(0)) | Ok(Err(_)) => {
                    // Some end by themselves when all is said.
                    if self.child.wait().await.is_ok_and(|status| status.success()) {
                        return came;
                    }
                    let mut said = String::new();
                    let _ = self.child.stderr.take().expect("piped").read_to_string(&mut said).await;
                    panic!("the stream ended: {said}");
                }
                Ok(Ok(_)) => {}
                Err(_) => return came,
            }
        }
    }
}

/// What a line of a comment asks for.
#[derive(Debug, PartialEq)]
enum Step {
    Call { method: String, request: String },
    Watch { request: String },
    Save { name: String, path: String },
}

/// The steps of a method's example, in the order in which they are taken.
fn steps(method: &str, comment: &str) -> Vec<Step> {
    let (mut before, mut itself) = (Vec::new(), Vec::new());
    let lines = comment.lines().filter_map(|line| line.trim().strip_prefix("Example "));
    for (what, text) in lines.map(|line| line.split_once(": ").expect("a colon")) {
        let save = || {
            let (name, path) = text.split_once(" = ").expect("NAME = path");
            Step::Save { name: name.to_owned(), path: path.to_owned() }
        };
        match what {
            "request" => itself.insert(0, Step::Call { method: method.to_owned(), request: text.to_owned() }),
            "saves" => itself.push(save()),
            "before saves" => before.push(save()),
            "before watch" => before.push(Step::Watch { request: text.to_owned() }),
            "before" => {
                let (method, request) = text.split_once(' ').expect("Service/Method {..}");
                before.push(Step::Call { method: method.to_owned(), request: request.to_owned() });
            }
            other => panic!("{method}: nobody runs `Example {other}`"),
        }
    }
    before.extend(itself);
    before
}

/// Puts the saved values in place of their names, longer names first.
fn fill(request: &str, saved: &BTreeMap<String, String>) -> String {
    let mut names: Vec<&String> = saved.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let filled = names
        .into_iter()
        .fold(request.to_owned(), |text, name| text.replace(&format!("${name}"), &saved[name]));
    assert!(!filled.contains('$'), "not saved by an earlier example: {filled}");
    filled
}

/// The text at a path of the first message that has one there.
fn at(messages: &[Value], path: &str) -> Option<String> {
    let pointer = format!("/{}", path.replace('.', "/"));
    let texts = messages.iter().filter_map(|message| message.pointer(&pointer)?.as_str());
    texts.map(str::to_owned).find(|text| !text.is_empty())
}

/// Runs the examples of all methods on one service.
struct Run<'a> {
    curl: Curl<'a>,
    saved: BTreeMap<String, String>,
    /// Streams that examples began, open to the end.
    open: Vec<Messages>,
}

impl Run<'_> {
    async fn run(&mut self, method: &Method) {
        // What the last call answered, or how long the stream was when it was last looked at.
        let mut answer: Vec<Value> = Vec::new();
        let mut following = false;
        for step in steps(&method.path, &method.comment) {
            match step {
                Step::Call { method: path, request } if path == method.path && method.streams => {
                    let mut stream = self.curl.stream(&path, &fill(&request, &self.saved));
                    answer =
                        stream.read(|came| came.iter().any(|message| !message["bookmark"].is_null())).await;
                    let says = ["opened.storeId", "enforcement.position"];
                    assert!(says.iter().any(|said| at(&answer, said).is_some()), "{path}: {answer:?}");
                }
                Step::Call { method: path, request } => {
                    let answered = self.curl.call(&path, &fill(&request, &self.saved)).await;
                    answer = vec![
                        answered.unwrap_or_else(|said| panic!("{}: {path} {request}: {said}", method.path)),
                    ];
                    following = false;
                }
                Step::Watch { request } => {
                    let stream =
                        self.curl.stream("rollcall.v1.FeedService/Watch", &fill(&request, &self.saved));
                    self.open.push(stream);
                    following = true;
                }
                Step::Save { name, path } => {
                    if let (true, Some(stream)) = (following, self.open.last_mut()) {
                        answer = stream.read(|came| at(came, &path).is_some()).await;
                    }
                    let value = at(&answer, &path);
                    let value = value.unwrap_or_else(|| panic!("{}: no {path} in {answer:?}", method.path));
                    self.saved.insert(name, value);
                }
            }
        }
    }
}

#[tokio::test]
async fn the_examples_run() {
    let Some(buf) = buf().await else { return };
    let server = Server::checking().await;
    let mut run = Run { curl: Curl { buf, server: &server }, saved: BTreeMap::new(), open: Vec::new() };
    let mut listed = ORDER.map(str::to_owned);
    listed.sort();
    let mut served = services().to_vec();
    served.sort();
    assert_eq!(listed.as_slice(), served, "every service is gone through");
    for service in ORDER {
        for method in methods_of(service) {
            run.run(&method).await;
        }
    }
    drop(run);
    server.stop().await;
}

#[tokio::test]
async fn health_answers_without_definitions() {
    let Some(buf) = buf().await else { return };
    let server = Server::checking().await;
    let curl = Curl { buf, server: &server };
    let mut asked = services();
    asked.push(String::new());
    for service in asked {
        // A service that has just begun is not serving before it has reached its log.
        let until = Instant::now() + BOUND;
        loop {
            let answer =
                curl.call(HEALTH, &format!("{{\"service\": {service:?}}}")).await.expect("an answer");
            if answer["status"] == "SERVING" {
                break;
            }
            assert!(Instant::now() < until, "{service:?}: {answer}");
        }
    }
    let unknown = curl.call(HEALTH, r#"{"service": "rollcall.v1.NoService"}"#).await;
    assert!(unknown.expect_err("an unknown service").contains("not_found"));
    server.stop().await;
}

#[tokio::test]
async fn reflection_lists_every_method() {
    let Some(buf) = buf().await else { return };
    let server = Server::start().await;
    let curl = Curl { buf, server: &server };
    for version in ["grpc-v1", "grpc-v1alpha"] {
        let listed = curl.run("", &["--list-methods", "--reflect-protocol", version]).await.expect(version);
        let listed: Vec<&str> = listed.lines().map(str::trim).collect();
        for service in services() {
            for method in methods_of(&service) {
                assert!(
                    listed.contains(&method.path.as_str()),
                    "{version}: {} is not in {listed:?}",
                    method.path
                );
            }
        }
        assert!(listed.contains(&HEALTH), "{version}: {listed:?}");
    }
    server.stop().await;
}

#[test]
fn steps_come_in_the_order_in_which_they_are_taken() {
    let comment = " Removes it.\n\n Example request: {\"id\": \"$A\"}\n Example saves: B = b.id\n \
                   Example before: S/Make {}\n Example before saves: A = a.id\n";
    let call =
        |method: &str, request: &str| Step::Call { method: method.to_owned(), request: request.to_owned() };
    let save = |name: &str, path: &str| Step::Save { name: name.to_owned(), path: path.to_owned() };
    let expected =
        [call("S/Make", "{}"), save("A", "a.id"), call("S/Remove", "{\"id\": \"$A\"}"), save("B", "b.id")];
    assert_eq!(steps("S/Remove", comment), expected);
    let saved = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("AB".to_owned(), "2".to_owned())]);
    assert_eq!(fill("$A $AB", &saved), "1 2");
}

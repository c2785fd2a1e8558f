//! The replay check from the apps' side: a history is replayed while the three example apps of the SDK and an instance in
//! Python follow, are killed and cut off. In the end each answers, for everyone who ever was in one of its workspaces, what
//! the roster says.
//!
//! The history is the demo's; with `ROLLCALL_DATA` the trace there (`make replay-check`). The faults come in the order that a
//! printed seed draws.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rollcall_client::{Client, connect, v1};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    faults::{Way, Wire},
    processes::{rollcall, run_well},
    replay_real::{APPS, BOUND, Service},
    support::python,
};

/// How long nothing passes between an app and the service, each time.
const CUT: Duration = Duration::from_millis(700);

/// What an app is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    app: String,
    account_id: String,
    workspace_id: String,
}

/// How a program is asked.
enum Asked {
    /// `GET /check`.
    Http(String),
    /// A call with both ids as metadata.
    Grpc(HealthClient<tonic::transport::Channel>),
    /// A line on stdin.
    Line { stdin: ChildStdin, stdout: Lines<BufReader<ChildStdout>> },
}

/// One instance of an app: a process, and the line to the service that may fail.
struct App {
    app: &'static str,
    program: Vec<String>,
    wire: Wire,
    child: Option<(Child, Asked)>,
    kills: usize,
    cuts: usize,
}

impl App {
    async fn start(app: &'static str, program: Vec<String>, endpoint: &str) -> Self {
        let wire = Wire::before(endpoint).await;
        let mut started = Self { app, program, wire, child: None, kills: 0, cuts: 0 };
        started.begin().await;
        started
    }

    fn name(&self) -> String {
        let program = Path::new(self.program.last().unwrap()).file_stem().unwrap().to_string_lossy();
        format!("{}-{program}", self.app)
    }

    async fn begin(&mut self) {
        let endpoint = self.wire.endpoint();
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).stdout(Stdio::piped()).kill_on_drop(true);
        let name = self.name();
        if self.is_python() {
            command.env("ROLLCALL_URL", endpoint.trim_start_matches("http://"));
            command.envs([("ROLLCALL_APP", self.app), ("ROLLCALL_INSTANCE", &name)]).stdin(Stdio::piped());
        } else {
            command.args(["--listen", "127.0.0.1:0", "--service", &endpoint, "--app", self.app]);
            command.args(["--instance", &name]).stdin(Stdio::null());
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.program));
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let asked = if self.is_python() {
            Asked::Line { stdin: child.stdin.take().unwrap(), stdout }
        } else {
            let line = timeout(BOUND, stdout.next_line()).await.unwrap().unwrap().unwrap();
            let address = line.strip_prefix("listening ").unwrap().to_owned();
            if self.program[0].ends_with("tonic") {
                let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
                Asked::Grpc(HealthClient::new(endpoint.connect_lazy()))
            } else {
                Asked::Http(address)
            }
        };
        self.child = Some((child, asked));
    }

    fn is_python(&self) -> bool {
        self.program.len() > 1
    }

    async fn kill(&mut self) {
        self.child.take().unwrap().0.kill().await.unwrap();
        self.begin().await;
        self.kills += 1;
    }

    async fn cut(&mut self) {
        // By turns: a line that is silent, and one that is refused.
        self.wire.let_pass(if self.cuts.is_multiple_of(2) { Way::Silent } else { Way::Closed });
        tokio::time::sleep(CUT).await;
        self.wire.let_pass(Way::Open);
        self.cuts += 1;
    }

    /// Whether the person may. `None`: it does not know.
    async fn ask(&mut self, question: &Question) -> Option<bool> {
        let Question { account_id, workspace_id, .. } = question;
        match &mut self.child.as_mut().unwrap().1 {
            Asked::Http(address) => {
                let mut stream = TcpStream::connect(address.as_str()).await.unwrap();
                let path = format!("/check?account_id={account_id}&workspace_id={workspace_id}");
                let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                match answer.split(' ').nth(1).unwrap() {
                    "200" => Some(true),
                    "403" => Some(false),
                    "503" => None,
                    _ => panic!("{path}: {answer}"),
                }
            }
            Asked::Grpc(client) => {
                let mut request = Request::new(HealthCheckRequest::default());
                request.metadata_mut().insert("account-id", account_id.parse().unwrap());
                request.metadata_mut().insert("workspace-id", workspace_id.parse().unwrap());
                match client.check(request).await.map_err(|status| status.code()) {
                    Ok(_) => Some(true),
                    Err(Code::PermissionDenied) => Some(false),
                    Err(Code::Unavailable) => None,
                    Err(other) => panic!("{question:?}: {other:?}"),
                }
            }
            Asked::Line { stdin, stdout } => {
                let line = format!("check {account_id} {workspace_id}\n");
                stdin.write_all(line.as_bytes()).await.unwrap();
                let answer = stdout.next_line().await.unwrap().unwrap();
                match answer.split(' ').next().unwrap() {
                    "allowed" => Some(true),
                    "denied" => Some(false),
                    "stale" => None,
                    _ => panic!("{question:?}: {answer}"),
                }
            }
        }
    }

    /// Asks until there is an answer.
    async fn answer(&mut self, question: &Question) -> bool {
        let asking = async {
            loop {
                match self.ask(question).await {
                    Some(answer) => return answer,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(BOUND, asking).await.expect("an answer in time")
    }
}

/// The example of the SDK with this name. `cargo test --workspace` builds it.
fn example(name: &str) -> String {
    let beside = Path::new(env!("CARGO_BIN_EXE_rollcall")).with_file_name("examples").join(name);
    assert!(beside.exists(), "cargo build --workspace --examples makes {}", beside.display());
    beside.display().to_string()
}

/// Everything that a history says of who was in which workspace, as questions with the answers of the roster.
async fn questions(client: &Client, trace: &Path, roster: &Path) -> BTreeMap<Question, bool> {
    let mut workspaces = BTreeMap::new();
    let request = v1::ListOrganizationsRequest { page_size: 1000, ..Default::default() };
    let listed = client.organizations().list_organizations(request).await.unwrap().into_inner();
    assert!(listed.next_page_token.is_empty(), "few organizations");
    for organization in listed.organizations {
        let mut page_token = String::new();
        loop {
            let organization_id = organization.organization_id.clone();
            let request = v1::ListWorkspacesRequest {
                organization_id,
                page_size: 1000,
                page_token,
                ..Default::default()
            };
            let listed = client.organizations().list_workspaces(request).await.unwrap().into_inner();
            for workspace in listed.workspaces {
                let key = (organization.display_name.clone(), workspace.display_name, workspace.app);
                workspaces.insert(key, workspace.workspace_id);
            }
            page_token = listed.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    let of_file = |path: &Path, columns: [usize; 4]| {
        let text = fs::read_to_string(path).unwrap();
        let rows = text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        rows.map(|row| columns.map(|column| row[column].clone()))
            .filter(|[_, workspace, _, person]| !workspace.is_empty() && !person.is_empty())
            .collect::<BTreeSet<_>>()
    };
    let (ever, now) = (of_file(trace, [1, 3, 4, 5]), of_file(roster, [0, 1, 2, 3]));
    let mut accounts: BTreeMap<String, String> = BTreeMap::new();
    let mut questions = BTreeMap::new();
    for row in ever.union(&now) {
        let [organization, workspace, app, person] = row;
        let key = (organization.clone(), workspace.clone(), app.clone());
        // A deleted workspace is in no list.
        let Some(workspace_id) = workspaces.get(&key) else { continue };
        if !accounts.contains_key(person) {
            let by = v1::lookup_account_request::Key::Email(format!("{person}@example.org"));
            let request = v1::LookupAccountRequest { key: Some(by), ..Default::default() };
            let found = client.accounts().lookup_account(request).await.unwrap().into_inner();
            accounts.insert(person.clone(), found.account.unwrap().account_id);
        }
        let account_id = accounts[person].clone();
        let question = Question { app: app.clone(), account_id, workspace_id: workspace_id.clone() };
        questions.insert(question, now.contains(row));
    }
    questions
}

/// xorshift64*: the faults are the same for the same seed.
fn draw(seed: &mut u64, below: usize) -> usize {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    usize::try_from(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % below
}

#[tokio::test(flavor = "multi_thread")]
async fn every_app_answers_as_the_roster_says() {
    let Some(python) = python().await else { return };
    let data = env::var_os("ROLLCALL_DATA").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let trace = data.as_ref().map_or_else(|| root.join("demo/trace.csv"), |data| data.join("trace.csv"));
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path()).await;
    let client = connect(&service.endpoint).unwrap();
    for app in APPS {
        let request = v1::RegisterAppRequest { app: app.to_owned(), ..Default::default() };
        client.apps().register_app(request).await.unwrap();
    }
    let instance = root.join("tests/python/instance.py").display().to_string();
    let programs = [
        ("chat", vec![example("chat")]),
        ("time-tracking", vec![example("axum")]),
        ("boards", vec![example("tonic")]),
        // Without bytecode: it would be left beside the sources.
        ("chat", vec![python.display().to_string(), "-B".to_owned(), instance]),
    ];
    let mut apps = Vec::new();
    for (app, program) in programs {
        apps.push(App::start(app, program, &service.endpoint).await);
    }

    let seed = env::var("ROLLCALL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64).max(1);
    println!("seed {seed}");
    let replaying = rollcall(["replay", "--endpoint", &service.endpoint]).arg(&trace).output();
    let mut replaying = tokio::spawn(replaying);
    let mut random = seed;
    while !replaying.is_finished() || apps.iter().any(|app| app.kills == 0 || app.cuts < 2) {
        let app = draw(&mut random, apps.len());
        let app = &mut apps[app];
        if draw(&mut random, 3) == 0 { app.kill().await } else { app.cut().await }
    }
    let output = timeout(BOUND, &mut replaying).await.expect("the replay ends in time").unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // What the roster of real data says was compared with it by the replay check: here the export is the roster.
    let roster = data.map_or_else(|| directory.path().join("roster.csv"), |data| data.join("roster.csv"));
    if !roster.exists() {
        run_well(["export", "--endpoint", &service.endpoint, "--output", roster.to_str().unwrap()]).await;
    }
    let questions = questions(&client, &trace, &roster).await;
    let (head, mut out) = (service.head().await, 0);
    for app in &mut apps {
        service.applied(&app.name(), head).await;
        let (mut allowed, mut denied, of) = (0, 0, app.app);
        for (question, expected) in questions.iter().filter(|(question, _)| question.app == of) {
            assert_eq!(app.answer(question).await, *expected, "{}: {question:?}", app.name());
            *(if *expected { &mut allowed } else { &mut denied }) += 1;
        }
        println!(
            "{}: {} kills, {} cuts; {allowed} who are in and {denied} who are out, each as the roster says",
            app.name(),
            app.kills,
            app.cuts
        );
        out += denied;
        assert!(allowed > 0, "somebody is in");
    }
    assert!(out > 0, "somebody is out");
    drop(apps);
    service.stop().await;
}

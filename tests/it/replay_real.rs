//! The replay check: years of real membership changes through the public API, with three followers of which one is killed
//! and one comes late, must leave exactly the roster that was taken from the source.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rollcall_client::{connect, v1};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::processes::{Follower, rollcall, roster, run_well};

/// A service that starts Postgres, and a replay of thousands of rows on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(600);
pub(crate) const APPS: [&str; 3] = ["chat", "time-tracking", "boards"];
/// At which part of the trace the follower of chat is killed, and that of boards begins with a snapshot.
const KILLED_AT: (usize, usize) = (2_000, 8_498);
const LATE_AT: (usize, usize) = (4_000, 8_498);

/// A service with a Postgres of its own.
pub(crate) struct Service {
    child: Child,
    pub(crate) endpoint: String,
}

impl Service {
    /// Keeps its data below this directory.
    pub(crate) async fn start(directory: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        // Where the user that Postgres runs as can reach it.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command: Command = rollcall(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(directory.join("data")).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(address) = line.strip_prefix("listening on ") {
                    return address.parse::<SocketAddr>().unwrap();
                }
            }
            panic!("the service ended before it listened")
        };
        let address = timeout(BOUND, address).await.expect("the service starts in time");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, endpoint: format!("http://{address}") }
    }

    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.unwrap(), Signal::TERM).unwrap();
        let status = timeout(BOUND, self.child.wait()).await.expect("the service stops in time").unwrap();
        assert!(status.success(), "{status}");
    }

    async fn subscriptions(&self) -> v1::ListSubscriptionsResponse {
        let client = connect(&self.endpoint).unwrap();
        let list = v1::ListSubscriptionsRequest::default();
        client.feed().list_subscriptions(list).await.unwrap().into_inner()
    }

    pub(crate) async fn head(&self) -> i64 {
        self.subscriptions().await.head_position
    }

    /// Returns once the instance has acknowledged everything up to a position.
    pub(crate) async fn applied(&self, instance: &str, position: i64) {
        let waiting = async {
            let has = |one: &v1::Subscription| {
                one.instance == instance
                    && one.state() == v1::SubscriptionState::Live
                    && one.applied_position >= position
            };
            while !self.subscriptions().await.subscriptions.iter().any(has) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(BOUND, waiting).await.unwrap_or_else(|_| panic!("{instance} catches up in time"));
    }
}

/// The three followers' files.
struct Files {
    directory: TempDir,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn follow(&self, endpoint: &str, app: &str) -> Follower {
        let (instance, state) = (format!("{app}-1"), self.path(&format!("{app}.state")));
        let out = self.path(&format!("{app}.csv"));
        let arguments: [&std::ffi::OsStr; 6] = [
            "--instance".as_ref(),
            instance.as_ref(),
            "--state-file".as_ref(),
            state.as_ref(),
            "--replica-out".as_ref(),
            out.as_ref(),
        ];
        Follower::start(endpoint, app, arguments)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_history_leaves_the_real_roster_and_every_replica_holds_its_part() {
    let Some(data) = env::var_os("ROLLCALL_DATA").map(PathBuf::from) else {
        println!("ROLLCALL_DATA is not set: no directory with trace.csv and roster.csv, nothing to check");
        return;
    };
    let (trace, expected) = (data.join("trace.csv"), data.join("roster.csv"));
    let files = Files { directory: tempfile::tempdir().unwrap() };
    let service = Service::start(files.directory.path()).await;
    let client = connect(&service.endpoint).unwrap();
    for app in APPS {
        let request =
            v1::RegisterAppRequest { app: app.to_owned(), request_id: String::new(), ..Default::default() };
        client.apps().register_app(request).await.unwrap();
    }
    let mut chat = files.follow(&service.endpoint, "chat");
    let mut time_tracking = files.follow(&service.endpoint, "time-tracking");
    chat.until("snapshot_end", |_| true).await;
    time_tracking.until("snapshot_end", |_| true).await;

    // How far the replay is, is seen where the apps see it: in the log. A row makes about one change, or a little more.
    let rows = fs::read_to_string(&trace).unwrap().lines().count() - 1;
    let position = |(part, whole): (usize, usize)| i64::try_from(rows * part / whole).unwrap();
    let replaying = rollcall(["replay", "--endpoint", &service.endpoint])
        .arg(&trace)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    chat.until("change", |line| line["position"].as_i64() >= Some(position(KILLED_AT))).await;
    chat.kill().await;
    let mut chat = files.follow(&service.endpoint, "chat");
    chat.until("change", |line| line["position"].as_i64() >= Some(position(LATE_AT))).await;
    let mut boards = files.follow(&service.endpoint, "boards");
    let late = boards.until("opened", |_| true).await;
    assert_eq!(late["snapshot_follows"], true);

    let output =
        timeout(BOUND, replaying.wait_with_output()).await.expect("the replay ends in time").unwrap();
    let replayed = String::from_utf8(output.stdout).unwrap();
    println!("{replayed}");
    assert!(output.status.success() && replayed.contains(&format!("rows = {rows}\n")), "{replayed}");
    assert!(late["head_position"].as_i64() < Some(service.head().await), "writes went on after the snapshot");

    let exported = files.path("export.csv");
    let output = exported.to_str().unwrap();
    run_well(["export", "--endpoint", &service.endpoint, "--output", output]).await;
    assert!(roster(&exported, None) == roster(&expected, None), "the export is the roster");

    let head = service.head().await;
    let mut followers = [("chat", chat), ("time-tracking", time_tracking), ("boards", boards)];
    for (_, follower) in &mut followers {
        follower.until_position(head).await;
    }
    service.stop().await;
    for (app, follower) in followers {
        let snapshots = follower.seen.iter().filter(|line| line["kind"] == "snapshot_end").count();
        assert_eq!(
            snapshots,
            usize::from(app != "chat"),
            "{app}: the killed one resumed, the others began once"
        );
        let ended = follower.terminate().await;
        assert_eq!(ended.code, Some(0), "{app}: {}", ended.errors);
        let replica = roster(&files.path(&format!("{app}.csv")), None);
        assert!(replica == roster(&expected, Some(app)), "{app} holds exactly its rows");
        println!("{app}: {} rows", replica.len());
    }
}

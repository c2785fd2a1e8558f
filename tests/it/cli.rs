//! The command line against a real service: what its help texts promise.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use rollcall_client::{Client, connect, v1};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    processes::{Follower, positions, roster, run, run_badly, run_well},
    support::Server,
};

const HEADER: &str = "time,organization,op,workspace,app,person,role\n";

/// A company of so many people, each in one to three apps; every seventh leaves a workspace and every tenth the company.
fn company(name: &str, people: usize) -> String {
    let mut trace = HEADER.to_owned();
    let mut row = |cells: &str| writeln!(trace, "2024-01-01T09:00:00Z,{name},{cells}").unwrap();
    let apps = ["chat", "time-tracking", "boards"];
    row("member.add,,,boss,owner");
    for app in apps {
        row(&format!("workspace.create,{app}-team,{app},,"));
        row(&format!("workspace.add,{app}-team,{app},boss,admin"));
    }
    for person in 0..people {
        row(&format!("member.add,,,p{person},member"));
        for app in &apps[..=person % 3] {
            row(&format!("workspace.add,{app}-team,{app},p{person},member"));
        }
    }
    for person in 0..people {
        if person % 7 == 0 {
            row(&format!("workspace.remove,chat-team,chat,p{person},"));
        }
        if person % 10 == 0 {
            row(&format!("member.remove,,,p{person},"));
        }
    }
    trace
}

fn written(directory: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn place(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

async fn register(client: &Client, apps: &[&str]) {
    for app in apps {
        let request = v1::RegisterAppRequest { app: (*app).to_owned(), request_id: String::new() };
        client.apps().register_app(request).await.unwrap();
    }
}

async fn head(client: &Client) -> i64 {
    let list = v1::ListSubscriptionsRequest::default();
    client.feed().list_subscriptions(list).await.unwrap().into_inner().head_position
}

async fn replay(endpoint: &str, file: &str) -> String {
    run_well(["replay", "--endpoint", endpoint, file]).await
}

async fn export(endpoint: &str, output: &str, app: Option<&str>) {
    let arguments = ["export", "--endpoint", endpoint, "--output", output];
    run_well(arguments.into_iter().chain(app.into_iter().flat_map(|app| ["--app", app]))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_c6_a_killed_watch_resumes_without_loss_or_gap() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    register(&client, &["chat"]).await;
    let state = place(&directory, "chat.state");
    let keeping = ["--instance", "chat-1", "--state-file", &state];

    let mut whole = Follower::start(&endpoint, "chat", [] as [&str; 0]);
    whole.until("snapshot_end", |_| true).await;
    let mut killed = Follower::start(&endpoint, "chat", keeping);
    killed.until("snapshot_end", |_| true).await;
    let mut runs = Vec::new();
    for round in 0..3 {
        let trace = written(&directory, "trace.csv", company(&format!("company-{round}"), 40));
        let replaying = tokio::spawn({
            let endpoint = endpoint.clone();
            async move { replay(&endpoint, &trace).await }
        });
        for _ in 0..20 {
            killed.until("change", |_| true).await;
        }
        runs.push(positions(&killed.kill().await.seen));
        killed = Follower::start(&endpoint, "chat", keeping);
        replaying.await.unwrap();
    }
    let head = head(&client).await;
    killed.until_position(head).await;
    whole.until_position(head).await;
    assert!(
        killed.seen.iter().all(|line| line["kind"] != "snapshot_end"),
        "it resumed, and took no snapshot"
    );
    runs.push(positions(&killed.terminate().await.seen));
    let whole = positions(&whole.terminate().await.seen);

    for pair in runs.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert!(after.is_sorted() && before.is_sorted());
        // What comes next was printed before, or is the very next change of this app.
        let next = whole.iter().find(|position| Some(*position) > before.last()).copied();
        assert!(after.first() <= next.as_ref() || next.is_none(), "a gap between two runs");
    }
    let told: BTreeSet<i64> = runs.into_iter().flatten().collect();
    assert_eq!(told, whole.into_iter().collect());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_equals_the_export_of_its_app() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    register(&client, &["chat", "time-tracking", "boards"]).await;
    let mut followers = Vec::new();
    for app in ["chat", "time-tracking", "boards"] {
        let out = place(&directory, &format!("{app}.csv"));
        let mut follower = Follower::start(&endpoint, app, ["--instance", "i", "--replica-out", &out]);
        follower.until("snapshot_end", |_| true).await;
        followers.push((app, follower));
    }
    replay(&endpoint, &written(&directory, "trace.csv", company("acme", 40))).await;
    let head = head(&client).await;
    for (app, mut follower) in followers {
        follower.until_position(head).await;
        assert_eq!(follower.terminate().await.code, Some(0));
        let expected = place(&directory, "expected.csv");
        export(&endpoint, &expected, Some(app)).await;
        let replica = fs::read(directory.path().join(format!("{app}.csv"))).unwrap();
        assert_eq!(replica, fs::read(&expected).unwrap(), "{app}: byte for byte");
        assert!(roster(Path::new(&expected), None).len() > 5);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_a_watch_from_a_snapshot_in_the_midst_of_writes_ends_equal() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    register(&client, &["chat"]).await;
    let mut observer = Follower::start(&endpoint, "chat", [] as [&str; 0]);
    observer.until("snapshot_end", |_| true).await;
    let trace = written(&directory, "trace.csv", company("acme", 120));
    let replaying = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { replay(&endpoint, &trace).await }
    });
    let mut late = Vec::new();
    for index in 0..3 {
        for _ in 0..25 {
            observer.until("change", |_| true).await;
        }
        let out = place(&directory, &format!("late{index}.csv"));
        late.push((Follower::start(&endpoint, "chat", ["--replica-out", &out]), out));
    }
    replaying.await.unwrap();
    let head = head(&client).await;
    let expected = place(&directory, "expected.csv");
    export(&endpoint, &expected, Some("chat")).await;
    for (mut follower, out) in late {
        follower.until_position(head).await;
        assert_eq!(follower.terminate().await.code, Some(0));
        assert_eq!(fs::read(out).unwrap(), fs::read(&expected).unwrap());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_of_another_app_or_in_use_or_damaged_is_refused() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    register(&connect(&endpoint).unwrap(), &["chat", "boards"]).await;
    let state = place(&directory, "chat.state");
    let watch = |app| {
        ["watch", "--endpoint", &endpoint, "--app", app, "--state-file", &state, "--until-current"]
            .map(str::to_owned)
    };
    run_well(watch("chat")).await;
    let errors = run_badly(watch("boards")).await;
    assert!(errors.contains("chat.state belongs to app \"chat\", not \"boards\""), "{errors}");

    let mut holder = Follower::start(&endpoint, "chat", ["--state-file", &state]);
    holder.until("opened", |_| true).await;
    let errors = run_badly(watch("chat")).await;
    assert!(errors.contains("chat.state is in use"), "{errors}");
    holder.terminate().await;
    run_well(watch("chat")).await;

    let whole = fs::read(&state).unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let errors = run_badly(watch("chat")).await;
    assert!(errors.contains("chat.state is no state file, or damaged"), "{errors}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c6_a_state_file_of_another_store_is_refused() {
    let (first, second) = (Server::start().await, Server::start().await);
    let directory = tempfile::tempdir().unwrap();
    let state = place(&directory, "chat.state");
    for server in [&first, &second] {
        register(&connect(&server.endpoint()).unwrap(), &["chat"]).await;
    }
    let watch = |endpoint: String| {
        ["watch", "--endpoint", &endpoint, "--app", "chat", "--state-file", &state, "--until-current"]
            .map(str::to_owned)
    };
    run_well(watch(first.endpoint())).await;
    let before = fs::read(&state).unwrap();
    let errors = run_badly(watch(second.endpoint())).await;
    assert!(errors.contains("another store"), "{errors}");
    assert_eq!(fs::read(&state).unwrap(), before, "the file still resumes at the right store");
    run_well(watch(first.endpoint())).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_trace_is_refused_with_line_and_column_and_nothing_is_applied() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    let good = "2024-01-01T09:00:00Z,acme,member.add,,,ada,owner";
    let cases: [(Vec<u8>, &str); 12] = [
        (b"".to_vec(), "line 1, column 1"),
        (b"time,organization,op,workspace,app,person\n".to_vec(), "line 1, column \"role\""),
        (format!("{},extra\n{good},\n", HEADER.trim()).into(), "line 1, column \"extra\""),
        (format!("{},op\n", HEADER.trim()).into(), "line 1, column \"op\""),
        (format!("{HEADER}{good}\n{good},\n").into(), "line 3, column 8"),
        (format!("{HEADER}{good}\n2024-01-01T09:00:00Z,acme\n").into(), "line 3, column \"op\""),
        (format!("{HEADER}{good}\n\"2024-01-01T09:00:00Z,acme\n").into(), "line 3, column \"time\""),
        (
            format!("{HEADER}{good}\nyesterday,acme,member.add,,,bob,member\n").into(),
            "line 3, column \"time\"",
        ),
        (
            format!("{HEADER}{good}\n2024-01-01T09:00:00Z,acme,member.ad,,,bob,member\n").into(),
            "line 3, column \"op\"",
        ),
        (
            format!("{HEADER}{good}\n2024-01-01T09:00:00Z,acme,member.add,,,bob,boss\n").into(),
            "line 3, column \"role\"",
        ),
        (
            [
                HEADER.as_bytes(),
                good.as_bytes(),
                b"\r\n2024-01-01T09:00:00Z,acme,member.add,,,b\xffb,member\r\n",
            ]
            .concat(),
            "line 3, column \"person\"",
        ),
        (
            format!("{HEADER}{good}\n2024-01-01T09:00:00Z,acme,workspace.add,w,chat,ada,admin\n").into(),
            "line 3, column \"workspace\"",
        ),
    ];
    for (index, (text, expected)) in cases.into_iter().enumerate() {
        let file = written(&directory, &format!("bad{index}.csv"), text);
        let errors = run_badly(["replay", "--endpoint", &endpoint, &file]).await;
        assert!(errors.contains(&format!("bad{index}.csv: {expected}")), "case {index}: {errors}");
        assert!(errors.contains("nothing was applied"), "case {index}: {errors}");
    }
    assert_eq!(head(&client).await, 0);
    let organizations =
        client.organizations().list_organizations(v1::ListOrganizationsRequest::default()).await;
    assert!(organizations.unwrap().into_inner().organizations.is_empty());

    let bom_and_crlf = format!("\u{feff}{HEADER}{good}\n").replace('\n', "\r\n");
    let printed = replay(&endpoint, &written(&directory, "good.csv", bom_and_crlf)).await;
    assert!(
        printed.starts_with("rows = 1\nseconds = ") && printed.contains("\nrows_per_second = "),
        "{printed}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaying_a_file_twice_changes_nothing_more() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    let trace = written(&directory, "trace.csv", company("acme", 30));
    replay(&endpoint, &trace).await;
    let (once, twice) = (place(&directory, "once.csv"), place(&directory, "twice.csv"));
    export(&endpoint, &once, None).await;
    let before = head(&client).await;
    replay(&endpoint, &trace).await;
    export(&endpoint, &twice, None).await;
    assert_eq!(head(&client).await, before);
    assert_eq!(fs::read(once).unwrap(), fs::read(twice).unwrap());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_by_its_exit_code() {
    let server = Server::start().await;
    let endpoint = server.endpoint();
    assert_eq!(run_well(["health", "--endpoint", &endpoint]).await, "SERVING\n");
    run_badly(["health", "--endpoint", &endpoint, "--service", "no.such.Service"]).await;
    server.stop().await;
    run_badly(["health", "--endpoint", &endpoint]).await;
    assert_eq!(run(["health", "--no-such-flag"]).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_waits_for_its_app_to_be_registered() {
    let server = Server::start().await;
    let endpoint = server.endpoint();
    let client = connect(&endpoint).unwrap();
    let errors = run_badly(["watch", "--endpoint", &endpoint, "--app", "chat", "--until-current"]).await;
    assert!(errors.contains("no app called \"chat\" is registered"), "{errors}");

    let mut waiting = Follower::start(&endpoint, "chat", ["--instance", "chat-1"]);
    waiting.until_error("no app called \"chat\" is registered yet").await;
    register(&client, &["chat"]).await;
    waiting.until("snapshot_end", |_| true).await;
    assert_eq!(waiting.terminate().await.code, Some(0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_current_ends_at_the_head_that_it_finds() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    replay(&endpoint, &written(&directory, "trace.csv", company("acme", 20))).await;
    let (state, out) = (place(&directory, "chat.state"), place(&directory, "chat.csv"));
    let watch = [
        "watch",
        "--endpoint",
        &endpoint,
        "--app",
        "chat",
        "--state-file",
        &state,
        "--replica-out",
        &out,
        "--until-current",
    ];
    let expected = place(&directory, "expected.csv");
    // From a snapshot, from a cursor at the head, and from one behind it.
    for round in 0..3 {
        if round == 2 {
            replay(&endpoint, &written(&directory, "more.csv", company("second", 20))).await;
        }
        run_well(watch).await;
        export(&endpoint, &expected, Some("chat")).await;
        assert_eq!(fs::read(&out).unwrap(), fs::read(&expected).unwrap(), "round {round}");
    }
    server.stop().await;
    let errors = run_badly(watch).await;
    assert!(errors.contains("could not be reached within 10 s"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_with_the_service_gone_still_writes_replica_and_state() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    replay(&endpoint, &written(&directory, "trace.csv", company("acme", 20))).await;
    let expected = place(&directory, "expected.csv");
    export(&endpoint, &expected, Some("chat")).await;
    let head = head(&connect(&endpoint).unwrap()).await;
    let (state, out) = (place(&directory, "chat.state"), place(&directory, "chat.csv"));
    let arguments = ["--instance", "chat-1", "--state-file", &state, "--replica-out", &out];
    let mut follower = Follower::start(&endpoint, "chat", arguments);
    follower.until_position(head).await;
    server.stop().await;
    follower.until("disconnected", |_| true).await;
    follower.until("disconnected", |_| true).await;
    let ended = follower.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(fs::read(&out).unwrap(), fs::read(&expected).unwrap());
    let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    assert_eq!(state["app"], "chat");
    assert!(state["cursor"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_leaves_ends_the_watch_quietly() {
    let server = Server::start().await;
    let endpoint = server.endpoint();
    register(&connect(&endpoint).unwrap(), &["chat"]).await;
    let mut follower = Follower::start(&endpoint, "chat", [] as [&str; 0]);
    follower.until("snapshot_end", |_| true).await;
    assert_eq!(follower.abandon().await, Some(0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_acknowledges_and_its_name_is_taken_over_by_the_newer_one() {
    let server = Server::start().await;
    let (endpoint, directory) = (server.endpoint(), tempfile::tempdir().unwrap());
    let client = connect(&endpoint).unwrap();
    register(&client, &["chat"]).await;
    let mut first = Follower::start(&endpoint, "chat", ["--instance", "chat-1"]);
    first.until("snapshot_end", |_| true).await;
    let mut second = Follower::start(&endpoint, "chat", ["--instance", "chat-1"]);
    second.until("snapshot_end", |_| true).await;
    let ended = first.ended().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.contains("another process follows as instance \"chat-1\""), "{}", ended.errors);

    replay(&endpoint, &written(&directory, "trace.csv", company("acme", 5))).await;
    let head = head(&client).await;
    second.until_position(head).await;
    // Acknowledging runs beside printing; each bookmark brings it on.
    loop {
        let list = v1::ListSubscriptionsRequest { app: "chat".to_owned(), ..Default::default() };
        let subscriptions = client.feed().list_subscriptions(list).await.unwrap().into_inner().subscriptions;
        if subscriptions.iter().any(|held| held.instance == "chat-1" && held.applied_position >= head) {
            break;
        }
        second.until("bookmark", |_| true).await;
    }
    second.signal(Signal::INT);
    assert_eq!(second.ended().await.code, Some(0));
    server.stop().await;
}

//! `rollcall watch`: how it begins, what it leaves, how it ends.

use std::{fs, path::Path};

use rollcall_client::{connect, v1};
use rustix::process::Signal;

use super::{company, export, head, place, register, replay, written};
use crate::{
    processes::{Follower, roster, run_badly, run_well},
    server::until,
    support::Server,
};

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
async fn c11_an_instance_is_heard_of_also_where_nothing_changes() {
    let server = Server::start().await;
    let endpoint = server.endpoint();
    register(&connect(&endpoint).unwrap(), &["chat"]).await;
    let mut idle = Follower::start(&endpoint, "chat", ["--instance", "chat-1"]);
    idle.until("snapshot_end", |_| true).await;
    // More often than the words behind the snapshot: only bookmarks come, and all of them with one cursor.
    let query = "SELECT count(*), max(grant_seq) FROM subscriptions WHERE instance = 'chat-1'";
    until("acknowledgements of bookmarks", async || {
        let row = server.database().query_one(query, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1, "it is not given up");
        row.get::<_, i64>(1) >= 4
    })
    .await;
    assert_eq!(idle.terminate().await.code, Some(0));
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

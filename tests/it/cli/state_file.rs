//! The state file of `rollcall watch`: what it survives, and which files are refused.

use std::{collections::BTreeSet, fs};

use rollcall_client::connect;

use super::{company, head, place, register, replay, written};
use crate::{
    processes::{Follower, positions, run_badly, run_well},
    support::Server,
};

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

//! `rollcall app` and `rollcall lost`.

use rollcall_client::v1::{
    ChangeReason, LostRevocation, ReportLostRevocationsRequest, WatchRequest, watch_response::Message,
};
use serde_json::Value;

use crate::{
    fixtures::{World, made_up_id},
    processes::{run_badly, run_well},
    server::soon,
};

fn words(world: &World, words: &[&str]) -> Vec<String> {
    let endpoint = ["--endpoint".to_owned(), world.server().endpoint()];
    words.iter().map(|word| (*word).to_owned()).chain(endpoint).collect()
}

/// What a command prints for programs.
async fn list(world: &World, command: &[&str]) -> Vec<Value> {
    let text = run_well(words(world, &[command, &["-o", "json"]].concat())).await;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_are_registered_changed_and_unregistered() {
    let world = World::start().await;
    let made = list(&world, &["app", "register", "mail", "--lease-ttl", "10", "--min-instances", "3"]).await;
    assert_eq!(made[0]["lease_ttl_ms"], 10_000);
    assert_eq!((&made[0]["serve_stale"], &made[0]["min_instances"]), (&false.into(), &3.into()));
    let changed = list(&world, &["app", "update", "mail", "--serve-stale", "true"]).await;
    assert_eq!((&changed[0]["serve_stale"], &changed[0]["min_instances"]), (&true.into(), &3.into()));
    assert_eq!(list(&world, &["app", "get", "mail"]).await, changed);
    let names = async || {
        let listed = list(&world, &["app", "list"]).await;
        listed.iter().map(|app| app["app"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["boards", "chat", "mail", "rollcall", "track"]);
    let refused = run_badly(words(&world, &["app", "update", "mail"])).await;
    assert!(refused.contains("say what to change"), "{refused}");
    let refused = run_badly(words(&world, &["app", "unregister", "chat"])).await;
    assert!(refused.contains("APP_IN_USE"), "{refused}");
    run_well(words(&world, &["app", "unregister", "mail"])).await;
    assert_eq!(names().await, ["boards", "chat", "rollcall", "track"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_lost_is_listed_and_decided() {
    let world = World::start().await;
    let request =
        WatchRequest { app: "chat".to_owned(), instance: "chat-1".to_owned(), ..Default::default() };
    let mut stream = world.feed().watch(request).await.unwrap().into_inner();
    let opened = soon("the first message", stream.message()).await.unwrap().unwrap().message;
    let Some(Message::Opened(opened)) = opened else { panic!("{opened:?}") };
    let lost = || LostRevocation {
        change_id: made_up_id(),
        organization_id: made_up_id(),
        member_id: made_up_id(),
        reason: ChangeReason::Removed.into(),
        ..Default::default()
    };
    let revocations = vec![lost(), lost()];
    let request = ReportLostRevocationsRequest { subscription_id: opened.subscription_id, revocations };
    world.feed().report_lost_revocations(request.clone()).await.unwrap();
    let listed = list(&world, &["lost", "list"]).await;
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["reason"], &listed[0]["instance"]), (&"REMOVED".into(), &"chat-1".into()));
    let changes: Vec<&str> = listed.iter().map(|lost| lost["change_id"].as_str().unwrap()).collect();
    run_well(words(&world, &["lost", "resolve", changes[0], "--dropped"])).await;
    run_well(words(&world, &["lost", "resolve", changes[1], "--applied-again"])).await;
    assert_eq!(list(&world, &["lost", "list"]).await, [Value::Null; 0]);
    let resolved = world.feed().report_lost_revocations(request).await.unwrap().into_inner();
    assert_eq!(resolved.resolved_change_ids, changes);
    let refused = run_badly(words(&world, &["lost", "resolve", &made_up_id(), "--dropped"])).await;
    assert!(refused.contains("CHANGE_NOT_FOUND"), "{refused}");
}

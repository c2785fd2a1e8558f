//! When the service is gone, when another has the name, and when the agent itself ends.

use rollcall_client::{ClientOptions, connect_with};
use rustix::process::Signal;

use super::*;
use crate::support::{Replica, Server};

#[tokio::test]
async fn without_the_service_it_says_stale_within_the_lease_and_live_when_it_is_back() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let request = UpdateAppRequest {
        app: Some(App {
            name: "chat".to_owned(),
            lease_ttl: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            ..Default::default()
        }),
        update_mask: crate::fixtures::mask(&["lease_ttl"]),
        ..Default::default()
    };
    world.apps().update_app(request).await.expect("a short lease");
    // Another process on the same database, that can be frozen.
    let url = world.server().another_connection().await.url;
    let service = Replica::start(&url, &[]).await;
    let client = connect_with(&[&service.endpoint()], &ClientOptions::default()).expect("an endpoint");
    let agent = Beside::of(client, |_| {}).await;
    let mut events = agent.events("").await;
    events.until("live").await;
    assert_eq!(agent.check(&bob.account, &org.general).await.body["allowed"], true);

    service.signal(Signal::STOP);
    events.until("stale").await;
    let stale = agent.check(&bob.account, &org.general).await;
    assert_eq!((stale.code, &stale.body["error"]["reason"]), (503, &"ACCESS_STALE".into()), "{stale:?}");
    assert!(stale.head.contains("retry-after: 1"), "{}", stale.head);
    let checks =
        serde_json::json!({ "checks": [{ "account_id": bob.account, "workspace_id": org.general }] });
    assert_eq!(agent.post("/v1/check", &checks).await.code, 503);
    let ready = agent.get("/readyz").await;
    assert_eq!((ready.code, &ready.body["phase"]), (503, &"STALE".into()), "{ready:?}");
    assert_eq!(agent.get("/healthz").await.code, 200, "a restart would mend nothing");

    service.signal(Signal::CONT);
    events.until("live").await;
    assert_eq!(agent.check(&bob.account, &org.general).await.body["allowed"], true);
    assert_eq!(agent.get("/readyz").await.code, 200);
    agent.end().await;
}

#[tokio::test]
async fn it_ends_in_order_and_nobody_waits_for_it() {
    let world = World::start().await;
    let agent = Beside::start(&world).await;
    let mut events = agent.events("").await;
    events.until("live").await;
    let address = agent.address;
    agent.end().await;
    let rest: Vec<String> = events.end().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(rest, ["stale"], "its last word, and the end of the stream");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
    let list = ListSubscriptionsRequest { app: "chat".to_owned(), ..Default::default() };
    let subscriptions =
        world.feed().list_subscriptions(list).await.expect("a list").into_inner().subscriptions;
    assert!(
        subscriptions.iter().all(|subscription| subscription.state() != SubscriptionState::Live),
        "{subscriptions:?}"
    );
}

#[tokio::test]
async fn while_it_ends_it_is_not_ready_and_takes_the_receipts_that_are_owed() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let mut events = agent.events("").await;
    let token = out(&world, &org, &bob).await;
    let revocation = events.revocation().await;
    agent.stop.cancel();
    events.until("stale").await;
    assert_eq!(agent.get("/readyz").await.code, 503);
    assert_eq!(agent.check(&bob.account, &org.general).await.code, 503);
    assert_eq!(agent.ended(&revocation, 2).await.code, 200);
    timeout(BOUND, agent.task).await.expect("in time").expect("no panic").expect("in order");
    let write = Some(get_enforcement_request::Write::Token(token));
    let answer = world.feed().get_enforcement(GetEnforcementRequest { write }).await.expect("a report");
    let report = answer.into_inner().enforcement.expect("the report");
    let chat = report.apps.iter().find(|app| app.app == "chat").expect("chat");
    assert_eq!(chat.ended_sessions, 2, "{report:?}");
}

#[tokio::test]
async fn who_has_the_name_of_another_process_makes_that_one_end() {
    let world = World::start().await;
    let old = Beside::start(&world).await;
    let new = Beside::start(&world).await;
    let ended = timeout(BOUND, old.task).await.expect("in time").expect("no panic");
    assert!(matches!(ended, Err(AgentError::Replaced)), "{ended:?}");
    assert_eq!(new.get("/readyz").await.code, 200);
    new.end().await;
}

#[tokio::test]
async fn before_it_has_a_state_it_is_stale() {
    let server = Server::start().await;
    // The app is not registered: the agent waits for it.
    let agent = Beside::of(server.channel().unchecked().into(), |_| {}).await;
    let mut events = agent.events("").await;
    events.until("stale").await;
    let id = uuid::Uuid::new_v4().to_string();
    assert_eq!(agent.check(&id, &id).await.code, 503);
    let ready = agent.get("/readyz").await;
    assert_eq!((ready.code, &ready.body["phase"]), (503, &"STARTING".into()), "{ready:?}");
    let world = World::on(server).await;
    events.until("live").await;
    assert_eq!(agent.get("/readyz").await.code, 200);
    agent.end().await;
    world.stop().await;
}

//! When the service is gone, when another has the name, and when the agent itself ends.

use rollcall_client::{ClientOptions, connect_with};
use rustix::process::Signal;

use super::*;
use crate::{
    fixtures::refused,
    support::{Replica, Server},
};

/// Gives `chat` the shortest lease, and whether it may be answered after it.
async fn short_lease(world: &World, serve_stale: bool) {
    let request = UpdateAppRequest {
        app: Some(App {
            name: "chat".to_owned(),
            lease_ttl: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            serve_stale,
            ..Default::default()
        }),
        update_mask: crate::fixtures::mask(&["lease_ttl", "serve_stale"]),
        ..Default::default()
    };
    world.apps().update_app(request).await.expect("a short lease");
}

/// An agent with a service of its own on the database of the world, which can be frozen.
async fn with_a_service(world: &World) -> (Replica, Beside) {
    let url = world.server().another_connection().await.url;
    let service = Replica::start(&url, &[]).await;
    let client = connect_with(&[&service.endpoint()], &ClientOptions::default()).expect("an endpoint");
    (service, Beside::of(client, |_| {}).await)
}

#[tokio::test]
async fn an_old_answer_is_given_to_who_takes_it_and_says_so() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    short_lease(&world, false).await;
    let (service, agent) = with_a_service(&world).await;
    let mut events = agent.events("").await;
    events.until("live").await;
    let path = format!("/v1/check?account_id={}&workspace_id={}", bob.account, org.general);
    let within = |seconds: u64| format!("{path}&max_staleness_seconds={seconds}");
    let fresh = agent.get(&within(3_600)).await;
    assert_eq!((&fresh.body["allowed"], &fresh.body["stale"]), (&true.into(), &Value::Null), "{fresh:?}");
    let stamp = fresh.body["stamp"].as_str().expect("one").to_owned();
    let token = world.operator().rename_organization(&org.id, "Engines").await.expect("a name").token;

    service.signal(Signal::STOP);
    events.until("stale").await;
    for refused in [agent.get(&path).await, agent.get(&within(0)).await] {
        assert_eq!((refused.code, &refused.body["error"]["reason"]), (503, &"ACCESS_STALE".into()));
    }
    let old = agent.get(&within(3_600)).await;
    assert_eq!((&old.body["allowed"], &old.body["stale"]), (&true.into(), &true.into()), "{old:?}");
    let session = agent.get(&format!("{}&stamp={stamp}", within(3_600))).await;
    assert_eq!((&session.body["allowed"], &session.body["stale"]), (&true.into(), &true.into()));
    let checks = serde_json::json!({
        "checks": [{ "account_id": bob.account, "workspace_id": org.general }], "max_staleness_seconds": 3_600,
    });
    let batch = agent.post("/v1/check", &checks).await;
    assert_eq!((&batch.body["answers"][0]["allowed"], &batch.body["stale"]), (&true.into(), &true.into()));
    // What a token stands for only the service can say.
    let reply = agent.get(&format!("{}&at_least_as_fresh={token}", within(3_600))).await;
    assert_eq!((reply.code, &reply.body["error"]["reason"]), (503, &"TOKEN_NOT_REACHED".into()), "{reply:?}");
    assert!(reply.head.contains("retry-after: 1"), "{reply:?}");
    service.signal(Signal::CONT);
    agent.end().await;
}

#[tokio::test]
async fn an_app_that_serves_stale_answers_is_told_which_of_them_are() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    short_lease(&world, true).await;
    let (service, agent) = with_a_service(&world).await;
    let mut events = agent.events("").await;
    events.until("live").await;
    let asked = super::grpc::asking(&bob, &org.general);
    let of_grpc = async |max_staleness| {
        let asked = CheckAccessRequest { max_staleness, ..asked.clone() };
        agent.access().check_access(asked).await.map(tonic::Response::into_inner)
    };
    let fresh = of_grpc(None).await.expect("an answer");
    assert!(fresh.access.expect("it").allowed && !fresh.stale);
    assert_eq!(agent.check(&bob.account, &org.general).await.body["stale"], Value::Null);

    service.signal(Signal::STOP);
    let old = timeout(BOUND, async {
        loop {
            let answer = of_grpc(None).await.expect("an answer, also without a lease");
            if answer.stale {
                break answer;
            }
        }
    });
    let old = old.await.expect("a lease ends");
    assert!(old.access.expect("it").allowed);
    let reply = agent.check(&bob.account, &org.general).await;
    assert_eq!((&reply.body["allowed"], &reply.body["stale"]), (&true.into(), &true.into()), "{reply:?}");
    // Who says how old it may be is told nothing older.
    let none = prost_types::Duration::default();
    refused(of_grpc(Some(none)).await, tonic::Code::Unavailable, "ACCESS_STALE");
    let path =
        format!("/v1/check?account_id={}&workspace_id={}&max_staleness_seconds=0", bob.account, org.general);
    assert_eq!(agent.get(&path).await.code, 503);
    service.signal(Signal::CONT);
    agent.end().await;
}

#[tokio::test]
async fn without_the_service_it_says_stale_within_the_lease_and_live_when_it_is_back() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    short_lease(&world, false).await;
    let (service, agent) = with_a_service(&world).await;
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
    let answer = world
        .feed()
        .get_enforcement(GetEnforcementRequest { write, ..Default::default() })
        .await
        .expect("a report");
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

/// Cut off, it did not hear that another process took its name. Back again it must not put that one out.
#[tokio::test]
async fn who_comes_back_under_a_name_that_is_taken_ends_and_the_newer_one_goes_on() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    short_lease(&world, false).await;
    let (service, old) = with_a_service(&world).await;
    let mut events = old.events("").await;
    events.until("live").await;
    service.signal(Signal::STOP);
    let new = Beside::start(&world).await;
    new.events("").await.until("live").await;
    events.until("stale").await;
    service.signal(Signal::CONT);
    let ended = timeout(BOUND, old.task).await.expect("in time").expect("no panic");
    assert!(matches!(ended, Err(AgentError::Replaced)), "{ended:?}");
    // A renewal later it still is the one that follows.
    out(&world, &org, &bob).await;
    timeout(BOUND, async { while new.check(&bob.account, &org.general).await.body["allowed"] == true {} })
        .await
        .expect("it follows");
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

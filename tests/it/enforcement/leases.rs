//! What a lease is, and who is granted one.

use std::time::Duration;

use rollcall_client::v1::{feed_service_client::FeedServiceClient, *};
use tonic::Code;

use super::{Instance, acknowledge, await_end, awaiting, close, counted, out, scene, set};
use crate::{
    fixtures::{World, refused},
    support::Server,
};

/// The lease of an answer.
fn lease(answer: &AcknowledgeResponse) -> Option<Duration> {
    answer.lease_duration.map(|lease| Duration::try_from(lease).expect("no negative lease"))
}

#[tokio::test]
async fn who_keeps_up_gets_all_but_the_age_of_a_mark() {
    let world = World::start().await;
    let chat = Instance::open(&world, "chat", "chat-1").await;
    assert_eq!(chat.opened.lease_ttl.map(|ttl| ttl.seconds), Some(30));
    assert!(!chat.opened.serve_stale);
    // The very first too: it waits for a mark from after the registration.
    for _ in 0..3 {
        let answer = chat.applied(&world).await;
        let lease = lease(&answer).expect("a lease");
        assert!(lease <= Duration::from_secs(30), "{lease:?}");
        assert!(lease > Duration::from_secs(28), "{lease:?}");
    }
    let listed = counted(&world, "chat").await;
    assert_eq!((listed[0].state(), listed[0].grant_seq), (SubscriptionState::Live, 3));
    assert_eq!(listed[0].lease_ttl.map(|ttl| ttl.seconds), Some(30));
    let observer = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    assert_eq!(Instance::watch(&world, observer).await.opened.lease_ttl, None);
}

#[tokio::test]
async fn who_is_behind_gets_as_much_less() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    chat.applied(&world).await;
    let before = chat.acknowledgement();
    let token = out(&world, &org, &bob).await;
    let seen = tokio::time::Instant::now();
    chat.reach(super::enforcement(&world, &token).await.position).await;
    // Real time passes: until a lease from before the change is shorter than one from after it can be.
    tokio::time::sleep_until(seen + Duration::from_millis(400)).await;
    let old = lease(&acknowledge(&world, before.clone()).await.expect("an old cursor")).expect("a lease");
    let most = Duration::from_secs(30) - Duration::from_millis(400);
    assert!(old <= most, "{old:?}: it rests on a mark from before the change");
    let new = lease(&chat.applied(&world).await).expect("a lease");
    assert!(new > old);
    // Never backwards: the old cursor still gets no more than what is its due, and what is stored stays.
    let answer = acknowledge(&world, before).await.expect("a late one");
    assert!(lease(&answer).expect("a lease") <= old);
    assert_eq!(answer.applied_position, chat.position);
}

#[tokio::test]
async fn any_replica_grants() {
    let world = World::start().await;
    let other = Server::beside(world.server()).await;
    let chat = Instance::open(&world, "chat", "chat-1").await;
    let mut there = FeedServiceClient::new(other.channel());
    let answer = there.acknowledge(chat.acknowledgement()).await.expect("acknowledged").into_inner();
    assert!(lease(&answer).expect("a lease") > Duration::from_secs(28));
    assert!(lease(&chat.applied(&world).await).is_some());
    assert_eq!(counted(&world, "chat").await[0].grant_seq, 2);
    other.stop().await;
}

#[tokio::test]
async fn another_ttl_holds_for_the_next_subscription() {
    let world = World::start().await;
    for (before, after) in [(2, 300), (300, 2)] {
        set(&world, "chat", "lease_ttl_ms", &format!("{before}000")).await;
        let chat = Instance::open(&world, "chat", "chat-1").await;
        chat.applied(&world).await;
        set(&world, "chat", "lease_ttl_ms", &format!("{after}000")).await;
        // Verdicts rely on the one that it was registered with.
        let granted = lease(&chat.applied(&world).await).expect("a lease");
        assert!(granted <= Duration::from_secs(before), "{granted:?}");
        assert!(granted > Duration::from_secs(before) / 2, "{granted:?}");
        let resumed = WatchRequest {
            app: "chat".to_owned(),
            instance: "chat-1".to_owned(),
            subscription_id: chat.id.clone(),
            ..Default::default()
        };
        let opened = Instance::watch(&world, resumed).await.opened;
        assert_eq!(
            (opened.subscription_id, opened.lease_ttl.map(|ttl| ttl.seconds)),
            (chat.id, Some(before.cast_signed()))
        );
        let next = Instance::open(&world, "chat", "chat-1").await;
        assert_eq!(next.opened.lease_ttl.map(|ttl| ttl.seconds), Some(after));
    }
}

#[tokio::test]
async fn another_filter_is_another_subscription() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let filtered = |organizations: &[&String], id: &str| WatchRequest {
        app: "chat".to_owned(),
        instance: "chat-1".to_owned(),
        organization_ids: organizations.iter().map(|id| (*id).clone()).collect(),
        subscription_id: id.to_owned(),
        ..Default::default()
    };
    let all = Instance::watch(&world, filtered(&[], "")).await;
    all.applied(&world).await;
    // Until the new tables are filled it answers from the old ones, of which it is told nothing more.
    let other = world.organization("eve").await;
    let narrow = Instance::watch(&world, filtered(&[&other.id], &all.id)).await;
    assert_ne!(narrow.id, all.id);
    narrow.applied(&world).await;
    let token = out(&world, &org, &bob).await;
    let report = super::enforcement(&world, &token).await;
    assert_eq!(super::late(&report, "chat"), [("chat-1".to_owned(), InstanceState::Pending)], "the old one");
    assert_eq!(super::of(&report, "chat").late[0].subscription_id, all.id);
    let same = Instance::watch(&world, filtered(&[&other.id], &narrow.id)).await;
    assert_eq!(same.id, narrow.id);
}

#[tokio::test]
async fn who_has_ended_gets_none() {
    let world = World::start().await;
    let replaced = Instance::open(&world, "chat", "chat-1").await;
    replaced.applied(&world).await;
    let closed = Instance::open(&world, "chat", "chat-1").await;
    closed.applied(&world).await;
    refused(
        acknowledge(&world, replaced.acknowledgement()).await,
        Code::FailedPrecondition,
        "SUBSCRIPTION_REPLACED",
    );
    // By somebody else: it may still answer.
    close(&world, &closed.id, "").await;
    refused(
        acknowledge(&world, closed.acknowledgement()).await,
        Code::FailedPrecondition,
        "SUBSCRIPTION_CLOSED",
    );
    let states = async || {
        let mut states: Vec<_> = counted(&world, "chat").await.iter().map(Subscription::state).collect();
        states.sort_unstable();
        states
    };
    assert_eq!(states().await, [SubscriptionState::Replaced, SubscriptionState::Closed]);
    // By the process itself: it does not.
    close(&world, &closed.id, &closed.cursor).await;
    assert_eq!(states().await, [SubscriptionState::Replaced]);
    close(&world, &replaced.id, &replaced.cursor).await;
    assert_eq!(states().await, []);
    // Who never had one is not waited for.
    let never = Instance::open(&world, "chat", "chat-2").await;
    close(&world, &never.id, "").await;
    assert_eq!(states().await, []);
}

/// A verdict counts who is registered when it is read. So whoever registers later is granted nothing that rests on a mark
/// from before the registration was committed: such a lease would answer from before what was enforced.
#[tokio::test]
async fn c12_a_first_lease_rests_on_no_mark_from_before_the_registration() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut counted = Instance::open(&world, "chat", "chat-1").await;
    counted.applied(&world).await;
    // One that has read up to before the departure, and whose registration is committed after the verdict.
    let late = Instance::open(&world, "chat", "chat-2").await;
    let database = world.server().database();
    let held_back = "
        CREATE TABLE held_back AS SELECT * FROM subscriptions WHERE instance = 'chat-2';
        DELETE FROM subscriptions WHERE instance = 'chat-2';";
    database.batch_execute(held_back).await.expect("held back");
    let token = out(&world, &org, &bob).await;
    counted.reach(super::enforcement(&world, &token).await.position).await;
    counted.applied(&world).await;
    let report = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    let chat = super::of(&report, "chat");
    assert_eq!((chat.state(), chat.instances), (EnforcementState::Enforced, 1), "{report:?}");
    database.batch_execute("INSERT INTO subscriptions SELECT * FROM held_back").await.expect("committed");

    // A replica that hears of it now has marks from before, and grants nothing for them.
    let other = Server::beside(world.server()).await;
    let mut there = FeedServiceClient::new(other.channel());
    let answer = there.acknowledge(late.acknowledgement()).await.expect("acknowledged").into_inner();
    assert!(answer.applied_position < report.position, "it has not got as far as the departure");
    assert_eq!(lease(&answer), None);
    // One with the rule switched off: the registration was taken back behind its back, so it believes that it was
    // committed before the mark. It grants what must not be, and the line above would notice.
    let granted = lease(&acknowledge(&world, late.acknowledgement()).await.expect("acknowledged"));
    println!("first_lease_on_an_old_mark_ms = {}", granted.map_or(0, |granted| granted.as_millis()));
    assert!(granted.is_some(), "a lease from before what was enforced");
    other.stop().await;
}

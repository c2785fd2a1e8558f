//! The service's own replica as an instance: it is waited for, and not for longer than it answers.

use std::time::Duration;

use rollcall_client::v1::*;
use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{ask, asking, denied_at, scene};
use crate::{
    fixtures::{Org, Person, World},
    support::Server,
};

/// Deactivates somebody and waits until that is enforced.
async fn enforced(world: &World, org: &Org, person: &Person) -> Enforcement {
    let token = world.operator().deactivate(org, person).await.expect("deactivated").token;
    let request = AwaitEnforcementRequest { token, ..Default::default() };
    let mut told = world.feed().await_enforcement(request).await.expect("a wait").into_inner();
    loop {
        let message = told.message().await.expect("an open stream").expect("a last message");
        if message.done {
            assert!(!message.timed_out, "{message:?}");
            return message.enforcement.expect("a report");
        }
    }
}

fn own(report: &Enforcement) -> Option<&AppEnforcement> {
    report.apps.iter().find(|app| app.app == "rollcall")
}

/// The instances of the service's own app.
async fn instances(world: &World) -> Vec<Subscription> {
    let request = ListSubscriptionsRequest { app: "rollcall".to_owned(), ..Default::default() };
    world.feed().list_subscriptions(request).await.expect("a page").into_inner().subscriptions
}

#[tokio::test(flavor = "multi_thread")]
async fn c12_a_departure_is_enforced_when_every_replica_of_the_service_denies_it() {
    let one = World::checking().await;
    let (org, bob) = scene(&one).await;
    let two = World::resumed(Server::checking_on(one.server().another_connection().await).await);
    let names: Vec<String> = instances(&one).await.into_iter().map(|row| row.instance).collect();
    assert!(names.len() == 2 && names[0] != names[1], "{names:?}");

    let report = enforced(&one, &org, &bob).await;
    let own = own(&report).expect("the service's own app");
    assert_eq!(own.state(), EnforcementState::Enforced);
    assert_eq!((own.instances, own.applied_instances, own.lapsed_instances), (2, 2, 0));
    for world in [&one, &two] {
        let answer = ask(world, asking(&bob.account, &org.general)).await.expect("an answer");
        assert!(!answer.access.expect("it").allowed, "after the verdict");
    }
    two.stop().await;
}

/// It ends in good order: nobody waits for a lease of somebody who is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_the_service_that_ends_is_not_waited_for() {
    let one = World::checking().await;
    let (org, bob) = scene(&one).await;
    let two = Server::checking_on(one.server().another_connection().await).await;
    assert_eq!(instances(&one).await.len(), 2);
    two.stop().await;
    assert_eq!(instances(&one).await.len(), 1, "closed");
    let begun = Instant::now();
    let report = enforced(&one, &org, &bob).await;
    // A lease of the service's own app lasts 10 s.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(own(&report).map(|own| (own.instances, own.lapsed_instances)), Some((1, 0)));
}

#[tokio::test]
async fn without_it_there_is_no_such_service_and_no_such_instance() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let status = ask(&world, asking(&bob.account, &org.general)).await.expect_err("not served");
    assert_eq!(status.code(), Code::Unimplemented);
    let request = HealthCheckRequest { service: "rollcall.v1.AccessService".to_owned() };
    let status = HealthClient::new(world.server().channel()).check(request).await.expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound);
    assert!(instances(&world).await.is_empty());
    let token = world.operator().deactivate(&org, &bob).await.expect("deactivated").token;
    let request = GetEnforcementRequest {
        write: Some(get_enforcement_request::Write::Token(token)),
        ..Default::default()
    };
    let report = world.feed().get_enforcement(request).await.expect("a report").into_inner();
    assert_eq!(own(&report.enforcement.expect("it")), None);
}

/// Somebody closes its subscription by hand: it opens another one.
#[tokio::test]
async fn it_comes_back_when_its_subscription_is_closed_by_others() {
    let world = World::checking().await;
    let (org, bob) = scene(&world).await;
    let before = instances(&world).await.remove(0);
    let request =
        CloseSubscriptionRequest { subscription_id: before.subscription_id.clone(), ..Default::default() };
    world.feed().close_subscription(request).await.expect("closed");
    let at = world.operator().deactivate(&org, &bob).await.expect("out").token;
    assert_eq!(denied_at(&world, &at, &bob, &org.general).await, DenialReason::MemberDeactivated);
    let report = enforced(&world, &org, &bob).await;
    assert_eq!(own(&report).expect("the service's own app").state(), EnforcementState::Enforced);
    let after = instances(&world).await;
    assert!(after.iter().any(|row| row.subscription_id != before.subscription_id), "{after:?}");
}

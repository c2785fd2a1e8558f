//! Without a lease: nobody is told anything but who takes a stale answer knowingly.

use std::time::Duration;

use rollcall_client::v1::*;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt as _;

use super::{ask, asking, scene};
use crate::{
    fixtures::{World, refused},
    support::Server,
};

/// What sequencing takes for itself: while another has it there are no marks, and so no leases.
const SEQUENCING: &str = "8243122705118243";

#[tokio::test]
async fn c14_without_a_lease_a_check_is_refused_unless_the_caller_takes_a_stale_answer() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    // The shortest lease there is.
    let database = world.stop().await;
    let short = "UPDATE apps SET lease_ttl_ms = 2000 WHERE app = 'rollcall'";
    database.client.batch_execute(short).await.expect("set");
    let world = World::resumed(Server::checking_on(database).await);
    let asking = || asking(&bob.account, &org.general);
    let answer = ask(&world, asking()).await.expect("an answer");
    assert!(answer.access.expect("it").allowed && !answer.stale);

    let database = world.server().database();
    database.batch_execute(&format!("SELECT pg_advisory_lock({SEQUENCING})")).await.expect("held");
    world.server().access_is(ServingStatus::NotServing).await;
    let status = refused(ask(&world, asking()).await, Code::Unavailable, "ACCESS_STALE");
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    let within = |max: Duration| CheckAccessRequest {
        max_staleness: prost_types::Duration::try_from(max).ok(),
        ..asking()
    };
    refused(ask(&world, within(Duration::from_millis(1))).await, Code::Unavailable, "ACCESS_STALE");
    let answer = ask(&world, within(Duration::from_secs(600))).await.expect("a stale answer");
    assert!(answer.stale && answer.access.expect("it").allowed);

    database.batch_execute(&format!("SELECT pg_advisory_unlock({SEQUENCING})")).await.expect("let go");
    world.server().access_is(ServingStatus::Serving).await;
    let answer = ask(&world, within(Duration::from_secs(600))).await.expect("an answer");
    assert!(!answer.stale && answer.access.expect("it").allowed);
}

//! R55, R56 and R59: guests who are inactive, planned returns, and who is to leave. Tests let time pass by moving what is
//! stored back, in a database of their own, under a service that looks for what is due all the time.

mod activity;
mod guests;
mod leaving;
mod returns;

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use rollcall_client::v1::*;

use crate::{
    fixtures::{Org, Person, World, made_up_id},
    support::{Server, create_database},
};

/// Longer than anything takes here: only a defect runs into it.
const BOUND: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A world whose service looks for what time brings all the time.
async fn sweeping() -> World {
    World::on(Server::sweeping(create_database().await).await).await
}

async fn sql(world: &World, statement: &str) {
    world.server().database().batch_execute(statement).await.expect(statement);
}

async fn number(world: &World, query: &str) -> i64 {
    world.server().database().query_one(query, &[]).await.expect(query).get(0)
}

/// Has guests deactivated who are inactive for so many days (R55).
async fn limit_inactivity(world: &World, org: &Org, days: i32) {
    let settings = OrganizationSettings { guest_inactivity_days: Some(days), ..Default::default() };
    world.acting(&org.owner).set(org, settings, &["guest_inactivity_days"]).await.expect("a setting");
}

/// Has members reactivated when their planned return comes (R56).
async fn opt_in(world: &World, org: &Org) {
    let settings = OrganizationSettings { reactivate_on_return: true, ..Default::default() };
    world.acting(&org.owner).set(org, settings, &["reactivate_on_return"]).await.expect("a setting");
}

/// Lets days pass for one member.
async fn pass(world: &World, person: &Person, days: i64) {
    let id = &person.member;
    for statement in [
        format!(
            "UPDATE member_activity SET active_time = active_time - interval '{days} days' WHERE member_id = '{id}'"
        ),
        format!(
            "UPDATE members SET active_time = active_time - interval '{days} days',
                    return_time = return_time - interval '{days} days' WHERE member_id = '{id}'"
        ),
    ] {
        sql(world, &statement).await;
    }
}

/// Looks again and again until the member is in this state.
async fn becomes(world: &World, org: &Org, person: &Person, wanted: MemberState) {
    let looking = async {
        while world.state(org, person).await != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(BOUND, looking).await.unwrap_or_else(|_| panic!("never {wanted:?}"));
}

/// Returns when the service has looked at everything that was due before: it looks at guests by organization and member,
/// then at returns, and at these guests, of a newer organization, last of all and in two looks.
async fn swept(world: &World) {
    let fence = world.organization(&made_up_id()).await;
    limit_inactivity(world, &fence, 1).await;
    for _ in 0..2 {
        let guest = world.member_as(&fence, &made_up_id(), OrganizationRole::Guest).await;
        pass(world, &guest, 2).await;
        becomes(world, &fence, &guest, MemberState::Deactivated).await;
    }
}

/// Looks again and again until the service waits for a lock.
async fn waits_for_a_lock(world: &World) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let looking = async { while number(world, waiting).await == 0 {} };
    tokio::time::timeout(BOUND, looking).await.expect("the service wants a lock");
}

fn at(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

/// So many days from now.
fn ahead(days: u32) -> Timestamp {
    at(SystemTime::now() + DAY * days)
}

fn active(org: &Org, person: &Person, time: Option<Timestamp>) -> Activity {
    Activity { organization_id: org.id.clone(), member_id: person.member.clone(), time }
}

//! The load: somebody, anybody, is checked in one of their workspaces, by so many callers at once.

use std::time::{Duration, Instant};

use rollcall_client::v1::{
    AccessCheck, BatchCheckAccessRequest, CheckAccessRequest, access_check,
    access_service_client::AccessServiceClient,
};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    place::Service,
    report::{Samples, monotonic},
    seed::{Kind, Organization, id},
};

/// Callers that share a connection.
const PER_CONNECTION: usize = 8;
/// Checks of a batch.
pub(crate) const BATCH: usize = 100;

/// What is called.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Empty,
    Check,
    Batch,
}

/// As many connections as so many callers share.
pub(crate) async fn channels(service: &Service, callers: usize) -> Vec<Channel> {
    let mut channels = Vec::new();
    for _ in 0..callers.div_ceil(PER_CONNECTION) {
        let endpoint = Endpoint::from_shared(service.endpoint.clone()).expect("an endpoint");
        channels.push(endpoint.connect().await.expect("a connection"));
    }
    channels
}

/// Waits until access checks are answered.
pub(crate) async fn answers(channel: Channel) {
    let request = HealthCheckRequest { service: "rollcall.v1.AccessService".to_owned() };
    let mut told = HealthClient::new(channel).watch(request).await.expect("health").into_inner();
    while told.message().await.expect("health").expect("without end").status() != ServingStatus::Serving {}
}

/// So many callers, each of whom calls again as soon as it is answered. How long each call took.
pub(crate) async fn run(
    channels: &[Channel],
    people: &[Organization],
    work: Work,
    callers: usize,
    each: Duration,
) -> Samples {
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let channel = channels[caller / PER_CONNECTION].clone();
        let people = people.to_vec();
        tasks.spawn(async move { call(channel, &people, work, caller as u64, each).await });
    }
    let mut all = Samples::default();
    for took in tasks.join_all().await.into_iter().flatten() {
        all.push(took);
    }
    all
}

async fn call(
    channel: Channel,
    people: &[Organization],
    work: Work,
    caller: u64,
    each: Duration,
) -> Vec<i64> {
    let (mut health, mut access) = (HealthClient::new(channel.clone()), AccessServiceClient::new(channel));
    let (mut took, mut dice) = (Vec::new(), caller + 1);
    let until = Instant::now() + each;
    while Instant::now() < until {
        let begun = monotonic();
        match work {
            Work::Empty => {
                health.check(HealthCheckRequest::default()).await.expect("health");
            }
            Work::Check => {
                let request =
                    CheckAccessRequest { check: Some(check(people, &mut dice)), ..Default::default() };
                let answer = access.check_access(request).await.expect("an answer").into_inner();
                assert!(answer.access.is_some_and(|access| access.allowed), "everybody has access");
            }
            Work::Batch => {
                let checks = (0..BATCH).map(|_| check(people, &mut dice)).collect();
                let request = BatchCheckAccessRequest { checks, ..Default::default() };
                let answer = access.batch_check_access(request).await.expect("answers").into_inner();
                assert!(answer.accesses.iter().all(|access| access.allowed), "everybody has access");
            }
        }
        took.push(monotonic() - begun);
    }
    took
}

/// Somebody, anybody, in one of their workspaces.
fn check(people: &[Organization], dice: &mut u64) -> AccessCheck {
    // xorshift: the cost of the generator is not to be measured.
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    let organization = people[(*dice % people.len() as u64) as usize];
    let member = (*dice >> 32) % organization.members;
    let account = id(Kind::Account, organization.first_member + member);
    AccessCheck {
        person: Some(access_check::Person::AccountId(account)),
        workspace_id: id(Kind::Workspace, organization.workspaces_of(member)[0]),
        ..Default::default()
    }
}

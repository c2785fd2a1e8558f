//! How many access checks a second the service answers, beside calls of a method that does nothing (`Health/Check`) on the
//! same server, by as many callers over as many connections.
//!
//! Settings: `BENCH_SECONDS` (of each measurement), `BENCH_ROUNDS`, `BENCH_CALLERS` (as in `1,32`), `BENCH_ORGANIZATIONS`
//! (of 100 members in two workspaces each).

mod common;

use std::time::{Duration, Instant};

use common::{
    place::{Postgres, Service},
    report::{Rounds, Samples, line, list, monotonic, rounds, say, seconds, setting},
    seed::{self, Kind, Organization, id},
};
use rollcall_client::v1::{
    AccessCheck, BatchCheckAccessRequest, CheckAccessRequest, access_check,
    access_service_client::AccessServiceClient,
};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// Callers that share a connection.
const PER_CONNECTION: usize = 8;
/// Checks of a batch.
const BATCH: usize = 100;

/// What is called.
#[derive(Clone, Copy)]
enum Work {
    Empty,
    Check,
    Batch,
}

fn main() {
    let postgres = Postgres::start();
    common::runtime().block_on(bench(&postgres));
}

async fn bench(postgres: &Postgres) {
    let (each, turns) = (seconds(4), rounds(3));
    let callers = list("BENCH_CALLERS", "1,32");
    let most = callers.iter().copied().max().unwrap_or(1);
    postgres.describe().await;
    let database = postgres.create_migrated().await;
    let client = postgres.connect(&database).await;
    let people = seed::even(setting("BENCH_ORGANIZATIONS", 1_000));
    seed::fill(&client, &people).await;
    drop(client);
    let begun = Instant::now();
    let service = Service::start(&postgres.url(&database), &[]);
    let mut channels = Vec::new();
    for _ in 0..most.div_ceil(PER_CONNECTION) {
        let endpoint = Endpoint::from_shared(service.endpoint.clone()).expect("an endpoint");
        channels.push(endpoint.connect().await.expect("a connection"));
    }
    answers(channels[0].clone()).await;
    line(
        "access_memberships",
        people.iter().map(|organization| organization.members * 2).sum::<u64>() as f64,
    );
    line("access_ready_s", begun.elapsed().as_secs_f64());
    line("access_service_mib", service.resident() / f64::from(1 << 20));

    let mut results = Rounds::default();
    for round in 0..turns {
        for &callers in &callers {
            say(&format!("round {} of {turns}, {callers} callers", round + 1));
            for (work, name) in
                [(Work::Empty, "empty"), (Work::Check, "check_access"), (Work::Batch, "batch_check_access")]
            {
                let run = run(&channels, &people, work, callers, each).await;
                let calls = run.len() as f64 / each.as_secs_f64();
                results.add(&format!("{name}_{callers}_per_s"), calls);
                results.add(&format!("{name}_{callers}_p50_ms"), run.percentile(50.0));
                results.add(&format!("{name}_{callers}_p99_ms"), run.percentile(99.0));
                if let Work::Batch = work {
                    results.add(&format!("batched_checks_{callers}_per_s"), calls * BATCH as f64);
                }
            }
        }
    }
    results.print();
    for &callers in &callers {
        let of = |name: &str| format!("{name}_{callers}_per_s");
        results.ratio(&format!("check_access_{callers}_vs_empty"), &of("check_access"), &of("empty"));
    }
    // By as many callers as there are.
    let of = |name: &str| format!("{name}_{most}_per_s");
    results.ratio("check_access_vs_empty", &of("check_access"), &of("empty"));
}

/// Waits until access checks are answered.
async fn answers(channel: Channel) {
    let request = HealthCheckRequest { service: "rollcall.v1.AccessService".to_owned() };
    let mut told = HealthClient::new(channel).watch(request).await.expect("health").into_inner();
    while told.message().await.expect("health").expect("without end").status() != ServingStatus::Serving {}
}

/// So many callers, each of whom calls again as soon as it is answered. How long each call took.
async fn run(
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

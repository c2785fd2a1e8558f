//! T11: nothing passes between service and database, and nobody is told. The service says so soon, tells nothing that it
//! does not know, grants no lease, and goes on by itself. (The proxy takes what it is sent: what the kernel does about packets
//! that are never acknowledged is not tried here.)

use std::time::Duration;

use rollcall_client::{
    Access,
    v1::{
        GetOrganizationRequest, WatchRequest, WatchResponse,
        organization_service_client::OrganizationServiceClient, watch_response::Message,
    },
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    crew::{Crew, Instance},
    network::Way,
    postgres::{Postgres, Proxy},
    scene::{soon, stream, to_snapshot_end, until, versions},
    size,
};
use crate::{
    small::Small,
    support::{Channel, Replica},
};

const TTL: Duration = Duration::from_secs(2);
/// What a busy machine may need besides.
const SLACK: Duration = Duration::from_secs(2);

async fn health_is(channel: Channel, wanted: ServingStatus) {
    let mut health = HealthClient::new(channel);
    until(wanted.as_str_name(), async || {
        let answer = health.check(HealthCheckRequest { service: String::new() }).await;
        answer.expect("health is always answered").into_inner().status() == wanted
    })
    .await;
}

/// Reads and writes at once. Gives how many were answered otherwise than that it cannot be done now, and the slowest.
async fn answered(channel: &Channel, small: &Small, calls: usize, patience: Duration) -> (usize, Duration) {
    let mut asking = JoinSet::new();
    for number in 0..calls {
        let (small, mut client) = (small.clone(), OrganizationServiceClient::new(channel.clone()));
        asking.spawn(async move {
            let begun = Instant::now();
            let outcome: Result<(), Status> = if number % 2 == 0 {
                let organization_id = small.organization.clone();
                let mut request =
                    Request::new(GetOrganizationRequest { organization_id, ..Default::default() });
                request.set_timeout(patience);
                client.get_organization(request).await.map(drop)
            } else {
                let mut request = Request::new(small.renaming("meanwhile"));
                request.set_timeout(patience);
                client.update_organization(request).await.map(drop)
            };
            (outcome.err().map(|status| status.code()), begun.elapsed())
        });
    }
    // The client's own deadline is as long as that of the service: whoever is first says so in its words.
    let told = [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted, Code::Cancelled];
    let answers = soon("answers", asking.join_all()).await;
    let wrong = answers.iter().filter(|(code, _)| !code.is_some_and(|code| told.contains(&code))).count();
    (wrong, answers.into_iter().map(|(_, took)| took).max().expect("some"))
}

/// How many batches and bookmarks a stream brings until then, those that were read early not counted.
async fn brings(stream: &mut Streaming<WatchResponse>, from: Instant, until: Instant) -> (usize, usize) {
    let (mut batches, mut bookmarks) = (0, 0);
    while let Ok(message) = timeout_at(until, stream.message()).await {
        let message = message.expect("an open stream").expect("no end").message.expect("something");
        batches += usize::from(matches!(message, Message::Batch(_)));
        bookmarks += usize::from(matches!(message, Message::Bookmark(_)) && Instant::now() > from);
    }
    (batches, bookmarks)
}

/// Reads until a version was told.
async fn hears(stream: &mut Streaming<WatchResponse>, small: &Small, version: i64) {
    loop {
        let message = soon("a change", stream.message()).await.expect("open").expect("no end");
        if versions(&message, &small.organization).contains(&version) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t11_a_partition_from_the_database_is_told_and_survived() {
    let postgres = Postgres::start().await;
    let proxy = Proxy::before(&postgres);
    let replica = Replica::start(&proxy.url(), &["--log", "error"]).await;
    let channel: Channel = replica.client().channel().into();
    let small = Small::make(channel.clone(), "ada@example.com").await;
    let crew = Crew::make(channel.clone(), 1).await;
    crew.lease(TTL).await;
    let instance = Instance::start(replica.client(), "chat-1", |_| {}).await;
    let mut told =
        stream(channel.clone(), WatchRequest { app: "chat".to_owned(), ..Default::default() }).await;
    to_snapshot_end(&mut told).await;
    health_is(channel.clone(), ServingStatus::Serving).await;
    // What is counted as wrong below is what is seen while all is well.
    let patience = size(Duration::from_secs(3), Duration::from_secs(25));
    assert_eq!(answered(&channel, &small, 2, patience).await.0, 2);
    let now = Instant::now();
    let (batches, bookmarks) = brings(&mut told, now, now + Duration::from_secs(2)).await;
    assert!(batches > 0 && bookmarks > 0, "{batches}, {bookmarks}");

    proxy.let_pass(Way::Silent);
    let cut = Instant::now();
    let denies = async {
        let at = instance.until(&crew, &crew.people[0], |access| *access == Access::Stale).await;
        let took = at.duration_since(cut);
        println!("t11_instance_denies_after_s = {:.2}", took.as_secs_f64());
        assert!(took < TTL + SLACK, "{took:?}");
    };
    let says = async {
        health_is(channel.clone(), ServingStatus::NotServing).await;
        println!("t11_not_serving_after_s = {:.2}", cut.elapsed().as_secs_f64());
    };
    // What had been read before the cut is told within a moment; from then on silence.
    let quiet = cut + Duration::from_secs(2);
    let end = cut + Duration::from_secs(size(5, 30));
    let ((), (), (wrong, slowest), (batches, bookmarks)) =
        tokio::join!(denies, says, answered(&channel, &small, 40, patience), brings(&mut told, quiet, end));
    println!("t11_slowest_refusal_s = {:.2}", slowest.as_secs_f64());
    println!("t11_wrong_answers = {wrong}");
    println!("t11_bookmarks = {bookmarks}");
    assert_eq!((wrong, batches, bookmarks), (0, 0, 0));
    assert!(slowest < patience + SLACK, "{slowest:?}");
    assert_eq!(instance.lets_in(&crew, &crew.people), 0, "it has no lease");

    proxy.let_pass(Way::Open);
    let healed = Instant::now();
    health_is(channel, ServingStatus::Serving).await;
    let after = soon("a write", async {
        loop {
            if let Ok(renamed) = small.rename("after").await {
                return renamed.version;
            }
        }
    })
    .await;
    hears(&mut told, &small, after).await;
    soon("a lease", instance.replica.ready()).await;
    println!("t11_recovered_after_s = {:.2}", healed.elapsed().as_secs_f64());
    assert_eq!(instance.lets_in(&crew, &crew.people), 1);
}

//! A caller that waits for enforcement again and again, a thousand times at once, on a small pool before a log that is
//! read slowly. Instances keep their leases of two seconds, what they ended is told, and others hear what they wait for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rollcall_client::{
    Outcome, Phase, Replica, ReplicaOptions, Revocation,
    v1::{AwaitEnforcementRequest, EnforcementGoal, feed_service_client::FeedServiceClient},
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tonic::{Request, Status, metadata::MetadataValue};

use super::{
    crew::{Crew, Instance},
    ms,
    scene::{BOUND, Scene, soon, until},
    size,
};
use crate::support::Channel;

/// How many of those who wait share a connection.
const EACH: usize = 250;
/// How long each of them waits before it begins anew.
const PATIENCE: Duration = Duration::from_secs(1);
/// The shortest lease there is.
const TTL: Duration = Duration::from_secs(2);
/// Instances that are well.
const INSTANCES: usize = 3;
/// Each statement that reads the log takes so long, as from a disk that is waited for: what the flood takes is
/// connections, and not the processor that it shares with those who measure.
const SLOW_LOG: &str = "
    CREATE POLICY slow ON changes AS RESTRICTIVE FOR SELECT USING ((SELECT pg_sleep(0.02)::text) IS NOT NULL);";
/// How long a verdict may take: nobody is silent, so it is not the end of a lease that it waits for.
const VERDICT: Duration = Duration::from_secs(10);

/// What those who wait were told.
#[derive(Default)]
struct Told {
    /// How often somebody was told how far it is.
    progress: usize,
    /// How waits ended.
    ends: BTreeMap<String, usize>,
}

/// Waits until everything is ended that a write ends, which never comes; gives up and begins anew.
async fn wait(channel: Channel, token: String, told: &Mutex<Told>) -> Result<(), Status> {
    let request = AwaitEnforcementRequest {
        token,
        until: EnforcementGoal::Ended.into(),
        timeout: Some(PATIENCE.try_into().expect("a duration")),
        ..Default::default()
    };
    let mut request = Request::new(request);
    request.metadata_mut().insert("rollcall-caller", MetadataValue::from_static("flood"));
    let mut stream = FeedServiceClient::new(channel).await_enforcement(request).await?.into_inner();
    while stream.message().await?.is_some() {
        told.lock().unwrap_or_else(PoisonError::into_inner).progress += 1;
    }
    Ok(())
}

/// So many who wait, again and again, until this is dropped.
fn flood(channels: Vec<Channel>, token: &str, told: &Arc<Mutex<Told>>) -> JoinSet<()> {
    let mut waits = JoinSet::new();
    for channel in channels {
        for _ in 0..EACH {
            let (channel, token, told) = (channel.clone(), token.to_owned(), Arc::clone(told));
            waits.spawn(async move {
                loop {
                    let end = wait(channel.clone(), token.clone(), &told).await;
                    let end = end.map_or_else(|status| format!("{:?}", status.code()), |()| "Ok".to_owned());
                    *told.lock().unwrap_or_else(PoisonError::into_inner).ends.entry(end).or_default() += 1;
                }
            });
        }
    }
    waits
}

/// Ends when the replica does not know any more.
fn stale(replica: &Replica) -> JoinHandle<()> {
    let mut status = replica.status();
    tokio::spawn(async move {
        // Without a replica nobody knows, either.
        let _ = status.wait_for(|status| status.phase == Phase::Stale).await;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn t16_a_flood_of_those_who_wait_costs_nobody_a_lease() {
    let scene = Scene::start(&["--pool-size", "4"]).await;
    let connection = || Channel::from(scene.replica.client().channel());
    let crew = Crew::make(connection(), size(6, 40)).await;
    crew.lease(TTL).await;
    let mut instances = Vec::new();
    for number in 0..INSTANCES {
        instances
            .push(Instance::start(scene.replica.client(), &format!("chat-{number}"), |_| {}).await.replica);
    }
    // Nothing that it is asked to end does: the flood waits for that.
    let stuck =
        ReplicaOptions { handler_timeout: BOUND, ..ReplicaOptions::new("chat", format!("chat-{INSTANCES}")) };
    let never = |_: Revocation| std::future::pending::<Outcome>();
    instances.push(Replica::start(scene.replica.client(), stuck, never));
    for replica in &instances {
        soon("an instance", replica.ready()).await;
    }
    let (first, people) = crew.people.split_first().expect("people");
    let token = crew.out(first).await;
    let told = Arc::<Mutex<Told>>::default();
    let channels: Vec<Channel> = (0..4).map(|_| connection()).collect();
    let waits = channels.len() * EACH;
    let flooding = flood(channels, &token, &told);
    until("those who wait", async || {
        told.lock().unwrap_or_else(PoisonError::into_inner).progress >= waits / 10
    })
    .await;
    scene.database.client.batch_execute(SLOW_LOG).await.expect("a slow log");
    let watched: Vec<JoinHandle<()>> = instances.iter().map(stale).collect();
    let (begun, mut took) = (Instant::now(), Vec::new());
    // For some leases at least.
    while begun.elapsed() < 3 * TTL || took.len() < people.len() {
        if let Some(person) = people.get(took.len()) {
            let asked = Instant::now();
            let (_, at) = crew.enforced(crew.out(person).await).await;
            took.push(at - asked);
        }
        tokio::time::sleep(TTL / 10).await;
    }
    // A receipt for the member and one for the membership, of each who is well.
    let wanted = i64::try_from(crew.people.len() * INSTANCES * 2).expect("few");
    let receipts = "SELECT count(*) FROM receipts WHERE outcome = 'ENDED' AND app = 'chat'";
    until("receipts", async || {
        let row = scene.database.client.query_one(receipts, &[]).await.expect("receipts");
        row.get::<_, i64>(0) >= wanted
    })
    .await;
    drop(flooding);
    let ends = std::mem::take(&mut told.lock().unwrap_or_else(PoisonError::into_inner).ends);
    let slowest = took.iter().max().copied().expect("departures");
    let gone = watched.iter().filter(|watch| watch.is_finished()).count();
    let lapsed = "SELECT count(*) FROM subscriptions WHERE state = 'LAPSED'";
    let lapsed: i64 = scene.database.client.query_one(lapsed, &[]).await.expect("them").get(0);
    println!("t16_waiters = {waits}");
    println!("t16_waiters_ends = {ends:?}");
    println!("t16_waiters_stale = {gone} of {}", instances.len());
    println!("t16_waiters_others_enforced_slowest_ms = {}", ms(slowest));
    assert_eq!((gone, lapsed), (0, 0), "instances without a lease, and given up");
    assert!(slowest < VERDICT, "another caller waits {slowest:?}");
    // More of them than there are turns: some are told to come back.
    assert!(
        ends.get("ResourceExhausted").is_some_and(|refused| *refused > 0),
        "the flood was none: {ends:?}"
    );
    assert!(ends.keys().all(|end| ["Ok", "ResourceExhausted"].contains(&end.as_str())), "{ends:?}");
}

//! T31: everyone comes back at once. The database sees no more connections than the pool has, and nobody takes a
//! snapshot again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rollcall_client::v1::{WatchRequest, feed_service_client::FeedServiceClient, watch_response::Message};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use super::{
    ms,
    scene::{BOUND, Scene, soon, until},
    size,
};
use crate::support::Channel;

const CONNECTIONS: usize = 20;
const POOL: usize = 16;
/// Sequencing, notifications and migrations each have one besides the pool; and this test looks through one.
const BESIDES: i64 = 4;
/// How often one who is refused comes again.
const AGAIN: Duration = Duration::from_millis(100);

/// One instance: its requests, from the first stream to the resumed one.
struct Instance {
    channel: Channel,
    request: WatchRequest,
}

/// What all of them have met.
#[derive(Default)]
struct Met {
    snapshots: AtomicUsize,
    refused: AtomicUsize,
}

impl Instance {
    /// Opens a stream, again and again until it is open, and reads to its first bookmark. Its cursor and subscription are
    /// those that the next stream will ask for.
    async fn live(&mut self, met: &Met) -> tonic::Streaming<rollcall_client::v1::WatchResponse> {
        loop {
            match self.open(met).await {
                Ok(stream) => return stream,
                Err(status) => {
                    assert!(
                        !matches!(
                            status.code(),
                            tonic::Code::InvalidArgument | tonic::Code::FailedPrecondition
                        ),
                        "{status:?}"
                    );
                    met.refused.fetch_add(1, Ordering::Relaxed);
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn open(
        &mut self,
        met: &Met,
    ) -> Result<tonic::Streaming<rollcall_client::v1::WatchResponse>, tonic::Status> {
        let mut feed = FeedServiceClient::new(self.channel.clone());
        let mut stream = feed.watch(self.request.clone()).await?.into_inner();
        loop {
            let Some(message) = stream.message().await? else {
                return Err(tonic::Status::unavailable("ended"));
            };
            if !message.cursor.is_empty() {
                self.request.cursor = message.cursor;
            }
            match message.message.expect("something") {
                Message::Opened(opened) => {
                    self.request.subscription_id = opened.subscription_id;
                    met.snapshots.fetch_add(usize::from(opened.snapshot_follows), Ordering::Relaxed);
                }
                Message::Bookmark(_) => return Ok(stream),
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t31_everyone_reconnects_at_once_within_the_pool_and_without_a_snapshot() {
    let mut scene = Scene::start(&["--pool-size", &POOL.to_string()]).await;
    let count = size(200, 2_000);
    let channels: Vec<Channel> = (0..CONNECTIONS).map(|_| scene.replica.client().channel().into()).collect();
    let instances = (0..count).map(|number| Instance {
        channel: channels[number % CONNECTIONS].clone(),
        request: WatchRequest {
            app: "chat".to_owned(),
            instance: format!("chat-{number}"),
            ..Default::default()
        },
    });
    let met = Arc::new(Met::default());
    // The first time some at a time: this is not the storm.
    let gate = Arc::new(Semaphore::new(50));
    let mut opening = JoinSet::new();
    for mut instance in instances {
        let (met, gate) = (Arc::clone(&met), Arc::clone(&gate));
        opening.spawn(async move {
            let _place = gate.acquire().await.expect("a gate");
            let stream = instance.live(&met).await;
            (instance, stream)
        });
    }
    let open = soon("everyone to be live", opening.join_all()).await;
    assert_eq!(met.snapshots.load(Ordering::Relaxed), count, "each begins with a snapshot");

    let stop = Arc::new(AtomicBool::new(false));
    let sampling = tokio::spawn(connections(scene.database.another().await, Arc::clone(&stop)));
    let storm = Arc::new(Met::default());
    scene.replica.kill().await;
    let mut coming = JoinSet::new();
    for (mut instance, mut stream) in open {
        let storm = Arc::clone(&storm);
        coming.spawn(async move {
            // Each notices for itself that its stream is gone.
            while let Ok(Some(_)) = stream.message().await {}
            let stream = instance.live(&storm).await;
            (Instant::now(), stream)
        });
    }
    scene.replica.restart().await;
    let up = Instant::now();
    let live = tokio::time::timeout(BOUND, coming.join_all()).await.expect("everyone is live in time");
    let all_live = live.iter().map(|(at, _)| at.saturating_duration_since(up)).max().expect("some");
    stop.store(true, Ordering::Relaxed);
    let most = sampling.await.expect("samples");
    println!("t31_instances = {count}");
    println!("t31_all_live_ms = {}", ms(all_live));
    println!("t31_refused_meanwhile = {}", storm.refused.load(Ordering::Relaxed));
    println!("t31_connections_most = {most}");
    println!("t31_snapshots = {}", storm.snapshots.load(Ordering::Relaxed));
    assert_eq!(storm.snapshots.load(Ordering::Relaxed), 0, "somebody was sent a snapshot again");
    assert!(most <= POOL as i64 + BESIDES, "{most} connections to the database");
    let version = soon("an answer", scene.pen().rename()).await.expect("a new name");
    assert!(version > 1);
    drop(live);
    until("the service to be well", async || scene.pen().rename().await.is_ok()).await;
}

/// The most connections that the database had at a time, without those of this test.
async fn connections(database: crate::support::Database, stop: Arc<AtomicBool>) -> i64 {
    let query = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'rollcall' AND backend_type = 'client backend'";
    let (mut pace, mut most) = (interval(Duration::from_millis(20)), 0);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        most = most.max(database.client.query_one(query, &[]).await.expect("a count").get(0));
    }
    most
}

//! C8: what leaves the log and when, what stays, and what a cursor near the floor is told (T24). Tests make changes old by
//! moving the time of their batches back, and call the functions of the database that the service's own task calls.

mod cursors;
mod race;
mod singleton;
mod trimming;

use std::time::Duration;

use rollcall_client::v1::{
    AcknowledgeRequest, Opened, WatchRequest, WatchResponse, feed_service_client::FeedServiceClient,
    watch_response::Message,
};
use tokio_postgres::Client;
use tonic::{Status, Streaming};

use crate::{
    fixtures::{Org, World},
    support::{Channel, Server},
};

/// Longer than any answer takes: only a defect runs into it.
const BOUND: Duration = Duration::from_secs(20);

/// What trimming is called with.
#[derive(Clone, Copy)]
struct Keep {
    days: i32,
    max_days: i32,
    hours: i32,
    at_most: i64,
}

/// What is older than a day goes, and subscriptions hold nothing back.
const A_DAY: Keep = Keep { days: 1, max_days: 30, hours: 0, at_most: 5_000 };

/// The floor, how many changes were moved, and whether there is more to do.
async fn trim(database: &Client, keep: Keep) -> (i64, i64, bool) {
    let Keep { days, max_days, hours, at_most } = keep;
    let query = format!(
        "SELECT * FROM trim_log(make_interval(days => {days}), make_interval(days => {max_days}), \
         make_interval(hours => {hours}), {at_most})"
    );
    let row = database.query_one(&query, &[]).await.expect("a trimmed batch");
    (row.get(0), row.get(1), row.get(2))
}

/// Makes everything up to a position ten days old.
async fn age(database: &Client, until: i64) {
    let query = "UPDATE batches SET sequence_time = now() - interval '10 days' WHERE last_position <= $1";
    database.execute(query, &[&until]).await.expect("an older log");
}

async fn number(database: &Client, query: &str) -> i64 {
    database.query_one(query, &[]).await.expect("a number").get(0)
}

async fn head(database: &Client) -> i64 {
    number(database, "SELECT position FROM log_head").await
}

/// A stream, read message by message.
struct Reader(Streaming<WatchResponse>);

impl Reader {
    /// Opens a stream and reads its first message.
    async fn open(channel: Channel, request: WatchRequest) -> Result<(Self, Opened), Status> {
        let mut reader = Self(FeedServiceClient::new(channel).watch(request).await?.into_inner());
        let opened = reader.next().await?.message;
        let Some(Message::Opened(opened)) = opened else { panic!("{opened:?}") };
        Ok((reader, opened))
    }

    async fn next(&mut self) -> Result<WatchResponse, Status> {
        let message = tokio::time::timeout(BOUND, self.0.message()).await.expect("a message in time")?;
        Ok(message.expect("streams end with a status"))
    }

    /// The positions of the next batch, and its cursor.
    async fn batch(&mut self) -> Result<(Vec<i64>, String), Status> {
        loop {
            let WatchResponse { cursor, message, .. } = self.next().await?;
            if let Some(Message::Batch(batch)) = message {
                return Ok((batch.changes.iter().map(|change| change.position).collect(), cursor));
            }
        }
    }
}

fn chat() -> WatchRequest {
    WatchRequest { app: "chat".to_owned(), ..Default::default() }
}

/// A log with a cursor at each of its last positions, given to one subscription.
struct Trail {
    world: World,
    org: Org,
    subscription: String,
    /// Positions, one after the other, with the cursor at each.
    cursors: Vec<(i64, String)>,
}

impl Trail {
    async fn make(length: usize) -> Self {
        // What the window has is not missed when it is trimmed: here the log is looked at.
        let world = World::on(Server::without_window().await).await;
        let org = world.organization("ada").await;
        let request = WatchRequest { instance: "chat-1".to_owned(), ..chat() };
        let (mut reader, opened) = Reader::open(world.server().channel(), request).await.expect("a stream");
        let mut cursors = Vec::new();
        for index in 0..length {
            world.workspace(&org, "chat", &format!("workspace {index}")).await;
            // One change each, so that the cursor behind it stands exactly there.
            let (positions, cursor) = reader.batch().await.expect("a batch");
            let [position] = positions[..] else { panic!("{positions:?}") };
            assert_eq!(position, head(world.server().database()).await);
            cursors.push((position, cursor));
        }
        Self { world, org, subscription: opened.subscription_id, cursors }
    }

    fn database(&self) -> &Client {
        self.world.server().database()
    }

    fn position(&self, index: usize) -> i64 {
        self.cursors[index].0
    }

    /// The first positions that a stream tells which resumes at this cursor.
    async fn resume(&self, index: usize) -> Result<Vec<i64>, Status> {
        let request = WatchRequest { cursor: self.cursors[index].1.clone(), ..chat() };
        let (mut reader, opened) = Reader::open(self.world.server().channel(), request).await?;
        assert!(!opened.snapshot_follows);
        Ok(reader.batch().await?.0)
    }

    async fn acknowledge(&self, index: usize) -> Result<i64, Status> {
        let request = AcknowledgeRequest {
            subscription_id: self.subscription.clone(),
            applied_cursor: self.cursors[index].1.clone(),
            ..Default::default()
        };
        Ok(self.world.feed().acknowledge(request).await?.into_inner().applied_position)
    }
}

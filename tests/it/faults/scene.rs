//! What the faults happen to: a service process on a database of its own, an organization in it, somebody who writes,
//! and readers who note when they were told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rollcall_client::v1::{
    feed_service_client::FeedServiceClient, organization_service_client::OrganizationServiceClient,
    subject::Subject as Thing, watch_response::Message, *,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, interval, timeout},
};
use tonic::{Status, Streaming};

use crate::{
    fixtures::mask,
    small::Small,
    support::{Channel, Database, Replica, create_database},
};

/// Longer than anything here takes: only a defect runs into it.
pub(super) const BOUND: Duration = Duration::from_secs(120);

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(BOUND, Box::pin(future)).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A database, a replica on it, an organization in app `chat`.
pub(super) struct Scene {
    pub(super) database: Database,
    pub(super) replica: Replica,
    pub(super) small: Small,
}

impl Scene {
    pub(super) async fn start(arguments: &[&str]) -> Self {
        let database = create_database().await;
        let replica = Replica::start(&database.url, &[&["--log", "warn"], arguments].concat()).await;
        let small = Small::make(replica.client().channel().into(), "ada@example.com").await;
        Self { database, replica, small }
    }

    /// Somebody who writes through a connection of their own.
    pub(super) fn pen(&self) -> Pen {
        Pen::new(self.replica.client().channel().into(), &self.small.organization)
    }

    /// An observer of `chat`, past its snapshot.
    pub(super) async fn reader(&self) -> Reader {
        Reader::open(self.replica.client().channel().into(), &self.small.organization).await
    }

    /// Commits so many commands at once, each a new version of the organization, as if other replicas had.
    pub(super) async fn flood(&self, commands: i64) -> i64 {
        let statement = "
            WITH grown AS (
                UPDATE organizations SET version = version + $1 WHERE organization_id = $2::text::uuid RETURNING version
            )
            INSERT INTO pending_changes
                (change_id, command_id, organization_id, apps, subject, state, version, reason, caller)
            SELECT gen_random_uuid(), gen_random_uuid(), $2::text::uuid, ARRAY['chat'], 'ORGANIZATION', 'ACTIVE',
                version - $1 + number, 'RENAMED', 'flood'
            FROM grown, generate_series(1, $1) number ORDER BY number";
        let database = &self.database.client;
        database.execute(statement, &[&commands, &self.small.organization]).await.expect("a flood");
        let version = "SELECT version FROM organizations WHERE organization_id = $1::text::uuid";
        database.query_one(version, &[&self.small.organization]).await.expect("its version").get(0)
    }
}

/// Renames the organization again and again.
#[derive(Clone)]
pub(super) struct Pen {
    client: OrganizationServiceClient<Channel>,
    organization: String,
}

impl Pen {
    pub(super) fn new(channel: Channel, organization: &str) -> Self {
        Self { client: OrganizationServiceClient::new(channel), organization: organization.to_owned() }
    }

    /// Another name; gives the version that it made.
    pub(super) async fn rename(&mut self) -> Result<i64, Status> {
        let organization = Organization {
            organization_id: self.organization.clone(),
            display_name: uuid::Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let request = UpdateOrganizationRequest {
            organization: Some(organization),
            update_mask: mask(&["display_name"]),
            ..Default::default()
        };
        let answer = self.client.update_organization(request).await?.into_inner();
        Ok(answer.organization.expect("the organization").version)
    }

    /// Writes so many times at this pace; each reader must be told each time. Gives how long each took to hear of each,
    /// from before the call.
    pub(super) async fn lags(&mut self, readers: &[Reader], writes: usize, pace: Duration) -> Vec<Duration> {
        let mut pace = interval(pace);
        let mut written = Vec::new();
        for _ in 0..writes {
            pace.tick().await;
            let begun = Instant::now();
            written.push((soon("an answer", self.rename()).await.expect("a new name"), begun));
        }
        let mut lags = Vec::new();
        for reader in readers {
            reader.until(written.last().expect("a write").0).await;
            lags.extend(written.iter().map(|(version, begun)| reader.told(*version).duration_since(*begun)));
        }
        lags
    }
}

/// One who follows and notes when each version of the organization was told. What waits for it fails with its stream.
pub(super) struct Reader {
    told: Arc<Mutex<HashMap<i64, Instant>>>,
    newest: watch::Receiver<i64>,
    /// The longest silence that ended, and the last message.
    silence: Arc<Mutex<(Duration, Instant)>>,
    task: JoinHandle<()>,
}

impl Reader {
    pub(super) async fn open(channel: Channel, organization: &str) -> Self {
        let mut stream = stream(channel, WatchRequest { app: "chat".to_owned(), ..Default::default() }).await;
        to_snapshot_end(&mut stream).await;
        let told = Arc::new(Mutex::new(HashMap::new()));
        let silence = Arc::new(Mutex::new((Duration::ZERO, Instant::now())));
        let (sender, newest) = watch::channel(0);
        let (noted, longest, organization) =
            (Arc::clone(&told), Arc::clone(&silence), organization.to_owned());
        let task = tokio::spawn(async move {
            loop {
                // Whoever waits for a version is told that the stream ended.
                let Ok(Some(message)) = stream.message().await else { return };
                let now = Instant::now();
                {
                    let mut silence = longest.lock().unwrap_or_else(PoisonError::into_inner);
                    *silence = (silence.0.max(now - silence.1), now);
                }
                for version in versions(&message, &organization) {
                    noted.lock().unwrap_or_else(PoisonError::into_inner).entry(version).or_insert(now);
                    sender
                        .send_if_modified(|newest| std::mem::replace(newest, version.max(*newest)) < version);
                }
            }
        });
        Self { told, newest, silence, task }
    }

    /// Waits until this version was told.
    pub(super) async fn until(&self, version: i64) {
        let mut newest = self.newest.clone();
        let told = soon("a version to be told", newest.wait_for(|newest| *newest >= version)).await.is_ok();
        assert!(told, "the stream of a reader ended before version {version}");
    }

    /// When this version was told.
    pub(super) fn told(&self, version: i64) -> Instant {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told.get(&version).unwrap_or_else(|| panic!("version {version} was skipped"))
    }

    /// As if one of those that were told had not been.
    pub(super) fn forget_one(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let version = told.keys().next().copied().expect("something was told");
        told.remove(&version);
    }

    /// How many versions were told.
    pub(super) fn count(&self) -> usize {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The longest time without a message so far, that which goes on included.
    pub(super) fn longest_silence(&self) -> Duration {
        let (longest, last) = *self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        longest.max(last.elapsed())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The versions of the organization that a message tells.
pub(super) fn versions(message: &WatchResponse, organization: &str) -> Vec<i64> {
    let Some(Message::Batch(batch)) = &message.message else { return Vec::new() };
    let version = |change: &Change| match change.subject.as_ref()?.subject.as_ref()? {
        Thing::Organization(now) if now.organization_id == organization => Some(now.version),
        _ => None,
    };
    batch.changes.iter().filter_map(version).collect()
}

/// Opens a stream.
pub(super) async fn stream(channel: Channel, request: WatchRequest) -> Streaming<WatchResponse> {
    let mut client = FeedServiceClient::new(channel).max_decoding_message_size(16 << 20);
    soon("a stream", client.watch(request)).await.expect("a stream").into_inner()
}

/// Reads a stream past its snapshot; gives the first cursor and the position that it stands for.
pub(super) async fn to_snapshot_end(stream: &mut Streaming<WatchResponse>) -> (String, i64) {
    loop {
        let message = soon("a snapshot", stream.message()).await.expect("an open stream").expect("no end");
        if let Some(Message::SnapshotEnd(end)) = message.message {
            return (message.cursor, end.position);
        }
    }
}

/// Asks again and again until it is so.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut looks = interval(Duration::from_millis(20));
    let asking = async {
        while !holds().await {
            looks.tick().await;
        }
    };
    soon(what, asking).await;
}

//! Followers that write down all that they were told, across however many streams, by the client crate or by hand; and what
//! is wrong with that, by the log.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rollcall_client::{
    Client, Event, Watch, WatchOptions,
    v1::{WatchRequest, feed_service_client::FeedServiceClient},
};
use tokio::{task::JoinHandle, time::sleep};

use super::scene::until;
use crate::support::{Channel, Database};

/// How soon one that follows by hand comes again.
const AGAIN: Duration = Duration::from_millis(50);

/// A change: its position and its id.
pub(super) type Told = (i64, String);

/// What one follower has met.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The position that its first snapshot stands for. None: there was none yet.
    pub(super) first: Option<i64>,
    /// Every change, as it came.
    pub(super) told: Vec<Told>,
    pub(super) snapshots: u64,
    /// How often a stream was lost that had been open, and why.
    pub(super) cuts: Vec<String>,
    /// What a watch does not heal from by itself.
    pub(super) errors: Vec<String>,
    position: i64,
    open: bool,
}

impl Seen {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Opened(_) => self.open = true,
            Event::SnapshotPage(_) => {}
            Event::SnapshotEnd(end) => {
                self.snapshots += 1;
                self.first.get_or_insert(end.position);
                self.position = end.position;
            }
            Event::Batch(batch) => {
                let told = batch.changes.iter().map(|change| (change.position, change.change_id.clone()));
                self.told.extend(told);
                self.position = self.told.last().map_or(self.position, |last| last.0);
            }
            Event::Bookmark(bookmark) => self.position = bookmark.position,
            Event::Disconnected { cause, .. } => self.lost(cause.to_string()),
        }
    }

    fn lost(&mut self, cause: String) {
        // What was not open yet is an attempt.
        if std::mem::take(&mut self.open) {
            self.cuts.push(cause);
        }
    }
}

/// An observer of app `chat`, which resumes by itself. It stops when dropped.
pub(super) struct Follower {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// One of the client crate, past its snapshot.
    pub(super) async fn start(client: Client) -> Self {
        let mut watch = Watch::new(client, WatchOptions::new("chat"));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let next = watch.next().await;
                let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
                match next {
                    Ok(event) => seen.take(&event),
                    // It pauses by itself before it tries again.
                    Err(error) => seen.errors.push(error.to_string()),
                }
            }
        });
        Self::past_its_snapshot(seen, task).await
    }

    /// One by hand: it resumes at its last cursor, and believes that nothing is missing before what it is told.
    pub(super) async fn by_hand(channel: Channel) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(follow_by_hand(channel, Arc::clone(&seen)));
        Self::past_its_snapshot(seen, task).await
    }

    async fn past_its_snapshot(seen: Arc<Mutex<Seen>>, task: JoinHandle<()>) -> Self {
        let follower = Self { seen, task };
        until("a snapshot", async || follower.look(|seen| seen.first.is_some())).await;
        follower
    }

    /// So many, half of them by hand, each over a connection of its own.
    pub(super) async fn start_some(client: impl Fn() -> Client, count: usize) -> Vec<Self> {
        let mut followers = Vec::new();
        for number in 0..count {
            followers.push(match number % 2 {
                0 => Self::start(client()).await,
                _ => Self::by_hand(client().channel().into()).await,
            });
        }
        followers
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn cuts(&self) -> usize {
        self.look(|seen| seen.cuts.len())
    }

    /// Waits until it was told everything up to this position.
    pub(super) async fn reached(&self, position: i64) {
        until("a follower", async || self.look(|seen| seen.position >= position)).await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow_by_hand(channel: Channel, noted: Arc<Mutex<Seen>>) {
    let mut client = FeedServiceClient::new(channel).max_decoding_message_size(16 << 20);
    let seen = || noted.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cursor = String::new();
    loop {
        let request = WatchRequest { app: "chat".to_owned(), cursor: cursor.clone(), ..Default::default() };
        let cause = match client.watch(request).await {
            Ok(answer) => {
                let mut stream = answer.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(message)) => {
                            if !message.cursor.is_empty() {
                                cursor = message.cursor;
                            }
                            if let Some(message) = message.message {
                                seen().take(&message.into());
                            }
                        }
                        Ok(None) => break "it ended".to_owned(),
                        Err(status) => break status.to_string(),
                    }
                }
            }
            Err(status) => status.to_string(),
        };
        seen().lost(cause);
        sleep(AGAIN).await;
    }
}

/// What is wrong with what a follower was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wrong {
    /// In the log, and not told.
    pub(super) lost: usize,
    /// Told again.
    pub(super) doubled: usize,
    /// Told after what comes later.
    pub(super) disordered: usize,
    /// Told, and not in the log.
    pub(super) phantoms: usize,
}

impl std::ops::AddAssign for Wrong {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.phantoms += other.phantoms;
    }
}

/// Compares what one was told with the log from where its snapshot ended.
pub(super) fn judge(log: &[Told], told: &[Told]) -> Wrong {
    let logged: HashSet<&Told> = log.iter().collect();
    let mut times: HashMap<&Told, usize> = HashMap::new();
    for one in told {
        *times.entry(one).or_default() += 1;
    }
    Wrong {
        lost: log.iter().filter(|one| !times.contains_key(one)).count(),
        doubled: told.len() - times.len(),
        disordered: told.windows(2).filter(|two| two[0].0 > two[1].0).count(),
        phantoms: times.keys().filter(|one| !logged.contains(**one)).count(),
    }
}

/// The log of app `chat` after this position.
pub(super) async fn log_after(database: &Database, position: i64) -> Vec<Told> {
    let query = "SELECT position, change_id::text FROM changes
        WHERE position > $1 AND 'chat' = ANY(apps) ORDER BY position";
    let rows = database.client.query(query, &[&position]).await.expect("the log");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Where the log ends.
pub(super) async fn head(database: &Database) -> i64 {
    let query = "SELECT coalesce(max(position), 0) FROM changes";
    database.client.query_one(query, &[]).await.expect("the log").get(0)
}

/// Waits until all were told all that is there, and judges each. In each recording every fault that could be in it is put
/// there once and must be found.
pub(super) async fn judge_all(database: &Database, followers: &[Follower]) -> Wrong {
    let head = head(database).await;
    let mut sum = Wrong::default();
    for follower in followers {
        follower.reached(head).await;
        let seen = follower.look(Seen::clone);
        let log = log_after(database, seen.first.expect("a snapshot")).await;
        let wrong = judge(&log, &seen.told);
        if wrong == Wrong::default() {
            finds_each_fault(&log, &seen.told);
        }
        sum += wrong;
    }
    sum
}

fn finds_each_fault(log: &[Told], told: &[Told]) {
    assert!(told.len() > 2, "it was told something");
    let middle = told.len() / 2;
    let mut broken = told.to_vec();
    broken.remove(middle);
    assert_eq!(judge(log, &broken), Wrong { lost: 1, ..Wrong::default() });
    let mut broken = told.to_vec();
    broken.insert(middle, told[middle].clone());
    assert_eq!(judge(log, &broken), Wrong { doubled: 1, ..Wrong::default() });
    let mut broken = told.to_vec();
    broken.swap(middle - 1, middle);
    assert_eq!(judge(log, &broken), Wrong { disordered: 1, ..Wrong::default() });
    let mut broken = told.to_vec();
    broken.insert(middle, (told[middle].0, uuid::Uuid::new_v4().to_string()));
    assert_eq!(judge(log, &broken), Wrong { phantoms: 1, ..Wrong::default() });
}

//! T30: very many streams that are told nothing but bookmarks, and some that are told a hundred changes a second. All of
//! them are told, soon, and each change once. (What a change costs that goes to a thousand streams is measured by
//! `benches/streams.rs`.)

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rollcall_client::v1::{WatchRequest, WatchResponse, subject::Subject as Thing, watch_response::Message};
use tokio::{
    sync::{Semaphore, oneshot},
    task::{JoinHandle, JoinSet},
    time::{Instant, interval_at},
};

use super::{
    crew::Crew,
    ms, p99,
    scene::{Pen, Scene, soon, stream, to_snapshot_end, until},
    size,
};
use crate::support::Channel;

const CONNECTIONS: usize = 100;
/// So many follow what changes.
const READERS: usize = 10;
/// So many write, each to an organization of its own: an answer shows the newest version, also where that is another's.
const WRITERS: usize = 20;
/// Of each writer. Of all of them it is a hundred a second.
const PACE: Duration = Duration::from_millis(200);

/// A version of an organization, and when it was written or told.
type Version = ((String, i64), Instant);
/// The last version of each organization.
type Last = HashMap<String, i64>;

/// What a message tells of organizations.
fn told_by(message: &WatchResponse) -> impl Iterator<Item = (String, i64)> {
    let batch = match &message.message {
        Some(Message::Batch(batch)) => &*batch.changes,
        _ => &[],
    };
    batch.iter().filter_map(|change| match change.subject.as_ref()?.subject.as_ref()? {
        Thing::Organization(now) => Some((now.organization_id.clone(), now.version)),
        _ => None,
    })
}

/// One who follows everything from here on, until it was told the last of what was written.
async fn follow(channel: Channel, last: oneshot::Receiver<Last>) -> JoinHandle<Vec<Version>> {
    let mut stream = stream(channel, WatchRequest { app: "chat".to_owned(), ..Default::default() }).await;
    to_snapshot_end(&mut stream).await;
    tokio::spawn(async move {
        let (mut told, mut newest, mut end, mut last) = (Vec::new(), Last::new(), None, Some(last));
        // The bookmark after the last change: what is told again would come before it.
        loop {
            let message = tokio::select! {
                message = stream.message() => message.expect("no stream is cut").expect("no stream ends"),
                known = async { last.as_mut().expect("asked once").await }, if last.is_some() => {
                    (end, last) = (Some(known.expect("the last versions")), None);
                    continue;
                }
            };
            let now = Instant::now();
            for (organization, version) in told_by(&message) {
                newest.insert(organization.clone(), version);
                told.push(((organization, version), now));
            }
            let all = end.as_ref().is_some_and(|end| {
                end.iter().all(|(organization, last)| newest.get(organization) >= Some(last))
            });
            if all && matches!(message.message, Some(Message::Bookmark(_))) {
                return told;
            }
        }
    })
}

/// What is wrong with what a reader was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wrong {
    lost: usize,
    doubled: usize,
    disordered: usize,
}

/// Compares what was written with what one reader was told; gives how long each took besides.
fn judge(written: &[Version], told: &[Version]) -> (Wrong, Vec<Duration>) {
    let (mut wrong, mut times, mut newest) = (Wrong::default(), HashMap::new(), HashMap::new());
    for (version, at) in told {
        wrong.doubled += usize::from(times.insert(version, *at).is_some());
        let before = newest.insert(&version.0, version.1);
        wrong.disordered += usize::from(before.is_some_and(|before| before > version.1));
    }
    let mut lags = Vec::new();
    for (version, begun) in written {
        match times.get(version) {
            Some(at) => lags.push(at.duration_since(*begun)),
            None => wrong.lost += 1,
        }
    }
    (wrong, lags)
}

/// Each way to be told wrongly is found in what was really told, and no other.
fn finds_each_fault(written: &[Version], told: &[Version]) {
    let two = written.windows(2).find(|two| two[0].0.0 == two[1].0.0).expect("two of one organization");
    let place = |one: &Version| told.iter().position(|(version, _)| *version == one.0).expect("it was told");
    let (here, next) = (place(&two[0]), place(&two[1]));
    let mut lost = told.to_vec();
    lost.remove(here);
    assert_eq!(judge(written, &lost).0, Wrong { lost: 1, ..Wrong::default() });
    let mut doubled = told.to_vec();
    doubled.insert(here, told[here].clone());
    assert_eq!(judge(written, &doubled).0, Wrong { doubled: 1, ..Wrong::default() });
    let mut disordered = told.to_vec();
    disordered.swap(here, next);
    assert_eq!(judge(written, &disordered).0, Wrong { disordered: 1, ..Wrong::default() });
}

/// Streams that are told nothing but bookmarks.
struct Idle {
    following: JoinSet<()>,
    /// How many bookmarks each was told.
    bookmarks: Arc<Vec<AtomicU64>>,
}

impl Idle {
    /// Opens so many, a few at a time.
    async fn open(channels: &[Channel], organization: &str, count: usize) -> Self {
        let bookmarks: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let (gate, open) = (Arc::new(Semaphore::new(50)), Arc::new(AtomicUsize::new(0)));
        let mut following = JoinSet::new();
        for number in 0..count {
            let (channel, gate) = (channels[number % channels.len()].clone(), Arc::clone(&gate));
            let (open, bookmarks) = (Arc::clone(&open), Arc::clone(&bookmarks));
            let organization_ids = vec![organization.to_owned()];
            let request = WatchRequest { app: "chat".to_owned(), organization_ids, ..Default::default() };
            following.spawn(async move {
                let place = gate.acquire().await.expect("a gate");
                let mut stream = stream(channel, request).await;
                to_snapshot_end(&mut stream).await;
                drop(place);
                open.fetch_add(1, Ordering::Relaxed);
                while let Some(message) = stream.message().await.expect("no stream is cut") {
                    let Some(Message::Bookmark(_)) = message.message else {
                        panic!("there is nothing to tell")
                    };
                    bookmarks[number].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until("all streams", async || open.load(Ordering::Relaxed) == count).await;
        Self { following, bookmarks }
    }

    /// Waits until each was told so many more bookmarks.
    async fn more(&self, bookmarks: u64) {
        let told = || self.bookmarks.iter().map(|told| told.load(Ordering::Relaxed));
        let wanted: Vec<u64> = told().map(|so_far| so_far + bookmarks).collect();
        until("bookmarks", async || told().zip(&wanted).all(|(told, wanted)| told >= *wanted)).await;
    }

    /// None was cut, and none was told anything else.
    fn all_live(&mut self) -> bool {
        self.following.len() == self.bookmarks.len() && self.following.try_join_next().is_none()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t30_idle_streams_cost_little_and_delay_nobody() {
    let scene = Scene::start(&[]).await;
    let count = size(200, 10_000);
    let channels: Vec<Channel> = (0..CONNECTIONS).map(|_| scene.replica.client().channel().into()).collect();
    // They follow another organization, of which there is nothing to tell.
    let quiet = Crew::make(channels[0].clone(), 0).await;
    let mut pens = Vec::new();
    for channel in &channels[..WRITERS] {
        let crew = Crew::make(channel.clone(), 0).await;
        let mut pen = Pen::new(channel.clone(), &crew.org.id);
        // What is made once is made before memory is looked at.
        soon("an answer", pen.rename()).await.expect("a new name");
        pens.push((crew.org.id, pen));
    }
    let (mut readers, mut ends) = (Vec::new(), Vec::new());
    for channel in &channels[..READERS] {
        let (end, last) = oneshot::channel();
        readers.push(follow(channel.clone(), last).await);
        ends.push(end);
    }
    let (before, begun) = (scene.replica.resident_bytes(), Instant::now());
    let mut idle = Idle::open(&channels, &quiet.org.id, count).await;
    println!("t30_streams = {count}");
    println!("t30_open_s = {:.2}", begun.elapsed().as_secs_f64());
    idle.more(2).await;
    let each = scene.replica.resident_bytes().saturating_sub(before) / count as u64;
    println!("t30_bytes_for_each_stream = {each}");

    let (mut writing, each, begun) = (JoinSet::new(), size(10, 150), Instant::now());
    for (number, (organization, mut pen)) in pens.into_iter().enumerate() {
        let first =
            begun + PACE * u32::try_from(number).expect("small") / u32::try_from(WRITERS).expect("small");
        writing.spawn(async move {
            let (mut written, mut pace): (Vec<Version>, _) = (Vec::new(), interval_at(first, PACE));
            for _ in 0..each {
                pace.tick().await;
                let begun = Instant::now();
                let version = soon("an answer", pen.rename()).await.expect("a new name");
                written.push(((organization.clone(), version), begun));
            }
            written
        });
    }
    let written: Vec<Version> = writing.join_all().await.into_iter().flatten().collect();
    println!("t30_changes_per_s = {:.0}", written.len() as f64 / begun.elapsed().as_secs_f64());
    // Each organization's versions stand in their order.
    let last: Last = written.iter().map(|(version, _)| version.clone()).collect();
    for end in ends {
        end.send(last.clone()).expect("it reads");
    }
    let (mut all, mut lags, mut recorded) = (Wrong::default(), Vec::new(), Vec::new());
    for reader in readers {
        let told = soon("a reader", reader).await.expect("no panic");
        let (wrong, took) = judge(&written, &told);
        recorded.push(told);
        all = Wrong {
            lost: all.lost + wrong.lost,
            doubled: all.doubled + wrong.doubled,
            disordered: all.disordered + wrong.disordered,
        };
        lags.extend(took);
    }
    println!("t30_deliveries = {} of {}", lags.len(), written.len() * READERS);
    println!("t30_lost = {}", all.lost);
    println!("t30_doubled = {}", all.doubled);
    println!("t30_disordered = {}", all.disordered);
    println!("t30_p99_ms = {}", ms(p99(lags)));
    assert_eq!(all, Wrong::default());
    for told in recorded {
        finds_each_fault(&written, &told);
    }
    // Those who are told nothing are told that, also after all of it.
    idle.more(1).await;
    assert!(idle.all_live(), "every stream lives");
}

//! T37: real proxies between clients and two replicas, set as docs/proxies.md says. Streams outlive the limits for silence
//! because the service says something each second; what is silent is cut. When a proxy is killed or ended and started again,
//! streams resume without a gap, and no instance is without its lease. `drained.rs` has the replicas that end behind them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rollcall_client::{
    Access, connect,
    v1::{AwaitEnforcementRequest, feed_service_client::FeedServiceClient},
};
use rustix::process::Signal;
use tokio::{
    task::JoinHandle,
    time::{Instant, interval},
};
use tonic::{Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

mod drained;
mod front;
mod page;
mod programs;
mod swallower;

use super::{
    crew::{Crew, Instance},
    followers::{Follower, Wrong, head, judge, judge_all, log_after},
    load::Load,
    ms,
    network::{Way, Wire},
    scene::{Scene, soon, until},
    size,
};
use crate::support::{Channel, Replica, free_address};
use front::{At, Front, Kind, Settings};
use swallower::Swallower;

/// The limit for silence, at full size that of the page. It is well above what lies between two bookmarks (1 s) and between
/// two words of a wait (5 s), so that a busy machine that stalls for some seconds has nothing cut.
fn limit() -> Duration {
    size(Duration::from_secs(8), Duration::from_secs(15))
}

/// Two replicas on one database, each with a port for probes.
struct Pair {
    scene: Scene,
    other: Replica,
    at: [At; 2],
}

impl Pair {
    async fn start() -> Self {
        let probes = [free_address(), free_address()];
        let probes_at = probes.map(|probes| format!("--metrics-listen={probes}"));
        let scene = Scene::start(&[&probes_at[0], "--drain-seconds=20"]).await;
        let arguments = ["--log", "warn", &probes_at[1], "--drain-seconds=20"];
        let other = Replica::start(&scene.database.url, &arguments).await;
        let at = [
            At { calls: scene.replica.address(), probes: probes[0] },
            At { calls: other.address(), probes: probes[1] },
        ];
        Self { scene, other, at }
    }

    /// To a replica, past the proxy.
    fn direct(&self) -> Channel {
        self.scene.replica.client().channel().into()
    }
}

/// Asks an instance all the time, and counts what it meets.
struct Looks {
    /// Answers without a lease.
    stale: Arc<AtomicUsize>,
    /// How often it was seen to have trouble with its stream, or with what it acknowledges.
    cuts: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Looks {
    fn begin(instance: &Arc<Instance>, crew: &Arc<Crew>) -> Self {
        let (stale, cuts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (instance, crew) = (Arc::clone(instance), Arc::clone(crew));
        let (counted, lost) = (Arc::clone(&stale), Arc::clone(&cuts));
        let task = tokio::spawn(async move {
            let (mut looks, mut was_lost) = (interval(Duration::from_millis(10)), false);
            loop {
                looks.tick().await;
                let is_stale = instance.check(&crew, &crew.org.owner) == Access::Stale;
                counted.fetch_add(usize::from(is_stale), Ordering::SeqCst);
                let is_lost = instance.replica.status().borrow().trouble.is_some();
                lost.fetch_add(usize::from(is_lost && !was_lost), Ordering::SeqCst);
                was_lost = is_lost;
            }
        });
        Self { stale, cuts, task }
    }

    fn stale(&self) -> usize {
        self.stale.load(Ordering::SeqCst)
    }

    fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An instance that knows the proxy alone, and who asks it.
async fn watched(front: &Front, crew: &Arc<Crew>) -> (Arc<Instance>, Looks) {
    let instance = Arc::new(Instance::start(front.client(), "chat-1", |_| {}).await);
    let looks = Looks::begin(&instance, crew);
    (instance, looks)
}

/// Opens a `Health.Watch`, which says how it is and then nothing, and waits until it is cut.
async fn silence_is_cut(channel: Channel) -> (Status, Duration) {
    let request = HealthCheckRequest { service: String::new() };
    let mut stream = HealthClient::new(channel).watch(request).await.expect("a watch").into_inner();
    let mut last = Instant::now();
    loop {
        match stream.message().await {
            Ok(Some(_)) => last = Instant::now(),
            Ok(None) => return (Status::ok("it ended"), last.elapsed()),
            Err(status) => return (status, last.elapsed()),
        }
    }
}

/// Waits for a write to be enforced, where somebody never applies it. Gives whether its time was over.
async fn wait_for_enforcement(channel: Channel, token: String, timeout: Duration) -> Result<bool, Status> {
    let message = AwaitEnforcementRequest {
        token,
        timeout: Some(timeout.try_into().expect("a duration")),
        ..Default::default()
    };
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(300));
    let mut stream = FeedServiceClient::new(channel).await_enforcement(request).await?.into_inner();
    loop {
        let message = stream.message().await?.ok_or_else(|| Status::unknown("it ended without a word"))?;
        if message.done {
            return Ok(message.timed_out);
        }
    }
}

/// Streams through a proxy on a store in which nothing happens.
async fn idle(kind: Kind) {
    let name = kind.name();
    let pair = Pair::start().await;
    let Some(front) = Front::start(kind, pair.at, Settings::with(limit())).await else { return };
    let crew = Crew::make(pair.direct(), 1).await;
    // Longer than anything here waits: who is cut off is waited for as long.
    crew.lease(Duration::from_secs(300)).await;
    let crew = Arc::new(crew);
    let wire = Wire::before(&pair.scene.replica.endpoint()).await;
    let _mute = Instance::start(connect(&wire.endpoint()).expect("an endpoint"), "mute", |_| {}).await;
    let (instance, looks) = watched(&front, &crew).await;
    let followers = Follower::start_some(|| front.client(), size(4, 20)).await;
    wire.let_pass(Way::Silent);
    let token = crew.out(&crew.people[0]).await;
    let written = head(&pair.scene.database).await;
    for follower in &followers {
        follower.reached(written).await;
    }

    let begun = Instant::now();
    let silent = tokio::spawn(silence_is_cut(front.channel()));
    let longer = limit() + Duration::from_secs(4);
    let long = tokio::spawn(wait_for_enforcement(front.channel(), token.clone(), longer));
    let timed_out = soon("a short wait", wait_for_enforcement(front.channel(), token, limit() / 4)).await;
    assert!(timed_out.expect("a wait that is shorter than the limit ends well"), "it is not enforced");
    let (status, after) = soon("the end of a silent stream", silent).await.expect("no panic");
    println!("t37_{name}_silent_cut_after_s = {:.1} ({:?})", after.as_secs_f64(), status.code());
    assert!(after > limit() / 2, "{after:?}: {status:?}");
    // What it was told last is told again every 5 s, so it ends by its own timeout where a silent stream was cut.
    let long = soon("the end of a long wait", long).await.expect("no panic");
    println!("t37_{name}_long_wait = {:?}", long.as_ref().map_err(Status::code));
    assert!(long.expect("a wait that is longer than the limit is not cut"), "it is not enforced");
    let quiet = size(limit() * 2, Duration::from_secs(40));
    until("a while", async || begun.elapsed() > quiet).await;
    assert_eq!(head(&pair.scene.database).await, written, "nothing happened");
    // What happens now goes over the very streams that were open before.
    crew.back(&crew.people[0]).await.expect("they are back");
    let written = head(&pair.scene.database).await;
    for follower in &followers {
        follower.reached(written).await;
    }
    soon("an instance", instance.replica.passed(written)).await;
    let cuts = followers.iter().map(Follower::cuts).sum::<usize>() + looks.cuts();
    println!("t37_{name}_idle_limit_s = {}", limit().as_secs());
    println!("t37_{name}_idle_s = {:.0}", begun.elapsed().as_secs_f64());
    println!("t37_{name}_idle_streams = {}", followers.len() + 1);
    println!("t37_{name}_idle_cuts = {cuts}");
    println!("t37_{name}_idle_looks_without_a_lease = {}", looks.stale());
    assert_eq!(cuts, 0, "{:?}", followers[0].look(|seen| seen.cuts.clone()));
    assert_eq!((looks.stale(), instance.replica.status().borrow().resyncs), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_idle_streams_outlive_the_limit_of_envoy() {
    idle(Kind::Envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_idle_streams_outlive_the_limit_of_nginx() {
    idle(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_idle_streams_outlive_the_limit_of_haproxy() {
    idle(Kind::Haproxy).await;
}

/// What the tests above rely on: streams that are cut are counted, here by limits that no stream can keep. They resume all
/// the same, and nothing is missing.
async fn cut(kind: Kind, settings: Settings) {
    let pair = Pair::start().await;
    let Some(front) = Front::start(kind, pair.at, settings).await else { return };
    let crew = Arc::new(Crew::make(pair.direct(), 0).await);
    let (instance, looks) = watched(&front, &crew).await;
    let (mut pen, followers) = (pair.scene.pen(), Follower::start_some(|| front.client(), 2).await);
    for wanted in 1..=3 {
        pen.rename().await.expect("a new name");
        for follower in &followers {
            until("streams to be cut", async || follower.cuts() >= wanted).await;
        }
        until("an instance to be cut", async || looks.cuts() >= wanted).await;
    }
    pen.rename().await.expect("a new name");
    let wrong = judge_all(&pair.scene.database, &followers).await;
    let cuts = followers.iter().map(Follower::cuts).sum::<usize>() + looks.cuts();
    println!("t37_{}_limits_that_no_stream_keeps_cuts = {cuts} of 3 streams", kind.name());
    assert_eq!(wrong, Wrong::default());
    for follower in &followers {
        follower.look(|seen| assert_eq!((seen.snapshots, &*seen.errors), (1, &[][..]), "it resumes"));
    }
    assert_eq!(instance.replica.status().borrow().resyncs, 0);
}

/// Shorter than the time between two bookmarks, longer than a call takes.
const SHORT: Duration = Duration::from_millis(600);

#[tokio::test(flavor = "multi_thread")]
async fn t37_a_limit_of_envoy_below_the_bookmarks_is_found_to_cut() {
    cut(Kind::Envoy, Settings::with(SHORT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_a_limit_of_nginx_below_the_bookmarks_is_found_to_cut() {
    cut(Kind::Nginx, Settings::with(SHORT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_a_limit_of_haproxy_below_the_bookmarks_is_found_to_cut() {
    cut(Kind::Haproxy, Settings::with(SHORT)).await;
}

/// The timeout of a route is that of the whole call, whatever is said in it.
#[tokio::test(flavor = "multi_thread")]
async fn t37_a_limit_of_envoy_for_whole_calls_is_found_to_cut() {
    let changed = &[("\n                  timeout: 0s\n", "\n                  timeout: 3s\n")];
    cut(Kind::Envoy, Settings { changed, ..Settings::with(limit()) }).await;
}

/// Above what a restart of a proxy takes, also on a machine that is busy.
const LEASE: Duration = Duration::from_secs(60);

/// A proxy is killed and ended in turn under writers, followers and an instance that know nothing else.
async fn restarted(kind: Kind) {
    let name = kind.name();
    let pair = Pair::start().await;
    let database = &pair.scene.database;
    let Some(mut front) = Front::start(kind, pair.at, Settings::with(Duration::from_secs(15))).await else {
        return;
    };
    let crew = Arc::new(Crew::make(pair.direct(), 0).await);
    crew.lease(LEASE).await;
    let (instance, looks) = watched(&front, &crew).await;
    let followers = Follower::start_some(|| front.client(), size(4, 20)).await;
    let channels: Vec<Channel> = (0..4).map(|_| front.channel()).collect();
    let load = Load::start(&pair.scene.small, &channels, 4).await;
    load.more(size(20, 8_000)).await;
    println!("t37_{name}_retries_without_a_restart = {}", load.retries());
    let (restarts, mut back) = (size(2, 20), Vec::new());
    for restart in 0..restarts {
        load.more(size(20, 200)).await;
        front.end(if restart % 2 == 0 { Signal::KILL } else { Signal::TERM }).await;
        let begun = Instant::now();
        front.start_again().await;
        load.more(20).await;
        let written = head(database).await;
        for follower in &followers {
            follower.reached(written).await;
            back.push(begun.elapsed());
        }
        soon("an instance", instance.replica.passed(written)).await;
    }
    let sum = load.end(database, None).await;
    let wrong = judge_all(database, &followers).await;
    let cuts: Vec<usize> = followers.iter().map(Follower::cuts).collect();
    back.sort_unstable();
    println!("t37_{name}_restarts = {restarts}");
    println!("t37_{name}_cuts = {}", cuts.iter().sum::<usize>());
    println!("t37_{name}_gaps = {}", wrong.lost);
    println!("t37_{name}_told_again_after_p50_ms = {}", ms(back[back.len() / 2]));
    println!("t37_{name}_told_again_after_worst_ms = {}", ms(back[back.len() - 1]));
    println!("t37_{name}_instance_cuts = {}", looks.cuts());
    println!("t37_{name}_looks_without_a_lease = {}", looks.stale());
    sum.judge(&format!("t37_{name}"));
    assert_eq!(wrong, Wrong::default());
    // Each restart was noticed by each of them.
    assert!(cuts.iter().all(|cuts| *cuts >= restarts), "{cuts:?}");
    for follower in &followers {
        follower.look(|seen| assert_eq!((seen.snapshots, &*seen.errors), (1, &[][..]), "it resumes"));
    }
    assert_eq!((looks.stale(), instance.replica.status().borrow().resyncs), (0, 0));

    // A proxy that stays away for longer than a lease is found.
    crew.lease(Duration::from_secs(2)).await;
    let late = Arc::new(Instance::start(front.client(), "chat-2", |_| {}).await);
    let looks = Looks::begin(&late, &crew);
    front.end(Signal::KILL).await;
    until("a look without a lease", async || looks.stale() > 0).await;
    front.start_again().await;
    soon("a lease", late.replica.ready()).await;
    assert_eq!(late.replica.status().borrow().resyncs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_a_restarted_envoy_costs_no_change() {
    restarted(Kind::Envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_a_restarted_nginx_costs_no_change() {
    restarted(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_a_restarted_haproxy_costs_no_change() {
    restarted(Kind::Haproxy).await;
}

/// What the tests above rely on: a proxy that loses one message after its restart is found by what a follower was told that
/// looks at nothing. One of the client crate notices by itself that a message is missing, and asks for it again.
#[tokio::test(flavor = "multi_thread")]
async fn t37_a_message_that_is_lost_behind_a_restart_is_found() {
    let pair = Pair::start().await;
    let database = &pair.scene.database;
    let settings = Settings::with(Duration::from_secs(15));
    let Some(mut front) = Front::start(Kind::Envoy, pair.at, settings).await else { return };
    let swallowers = [Swallower::before(&front.endpoint()).await, Swallower::before(&front.endpoint()).await];
    let [by_hand, looking] = swallowers.each_ref().map(|it| connect(&it.endpoint()).expect("an endpoint"));
    let followers = [Follower::by_hand(by_hand.channel().into()).await, Follower::start(looking).await];
    let load = Load::start(&pair.scene.small, &[front.channel()], 2).await;
    load.more(10).await;
    front.end(Signal::KILL).await;
    front.start_again().await;
    load.more(10).await;
    let (written, cuts) = (head(database).await, followers[1].cuts());
    for follower in &followers {
        follower.reached(written).await;
    }
    for swallower in &swallowers {
        swallower.take_one();
        until("a lost message", async || swallower.has_taken_it()).await;
    }
    load.more(10).await;
    load.end(database, None).await.judge("t37_lost_message");
    let written = head(database).await;
    let mut wrong = Vec::new();
    for follower in &followers {
        follower.reached(written).await;
        let (first, told) = follower.look(|seen| (seen.first.expect("a snapshot"), seen.told.clone()));
        wrong.push(judge(&log_after(database, first).await, &told));
    }
    println!("t37_lost_message_found_by_hand = {:?}", wrong[0]);
    assert!(wrong[0].lost > 0, "{wrong:?}");
    assert_eq!((Wrong { lost: 0, ..wrong[0] }, wrong[1]), (Wrong::default(), Wrong::default()));
    let noticed = followers[1].look(|seen| seen.cuts[cuts..].to_vec());
    println!("t37_lost_message_noticed = {noticed:?}");
    assert!(!noticed.is_empty(), "it noticed");
}

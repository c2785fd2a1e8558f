//! T38: a mixed load for as long as somebody says (`make soak MINUTES=30`). Nothing is lost, everybody ends with the same
//! state, and the memory of the service and of an app's replica does not grow once they are warm.

use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rollcall_client::v1::WatchRequest;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use super::{
    crew::{Crew, Instance, Process},
    kills::{commands, differences, inside},
    load::Load,
    scene::{Scene, soon, stream, to_snapshot_end},
};
use crate::{fixtures::Caller, processes::rollcall, support::Channel};

/// Those who let people go and come back.
const WRITERS: usize = 3;
/// Of a run of some seconds; `make soak` says how long it takes.
const EVERYDAY: Duration = Duration::from_secs(4);
/// So long a run must be for its slope to be judged: what the service knows of instances that are gone it forgets after a
/// quarter of an hour, and the marks that leases rest on after five minutes.
const TELLING: Duration = Duration::from_secs(30 * 60);
/// What a slope may be, in KiB a minute. At a hundred commands a second 100 bytes that each leaves behind are 600.
const SLOPE: f64 = 256.0;
/// What a run may take besides, warming up included: the window is kept small.
const GROWTH: u64 = 64 << 20;

/// Moments in seconds, and the bytes that were held then.
type Samples = Vec<(f64, f64)>;

/// By how many KiB a minute they grow, over the last half of them: the line with the least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let half = &samples[samples.len() / 2..];
    let number = half.len() as f64;
    let (mean_at, mean_bytes) = (
        half.iter().map(|(at, _)| at).sum::<f64>() / number,
        half.iter().map(|(_, bytes)| bytes).sum::<f64>() / number,
    );
    let (mut above, mut below) = (0.0, 0.0);
    for (at, bytes) in half {
        above += (at - mean_at) * (bytes - mean_bytes);
        below += (at - mean_at) * (at - mean_at);
    }
    if below == 0.0 { 0.0 } else { above / below * 60.0 / 1_024.0 }
}

#[test]
fn t38_a_slope_is_that_of_the_last_half() {
    let samples =
        |bytes: fn(f64) -> f64| (0..1_000).map(f64::from).map(|at| (at, bytes(at))).collect::<Samples>();
    assert!(slope(&samples(|at| 1e8 + 1e5 * (at * 7.0).sin())).abs() < SLOPE, "noise is none");
    assert!(slope(&samples(|at| 1e8 + 1e6 * at.min(400.0))).abs() < 1.0, "warming up is none");
    let growing = slope(&samples(|at| 1e8 + 10_240.0 * at));
    assert!((growing - 600.0).abs() < 1.0, "10 KiB a second: {growing}");
}

/// What a process holds in memory.
fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process in memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1_024.0
}

/// One who begins to follow again and again, with a snapshot each time; and waits for what was written.
async fn come_and_go(channel: Channel, crew: Arc<Crew>, stop: Arc<AtomicBool>) -> usize {
    let (mut pace, mut times) = (interval(Duration::from_millis(200)), 0);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
        to_snapshot_end(&mut stream(channel.clone(), request).await).await;
        let renamed = crew.caller.rename_organization(&crew.org.id, &format!("name {times}")).await;
        crew.enforced(renamed.expect("a new name").token).await;
        times += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn t38_nothing_grows_and_nothing_is_lost_in_a_long_run() {
    let minutes = env::var("ROLLCALL_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse::<f64>().ok());
    let length = minutes.map_or(EVERYDAY, |minutes| Duration::from_secs_f64(60.0 * minutes));
    // A small window, so that it is full when the second half begins.
    let scene = Scene::start(&["--window-mib", "1"]).await;
    let channel: Channel = scene.replica.client().channel().into();
    let crew = Arc::new(Crew::make(channel.clone(), 60).await);
    let mut instances = Vec::new();
    for name in ["chat-1", "chat-2"] {
        instances.push(Instance::start(scene.replica.client(), name, |_| {}).await);
    }
    // In a process of its own, so that it is seen what it holds.
    let replica = rollcall(["conformance-instance"]);
    let mut replica = Process::start(replica, &scene.replica.endpoint(), "beside");
    replica.until(&crew, &crew.org.owner, "allowed").await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut people = JoinSet::new();
    for chunk in crew.people.chunks(crew.people.len() / WRITERS) {
        let caller = Caller::new(scene.replica.client().channel().into());
        people.spawn(commands(Arc::clone(&crew), vec![caller], chunk.to_vec(), Arc::clone(&stop)));
    }
    let restless = tokio::spawn(come_and_go(channel.clone(), Arc::clone(&crew), Arc::clone(&stop)));
    let load = Load::start(&scene.small, &[channel], 1).await;

    let (begun, mut looks) = (Instant::now(), interval((length / 100).min(Duration::from_secs(1))));
    let (mut service, mut beside) = (Samples::new(), Samples::new());
    while begun.elapsed() < length {
        looks.tick().await;
        let at = begun.elapsed().as_secs_f64();
        service.push((at, resident(scene.replica.pid())));
        beside.push((at, resident(replica.pid())));
    }
    stop.store(true, Ordering::Relaxed);
    let departures: usize = soon("the last command", people.join_all()).await.into_iter().sum();
    let snapshots = soon("the last snapshot", restless).await.expect("it came and went");
    let sum = load.end(&scene.database, None).await;
    let changes = "SELECT max(position) FROM changes";
    let head: i64 = scene.database.client.query_one(changes, &[]).await.expect("the head").get(0);
    let inside = inside(&scene.database, &crew).await;
    let mut different = 0;
    for instance in &instances {
        soon("the end of the log", instance.replica.passed(head)).await;
        different += differences(instance, &crew, &inside);
        assert_eq!(instance.replica.status().borrow().resyncs, 0, "nobody needs a snapshot");
    }
    let digests: Vec<[u8; 16]> = instances.iter().map(|instance| instance.replica.view().digest()).collect();

    println!("t38_minutes = {:.2}", length.as_secs_f64() / 60.0);
    println!("t38_departures_and_returns = {departures}");
    println!("t38_snapshots = {snapshots}");
    println!("t38_changes = {head}");
    println!("t38_different_from_the_database = {different}");
    sum.judge("t38");
    for (who, samples) in [("service", &service), ("replica", &beside)] {
        let (first, last) = (samples[0].1, samples[samples.len() - 1].1);
        println!("t38_{who}_mib = {:.1} at first, {:.1} at last", first / 1_048_576.0, last / 1_048_576.0);
        let each = slope(samples) * 1_024.0 * length.as_secs_f64() / 60.0 / head as f64;
        println!("t38_{who}_slope_kib_per_min = {:.1}, {each:.0} bytes for each change", slope(samples));
        assert!(last < first + GROWTH as f64, "{who}: {first} bytes at first, {last} at last");
        let telling = length >= TELLING;
        assert!(!telling || slope(samples) < SLOPE, "{who} grows by {:.1} KiB a minute", slope(samples));
    }
    assert_eq!(different, 0);
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "equal digests");
}

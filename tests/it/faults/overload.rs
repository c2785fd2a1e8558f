//! T16: far more calls than a small pool can serve. Health answers and streams go on all the while; what cannot be
//! served is told so soon.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    ms, p99,
    scene::{Pen, Scene, soon},
};
use crate::support::Channel;

const CALLS: usize = 500;
const CONNECTIONS: usize = 10;
/// Every commit takes so long: 500 of them take five connections longer than a call waits for one.
const SLOW_COMMITS: &str = "
    CREATE FUNCTION delay_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER delay_commit AFTER INSERT ON pending_changes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION delay_commit();";
/// A health check asks no database.
const HEALTH: Duration = Duration::from_secs(2);
/// Streams wait for no pool. The contract (C9) says one second; a busy machine gets some more.
const SILENCE: Duration = Duration::from_secs(3);
/// Waiting for a connection of the pool takes 3 s at most, and a write that has one ends soon.
const ANSWER: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn t16_health_and_streams_go_on_while_a_small_pool_is_overrun() {
    let scene = Scene::start(&["--pool-size", "5"]).await;
    // An organization for each call: it is the pool that they wait for, not each other.
    let mut organizations = Vec::new();
    for number in 0..20 {
        let email = format!("owner{number}@example.com");
        let small = crate::small::Small::make(scene.replica.client().channel().into(), &email).await;
        organizations.push(small.organization);
    }
    scene.database.client.batch_execute(SLOW_COMMITS).await.expect("slow commits");
    let reader = scene.reader().await;
    let stop = Arc::new(AtomicBool::new(false));
    let health = tokio::spawn(health(scene.replica.client().channel().into(), Arc::clone(&stop)));

    let channels: Vec<Channel> = (0..CONNECTIONS).map(|_| scene.replica.client().channel().into()).collect();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let channel = channels[number % CONNECTIONS].clone();
        let mut pen = Pen::new(channel, &organizations[number % organizations.len()]);
        calls.spawn(async move {
            let begun = Instant::now();
            let result = pen.rename().await;
            (result.map_or_else(|status| status.code(), |_| Code::Ok), begun.elapsed())
        });
    }
    let answers = soon("every answer", calls.join_all()).await;
    stop.store(true, Ordering::Relaxed);
    let slowest_health = health.await.expect("health is answered");
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    answers.iter().for_each(|(code, _)| *codes.entry(format!("{code:?}")).or_default() += 1);
    let shed = |code: &Code| matches!(code, Code::ResourceExhausted | Code::Unavailable);
    let took = |wanted: bool| {
        let times = answers.iter().filter(|(code, _)| shed(code) == wanted);
        times.map(|(_, took)| *took).collect::<Vec<_>>()
    };
    println!("t16_answers = {codes:?}");
    println!("t16_p99_ms = {}", ms(p99(answers.iter().map(|(_, took)| *took).collect())));
    println!("t16_shed = {}", took(true).len());
    println!(
        "t16_shed_slowest_ms = {}",
        took(true).iter().max().map_or_else(|| "none".to_owned(), |slowest| ms(*slowest))
    );
    println!("t16_health_slowest_ms = {}", ms(slowest_health));
    println!("t16_stream_silence_ms = {}", ms(reader.longest_silence()));
    let expected = |code: &Code| *code == Code::Ok || *code == Code::Aborted || shed(code);
    assert!(answers.iter().all(|(code, _)| expected(code)), "{codes:?}");
    assert!(answers.iter().all(|(_, took)| *took < ANSWER), "a call waits for ever");
    assert!(slowest_health < HEALTH, "health waits for the pool: {slowest_health:?}");
    let silence = reader.longest_silence();
    assert!(silence < SILENCE, "{silence:?} without a bookmark");
    // Afterwards all is as before.
    let mut pen = scene.pen();
    let version = soon("an answer", pen.rename()).await.expect("room again");
    reader.until(version).await;
}

/// Asks until it is stopped; gives the slowest answer. SERVING is what it must say.
async fn health(channel: Channel, stop: Arc<AtomicBool>) -> Duration {
    let mut health = HealthClient::new(channel);
    let mut pace = interval(Duration::from_millis(50));
    let mut slowest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let begun = Instant::now();
        let answer = soon("health", health.check(HealthCheckRequest::default())).await.expect("an answer");
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

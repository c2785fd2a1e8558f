//! T20: notifications get lost. They are hints: the poll delivers what they would have told of.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use super::{
    ms, p99,
    scene::{Reader, Scene},
    size,
};
use crate::support::Replica;

/// The poll runs every 50 ms: this tells a stall from none, also on a busy machine.
const STALL: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_millis(30);

/// Writes through one replica and reads from another one; prints how long that took.
async fn latency(scene: &Scene, what: &str) {
    let other = Replica::start(&scene.database.url, &["--log", "warn"]).await;
    let reader = [Reader::open(other.client().channel().into(), &scene.small.organization).await];
    let lags = scene.pen().lags(&reader, size(40, 1_000), PACE).await;
    let worst = lags.iter().max().copied().expect("some");
    println!("t20_{what}_p99_ms = {}", ms(p99(lags)));
    println!("t20_{what}_worst_ms = {}", ms(worst));
    assert!(worst < STALL, "{what}: {worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t20_the_poll_delivers_what_no_notification_tells() {
    let scene = Scene::start(&[]).await;
    latency(&scene, "notified").await;
    let database = &scene.database.client;
    let definition = "SELECT pg_get_functiondef('sequence_changes'::regproc)";
    let definition: String = database.query_one(definition, &[]).await.expect("the function").get(0);
    let silent: Vec<&str> = definition.lines().filter(|line| !line.contains("pg_notify")).collect();
    assert_eq!(silent.len() + 1, definition.lines().count(), "one line notifies");
    database.batch_execute(&silent.join("\n")).await.expect("a silent one");
    latency(&scene, "unnotified").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t20_a_broken_listener_costs_nothing_but_time() {
    let scene = Scene::start(&[]).await;
    let end_listeners = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE '%LISTEN%' AND pid <> pg_backend_pid()";
    let database = scene.database.another().await;
    let ended = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&ended);
    let ending = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        loop {
            pace.tick().await;
            // Listeners connect anew, and are ended anew.
            let now: i64 = database.client.query_one(end_listeners, &[]).await.expect("ended").get(0);
            counted.fetch_add(now, Ordering::Relaxed);
        }
    });
    latency(&scene, "listener_ended").await;
    ending.abort();
    println!("t20_listeners_ended = {}", ended.load(Ordering::Relaxed));
    assert!(ended.load(Ordering::Relaxed) > 0, "no listener was found");
}

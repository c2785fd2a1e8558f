//! T3 and T4: Postgres is stopped at once, and its first process killed. What was answered is there afterwards, and
//! streams go on without a gap and without a new beginning.

use rustix::process::Signal;
use tokio::time::Instant;

use super::{load::Load, postgres::Postgres, scene::Reader, size};
use crate::{
    small::Small,
    support::{Channel, Replica},
};

async fn crash(what: &str, signal: Signal) {
    let mut postgres = Postgres::start().await;
    let replica = Replica::start(&postgres.url(), &["--log", "warn"]).await;
    let channel: Channel = replica.client().channel().into();
    let small = Small::make(channel.clone(), "ada@example.com").await;
    let reader = Reader::open(channel.clone(), &small.organization).await;
    let load = Load::start(&small, &[channel], 8).await;
    let mut redo = std::time::Duration::ZERO;
    for _ in 0..size(1, 5) {
        load.more(size(50, 2_000)).await;
        postgres.end(signal).await;
        let begun = Instant::now();
        postgres.start_again().await;
        redo = redo.max(begun.elapsed());
        load.more(20).await;
    }
    let sum = load.end(&postgres.database().await, Some(&reader)).await;
    println!("{what}_redo_s = {:.2}", redo.as_secs_f64());
    println!("{what}_longest_silence_s = {:.2}", reader.longest_silence().as_secs_f64());
    sum.judge(what);
    assert!(sum.retries > 0, "nobody noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_an_immediate_stop_of_postgres_loses_nothing() {
    crash("t3", Signal::QUIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_a_killed_postgres_loses_nothing() {
    crash("t4", Signal::KILL).await;
}

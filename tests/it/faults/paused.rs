//! T39: a replica is paused while it writes and has changes sequenced, and resumed. The others are not stalled, and nothing
//! is done twice. (That two senders of mail send nothing twice, and that one at a time trims, is tried in `tests/it/mail/`
//! and `tests/it/retention/`.)

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use super::{
    load::Load,
    ms, p99,
    scene::{Reader, Scene, soon},
    size,
};
use crate::{small::Small, support::Replica};

/// A poll finds what the paused one did not sequence; a statement that it had begun ends without it. This tells a stall from
/// none, also on a busy machine.
const STALL: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn t39_a_paused_replica_stalls_nobody_and_does_nothing_twice() {
    let scene = Scene::start(&[]).await;
    let paused = Replica::start(&scene.database.url, &["--log", "error"]).await;
    // Those who write through the paused one have an organization of their own: whoever writes to the same thing waits for
    // the locks of its transactions, five seconds at most.
    let theirs = Small::make(paused.client().channel().into(), "eve@example.com").await;
    let theirs_read = Reader::open(scene.replica.client().channel().into(), &theirs.organization).await;
    let reader = [scene.reader().await];
    let load = Load::start(&theirs, &[paused.client().channel().into()], 8).await;
    let mut lags = Vec::new();
    for pause in 0..size(3, 30) {
        load.more(20).await;
        // Somewhere in what it does.
        sleep(Duration::from_millis(pause * 7 % 20)).await;
        paused.signal(Signal::STOP);
        lags.extend(scene.pen().lags(&reader, 20, Duration::from_millis(50)).await);
        paused.signal(Signal::CONT);
    }
    load.more(20).await;
    let worst = lags.iter().max().copied().expect("some");
    println!("t39_pauses = {}", size(3, 30));
    println!("t39_p99_ms = {}", ms(p99(lags)));
    println!("t39_worst_ms = {}", ms(worst));
    assert!(worst < STALL, "{worst:?}");
    let sum = soon("the end", load.end(&scene.database, Some(&theirs_read))).await;
    sum.judge("t39");
}

/// One that sequences in a transaction of its own client, and is paused in the middle of it, would hold the lock of all.
#[tokio::test(flavor = "multi_thread")]
async fn t39_a_sequencer_that_holds_its_lock_while_it_is_paused_is_found() {
    let scene = Scene::start(&[]).await;
    let reader = [scene.reader().await];
    let holder = scene.database.another().await;
    holder
        .client
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(8243122705118243)")
        .await
        .expect("a lock");
    let paused = tokio::spawn(async move {
        sleep(STALL * 2).await;
        holder.client.batch_execute("COMMIT").await.expect("it goes on");
    });
    let lags = scene.pen().lags(&reader, 3, Duration::from_millis(50)).await;
    paused.await.expect("it goes on");
    let worst = lags.into_iter().max().expect("some");
    println!("t39_held_lock_worst_ms = {}", ms(worst));
    assert!(worst >= STALL, "{worst:?}");
}

//! T13: a write transaction that stays open, in our database and in another one of the cluster. Nothing waits for it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    ms,
    scene::{Scene, until},
    size,
};
use crate::support::create_database;

/// Twice the poll interval many times over, and far below the time for which the transaction is open.
const STALL: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn t13_an_open_transaction_does_not_stall_the_feed() {
    let scene = Scene::start(&[]).await;
    let elsewhere = create_database().await;
    elsewhere.client.batch_execute("CREATE TABLE things (id bigint)").await.expect("a table");
    let ours = scene.database.another().await;
    // Ours also holds what every writer writes to: a row of the log's own intake.
    let open_here = "BEGIN; INSERT INTO pending_changes
        (change_id, command_id, organization_id, apps, subject, state, version, reason, caller)
        SELECT gen_random_uuid(), gen_random_uuid(), organization_id, '{}', 'ORGANIZATION', 'ACTIVE', 1, 'RENAMED', 'x'
        FROM organizations LIMIT 1; SELECT pg_current_xact_id()";
    ours.client.batch_execute(open_here).await.expect("a transaction");
    elsewhere
        .client
        .batch_execute("BEGIN; INSERT INTO things VALUES (1); SELECT pg_current_xact_id()")
        .await
        .expect("a transaction");
    let open = Duration::from_secs(size(3, 60));
    let begun = Instant::now();
    let reader = [scene.reader().await];
    let mut pen = scene.pen();
    let mut longest = Duration::ZERO;
    while begun.elapsed() < open {
        let lags = pen.lags(&reader, 20, Duration::from_millis(20)).await;
        longest = longest.max(lags.into_iter().max().expect("some"));
    }
    println!("t13_open_s = {}", open.as_secs());
    println!("t13_max_lag_ms = {}", ms(longest));
    assert!(longest < STALL, "the feed waited {longest:?}");
    for database in [&ours, &elsewhere] {
        database.client.batch_execute("ROLLBACK").await.expect("its end");
    }
    until("nothing to be left behind", async || {
        let pending = scene.database.client.query_one("SELECT count(*) FROM pending_changes", &[]).await;
        pending.expect("a count").get::<_, i64>(0) == 0
    })
    .await;
}

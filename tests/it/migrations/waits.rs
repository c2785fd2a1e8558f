//! A migration that has to wait for others: nobody waits long because of it, it gives up and says for what it waited, and
//! one that is killed is as if it had not begun.

use std::time::{Duration, Instant};

use super::{all, before, ran, version};
use crate::{
    process::binary::{Run, ended},
    server::{soon, until},
    support::Database,
};

/// What `told_from` begins with.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND wait_event_type = 'Lock' AND query LIKE '%ALTER TABLE subscriptions%' AND pid <> pg_backend_pid()";

async fn until_it_waits(database: &Database) {
    until("a migration that waits", async || {
        database.client.query_one(WAITING, &[]).await.expect("counted").get::<_, i64>(0) > 0
    })
    .await;
}

/// A long transaction of somebody else: a dump, a look by hand. Without a bound on its waiting the migration, and with it
/// everybody who comes behind it, would wait until that ends; here it never does.
#[tokio::test]
async fn a_migration_that_waits_holds_nobody_up() {
    let database = before("told_from").await;
    let (long, writer) = (database.another().await, database.another().await);
    long.client.batch_execute("BEGIN; SELECT FROM subscriptions").await.expect("a long transaction");
    let mut migrating = Run::new(&["migrate", "--database-url", &database.url], &[]);
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        until_it_waits(&database).await;
        let begun = Instant::now();
        let write = writer.client.batch_execute("UPDATE subscriptions SET end_time = end_time");
        soon("a write behind the migration", write).await.expect("written");
        longest = longest.max(begun.elapsed());
    }
    assert!(!migrating.has_ended(), "it tries again: {}", migrating.stderr());
    assert!(!ran(&database).await.contains(&"20261122000013".to_owned()));
    println!("migration_longest_wait_of_others_ms = {}", longest.as_millis());
    long.client.batch_execute("COMMIT").await.expect("its end");
    let status = migrating.end().await;
    assert!(status.success(), "{}", migrating.stderr());
    assert!(migrating.stderr().contains("waits for a lock that others hold"), "{}", migrating.stderr());
    assert_eq!(ran(&database).await, all().iter().map(|one| version(one)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_migration_that_waits_in_vain_says_for_what() {
    let database = before("told_from").await;
    let before = ran(&database).await;
    let long = database.another().await;
    long.client.batch_execute("BEGIN; SELECT FROM subscriptions").await.expect("a long transaction");
    let arguments = ["migrate", "--database-url", &database.url, "--wait-seconds", "1"];
    let (code, said) = ended(&arguments, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "2026-11-22-000013_told_from changed nothing",
        "lock timeout",
        "end the transaction that holds what it waits for (the oldest xact_start in pg_stat_activity), then run `rollcall \
         migrate` again",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(ran(&database).await, before);
    long.client.batch_execute("COMMIT").await.expect("its end");
    let (code, said) = ended(&arguments, &[]).await;
    assert_eq!(code, Some(0), "{said}");

    long.client.batch_execute("SELECT pg_advisory_lock(8243122705118244)").await.expect("another migrates");
    let (code, said) = ended(&arguments, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another process has been migrating this database for 1 s"), "{said}");
}

#[tokio::test]
async fn a_migration_that_is_killed_can_be_run_again() {
    let database = before("told_from").await;
    let before = ran(&database).await;
    let long = database.another().await;
    long.client.batch_execute("BEGIN; SELECT FROM receipts").await.expect("a long transaction");
    let mut migrating = Run::new(&["migrate", "--database-url", &database.url], &[]);
    // Behind its first statement, whose columns are there for it alone.
    until("a migration that waits", async || {
        let waiting = WAITING.replace("ALTER TABLE subscriptions", "ALTER TABLE receipts");
        database.client.query_one(&waiting, &[]).await.expect("counted").get::<_, i64>(0) > 0
    })
    .await;
    migrating.signal(rustix::process::Signal::KILL);
    migrating.end().await;
    assert_eq!(ran(&database).await, before);
    long.client.batch_execute("COMMIT").await.expect("its end");
    let (code, said) = ended(&["migrate", "--database-url", &database.url], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ran(&database).await, all().iter().map(|one| version(one)).collect::<Vec<_>>());
}

//! A migration that fails half-way: what was run before it stays, it itself changed nothing, and it is said which way to go.

use super::{all, before, name, ran, version};
use crate::{process::binary::ended, support::Database};

/// In the way of the last statement of `stale_subscriptions`, which adds a column and fills it before.
const IN_THE_WAY: &str = "CREATE INDEX subscriptions_stale ON subscriptions (end_time)";

async fn has_column(database: &Database) -> bool {
    let query = "SELECT count(*) FROM information_schema.columns
        WHERE table_name = 'subscriptions' AND column_name = 'serve_stale'";
    database.client.query_one(query, &[]).await.expect("counted").get::<_, i64>(0) > 0
}

#[tokio::test]
async fn a_migration_that_fails_is_named_and_goes_on_when_the_cause_is_mended() {
    let database = before("workspace_ids").await;
    let before_it = ran(&database).await;
    database.client.batch_execute(IN_THE_WAY).await.expect("in the way");
    for attempt in 1..=2 {
        // A service that migrates at its start says the same.
        let command = if attempt == 1 { "migrate" } else { "serve" };
        let (code, said) = ended(&[command, "--database-url", &database.url], &[]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("relation \"subscriptions_stale\" already exists"), "the cause: {said}");
        assert!(said.contains("2026-11-22-000012_stale_subscriptions changed nothing"), "which one: {said}");
        assert!(said.contains("mend what it says, then run `rollcall migrate` again"), "the way: {said}");
        let kept = "what was run before it stays: 1 migrations, up to 2026-11-22-000011_workspace_ids";
        assert_eq!(said.contains(kept), attempt == 1, "{said}");
        // The one before it was run once, and of this one nothing is there.
        assert_eq!(ran(&database).await, [&before_it[..], &["20261122000011".to_owned()]].concat());
        assert!(!has_column(&database).await, "the first statement of it is undone");
    }

    database.client.batch_execute("DROP INDEX subscriptions_stale").await.expect("mended");
    let (code, said) = ended(&["migrate", "--database-url", &database.url], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("migrated 2026-11-22-000012_stale_subscriptions\n"), "{said}");
    assert!(said.ends_with(&format!("migrated {}\n", name(all().last().expect("one")))), "{said}");
    assert!(has_column(&database).await);
    let versions: Vec<String> = all().iter().map(|migration| version(migration)).collect();
    assert_eq!(ran(&database).await, versions);
    let (code, said) = ended(&["migrate", "--database-url", &database.url], &[]).await;
    assert_eq!((code, said.trim()), (Some(0), "nothing to migrate"));
}

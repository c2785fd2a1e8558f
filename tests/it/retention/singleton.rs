//! C18: trimming waits for nobody and nobody waits for it.

use super::{A_DAY, BOUND, Trail, age, head, number, trim};

#[tokio::test]
async fn c8_c18_trimming_blocks_neither_a_second_trimmer_nor_writers_nor_readers() {
    let trail = Trail::make(3).await;
    let database = trail.database();
    let before = head(database).await;
    age(database, before).await;
    let held = trail.world.server().another_connection().await;
    held.client.batch_execute("BEGIN").await.expect("a transaction");
    assert_eq!(trim(&held.client, A_DAY).await, (before - 1, before - 1, false));

    // While that transaction is open:
    let second = tokio::time::timeout(BOUND, trim(database, A_DAY)).await.expect("an answer at once");
    assert_eq!(second, (0, 0, false), "a second one does nothing");
    trail.world.workspace(&trail.org, "chat", "meanwhile").await;
    let after = number(database, "SELECT max(position) FROM changes").await;
    assert_eq!(after, before + 1, "a write got its position");
    assert_eq!(trail.resume(0).await.expect("the log as it was")[0], trail.position(1));

    held.client.batch_execute("COMMIT").await.expect("its end");
    assert_eq!(trim(database, A_DAY).await, (before, 1, false), "the old head, which is none any more");
    assert!(trail.resume(0).await.is_err());
}

#[tokio::test]
async fn c18_trimming_refuses_any_isolation_but_read_committed() {
    let trail = Trail::make(1).await;
    let database = trail.database();
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        database.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}")).await.expect("a transaction");
        let query = "SELECT * FROM trim_log(interval '1 day', interval '2 days', interval '1 hour', 1)";
        let refused = database.query(query, &[]).await.expect_err("a refusal");
        assert_eq!(refused.code().map(|code| code.code()), Some("25000"), "{refused:?}");
        database.batch_execute("ROLLBACK").await.expect("its end");
    }
}

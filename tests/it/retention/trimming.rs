//! What leaves the log, what holds it back, and what is left.

use rollcall_client::v1::CloseSubscriptionRequest;
use tonic::Code;

use super::{A_DAY, BOUND, Keep, Trail, age, head, number, trim};
use crate::{
    fixtures::{World, refused},
    support::Server,
};

/// The same with subscriptions of the last three days.
const HELD: Keep = Keep { hours: 72, ..A_DAY };

/// A table as texts, in the order of the log.
async fn facts(database: &tokio_postgres::Client, table: &str) -> Vec<String> {
    let without = "- 'apps' - 'command_end' - 'traceparent'";
    let query = format!("SELECT (to_jsonb(t) {without})::text FROM {table} t ORDER BY t.position");
    let rows = database.query(&query, &[]).await.expect("the rows");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn c8_what_is_old_moves_into_the_history_and_the_head_stays() {
    let trail = Trail::make(3).await;
    let database = trail.database();
    let before = facts(database, "changes").await;
    assert_eq!(trim(database, A_DAY).await, (0, 0, false), "nothing is old yet");
    let head = head(database).await;
    age(database, head).await;
    assert_eq!(trim(database, A_DAY).await, (head - 1, head - 1, false));
    let (old, young) = before.split_at(before.len() - 1);
    assert_eq!(facts(database, "history").await, old, "the same facts");
    assert_eq!(facts(database, "changes").await, young);
    assert_eq!(trim(database, A_DAY).await, (head - 1, 0, false), "again: nothing to do");
    // Everything is as it was for who reads and who begins.
    assert_eq!(trail.world.workspaces(&trail.org).await.len(), 4);
    trail.world.follow("chat").await;
}

#[tokio::test]
async fn c8_what_a_live_subscription_has_not_applied_stays_until_the_hard_cap() {
    let trail = Trail::make(4).await;
    let database = trail.database();
    age(database, head(database).await).await;
    assert_eq!(trim(database, HELD).await, (0, 0, false), "it has acknowledged nothing yet");
    let applied = trail.acknowledge(2).await.expect("an acknowledgement");
    let (floor, _, more) = trim(database, HELD).await;
    assert_eq!((floor, more), (applied - 1, false), "up to, and without, what it stands on");
    assert_eq!(trail.resume(2).await.expect("it goes on")[0], applied + 1);
    let capped = Keep { max_days: 5, ..HELD };
    let (floor, ..) = trim(database, capped).await;
    assert_eq!(floor, head(database).await - 1, "all that is older, but for the head");
    let late = trail.resume(1).await;
    refused(late, Code::FailedPrecondition, "CURSOR_COMPACTED");
}

#[tokio::test]
async fn c8_a_subscription_that_is_silent_for_long_or_ended_holds_nothing() {
    let silent = "UPDATE subscriptions SET acknowledge_time = now() - interval '73 hours'";
    let never_heard = "UPDATE subscriptions SET create_time = now() - interval '73 hours'";
    for (acknowledges, change) in [(true, Some(silent)), (false, Some(never_heard)), (false, None)] {
        let trail = Trail::make(2).await;
        let database = trail.database();
        if acknowledges {
            trail.acknowledge(0).await.expect("an acknowledgement");
        }
        age(database, head(database).await).await;
        trim(database, HELD).await;
        let held = number(database, "SELECT position FROM log_floor").await;
        assert!(held < trail.position(0), "while it is heard of");
        match change {
            Some(change) => database.batch_execute(change).await.expect("silence"),
            None => {
                let request = CloseSubscriptionRequest {
                    subscription_id: trail.subscription.clone(),
                    ..Default::default()
                };
                trail.world.feed().close_subscription(request).await.expect("closed");
            }
        }
        assert_eq!(trim(database, HELD).await.0, trail.position(1) - 1);
    }
}

#[tokio::test]
async fn c8_commands_are_trimmed_whole_and_the_running_hash_keeps_its_anchor() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let second = world.workspace(&org, "boards", "second").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &second]).await;
    let cleo = world.member_in(&org, "cleo", &[&org.general, &second]).await;
    let operator = world.operator();
    // Two commands of three changes each in one batch: sequencing waits meanwhile.
    let database = world.server().database();
    database.batch_execute("SELECT pg_advisory_lock(8243122705118243)").await.expect("held");
    let (one, two) = tokio::join!(operator.deactivate(&org, &bob), operator.deactivate(&org, &cleo));
    database.batch_execute("SELECT pg_advisory_unlock(8243122705118243)").await.expect("let go");
    one.and(two).expect("two departures");
    // The next change is sequenced after them.
    let head = world.mark().await;
    let batch = "SELECT count(*) FROM batches WHERE last_position - first_position = 5";
    assert_eq!(number(database, batch).await, 1, "six changes in one batch");
    age(database, head).await;
    let mut cut_within_a_batch = false;
    loop {
        // Less than most commands have: each call moves a whole one even so.
        let (floor, moved, more) = trim(database, Keep { at_most: 1, ..A_DAY }).await;
        assert!(!more || moved > 0);
        let split = "SELECT count(*) FROM history JOIN changes USING (command_id)";
        assert_eq!(number(database, split).await, 0, "a command is split at {floor}");
        let below = "SELECT count(*) FROM batches WHERE last_position < (SELECT position FROM log_floor)";
        assert_eq!(number(database, below).await, 0);
        let anchor =
            "SELECT count(*) FROM batches, log_floor WHERE position BETWEEN first_position AND last_position";
        assert_eq!(number(database, anchor).await, 1, "the batch that has the floor {floor}");
        let within = "SELECT count(*) FROM batches, log_floor WHERE position >= first_position AND position < last_position";
        cut_within_a_batch |= number(database, within).await == 1;
        let broken = "
            WITH chain AS (
                SELECT first_position, last_position, hash, lag(hash) OVER (ORDER BY last_position) AS before FROM batches
            )
            SELECT count(*) FROM chain WHERE before IS NOT NULL AND hash <> (
                SELECT sha256(before || string_agg(convert_to(concat_ws('|', position, change_id, command_id,
                    organization_id, array_to_string(apps, ','), subject, coalesce(workspace_id::text, ''),
                    coalesce(member_id::text, ''), state, coalesce(role, ''), version, reason, caller,
                    coalesce(acting_member_id::text, ''), floor(extract(epoch FROM record_time) * 1000000)::bigint,
                coalesce(leaving::text, ''), coalesce(tombstone_id::text, ''), coalesce(handover_to_member_id::text, ''),
                coalesce(assignments, '')),
                    'UTF8'), '\\x0a'::bytea ORDER BY position))
                FROM changes WHERE position BETWEEN first_position AND last_position)";
        assert_eq!(number(database, broken).await, 0, "the hashes after the anchor at {floor}");
        if !more {
            assert_eq!(floor, head - 1);
            break;
        }
    }
    assert!(cut_within_a_batch);
}

#[tokio::test]
async fn c8_history_is_kept_for_its_own_time() {
    let trail = Trail::make(3).await;
    let database = trail.database();
    age(database, head(database).await).await;
    let (_, moved, _) = trim(database, A_DAY).await;
    let old = "UPDATE history SET record_time = record_time - interval '800 days' WHERE position <= 3";
    database.batch_execute(old).await.expect("old history");
    let mut removed = Vec::new();
    loop {
        let query = "SELECT * FROM trim_history(interval '730 days', 2)";
        let row = database.query_one(query, &[]).await.expect("trimmed");
        removed.push(row.get::<_, i64>(0));
        if !row.get::<_, bool>(1) {
            break;
        }
    }
    assert_eq!(removed, [2, 1]);
    assert_eq!(number(database, "SELECT count(*) FROM history").await, moved - 3);
    assert_eq!(number(database, "SELECT min(position) FROM history").await, 4);
}

#[tokio::test]
async fn c8_the_service_trims_by_itself() {
    let trail = Trail::make(2).await;
    let database = trail.database();
    let request =
        CloseSubscriptionRequest { subscription_id: trail.subscription.clone(), ..Default::default() };
    trail.world.feed().close_subscription(request).await.expect("closed");
    let old = "UPDATE batches SET sequence_time = now() - interval '31 days'";
    database.batch_execute(old).await.expect("an older log");
    // One that starts begins with what is due.
    let other = Server::beside(trail.world.server()).await;
    let until = tokio::time::Instant::now() + BOUND;
    while number(database, "SELECT position FROM log_floor").await < trail.position(1) - 1 {
        assert!(tokio::time::Instant::now() < until, "nothing is trimmed");
    }
    other.stop().await;
}

#[tokio::test]
async fn c8_c13_a_repeated_departure_answers_the_same_after_its_change_was_trimmed() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let first = world.operator().deactivate(&org, &bob).await.expect("a departure").token;
    let database = world.server().database();
    age(database, world.mark().await).await;
    trim(database, A_DAY).await;
    let again = world.operator().deactivate(&org, &bob).await.expect("a repetition").token;
    assert_eq!(again, first);
}

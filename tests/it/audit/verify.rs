//! `rollcall audit verify` on chains that somebody with all rights in the database changed: each way of doing it is tried by
//! itself, must be found, and must be named.

use tokio_postgres::Client;
use tonic::Code;

use super::{all, broken, holds};
use crate::{
    fixtures::{World, made_up_id, refused},
    support::Database,
};

/// A store with some commands and refusals, all of them chained, and nobody who writes.
async fn filled() -> Database {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let cleo = world.member_in(&org, "cleo", &[&org.general]).await;
    for person in [&bob, &cleo] {
        refused(
            world.acting(person).deactivate(&org, &org.owner).await,
            Code::PermissionDenied,
            "ROLE_INSUFFICIENT",
        );
        world.acting(&org.owner).deactivate(&org, person).await.expect("deactivated");
    }
    world.operator().erase(&org, &cleo).await.expect("erased");
    world.calling_as("hr").reactivate(&org, &bob).await.expect("back");
    all(&world).await;
    let database = world.stop().await;
    // What this test does is undone from these.
    let copies = "CREATE SCHEMA kept;
        CREATE TABLE kept.changes AS SELECT * FROM changes;
        CREATE TABLE kept.batches AS SELECT * FROM batches;
        CREATE TABLE kept.log_head AS SELECT * FROM log_head;
        CREATE TABLE kept.log_floor AS SELECT * FROM log_floor;
        CREATE TABLE kept.audit_entries AS SELECT * FROM audit_entries;
        CREATE TABLE kept.audit_actors AS SELECT * FROM audit_actors;
        CREATE TABLE kept.audit_head AS SELECT * FROM audit_head;";
    database.client.batch_execute(copies).await.expect("copies");
    database
}

/// Makes everything as it was.
async fn restore(database: &Client) {
    let tables =
        ["changes", "batches", "log_head", "log_floor", "audit_entries", "audit_actors", "audit_head"];
    let statements =
        tables.map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept.{table};"));
    database.batch_execute(&statements.concat()).await.expect("as it was");
}

async fn number(database: &Client, query: &str) -> i64 {
    database.query_one(query, &[]).await.expect("a number").get(0)
}

/// Does something to the store, and returns what is said about it. Then it is undone.
async fn tampered(database: &Database, statements: &str) -> String {
    database.client.batch_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    let said = broken(database, &[]).await;
    println!("{statements}\n    {said}");
    restore(&database.client).await;
    said
}

/// The columns of a table with another value for each, by an expression.
async fn other_values(database: &Client, table: &str) -> Vec<(String, String)> {
    let query = "SELECT column_name::text, data_type::text FROM information_schema.columns
                 WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position";
    let columns = database.query(query, &[&table]).await.expect("the columns");
    let other = |row: &tokio_postgres::Row| {
        let (name, kind): (String, String) = (row.get(0), row.get(1));
        let other = match (name.as_str(), kind.as_str()) {
            // A word among those that it may be.
            ("subject", _) => "CASE subject WHEN 'MEMBER' THEN 'WORKSPACE' ELSE 'MEMBER' END".to_owned(),
            (_, "uuid") => "gen_random_uuid()".to_owned(),
            (_, "text") => format!("coalesce({name}, '') || 'x'"),
            (_, "bigint") => format!("{name} + 1"),
            (_, "boolean") => format!("NOT coalesce({name}, false)"),
            (_, "timestamp with time zone") => format!("{name} + interval '1 microsecond'"),
            (_, "ARRAY") => format!("{name} || 'x'::text"),
            (_, "bytea") => {
                format!("set_byte(coalesce({name}, sha256('')), 7, 1 + get_byte({name}, 7) % 255)")
            }
            other => panic!("{other:?}: say here how it is changed"),
        };
        (name, other)
    };
    columns.iter().map(other).collect()
}

/// How a change is named: by its batch, whose hash it is in.
async fn named(database: &Client, position: i64) -> String {
    let batch =
        "SELECT first_position, last_position FROM batches WHERE $1 BETWEEN first_position AND last_position";
    let row = database.query_one(batch, &[&position]).await.expect("a batch");
    let (first, last): (i64, i64) = (row.get(0), row.get(1));
    if first == last {
        format!("log: BROKEN: change {first} is not what was sequenced")
    } else {
        format!("log: BROKEN: changes {first} to {last} are not what was sequenced")
    }
}

#[tokio::test]
async fn an_untouched_store_holds() {
    let database = filled().await;
    let (log, audit) = (
        number(&database.client, "SELECT position FROM log_head").await,
        number(&database.client, "SELECT position FROM audit_head").await,
    );
    assert!(log > 10 && audit > 10, "{log} changes, {audit} entries");
    let said = holds(&database, &[]).await;
    assert!(said.contains(&format!("log: changes 1 to {log} are as they were written; head ")), "{said}");
    assert!(said.contains(&format!("audit: entries 1 to {audit} are as they were written; head ")), "{said}");
    assert!(!said.contains("WARNING"), "{said}");
    // Also while there is nothing yet.
    let empty = crate::support::create_database().await;
    rollcall::storage::migrate(&empty.url, None).await.expect("migrated");
    assert_eq!(holds(&empty, &[]).await, "log: empty\naudit: empty\n");
}

#[tokio::test]
async fn every_column_of_a_change_is_guarded() {
    let database = filled().await;
    let position = number(&database.client, "SELECT position FROM log_head").await / 2;
    let named = named(&database.client, position).await;
    let mut columns = 0;
    for (column, other) in other_values(&database.client, "changes").await {
        // A place in the order is removed, and another one taken: below. Traces are forgotten, and say nothing about what
        // happened.
        if column == "position" || column == "traceparent" {
            continue;
        }
        columns += 1;
        let change = format!("UPDATE changes SET {column} = {other} WHERE position = {position}");
        let said = tampered(&database, &change).await;
        // Not hashed, but it follows from the rest.
        let beside = column == "command_end" && said.contains(&format!("change {position} was altered"));
        assert!(said.starts_with(&named) || beside, "{column}: {said}");
    }
    assert!(columns > 17, "{columns} columns");
    // Two apps become one whose name is both: the same text.
    let joined = "UPDATE changes SET apps = ARRAY[array_to_string(apps, ',') || ',x']
                  WHERE position = (SELECT min(position) FROM changes)";
    assert!(tampered(&database, joined).await.starts_with("log: BROKEN: change"));
}

#[tokio::test]
async fn every_column_of_an_entry_is_guarded() {
    let database = filled().await;
    let severed = "SELECT min(position) FROM audit_entries WHERE actor IS NOT NULL";
    let position = number(&database.client, severed).await;
    for (column, other) in other_values(&database.client, "audit_entries").await {
        if column == "position" {
            continue;
        }
        let change = format!("UPDATE audit_entries SET {column} = {other} WHERE position = {position}");
        let said = tampered(&database, &change).await;
        assert!(
            said.starts_with(&format!("audit: BROKEN: entry {position}, recorded at ")),
            "{column}: {said}"
        );
    }
    // Who acted is a row of its own: it can go, and cannot become somebody else.
    for (column, other) in [
        ("account_id", "gen_random_uuid()"),
        ("salt", "gen_random_uuid()"),
        ("organization_id", "gen_random_uuid()"),
        ("actor", "sha256('x')"),
    ] {
        let change = format!(
            "UPDATE audit_actors SET {column} = {other} WHERE actor = (SELECT min(actor::text)::bytea FROM audit_actors)"
        );
        assert!(tampered(&database, &change).await.starts_with("audit: BROKEN: the actor "), "{column}");
    }
}

#[tokio::test]
async fn a_change_that_was_removed_or_inserted_is_named() {
    let database = filled().await;
    let client = &database.client;
    let head = number(client, "SELECT position FROM log_head").await;
    let middle = head / 2;
    let said = tampered(&database, &format!("DELETE FROM changes WHERE position = {middle}")).await;
    assert_eq!(said, format!("log: BROKEN: change {middle} was removed"));
    let said = tampered(&database, &format!("DELETE FROM changes WHERE position = {head}")).await;
    assert_eq!(said, format!("log: BROKEN: change {head} was removed"));
    let said = tampered(&database, "DELETE FROM changes").await;
    assert_eq!(said, "log: BROKEN: change 1 was removed");
    // The others moved up, so that none is missing but the last.
    let named_middle = named(client, middle).await;
    let closed = format!(
        "DELETE FROM changes WHERE position = {middle};
         UPDATE changes SET position = -position WHERE position > {middle};
         UPDATE changes SET position = -position - 1 WHERE position < 0"
    );
    assert!(tampered(&database, &closed).await.starts_with(&named_middle));
    let row = |position: i64| {
        format!(
            "INSERT INTO changes SELECT (r.c).* FROM (
                 SELECT jsonb_populate_record(c, jsonb_build_object('position', {position}, 'change_id', '{}')) AS c
                 FROM changes c WHERE c.position = {middle}) r",
            made_up_id()
        )
    };
    let said = tampered(&database, &row(head + 1)).await;
    assert_eq!(
        said,
        format!("log: BROKEN: change {} was inserted: it stands outside of the chain", head + 1)
    );
    let said = tampered(&database, &row(0)).await;
    assert_eq!(said, "log: BROKEN: change 0 was inserted: it stands outside of the chain");
    // The others made room.
    let between = format!(
        "UPDATE changes SET position = -position WHERE position > {middle};
         UPDATE changes SET position = -position + 1 WHERE position < 0; {}",
        row(middle + 1)
    );
    let named = named(client, middle + 1).await;
    assert!(tampered(&database, &between).await.starts_with(&named));
    // With a batch and a head of its own, and no hash for them that fits.
    let added = format!(
        "{}; INSERT INTO batches (last_position, first_position, hash) VALUES ({1}, {1}, sha256('x'));
         UPDATE log_head SET position = {1}, hash = sha256('x')",
        row(head + 1),
        head + 1
    );
    let said = tampered(&database, &added).await;
    assert!(
        said.starts_with(&format!("log: BROKEN: change {} is not what was sequenced", head + 1)),
        "{said}"
    );
}

#[tokio::test]
async fn an_entry_that_was_removed_or_inserted_is_named() {
    let database = filled().await;
    let client = &database.client;
    let head = number(client, "SELECT position FROM audit_head").await;
    let middle = head / 2;
    for position in [1, middle, head] {
        let said =
            tampered(&database, &format!("DELETE FROM audit_entries WHERE position = {position}")).await;
        let last = format!("audit: BROKEN: the chain ends at entry {}, and its head says {head}", head - 1);
        let removed = format!("audit: BROKEN: entry {position} was removed");
        assert_eq!(said, if position == head { last } else { removed });
    }
    let closed = format!(
        "DELETE FROM audit_entries WHERE position = {middle};
         UPDATE audit_entries SET position = -position WHERE position > {middle};
         UPDATE audit_entries SET position = -position - 1 WHERE position < 0"
    );
    let said = tampered(&database, &closed).await;
    assert!(said.starts_with(&format!("audit: BROKEN: entry {middle}, recorded at ")), "{said}");
    let row = |position: i64| {
        format!(
            "INSERT INTO audit_entries SELECT (r.e).* FROM (
                 SELECT jsonb_populate_record(e, jsonb_build_object('position', {position})) AS e
                 FROM audit_entries e WHERE e.position = {middle}) r"
        )
    };
    for position in [0, head + 1] {
        let said = tampered(&database, &row(position)).await;
        assert_eq!(
            said,
            format!("audit: BROKEN: entry {position} was inserted: it stands outside of the chain")
        );
    }
    let between = format!(
        "UPDATE audit_entries SET position = -position WHERE position > {middle};
         UPDATE audit_entries SET position = -position + 1 WHERE position < 0; {}",
        row(middle + 1)
    );
    let said = tampered(&database, &between).await;
    assert!(said.starts_with(&format!("audit: BROKEN: entry {}, recorded at ", middle + 1)), "{said}");
}

#[tokio::test]
async fn batches_and_heads_are_guarded_too() {
    let database = filled().await;
    let client = &database.client;
    let head = number(client, "SELECT position FROM log_head").await;
    let audit = number(client, "SELECT position FROM audit_head").await;
    let first = number(client, "SELECT min(last_position) FROM batches").await;
    let said = tampered(&database, &format!("DELETE FROM batches WHERE last_position = {first}")).await;
    assert_eq!(said, "log: BROKEN: the batches do not go on after change 0: one was removed or altered");
    let hash = format!("UPDATE batches SET hash = sha256('x') WHERE last_position = {first}");
    assert!(tampered(&database, &hash).await.starts_with(&named(client, first).await));
    let last = format!("DELETE FROM batches WHERE last_position = {head}");
    assert!(tampered(&database, &last).await.contains("and its head says"));
    let said = tampered(&database, "UPDATE log_head SET hash = sha256('x')").await;
    assert_eq!(
        said,
        format!("log: BROKEN: the head at change {head} was altered: it is not that of the chain")
    );
    let said = tampered(&database, "UPDATE audit_head SET hash = sha256('x')").await;
    assert_eq!(
        said,
        format!("audit: BROKEN: the head at entry {audit} was altered: it is not that of the chain")
    );
    // Trimming takes everything but the newest.
    let all = "DELETE FROM changes; UPDATE log_floor SET position = (SELECT position FROM log_head);
               DELETE FROM batches WHERE last_position < (SELECT position FROM log_head)";
    assert_eq!(tampered(&database, all).await, format!("log: BROKEN: change {head} was removed"));
    // A floor that nothing was trimmed to.
    let said = tampered(&database, "UPDATE log_floor SET position = 3").await;
    assert_eq!(said, "log: BROKEN: change 1 was inserted: it stands outside of the chain");
    let said = tampered(&database, "UPDATE audit_head SET floor_position = 3").await;
    assert_eq!(said, "audit: BROKEN: entry 1 was inserted: it stands outside of the chain");
}

#[tokio::test]
async fn what_is_left_after_trimming_can_be_checked() {
    let database = filled().await;
    let client = &database.client;
    let head = number(client, "SELECT position FROM log_head").await;
    let audit = number(client, "SELECT position FROM audit_head").await;
    let trim = format!(
        "UPDATE batches SET sequence_time = now() - interval '10 days' WHERE last_position <= {};
         SELECT trim_log(interval '1 day', interval '30 days', interval '0', 5000);
         SELECT trim_audit(interval '1 day', 5000)",
        head / 2
    );
    client.batch_execute(&trim).await.expect("trimmed");
    let floor = number(client, "SELECT position FROM log_floor").await;
    assert!(floor > 0);
    let after = number(client, "SELECT min(last_position) FROM batches").await;
    assert_eq!(number(client, "SELECT floor_position FROM audit_head").await, 0, "all of the audit is young");
    let said = holds(&database, &[]).await;
    assert!(
        said.contains(&format!("log: changes {} to {head} are as they were written", after + 1)),
        "{said}"
    );
    // They are of today, and 30 days is what is kept where nothing is said.
    let cut =
        format!("log: WARNING: everything up to change {floor} is gone, and the first change that is left");
    assert!(said.contains(&cut) && !said.contains("audit: WARNING"), "{said}");
    let said = holds(&database, &["--log-retention-days", "1"]).await;
    assert!(!said.contains("WARNING"), "the fewest days leave no doubt: {said}");
    // The audit has ages of its own, which are part of what is hashed: a part of it is kept for no time at all.
    let keep = format!(
        "SELECT trim_audit(clock_timestamp() - (SELECT record_time FROM audit_entries WHERE position = {}), 5000)",
        audit / 2
    );
    let actors = number(client, "SELECT count(*) FROM audit_actors").await;
    client.batch_execute(&keep).await.expect("trimmed");
    let floor = number(client, "SELECT floor_position FROM audit_head").await;
    assert!(floor > 0 && floor < audit, "{floor}");
    let unknown = "SELECT count(*) FROM audit_actors a
                   WHERE NOT EXISTS (SELECT FROM audit_entries e WHERE e.actor = a.actor)";
    assert_eq!(number(client, unknown).await, 0, "of {actors} actors");
    let said = holds(&database, &[]).await;
    assert!(
        said.contains(&format!("audit: entries {} to {audit} are as they were written", floor + 1)),
        "{said}"
    );
    // And what is left is guarded as before.
    client
        .batch_execute(&format!("DELETE FROM audit_entries WHERE position = {}", floor + 1))
        .await
        .expect("gone");
    assert_eq!(broken(&database, &[]).await, format!("audit: BROKEN: entry {} was removed", floor + 1));
}

#[tokio::test]
async fn a_store_that_is_written_to_meanwhile_holds() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let database = world.server().another_connection().await;
    for round in 0..5 {
        let (name, operator) = (format!("Engines {round}"), world.operator());
        let (renamed, said) =
            tokio::join!(operator.rename_organization(&org.id, &name), holds(&database, &[]));
        renamed.expect("renamed");
        assert!(said.contains("are as they were written"), "{said}");
    }
}

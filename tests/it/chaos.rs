//! Chaos: 64 writers with random delays before their commits, three service processes on one database, five watchers,
//! and a process that is killed every few seconds. What was answered and told is recorded and judged by one validator
//! for each clause (C1 to C6, C9, C11, C13), and each validator is shown to fail on histories that break its clause.
//!
//! `ROLLCALL_CHAOS_CHANGES` and `ROLLCALL_CHAOS_SEED` make it long (`make chaos`). The seed draws the commands, the
//! replicas and the kills; when things happen is up to the machine, so a seed narrows a failure down and does not
//! promise to repeat it. A run that fails leaves its recording in `target/chaos/SEED`.

use std::{env, time::Duration};

mod cursors;
mod history;
mod mutations;
pub(crate) mod random;
mod run;
mod validators;
mod watchers;
mod writers;

use history::{Body, History, Stream};
use run::{Plan, Run, run};
use validators::{lost_and_duplicated, violations};

/// How many changes the everyday run makes.
const CHANGES: i64 = 2_000;
/// A run of at least so many is a long one, with a kill every few seconds instead of one or two.
const LONG: i64 = 20_000;

fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {value:?}")))
}

/// The figures of a run.
fn report(run: &Run) {
    let Run { history, kills, retries, wrote, .. } = run;
    let made = history.log.iter().filter(|row| row.position > history.begin).count();
    let broken: Vec<_> = violations(history).into_iter().map(|(clause, _)| clause).collect();
    let count = |clause| usize::from(broken.contains(&clause));
    let (lost, duplicated) = lost_and_duplicated(history);
    let mut reconnects = reconnects(history);
    reconnects.sort_unstable();
    let p99 = reconnects.get((reconnects.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
    println!("changes = {made}");
    println!("commands = {}", history.answers.iter().filter(|answer| answer.thing.is_some()).count());
    println!("refused = {}", history.answers.iter().filter(|answer| answer.thing.is_none()).count());
    println!("kills = {kills}");
    println!("retries = {retries}");
    println!("streams = {}", history.watchers.iter().map(|watcher| watcher.streams.len()).sum::<usize>());
    println!("lost = {lost}");
    println!("duplicated = {duplicated}");
    println!("reordered = {}", count("C1"));
    println!("split = {}", count("C4"));
    println!("reconnect_p99_ms = {}", p99 / 1_000);
    println!("longest_gap_ms = {}", longest_gap(history) / 1_000);
    let said = history.watchers.iter().flat_map(|watcher| &watcher.acknowledged);
    println!("cursors_tried = {}", history.tried.len());
    println!("cursors_judged_wrongly = {}", count("C6"));
    println!("acknowledgements = {}", said.count());
    println!("acknowledgements_that_went_back = {}", count("C11"));
    println!("reads_at_a_token = {}", history.answers.iter().filter(|answer| answer.read.is_some()).count());
    println!("stale_reads = {}", count("C13"));
    println!("changes_per_second = {:.0}", made as f64 / wrote.as_secs_f64());
}

/// From each lost stream to the first message of the next one.
fn reconnects(history: &History) -> Vec<u64> {
    let streams = history.watchers.iter().flat_map(|watcher| &watcher.streams);
    let took = |stream: &Stream| Some(stream.messages.first()?.at_us - stream.lost_us);
    streams.filter(|stream| stream.lost_us > 0).filter_map(took).collect()
}

/// The longest that a watcher was told nothing.
fn longest_gap(history: &History) -> u64 {
    let gaps = history.watchers.iter().filter_map(|watcher| {
        let messages: Vec<u64> =
            watcher.streams.iter().flat_map(|stream| &stream.messages).map(|message| message.at_us).collect();
        messages.windows(2).map(|pair| pair[1] - pair[0]).max()
    });
    gaps.max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_clause_that_a_recording_shows_holds_while_replicas_are_killed() {
    let changes =
        setting("ROLLCALL_CHAOS_CHANGES").map_or(CHANGES, |changes| i64::try_from(changes).expect("less"));
    let seed = setting("ROLLCALL_CHAOS_SEED").unwrap_or(1);
    let long = changes >= LONG;
    let (kills, most_kills, every_ms) =
        if long { (10, usize::MAX, (2_000, 5_000)) } else { (2, 2, (1_000, 2_000)) };
    let run = run(&Plan { seed, changes, kills, most_kills, every_ms, mutation: None }).await;
    report(&run);
    let broken = violations(&run.history);
    assert!(
        broken.is_empty(),
        "seed {seed}, recorded in {}: {broken:#?}",
        run.recorder.directory().display()
    );
    let snapshots = run.history.watchers.iter().filter(|watcher| {
        let messages = watcher.streams.iter().flat_map(|stream| &stream.messages);
        messages.filter(|message| matches!(message.body, Body::SnapshotEnd { .. })).count() != 1
    });
    assert_eq!(snapshots.count(), 0, "everyone resumes with a cursor and takes one snapshot");
    mutations::each_is_caught_by_its_own_validator(&run.history);
    run.recorder.discard();
}

/// A position is the number that the change drew inside its own transaction: out of order, and with holes.
const POSITIONS_FROM_A_SEQUENCE: &str = "
    CREATE OR REPLACE FUNCTION sequence_changes() RETURNS TABLE (head_position bigint, head_change_id uuid)
    LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(8243122705118243);
        WITH taken AS (DELETE FROM pending_changes RETURNING *)
        INSERT INTO changes SELECT id + 100000, change_id, command_id,
            max(id) OVER (PARTITION BY command_id) + 100000, organization_id, apps, subject, workspace_id,
            member_id, state, role, version, reason, caller, acting_member_id, record_time FROM taken;
        UPDATE log_head SET position = c.position, change_id = c.change_id
            FROM (SELECT position, changes.change_id FROM changes ORDER BY position DESC LIMIT 1) c;
        RETURN QUERY SELECT h.position, h.change_id FROM log_head h;
    END $$;";

/// A call sequences a few rows, wherever the last command among them ends.
const A_COMMAND_IS_SPLIT: &str = "
    CREATE OR REPLACE FUNCTION sequence_changes() RETURNS TABLE (head_position bigint, head_change_id uuid)
    LANGUAGE plpgsql AS $$
    DECLARE head bigint;
    BEGIN
        PERFORM pg_advisory_xact_lock(8243122705118243);
        SELECT position INTO head FROM log_head;
        WITH taken AS (
            DELETE FROM pending_changes WHERE id IN (SELECT id FROM pending_changes ORDER BY id LIMIT 3) RETURNING *
        ), placed AS (SELECT *, head + row_number() OVER (ORDER BY id) AS place FROM taken)
        INSERT INTO changes SELECT place, change_id, command_id, max(place) OVER (PARTITION BY command_id),
            organization_id, apps, subject, workspace_id, member_id, state, role, version, reason, caller,
            acting_member_id, record_time FROM placed;
        UPDATE log_head SET position = c.position, change_id = c.change_id
            FROM (SELECT position, changes.change_id FROM changes ORDER BY position DESC LIMIT 1) c;
        RETURN QUERY SELECT h.position, h.change_id FROM log_head h;
    END $$;";

async fn broken_by(seed: u64, mutation: &'static str) -> Vec<(&'static str, String)> {
    // Nobody is killed: what is seen is the mutation's alone.
    let plan = Plan {
        seed,
        changes: 400,
        kills: 0,
        most_kills: 0,
        every_ms: (600_000, 600_001),
        mutation: Some(mutation),
    };
    let run = tokio::time::timeout(Duration::from_secs(300), run(&plan)).await.expect("the run ends in time");
    let broken = violations(&run.history);
    println!("{broken:#?}");
    run.recorder.discard();
    broken
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_is_broken_by_positions_from_a_sequence() {
    let broken = broken_by(900_001, POSITIONS_FROM_A_SEQUENCE).await;
    assert!(broken.iter().any(|(clause, _)| *clause == "C1"), "{broken:?}");
    // A change that commits late stands before one that was told already: whoever follows never hears of it.
    assert!(broken.iter().any(|(clause, _)| *clause == "C2"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_is_broken_by_sequencing_that_splits_a_command() {
    let broken = broken_by(900_002, A_COMMAND_IS_SPLIT).await;
    assert!(broken.iter().any(|(clause, _)| *clause == "C4"), "{broken:?}");
}

/// What is stored as applied is less than what was acknowledged, once in a while.
const APPLIED_GOES_BACK: &str = "
    CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF random() < 0.3 THEN NEW.applied_position := 1; END IF; RETURN NEW; END $$;
    CREATE TRIGGER forget BEFORE UPDATE ON subscriptions FOR EACH ROW EXECUTE FUNCTION forget();";

#[tokio::test(flavor = "multi_thread")]
async fn c11_is_broken_by_a_store_that_forgets_what_was_applied() {
    let broken = broken_by(900_003, APPLIED_GOES_BACK).await;
    assert!(broken.iter().any(|(clause, _)| *clause == "C11"), "{broken:?}");
}

//! One total order (C1): dense, none skipped, none out of causal order, whatever the delays before a commit. The delay is
//! a deferred trigger that the test puts into its own database; the service knows nothing of it.
//!
//! What a follower was told and what the writers were answered is recorded and checked by [`check`]. The same check fails
//! on positions that are drawn from a sequence inside the writing transactions, which is the mistake that sequencing after
//! the commit avoids.

use std::collections::{BTreeMap, HashMap};

use rollcall_client::v1::{
    OrganizationRole, WatchRequest, subject::Subject as Thing, watch_response::Message, *,
};
use tokio::task::JoinSet;
use tonic::Streaming;

use crate::fixtures::{Org, Person, World, mask};

const WRITERS: usize = 16;
const COMMANDS: usize = 12;

/// A random delay between the last statement of a command and its commit: 0 to 40 ms.
const DELAY: &str = "
    CREATE FUNCTION delay_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(random() * 0.04); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER delay_commit AFTER INSERT ON pending_changes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION delay_commit();";

/// The mistake: a position is the number that the change drew inside its own transaction.
const POSITIONS_FROM_A_SEQUENCE: &str = "
    CREATE OR REPLACE FUNCTION sequence_changes() RETURNS TABLE (head_position bigint, head_change_id uuid)
    LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(8243122705118243);
        WITH taken AS (DELETE FROM pending_changes RETURNING *)
        INSERT INTO changes SELECT id + 1000, change_id, command_id, id + 1000, organization_id, apps, subject, workspace_id,
            member_id, state, role, version, reason, caller, acting_member_id, record_time FROM taken;
        UPDATE log_head SET position = c.position, change_id = c.change_id
            FROM (SELECT position, changes.change_id FROM changes ORDER BY position DESC LIMIT 1) c;
        RETURN QUERY SELECT h.position, h.change_id FROM log_head h;
    END $$;";

/// What a writer was answered: the version that its command gave to a member.
struct Written {
    member: String,
    version: i64,
}

/// A change as it was told.
struct Told {
    position: i64,
    /// The thing, as a text that identifies it, and its version.
    thing: (String, i64),
}

/// What was recorded of a run.
struct History {
    /// By writer, in the order of its own commands, each begun after the answer to the one before.
    written: Vec<Vec<Written>>,
    /// In the order in which the follower was told.
    told: Vec<Told>,
    /// Every position of the log, as the database has them in the end.
    log: Vec<i64>,
}

/// Checks a history. The error says what is wrong with it.
fn check(history: &History) -> Result<(), String> {
    for (expected, position) in (1..).zip(&history.log) {
        if *position != expected {
            return Err(format!("not dense: {position} stands where {expected} should"));
        }
    }
    let mut versions: HashMap<&str, i64> = HashMap::new();
    let mut positions: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    let mut last = 0;
    for told in &history.told {
        if told.position <= last {
            return Err(format!("{} was told after {last}", told.position));
        }
        last = told.position;
        let (thing, version) = (told.thing.0.as_str(), told.thing.1);
        // Versions count up under the thing's lock: a later one stands for a command that saw the earlier.
        if versions.insert(thing, version).is_some_and(|before| version != before + 1) {
            return Err(format!(
                "version {version} of {thing} came out of causal order, or one before it was skipped"
            ));
        }
        positions.insert((thing, version), told.position);
    }
    for written in &history.written {
        let mut before = 0;
        for Written { member, version } in written {
            let Some(position) = positions.get(&(member.as_str(), *version)) else {
                return Err(format!("skipped: version {version} of {member} was answered and never told"));
            };
            if *position <= before {
                return Err(format!(
                    "{position} stands before {before}, which its writer was answered first"
                ));
            }
            before = *position;
        }
    }
    Ok(())
}

/// Sixteen writers, each one command after the other, on four members whom they share.
async fn write(world: &World, org: &Org, members: &[Person]) -> Vec<Vec<Written>> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = world.members();
        let (organization_id, members) = (org.id.clone(), members.to_vec());
        writers.spawn(async move {
            let mut written = Vec::new();
            for command in 0..COMMANDS {
                let person = &members[(writer + command * 7) % members.len()];
                // A name that nobody had before: every command changes something.
                let profile =
                    Profile { display_name: format!("name {writer}-{command}"), ..Default::default() };
                let member = Member {
                    organization_id: organization_id.clone(),
                    member_id: person.member.clone(),
                    profile: Some(profile),
                    ..Default::default()
                };
                let request = UpdateMemberRequest {
                    member: Some(member),
                    update_mask: mask(&["profile.display_name"]),
                    ..Default::default()
                };
                let answer = client.update_member(request).await.expect("a new name").into_inner();
                // The answer shows the member as it is read after the commit: a later version may be there already.
                let version = answer.member.expect("the member").version;
                written.push(Written { member: person.member.clone(), version });
            }
            written
        });
    }
    writers.join_all().await
}

/// Opens a stream and reads past its snapshot.
async fn open(world: &World) -> Streaming<WatchResponse> {
    let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let mut stream = world.feed().watch(request).await.expect("a stream").into_inner();
    loop {
        let message = stream.message().await.expect("an open stream").and_then(|message| message.message);
        if matches!(message, Some(Message::SnapshotEnd(_))) {
            return stream;
        }
    }
}

/// Reads a stream until it has passed the end of the log, as the database tells it by then.
async fn follow(mut stream: Streaming<WatchResponse>, until: impl Future<Output = i64>) -> Vec<Told> {
    let mut told = Vec::new();
    let mut until = std::pin::pin!(until);
    let mut end = None;
    loop {
        tokio::select! {
            head = &mut until, if end.is_none() => end = Some(head),
            message = stream.message() => match message.expect("an open stream").and_then(|message| message.message) {
                Some(Message::Batch(batch)) => told.extend(batch.changes.iter().map(as_told)),
                Some(Message::Bookmark(bookmark)) if end.is_some_and(|end| bookmark.position >= end) => return told,
                _ => {}
            },
        }
    }
}

fn as_told(change: &Change) -> Told {
    let thing = match change.subject.as_ref().and_then(|subject| subject.subject.as_ref()) {
        Some(Thing::Organization(now)) => (now.organization_id.clone(), now.version),
        Some(Thing::Workspace(now)) => (now.workspace_id.clone(), now.version),
        Some(Thing::Member(now)) => (now.member_id.clone(), now.version),
        Some(Thing::WorkspaceMember(now)) => (format!("{}/{}", now.workspace_id, now.member_id), now.version),
        None => panic!("a change of nothing: {change:?}"),
    };
    Told { position: change.position, thing }
}

async fn run(mutation: Option<&str>) -> History {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let mut members = Vec::new();
    for name in ["bob", "eve", "joe", "sue"] {
        members.push(world.member_in(&org, name, &[&org.general]).await);
    }
    let database = world.server().database();
    database.batch_execute(DELAY).await.expect("the delay");
    if let Some(mutation) = mutation {
        database.batch_execute(mutation).await.expect("the mutation");
    }
    let stream = open(&world).await;
    let (sender, done) = tokio::sync::oneshot::channel();
    let end = async {
        let _ = done.await;
        let head = database.query_one("SELECT max(position) FROM changes", &[]).await.expect("the head");
        head.get(0)
    };
    let (written, told) = tokio::join!(
        async {
            let written = write(&world, &org, &members).await;
            sender.send(()).expect("a follower");
            written
        },
        follow(stream, end),
    );
    let log = database.query("SELECT position FROM changes ORDER BY position", &[]).await.expect("the log");
    History { written, told, log: log.iter().map(|row| row.get(0)).collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_sixteen_writers_with_random_delays_leave_one_dense_causal_order() {
    let history = run(None).await;
    assert_eq!(history.told.len(), WRITERS * COMMANDS, "every command changes one member");
    check(&history).expect("one order");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_bites_on_positions_from_a_sequence() {
    let fault =
        check(&run(Some(POSITIONS_FROM_A_SEQUENCE)).await).expect_err("positions in the order of the draw");
    println!("the check says: {fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_bites_on_skipped_changes_alone() {
    // Holes in the numbering would be found first: this looks at what the follower missed.
    let mut history = run(Some(POSITIONS_FROM_A_SEQUENCE)).await;
    history.log = (1..=10).collect();
    let fault = check(&history).expect_err("changes that committed late are skipped by who is past them");
    println!("the check says: {fault}");
}

#[tokio::test]
async fn sequencing_refuses_any_isolation_but_read_committed() {
    let world = World::start().await;
    let database = world.server().database();
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        database.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}")).await.expect("a transaction");
        let refused = database.query("SELECT * FROM sequence_changes()", &[]).await.expect_err("a refusal");
        assert_eq!(refused.code().map(|code| code.code()), Some("25000"), "{refused:?}");
        database.batch_execute("ROLLBACK").await.expect("its end");
    }
}

#[tokio::test]
async fn the_running_hash_covers_every_change_of_every_batch() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    world.member_as(&org, "bob", OrganizationRole::Guest).await;
    let database = world.server().database();
    let query = "
        WITH RECURSIVE lines AS (
            SELECT position, concat_ws('|', position, change_id, command_id, organization_id,
                array_to_string(apps, ','), subject, coalesce(workspace_id::text, ''), coalesce(member_id::text, ''),
                state, coalesce(role, ''), version, reason, caller, coalesce(acting_member_id::text, ''),
                floor(extract(epoch FROM record_time) * 1000000)::bigint,
                coalesce(leaving::text, ''), coalesce(tombstone_id::text, ''), coalesce(handover_to_member_id::text, ''),
                coalesce(assignments, '')) AS line
            FROM changes
        ), counted AS (
            SELECT row_number() OVER (ORDER BY last_position) AS n, first_position, last_position, hash FROM batches
        ), chain AS (
            SELECT 0::bigint AS n, ''::bytea AS computed, ''::bytea AS stored
            UNION ALL
            SELECT b.n, sha256(chain.computed || (SELECT string_agg(convert_to(line, 'UTF8'), '\\x0a'::bytea ORDER BY position)
                FROM lines WHERE position BETWEEN b.first_position AND b.last_position)), b.hash
            FROM chain JOIN counted b ON b.n = chain.n + 1
        )
        SELECT count(*), bool_and(computed = stored), (SELECT hash FROM log_head) = (SELECT hash FROM batches
            ORDER BY last_position DESC LIMIT 1) FROM chain WHERE n > 0";
    let row = database.query_one(query, &[]).await.expect("the chain");
    let (batches, equal, head): (i64, bool, bool) = (row.get(0), row.get(1), row.get(2));
    assert!(batches > 3 && equal && head, "{batches} batches, equal {equal}, head {head}");
    // Whoever changes a row afterwards breaks the chain.
    database
        .batch_execute("UPDATE changes SET state = 'REMOVED' WHERE position = 3")
        .await
        .expect("a forgery");
    let equal: bool = database.query_one(query, &[]).await.expect("the chain").get(1);
    assert!(!equal, "a forged row goes unnoticed");
}

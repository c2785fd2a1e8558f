//! T34: an organization of 100,000 people lets all of them go at once, in batches, while another organization goes about
//! its business. No command is split or lost, who is followed by instances is out when the last call was answered and
//! enforced, the service's memory is bounded, and the other organization hardly notices.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rollcall_client::v1::{
    BatchDeactivateMembersRequest, WatchRequest, subject::Subject as Thing, watch_response::Message,
};
use rustix::process::Signal;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, interval, sleep},
};
use tonic::Streaming;
use uuid::Uuid;

use super::{
    crew::{Crew, Instance},
    kills::compare,
    ms, p99,
    scene::{Pen, Reader, Scene, soon, stream, to_snapshot_end, until},
    size,
};
use crate::fixtures::{Person, regardless};

/// Those who let people go, each with a share of them.
const CALLERS: usize = 4;
/// How often the other organization is renamed.
const PACE: Duration = Duration::from_millis(50);
/// What the service may need more for it: the window of the newest changes, 32 MiB, and as much again for what is under way.
const MEMORY: u64 = 64 << 20;
/// Longer than anything should take for others; it tells a stall from none on a machine that is busy with other tests.
const STALL: Duration = Duration::from_secs(10);

/// Members of the one workspace by the thousand, straight into the tables.
const MEMBERS: &str = "
    CREATE TEMP TABLE people AS SELECT gen_random_uuid() AS account_id, gen_random_uuid() AS member_id
        FROM generate_series(1, NUMBER);
    INSERT INTO accounts (account_id, email, email_key, state, version)
        SELECT account_id, account_id || '@example.com', account_id || '@example.com', 'ACTIVE', 1 FROM people;
    INSERT INTO members (organization_id, member_id, account_id, role, state, apps, version)
        SELECT 'ORGANIZATION', member_id, account_id, 'MEMBER', 'ACTIVE', '{chat}', 1 FROM people;
    INSERT INTO profiles (organization_id, member_id, display_name) SELECT 'ORGANIZATION', member_id, '' FROM people;
    INSERT INTO workspace_members (organization_id, workspace_id, member_id, role, state, version)
        SELECT 'ORGANIZATION', 'WORKSPACE', member_id, 'MEMBER', 'ACTIVE', 1 FROM people;
    DROP TABLE people; ANALYZE members, workspace_members, accounts, profiles;";

async fn hire(scene: &Scene, crew: &mut Crew, number: usize) {
    let statement = MEMBERS
        .replace("NUMBER", &number.to_string())
        .replace("ORGANIZATION", &crew.org.id)
        .replace("WORKSPACE", &crew.org.general);
    scene.database.client.batch_execute(&statement).await.expect("the members");
    let query = "SELECT account_id::text, member_id::text FROM members
        WHERE organization_id = $1::text::uuid AND member_id::text <> $2";
    let rows = scene.database.client.query(query, &[&crew.org.id, &crew.org.owner.member]).await;
    let people = rows.expect("the members").into_iter();
    crew.people = people.map(|row| Person { account: row.get(0), member: row.get(1) }).collect();
    assert_eq!(crew.people.len(), number);
}

/// What a message told: the command and the subject of each change, and whether it had a cursor.
type Told = (Vec<(String, bool)>, bool);

/// Notes everything that a stream tells, until it was told that so many members are out.
fn follow(
    mut stream: Streaming<rollcall_client::v1::WatchResponse>,
    members: usize,
) -> JoinHandle<Vec<Told>> {
    tokio::spawn(async move {
        let (mut told, mut out) = (Vec::new(), 0);
        while out < members {
            let message = stream.message().await.expect("no stream is cut").expect("no stream ends");
            let Some(Message::Batch(batch)) = message.message else { continue };
            let changes = batch.changes.into_iter().map(|change| {
                let subject = change.subject.and_then(|subject| subject.subject);
                (change.command_id, matches!(subject, Some(Thing::Member(_))))
            });
            let changes: Vec<(String, bool)> = changes.collect();
            out += changes.iter().filter(|(_, member)| *member).count();
            told.push((changes, !message.cursor.is_empty()));
        }
        told
    })
}

/// How many commands go on behind a cursor, from which somebody might go on.
fn split(told: &[Told]) -> usize {
    let (mut open, mut ended, mut split) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (changes, cursor) in told {
        for (command, _) in changes {
            if ended.contains(command) {
                split.insert(command);
            }
            open.insert(command);
        }
        if *cursor {
            ended.extend(open.drain());
        }
    }
    split.len()
}

/// How the other organization fares: how long its calls take, how long until they are told, and the service's memory.
#[derive(Default)]
struct Others {
    calls: Vec<Duration>,
    lags: Vec<Duration>,
    memory: u64,
}

/// Writes at a pace until it has written so often, or is told to stop.
async fn go_about(pen: &mut Pen, scene: &Scene, reader: &Reader, writes: usize, stop: &AtomicBool) -> Others {
    let mut pace = interval(PACE);
    let (mut written, mut others) = (Vec::new(), Others::default());
    while written.len() < writes && !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let begun = Instant::now();
        let version = soon("an answer", pen.rename()).await.expect("a new name");
        others.calls.push(begun.elapsed());
        others.memory = others.memory.max(scene.replica.resident_bytes());
        written.push((version, begun));
    }
    reader.until(written.last().expect("a write").0).await;
    others.lags = written.iter().map(|(version, begun)| reader.told(*version) - *begun).collect();
    others
}

#[tokio::test(flavor = "multi_thread")]
async fn t34_a_hundred_thousand_leave_at_once_and_others_hardly_notice() {
    let scene = Scene::start(&[]).await;
    let channel = || scene.replica.client().channel().into();
    let mut crew = Crew::make(channel(), 0).await;
    hire(&scene, &mut crew, size(400, 100_000)).await;
    let number = crew.people.len();
    let crew = Arc::new(crew);
    let mut instances = Vec::new();
    for name in ["chat-1", "chat-2"] {
        instances.push(Instance::start(scene.replica.client(), name, |_| {}).await);
    }
    assert!(instances.iter().all(|instance| instance.lets_in(&crew, &crew.people) == number));
    let mut followed = stream(channel(), WatchRequest { app: "chat".to_owned(), ..Default::default() }).await;
    let (_, begun) = to_snapshot_end(&mut followed).await;
    let followed = follow(followed, number);
    let (mut pen, reader, stop) = (scene.pen(), scene.reader().await, Arc::new(AtomicBool::new(false)));
    let quiet = go_about(&mut pen, &scene, &reader, size(20, 200), &stop).await;

    let moment = Instant::now();
    let mut leaving = JoinSet::new();
    for share in crew.people.chunks(number.div_ceil(CALLERS)) {
        let (crew, share) = (Arc::clone(&crew), share.to_vec());
        leaving.spawn(async move {
            let mut token = String::new();
            for batch in share.chunks(size(50, 500)) {
                let people: Vec<&Person> = batch.iter().collect();
                let message = BatchDeactivateMembersRequest { departure: regardless(), ..Default::default() };
                let answer = crew.caller.batch(&crew.org, &people, message).await.expect("a batch");
                assert!(answer.results.iter().all(|result| result.deactivated), "each of them is out");
                token = answer.token;
            }
            token
        });
    }
    let done = {
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            let tokens = leaving.join_all().await;
            stop.store(true, Ordering::Relaxed);
            (tokens, moment.elapsed())
        })
    };
    let busy = go_about(&mut pen, &scene, &reader, usize::MAX, &stop).await;
    let (tokens, took) = done.await.expect("they left");
    let answered = Instant::now();
    for token in tokens {
        crew.enforced(token).await;
    }
    let enforced = answered.elapsed();
    let survivors: usize = instances.iter().map(|instance| instance.lets_in(&crew, &crew.people)).sum();

    let told = soon("the last departure", followed).await.expect("it reads");
    let query = "SELECT change_id FROM changes WHERE position > $1 AND organization_id = $2::text::uuid
        AND subject IN ('MEMBER', 'WORKSPACE_MEMBER') AND reason LIKE 'DEACTIVATED%'";
    let log = scene.database.client.query(query, &[&begun, &crew.org.id]).await.expect("the log");
    let log: BTreeSet<Uuid> = log.iter().map(|row| row.get(0)).collect();
    assert_eq!(log.len(), 2 * number, "each lost a membership and a workspace");
    let (mut lost, mut duplicated) = (0, 0);
    for instance in &instances {
        let told = soon("the handler", async {
            loop {
                let told = instance.told();
                let told: Vec<Uuid> =
                    told.iter().filter_map(|one| Some(one.change.as_ref()?.change_id)).collect();
                // Its handler is called a moment after the change is applied.
                if told.len() >= log.len() {
                    return told;
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let (missing, twice) = compare(&log, &told);
        (lost, duplicated) = (lost + missing, duplicated + twice);
    }
    let splits = split(&told);
    println!("t34_members = {number}");
    println!("t34_departures_per_s = {:.0}", number as f64 / took.as_secs_f64());
    println!("t34_enforced_after_the_last_answer_ms = {}", ms(enforced));
    println!("t34_let_in_after_enforced = {survivors}");
    println!("t34_lost = {lost}, duplicated {duplicated}, split {splits}");
    for (when, others) in [("before", &quiet), ("meanwhile", &busy)] {
        println!("t34_others_{when}_calls = {}", others.calls.len());
        println!("t34_others_{when}_call_p99_ms = {}", ms(p99(others.calls.clone())));
        println!("t34_others_{when}_lag_p99_ms = {}", ms(p99(others.lags.clone())));
        println!("t34_memory_{when}_mib = {}", others.memory >> 20);
    }
    assert_eq!((survivors, lost, duplicated, splits), (0, 0, 0, 0));
    assert!(busy.calls.iter().chain(&busy.lags).all(|took| *took < STALL), "others are held up");
    assert!(busy.memory < quiet.memory + MEMORY, "memory grows with the number of departures");

    // A cursor in the middle of a command is found.
    let (index, (changes, cursor)) =
        told.iter().enumerate().find(|(_, (changes, _))| changes.len() > 1).expect("some");
    let middle = (1..changes.len()).find(|at| changes[*at].0 == changes[at - 1].0).expect("a command of two");
    let halves = [(changes[..middle].to_vec(), true), (changes[middle..].to_vec(), *cursor)];
    let broken: Vec<Told> = [&told[..index], &halves, &told[index + 1..]].concat();
    assert_eq!(split(&broken), 1);
}

/// What T34 at full size found out: a batch of people of a large organization could not be waited for, because the receipts of
/// all others were compared with each of them.
#[tokio::test(flavor = "multi_thread")]
async fn t34_waiting_for_a_batch_reads_the_receipts_of_the_batch_alone() {
    let mut scene = Scene::start(&[]).await;
    let mut crew = Crew::make(scene.replica.client().channel().into(), 0).await;
    hire(&scene, &mut crew, 100).await;
    let others = "INSERT INTO receipts (organization_id, position, subscription_id, app, instance, outcome,
                                        ended_sessions, handed_over, detail)
        SELECT $1::text::uuid, 1000000 + number, gen_random_uuid(), 'chat', 'another', 'ENDED', 1, 0, ''
        FROM generate_series(1, 20000) number";
    scene.database.client.execute(others, &[&crew.org.id]).await.expect("receipts");
    scene.database.client.batch_execute("ANALYZE receipts").await.expect("counted");
    let _instance = Instance::start(scene.replica.client(), "chat-1", |_| {}).await;
    let people: Vec<&Person> = crew.people.iter().collect();
    let message = BatchDeactivateMembersRequest { departure: regardless(), ..Default::default() };
    let answer = crew.caller.batch(&crew.org, &people, message).await.expect("a batch");
    crew.enforced(answer.token).await;
    // Whoever leaves the database has said what they read there.
    scene.replica.signal(Signal::TERM);
    soon("the end of the service", scene.replica.end()).await;
    let alone =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'";
    until("everybody to leave", async || {
        scene.database.client.query_one(alone, &[]).await.expect("counted").get::<_, i64>(0) == 0
    })
    .await;
    let read =
        "SELECT idx_scan, seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'receipts'";
    let row = scene.database.client.query_one(read, &[]).await.expect("what was read");
    let (looked, read): (i64, i64) = (row.get(0), row.get(1));
    assert!(looked >= 100, "the statistics tell of each command of the batch: {looked}");
    assert!(read < 20_000, "the receipts of all others are read: {read}");
}

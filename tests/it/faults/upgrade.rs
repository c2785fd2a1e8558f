//! T33: replicas of the release before serve under load while the next one migrates. They are replaced one after the other,
//! one of them is taken back and brought up again. Nobody is refused for good, no instance is without its lease, nobody
//! misses a change: live replicas of this client crate at the old service too, and a follower of the old one at the new.
//!
//! The release before is a program that somebody has built: `make upgrade FROM=REF` does.

use std::{
    collections::BTreeSet,
    env,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rollcall_client::{Access, ClientOptions, connect_with};
use rustix::process::Signal;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};
use uuid::Uuid;

use super::{
    crew::{Crew, Instance},
    kills::{commands, compare, differences, inside},
    load::Load,
    scene::{Scene, soon},
};
use crate::{
    fixtures::Caller,
    process::binary::ended,
    processes::{Follower, positions},
    small::Small,
    support::{Channel, Database, Replica, create_database},
};

/// Those who let people go and come back, and those who rename.
const WRITERS: usize = 4;
/// So many renames are answered in each part of the run.
const EACH: i64 = 200;
/// Short enough that an upgrade which keeps instances from acknowledging is noticed.
const LEASE: Duration = Duration::from_secs(5);

/// Looks all the time whether an instance answers; counts when it does not.
async fn look(instances: Arc<Vec<Instance>>, crew: Arc<Crew>, stop: Arc<AtomicBool>, stale: Arc<AtomicU64>) {
    let mut looks = interval(Duration::from_millis(10));
    while !stop.load(Ordering::Relaxed) {
        looks.tick().await;
        for instance in &*instances {
            let silent = matches!(instance.check(&crew, &crew.org.owner), Access::Stale);
            stale.fetch_add(u64::from(silent), Ordering::Relaxed);
        }
    }
}

/// Lets a replica drain, and starts another program in its place.
async fn replace(replica: &mut Replica, program: Option<&PathBuf>) {
    replica.signal(Signal::TERM);
    let status = soon("the end of a replica", replica.end()).await;
    assert!(status.success(), "{status:?}: {}", replica.log());
    replica.runs(program.map(PathBuf::as_path));
    replica.restart().await;
}

/// What of this was told to `chat`, after the one position and up to the other.
async fn log_of(database: &Database, which: &str, begun: i64, head: i64) -> Vec<(i64, Uuid)> {
    let query = format!(
        "SELECT position, change_id FROM changes
         WHERE 'chat' = ANY(apps) AND position > $1 AND position <= $2 AND {which} ORDER BY position"
    );
    let rows = database.client.query(&query, &[&begun, &head]).await.expect("the log");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t33_the_release_before_serves_while_and_after_the_next_one_migrates() {
    let Some(previous) = env::var_os("ROLLCALL_PREVIOUS").map(PathBuf::from) else {
        println!(
            "t33: skipped, ROLLCALL_PREVIOUS names no program of the release before (make upgrade FROM=REF)"
        );
        return;
    };
    let database = create_database().await;
    let start = async || Replica::of(&previous, &database.url, &["--log", "warn"]).await;
    let mut replicas = [start().await, start().await];
    let channels: Vec<Channel> = replicas.iter().map(|replica| replica.client().channel().into()).collect();
    let endpoints = replicas.each_ref().map(Replica::endpoint);
    let small = Small::make(channels[0].clone(), "ada@example.com").await;
    let crew = Arc::new(Crew::make(channels[0].clone(), 12).await);
    crew.lease(LEASE).await;
    let mut instances = Vec::new();
    for number in 0..4 {
        let order = [&*endpoints[number % 2], &*endpoints[(number + 1) % 2]];
        let client = connect_with(&order, &ClientOptions::default()).expect("endpoints");
        instances.push(Instance::start(client, &format!("chat-{number}"), |_| {}).await);
    }
    let instances = Arc::new(instances);
    let mut old_client = Follower::of(&previous, &endpoints[0], "chat");
    let snapshot =
        old_client.until("snapshot_end", |_| true).await["position"].as_i64().expect("its position");
    let begun = instances.iter().map(|instance| instance.replica.view().position()).max().expect("some");
    let (stop, stale) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let looking =
        tokio::spawn(look(Arc::clone(&instances), Arc::clone(&crew), Arc::clone(&stop), Arc::clone(&stale)));
    let mut people = JoinSet::new();
    for chunk in crew.people.chunks(crew.people.len() / WRITERS) {
        let callers = channels.iter().map(|channel| Caller::new(channel.clone())).collect();
        people.spawn(commands(Arc::clone(&crew), callers, chunk.to_vec(), Arc::clone(&stop)));
    }
    let load = Load::start(&small, &channels, WRITERS).await;
    load.more(EACH).await;

    let migrating = Instant::now();
    let (code, said) = ended(&["migrate", "--database-url", &database.url], &[]).await;
    println!("t33_migrating_s = {:.2}", migrating.elapsed().as_secs_f64());
    println!("t33_migrations = {}", said.matches("migrated ").count());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("migrated "), "a release before with an older schema: {said}");
    load.more(EACH).await;
    for replica in &mut replicas {
        replace(replica, None).await;
        load.more(EACH).await;
    }
    // The way back, and up again.
    replace(&mut replicas[1], Some(&previous)).await;
    load.more(EACH).await;
    replace(&mut replicas[1], None).await;
    load.more(EACH).await;

    stop.store(true, Ordering::Relaxed);
    let departures: usize = soon("the last command", people.join_all()).await.into_iter().sum();
    looking.await.expect("it looked");
    load.end(&database, None).await.judge("t33");
    let head = "SELECT max(position) FROM changes";
    let head: i64 = database.client.query_one(head, &[]).await.expect("the head").get(0);
    let revoking = "subject IN ('MEMBER', 'WORKSPACE_MEMBER') AND reason LIKE 'DEACTIVATED%'";
    let log = log_of(&database, revoking, begun, head).await;
    let log: BTreeSet<Uuid> = log.into_iter().map(|(_, change)| change).collect();
    assert!(log.len() >= WRITERS, "people were let go");
    let inside = inside(&database, &crew).await;
    let (mut lost, mut duplicated, mut different) = (0, 0, 0);
    for instance in &*instances {
        soon("the end of the log", instance.replica.passed(head)).await;
        let told = soon("the handler", async {
            loop {
                let told: Vec<Uuid> = instance
                    .told()
                    .iter()
                    .filter_map(|one| one.change.as_ref())
                    .filter(|change| log.contains(&change.change_id))
                    .map(|change| change.change_id)
                    .collect();
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
        different += differences(instance, &crew, &inside);
        assert_eq!(instance.replica.status().borrow().resyncs, 0, "nobody needs a snapshot");
    }
    old_client.until_position(head).await;
    let old_client = old_client.terminate().await;
    let told: Vec<i64> =
        positions(&old_client.seen).into_iter().filter(|position| *position <= head).collect();
    let all: Vec<i64> =
        log_of(&database, "true", snapshot, head).await.into_iter().map(|(position, _)| position).collect();
    let gaps = all.iter().filter(|position| !told.contains(position)).count();
    let stale = stale.load(Ordering::Relaxed);
    println!("t33_departures_and_returns = {departures}");
    println!("t33_revocations_lost = {lost}");
    println!("t33_revocations_duplicated = {duplicated}");
    println!("t33_different_from_the_database = {different}");
    println!("t33_looks_without_a_lease = {stale}");
    println!("t33_changes_of_the_old_client = {}, missing {gaps}", told.len());
    assert_eq!((lost, duplicated, different, stale), (0, 0, 0, 0));
    assert_eq!(told, all, "the old client was told each change once and in order");
    let snapshots = old_client.seen.iter().filter(|line| line["kind"] == "snapshot_end").count();
    assert_eq!(snapshots, 1, "it resumed");
}

/// What T33 judges by is found where a migration takes something away that the release before uses.
#[tokio::test(flavor = "multi_thread")]
async fn t33_a_migration_that_takes_something_away_is_found() {
    let scene = Scene::start(&[]).await;
    let mut load = Load::start(&scene.small, &[scene.replica.client().channel().into()], 2).await;
    load.more(10).await;
    let away = "ALTER TABLE organizations RENAME COLUMN version TO revision";
    scene.database.client.batch_execute(away).await.expect("it is taken away");
    assert!(load.is_refused().await, "a refusal for good");
}

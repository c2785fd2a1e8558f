//! T1: replicas are killed again and again under instances that follow them and people who come and go. Nobody misses a
//! change or is told one twice, and in the end the instances let in exactly those whom the database has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rollcall_client::{ClientOptions, connect_with};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    crew::{Crew, Instance},
    ms, p99,
    scene::{Scene, soon},
    size,
};
use crate::{
    fixtures::{Caller, Person},
    support::{Database, Replica},
};

const AGAIN: Duration = Duration::from_millis(20);

/// Lets people go and come back at one replica or the other, until it is told to stop.
pub(super) async fn commands(
    crew: Arc<Crew>,
    callers: Vec<Caller>,
    people: Vec<Person>,
    stop: Arc<AtomicBool>,
) -> usize {
    let (mut done, mut attempt) = (0, 0);
    let (org, general) = (&crew.org, &crew.org.general);
    while !stop.load(Ordering::Relaxed) {
        let person = &people[done / 2 % people.len()];
        loop {
            let caller = &callers[attempt % callers.len()];
            // What was done already, without an answer, changes nothing when it is done again.
            let outcome = if done % 2 == 0 {
                caller.deactivate(org, person).await.map(drop)
            } else {
                match caller.reactivate(org, person).await {
                    Ok(_) => caller.reactivate_in(org, general, person).await.map(drop),
                    Err(status) => Err(status),
                }
            };
            if outcome.is_ok() {
                break;
            }
            attempt += 1;
            sleep(AGAIN).await;
        }
        done += 1;
    }
    done
}

/// Compares what the log has with what a handler was told: how many are missing, and how many came twice.
pub(super) fn compare(log: &BTreeSet<Uuid>, told: &[Uuid]) -> (usize, usize) {
    let once: BTreeSet<Uuid> = told.iter().copied().collect();
    (log.difference(&once).count(), told.len() - once.len())
}

/// The revocations that the log has after a position.
pub(super) async fn revoked(database: &Database, after: i64) -> BTreeSet<Uuid> {
    let query = "
        SELECT change_id FROM changes WHERE position > $1 AND 'chat' = ANY(apps)
            AND subject IN ('MEMBER', 'WORKSPACE_MEMBER') AND reason LIKE 'DEACTIVATED%'";
    let rows = database.client.query(query, &[&after]).await.expect("the log");
    rows.iter().map(|row| row.get(0)).collect()
}

/// What a handler was told of what stands after a position, once that is so many revocations.
pub(super) async fn told(instance: &Instance, after: i64, wanted: usize) -> Vec<Uuid> {
    let telling = async {
        loop {
            let told = instance.told();
            let changes = told.iter().filter_map(|one| one.change.as_ref());
            let told: Vec<Uuid> =
                changes.filter(|change| change.position > after).map(|change| change.change_id).collect();
            // Its handler is called a moment after the change is applied.
            if told.len() >= wanted {
                return told;
            }
            sleep(AGAIN).await;
        }
    };
    soon("the handler", telling).await
}

/// Who is in by the database.
pub(super) async fn inside(database: &Database, crew: &Crew) -> BTreeMap<Uuid, bool> {
    let query = "
        SELECT members.member_id, members.state = 'ACTIVE' AND coalesce(workspace_members.state = 'ACTIVE', false)
        FROM members LEFT JOIN workspace_members ON workspace_members.member_id = members.member_id
        WHERE members.organization_id = $1::text::uuid";
    let rows = database.client.query(query, &[&crew.org.id]).await.expect("the members");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// How many an instance lets in, or does not, otherwise than the database has it.
pub(super) fn differences(instance: &Instance, crew: &Crew, inside: &BTreeMap<Uuid, bool>) -> usize {
    let differs = |person: &&Person| {
        instance.check(crew, person).is_allowed() != inside[&super::crew::id(&person.member)]
    };
    crew.people.iter().filter(differs).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_killed_replicas_cost_the_instances_nothing_but_a_moment() {
    const WRITERS: usize = 4;
    let mut scene = Scene::start(&[]).await;
    let mut other = Replica::start(&scene.database.url, &["--log", "error"]).await;
    let endpoints = [scene.replica.endpoint(), other.endpoint()];
    let crew = Arc::new(Crew::make(scene.replica.client().channel().into(), size(12, 60)).await);
    let mut instances = Vec::new();
    for number in 0..size(4, 12) {
        // Half of them begin with the one, half with the other.
        let order = [&*endpoints[number % 2], &*endpoints[(number + 1) % 2]];
        let client = connect_with(&order, &ClientOptions::default()).expect("endpoints");
        instances.push(Instance::start(client, &format!("chat-{number}"), |_| {}).await);
    }
    let begun = instances.iter().map(|instance| instance.replica.view().position()).max().expect("some");
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for people in crew.people.chunks(crew.people.len() / WRITERS) {
        let callers = [&scene.replica, &other].map(|replica| Caller::new(replica.client().channel().into()));
        writers.spawn(commands(Arc::clone(&crew), callers.into(), people.to_vec(), Arc::clone(&stop)));
    }

    let head = "SELECT max(position) FROM changes";
    let mut gaps = Vec::new();
    let kills = size(3, 50);
    for kill in 0..kills {
        let killed = if kill % 2 == 0 { &mut scene.replica } else { &mut other };
        let before: i64 = scene.database.client.query_one(head, &[]).await.expect("the log").get(0);
        killed.kill().await;
        let moment = Instant::now();
        // Told something that was written after the kill, through the one that lives.
        let pen =
            Caller::new((if kill % 2 == 0 { &other } else { &scene.replica }).client().channel().into());
        pen.rename_organization(&crew.org.id, &format!("after kill {kill}")).await.expect("a write");
        let now: i64 = scene.database.client.query_one(head, &[]).await.expect("the log").get(0);
        assert!(now > before);
        for instance in &instances {
            soon("an instance to go on", instance.replica.passed(now)).await;
            gaps.push(moment.elapsed());
        }
        if kill % 2 == 0 { scene.replica.restart().await } else { other.restart().await }
    }
    stop.store(true, Ordering::Relaxed);
    let commands: usize = soon("the last answers", writers.join_all()).await.into_iter().sum();

    let last: i64 = scene.database.client.query_one(head, &[]).await.expect("the log").get(0);
    let log = revoked(&scene.database, begun).await;
    assert!(!log.is_empty());
    let inside = inside(&scene.database, &crew).await;
    let (mut lost, mut duplicated, mut different) = (0, 0, 0);
    for instance in &instances {
        soon("the end of the log", instance.replica.passed(last)).await;
        soon("a lease", instance.replica.ready()).await;
        let told = told(instance, begun, log.len()).await;
        let (missing, twice) = compare(&log, &told);
        lost += missing;
        duplicated += twice;
        different += differences(instance, &crew, &inside);
        assert_eq!(instance.replica.status().borrow().resyncs, 0, "nobody needs a snapshot");
    }
    println!("t1_kills = {kills}");
    println!("t1_commands = {commands}");
    println!("t1_revocations = {}", log.len());
    println!("t1_lost = {lost}");
    println!("t1_duplicated = {duplicated}");
    println!("t1_different_from_the_database = {different}");
    println!("t1_reconnect_p99_ms = {}", ms(p99(gaps.clone())));
    println!("t1_reconnect_worst_ms = {}", ms(gaps.into_iter().max().expect("some")));
    assert_eq!((lost, duplicated, different), (0, 0, 0));

    // What is found where something is wrong.
    let mut told: Vec<Uuid> = log.iter().skip(1).copied().collect();
    told.push(told[0]);
    assert_eq!(compare(&log, &told), (1, 1));
    let turned: BTreeMap<Uuid, bool> = inside.into_iter().map(|(member, inside)| (member, !inside)).collect();
    assert_eq!(differences(&instances[0], &crew, &turned), crew.people.len());
}

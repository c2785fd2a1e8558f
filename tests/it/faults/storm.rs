//! T35: people leave and return while every instance is asked about them and makes sessions for them all the time. When the
//! service says that somebody is out, no instance lets them in, and no session lives that was made before.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rollcall_client::{Access, Stamp};
use uuid::Uuid;

use super::{
    crew::{Crew, Instance, id},
    ms, p99,
    scene::{Scene, soon, until},
    size,
};
use crate::fixtures::Person;

/// Of each person so many sessions are looked at: they differ in nothing but when they were made.
const KEPT: usize = 64;

/// What an app asks on every request: whether somebody, by their number, may go on.
type Gate = Arc<dyn Fn(usize) -> Access + Send + Sync>;

/// Sessions of one person.
#[derive(Default)]
struct Sessions {
    stamps: Vec<Stamp>,
    made: u64,
    /// When the check began that made the last one.
    last: Option<Instant>,
}

/// Threads that ask and make sessions as fast as they can.
struct Storm {
    people: Arc<Vec<Mutex<Sessions>>>,
    /// How often each thread has asked about everybody.
    sweeps: Arc<Vec<AtomicUsize>>,
    checks: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Storm {
    fn begin(gates: &[Gate], people: usize) -> Self {
        let sessions: Arc<Vec<_>> = Arc::new((0..people).map(|_| Mutex::default()).collect());
        let sweeps: Arc<Vec<_>> = Arc::new(gates.iter().map(|_| AtomicUsize::new(0)).collect());
        let (checks, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let start = |(number, gate): (usize, &Gate)| {
            let (sessions, sweeps) = (Arc::clone(&sessions), Arc::clone(&sweeps));
            let (checks, stop, gate) = (Arc::clone(&checks), Arc::clone(&stop), Arc::clone(gate));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for person in 0..people {
                        let begun = Instant::now();
                        if let Access::Allowed(allowed) = gate(person) {
                            let mut sessions = lock(&sessions[person]);
                            sessions.made += 1;
                            sessions.last = sessions.last.max(Some(begun));
                            let at = usize::try_from(sessions.made).unwrap_or(0) % KEPT;
                            match sessions.stamps.get_mut(at) {
                                Some(place) => *place = allowed.stamp,
                                None => sessions.stamps.push(allowed.stamp),
                            }
                        }
                    }
                    checks.fetch_add(people as u64, Ordering::Relaxed);
                    sweeps[number].fetch_add(1, Ordering::SeqCst);
                    // Two cores, of which the service needs some.
                    thread::sleep(Duration::from_micros(200));
                }
            })
        };
        let threads = gates.iter().enumerate().map(start).collect();
        Self { people: sessions, sweeps, checks, stop, threads }
    }

    /// Waits until every thread has asked about everybody once more, from beginning to end.
    async fn sweep(&self) {
        let seen: Vec<usize> = self.sweeps.iter().map(|sweeps| sweeps.load(Ordering::SeqCst)).collect();
        until("a sweep", async || {
            self.sweeps.iter().zip(&seen).all(|(now, seen)| now.load(Ordering::SeqCst) >= seen + 2)
        })
        .await;
    }

    /// How often somebody was let in by a check that began after that moment.
    fn let_in_after(&self, person: usize, moment: Instant) -> usize {
        usize::from(lock(&self.people[person]).last.is_some_and(|last| last > moment))
    }

    /// Takes the sessions that were made of somebody.
    fn sessions(&self, person: usize) -> Vec<Stamp> {
        std::mem::take(&mut lock(&self.people[person]).stamps)
    }

    fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let made = self.people.iter().map(|sessions| lock(sessions).made).sum();
        (self.checks.load(Ordering::Relaxed), made)
    }
}

fn lock(sessions: &Mutex<Sessions>) -> std::sync::MutexGuard<'_, Sessions> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a storm has come to.
#[derive(Default)]
struct Found {
    /// Checks that let in who was out, and sessions of them that went on.
    survivors: usize,
    /// Sessions of somebody who left and came back that went on.
    revived: usize,
    enforced: Vec<Duration>,
}

/// What the people and the instances of a storm share.
struct Stage {
    crew: Crew,
    instances: Vec<Instance>,
    storm: Storm,
}

impl Stage {
    /// Somebody leaves, is looked for, and returns.
    async fn leave_and_return(&self, number: usize) -> Found {
        let Self { crew, instances, storm } = self;
        let person = &crew.people[number];
        let mut found = Found::default();
        let begun = Instant::now();
        let (chat, _) = crew.enforced(crew.out(person).await).await;
        let verdict = Instant::now();
        found.enforced.push(begun.elapsed());
        assert_eq!(chat.applied_instances, chat.instances, "all are well: {chat:?}");
        let alive = |sessions: &[Stamp]| {
            let goes_on = |instance: &Instance, stamp: &Stamp| {
                let access =
                    instance.replica.check_session(id(&person.account), id(&crew.org.general), stamp);
                matches!(access, rollcall_client::SessionAccess::Allowed(_))
            };
            let each =
                instances.iter().flat_map(|instance| sessions.iter().map(move |stamp| (instance, stamp)));
            each.filter(|(instance, stamp)| goes_on(instance, stamp)).count()
        };
        found.survivors += instances.iter().filter(|one| one.check(crew, person).is_allowed()).count();
        storm.sweep().await;
        found.survivors += storm.let_in_after(number, verdict);
        let sessions = storm.sessions(number);
        assert!(!sessions.is_empty(), "there was something to end");
        found.survivors += alive(&sessions);
        crew.back(person).await.expect("back again");
        for instance in instances {
            instance.until(crew, person, Access::is_allowed).await;
        }
        found.revived += alive(&sessions);
        found
    }
}

/// Cycles of leaving and returning, four at a time.
async fn storm(cycles: usize, gate: impl Fn(&Instance, &Crew) -> Gate) -> Found {
    const AT_ONCE: usize = 4;
    let scene = Scene::start(&[]).await;
    let crew = Crew::make(scene.replica.client().channel().into(), size(20, 100)).await;
    let mut instances = Vec::new();
    for number in 0..2 {
        let name = format!("chat-{number}");
        instances.push(Instance::start(scene.replica.client(), &name, |_| {}).await);
    }
    // Two threads on each.
    let gates: Vec<_> = instances.iter().chain(&instances).map(|instance| gate(instance, &crew)).collect();
    let storm = Storm::begin(&gates, crew.people.len());
    storm.sweep().await;
    let stage = Stage { crew, instances, storm };
    let turns = (0..AT_ONCE).map(async |turn| {
        let mut all = Vec::new();
        for cycle in 0..cycles / AT_ONCE {
            let people = stage.crew.people.len() / AT_ONCE;
            all.push(stage.leave_and_return(turn * people + cycle % people).await);
        }
        all
    });
    let turns = soon("the storm", join_all(turns)).await;
    let mut sum = Found::default();
    for found in turns.into_iter().flatten() {
        sum.survivors += found.survivors;
        sum.revived += found.revived;
        sum.enforced.extend(found.enforced);
    }
    let Stage { storm, instances, .. } = stage;
    let (checks, sessions) = storm.end();
    assert!(instances.iter().all(|instance| instance.replica.status().borrow().resyncs == 0));
    println!("t35_checks = {checks}");
    println!("t35_sessions = {sessions}");
    sum
}

fn asked(instance: &Instance, crew: &Crew) -> impl Fn(usize) -> Access + Send + Sync + 'static {
    let (replica, workspace) = (instance.replica.clone(), id(&crew.org.general));
    let account = |person: &Person| id(&person.account);
    let accounts: Vec<Uuid> = crew.people.iter().map(account).collect();
    move |person| replica.check(accounts[person], workspace)
}

#[tokio::test(flavor = "multi_thread")]
async fn t35_nobody_is_let_in_and_no_session_lives_after_a_departure_is_enforced() {
    let Found { survivors, revived, mut enforced } =
        storm(size(40, 2_000), |instance, crew| Arc::new(asked(instance, crew))).await;
    enforced.sort_unstable();
    println!("t35_departures = {}", enforced.len());
    println!("t35_survivors = {survivors}");
    println!("t35_revived = {revived}");
    println!("t35_enforced_p50_ms = {}", ms(enforced[enforced.len() / 2]));
    println!("t35_enforced_p99_ms = {}", ms(p99(enforced)));
    assert_eq!((survivors, revived), (0, 0));
}

/// An app that remembers an answer instead of asking again.
#[tokio::test(flavor = "multi_thread")]
async fn t35_an_app_that_keeps_answers_is_found_out() {
    let remembers = |instance: &Instance, crew: &Crew| {
        let (asked, kept) = (asked(instance, crew), Mutex::new(HashMap::new()));
        let gate: Gate = Arc::new(move |person| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            *kept.entry(person).or_insert_with(|| asked(person))
        });
        gate
    };
    let found = storm(4, remembers).await;
    assert!(found.survivors > 0, "a check that never fails proves nothing");
}

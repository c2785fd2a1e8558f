//! The primary is lost again and again under load, behind a URL that names both machines: its standby is promoted, and what
//! was the primary becomes a standby anew. Two replicas of the service stand behind a balancer. With a standby that commits
//! wait for, nothing is lost and nobody begins anew. With one that they do not wait for, writes may be lost; everyone is told,
//! nobody keeps what is gone, and nobody is let in whose leaving was lost. What judges that is tried on a standby that is
//! said to be waited for and is not, and on a service that does not compare.

use std::{
    env,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rollcall_client::{ClientOptions, connect_with, v1::LostRevocationDecision};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use self::{
    balancer::Balancer,
    followers::{Compared, Follower},
    pair::{Loss, Pair},
    writers::{Kept, Writers},
};
use super::{
    crew::{Crew, Instance, id},
    flaws::Flaw,
    kills::{commands, compare, differences, inside, revoked, told},
    lost_tail::{decide, waiting},
    scene::{BOUND, soon, until},
    size,
};
use crate::{
    fixtures::{Caller, Person},
    small::Small,
    support::{Channel, Replica},
};

mod balancer;
mod followers;
mod pair;
mod writers;

/// How often the primary is lost in an everyday run.
const EVERYDAY: usize = 2;
/// Who has not noticed by then does not: a sound service tells within a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the primary is lost.
fn losses() -> usize {
    match env::var("ROLLCALL_FAILOVER_KILLS") {
        Ok(kills) => kills.parse().expect("a number in ROLLCALL_FAILOVER_KILLS"),
        Err(_) => size(EVERYDAY, 20),
    }
}

/// What commits do about the standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standby {
    /// They wait for it.
    Synchronous,
    /// They do not, and every second time it lacks the end of the log.
    Asynchronous,
    /// They are said to wait for it, and do not.
    Claimed,
}

impl Standby {
    /// Whether it lacks the end of the log when the primary is lost for this time.
    fn is_behind(self, loss: usize) -> bool {
        match self {
            Self::Synchronous => false,
            Self::Asynchronous => loss.is_multiple_of(2),
            Self::Claimed => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Synchronous => "failover_sync",
            Self::Asynchronous => "failover_async",
            Self::Claimed => "failover_claimed",
        }
    }
}

/// Asks the instances all the time about those whose leaving they have applied, and counts how often one was let in.
struct Watchman {
    leavers: Arc<Mutex<Vec<Person>>>,
    let_in: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Watchman {
    fn start(instances: &[Instance], workspace: Uuid) -> Self {
        let leavers = Arc::new(Mutex::new(Vec::<Person>::new()));
        let (let_in, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let replicas: Vec<_> = instances.iter().map(|instance| instance.replica.clone()).collect();
        let (asked, counted, stopped) = (Arc::clone(&leavers), Arc::clone(&let_in), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for person in asked.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    let lets_in = |replica: &&rollcall_client::Replica| {
                        replica.check(id(&person.account), workspace).is_allowed()
                    };
                    counted.fetch_add(replicas.iter().filter(lets_in).count(), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { leavers, let_in, stop, thread }
    }

    fn knows(&self) -> Vec<Person> {
        self.leavers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic");
        self.let_in.load(Ordering::Relaxed)
    }
}

/// What came of it.
#[derive(Default)]
struct Found {
    losses: usize,
    commands: usize,
    retold: usize,
    /// Acknowledged commands that are not there.
    lost: usize,
    duplicated: i64,
    /// Promotions that lost something that was acknowledged, and those of them of which somebody was not told.
    lost_tails: usize,
    unnoticed: usize,
    /// Of followers, and of instances: what they keep and the database does not have, at the worst moment.
    phantoms: usize,
    /// What the log has and a follower was not told.
    missed: usize,
    /// How often an instance let in somebody whose leaving it had applied and the log lost.
    readmitted: usize,
    /// How often somebody began anew.
    anew: usize,
    first: Vec<Duration>,
    promoted: Vec<Duration>,
    noticed: Vec<Duration>,
    silence: Duration,
}

impl Found {
    fn print(&self, name: &str) {
        let spread = |values: &[Duration]| {
            let mut values: Vec<f64> = values.iter().map(Duration::as_secs_f64).collect();
            values.sort_by(f64::total_cmp);
            match values.len() {
                0 => "none".to_owned(),
                count => format!("p50 {:.2}, max {:.2}", values[count / 2], values[count - 1]),
            }
        };
        println!("{name}_kills = {}", self.losses);
        println!("{name}_commands = {}", self.commands);
        println!("{name}_lost = {}", self.lost);
        println!("{name}_duplicated = {}", self.duplicated);
        println!("{name}_lost_tails = {}", self.lost_tails);
        println!("{name}_lost_tails_unnoticed = {}", self.unnoticed);
        println!("{name}_phantoms = {}", self.phantoms);
        println!("{name}_missed = {}", self.missed);
        println!("{name}_told_twice = {}", self.retold);
        println!("{name}_readmitted = {}", self.readmitted);
        println!("{name}_began_anew = {}", self.anew);
        println!("{name}_first_success_s = {}", spread(&self.first));
        println!("{name}_promotion_s = {}", spread(&self.promoted));
        println!("{name}_noticed_s = {}", spread(&self.noticed));
        println!("{name}_longest_silence_s = {:.2}", self.silence.as_secs_f64());
    }
}

/// Somebody who leaves and somebody who comes, of which the standby has not heard.
struct Tail {
    leaver: Person,
    phantom: Person,
    forks: Vec<usize>,
    resyncs: Vec<u64>,
}

struct Scene {
    standby: Standby,
    patience: Duration,
    pair: Pair,
    _replicas: [Replica; 2],
    _balancer: Balancer,
    channel: Channel,
    crew: Arc<Crew>,
    writers: Writers,
    followers: Vec<Follower>,
    instances: Vec<Instance>,
    watchman: Watchman,
    /// People of whom the log has lost that they ever came.
    phantoms: Vec<Person>,
    found: Found,
}

impl Scene {
    async fn start(standby: Standby, flaw: Flaw) -> Self {
        let mut pair = Pair::start(flaw).await;
        let url = pair.url();
        // The first of them migrates. Nobody lives on the machine that the URL names first.
        let replicas = [
            Replica::start(&url, &["--log", "error"]).await,
            Replica::start(&url, &["--log", "error"]).await,
        ];
        let balancer = Balancer::before(&replicas).await;
        let client = |endpoints: &[String]| {
            let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
            connect_with(&endpoints, &ClientOptions::default()).expect("endpoints")
        };
        let channels: Vec<Channel> = (0..4)
            .map(|number| balancer.endpoints[number % balancer.endpoints.len()].clone())
            .map(|endpoint| client(&[endpoint]).channel().into())
            .collect();
        let channel = channels[0].clone();
        let small = Small::make(channel.clone(), "ada@example.com").await;
        let crew = Arc::new(Crew::make(channel.clone(), 4).await);
        pair.join().await;
        if standby == Standby::Synchronous {
            pair.wait_for_standby().await;
        }
        let followers = channels[..2].iter().map(|channel| Follower::start(channel.clone())).collect();
        // Two behind the balancer; one finds the replicas itself.
        let direct: Vec<String> = replicas.iter().map(Replica::endpoint).collect();
        let mut instances = Vec::new();
        for (number, endpoints) in [&balancer.endpoints, &balancer.endpoints, &direct].into_iter().enumerate()
        {
            instances.push(Instance::start(client(endpoints), &format!("chat-{number}"), |_| {}).await);
        }
        let watchman = Watchman::start(&instances, id(&crew.org.general));
        let writers = Writers::start(&small, &channels, 8).await;
        Self {
            standby,
            patience: if flaw == Flaw::None { BOUND } else { PATIENCE },
            pair,
            _replicas: replicas,
            _balancer: balancer,
            channel,
            crew,
            writers,
            followers,
            instances,
            watchman,
            phantoms: Vec::new(),
            found: Found::default(),
        }
    }

    /// The newest position of the log.
    async fn head(&self) -> i64 {
        let database = self.pair.database().await.client;
        database.query_one("SELECT max(position) FROM changes", &[]).await.expect("the log").get(0)
    }

    /// The standby hears nothing any more; everyone else hears of somebody who leaves and somebody who comes.
    async fn leave_behind(&mut self) -> Tail {
        let leaver = self.crew.hire().await;
        for instance in &self.instances {
            instance.until(&self.crew, &leaver, |access| access.is_allowed()).await;
        }
        self.pair.level().await;
        self.pair.leave_behind();
        let forks = self.followers.iter().map(Follower::forks).collect();
        let resyncs =
            self.instances.iter().map(|instance| instance.replica.status().borrow().resyncs).collect();
        self.crew.out(&leaver).await;
        let phantom = self.crew.hire().await;
        for instance in &self.instances {
            instance.until(&self.crew, &phantom, |access| access.is_allowed()).await;
            assert!(!instance.check(&self.crew, &leaver).is_allowed());
        }
        self.watchman.leavers.lock().unwrap_or_else(PoisonError::into_inner).push(leaver.clone());
        self.writers.more(20).await;
        let head = self.head().await;
        until("the followers", async || self.followers.iter().all(|one| one.has_passed(head))).await;
        Tail { leaver, phantom, forks, resyncs }
    }

    /// Loses the primary once, waits until everything is as before, and judges.
    async fn lose(&mut self, number: usize) {
        self.writers.more(50).await;
        let tail = match self.standby.is_behind(number) {
            true => Some(self.leave_behind().await),
            false => None,
        };
        // Two of four times the machine says nothing any more; each of them with a standby that is behind and with
        // one that is not.
        let loss = if matches!(number % 4, 1 | 2) { Loss::SaysNothing } else { Loss::HangsUp };
        let (killed, promoted) = self.pair.fail_over(loss).await;
        self.found.losses += 1;
        self.found.promoted.push(promoted - killed);
        self.found.first.push(self.writers.first_after(killed).await);
        self.is_noticed(tail.as_ref(), promoted).await;
        self.phantoms.extend(tail.map(|tail| tail.phantom));
        self.settle().await;
        self.pair.join().await;
        if self.standby == Standby::Synchronous {
            self.pair.wait_for_standby().await;
        }
    }

    /// Whether everyone has been told of a tail that was lost.
    async fn is_noticed(&mut self, tail: Option<&Tail>, promoted: Instant) {
        let missing = self.writers.missing(&self.pair.database().await).await;
        self.found.lost_tails += usize::from(missing > self.found.lost);
        self.found.lost = missing;
        let Some(Tail { leaver, forks, resyncs, .. }) = tail else { return };
        let known = async || {
            let told = self.followers.iter().zip(forks).all(|(one, before)| one.forks() > *before);
            let anew = self.instances.iter().zip(resyncs).all(|(one, before)| {
                let status = one.replica.status();
                let status = status.borrow();
                status.resyncs > *before && status.lost_revocations > 0 && status.is_answering()
            });
            told && anew && waiting(&self.channel).await.iter().any(|lost| lost.member_id == leaver.member)
        };
        match timeout(self.patience, until("everyone to be told", known)).await {
            Ok(()) => self.found.noticed.push(promoted.elapsed()),
            Err(_) => self.found.unnoticed += 1,
        }
    }

    /// Waits until followers and instances hold what the database has, and counts what they do not.
    async fn settle(&mut self) {
        let head = self.head().await;
        let database = self.pair.database().await;
        let deadline = Instant::now() + self.patience;
        loop {
            let mut compared = Compared::default();
            for follower in &self.followers {
                let one = follower.compare(&database).await;
                compared.phantoms += one.phantoms;
                compared.missed += one.missed;
            }
            let inside = inside(&database, &self.crew).await;
            let is_in = |person: &&Person| inside.get(&id(&person.member)) == Some(&true);
            let gone: Vec<Person> = self.phantoms.iter().filter(|person| !is_in(person)).cloned().collect();
            let kept: usize = self.instances.iter().map(|instance| instance.lets_in(&self.crew, &gone)).sum();
            let passed = self.followers.iter().all(|follower| follower.has_passed(head));
            let well = passed && kept == 0 && compared == Compared::default();
            if well || Instant::now() > deadline {
                self.found.phantoms = self.found.phantoms.max(compared.phantoms + kept);
                self.found.missed = self.found.missed.max(compared.missed);
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it, and counts.
    async fn end(mut self) -> Found {
        let database = self.pair.database().await;
        let Kept { commands, lost, duplicated } = self.writers.end(&database).await;
        self.settle().await;
        let Self { mut found, instances, followers, crew, watchman, channel, standby, .. } = self;
        found.silence = followers.iter().map(Follower::longest_silence).max().unwrap_or_default();
        let resyncs = instances.iter().map(|instance| instance.replica.status().borrow().resyncs);
        found.anew = followers.iter().map(Follower::forks).sum::<usize>()
            + resyncs.map(|times| usize::try_from(times).unwrap_or(usize::MAX)).sum::<usize>();
        let leavers = watchman.knows();
        found.readmitted = watchman.end();
        (found.commands, found.lost, found.duplicated) = (commands, lost, duplicated);
        if standby == Standby::Asynchronous && found.unnoticed == 0 {
            decided(&channel, &crew, &instances, &leavers).await;
        }
        found
    }
}

/// An operator decides about each lost revocation: every second one is given again.
async fn decided(channel: &Channel, crew: &Crew, instances: &[Instance], leavers: &[Person]) {
    let lists = |waiting: &[rollcall_client::v1::LostRevocation], person: &Person| {
        waiting.iter().any(|lost| lost.member_id == person.member)
    };
    // What was reported before another failover may be lost with it: it is reported again.
    until("the reports", async || {
        let waiting = waiting(channel).await;
        leavers.iter().all(|person| lists(&waiting, person))
    })
    .await;
    for (number, leaver) in leavers.iter().enumerate() {
        if number % 2 == 0 {
            crew.out(leaver).await;
            decide(channel, leaver, LostRevocationDecision::AppliedAgain).await;
        } else {
            decide(channel, leaver, LostRevocationDecision::Dropped).await;
        }
    }
    // Instances ask every 30 s.
    if losses() <= EVERYDAY {
        return;
    }
    for instance in instances {
        for (number, leaver) in leavers.iter().enumerate() {
            match number % 2 {
                0 => assert!(!instance.check(crew, leaver).is_allowed()),
                _ => {
                    instance.until(crew, leaver, |access| access.is_allowed()).await;
                }
            }
        }
    }
}

/// People who come and go while the primary is lost, and what the handlers of the instances must have been told of it.
struct Traffic {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
    begun: i64,
}

impl Traffic {
    async fn start(scene: &Scene) -> Self {
        let begun = scene.head().await;
        for instance in &scene.instances {
            soon("an instance", instance.replica.passed(begun)).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (callers, people) = (vec![Caller::new(scene.channel.clone())], scene.crew.people.clone());
        let task = tokio::spawn(commands(Arc::clone(&scene.crew), callers, people, Arc::clone(&stop)));
        Self { stop, task, begun }
    }

    /// Ends it; counts revocations that an instance was not told, and those that it was told twice.
    async fn end(self, scene: &Scene) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let done = soon("the last of them", self.task).await.expect("no panic");
        let database = scene.pair.database().await;
        let (head, log) = (scene.head().await, revoked(&database, self.begun).await);
        let inside = inside(&database, &scene.crew).await;
        println!("failover_sync_comings_and_goings = {done}");
        println!("failover_sync_revocations = {}", log.len());
        let (mut missing, mut twice) = (0, 0);
        for instance in &scene.instances {
            soon("the end of the log", instance.replica.passed(head)).await;
            soon("a lease", instance.replica.ready()).await;
            let (not_told, told_twice) = compare(&log, &told(instance, self.begun, log.len()).await);
            (missing, twice) = (missing + not_told, twice + told_twice);
            assert_eq!(differences(instance, &scene.crew, &inside), 0, "it lets in whom the database has");
        }
        (missing, twice)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_lost_again_and_again_loses_nothing_with_a_synchronous_standby() {
    let mut scene = Scene::start(Standby::Synchronous, Flaw::None).await;
    let traffic = Traffic::start(&scene).await;
    for number in 0..losses() {
        scene.lose(number).await;
    }
    let (missing, twice) = traffic.end(&scene).await;
    let mut found = scene.end().await;
    found.missed += missing;
    found.retold += twice;
    found.print(Standby::Synchronous.name());
    let Found { lost, duplicated, phantoms, missed, retold, anew, .. } = found;
    assert_eq!((lost, duplicated), (0, 0), "each command has one effect");
    assert_eq!((phantoms, missed, retold), (0, 0, 0), "everyone was told everything once");
    assert_eq!(anew, 0, "where nothing is lost nobody begins anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_lost_again_and_again_leaves_no_phantom_with_an_asynchronous_standby() {
    let mut scene = Scene::start(Standby::Asynchronous, Flaw::None).await;
    for number in 0..losses() {
        scene.lose(number).await;
    }
    let found = scene.end().await;
    found.print(Standby::Asynchronous.name());
    assert!(found.lost_tails > 0 && found.lost > 0, "it was behind, and something was lost");
    assert_eq!(found.unnoticed, 0, "everyone was told of each lost tail");
    assert_eq!((found.duplicated, found.phantoms, found.missed), (0, 0, 0));
    assert_eq!(found.readmitted, 0, "nobody is let in again before somebody has decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_only_said_to_be_synchronous_is_found_to_lose() {
    let mut scene = Scene::start(Standby::Claimed, Flaw::None).await;
    scene.lose(0).await;
    let found = scene.end().await;
    println!("failover_claimed_lost = {} of {}", found.lost, found.commands);
    // What was acknowledged while it heard nothing.
    assert!(found.lost >= 20, "{}", found.lost);
    assert!(found.anew > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_compare_is_found_to_leave_phantoms() {
    let mut scene = Scene::start(Standby::Asynchronous, Flaw::NobodyCompares).await;
    scene.lose(0).await;
    let found = scene.end().await;
    println!("failover_without_comparing_phantoms = {}", found.phantoms);
    println!("failover_without_comparing_missed = {}", found.missed);
    assert_eq!(found.unnoticed, 1);
    assert!(found.phantoms > 0 && found.missed > 0);
}

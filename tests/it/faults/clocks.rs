//! T18: clocks are set forward and back by ten minutes: that of an instance, of a service, of the database. Order and leases do
//! not notice: positions are dense, nobody is let in after ENFORCED, and nobody waits longer for it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rollcall_client::{Access, Clock, SystemClock, connect};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    crew::{Crew, Instance},
    ms,
    network::{Way, Wire},
    postgres::Postgres,
    scene::{Pen, Reader, Scene, soon},
};
use crate::support::{Channel, Database, Replica, create_database};

const TTL: Duration = Duration::from_secs(2);
const JUMP: i64 = 600;
/// What a busy machine may need besides.
const SLACK: Duration = Duration::from_secs(3);

/// The clocks of this machine, of which one can be set.
#[derive(Debug, Default)]
struct Settable {
    ahead: AtomicI64,
    /// Whether the time since the boot is told by the wall clock, which is what must not be.
    wall_alone: bool,
}

impl Settable {
    fn set(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::SeqCst);
    }
}

impl Clock for Settable {
    fn boot(&self) -> Duration {
        if self.wall_alone { self.wall() } else { SystemClock.boot() }
    }

    fn wall(&self) -> Duration {
        let ahead = self.ahead.load(Ordering::SeqCst);
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { SystemClock.wall() - by } else { SystemClock.wall() + by }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t18_an_instance_whose_clock_is_set_lets_nobody_in_for_longer() {
    let scene = Scene::start(&[]).await;
    let crew = Crew::make(scene.replica.client().channel().into(), 2).await;
    crew.lease(TTL).await;
    let [leaver, stays] = &crew.people[..] else { panic!("two people") };
    let wire = Wire::before(&scene.replica.endpoint()).await;
    let clock = Arc::new(Settable::default());
    // What this test finds: one that tells time by the wall clock alone.
    let wall = Arc::new(Settable { wall_alone: true, ..Settable::default() });
    let with = |clock: &Arc<Settable>, name: &str| {
        let clock = Arc::clone(clock);
        Instance::begin(connect(&wire.endpoint()).expect("an endpoint"), name, |options| {
            options.clock = clock
        })
    };
    let (instance, deceived) = (with(&clock, "chat-1"), with(&wall, "chat-2"));
    for instance in [&instance, &deceived] {
        soon("an instance", instance.replica.ready()).await;
    }

    // Forward: nobody knows whether the machine slept. The next lease is granted as ever.
    clock.set(JUMP);
    assert_eq!(instance.check(&crew, stays), Access::Stale);
    let set = Instant::now();
    let again = instance.until(&crew, stays, Access::is_allowed).await;
    println!("t18_answers_again_after_s = {:.2}", again.duration_since(set).as_secs_f64());
    assert!(again.duration_since(set) < TTL + SLACK);
    // Back: it goes on, and its lease ends as if nothing had been set.
    for clock in [&clock, &wall] {
        clock.set(-JUMP);
    }
    assert!(instance.check(&crew, stays).is_allowed());
    wire.let_pass(Way::Silent);
    crew.enforced(crew.out(leaver).await).await;
    let (wrong, found) = (instance.lets_in(&crew, &crew.people), deceived.lets_in(&crew, &crew.people));
    println!("t18_let_in_after_enforced = {wrong}");
    assert_eq!((wrong, found), (0, 2));
}

/// Programs that are told another time. Where libfaketime is not installed the test is skipped and says so.
struct Faked {
    library: PathBuf,
    directory: TempDir,
}

impl Faked {
    fn find() -> Option<Self> {
        // The places are those that scripts/faketime.sh searches.
        let places = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|place| place.path());
        let mut libraries =
            places.chain([PathBuf::from("/usr/lib64")]).map(|place| place.join("faketime/libfaketime.so.1"));
        let library = libraries.find(|path| path.exists());
        let Some(library) = library else {
            println!("skipped: libfaketime is not installed");
            return None;
        };
        let directory = TempDir::new().expect("a directory");
        // Postgres runs as another user.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let faked = Self { library, directory };
        faked.set("service", 0);
        faked.set("database", 0);
        Some(faked)
    }

    fn file(&self, whose: &str) -> PathBuf {
        self.directory.path().join(whose)
    }

    /// Sets somebody's clock.
    fn set(&self, whose: &str, ahead: i64) {
        let (new, file) = (self.file("new"), self.file(whose));
        fs::write(&new, format!("{ahead:+}\n")).expect("a time");
        fs::rename(new, file).expect("a time");
    }

    /// The environment of a program with such a clock. What tells how much time has passed is not touched.
    fn variables(&self, whose: &str) -> Vec<(&'static str, String)> {
        [self.wall_alone(whose), vec![("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned())]].concat()
    }

    /// The same for a program that has no other clock: when it is set, so much time seems to have passed.
    fn wall_alone(&self, whose: &str) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file(whose).display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// Takes away what libfaketime made for a process under a name, which would stay when that is killed. The process
    /// has it open already.
    fn tidy(pid: u32) {
        for name in ["faketime_shm", "sem.faketime_sem"] {
            // Other versions make nothing.
            let _ = fs::remove_file(format!("/dev/shm/{name}_{pid}"));
        }
    }

    /// Programs of Postgres, of which the server has such a clock.
    async fn programs(&self) -> PathBuf {
        let directory = self.file("bin");
        fs::create_dir(&directory).expect("a directory");
        let server = Postgres::programs().await;
        for program in fs::read_dir(&server).expect("the programs of Postgres").flatten() {
            std::os::unix::fs::symlink(program.path(), directory.join(program.file_name())).expect("a link");
        }
        let script = directory.join("postgres");
        fs::remove_file(&script).expect("the link");
        let variables = self.variables("database").into_iter().map(|(name, value)| format!("{name}={value}"));
        let variables = variables.collect::<Vec<_>>().join(" ");
        let server = server.join("postgres");
        let lines = format!("#!/bin/sh\nexec /usr/bin/env {variables} {} \"$@\"\n", server.display());
        fs::write(&script, lines).expect("a script");
        for path in [&directory, &script] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        directory
    }
}

/// By how many minutes the database is ahead of this process, and by how many the service was at the last change.
async fn minutes_ahead(database: &Database) -> (i64, i64) {
    let query = "
        SELECT floor(extract(epoch FROM clock_timestamp()) / 60)::bigint,
            (SELECT ('x' || lpad(substr(replace(change_id::text, '-', ''), 1, 12), 16, '0'))::bit(64)::bigint / 60000
             FROM changes WHERE substr(change_id::text, 15, 1) = '7' ORDER BY position DESC LIMIT 1)";
    let row = database.client.query_one(query, &[]).await.expect("the times");
    let now = i64::try_from(SystemClock.wall().as_secs()).expect("a time") / 60;
    (row.get::<_, i64>(0) - now, row.get::<_, i64>(1) - now)
}

/// How often the log has a gap between positions, or a thing whose versions do not count up by one.
async fn disorder(database: &Database) -> i64 {
    let query = "
        SELECT count(*) FROM (
            SELECT position - lag(position, 1, 0::bigint) OVER (ORDER BY position) AS step,
                version - lag(version, 1, 0::bigint) OVER (
                    PARTITION BY subject, organization_id, workspace_id, member_id ORDER BY position) AS grown
            FROM changes) steps
        WHERE step <> 1 OR grown <> 1";
    database.client.query_one(query, &[]).await.expect("a count").get(0)
}

/// Breaks the log in each of these ways, one after the other: each adds to what is found.
async fn finds_disorder(database: &Database) {
    let breaks = [
        "UPDATE changes SET version = version + 1 WHERE position = (SELECT max(position) / 2 FROM changes)",
        "DELETE FROM changes WHERE position = (SELECT max(position) / 3 FROM changes)",
    ];
    let mut found = disorder(database).await;
    for statement in breaks {
        assert_eq!(database.client.execute(statement, &[]).await.expect("it is broken"), 1);
        let before = std::mem::replace(&mut found, disorder(database).await);
        assert!(found > before, "{statement}: {found} after {before}");
    }
}

fn is_about(minutes: i64, ahead: i64) -> bool {
    (minutes - ahead / 60).abs() <= 1
}

/// The settings that are tried, one after the other: of the service and of the database.
const SETTINGS: [(i64, i64); 7] =
    [(JUMP, 0), (-JUMP, 0), (0, JUMP), (0, -JUMP), (JUMP, -JUMP), (-JUMP, JUMP), (0, 0)];

#[tokio::test(flavor = "multi_thread")]
async fn t18_clocks_of_service_and_database_that_are_set_harm_neither_order_nor_leases() {
    let Some(faked) = Faked::find() else { return };
    let postgres = Postgres::start_with(Some(faked.programs().await)).await;
    let set = Replica::start_with(&postgres.url(), &["--log", "error"], &faked.variables("service")).await;
    let right = Replica::start(&postgres.url(), &["--log", "error"]).await;
    Faked::tidy(postgres.pid());
    Faked::tidy(set.pid());
    let (through, channel): (Channel, Channel) =
        (set.client().channel().into(), right.client().channel().into());
    let crew = Crew::make(through.clone(), SETTINGS.len() + 1).await;
    crew.lease(TTL).await;
    let (bystander, leavers) = crew.people.split_last().expect("people");
    let instances = [
        Instance::start(set.client(), "chat-1", |_| {}).await,
        Instance::start(right.client(), "chat-2", |_| {}).await,
    ];
    let reader = Reader::open(channel.clone(), &crew.org.id).await;
    let mut pens = [Pen::new(through, &crew.org.id), Pen::new(channel, &crew.org.id)];
    let (mut stale, mut slowest, mut early, mut versions) = (0, Duration::ZERO, 0, Vec::new());
    let database = postgres.database().await;
    for ((service_ahead, database_ahead), leaver) in SETTINGS.into_iter().zip(leavers) {
        let wire = Wire::before(&set.endpoint()).await;
        let name = format!("cut-off-{}", leaver.member);
        let cut_off = Instance::start(connect(&wire.endpoint()).expect("an endpoint"), &name, |_| {}).await;
        wire.let_pass(Way::Silent);
        faked.set("service", service_ahead);
        faked.set("database", database_ahead);
        for pen in &mut pens {
            versions.push(soon("a write", pen.rename()).await.expect("a new name"));
        }
        let told = crew.out(leaver).await;
        let ahead = minutes_ahead(&database).await;
        // The service's ids never go back, so they show its clock only where that goes ahead.
        assert!(is_about(ahead.0, database_ahead), "{ahead:?}");
        assert!(service_ahead < JUMP || is_about(ahead.1, service_ahead), "{ahead:?}");
        let begun = Instant::now();
        let (chat, at) = crew.enforced(told).await;
        slowest = slowest.max(at.duration_since(begun));
        // The one that is cut off lapses, and not before its lease has ended.
        early += usize::from(cut_off.check(&crew, leaver).is_allowed());
        assert!(chat.applied_instances == 2 && chat.lapsed_instances > 0, "{chat:?}");
        for instance in &instances {
            early += usize::from(instance.check(&crew, leaver).is_allowed());
            stale += usize::from(!instance.check(&crew, bystander).is_allowed());
        }
    }
    reader.until(versions[versions.len() - 1]).await;
    for version in versions {
        reader.told(version);
    }
    let disorder = disorder(&database).await;
    println!("t18_settings = {}", SETTINGS.len());
    println!("t18_order_violations = {disorder}");
    println!("t18_let_in_after_enforced = {early}");
    println!("t18_stale_answers = {stale}");
    println!("t18_slowest_enforced_ms = {}", ms(slowest));
    assert_eq!((disorder, early, stale), (0, 0, 0));
    assert!(slowest < TTL + SLACK, "{slowest:?}");
    finds_disorder(&database).await;
}

/// What the test above finds: a service for which ten minutes have passed when its clock is set forward by ten minutes.
/// It gives up everyone whom it takes for silent, and says ENFORCED while an instance that was cut off lets people in.
#[tokio::test(flavor = "multi_thread")]
async fn t18_a_service_that_tells_time_by_the_wall_clock_is_found_out() {
    let Some(faked) = Faked::find() else { return };
    let database = create_database().await;
    let service = Replica::start_with(&database.url, &["--log", "error"], &faked.wall_alone("service")).await;
    Faked::tidy(service.pid());
    let crew = Crew::make(service.client().channel().into(), 1).await;
    // Much longer than what follows takes.
    crew.lease(4 * SLACK).await;
    let leaver = &crew.people[0];
    let wire = Wire::before(&service.endpoint()).await;
    let cut_off = Instance::start(connect(&wire.endpoint()).expect("an endpoint"), "cut-off", |_| {}).await;
    wire.let_pass(Way::Silent);
    let told = crew.out(leaver).await;
    faked.set("service", JUMP);
    let (chat, _) = crew.enforced(told).await;
    let early = usize::from(cut_off.check(&crew, leaver).is_allowed());
    println!("t18_let_in_after_enforced_by_the_wall_clock = {early}");
    assert_eq!((chat.lapsed_instances, early), (1, 1), "{chat:?}");
}

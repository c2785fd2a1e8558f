//! One run: replicas, writers, watchers and the injector, and what was recorded of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rollcall_client::{WatchOptions, v1::*};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, interval, sleep, timeout},
};
use tokio_postgres::Client as Postgres;

use super::{
    cursors::try_out,
    history::{History, Recorder, Row, Thing},
    random::Random,
    watchers::{Outside, by_client, by_hand},
    writers::{Desk, Place, Writer},
};
use crate::support::{Database, Replica, create_database};

/// What a run is to be.
pub(super) struct Plan {
    pub(super) seed: u64,
    /// The run goes on until the log has grown by so many.
    pub(super) changes: i64,
    /// How many processes are killed at least.
    pub(super) kills: usize,
    /// How many at most: on a slow machine an everyday run would be nothing but restarts.
    pub(super) most_kills: usize,
    /// Between two kills, milliseconds: from, to.
    pub(super) every_ms: (usize, usize),
    /// What is put into the database before the writers begin.
    pub(super) mutation: Option<&'static str>,
}

/// A run that has ended.
pub(super) struct Run {
    pub(super) history: History,
    pub(super) recorder: Recorder,
    pub(super) kills: usize,
    pub(super) retries: u64,
    /// How long the writers wrote.
    pub(super) wrote: Duration,
}

const REPLICAS: usize = 3;
pub(super) const WRITERS: usize = 64;
/// By app, in each organization.
const WORKSPACES: [(&str, usize); 3] = [("chat", 5), ("boards", 3), ("track", 2)];
const ORGANIZATIONS: usize = 4;
const SHARED: usize = 4;
/// A run that has not made its changes by then never will.
const BOUND: Duration = Duration::from_secs(3_000);

/// A random delay between the last statement of a command and its commit, in about every second command: up to 50 ms.
const DELAY: &str = "
    CREATE FUNCTION delay_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF random() < 0.3 THEN PERFORM pg_sleep(random() * 0.05); END IF; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER delay_commit AFTER INSERT ON pending_changes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION delay_commit();";

pub(super) async fn run(plan: &Plan) -> Run {
    let random = Random::new(plan.seed);
    let recorder = Recorder::new(plan.seed);
    println!("seed = {} (recorded in {})", plan.seed, recorder.directory().display());
    let database = create_database().await;
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(Replica::start(&database.url, &["--log", "warn"]).await);
    }
    let endpoints: Vec<String> = replicas.iter().map(Replica::endpoint).collect();
    let places = settle(&replicas[0]).await;
    database.client.batch_execute(DELAY).await.expect("the delay");
    if let Some(mutation) = plan.mutation {
        database.client.batch_execute(mutation).await.expect("the mutation");
    }
    let begin = settled(&database.client).await;

    let (told_end, end) = watch::channel(None);
    let (told_head, head) = watch::channel(begin);
    // Longer than anyone needs to catch up; whose service is broken never will.
    let catch_up = Duration::from_secs(if plan.mutation.is_none() { 120 } else { 5 });
    let outside = Outside { endpoints, recorder: recorder.clone(), end, head, catch_up };
    let trying = tokio::spawn(try_out(outside.clone(), random.fork(3_000)));
    let watchers = watchers(&outside, &places, &random, begin + plan.changes / 2);
    let desk = Arc::new(Desk {
        clients: replicas.iter().map(Replica::client).collect(),
        places,
        recorder: recorder.clone(),
        lines: recorder.lines("answers"),
        stop: AtomicBool::new(false),
        retries: AtomicU64::new(0),
    });
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let desk = Arc::clone(&desk);
        let writer = Writer { desk, number, random: random.fork(number), answers: Vec::new() };
        writers.spawn(writer.write());
    }
    let injector = Injector::start(replicas, random.fork(1_000), plan, recorder.clone());
    let mut looks = interval(Duration::from_millis(100));
    let enough = async {
        loop {
            looks.tick().await;
            let head = head_of(&database.client).await;
            told_head.send_replace(head);
            if head >= begin + plan.changes && injector.kills() >= plan.kills {
                return;
            }
            assert!(!injector.task.is_finished(), "the injector failed");
            if let Some(ended) = writers.try_join_next() {
                panic!("a writer ended early: {:?}", ended.err());
            }
        }
    };
    timeout(BOUND, enough).await.expect("the changes are made in time");
    desk.stop.store(true, Ordering::Relaxed);
    let answers = timeout(BOUND, writers.join_all()).await.expect("the writers end in time").concat();
    let wrote = begun.elapsed();
    let (kills, replicas) = injector.stop().await;
    desk.lines.flush();
    let head = settled(&database.client).await;
    told_head.send_replace(head);
    told_end.send_replace(Some(head));
    let watchers = timeout(BOUND, watchers.join_all()).await.expect("the watchers reach the end in time");
    let tried = timeout(BOUND, trying).await.expect("the tries end in time").expect("no panic");
    drop(replicas);

    let history = History {
        begin,
        answers,
        watchers,
        log: log(&database).await,
        requests: requests(&database).await,
        tables: tables(&database).await,
        applied: applied(&database).await,
        tried,
    };
    let lines = recorder.lines("log");
    history.log.iter().for_each(|row| lines.write(row));
    lines.flush();
    Run { history, recorder, kills, retries: desk.retries.load(Ordering::Relaxed), wrote }
}

/// Apps, organizations, workspaces and the members whom all writers share.
async fn settle(replica: &Replica) -> Vec<Place> {
    let client = replica.client();
    for (app, _) in WORKSPACES {
        let request = RegisterAppRequest { app: app.to_owned(), ..Default::default() };
        client.apps().register_app(request).await.expect("an app");
    }
    let mut places = Vec::new();
    for number in 0..ORGANIZATIONS {
        let account = |name: String| {
            let mut accounts = client.accounts();
            async move {
                let request =
                    CreateAccountRequest { email: format!("{name}@example.com"), ..Default::default() };
                let made = accounts.create_account(request).await.expect("an account").into_inner();
                made.account.expect("the account").account_id
            }
        };
        let request = CreateOrganizationRequest {
            display_name: format!("organization {number}"),
            owner_account_id: account(format!("owner{number}")).await,
            first_workspace: Some(FirstWorkspace {
                app: "chat".to_owned(),
                display_name: "first".to_owned(),
            }),
            owner_stays_out: true,
            ..Default::default()
        };
        let made = client.organizations().create_organization(request).await.expect("one").into_inner();
        let organization_id = made.organization.expect("the organization").organization_id;
        let mut workspaces = Vec::new();
        for (app, count) in WORKSPACES {
            for workspace in 0..count {
                let request = CreateWorkspaceRequest {
                    organization_id: organization_id.clone(),
                    app: app.to_owned(),
                    display_name: format!("{app} {workspace}"),
                    ..Default::default()
                };
                let made = client.organizations().create_workspace(request).await.expect("a workspace");
                workspaces.push(made.into_inner().workspace.expect("the workspace").workspace_id);
            }
        }
        let mut shared = Vec::new();
        for member in 0..SHARED {
            let account_id = account(format!("shared{number}-{member}")).await;
            let request = AddMemberRequest {
                organization_id: organization_id.clone(),
                account_id: account_id.clone(),
                role: OrganizationRole::Member.into(),
                ..Default::default()
            };
            let made = client.members().add_member(request).await.expect("a member").into_inner();
            shared.push((made.member.expect("the member").member_id, account_id));
        }
        places.push(Place { organization: organization_id, workspaces, shared });
    }
    places
}

/// Five of them, each another way to follow.
fn watchers(
    outside: &Outside,
    places: &[Place],
    random: &Random,
    halfway: i64,
) -> JoinSet<super::history::Watcher> {
    let one = vec![places[0].organization.clone()];
    let instance = |name: &str| Some(name.to_owned());
    let chat = WatchOptions::new("chat");
    let boards = WatchOptions { instance: instance("boards-1"), ..WatchOptions::new("boards") };
    let filtered = WatchOptions { organization_ids: one, ..WatchOptions::new("chat") };
    let mut watchers = JoinSet::new();
    watchers.spawn(by_client(outside.clone(), "chat-observer", chat, (None, None)));
    watchers.spawn(by_client(outside.clone(), "boards-of-one-replica", boards, (Some(1), None)));
    watchers.spawn(by_client(outside.clone(), "chat-filtered-handed-over", filtered, (None, Some(60))));
    watchers.spawn(by_hand(outside.clone(), "track-by-hand", "track", "track-1", (random.fork(2_000), 0)));
    watchers.spawn(by_hand(outside.clone(), "chat-late", "chat", "chat-9", (random.fork(2_001), halfway)));
    watchers
}

/// Kills a replica every so often, and starts it again.
struct Injector {
    stop: watch::Sender<bool>,
    kills: Arc<AtomicU64>,
    task: JoinHandle<Vec<Replica>>,
}

impl Injector {
    fn start(mut replicas: Vec<Replica>, mut random: Random, plan: &Plan, recorder: Recorder) -> Self {
        let ((from, to), most) = (plan.every_ms, plan.most_kills as u64);
        let (stop, mut stopped) = watch::channel(false);
        let kills = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&kills);
        let lines = recorder.lines("kills");
        let task = tokio::spawn(async move {
            loop {
                let pause = Duration::from_millis((from + random.below(to - from)) as u64);
                tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => return replicas,
                    () = sleep(pause) => {}
                }
                if counted.load(Ordering::Relaxed) == most {
                    continue;
                }
                let number = random.below(replicas.len());
                let at_us = recorder.now_us();
                replicas[number].kill().await;
                replicas[number].restart().await;
                let up_us = recorder.now_us();
                lines.write(&serde_json::json!({ "replica": number, "at_us": at_us, "up_us": up_us }));
                lines.flush();
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, kills, task }
    }

    fn kills(&self) -> usize {
        usize::try_from(self.kills.load(Ordering::Relaxed)).expect("few")
    }

    /// All replicas run when it returns.
    async fn stop(self) -> (usize, Vec<Replica>) {
        let _ = self.stop.send(true);
        let replicas = self.task.await.expect("the injector ends");
        (usize::try_from(self.kills.load(Ordering::Relaxed)).expect("few"), replicas)
    }
}

async fn head_of(database: &Postgres) -> i64 {
    database.query_one("SELECT position FROM log_head", &[]).await.expect("the head").get(0)
}

/// The head, once nothing is pending any more.
async fn settled(database: &Postgres) -> i64 {
    let query = "SELECT (SELECT count(*) FROM pending_changes), position FROM log_head";
    let settling = async {
        let mut looks = interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            let row = database.query_one(query, &[]).await.expect("the head");
            if row.get::<_, i64>(0) == 0 {
                return row.get(1);
            }
        }
    };
    timeout(BOUND, settling).await.expect("what is pending is sequenced in time")
}

/// What a row of the log or of a table is about, in the words of [`super::history::thing`].
const THING: &str =
    "CASE subject WHEN 'ORGANIZATION' THEN 'o/' || organization_id WHEN 'WORKSPACE' THEN 'w/' || workspace_id
    WHEN 'MEMBER' THEN 'm/' || member_id ELSE 'wm/' || workspace_id || '/' || member_id END";

async fn log(database: &Database) -> Vec<Row> {
    let query = format!(
        "SELECT position, change_id::text, command_id::text, command_end, apps, organization_id::text, {THING}, version,
                state || ' ' || coalesce(role, '') FROM changes ORDER BY position"
    );
    let rows = database.client.query(&query, &[]).await.expect("the log");
    let row = |row: tokio_postgres::Row| Row {
        position: row.get(0),
        change_id: row.get(1),
        command_id: row.get(2),
        command_end: row.get(3),
        apps: row.get(4),
        organization: row.get(5),
        thing: Thing { id: row.get(6), version: row.get(7), state: row.get(8) },
    };
    rows.into_iter().map(row).collect()
}

async fn requests(database: &Database) -> HashMap<String, Option<String>> {
    let rows = database.client.query("SELECT request_id::text, command_id::text FROM requests", &[]).await;
    rows.expect("the requests").into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// What is stored as applied, of each subscription.
async fn applied(database: &Database) -> HashMap<String, i64> {
    let query = "SELECT subscription_id::text, applied_position FROM subscriptions";
    let rows = database.client.query(query, &[]).await.expect("the subscriptions");
    rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The scope of each app, read from the tables as the contract defines it, and not as the service reads it.
const SCOPE: &str = "
    WITH places AS (SELECT * FROM workspaces WHERE app = $1),
    memberships AS (SELECT wm.* FROM workspace_members wm JOIN places USING (organization_id, workspace_id))
    SELECT organization_id::text, 'o/' || organization_id, version, 'ACTIVE ' FROM organizations
        WHERE organization_id IN (SELECT organization_id FROM places)
    UNION ALL SELECT organization_id::text, 'w/' || workspace_id, version, state || ' ' FROM places
    UNION ALL SELECT organization_id::text, 'm/' || member_id, version, state || ' ' || role FROM members m
        WHERE EXISTS (SELECT FROM memberships x
                      WHERE x.organization_id = m.organization_id AND x.member_id = m.member_id)
    UNION ALL SELECT organization_id::text, 'wm/' || workspace_id || '/' || member_id, version, state || ' ' || role
        FROM memberships";

async fn tables(database: &Database) -> BTreeMap<String, Vec<(String, Thing)>> {
    let mut tables = BTreeMap::new();
    for (app, _) in WORKSPACES {
        let rows = database.client.query(SCOPE, &[&app]).await.expect("the tables");
        let thing = |row: tokio_postgres::Row| {
            (row.get(0), Thing { id: row.get(1), version: row.get(2), state: row.get(3) })
        };
        tables.insert(app.to_owned(), rows.into_iter().map(thing).collect());
    }
    tables
}

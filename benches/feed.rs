//! How long a change takes to reach a follower in another process, beside a bare INSERT and NOTIFY; how fast the log is
//! caught up with, beside a plain SELECT; and how both stand as the store grows.
//!
//! Settings: `BENCH_SECONDS` (of each measurement), `BENCH_ROUNDS`, `BENCH_RATES` (commands a second, as in `200,1000`),
//! `BENCH_CALLERS`, `BENCH_CHANGES` (in the log to catch up with), `BENCH_FULL=1` (a million memberships too),
//! `BENCH_PARTS` (`delivery`, `catchup`, `growth`).

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    child::Running,
    place::{Postgres, Service},
    report::{Rounds, Samples, line, list, monotonic, rounds, say, seconds, setting, wanted},
    seed,
    writers::{Run, Work, Write, Writers},
};
use tokio::sync::Semaphore;

/// What a child may take to start, to read, to end.
const BOUND: Duration = Duration::from_secs(60);
/// How long after a run what is on its way may still arrive.
const LATE: Duration = Duration::from_secs(10);
/// Organizations where delivery is measured.
const ORGANIZATIONS: u64 = 100;

fn main() {
    if common::child::is_child() {
        return;
    }
    let postgres = Postgres::start();
    common::runtime().block_on(async {
        postgres.describe().await;
        if wanted("delivery") {
            delivery(&postgres).await;
        }
        if wanted("catchup") {
            catch_up(&postgres).await;
        }
        if wanted("growth") {
            growth(&postgres).await;
        }
    });
}

/// From the answer of a write, and from its beginning, to its receipt, at a rate that does not wait for answers.
async fn delivery(postgres: &Postgres) {
    let (each, turns) = (seconds(4), rounds(3));
    let callers = setting("BENCH_CALLERS", 32);
    let rates = list("BENCH_RATES", "200,1000");
    let Followed { mut writers, watcher, service: _service } =
        Followed::start(postgres, seed::even(ORGANIZATIONS), callers).await;
    let raw = Raw::start(postgres, callers).await;
    writers.open(100, Duration::from_secs(1)).await;

    let mut results = Rounds::default();
    for round in 0..turns {
        for &rate in &rates {
            say(&format!("delivery, round {} of {turns}, {rate}/s", round + 1));
            let suffix = format!("_{rate}");
            let run = writers.open(rate, each).await;
            compare(&mut results, "delivery", &suffix, &run, &watcher);
            let run = raw.open(rate, each).await;
            compare(&mut results, "raw", &suffix, &run, &raw.listener);
        }
    }
    results.print();
    for rate in rates {
        for what in ["p50", "p99", "end_to_end_p50", "end_to_end_p99", "write_p50"] {
            let of = |who: &str| format!("{who}_{what}_ms_{rate}");
            results.ratio(&format!("delivery_{what}_vs_raw_{rate}"), &of("delivery"), &of("raw"));
        }
    }
    // The two that the aims name, without a rate in the name.
    results.ratio("delivery_p50_vs_raw", "delivery_p50_ms_200", "raw_p50_ms_200");
    line("delivery_p99_ms", results.get("delivery_p99_ms_1000"));
}

/// A service, its load, and a follower in another process.
struct Followed {
    writers: Writers,
    watcher: Running,
    service: Service,
}

impl Followed {
    async fn start(postgres: &Postgres, people: Vec<seed::Organization>, callers: usize) -> Self {
        let database = postgres.create_migrated().await;
        seed::fill(&postgres.connect(&database).await, &people).await;
        let service = Service::start(&postgres.url(&database), &[]);
        let watcher = Running::start(&["times", &service.endpoint]);
        watcher.until("ready", BOUND);
        let writers = Writers::new(&service.endpoint, &people, callers, Work::Member);
        Self { writers, watcher, service }
    }
}

/// Joins what was written with what was received. A change is received after its write was answered, or, as a negative
/// time, before.
fn compare(results: &mut Rounds, name: &str, suffix: &str, run: &Run, receiver: &Running) {
    let keys = run.writes.iter().map(|write| write.key).collect();
    let received = receiver.received(&keys, LATE);
    let (mut after, mut whole, mut lost) = (Samples::default(), Samples::default(), 0);
    for Write { key, begun, answered } in &run.writes {
        match received.get(key) {
            Some(at) => {
                after.push(at - answered);
                whole.push(at - begun);
            }
            None => lost += 1,
        }
    }
    assert_eq!(lost, 0, "{name}: not received of {}", run.writes.len());
    results.add(&format!("{name}_achieved_per_s{suffix}"), run.per_second());
    let latencies = run.latencies();
    for percent in [50, 99] {
        let at = f64::from(percent);
        results.add(&format!("{name}_p{percent}_ms{suffix}"), after.percentile(at));
        results.add(&format!("{name}_end_to_end_p{percent}_ms{suffix}"), whole.percentile(at));
        results.add(&format!("{name}_write_p{percent}_ms{suffix}"), latencies.percentile(at));
    }
}

/// The yardstick of delivery: rows of 200 bytes, a NOTIFY with each, and a session in another process that listens.
struct Raw {
    clients: Vec<Arc<tokio_postgres::Client>>,
    listener: Running,
}

impl Raw {
    async fn start(postgres: &Postgres, callers: usize) -> Self {
        let database = postgres.create(None).await;
        let mut clients = Vec::new();
        for _ in 0..callers {
            clients.push(Arc::new(postgres.connect(&database).await));
        }
        let table = "CREATE TABLE raw (id bigserial PRIMARY KEY, payload text NOT NULL)";
        clients[0].batch_execute(table).await.expect("a table");
        let listener = Running::start(&["listen", &postgres.url(&database)]);
        listener.until("ready", BOUND);
        Self { clients, listener }
    }

    async fn open(&self, rate: usize, duration: Duration) -> Run {
        let permits = Arc::new(Semaphore::new(0));
        let pacing = tokio::spawn(common::writers::pace(Arc::clone(&permits), rate));
        let begun = tokio::time::Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for client in &self.clients {
            let (client, permits) = (Arc::clone(client), Arc::clone(&permits));
            tasks.spawn(async move {
                // One statement, so one transaction, as cheap as it can be.
                let insert = "WITH new AS (INSERT INTO raw (payload) VALUES ($1) RETURNING id) \
                              SELECT id, pg_notify('raw', id::text)::text FROM new";
                let insert = client.prepare(insert).await.expect("a statement");
                let payload = "x".repeat(200);
                let mut writes = Vec::new();
                while let Ok(permit) = tokio::time::timeout_at(begun + duration, permits.acquire()).await {
                    permit.expect("it stays open").forget();
                    let called = monotonic();
                    let row = client.query_one(&insert, &[&payload]).await.expect("a row");
                    let key = (row.get::<_, i64>(0).cast_unsigned(), 0);
                    writes.push(Write { key, begun: called, answered: monotonic() });
                    if begun.elapsed() >= duration {
                        break;
                    }
                }
                writes
            });
        }
        let mut run = Run::default();
        while let Some(writes) = tasks.join_next().await {
            run.writes.extend(writes.expect("a writer does not fail"));
        }
        pacing.abort();
        run.seconds = begun.elapsed().as_secs_f64();
        run
    }
}

/// What a plain reader of the log would send.
const SELECT: &str = "SELECT position, change_id, command_id, command_end, organization_id, subject, workspace_id, member_id, state,
    role, version, reason, caller, acting_member_id, record_time FROM changes WHERE position > $1 ORDER BY position LIMIT 500";

async fn catch_up(postgres: &Postgres) {
    let turns = rounds(3);
    let changes: u64 = setting("BENCH_CHANGES", 60_000);
    let many: u64 = setting("BENCH_STREAMS", 100);
    let database = postgres.create_migrated().await;
    let client = postgres.connect(&database).await;
    seed::fill(&client, &seed::even(ORGANIZATIONS)).await;
    // Without a window, which would have most of it: from the log is what is measured.
    let service = Service::start(&postgres.url(&database), &["--window-mib", "0"]);
    // A follower that was here early, left, and comes back when much has happened.
    let first = Running::start(&["snapshot", &service.endpoint]).line(BOUND);
    let cursor = first.split(' ').nth(2).expect("a cursor").to_owned();
    let left = log_head(&client).await;
    seed::fill_log(&client, ORGANIZATIONS, changes).await;
    let head = log_head(&client).await;
    // For many streams a part of the log is enough: each of them reads all of it.
    let part = setting("BENCH_PART", 10_i64).max(1);

    let mut results = Rounds::default();
    for round in 0..turns {
        say(&format!("catching up with {} changes, round {} of {turns}", head - left, round + 1));
        results.add("select_rows_per_s", select(&client, left, head).await);
        let one = Running::start(&["catchup", &service.endpoint, "1", &cursor, &head.to_string()]);
        results.add("catchup_changes_per_s_1", rate(&one.line(BOUND)));
        let until = left + (head - left) / part;
        let all =
            Running::start(&["catchup", &service.endpoint, &many.to_string(), &cursor, &until.to_string()]);
        results.add("catchup_changes_per_s_100", rate(&all.line(BOUND * 3)));
        let snapshot = Running::start(&["snapshot", &service.endpoint]);
        results.add("snapshot_things_per_s", rate(&snapshot.line(BOUND)));
    }
    results.print();
    results.ratio("catchup_vs_select", "catchup_changes_per_s_1", "select_rows_per_s");
    results.ratio("catchup_100_vs_select", "catchup_changes_per_s_100", "select_rows_per_s");
}

async fn log_head(client: &tokio_postgres::Client) -> i64 {
    client.query_one("SELECT position FROM log_head", &[]).await.expect("the head").get(0)
}

/// `number seconds` as a rate.
fn rate(said: &str) -> f64 {
    let numbers: Vec<f64> = said.split(' ').take(2).filter_map(|number| number.parse().ok()).collect();
    numbers[0] / numbers[1]
}

/// Reads all rows of the log in pages of the size of a batch, over one connection.
async fn select(client: &tokio_postgres::Client, after: i64, head: i64) -> f64 {
    let statement = client.prepare(SELECT).await.expect("a statement");
    let begun = monotonic();
    let (mut position, mut rows) = (after, 0_usize);
    while position < head {
        let page = client.query(&statement, &[&position]).await.expect("rows");
        rows += page.len();
        position = page.last().expect("the log goes on").get(0);
    }
    rows as f64 / ((monotonic() - begun) as f64 / 1e9)
}

/// The same rate of writes on stores of growing size.
async fn growth(postgres: &Postgres) {
    let (each, turns) = (seconds(4), rounds(3));
    let mut sizes = vec![(10_000, "10k"), (100_000, "100k")];
    if setting("BENCH_FULL", 0) == 1 {
        sizes.push((1_000_000, "1m"));
    }
    let mut places = Vec::new();
    for (memberships, name) in sizes {
        say(&format!("filling {memberships} memberships"));
        let people = seed::power_law(memberships);
        let members: u64 = people.iter().map(|organization| organization.members).sum();
        let begun = monotonic();
        let mut place = Followed::start(postgres, people, 16).await;
        line(&format!("growth_{name}_members"), members as f64);
        line(&format!("growth_{name}_fill_and_snapshot_s"), (monotonic() - begun) as f64 / 1e9);
        place.writers.open(100, Duration::from_secs(1)).await;
        places.push((name, place));
    }
    let mut results = Rounds::default();
    for round in 0..turns {
        for (name, place) in &mut places {
            say(&format!("growth, round {} of {turns}, {name}", round + 1));
            let run = place.writers.open(200, each).await;
            compare(&mut results, &format!("growth_{name}"), "", &run, &place.watcher);
        }
    }
    results.print();
    for (name, _) in &places[1..] {
        for what in ["write_p50_ms", "write_p99_ms", "end_to_end_p50_ms", "end_to_end_p99_ms"] {
            let (large, small) = (format!("growth_{name}_{what}"), format!("growth_10k_{what}"));
            results.ratio(&format!("{large}_vs_10k").replace("_ms_vs", "_vs"), &large, &small);
        }
    }
}

//! What a stream costs: memory of the service for each idle one, and its CPU for each message to a thousand of them.
//!
//! Settings: `BENCH_SECONDS`, `BENCH_ROUNDS` (of the fan-out), `BENCH_STREAMS` (idle ones, as in `1000,10000`),
//! `BENCH_FANOUT` (streams), `BENCH_RATE` (changes a second), `BENCH_PARTS` (`idle`, `fanout`).

mod common;

use std::time::{Duration, Instant};

use common::{
    child::Running,
    place::{Postgres, Service, cpu},
    report::{Rounds, line, list, rounds, say, seconds, setting, wanted},
    seed,
    writers::{Work, Writers},
};

/// What thousands of streams may take to open.
const BOUND: Duration = Duration::from_secs(150);
/// Small, so that thousands of snapshots are no load of their own.
const ORGANIZATIONS: u64 = 1;
/// How long what is still on its way to them is waited for.
const LATE: Duration = Duration::from_secs(20);
/// How long streams are idle before memory is read: some bookmarks later.
const SETTLE: Duration = Duration::from_secs(4);

fn main() {
    if common::child::is_child() {
        return;
    }
    let postgres = Postgres::start();
    common::runtime().block_on(async {
        postgres.describe().await;
        if wanted("idle") {
            let database = filled(&postgres).await;
            for number in list("BENCH_STREAMS", "1000,10000") {
                idle(&postgres, &database, number, 100, &format!("{number}")).await;
            }
            idle(&postgres, &database, 1_000, 1, "1000_alone").await;
        }
        if wanted("fanout") {
            // Another one: in this, every member stands where the callers believe.
            fan_out(&postgres, &filled(&postgres).await).await;
        }
    });
}

async fn filled(postgres: &Postgres) -> String {
    let database = postgres.create_migrated().await;
    seed::fill(&postgres.connect(&database).await, &seed::even(ORGANIZATIONS)).await;
    database
}

/// Opens streams and lets them be. A service of its own each time: memory that was once used is not given back.
async fn idle(postgres: &Postgres, database: &str, number: usize, per_connection: usize, name: &str) {
    say(&format!("{number} idle streams, {per_connection} on each connection"));
    let service = Service::start(&postgres.url(database), &[]);
    // What is made once is made before: the pool, the first stream, the first writes.
    let warm = Running::start(&["streams", &service.endpoint, "50", "50"]);
    warm.until("open", BOUND);
    let mut writers = Writers::new(&service.endpoint, &seed::even(ORGANIZATIONS), 16, Work::Membership);
    writers.closed(16, Duration::from_secs(1)).await;
    drop(warm);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = service.resident();
    let begun = Instant::now();
    let arguments =
        ["streams", &service.endpoint, &number.to_string(), &per_connection.to_string()].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let streams = Running::start(&arguments);
    streams.until("open", BOUND);
    line(&format!("stream_open_s_{name}"), begun.elapsed().as_secs_f64());
    let used = service.cpu();
    tokio::time::sleep(SETTLE).await;
    let idle = (service.cpu() - used) / SETTLE.as_micros() as f64;
    line(&format!("stream_rss_mb_before_{name}"), before / 1e6);
    line(&format!("stream_rss_mb_{name}"), service.resident() / 1e6);
    line(&format!("stream_bytes_{name}"), (service.resident() - before) / number as f64);
    line(&format!("stream_idle_cpu_percent_{name}"), idle * 100.0);
}

/// Changes to many streams at once.
async fn fan_out(postgres: &Postgres, database: &str) {
    let (each, turns) = (seconds(8), rounds(2));
    let number: usize = setting("BENCH_FANOUT", 1_000);
    let rate: usize = setting("BENCH_RATE", 100);
    let service = Service::start(&postgres.url(database), &[]);
    let mut writers = Writers::new(&service.endpoint, &seed::even(ORGANIZATIONS), 16, Work::Membership);
    let mut streams = Running::start(&["streams", &service.endpoint, &number.to_string(), "100"]);
    streams.until("open", BOUND);
    writers.open(rate, Duration::from_secs(1)).await;
    let mut results = Rounds::default();
    for round in 0..turns {
        say(&format!("fan-out, round {} of {turns}: {number} streams, {rate} changes/s", round + 1));
        // What is left of before is not counted.
        tokio::time::sleep(Duration::from_secs(1)).await;
        streams.tell("begin");
        let (served, received) = (service.cpu(), cpu(streams.pid()));
        let run = writers.open(rate, each).await;
        // Streams that are behind are waited for: what is late counts like everything else.
        let expected = run.writes.len() as f64 * number as f64;
        let late = Instant::now();
        while late.elapsed() < LATE {
            streams.tell("count");
            if streams.line(BOUND).parse::<f64>().expect("a number") >= expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (served, received) = (service.cpu() - served, cpu(streams.pid()) - received);
        streams.tell("end");
        let said = streams.line(BOUND);
        let numbers: Vec<f64> = said.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [messages, changes, p50, p99] = numbers[..] else { panic!("not understood: {said}") };
        results.add("fanout_achieved_changes_per_s", run.per_second());
        results.add("fanout_expected_deliveries", expected);
        results.add("fanout_change_deliveries", changes);
        results.add("fanout_messages", messages);
        results.add("fanout_cpu_us_per_delivery", served / changes);
        results.add("fanout_cpu_us_per_message", served / messages);
        results.add("fanout_client_cpu_us_per_message", received / messages);
        results.add("fanout_p50_ms", p50);
        results.add("fanout_p99_ms", p99);
        results.add("fanout_write_p50_ms", run.latencies().percentile(50.0));
        results.add("fanout_write_p99_ms", run.latencies().percentile(99.0));
    }
    results.print();
}

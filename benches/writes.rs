//! How many commands a second the service carries out, beside `pgbench` running the same statements in as many round
//! trips on a copy of the same tables in the same Postgres.
//!
//! Settings: `BENCH_SECONDS` (of each measurement), `BENCH_ROUNDS`, `BENCH_CALLERS` (as in `1,8,32`),
//! `BENCH_ORGANIZATIONS` (of 100 members each), `BENCH_PARTS=service` (leaves the yardstick out, to profile).

mod common;

use std::time::Duration;

use common::{
    capture::capture,
    pgbench::{Script, Sequencing},
    place::{Postgres, Service},
    report::{Rounds, line, list, rounds, say, seconds, setting, wanted},
    seed,
    writers::{Work, Writers},
};

fn main() {
    let postgres = Postgres::start();
    common::runtime().block_on(bench(&postgres));
}

async fn bench(postgres: &Postgres) {
    let (each, turns) = (seconds(4), rounds(3));
    let callers = list("BENCH_CALLERS", "1,8,32");
    let most = callers.iter().copied().max().unwrap_or(1);
    let organizations: u64 = setting("BENCH_ORGANIZATIONS", 100);
    postgres.describe().await;
    let captured = capture(postgres).await;
    line("round_trips_per_command", captured.round_trips());
    line("statements_per_command", captured.statements());

    let database = postgres.create_migrated().await;
    let client = postgres.connect(&database).await;
    let people = seed::even(organizations);
    seed::fill(&client, &people).await;
    drop(client);
    let copy = copy_of(postgres, &database).await;
    let mut script = Script::new(&captured, organizations);
    let service = Service::start(&postgres.url(&database), &[]);
    let mut writers = Writers::new(&service.endpoint, &people, most, Work::Member);
    // Connections are made and statements prepared before anything is measured.
    writers.closed(most, Duration::from_secs(1)).await;

    let mut results = Rounds::default();
    for round in 0..turns {
        for &callers in &callers {
            say(&format!("round {} of {turns}, {callers} callers", round + 1));
            let cpu = service.cpu();
            let run = writers.closed(callers, each).await;
            let cpu = (service.cpu() - cpu) / run.writes.len() as f64;
            results.add(&format!("writes_{callers}_per_s"), run.per_second());
            let latencies = run.latencies();
            results.add(&format!("writes_{callers}_p50_ms"), latencies.percentile(50.0));
            results.add(&format!("writes_{callers}_p99_ms"), latencies.percentile(99.0));
            results.add(&format!("writes_{callers}_service_cpu_us"), cpu);
            if !wanted("yardstick") {
                continue;
            }
            for (sequencing, name) in [(Sequencing::Beside, ""), (Sequencing::Waited, "_waited")] {
                let measured = script.run(postgres, &copy, sequencing, callers, each).await;
                results.add(&format!("pgbench_{callers}{name}_per_s"), measured.per_second);
                results.add(&format!("pgbench_{callers}{name}_p50_ms"), measured.latencies.percentile(50.0));
                results.add(&format!("pgbench_{callers}{name}_p99_ms"), measured.latencies.percentile(99.0));
            }
        }
    }
    results.print();
    for &callers in &callers {
        let measured = format!("writes_{callers}_per_s");
        for name in ["", "_waited"] {
            let yardstick = format!("pgbench_{callers}{name}_per_s");
            results.ratio(&format!("writes_{callers}_vs_pgbench{name}"), &measured, &yardstick);
        }
    }
}

/// A copy of a database, for the yardstick.
async fn copy_of(postgres: &Postgres, database: &str) -> String {
    let admin = postgres.connect("postgres").await;
    // A template may have no session; those of a moment ago are on their way out.
    while admin
        .query_one("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", &[&database])
        .await
        .expect("sessions")
        .get::<_, i64>(0)
        > 0
    {
        tokio::task::yield_now().await;
    }
    postgres.create(Some(database)).await
}

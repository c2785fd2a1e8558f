//! How many rows a second `rollcall replay` applies, beside the commands a second of `pgbench` with as many clients as
//! the replay has rows on their way.
//!
//! Settings: `BENCH_ROWS`, `BENCH_ROUNDS`, `BENCH_SECONDS` (of the yardstick), `BENCH_TRACE` (a file of your own, once).

mod common;

use common::{
    capture::capture,
    pgbench::{Script, Sequencing},
    place::{Postgres, Service, run_rollcall},
    report::{Rounds, rounds, say, seconds, setting},
    seed,
    trace::trace,
};

/// Rows that a replay has on their way at once, when nothing is said.
const CONCURRENCY: usize = 16;

fn main() {
    let postgres = Postgres::start();
    common::runtime().block_on(bench(&postgres));
}

async fn bench(postgres: &Postgres) {
    let own: String = setting("BENCH_TRACE", String::new());
    let (each, turns) = (seconds(5), rounds(if own.is_empty() { 3 } else { 1 }));
    let rows: usize = setting("BENCH_ROWS", 6_000);
    postgres.describe().await;
    let captured = capture(postgres).await;
    let organizations = 100;
    let yardstick = postgres.create_migrated().await;
    seed::fill(&postgres.connect(&yardstick).await, &seed::even(organizations)).await;
    let mut script = Script::new(&captured, organizations);
    let directory = tempfile::tempdir().expect("a directory");
    let mut results = Rounds::default();
    for round in 0..turns {
        say(&format!("round {} of {turns}", round + 1));
        // A store of its own each time, so that each replay meets the same.
        let service = Service::start(&postgres.url(&postgres.create_migrated().await), &[]);
        let file = if own.is_empty() {
            let file = directory.path().join("trace.csv");
            std::fs::write(&file, trace(rows)).expect("a trace");
            file
        } else {
            own.clone().into()
        };
        let file = file.to_str().expect("a name");
        let cpu = service.cpu();
        let said = run_rollcall(&["replay", "--endpoint", &service.endpoint, file]);
        let value = |name: &str| -> f64 {
            let found = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("not understood: {said}"))
        };
        results.add("replay_rows", value("rows"));
        results.add("replay_rows_per_s", value("rows_per_second"));
        results.add("replay_service_cpu_us_per_row", (service.cpu() - cpu) / value("rows"));
        for (sequencing, name) in [(Sequencing::Beside, ""), (Sequencing::Waited, "_waited")] {
            let measured = script.run(postgres, &yardstick, sequencing, CONCURRENCY, each).await;
            results.add(&format!("pgbench_{CONCURRENCY}{name}_per_s"), measured.per_second);
        }
    }
    results.print();
    for name in ["", "_waited"] {
        let yardstick = format!("pgbench_{CONCURRENCY}{name}_per_s");
        results.ratio(&format!("replay_vs_pgbench{name}"), "replay_rows_per_s", &yardstick);
    }
}

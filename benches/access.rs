//! How many access checks a second the service answers, beside calls of a method that does nothing (`Health/Check`) on the
//! same server, by as many callers over as many connections.
//!
//! Settings: `BENCH_SECONDS` (of each measurement), `BENCH_ROUNDS`, `BENCH_CALLERS` (as in `1,32`), `BENCH_ORGANIZATIONS`
//! (of 100 members in two workspaces each).

mod common;

use std::time::Instant;

use common::{
    checks::{BATCH, Work, answers, channels, run},
    place::{Postgres, Service},
    report::{Rounds, line, list, rounds, say, seconds, setting},
    seed,
};

fn main() {
    let postgres = Postgres::start();
    common::runtime().block_on(bench(&postgres));
}

async fn bench(postgres: &Postgres) {
    let (each, turns) = (seconds(4), rounds(3));
    let callers = list("BENCH_CALLERS", "1,32");
    let most = callers.iter().copied().max().unwrap_or(1);
    postgres.describe().await;
    let database = postgres.create_migrated().await;
    let client = postgres.connect(&database).await;
    let people = seed::even(setting("BENCH_ORGANIZATIONS", 1_000));
    seed::fill(&client, &people).await;
    drop(client);
    let begun = Instant::now();
    let service = Service::start(&postgres.url(&database), &[]);
    let channels = channels(&service, most).await;
    answers(channels[0].clone()).await;
    line(
        "access_memberships",
        people.iter().map(|organization| organization.members * 2).sum::<u64>() as f64,
    );
    line("access_ready_s", begun.elapsed().as_secs_f64());
    line("access_service_mib", service.resident() / f64::from(1 << 20));

    let mut results = Rounds::default();
    for round in 0..turns {
        for &callers in &callers {
            say(&format!("round {} of {turns}, {callers} callers", round + 1));
            for (work, name) in
                [(Work::Empty, "empty"), (Work::Check, "check_access"), (Work::Batch, "batch_check_access")]
            {
                let run = run(&channels, &people, work, callers, each).await;
                let calls = run.len() as f64 / each.as_secs_f64();
                results.add(&format!("{name}_{callers}_per_s"), calls);
                results.add(&format!("{name}_{callers}_p50_ms"), run.percentile(50.0));
                results.add(&format!("{name}_{callers}_p99_ms"), run.percentile(99.0));
                if let Work::Batch = work {
                    results.add(&format!("batched_checks_{callers}_per_s"), calls * BATCH as f64);
                }
            }
        }
    }
    results.print();
    for &callers in &callers {
        let of = |name: &str| format!("{name}_{callers}_per_s");
        results.ratio(&format!("check_access_{callers}_vs_empty"), &of("check_access"), &of("empty"));
    }
    // By as many callers as there are.
    let of = |name: &str| format!("{name}_{most}_per_s");
    results.ratio("check_access_vs_empty", &of("check_access"), &of("empty"));
}

//! What traces and metrics cost: access checks a second with a collector beside those without one, by three services on one
//! database that are asked in turns. A check is the cheapest call that makes a span, so nothing else costs a greater share.
//! The collector is in the process of the callers: it reads what it is sent, counts the spans, and keeps nothing.
//!
//! Settings: `BENCH_SECONDS` (of each measurement), `BENCH_ROUNDS`, `BENCH_CALLERS` (as in `1,32`), `BENCH_ORGANIZATIONS`
//! (of 100 members in two workspaces each).

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{
    checks::{Work, answers, channels, run},
    place::{Postgres, Service},
    report::{Rounds, list, rounds, say, seconds, setting},
    seed,
};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// A service by the name of its results, and the share of traces that it records.
const KINDS: [(&str, Option<&str>); 3] = [("without", None), ("tenth", Some("0.1")), ("all", Some("1"))];

/// Counts the spans that it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<AtomicUsize>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let scopes = resources.iter().flat_map(|resource| &resource.scope_spans);
        self.0.fetch_add(scopes.map(|scope| scope.spans.len()).sum(), Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    /// Takes a port, and answers there until the bench ends.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        format!("http://{address}")
    }
}

fn main() {
    let postgres = Postgres::start();
    common::runtime().block_on(bench(&postgres));
}

async fn bench(postgres: &Postgres) {
    let (each, turns) = (seconds(4), rounds(5));
    let callers = list("BENCH_CALLERS", "1,32");
    let most = callers.iter().copied().max().unwrap_or(1);
    postgres.describe().await;
    let database = postgres.create_migrated().await;
    let client = postgres.connect(&database).await;
    let people = seed::even(setting("BENCH_ORGANIZATIONS", 100));
    seed::fill(&client, &people).await;
    drop(client);
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let mut services = Vec::new();
    for (name, ratio) in KINDS {
        let sent = ratio.map(|ratio| {
            let interval = "--otlp-metrics-interval-seconds";
            ["--otlp-endpoint", &endpoint, "--otlp-ratio", ratio, interval, "60"]
        });
        let service =
            Service::start(&postgres.url(&database), sent.as_ref().map_or(&[][..], |sent| &sent[..]));
        let channels = channels(&service, most).await;
        answers(channels[0].clone()).await;
        services.push((name, service, channels));
    }

    let mut results = Rounds::default();
    for round in 0..turns {
        for &callers in &callers {
            say(&format!("round {} of {turns}, {callers} callers", round + 1));
            // Who is asked first changes, so that none always comes when the machine is in the same state.
            services.rotate_left(1);
            for (name, service, channels) in &services {
                let (cpu, spans) = (service.cpu(), collector.0.load(Ordering::Relaxed));
                let run = run(channels, &people, Work::Check, callers, each).await;
                let (calls, cpu) = (run.len() as f64, service.cpu() - cpu);
                let spans = (collector.0.load(Ordering::Relaxed) - spans) as f64;
                results.add(&format!("check_{callers}_{name}_per_s"), calls / each.as_secs_f64());
                results.add(&format!("check_{callers}_{name}_p99_ms"), run.percentile(99.0));
                results.add(&format!("check_{callers}_{name}_service_cpu_us"), cpu / calls);
                results.add(&format!("check_{callers}_{name}_spans_per_call"), spans / calls);
            }
        }
    }
    results.print();
    for &callers in &callers {
        for (name, _) in KINDS.iter().filter(|(_, ratio)| ratio.is_some()) {
            for what in ["per_s", "service_cpu_us"] {
                let of = |name: &str| format!("check_{callers}_{name}_{what}");
                let ratio = format!("check_{callers}_{name}_vs_without_{what}");
                results.ratio(&ratio, &of(name), &of("without"));
            }
        }
    }
}

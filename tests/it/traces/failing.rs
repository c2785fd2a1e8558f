//! A collector that is away, slow, or lies: calls are answered as ever, what waits is bounded, and it is said once, for traces
//! and metrics together.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use super::*;
use crate::{
    metrics::scrape::{scrape, value},
    server::soon,
};

/// Of whichever is sent first.
const WARNING: &str = "are not taken by the collector";
/// More than may wait and be under way together.
const MANY: usize = 3_000;

/// Takes connections and does this with each: nothing, or says what is no HTTP.
async fn lying(says: Option<&'static [u8]>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Some(says) = says {
                    while stream.write_all(says).await.is_ok() {}
                    return;
                }
                let mut heard = [0; 4096];
                while matches!(stream.read(&mut heard).await, Ok(1..)) {}
            });
        }
    });
    (address, task)
}

/// A service that records every call and says every second what it counts, with a port for that too.
async fn recording(endpoint: &str) -> (Service, String, Small) {
    let database = create_database().await;
    let sent = ["--otlp-ratio", "1", "--otlp-metrics-interval-seconds", "1"];
    let more = [&sent[..], &["--metrics-listen", "127.0.0.1:0"]].concat();
    let service = service(&database.url, endpoint, &more).await;
    let said = service.run.stdout();
    let metrics = said.lines().find_map(|line| line.strip_prefix("metrics on ")).expect("its address");
    let small = Small::make(service.channel(), "ada@example.com").await;
    (service, metrics.to_owned(), small)
}

async fn spans(metrics: &str, outcome: &str) -> f64 {
    let series = format!("rollcall_otlp_spans_total{{outcome=\"{outcome}\"}}");
    value(&scrape(metrics).await, &series).unwrap_or_default()
}

async fn exports(metrics: &str, outcome: &str) -> f64 {
    let series = format!("rollcall_otlp_metrics_exports_total{{outcome=\"{outcome}\"}}");
    value(&scrape(metrics).await, &series).unwrap_or_default()
}

/// Calls that many times, a hundred at once. Each is answered.
async fn call(service: &Service, small: &Small, times: usize) {
    let client = OrganizationServiceClient::new(service.channel());
    for _ in 0..times.div_ceil(100) {
        let calls = (0..100).map(|_| {
            let (mut client, organization_id) = (client.clone(), small.organization.clone());
            async move {
                client
                    .get_organization(GetOrganizationRequest { organization_id, ..Default::default() })
                    .await
            }
        });
        let answers = soon("a hundred answers", futures_util::future::join_all(calls)).await;
        answers.into_iter().for_each(|answer| drop(answer.expect("an answer")));
    }
}

/// Calls go on while export after export fails, and it is said once. What becomes of those of metrics is counted like this.
async fn said_once(endpoint: &str, outcome: &str) -> Service {
    let (service, metrics, small) = recording(endpoint).await;
    until("the warning", async || service.run.stderr().contains(WARNING)).await;
    for _ in 0..2 {
        let (failed, lost) = (spans(&metrics, "failed").await, exports(&metrics, outcome).await);
        call(&service, &small, 100).await;
        until("another export that failed", async || spans(&metrics, "failed").await > failed).await;
        until("another one of metrics", async || exports(&metrics, outcome).await > lost).await;
    }
    assert_eq!(spans(&metrics, "sent").await, 0.0);
    // Not "failed", which is also what became of one that a busy machine did not answer in time.
    for other in ["sent", "rejected"].into_iter().filter(|other| *other != outcome) {
        assert_eq!(exports(&metrics, other).await, 0.0, "{other}");
    }
    let said = service.run.stderr();
    assert_eq!(said.matches(WARNING).count(), 1, "{said}");
    assert!(!said.contains("no room") && !said.contains("of any use"), "a collector's words: {said}");
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_away_is_said_once_and_found_when_it_comes() {
    // A port that is free now, and that nobody else is given soon.
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it").port();
    let service = said_once(&format!("http://127.0.0.1:{port}"), "failed").await;
    if let Some(mut collector) = Collector::start(port, "take").await {
        // A call in between, so that there is something to send.
        let channel = service.channel();
        Small::make(channel, "eve@example.com").await;
        collector.span("span", |span| span["name"] == "command").await;
        collector.span("export of metrics", |line| line["metrics"].is_array()).await;
        until("that it is back", async || service.run.stderr().contains("by the collector again")).await;
    }
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_answers_costs_no_call_and_no_memory() {
    let (address, task) = lying(None).await;
    let endpoint = format!("http://{address}");
    let (service, metrics, small) = recording(&endpoint).await;
    // Again and again: a busy machine may answer no more calls than spans are given up meanwhile.
    for _ in 0..20 {
        call(&service, &small, MANY).await;
        if spans(&metrics, "dropped").await > 0.0 {
            break;
        }
    }
    assert!(spans(&metrics, "dropped").await > 0.0, "what is too much is dropped");
    until("the warning", async || service.run.stderr().contains(WARNING)).await;
    let (failed, lost) = (spans(&metrics, "failed").await, exports(&metrics, "failed").await);
    until("another export that failed", async || spans(&metrics, "failed").await > failed).await;
    until("another one of metrics", async || exports(&metrics, "failed").await > lost).await;
    assert_eq!(service.run.stderr().matches(WARNING).count(), 1);
    // Also when it ends: `terminate` waits no longer than a drain may take.
    service.terminate().await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_speaks_no_http_is_said_once() {
    let (address, task) = lying(Some(b"GET / traces? never heard of them\r\n\r\n")).await;
    said_once(&format!("http://{address}"), "failed").await.terminate().await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_or_takes_nothing_is_said_once() {
    for (mode, outcome) in [("refuse", "failed"), ("reject", "rejected")] {
        let Some(collector) = Collector::start(0, mode).await else { return };
        said_once(&collector.endpoint(), outcome).await.terminate().await;
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_with_a_sentence() {
    for (endpoint, ratio, sentence) in [
        ("127.0.0.1:4317", "1", "--otlp-endpoint must be http://HOST:PORT or https://HOST:PORT"),
        ("ftp://127.0.0.1", "1", "--otlp-endpoint must be http://HOST:PORT or https://HOST:PORT"),
        ("http://127.0.0.1:4317", "1.1", "a number from 0 to 1"),
    ] {
        let arguments =
            ["serve", "--database-url", "postgresql://x", "--otlp-endpoint", endpoint, "--otlp-ratio", ratio];
        let (code, said) = crate::process::binary::ended(&arguments, &[]).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}

#[tokio::test]
async fn a_share_that_is_none_is_refused_wherever_it_stands() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("rollcall.toml");
    let serve = ["serve", "--database-url", "postgresql://127.0.0.1:1/none"];
    let in_file = [&serve[..], &["--config", file.to_str().expect("UTF-8")]].concat();
    for share in ["1.1", "-0.1", "nan"] {
        std::fs::write(&file, format!("otlp_ratio = {share}\n")).expect("written");
        let flag = format!("--otlp-ratio={share}");
        let flag = flag.as_str();
        for (arguments, variables) in [
            (in_file.clone(), &[][..]),
            ([&serve[..], &[flag]].concat(), &[]),
            (vec!["agent", "--app", "chat", flag], &[]),
            (serve.to_vec(), &[("ROLLCALL_OTLP_RATIO", share)]),
        ] {
            let (code, said) = crate::process::binary::ended(&arguments, variables).await;
            assert_eq!(code, Some(2), "{arguments:?} {variables:?}: {said}");
            assert!(said.contains("--otlp-ratio must be a number from 0 to 1"), "{arguments:?}: {said}");
        }
    }
    // A flag goes before the file, whatever stands there: it gets as far as to the database.
    let (code, said) =
        crate::process::binary::ended(&[&in_file[..], &["--otlp-ratio", "1"]].concat(), &[]).await;
    assert_eq!(code, Some(1), "{said}");
}

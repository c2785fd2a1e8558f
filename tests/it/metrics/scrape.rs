//! The port for Prometheus and probes, of a real process.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rollcall::{
    embedded::{Cluster, Durability, Options},
    exporter::KNOWN,
};
use rollcall_client::v1::{WatchRequest, feed_service_client::FeedServiceClient};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::promtool;
use crate::{
    process::binary::{Run, Service, ended},
    server::{soon, until, watch},
    small::Small,
    support::create_database,
};

/// A service with that port, and where it is.
pub(crate) async fn start(database_url: &str) -> (Service, String) {
    let port = ["--metrics-listen", "127.0.0.1:0", "--database-url", database_url];
    let service = Service::start(&port.map(std::ffi::OsStr::new)).await;
    let said = service.run.stdout();
    let address = said.lines().find_map(|line| line.strip_prefix("metrics on ")).expect("its address");
    (service, address.to_owned())
}

/// What is answered to these bytes, whole.
async fn answered(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request).await.expect("written");
    let mut answer = Vec::new();
    // Who is cut off may be told so by a reset.
    let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).expect("UTF-8")
}

/// The status and the body of a path.
pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let answer = answered(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let length = format!("content-length: {}\r\n", body.len());
    assert!(format!("{head}\r\n").contains(&length), "{head}");
    (status, body.to_owned())
}

/// What a series is at.
pub(crate) fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

pub(crate) async fn scrape(address: &str) -> String {
    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_has_what_happened_and_promtool_takes_it() {
    let database = create_database().await;
    let (service, address) = start(&database.url).await;
    let small = Small::make(service.channel(), "ada@example.com").await;
    small.rename("Engines Ltd").await.expect("renamed");
    small.get().await.expect("read");
    small.at(service.channel()).rename("").await.expect_err("no name");
    let stream = watch(service.channel()).await;
    let request = WatchRequest { app: "nobody's".to_owned(), ..Default::default() };
    FeedServiceClient::new(service.channel()).watch(request).await.expect_err("no such app");

    let call = |method: &str, code: &str| {
        format!(
            "rpc_server_call_duration_seconds_count{{rpc_system_name=\"grpc\",rpc_method=\"rollcall.v1.{method}\",\
             rpc_response_status_code=\"{code}\"}}"
        )
    };
    let mut text = String::new();
    // Some are measured once a second.
    until("everything was measured", async || {
        text = scrape(&address).await;
        value(&text, "rollcall_streams") >= Some(1.0)
            && value(&text, "rollcall_subscriptions{app=\"rollcall\"}") == Some(1.0)
            && value(&text, "rollcall_serving{service=\"access\"}") == Some(1.0)
            && value(&text, "rollcall_retention_success_timestamp_seconds").is_some()
            && value(&text, "rollcall_standby_wanted") == Some(0.0)
    })
    .await;
    drop(stream);
    for (series, least) in [
        (call("OrganizationService/UpdateOrganization", "OK").as_str(), 1.0),
        (call("OrganizationService/UpdateOrganization", "INVALID_ARGUMENT").as_str(), 1.0),
        (call("OrganizationService/GetOrganization", "OK").as_str(), 1.0),
        ("rollcall_serving{service=\"all\"}", 1.0),
        ("rollcall_build_info{version=\"0.1.0\"}", 1.0),
        ("rollcall_feed_head_position", 3.0),
        ("rollcall_feed_changes_total", 3.0),
        ("rollcall_feed_call_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("rollcall_leases_granted_total", 1.0),
        ("rollcall_pool_size", 16.0),
        ("rollcall_pool_connections{state=\"idle\"}", 1.0),
        ("rollcall_replica_answering{app=\"rollcall\"}", 1.0),
    ] {
        assert!(value(&text, series) >= Some(least), "{series}: {:?}\n{text}", value(&text, series));
    }
    // There before the first one, so that it is seen as a step.
    for series in [
        "rollcall_enforcement_late_total{app=\"chat\"}",
        "rollcall_replica_handler_failures_total{app=\"rollcall\"}",
        "rollcall_feed_forks_total",
        "rollcall_lost_revocations_waiting",
    ] {
        assert_eq!(value(&text, series), Some(0.0), "{series}\n{text}");
    }
    // How long a stream lasts says nothing, and names of persons and organizations are nobody's business.
    for left_out in ["FeedService/Watch", "Engines", "example.com", "rollcall_agent_", &small.organization] {
        assert!(!text.contains(left_out), "{left_out}\n{text}");
    }
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(KNOWN.iter().any(|known| known.name == name), "{line}");
    }
    service.terminate().await;

    let Some(promtool) = promtool() else { return };
    let mut lint = Command::new(promtool);
    lint.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.spawn().expect("promtool");
    lint.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    let output = lint.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_shows_what_it_and_its_replica_count() {
    let database = create_database().await;
    let (service, _) = start(&database.url).await;
    Small::make(service.channel(), "ada@example.com").await;
    let endpoint = format!("http://{}", service.address());
    let arguments = ["agent", "--app", "chat", "--instance", "one", "--listen", "127.0.0.1:0", "--endpoint"];
    let agent = Run::new(&[arguments.as_slice(), &[&endpoint]].concat(), &[]);
    let mut address = None;
    until("its address", async || {
        let said = agent.stdout();
        let line = said.split_inclusive('\n').find_map(|line| line.strip_prefix("listening on "));
        address = line.and_then(|line| line.strip_suffix('\n')).map(str::to_owned);
        address.is_some()
    })
    .await;
    let address = address.expect("found");
    until("it answers checks", async || {
        value(&scrape(&address).await, "rollcall_replica_answering{app=\"chat\"}") == Some(1.0)
    })
    .await;
    let text = scrape(&address).await;
    assert_eq!(value(&text, "rollcall_agent_readers_cut_total"), Some(0.0), "{text}");
    assert!(value(&text, "rollcall_replica_lease_seconds{app=\"chat\"}") > Some(0.0), "{text}");
    assert!(!text.contains("rollcall_serving"), "{text}");
    drop(agent);
    service.terminate().await;
}

async fn cluster(directory: TempDir) -> (Cluster, TempDir) {
    let options = Options {
        data_dir: directory.path().join("data"),
        bin_dir: None,
        durability: Durability::Volatile,
        max_connections: 50,
    };
    let started = tokio::task::spawn_blocking(move || Cluster::start(&options)).await;
    (started.expect("no panic").expect("a Postgres"), directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_a_process_is_alive_and_not_ready() {
    let (postgres, directory) = cluster(TempDir::new().expect("a directory")).await;
    let (service, address) = start(&postgres.url("rollcall")).await;
    assert_eq!(get(&address, "/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(get(&address, "/readyz?verbose").await, (200, "ready\n".to_owned()));
    tokio::task::spawn_blocking(|| postgres.stop()).await.expect("no panic").expect("it stops");
    until("it is not ready", async || get(&address, "/readyz").await.0 == 503).await;
    until("it says so", async || {
        let text = scrape(&address).await;
        value(&text, "rollcall_serving{service=\"all\"}") == Some(0.0)
            && value(&text, "rollcall_feed_call_failures_total") >= Some(1.0)
    })
    .await;
    assert_eq!(get(&address, "/livez").await.0, 200);

    let (postgres, _directory) = cluster(directory).await;
    until("it is ready again", async || get(&address, "/readyz").await.0 == 200).await;
    service.terminate().await;
    tokio::task::spawn_blocking(|| postgres.stop()).await.expect("no panic").expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_a_plain_answer_or_none() {
    let database = create_database().await;
    let (service, address) = start(&database.url).await;
    assert_eq!(get(&address, "/").await.0, 404);
    assert_eq!(get(&address, "/metrics/..").await.0, 404);
    let posted = answered(&address, b"POST /metrics HTTP/1.1\r\ncontent-length: 0\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    let head = answered(&address, b"HEAD /metrics HTTP/1.1\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(answered(&address, &[b'x'; 9_000]).await, "", "a head that is too long");
    assert_eq!(answered(&address, b"GET /metrics").await, "", "a head that does not end is cut");
    service.terminate().await;
}

/// Opens connections that say half of a head, each again as soon as it is cut, and counts them.
async fn half_heads(address: String, opened: Arc<AtomicUsize>) {
    loop {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.expect("written");
        opened.fetch_add(1, Ordering::Relaxed);
        let mut answer = Vec::new();
        // Who is cut off may be told so by a reset.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_heads_keep_no_probe_waiting() {
    let database = create_database().await;
    let (service, address) = start(&database.url).await;
    // Fewer than there are places, and more.
    for strangers in [200, 300] {
        let opened = Arc::new(AtomicUsize::new(0));
        let mut silent = JoinSet::new();
        for _ in 0..strangers {
            silent.spawn(half_heads(address.clone(), Arc::clone(&opened)));
        }
        until("all have a connection", async || opened.load(Ordering::Relaxed) >= strangers).await;
        for path in ["/livez", "/readyz"].repeat(10) {
            let asked = Instant::now();
            let (status, _) = get(&address, path).await;
            let took = asked.elapsed();
            assert_eq!(status, 200, "{path} beside {strangers}");
            // A probe of the chart waits for five.
            assert!(took < Duration::from_secs(1), "{path} beside {strangers}: {took:?}");
        }
        // They were not only waited for: each is cut, and comes back.
        until("all were cut", async || opened.load(Ordering::Relaxed) >= 2 * strangers).await;
        silent.shutdown().await;
    }
    service.terminate().await;
}

#[tokio::test]
async fn an_address_for_metrics_that_is_taken_is_named() {
    let database = create_database().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--database-url", &database.url];
    let arguments = [arguments.as_slice(), &["--metrics-listen", &address]].concat();
    let (code, said) = ended(&arguments, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on {address} for metrics")), "{said}");
    let (code, said) = ended(&["serve", "--data-dir", "none"], &[("ROLLCALL_METRICS_LISTEN", "x")]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--metrics-listen"), "{said}");
}

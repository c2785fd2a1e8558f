//! What stands before two replicas: a real Envoy, which sends each call to one of them and repeats what met a connection that
//! broke. Where there is none, callers know both replicas.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::super::scene::until;
use crate::support::{Replica, envoy, free_address};

/// As many calls, streams and repetitions at once as anything here makes.
const AT_ONCE: u32 = 10_000;

/// Where callers call.
pub(super) struct Balancer {
    pub(super) endpoints: Vec<String>,
    _envoy: Option<(Child, TempDir)>,
}

impl Balancer {
    pub(super) async fn before(replicas: &[Replica]) -> Self {
        let endpoints: Vec<String> = replicas.iter().map(Replica::endpoint).collect();
        let Some(program) = envoy().await else {
            println!("there is no Envoy: callers know both replicas");
            return Self { endpoints, _envoy: None };
        };
        let directory = TempDir::new().expect("a directory");
        let (port, process) = start(&program, &directory, &endpoints).await;
        Self { endpoints: vec![format!("http://127.0.0.1:{port}")], _envoy: Some((process, directory)) }
    }
}

async fn start(program: &Path, directory: &TempDir, endpoints: &[String]) -> (u16, Child) {
    // Free now, and not one that the system gives to connections; whoever takes it in between makes the test fail, not pass.
    let port = free_address().port();
    let path = directory.path().join("envoy.json");
    std::fs::write(&path, config(port, endpoints).to_string()).expect("written");
    let process = Command::new(program)
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"])
        .arg(&path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("Envoy runs");
    until("Envoy", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    (port, process)
}

fn socket(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn config(port: u16, replicas: &[String]) -> Value {
    let endpoint = |replica: &String| {
        let (_, port) = replica.rsplit_once(':').expect("a port");
        json!({"endpoint": {"address": socket(port.parse().expect("a port"))}})
    };
    let replicas: Vec<Value> = replicas.iter().map(endpoint).collect();
    let thresholds = json!({
        "max_connections": AT_ONCE, "max_pending_requests": AT_ONCE, "max_requests": AT_ONCE, "max_retries": AT_ONCE,
    });
    let retries = json!({
        "retry_on": "connect-failure,refused-stream,reset,unavailable",
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    });
    let listener = json!({
        "name": "rollcall",
        "address": socket(port),
        // Or another Envoy may share a port that both took for free.
        "enable_reuse_port": false,
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "rollcall",
            "codec_type": "HTTP2",
            // Streams stay open.
            "stream_idle_timeout": "0s",
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            }}],
            "route_config": {"virtual_hosts": [{"name": "rollcall", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "rollcall", "timeout": "0s", "retry_policy": retries}},
            ]}]},
        }}]}],
    });
    let cluster = json!({
        "name": "rollcall",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [thresholds]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "load_assignment": {"cluster_name": "rollcall", "endpoints": [{"lb_endpoints": replicas}]},
    });
    json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
}

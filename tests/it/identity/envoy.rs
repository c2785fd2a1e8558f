//! A real Envoy in front of the service, as a mesh has one beside it: it asks for certificates and says whose they are.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
};

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;

use super::{
    call, is_nobody, mesh,
    tokens::{callers, claims},
};
use crate::{
    server::until,
    support::{
        Authority, CallersFile, Channel, Signed, SigningKey, client_tls, create_database, envoy, key_set,
        spiffe_id,
    },
};

const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// An Envoy with two listeners: one replaces the header that a client sent, the other appends to it.
struct Envoy {
    authority: Authority,
    ports: [u16; 2],
    _process: Child,
    _directory: TempDir,
}

impl Envoy {
    async fn start(program: &Path, service: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let authority = Authority::new("mesh");
        let own = authority.workload(&[&spiffe_id("rollcall")]).write(directory.path(), "own");
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).expect("written");
        // Free now; whoever takes one in between makes the test fail, not pass.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let ports = free.each_ref().map(|listener| listener.local_addr().expect("an address").port());
        drop(free);
        let (_, port) = service.rsplit_once(':').expect("a port");
        let listeners = [
            listener("replaces", ports[0], "SANITIZE_SET", &own, &ca),
            listener("appends", ports[1], "APPEND_FORWARD", &own, &ca),
        ];
        let config = json!({"static_resources": {"listeners": listeners, "clusters": [{
            "name": "rollcall",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "load_assignment": {"cluster_name": "rollcall", "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": socket(port.parse().expect("a port")),
            }}]}]},
        }]}});
        let path = directory.path().join("envoy.json");
        std::fs::write(&path, config.to_string()).expect("written");
        let process = Command::new(program)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Envoy runs");
        let envoy = Self { authority, ports, _process: process, _directory: directory };
        for port in envoy.ports {
            until("Envoy", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        }
        envoy
    }

    /// A new connection to one of its listeners, with a certificate of this workload.
    fn of(&self, listener: usize, workload: &str) -> Channel {
        self.showing(listener, Some(&self.authority.workload(&[&spiffe_id(workload)])))
    }

    fn showing(&self, listener: usize, shown: Option<&Signed>) -> Channel {
        let endpoint = format!("https://127.0.0.1:{}", self.ports[listener]);
        let endpoint = Endpoint::from_shared(endpoint).expect("an endpoint");
        endpoint.tls_config(client_tls(&self.authority, shown)).expect("certificates").connect_lazy().into()
    }
}

fn socket(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn listener(name: &str, port: u16, forward: &str, own: &[PathBuf; 2], ca: &Path) -> Value {
    let [certificate, key] = own;
    json!({
        "name": name,
        "address": socket(port),
        "filter_chains": [{
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": true,
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_certificates": [
                        {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}},
                    ],
                    "validation_context": {"trusted_ca": {"filename": ca}},
                },
            }},
            "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "codec_type": "HTTP2",
                "forward_client_cert_details": forward,
                "set_current_client_cert_details": {"uri": true, "subject": true},
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                }}],
                "route_config": {"virtual_hosts": [{"name": "rollcall", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "rollcall"}},
                ]}]},
            }}],
        }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_through_envoy_is_whose_certificate_it_saw() {
    let Some(program) = envoy().await else { return };
    let (key, directory) = (SigningKey::new("one"), TempDir::new().expect("a directory"));
    let keys = directory.path().join("keys.json");
    std::fs::write(&keys, key_set(&[&key])).expect("written");
    let file = CallersFile::new(&callers(&format!("jwks_file = {keys:?}")));
    let database = create_database().await;
    let service = mesh::service("istio", &database.url, &file, &[]).await;
    let envoy = Envoy::start(&program, service.address()).await;
    let forged = |text: String| HeaderValue::from_str(&text).expect("a header");
    let uri = |workload: &str| format!("Hash=1;Subject=\"\";URI={}", spiffe_id(workload));
    for listener in 0..2 {
        call(envoy.of(listener, "console")).await.expect("the operator is let in");
        is_nobody(envoy.of(listener, "stranger")).await;
        // A client that says itself whose certificate it has.
        is_nobody(envoy.of(listener, "stranger").with(XFCC, forged(uri("console")))).await;
        call(envoy.of(listener, "console").with(XFCC, forged(uri("stranger"))))
            .await
            .expect("still the operator");
        // One that opens what it does not close, so that what Envoy appends would be part of it.
        let open = format!("{};Subject=\"", uri("console"));
        is_nobody(envoy.of(listener, "stranger").with(XFCC, forged(open))).await;
        // One that says it twice.
        let twice = envoy.of(listener, "stranger").with(XFCC, forged(uri("console")));
        is_nobody(twice.with(XFCC, forged(uri("console")))).await;
        // The token of another caller.
        let token = key.token(&claims());
        call(envoy.of(listener, "console").bearing(&token)).await.expect("they agree");
        is_nobody(envoy.of(listener, "chat").bearing(&token)).await;
        // What Envoy does not let through.
        let none = call(envoy.showing(listener, None)).await.expect_err("no certificate");
        assert_ne!(none.code(), tonic::Code::Unauthenticated, "{none}");
        let foreign = Authority::new("mesh").workload(&[&spiffe_id("console")]);
        call(envoy.showing(listener, Some(&foreign))).await.expect_err("of another authority");
        // Two URIs: Envoy names both.
        let two = envoy.authority.workload(&[&spiffe_id("console"), &spiffe_id("stranger")]);
        is_nobody(envoy.showing(listener, Some(&two))).await;
    }
    until("the lines of the log", async || {
        mesh::told(&service, "uri_doubled") == 4 && mesh::told(&service, "disagreement") == 4
    })
    .await;
    println!("envoy_listeners = 2");
}

//! The settings of docs/proxies.md as they stand there, with the addresses and limits of a test in the places of its own.

use std::{fs, path::Path, time::Duration};

use super::front::{Kind, Plan};

/// The limit that the page has everywhere, and the places where a proxy listens and where replicas are.
const LIMIT: &str = "15s";
const REPLICAS: [&str; 2] = ["10.0.0.11", "10.0.0.12"];

/// A block of the page, in which things are put in the place of others.
struct Block(String);

impl Block {
    fn of(language: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/proxies.md");
        let page = fs::read_to_string(path).expect("the page");
        let (_, after) = page.split_once(&format!("\n```{language}\n")).expect("its block");
        let (block, _) = after.split_once("\n```\n").expect("the end of its block");
        Self(format!("{block}\n"))
    }

    /// A page that says something else is noticed.
    fn put(self, what: &str, with: &str) -> Self {
        assert!(self.0.contains(what), "docs/proxies.md does not say {what:?} any more");
        Self(self.0.replace(what, with))
    }
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// What the proxy is told. The paths in it are in the directory of the plan.
pub(super) fn settings(plan: &Plan<'_>) -> String {
    let mut block = match plan.kind {
        Kind::Envoy => envoy(plan),
        Kind::Nginx => nginx(plan),
        Kind::Haproxy => haproxy(plan),
    };
    for (what, with) in plan.settings.changed {
        block = block.put(what, with);
    }
    block.0
}

fn envoy(plan: &Plan<'_>) -> Block {
    let mut block = Block::of("yaml")
        .put("address: 127.0.0.1, port_value: 9901", &envoy_address(plan.admin))
        .put("address: 0.0.0.0, port_value: 7400", &envoy_address(plan.listen))
        // Or two proxies may share a port that both took for free.
        .put(
            "  - name: rollcall\n    address:",
            "  - name: rollcall\n    enable_reuse_port: false\n    address:",
        )
        .put("idle_timeout: 15s", &format!("idle_timeout: {}s", plan.settings.idle.as_secs_f64()));
    for (replica, at) in REPLICAS.into_iter().zip(plan.replicas) {
        block = block.put(&format!("address: {replica}, port_value: 7400"), &envoy_address(at.calls));
    }
    block
}

fn envoy_address(address: std::net::SocketAddr) -> String {
    format!("address: {}, port_value: {}", address.ip(), address.port())
}

fn nginx(plan: &Plan<'_>) -> Block {
    let mut block = Block::of("nginx")
        .put("listen 7400", &format!("listen {}", plan.listen))
        .put(LIMIT, &millis(plan.settings.idle));
    for (replica, at) in REPLICAS.into_iter().zip(plan.replicas) {
        block = block.put(&format!("{replica}:7400"), &at.calls.to_string());
    }
    // What stands around it in a file of its own. Without a master a kill leaves no worker behind, and no user is changed to.
    let own = plan.directory.display();
    Block(format!(
        "daemon off;
master_process off;
pid {own}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {own}/body;
    proxy_temp_path {own}/proxy;
    fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi;
    scgi_temp_path {own}/scgi;
{}}}
",
        block.0
    ))
}

fn haproxy(plan: &Plan<'_>) -> Block {
    let mut block = Block::of("haproxy")
        .put("bind :7400", &format!("bind {}", plan.listen))
        .put(LIMIT, &millis(plan.settings.idle));
    for (replica, at) in REPLICAS.into_iter().zip(plan.replicas) {
        block = block
            .put(&format!("{replica}:7400 port 9464"), &format!("{} port {}", at.calls, at.probes.port()));
    }
    Block(format!("global\n    maxconn 1000\n    nbthread 1\n{}", block.0))
}

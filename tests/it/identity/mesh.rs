//! What a mesh says of who calls, and what is not the mesh's word.

use std::ffi::OsStr;

use http::{HeaderName, HeaderValue};
use rollcall_client::v1::{CreateAccountRequest, account_service_client::AccountServiceClient};

use super::{call, is_nobody};
use crate::{
    fixtures::World,
    process::binary::Service,
    server::until,
    support::{CALLERS, CallersFile, Channel, OPERATOR, Server, create_database, istio, spiffe_id},
};

const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const LINKERD: HeaderName = HeaderName::from_static("l5d-client-id");

fn value(text: impl AsRef<[u8]>) -> HeaderValue {
    HeaderValue::from_bytes(text.as_ref()).expect("a header")
}

pub(super) async fn service(way: &str, url: &str, file: &CallersFile, more: &[&str]) -> Service {
    let path = file.path();
    let fixed = ["--database-url", url, "--identity", way, "--callers"].map(OsStr::new);
    let more: Vec<&OsStr> = more.iter().map(OsStr::new).collect();
    Service::start(&[&fixed[..], &[path.as_os_str()], &more[..]].concat()).await
}

/// How often the log says that somebody was not let in because of this.
pub(super) fn told(service: &Service, cause: &str) -> usize {
    let said = service.run.stderr();
    said.lines().filter(|line| line.contains(&format!("cause=\"{cause}\""))).count()
}

#[tokio::test]
async fn the_workload_that_the_header_names_is_let_in() {
    let server = Server::telling_apart().await;
    call(server.channel()).await.expect("the operator is let in");
    let bare = server.channel().unnamed();
    // The nearest proxy has the last word.
    let (name, of_console) = istio("console");
    let appended = [b"URI=spiffe://example.org/ns/evil/sa/evil,", of_console.as_bytes()].concat();
    call(bare.clone().with(name, value(appended))).await.expect("the last element counts");
    is_nobody(bare).await;
    // Whom the file does not name any more is nobody.
    server.set_callers(&CALLERS.replace("sa/console", "sa/former-console"));
    until("the operator is out", async || call(server.channel()).await.is_err()).await;
    is_nobody(server.channel()).await;
}

#[tokio::test]
async fn what_is_done_is_done_under_the_name_in_the_file() {
    let world = World::telling_apart().await;
    // Not under the one that is said.
    let said = world.server().channel().with(HeaderName::from_static("rollcall-caller"), value("chat"));
    let request = CreateAccountRequest { email: "ada@example.com".to_owned(), ..Default::default() };
    let made = AccountServiceClient::new(said).create_account(request).await.expect("an account");
    let account = made.into_inner().account.expect("the account").account_id;
    let org = world.organization_of(&account).await;
    let callers = "SELECT DISTINCT caller FROM changes WHERE organization_id = $1::text::uuid";
    let rows = world.server().database().query(callers, &[&org.id]).await.expect("rows");
    let callers: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(callers, [OPERATOR]);
}

/// Each of these is refused alike, and the log says why without saying what was presented.
#[tokio::test]
async fn forged_doubled_and_foreign_headers_are_nobody() {
    let database = create_database().await;
    let file = CallersFile::new(CALLERS);
    let service = service("istio", &database.url, &file, &["--log-format", "text"]).await;
    let uri = |id: &str| value(format!("By={};Hash=4711;Subject=\"\";URI={id}", spiffe_id("rollcall")));
    let one = |header: HeaderValue| service.channel().with(XFCC, header);
    let console = uri(&spiffe_id("console"));
    let cases: Vec<(&str, Channel)> = vec![
        ("no_identity", service.channel()),
        // The name that callers give themselves where they are not told apart.
        ("no_identity", service.channel().with(HeaderName::from_static("rollcall-caller"), value("console"))),
        // That of the other mesh.
        (
            "no_identity",
            service
                .channel()
                .with(LINKERD, value("console.console.serviceaccount.identity.linkerd.cluster.local")),
        ),
        ("header_doubled", one(console.clone()).with(XFCC, console.clone())),
        ("header_doubled", one(console.clone()).with(XFCC, uri(&spiffe_id("chat")))),
        ("header_malformed", one(value("console"))),
        ("header_malformed", one(value(""))),
        ("header_malformed", one(value(b"URI=spiffe://example.org/ns/console/sa/console\xff"))),
        ("header_malformed", one(uri("spiffe://example.org/ns/console/../console"))),
        ("header_malformed", one(uri("https://example.org/ns/console/sa/console"))),
        // What a client opens to hide what the proxy appends to it.
        (
            "header_malformed",
            one(value(format!(
                "URI={};Subject=\",By=x;Hash=1;Subject=\"\";URI=spiffe://example.org/ns/evil/sa/evil",
                spiffe_id("console")
            ))),
        ),
        (
            "uri_missing",
            one(value("By=spiffe://example.org/ns/rollcall/sa/rollcall;Hash=1;Subject=\"CN=console\"")),
        ),
        ("uri_doubled", one(value(format!("Hash=1;URI={};URI={}", spiffe_id("console"), spiffe_id("evil"))))),
        ("trust_domain_foreign", one(uri("spiffe://example.com/ns/console/sa/console"))),
        ("trust_domain_foreign", one(uri("spiffe://example.org.evil.com/ns/console/sa/console"))),
        ("not_listed", one(uri(&spiffe_id("somebody")))),
        ("not_listed", one(uri("spiffe://example.org/ns/console/sa/console2"))),
    ];
    for (cause, channel) in cases {
        let before = told(&service, cause);
        is_nobody(channel).await;
        // Each is asked twice.
        until("the lines of the log", async || told(&service, cause) == before + 2).await;
    }
    call(one(console)).await.expect("the operator is let in");
    let said = service.terminate().await.stderr();
    for presented in ["spiffe://", "4711", "Subject", "URI="] {
        assert!(!said.contains(presented), "{presented} is in the log: {said}");
    }
}

#[tokio::test]
async fn a_header_from_elsewhere_than_the_mesh_is_nobody() {
    let database = create_database().await;
    let file = CallersFile::new(CALLERS);
    let elsewhere = service("istio", &database.url, &file, &["--mesh-peer", "192.0.2.1"]).await;
    is_nobody(elsewhere.channel().calling_as("console")).await;
    // Not even that it is wrong is looked at.
    is_nobody(elsewhere.channel().with(XFCC, value("console"))).await;
    until("the lines of the log", async || told(&elsewhere, "header_from_elsewhere") == 4).await;
    let here = service("istio", &database.url, &file, &["--mesh-peer", "127.0.0.1"]).await;
    call(here.channel().calling_as("console")).await.expect("the mesh is believed");
}

#[tokio::test]
async fn linkerd_says_who_calls_in_its_own_header() {
    let database = create_database().await;
    let file = CallersFile::new(
        r#"
        trust_domains = ["cluster.local"]
        [[caller]]
        name = "console"
        operator = true
        linkerd_ids = ["console.ops.serviceaccount.identity.linkerd.cluster.local"]
        "#,
    );
    let service = service("linkerd", &database.url, &file, &[]).await;
    let id = |text: &str| service.channel().with(LINKERD, value(text));
    let console = "console.ops.serviceaccount.identity.linkerd.cluster.local";
    call(id(console)).await.expect("the operator is let in");
    for (cause, channel) in [
        ("no_identity", service.channel().calling_as("console")),
        ("header_doubled", id(console).with(LINKERD, value(console))),
        ("header_malformed", id("console")),
        ("header_malformed", id(&format!("{console},x"))),
        ("trust_domain_foreign", id("console.ops.serviceaccount.identity.linkerd.other.local")),
        ("not_listed", id("chat.ops.serviceaccount.identity.linkerd.cluster.local")),
    ] {
        let before = told(&service, cause);
        is_nobody(channel).await;
        until("the lines of the log", async || told(&service, cause) == before + 2).await;
    }
}

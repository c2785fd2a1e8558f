//! For whom a workload acts: the token of a person, bound to the workload that may use it.

use std::{
    fs,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue};
use rollcall::identity::{By, Cause, Evidence, Gate, Kind, Mesh, Pass, Way};
use rollcall_client::v1::{CreateAccountRequest, ExternalId, account_service_client::AccountServiceClient};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{call, is_nobody, mesh};
use crate::{
    server::{soon, until},
    support::{
        CALLERS, CallersFile, Channel, Server, SigningKey, create_database, in_seconds, istio, key_set,
        spiffe_id,
    },
};

pub(crate) const LOGIN: &str = "https://login.example.com";
const ADA: &str = "8f14e45f-ada";
pub(crate) const ACTING: HeaderName = HeaderName::from_static("rollcall-acting-token");

/// The claims of a token of Ada's that the gateway may use.
fn claims() -> Value {
    json!({
        "iss": LOGIN,
        "sub": ADA,
        "aud": "rollcall",
        "exp": in_seconds(600),
        "act": {"sub": spiffe_id("gateway")},
    })
}

fn but(key: &str, value: Value) -> Value {
    let mut claims = claims();
    let map = claims.as_object_mut().expect("an object");
    if value.is_null() {
        map.remove(key)
    } else {
        map.insert(key.to_owned(), value)
    };
    claims
}

/// The callers, and who signs tokens of persons.
fn callers(directory: &TempDir, key: &SigningKey) -> String {
    let path = directory.path().join("keys.json");
    fs::write(&path, key_set(&[key])).expect("written");
    format!(
        "{CALLERS}\n[[issuer]]\nissuer = \"{LOGIN}\"\naudience = \"rollcall\"\nfor = \"persons\"\njwks_file = {path:?}\n"
    )
}

fn for_whom(channel: Channel, token: &str) -> Channel {
    channel.with(ACTING, token.parse().expect("a header"))
}

#[tokio::test]
async fn the_token_of_a_person_is_for_one_workload() {
    let (key, directory) = (SigningKey::new("login"), TempDir::new().expect("a directory"));
    let file = CallersFile::new(&callers(&directory, &key));
    let database = create_database().await;
    let service = mesh::service("istio", &database.url, &file, &[]).await;
    let of = |workload: &str| service.channel().calling_as(workload);
    let request = CreateAccountRequest {
        email: "ada@example.com".to_owned(),
        external_ids: vec![ExternalId { issuer: LOGIN.to_owned(), subject: ADA.to_owned() }],
        ..Default::default()
    };
    AccountServiceClient::new(of("console")).create_account(request).await.expect("an account");
    let stranger = SigningKey::new("login");
    let cases = [
        // Replayed by another workload.
        ("actor_other", for_whom(of("chat"), &key.token(&claims()))),
        ("actor_other", for_whom(of("console"), &key.token(&claims()))),
        ("actor_other", for_whom(of("gateway"), &key.token(&but("act", json!({"sub": spiffe_id("chat")}))))),
        ("actor_other", for_whom(of("gateway"), &key.token(&but("act", json!({"sub": "gateway"}))))),
        (
            "actor_other",
            for_whom(
                of("gateway"),
                &key.token(&but("act", json!({"sub": spiffe_id("gateway"), "iss": LOGIN}))),
            ),
        ),
        ("actor_missing", for_whom(of("gateway"), &key.token(&but("act", Value::Null)))),
        ("token_malformed", for_whom(of("gateway"), &key.token(&but("act", json!("gateway"))))),
        ("token_malformed", for_whom(of("gateway"), "")),
        ("token_doubled", for_whom(for_whom(of("gateway"), &key.token(&claims())), &key.token(&claims()))),
        ("token_signature", for_whom(of("gateway"), &stranger.token(&claims()))),
        ("token_audience", for_whom(of("gateway"), &key.token(&but("aud", json!("gateway"))))),
        ("token_expired", for_whom(of("gateway"), &key.token(&but("exp", json!(in_seconds(-100)))))),
        ("token_lifetime", for_whom(of("gateway"), &key.token(&but("exp", json!(in_seconds(7_200)))))),
        ("token_issuer", for_whom(of("gateway"), &key.token(&but("iss", json!("https://evil.example"))))),
        ("person_unknown", for_whom(of("gateway"), &key.token(&but("sub", json!("somebody"))))),
        // It says for whom, not who.
        ("no_identity", for_whom(service.channel(), &key.token(&claims()))),
        ("token_issuer", service.channel().bearing(&key.token(&claims()))),
        ("token_issuer", of("gateway").bearing(&key.token(&claims()))),
    ];
    for (cause, channel) in cases {
        let before = mesh::told(&service, cause);
        is_nobody(channel).await;
        until(cause, async || mesh::told(&service, cause) == before + 2).await;
    }
    // Let in; what it may do then is another matter.
    if let Err(status) = call(for_whom(of("gateway"), &key.token(&claims()))).await {
        assert_ne!(status.code(), Code::Unauthenticated, "{status}");
    }
    let said = service.terminate().await.stderr();
    assert!(!said.contains(ADA) && !said.contains(LOGIN), "{said}");
}

#[tokio::test]
async fn where_callers_are_not_told_apart_nobody_is_proven_to_be_acted_for() {
    let server = Server::start().await;
    let key = SigningKey::new("login");
    is_nobody(for_whom(server.channel(), &key.token(&claims()))).await;
    call(server.channel()).await.expect("without it anybody is let in");
}

/// A gate, with the file of its callers and the directory of the keys.
struct Gated {
    gate: Gate,
    key: SigningKey,
    file: CallersFile,
    directory: TempDir,
}

impl Gated {
    fn new() -> Self {
        let (key, directory) = (SigningKey::new("login"), TempDir::new().expect("a directory"));
        let file = CallersFile::new(&callers(&directory, &key));
        let by = By::Mesh { mesh: Mesh::Istio, peer: None };
        let gate = Gate::open(&Way::Told { by, callers: file.path() }).expect("a gate");
        Self { gate, key, file, directory }
    }

    /// Lets the gateway in, with this token.
    async fn pass(&self, claims: &Value) -> Result<Pass, Cause> {
        let mut headers = http::HeaderMap::new();
        let (name, value) = istio("gateway");
        headers.insert(name, value);
        headers.insert(ACTING, HeaderValue::from_str(&self.key.token(claims)).expect("a header"));
        let peer = Some("127.0.0.1".parse().expect("an address"));
        let admitted = self.gate.admit(Evidence { headers: &headers, peer, certificate: None }).await;
        admitted.map(|pass| pass.expect("callers are told apart"))
    }
}

#[tokio::test]
async fn whom_a_token_names_is_who_is_acted_for() {
    let gated = Gated::new();
    let pass = gated.pass(&claims()).await.expect("let in");
    let person = pass.person.expect("a person");
    assert_eq!((person.issuer(), person.subject()), (LOGIN, ADA));
    assert_eq!(pass.caller.name.as_str(), "gateway");
}

/// How soon it is known that what was proven does not hold any more.
#[tokio::test]
async fn what_was_proven_ends_with_its_time_and_with_the_file() {
    let gated = Gated::new();
    let shutdown = CancellationToken::new();
    let keeping = tokio::spawn(gated.gate.clone().keep(shutdown.clone()));
    // Its time is up.
    let pass = gated.pass(&but("exp", json!(in_seconds(2)))).await.expect("let in");
    let begun = Instant::now();
    soon("the end of the token", pass.withdrawn()).await;
    assert!(begun.elapsed() <= Duration::from_secs(3), "{:?}", begun.elapsed());
    let everything = callers(&gated.directory, &gated.key);
    let gateway = "name = \"gateway\"\nimpersonates = true";
    let mut slowest = Duration::ZERO;
    for (what, changed) in [
        ("the right to impersonate", everything.replace(gateway, "name = \"gateway\"")),
        ("its kind", everything.replace(gateway, "name = \"gateway\"\napp = true\nimpersonates = true")),
        ("its name", everything.replace(gateway, "name = \"other\"\nimpersonates = true")),
        ("its identity", everything.replace("sa/gateway", "sa/other")),
        ("the issuer of the person", everything.replace("for = \"persons\"", "for = \"workloads\"")),
    ] {
        gated.file.write(&everything);
        let mut pass = None;
        until("the file is read", async || {
            let is_all = |pass: &Pass| pass.caller.may_impersonate && pass.caller.kind == Kind::Workload;
            pass = gated.pass(&claims()).await.ok().filter(is_all);
            pass.is_some()
        })
        .await;
        let pass = pass.expect("found");
        let begun = Instant::now();
        gated.file.write(&changed);
        soon(what, pass.withdrawn()).await;
        slowest = slowest.max(begun.elapsed());
    }
    println!("withdrawn_slowest_ms = {:.0}", slowest.as_secs_f64() * 1_000.0);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    shutdown.cancel();
    keeping.await.expect("no panic");
}

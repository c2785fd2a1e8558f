//! Tokens that say who calls, and what is no such token.

use std::fs;

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{call, is_nobody, mesh};
use crate::{
    process::binary::Service,
    server::until,
    support::{CALLERS, CallersFile, Channel, SigningKey, create_database, in_seconds, key_set, unsigned},
};

/// As Kubernetes' is called.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(super) const SUBJECT: &str = "system:serviceaccount:console:console";

/// Callers of whom some have tokens too.
pub(crate) fn callers(keys: &str) -> String {
    let token = |name: &str| {
        let subject = format!("system:serviceaccount:{name}:{name}");
        format!("tokens = [{{ issuer = \"{ISSUER}\", subject = \"{subject}\" }}]\n")
    };
    let issuer =
        format!("[[issuer]]\nissuer = \"{ISSUER}\"\naudience = \"rollcall\"\nfor = \"workloads\"\n{keys}\n");
    let mut text = CALLERS.to_owned();
    for name in ["console", "chat", "boards", "gateway"] {
        let line = format!("name = \"{name}\"\n");
        text = text.replace(&line, &format!("{line}{}", token(name)));
    }
    text + &issuer
}

/// Claims that the operator's tokens have.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": ["rollcall"],
        "iat": in_seconds(-10),
        "nbf": in_seconds(-10),
        "exp": in_seconds(3_590),
        "kubernetes.io": {"namespace": "console", "serviceaccount": {"name": "console"}},
    })
}

/// The same, with this said otherwise, or not at all.
pub(super) fn but(key: &str, value: Value) -> Value {
    let mut claims = claims();
    let map = claims.as_object_mut().expect("an object");
    if value.is_null() {
        map.remove(key)
    } else {
        map.insert(key.to_owned(), value)
    };
    claims
}

/// A service with the keys of an issuer in a file.
struct Told {
    service: Service,
    directory: TempDir,
    _callers: CallersFile,
}

impl Told {
    async fn start(keys: &[&SigningKey]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("keys.json");
        fs::write(&path, key_set(keys)).expect("written");
        let file = CallersFile::new(&callers(&format!("jwks_file = {path:?}")));
        let database = create_database().await;
        let service = mesh::service("istio", &database.url, &file, &[]).await;
        Self { service, directory, _callers: file }
    }

    fn bearing(&self, token: &str) -> Channel {
        self.service.channel().bearing(token)
    }
}

#[tokio::test]
async fn a_token_of_an_issuer_says_who_calls() {
    let kinds = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];
    let keys = kinds.map(|kind| SigningKey::of(&format!("key-{kind:?}"), kind));
    let told = Told::start(&keys.each_ref()).await;
    for key in &keys {
        let token = key.token(&claims());
        // The second time from what is remembered.
        call(told.bearing(&token)).await.expect("let in");
        call(told.bearing(&token)).await.expect("let in");
    }
    let one = &keys[0];
    for good in [
        but("aud", json!("rollcall")),
        but("aud", json!(["other", "rollcall"])),
        but("iat", Value::Null),
        but("nbf", Value::Null),
        // Clocks are not the same everywhere.
        but("exp", json!(in_seconds(-30))),
        but("nbf", json!(in_seconds(30))),
    ] {
        call(told.bearing(&one.token(&good))).await.unwrap_or_else(|status| panic!("{good}: {status}"));
    }
    // What the mesh says and what the token says is one caller; if not, it is nobody.
    let token = one.token(&claims());
    call(told.bearing(&token).clone()).await.expect("let in");
    let both = |workload| told.service.channel().calling_as(workload).bearing(&token);
    call(both("console")).await.expect("let in");
    is_nobody(both("chat")).await;
    is_nobody(both("stranger")).await;
    until("the lines of the log", async || mesh::told(&told.service, "disagreement") == 2).await;
}

/// Each of these is refused alike, and the log says why without saying what was presented.
#[tokio::test]
async fn what_is_no_token_for_this_service_is_nobody() {
    let key = SigningKey::new("one");
    let rsa = SigningKey::of("rsa", Algorithm::RS256);
    let told = Told::start(&[&key, &rsa]).await;
    let stranger = SigningKey::new("one");
    let unknown = SigningKey::new("made-up");
    let good = key.token(&claims());
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let with = |changed: Value| key.token(&changed);
    let head = |head: Value| key.token_with(&head, &claims());
    // Signed with the public key as if it were a shared secret, in the forms in which somebody has it.
    let confused = |public: &[u8], id: &str| {
        let signed = unsigned(&json!({"alg": "HS256", "kid": id}), &claims());
        let secret = EncodingKey::from_secret(public);
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, Algorithm::HS256);
        format!("{signed}.{}", signature.expect("a signature"))
    };
    let other_claims = signed.replace(
        signed.split('.').nth(1).expect("claims"),
        unsigned(&json!({}), &but("jti", json!("other"))).split('.').nth(1).expect("claims"),
    );
    let cases: Vec<(&str, String)> = vec![
        ("token_malformed", "token".to_owned()),
        ("token_malformed", "a.b".to_owned()),
        ("token_malformed", "..".to_owned()),
        ("token_signature", signed.to_owned()),
        ("token_malformed", with(json!([]))),
        ("token_malformed", with(but("iss", Value::Null))),
        ("token_malformed", with(but("sub", Value::Null))),
        ("token_malformed", with(but("sub", json!("")))),
        ("token_malformed", with(but("exp", Value::Null))),
        ("token_malformed", with(but("exp", json!("tomorrow")))),
        ("token_malformed", with(but("aud", Value::Null))),
        ("token_malformed", head(json!({"alg": "ES256", "kid": "one", "crit": ["exp"]}))),
        ("token_too_long", with(but("jti", json!("x".repeat(8_192))))),
        ("token_algorithm", format!("{}.", unsigned(&json!({"alg": "none", "kid": "one"}), &claims()))),
        ("token_algorithm", format!("{}.{signature}", unsigned(&json!({"alg": "None", "kid": "one"}), &claims()))),
        ("token_algorithm", confused(key.public.to_string().as_bytes(), "one")),
        ("token_algorithm", confused(key.public["x"].as_str().expect("a part").as_bytes(), "one")),
        ("token_algorithm", confused(rsa.public["n"].as_str().expect("a part").as_bytes(), "rsa")),
        // Of an algorithm that its key is not for.
        ("token_algorithm", head(json!({"alg": "RS256", "kid": "one"}))),
        ("token_algorithm", head(json!({"alg": "ES384", "kid": "one"}))),
        ("token_algorithm", head(json!({"alg": "ES256", "kid": "rsa"}))),
        ("token_signature", format!("{signed}.")),
        ("token_signature", format!("{signed}.{}", signature.chars().rev().collect::<String>())),
        ("token_signature", format!("{other_claims}.{signature}")),
        ("token_signature", stranger.token(&claims())),
        ("token_key_unknown", unknown.token(&claims())),
        // Which of two is not said.
        ("token_key_unknown", head(json!({"alg": "ES256"}))),
        // Keys that it brings along are no keys.
        (
            "token_key_unknown",
            unknown.token_with(
                &json!({"alg": "ES256", "kid": "made-up", "jwk": unknown.public, "jku": "http://127.0.0.1:1/"}),
                &claims(),
            ),
        ),
        ("token_issuer", with(but("iss", json!("https://evil.example")))),
        ("token_issuer", with(but("iss", json!(format!("{ISSUER}/"))))),
        ("token_audience", with(but("aud", json!("other")))),
        ("token_audience", with(but("aud", json!([])))),
        ("token_audience", with(but("aud", json!("rollcall2")))),
        ("token_expired", with(but("exp", json!(in_seconds(-61))))),
        ("token_expired", with(but("exp", json!(0)))),
        ("token_expired", with(but("exp", json!(-1)))),
        ("token_not_yet", with(but("nbf", json!(in_seconds(90))))),
        ("token_not_yet", with(but("iat", json!(in_seconds(90))))),
        ("token_lifetime", with(but("exp", json!(in_seconds(3_700))))),
        ("token_lifetime", with(but("exp", json!(1e300)))),
        ("token_lifetime", with(but("iat", json!(in_seconds(-3_600))))),
        ("not_listed", with(but("sub", json!("system:serviceaccount:evil:evil")))),
        ("not_listed", with(but("sub", json!("spiffe://example.org/ns/console/sa/console")))),
    ];
    let number = cases.len();
    let mut presented = Vec::new();
    for (cause, token) in cases {
        let before = mesh::told(&told.service, cause);
        is_nobody(told.bearing(&token)).await;
        until(cause, async || mesh::told(&told.service, cause) == before + 2).await;
        presented.extend(token.split('.').map(str::to_owned));
    }
    // Not as it is sent.
    let header = |text: &str| {
        told.service.channel().with(http::header::AUTHORIZATION, text.parse().expect("a header"))
    };
    for (cause, channel) in [
        ("token_malformed", header("Basic Y29uc29sZTpjb25zb2xl")),
        ("token_malformed", header("Bearer")),
        ("token_malformed", header(&good)),
        ("token_doubled", told.bearing(&good).bearing(&good)),
    ] {
        let before = mesh::told(&told.service, cause);
        is_nobody(channel).await;
        until(cause, async || mesh::told(&told.service, cause) == before + 2).await;
    }
    call(told.bearing(&good)).await.expect("the good one is let in");
    println!("bad_tokens_refused = {}", number + 4);
    presented.extend(good.split('.').map(str::to_owned));
    let said = told.service.terminate().await.stderr();
    for part in presented.iter().filter(|part| part.len() > 5) {
        assert!(!said.contains(part.as_str()), "{part} is in the log: {said}");
    }
    assert!(!said.contains("serviceaccount"), "{said}");
}

#[tokio::test]
async fn a_changed_file_of_keys_is_read_and_a_broken_one_is_not_taken() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let told = Told::start(&[&old]).await;
    let (of_old, of_new) = (old.token(&claims()), new.token(&claims()));
    call(told.bearing(&of_old)).await.expect("let in");
    is_nobody(told.bearing(&of_new)).await;
    let path = told.directory.path().join("keys.json");
    fs::write(&path, "{\"keys\": []}").expect("written");
    let says = |problem: &str| told.service.run.stderr().contains(problem);
    until("it is called broken", async || says("no key that can be used")).await;
    call(told.bearing(&of_old)).await.expect("still let in");
    fs::write(&path, key_set(&[&new])).expect("written");
    until("the new one is known", async || call(told.bearing(&of_new)).await.is_ok()).await;
    // Also those that were checked before are not good any more.
    is_nobody(told.bearing(&of_old)).await;
}

//! Tokens that anybody may send, from the header to who is let in, by itself: for the fuzzer in `fuzz/`, and for the
//! properties below. The keys of the issuer are in memory, and nothing is fetched.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;

use super::{
    Caller, Cause, Evidence, Gate, Mesh,
    callers::Callers,
    keys::Keys,
    tokens::{Issuer, Purpose},
};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "rollcall";
const SUBJECT: &str = "chat";
/// What stands for ten minutes from now in the claims: no input knows the time.
const SOON: char = '$';
/// The head of every token for which the input says none.
const HEAD: &str = r#"{"alg":"EdDSA","kid":"one"}"#;
/// What an Ed25519 key of 32 bytes begins with (RFC 8410), and the bytes of one that signs nothing but this.
const PRIVATE: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
const SECRET: [u8; 32] = [7; 32];
/// Its public part.
const PUBLIC: &str = "6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw";

/// One caller, and who signs for it.
static CALLERS: LazyLock<Arc<Callers>> = LazyLock::new(|| {
    let document = format!(r#"{{"keys":[{{"kid":"one","kty":"OKP","crv":"Ed25519","x":"{PUBLIC}"}}]}}"#);
    let keys = Keys::read(PathBuf::from("keys"), document.into_bytes()).expect("a key");
    let issuer = Issuer { name: ISSUER.to_owned(), audience: AUDIENCE.to_owned(), keys };
    let file = format!(
        "[[issuer]]\nissuer = {ISSUER:?}\naudience = {AUDIENCE:?}\nfor = \"workloads\"\njwks_file = \"keys\"\n\
         [[caller]]\nname = \"chat\"\ntokens = [{{ issuer = {ISSUER:?}, subject = {SUBJECT:?} }}]\n"
    );
    let before = Callers::knowing(Purpose::Workloads, issuer);
    Arc::new(Callers::parse(file.as_bytes(), &before).expect("a file of callers"))
});

static KEY: LazyLock<EncodingKey> =
    LazyLock::new(|| EncodingKey::from_ed_der(&[&PRIVATE[..], &SECRET].concat()));

/// A token: the bytes as the header, and as head and claims, a line each, that the issuer signed.
///
/// # Panics
///
/// Where a header is let in that nobody signed, where one is let in that says something else than it must, and where it is
/// something else the second time.
pub fn token(bytes: &[u8]) {
    if let Ok(header) = HeaderValue::from_bytes(bytes) {
        assert!(admit(header).is_err(), "a token that nobody signed");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let text = text.replace(SOON, &(now + 600).to_string());
    let (head, claims) = text.split_once('\n').unwrap_or((HEAD, &text));
    if admit(signed(head, claims)).is_ok() {
        assert!(is_for_us(head, claims, now), "let in with {head} {claims}");
    }
}

/// The header of a token that the issuer signed, whatever it says.
fn signed(head: &str, claims: &str) -> HeaderValue {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &KEY, Algorithm::EdDSA).expect("signed");
    HeaderValue::try_from(format!("Bearer {text}.{signature}")).expect("letters, digits and points")
}

/// Who is let in with this header, by a service that has not seen it before.
fn admit(header: HeaderValue) -> Result<Caller, Cause> {
    let gate = Gate::at_hand(Mesh::Istio, Arc::clone(&CALLERS));
    let headers = HeaderMap::from_iter([(AUTHORIZATION, header)]);
    let ask = || {
        let asked = gate.admit(Evidence { headers: &headers, peer: None, certificate: None });
        // Whatever key it names: nothing is waited for.
        let answer = asked.now_or_never().expect("nothing is fetched");
        answer.map(|pass| pass.expect("callers are told apart").caller)
    };
    let first = ask();
    // From what is remembered.
    assert_eq!(ask(), first);
    first
}

/// What must be so of a token that is let in, read in another way than the service reads it.
#[allow(clippy::cast_precision_loss)]
fn is_for_us(head: &str, claims: &str, now: u64) -> bool {
    let (Ok(head), Ok(claims)) = (serde_json::from_str(head), serde_json::from_str(claims)) else {
        return false;
    };
    let (head, claims): (Value, Value) = (head, claims);
    let is_audience = match &claims["aud"] {
        Value::Array(all) => all.iter().any(|one| one == AUDIENCE),
        one => one == AUDIENCE,
    };
    // Since `now` a moment has passed.
    let (now, moment) = (now as f64, 5.0);
    let exp = claims["exp"].as_f64().unwrap_or(f64::INFINITY);
    let begins = |name: &str| claims[name].as_f64().unwrap_or(now);
    head["alg"] == "EdDSA"
        && (head["kid"] == "one" || head["kid"].is_null())
        && head["crit"].is_null()
        && claims["iss"] == ISSUER
        && claims["sub"] == SUBJECT
        && is_audience
        && exp > now - 60.0
        && exp <= now.min(begins("iat")) + 3_660.0 + moment
        && begins("iat").max(begins("nbf")) <= now + 60.0 + moment
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"iss":"https://issuer.example","sub":"chat","aud":"rollcall","exp":$}"#;

    fn admit_signed(head: &str, claims: &str) -> Result<Caller, Cause> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        admit(signed(head, &claims.replace(SOON, &(now + 600).to_string())))
    }

    /// Else nothing that a fuzzer thinks of gets far.
    #[test]
    fn what_is_as_it_must_be_is_let_in_and_nothing_else() {
        assert_eq!(admit_signed(HEAD, GOOD).unwrap().name.as_str(), "chat");
        assert!(admit_signed(r#"{"alg":"EdDSA"}"#, GOOD).is_ok(), "there is one key");
        token(GOOD.as_bytes());
        for (head, claims, cause) in [
            (r#"{"alg":"none"}"#, GOOD, Cause::TokenAlgorithm),
            (r#"{"alg":"ES256","kid":"one"}"#, GOOD, Cause::TokenAlgorithm),
            (r#"{"alg":"EdDSA","kid":"one","crit":["exp"]}"#, GOOD, Cause::TokenMalformed),
            (r#"{"alg":"EdDSA","kid":"two"}"#, GOOD, Cause::TokenKeyUnknown),
            (HEAD, &GOOD.replace("chat", "board"), Cause::NotListed),
            (HEAD, &GOOD.replace("rollcall", "other"), Cause::TokenAudience),
            (HEAD, &GOOD.replace('$', "1"), Cause::TokenExpired),
            (HEAD, &GOOD.replace('$', "$0"), Cause::TokenLifetime),
            (HEAD, &GOOD.replace('}', ",\"nbf\":$}"), Cause::TokenNotYet),
            (HEAD, "[]", Cause::TokenMalformed),
        ] {
            assert_eq!(admit_signed(head, claims).unwrap_err(), cause, "{head} {claims}");
        }
    }

    #[test]
    fn a_signature_is_good_for_what_it_was_made_for_alone() {
        let text = |claims: &str| {
            let claims = claims.replace(SOON, &(4_000_000_000_u64).to_string());
            signed(HEAD, &claims).to_str().unwrap().to_owned()
        };
        let (one, other) = (text(GOOD), text(&GOOD.replace("chat", "board")));
        let (said, _) = one.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        let forged = format!("{said}.{signature}");
        assert_eq!(admit(forged.parse().unwrap()).unwrap_err(), Cause::TokenSignature);
    }

    #[test]
    #[should_panic(expected = "a token that nobody signed")]
    fn a_header_that_is_let_in_is_a_finding() {
        let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
        token(signed(HEAD, &GOOD.replace(SOON, &soon.to_string())).as_bytes());
    }

    /// The reading that the fuzzer compares with finds what it is there to find.
    #[test]
    fn what_must_not_be_let_in_is_known_as_such() {
        let good = GOOD.replace(SOON, "1600");
        assert!(is_for_us(HEAD, &good, 1_000));
        for (head, claims) in [
            (r#"{"alg":"ES256","kid":"one"}"#, good.clone()),
            (r#"{"alg":"EdDSA","kid":"two"}"#, good.clone()),
            (r#"{"alg":"EdDSA","crit":["exp"]}"#, good.clone()),
            (HEAD, good.replace("issuer.example", "other.example")),
            (HEAD, good.replace("chat", "board")),
            (HEAD, good.replace("rollcall", "other")),
            (HEAD, good.replace("\"rollcall\"", "[]")),
            (HEAD, good.replace("1600", "900")),
            (HEAD, good.replace("1600", "9000")),
            (HEAD, good.replace("1600", "1600,\"iat\":2000")),
            (HEAD, good.replace("1600", "1600,\"iat\":-4000")),
            (HEAD, good.replace("1600", "1600,\"nbf\":2000")),
        ] {
            assert!(!is_for_us(head, &claims, 1_000), "{head} {claims}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_anything_panic(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
            token(&bytes);
        }

        #[test]
        fn nor_do_texts_that_look_like_the_right_ones(
            head in r#"(\{|\}|"alg":|"kid":|"crit":|"EdDSA"|"one"|"none"|null|,){0,8}"#,
            claims in r#"(\{|\}|"iss":"https://issuer.example"|"sub":"chat"|"aud":|"rollcall"|\[|\]|"exp":|"iat":|"nbf":|\$|-|1e9|,){0,16}"#,
        ) {
            token(claims.as_bytes());
            token(format!("{head}\n{claims}").as_bytes());
            token(format!("Bearer {head}.{claims}.").as_bytes());
        }
    }
}

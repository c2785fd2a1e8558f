//! Tokens: JSON Web Tokens that an issuer signed for this service and that live an hour at most. What the token says of itself
//! chooses which key it is checked with, never how.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName};
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    Cause,
    keys::{KeySet, Keys},
};

/// The longest token.
const MAX: usize = 8 * 1024;
/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 60;
/// How long a token may live, in seconds.
const LIFE: u64 = 3_600;
/// How many that were checked are remembered: each costs some 200 bytes, and checking one costs 50 us.
const REMEMBERED: usize = 10_000;
/// What may sign. HMAC is not among them: who could check with it could sign too.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
];

/// Who signs tokens, and of whom.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: String,
    pub(super) audience: String,
    pub(super) keys: Keys,
}

/// Of whom tokens speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    /// Of workloads: they say who calls.
    Workloads,
    /// Of persons: they say for whom.
    Persons,
}

/// What a token that was checked says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    /// When it ends.
    pub(super) until: SystemTime,
    /// Who may use it (RFC 8693).
    pub(super) actor: Option<Actor>,
}

/// The claim `act`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Actor {
    pub(super) sub: String,
    pub(super) iss: Option<String>,
}

/// The head of a token, as far as it is looked at.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

/// The claims, as they are written.
#[derive(Deserialize)]
struct Written {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    iat: Option<f64>,
    nbf: Option<f64>,
    act: Option<Actor>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

/// The token in this header. None: there is no such header.
pub(super) fn presented<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    scheme: Option<&str>,
) -> Result<Option<&'a str>, Cause> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Cause::TokenDoubled);
    }
    if value.len() > MAX + 16 {
        return Err(Cause::TokenTooLong);
    }
    let text = value.to_str().map_err(|_| Cause::TokenMalformed)?;
    let Some(scheme) = scheme else { return Ok(Some(text)) };
    let (said, token) = text.split_once(' ').ok_or(Cause::TokenMalformed)?;
    said.eq_ignore_ascii_case(scheme).then_some(Some(token.trim_matches(' '))).ok_or(Cause::TokenMalformed)
}

/// The SHA-256 of a token: it is not kept itself.
type TokenDigest = [u8; 32];

/// Those that were checked, with the keys by which they were.
#[derive(Debug, Default)]
pub(super) struct Checked(Mutex<HashMap<TokenDigest, (Arc<KeySet>, Claims)>>);

impl Checked {
    /// What it says, if it was checked before and its key is one still, and it lives.
    fn find(&self, digest: &TokenDigest, keys: &Arc<KeySet>) -> Option<Claims> {
        let mut checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (by, claims) = checked.get(digest)?;
        if Arc::ptr_eq(by, keys) && SystemTime::now() < claims.until {
            return Some(claims.clone());
        }
        checked.remove(digest);
        None
    }

    fn remember(&self, digest: TokenDigest, keys: Arc<KeySet>, claims: Claims) {
        let mut checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.len() >= REMEMBERED {
            let now = SystemTime::now();
            checked.retain(|_, (_, claims)| claims.until > now);
        }
        // All of them live: each is checked once more.
        if checked.len() >= REMEMBERED {
            checked.clear();
        }
        checked.insert(digest, (keys, claims));
    }
}

/// Who is said to have signed it. Nothing of that is proven.
pub(super) fn issuer_of(token: &str) -> Result<String, Cause> {
    if token.len() > MAX {
        return Err(Cause::TokenTooLong);
    }
    #[derive(Deserialize)]
    struct Unproven {
        iss: String,
    }
    let unproven: Unproven = part(token.split('.').nth(1).ok_or(Cause::TokenMalformed)?)?;
    Ok(unproven.iss)
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Cause> {
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| Cause::TokenMalformed)?;
    serde_json::from_slice(&json).map_err(|_| Cause::TokenMalformed)
}

/// Checks a token with the keys of its issuer.
pub(super) async fn check(token: &str, issuer: &Issuer, checked: &Checked) -> Result<Claims, Cause> {
    let digest: TokenDigest = Sha256::digest(token.as_bytes()).into();
    if let Some(claims) = checked.find(&digest, &issuer.keys.known()) {
        return Ok(claims);
    }
    let head: Head = part(token.split('.').next().unwrap_or_default())?;
    let algorithm =
        ALGORITHMS.into_iter().find(|(name, _)| *name == head.alg).map(|(_, algorithm)| algorithm);
    let algorithm = algorithm.ok_or(Cause::TokenAlgorithm)?;
    // What must be understood and is not.
    if head.crit.is_some() {
        return Err(Cause::TokenMalformed);
    }
    let keys = issuer.keys.with(head.kid.as_deref()).await;
    let missing = if keys.is_empty() { Cause::TokenKeysMissing } else { Cause::TokenKeyUnknown };
    let key = keys.find(head.kid.as_deref()).ok_or(missing)?;
    if !key.fits(algorithm) {
        return Err(Cause::TokenAlgorithm);
    }
    // The signature alone is checked there; of what it signs every part is looked at here, each with a cause of its own.
    let mut signature = Validation::new(algorithm);
    signature.required_spec_claims.clear();
    (signature.validate_exp, signature.validate_nbf, signature.validate_aud) = (false, false, false);
    let written = jsonwebtoken::decode::<serde_json::Value>(token, &key.key, &signature);
    let written = written.map_err(|_| Cause::TokenSignature)?.claims;
    let written: Written = serde_json::from_value(written).map_err(|_| Cause::TokenMalformed)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let claims = judge(written, issuer, now)?;
    checked.remember(digest, keys, claims.clone());
    Ok(claims)
}

/// Whether what was signed is for this service, and for now.
#[allow(clippy::cast_precision_loss)]
fn judge(written: Written, issuer: &Issuer, now: f64) -> Result<Claims, Cause> {
    let Written { iss, sub, aud, exp, iat, nbf, act } = written;
    let (leeway, life) = (LEEWAY as f64, LIFE as f64);
    if iss != issuer.name {
        return Err(Cause::TokenIssuer);
    }
    if !aud.has(&issuer.audience) {
        return Err(Cause::TokenAudience);
    }
    if exp + leeway <= now {
        return Err(Cause::TokenExpired);
    }
    if iat.into_iter().chain(nbf).any(|from| from > now + leeway) {
        return Err(Cause::TokenNotYet);
    }
    if exp > iat.unwrap_or(now).min(now) + life + leeway {
        return Err(Cause::TokenLifetime);
    }
    let until = Duration::try_from_secs_f64(exp).map_err(|_| Cause::TokenMalformed)?;
    if sub.is_empty() {
        return Err(Cause::TokenMalformed);
    }
    Ok(Claims { issuer: iss, subject: sub, until: UNIX_EPOCH + until, actor: act })
}

//! The keys with which an issuer signs: where they are published, and how soon a new one is known and an old one is not. Keys
//! are public and asymmetric: with anything else whoever checks tokens could make them.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    fetch::Source,
    watched::{self, Watched},
};

/// How often published keys are fetched: a key that was withdrawn is good for no longer.
const REFRESH: Duration = Duration::from_secs(300);
/// How many fetches unknown keys can cause at once, and after how long one more: whoever makes up keys must not have the
/// issuer asked for each, and who signs with a new one is to be let in at once.
const AT_ONCE: u32 = 5;
const ONE_MORE: Duration = Duration::from_secs(5);
/// Keys of one issuer at most. A rotation has two or three.
const MAX_KEYS: usize = 100;

/// Where keys are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// In a file.
    File(PathBuf),
    /// At an address.
    At(Source),
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Keys {
    published: Published,
    file: Option<Mutex<Watched<PathBuf>>>,
    known: RwLock<Arc<KeySet>>,
    /// Held while they are fetched: there is one fetch at a time.
    fetches: tokio::sync::Mutex<Fetches>,
}

/// What was fetched so far.
#[derive(Debug)]
struct Fetches {
    /// When the last one began.
    began: Option<Instant>,
    /// How many unknown keys may still cause, and since when that many.
    left: u32,
    since: Instant,
}

impl Fetches {
    /// Whether an unknown key may cause one now.
    fn may(&mut self) -> bool {
        let gained = self.since.elapsed().as_millis() / ONE_MORE.as_millis();
        if gained > 0 {
            self.left = AT_ONCE.min(self.left.saturating_add(u32::try_from(gained).unwrap_or(AT_ONCE)));
            self.since = Instant::now();
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// The keys that are known at one time.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    /// By their ids.
    keys: HashMap<String, Key>,
    /// What they were read from.
    text: Vec<u8>,
}

/// A key, and what it may sign with.
pub(super) struct Key {
    pub(super) key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

impl Key {
    /// Whether a token that says this algorithm can be checked with it. The key decides, not the token: a public key must never
    /// be taken for a shared secret.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// The document of RFC 7517, as far as it is looked at: what a single key says may be of kinds that are not known here.
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads the keys that can be used. The others, of kinds that are not known here or for encryption, are passed over.
    fn parse(text: Vec<u8>) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(&text).map_err(|_| "it is no JSON Web Key Set".to_owned())?;
        if document.keys.len() > MAX_KEYS {
            return Err(format!("it has more than {MAX_KEYS} keys"));
        }
        let mut keys = HashMap::new();
        for jwk in document.keys {
            let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else { continue };
            let id = jwk.common.key_id.clone().unwrap_or_default();
            let Some(key) = usable(&jwk) else { continue };
            if keys.insert(id, key).is_some() {
                return Err("two of its keys have one id".to_owned());
            }
        }
        if keys.is_empty() {
            return Err("it has no key that can be used".to_owned());
        }
        Ok(Self { keys, text })
    }

    /// Whether none was read so far.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key of this id. Without one: the only key that there is.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&Key> {
        match id {
            Some(id) => self.keys.get(id),
            None => self.keys.values().next().filter(|_| self.keys.len() == 1),
        }
    }
}

fn usable(jwk: &Jwk) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        _ => return None,
    };
    if let Some(said) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| is(said, *algorithm));
    }
    let key = DecodingKey::from_jwk(jwk).ok().filter(|_| !algorithms.is_empty())?;
    Some(Key { key, algorithms })
}

/// Whether both name the same algorithm.
fn is(said: KeyAlgorithm, algorithm: Algorithm) -> bool {
    matches!(
        (said, algorithm),
        (KeyAlgorithm::RS256, Algorithm::RS256)
            | (KeyAlgorithm::RS384, Algorithm::RS384)
            | (KeyAlgorithm::RS512, Algorithm::RS512)
            | (KeyAlgorithm::PS256, Algorithm::PS256)
            | (KeyAlgorithm::PS384, Algorithm::PS384)
            | (KeyAlgorithm::PS512, Algorithm::PS512)
            | (KeyAlgorithm::ES256, Algorithm::ES256)
            | (KeyAlgorithm::ES384, Algorithm::ES384)
            | (KeyAlgorithm::EdDSA, Algorithm::EdDSA)
    )
}

impl Keys {
    /// The keys that are published there. A file must have some; an address may not answer yet.
    pub(super) fn open(published: Published) -> Result<Self, String> {
        let Published::File(path) = &published else {
            return Ok(Self::of(published, None, KeySet::default()));
        };
        let text = watched::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::read(path.clone(), text)
    }

    /// The keys of a file of which this was read.
    pub(super) fn read(path: PathBuf, text: Vec<u8>) -> Result<Self, String> {
        let known =
            KeySet::parse(text.clone()).map_err(|problem| format!("{}: {problem}", path.display()))?;
        let file = Mutex::new(Watched::seen(path.clone(), text));
        Ok(Self::of(Published::File(path), Some(file), known))
    }

    fn of(published: Published, file: Option<Mutex<Watched<PathBuf>>>, known: KeySet) -> Self {
        let fetches = Fetches { began: None, left: AT_ONCE, since: Instant::now() };
        let known = RwLock::new(Arc::new(known));
        Self { published, file, known, fetches: tokio::sync::Mutex::new(fetches) }
    }

    pub(super) const fn published(&self) -> &Published {
        &self.published
    }

    /// Those that are known.
    pub(super) fn known(&self) -> Arc<KeySet> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those that are known, with the key of this id among them if it is published by now.
    pub(super) async fn with(&self, id: Option<&str>) -> Arc<KeySet> {
        let known = self.known();
        if known.find(id).is_some() {
            return known;
        }
        let asked = Instant::now();
        let Published::At(source) = &self.published else { return known };
        let mut fetches = self.fetches.lock().await;
        let known = self.known();
        // Whoever waited for a fetch that began later has its answer.
        let is_answered = known.find(id).is_some() || fetches.began.is_some_and(|began| began >= asked);
        if !is_answered && fetches.may() {
            self.fetch(source, &mut fetches).await;
        }
        self.known()
    }

    /// Reads the file again if it has changed.
    pub(super) fn look(&self) {
        let Some(file) = &self.file else { return };
        let changed = file.lock().unwrap_or_else(PoisonError::into_inner).changed();
        if let Some(content) = changed {
            self.take(content.map_err(|error| error.to_string()));
        }
    }

    /// Fetches them, if that is due.
    pub(super) async fn refresh(&self) {
        let Published::At(source) = &self.published else { return };
        let mut fetches = self.fetches.lock().await;
        if fetches.began.is_none_or(|began| began.elapsed() >= REFRESH) {
            self.fetch(source, &mut fetches).await;
        }
    }

    async fn fetch(&self, source: &Source, fetches: &mut Fetches) {
        // Before it is done: also where the caller who waits for it goes away.
        fetches.began = Some(Instant::now());
        let got = source.get().await;
        let outcome = if got.is_ok() { "ok" } else { "failed" };
        metrics::counter!("rollcall_keys_fetched_total", "outcome" => outcome).increment(1);
        self.take(got.map_err(|error| error.to_string()));
    }

    /// Takes keys over, if they can be read. Where they cannot, those from before stay.
    fn take(&self, content: Result<Vec<u8>, String>) {
        if content.as_ref().is_ok_and(|content| *content == self.known().text) {
            return;
        }
        match content.and_then(KeySet::parse) {
            Ok(keys) => {
                tracing::info!(keys = keys.keys.len(), "the keys of an issuer were read");
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
            }
            Err(problem) => {
                tracing::error!(%problem, "the keys of an issuer cannot be read; those from before stay in force");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_secrets_or_not_for_signing_are_no_keys() {
        let read = |text: &str| KeySet::parse(text.as_bytes().to_vec());
        let p256 = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
        let keys = read(&format!(r#"{{"keys":[{{"kid":"a",{p256}}}]}}"#)).expect("a key");
        let key = keys.find(Some("a")).expect("by its id");
        assert!(key.fits(Algorithm::ES256) && !key.fits(Algorithm::RS256) && !key.fits(Algorithm::HS256));
        assert!(keys.find(None).is_some(), "the only one");
        assert!(keys.find(Some("b")).is_none());
        for none in [
            "",
            "[]",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}"#,
            r#"{"keys":[{"kty":"new","kid":"a"}]}"#,
            &format!(r#"{{"keys":[{{"kid":"a","use":"enc",{p256}}}]}}"#),
            &format!(r#"{{"keys":[{{"kid":"a","alg":"HS256",{p256}}}]}}"#),
            &format!(r#"{{"keys":[{{"kid":"a",{p256}}},{{"kid":"a",{p256}}}]}}"#),
        ] {
            assert!(read(none).is_err(), "{none}");
        }
        let mixed = format!(r#"{{"keys":[{{"kty":"new","kid":"b"}},{{"kid":"a",{p256}}}]}}"#);
        assert!(read(&mixed).is_ok(), "what is not known here is passed over");
        let many = vec![format!("{{{p256}}}"); MAX_KEYS + 1].join(",");
        assert!(read(&format!(r#"{{"keys":[{many}]}}"#)).is_err());
    }
}

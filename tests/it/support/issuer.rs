//! An issuer of tokens as a test needs it: with keys of each kind, and an address at which they are published.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

/// A key with which tokens are signed.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    key: EncodingKey,
    /// The public part, as a key of JSON.
    pub(crate) public: Value,
}

impl SigningKey {
    /// A new one of P-256.
    pub(crate) fn new(id: &str) -> Self {
        Self::of(id, Algorithm::ES256)
    }

    /// A new one for this algorithm.
    pub(crate) fn of(id: &str, algorithm: Algorithm) -> Self {
        let generated = |kind| KeyPair::generate_for(kind).expect("a key").serialize_der();
        let key = match algorithm {
            Algorithm::RS256 => {
                // Of PKCS #8 the part of PKCS #1: behind a head of 26 bytes, for a key of 2048 bits.
                EncodingKey::from_rsa_der(&generated(&PKCS_RSA_SHA256)[26..])
            }
            Algorithm::EdDSA => {
                // The public part is left out, which its head of 16 bytes then says too.
                let mut private = generated(&PKCS_ED25519)[..48].to_vec();
                (private[1], private[4]) = (46, 0);
                EncodingKey::from_ed_der(&private)
            }
            _ => EncodingKey::from_ec_der(&generated(&PKCS_ECDSA_P256_SHA256)),
        };
        let mut public = Jwk::from_encoding_key(&key, algorithm).expect("its public part");
        public.common.key_id = Some(id.to_owned());
        let public = serde_json::to_value(public).expect("JSON");
        Self { id: id.to_owned(), algorithm, key, public }
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": format!("{:?}", self.algorithm), "kid": self.id}), claims)
    }

    /// A token with this head.
    pub(crate) fn token_with(&self, head: &Value, claims: &Value) -> String {
        let signed = unsigned(head, claims);
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm);
        format!("{signed}.{}", signature.expect("a signature"))
    }
}

/// What of a token is signed.
pub(crate) fn unsigned(head: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(head), part(claims))
}

/// So many seconds from now, as tokens write it.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("a time") + seconds
}

/// The document in which keys are published.
pub(crate) fn key_set(keys: &[&SigningKey]) -> String {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.public).collect();
    json!({"keys": keys}).to_string()
}

/// An address at which keys are published, over HTTP.
pub(crate) struct KeyServer {
    address: String,
    shown: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl KeyServer {
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let (shown, asked) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(answer(listener, Arc::clone(&shown), Arc::clone(&asked)));
        let server = Self { address, shown, asked, task };
        server.show(keys);
        server
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Which keys it shows from now on.
    pub(crate) fn show(&self, keys: &[&SigningKey]) {
        let body = key_set(keys);
        let length = body.len();
        self.answer_with(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"));
    }

    /// What it answers from now on, whole.
    pub(crate) fn answer_with(&self, answer: String) {
        *self.shown.lock().expect("no panic") = answer;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(listener: TcpListener, shown: Arc<Mutex<String>>, asked: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read_exact(&mut byte).await.is_err() {
                break;
            }
            request.push(byte[0]);
        }
        asked.fetch_add(1, Ordering::Relaxed);
        let answer = shown.lock().expect("no panic").clone();
        // Whoever asked may have gone.
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

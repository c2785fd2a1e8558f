//! Etags (AIP-154): one for each version of a thing. Whoever sends one back is refused when the thing has changed since.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The etag of a version of the thing that these ids name. Opaque, so that nobody counts on versions in it.
pub fn etag(ids: &[Uuid], version: i64) -> String {
    of(ids.iter().map(Uuid::as_bytes), version)
}

/// The etag of a version of an app.
pub fn app_etag(app: &str, version: i64) -> String {
    of([app], version)
}

fn of(names: impl IntoIterator<Item = impl AsRef<[u8]>>, version: i64) -> String {
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name);
    }
    hash.update(version.to_be_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(&hash.finalize()[..12])
}

//! Callers that a service of a test tells apart, by the header that Istio's proxy would set: the tests come from this very
//! machine, as it does.

use std::{fs, path::PathBuf};

use http::{HeaderName, HeaderValue};
use tempfile::TempDir;

/// The operator; the apps of every world; who acts for persons and may say for whom; who may not; and `boards-worker`, a
/// workload that is no app.
pub(crate) const CALLERS: &str = r#"
trust_domains = ["example.org"]

[[caller]]
name = "console"
operator = true
spiffe_ids = ["spiffe://example.org/ns/console/sa/console"]

[[caller]]
name = "chat"
app = true
spiffe_ids = ["spiffe://example.org/ns/chat/sa/chat"]

[[caller]]
name = "boards"
app = true
spiffe_ids = ["spiffe://example.org/ns/boards/sa/boards"]

[[caller]]
name = "track"
app = true
spiffe_ids = ["spiffe://example.org/ns/track/sa/track"]

[[caller]]
name = "gateway"
impersonates = true
spiffe_ids = ["spiffe://example.org/ns/gateway/sa/gateway"]

[[caller]]
name = "boards-worker"
spiffe_ids = ["spiffe://example.org/ns/boards-worker/sa/boards-worker"]
"#;

/// The workload as whom a world of the tests makes what it needs.
pub(crate) const OPERATOR: &str = "console";

/// The SPIFFE id of a workload of [`CALLERS`], or of any other of that trust domain.
pub(crate) fn spiffe_id(workload: &str) -> String {
    format!("spiffe://example.org/ns/{workload}/sa/{workload}")
}

/// The header with which Istio's proxy says that this workload calls.
pub(crate) fn istio(workload: &str) -> (HeaderName, HeaderValue) {
    let own = spiffe_id("rollcall");
    let text = format!("By={own};Hash=468ed33be74eee65;Subject=\"\";URI={}", spiffe_id(workload));
    (HeaderName::from_static("x-forwarded-client-cert"), text.parse().expect("a header"))
}

/// A file of callers.
pub(crate) struct CallersFile(TempDir);

impl CallersFile {
    pub(crate) fn new(text: &str) -> Self {
        let file = Self(TempDir::new().expect("a directory"));
        file.write(text);
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("callers.toml")
    }

    /// Writes it anew: whoever reads it sees the old or the new one.
    pub(crate) fn write(&self, text: &str) {
        let new = self.0.path().join("new");
        fs::write(&new, text).expect("written");
        fs::rename(new, self.path()).expect("renamed");
    }
}

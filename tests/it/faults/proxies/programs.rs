//! Where the proxies are: Envoy is a package of Python, nginx and haproxy are what `scripts/proxies.sh` found or unpacked.
//!
//! Where one is missing its tests are skipped and say why, unless `ROLLCALL_REQUIRE_PROXIES` is set to something but 0: then
//! they fail.

use std::{
    env,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::front::Kind;
use crate::support::envoy;

/// Where `scripts/proxies.sh` unpacks what it downloads.
fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/proxies")
}

/// The program. None: there is none, and the reason was printed.
pub(super) async fn find(kind: Kind) -> Option<PathBuf> {
    let (found, way) = match kind {
        Kind::Envoy => (envoy().await, "tests/python/envoy.txt is what it is installed from"),
        Kind::Nginx | Kind::Haproxy => (installed(kind.name()), "scripts/proxies.sh gets it"),
    };
    if found.is_none() {
        // A run that must not pass without them says so: else all of T37 could be missing unseen.
        let required = env::var_os("ROLLCALL_REQUIRE_PROXIES").is_some_and(|value| value != "0");
        assert!(!required, "there is no {}: {way}", kind.name());
        println!("skipped: there is no {}: {way}", kind.name());
    }
    found
}

/// What the system has of this name, or else what was unpacked.
fn installed(name: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let places = places.into_iter().chain([unpacked().join("usr/sbin")]);
    places.map(|place| place.join(name)).find(|path| path.exists())
}

/// Has a program that was unpacked find the libraries that were unpacked with it.
pub(super) fn with_libraries(command: &mut Command, program: &Path) {
    if program.starts_with(unpacked()) {
        let libraries = std::fs::read_dir(unpacked().join("usr/lib")).into_iter().flatten().flatten();
        let paths: Vec<PathBuf> = libraries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        command.env("LD_LIBRARY_PATH", env::join_paths(paths).expect("paths without a colon"));
    }
}

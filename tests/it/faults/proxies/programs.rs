//! Where the proxies are: Envoy is a package of Python, nginx and haproxy are what `scripts/proxies.sh` found or unpacked.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::front::Kind;
use crate::support::envoy;

/// Where `scripts/proxies.sh` unpacks what it downloads.
fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/proxies")
}

/// The program. None: there is none, and the reason was printed.
pub(super) async fn find(kind: Kind) -> Option<PathBuf> {
    if kind == Kind::Envoy {
        return envoy().await;
    }
    let places = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let places = places.into_iter().chain([unpacked().join("usr/sbin")]);
    let found = places.map(|place| place.join(kind.name())).find(|path| path.exists());
    if found.is_none() {
        println!("skipped: there is no {}: scripts/proxies.sh gets it", kind.name());
    }
    found
}

/// Has a program that was unpacked find the libraries that were unpacked with it.
pub(super) fn with_libraries(command: &mut Command, program: &Path) {
    if program.starts_with(unpacked()) {
        let libraries = std::fs::read_dir(unpacked().join("usr/lib")).into_iter().flatten().flatten();
        let paths: Vec<PathBuf> = libraries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        command.env("LD_LIBRARY_PATH", std::env::join_paths(paths).expect("paths without a colon"));
    }
}

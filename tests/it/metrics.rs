//! What is measured: what the sources count is what `docs/metrics.md` lists and what Prometheus reads; rules, dashboard and
//! runbooks name only what is there.

mod known;
mod pages;
mod rules;
pub(crate) mod scrape;

use std::{env, fs, path::Path, process::Command};

/// A file of this repository.
fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of the files in a directory, in order.
fn files(directory: &str) -> Vec<String> {
    let found = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).expect("a directory");
    let names = found.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Where promtool is. None: there is none, and the reason was printed.
fn promtool() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/promtool.sh");
    let output = Command::new("sh").arg(script).output().expect("sh runs");
    if output.status.success() {
        return Some(String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let required = env::var_os("ROLLCALL_REQUIRE_PROMTOOL").is_some_and(|value| value != "0");
    assert!(!required, "there is no promtool: {why}");
    println!("skipped: there is no promtool: {why}");
    None
}

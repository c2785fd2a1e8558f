//! What Rollcall is built from: one source, licences that may be passed on, one version of what must agree with
//! itself, and not more than was looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

/// Licences that an Apache-2.0 program may include without more than naming them.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Two versions of these would not understand each other's types, or would double what must be one.
const ONE_VERSION: [&str; 9] =
    ["tonic", "prost", "prost-types", "tokio", "rustls", "diesel", "diesel-async", "hyper", "h2"];

/// A second TLS library, a second HTTP client, and what needs a C library of the system.
const NONE_OF: [&str; 7] = ["openssl", "openssl-sys", "native-tls", "ring", "pq-sys", "libpq-sys", "reqwest"];

/// Locked, for every platform together. More is a decision: raise this with the reason in the commit.
const AT_MOST: usize = 402;

#[derive(serde::Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(serde::Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

fn locked() -> Vec<Locked> {
    let text = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    toml::from_str::<Lock>(&text).expect("Cargo.lock is TOML").package
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo says. None where it cannot say it without the network: then the reason is printed.
fn cargo(arguments: &[&str]) -> Option<String> {
    // Set by cargo for what it runs; a test binary that is run by hand asks the search path.
    let cargo = option_env!("CARGO").filter(|cargo| Path::new(cargo).exists()).unwrap_or("cargo");
    let output =
        Command::new(cargo).args(arguments).args(["--locked", "--offline"]).current_dir(root()).output();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).expect("UTF-8")),
        Ok(output) => {
            println!("skipped: cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            println!("skipped: {cargo}: {error}");
            None
        }
    }
}

#[test]
fn packages_come_from_the_registry_or_from_here() {
    let members: BTreeSet<&str> = ["rollcall", "rollcall-client", "rollcall-model"].into();
    let mut registries = BTreeSet::new();
    for Locked { name, version, source } in locked() {
        match source {
            None => assert!(members.contains(name.as_str()), "{name} {version} comes from a path"),
            Some(source) => {
                assert!(source.starts_with("registry+"), "{name} {version} comes from {source}");
                registries.insert(source);
            }
        }
    }
    assert_eq!(registries.len(), 1, "{registries:?}");
}

#[test]
fn what_must_agree_has_one_version() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Locked { name, version, .. } in locked() {
        versions.entry(name).or_default().push(version);
    }
    for name in ONE_VERSION {
        let found = versions.get(name).map_or(&[][..], Vec::as_slice);
        assert_eq!(found.len(), 1, "{name} {found:?}");
    }
}

#[test]
fn there_are_not_more_packages_than_were_looked_at() {
    let number = locked().len();
    println!("Cargo.lock has {number} packages");
    assert!(number <= AT_MOST, "{number} packages; a new one is a decision, see AT_MOST");
}

/// Asked of what is built, not of what is locked: cargo locks what no feature in use asks for.
#[test]
fn what_is_kept_out_stays_out() {
    let arguments = ["tree", "--workspace", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let Some(tree) = cargo(&arguments) else { return };
    let built: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(built.contains("tonic") && built.len() > 100, "cargo tree was not understood: {tree}");
    for name in NONE_OF {
        assert!(!built.contains(name), "{name} is built");
    }
}

/// What tests and the other packages of the workspace add to what the service is built with. Code of the service that needs one
/// of these builds beside them alone, and not by `make demo`: what is used there has to stand under `[dependencies]`.
const ADDED: [&str; 12] = [
    "axum/http1",
    "axum/json",
    "axum/query",
    "axum/tokio",
    "axum/ws",
    "form_urlencoded/default",
    "num-traits/std",
    "rand/default",
    "rustix/param",
    "rustix/pty",
    "serde_json/raw_value",
    "tokio/test-util",
];

/// The packages with their features.
fn features(arguments: &[&str]) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let tree = cargo(&[&["tree", "--prefix", "none", "--format", "{p}|{f}"], arguments].concat())?;
    let mut features: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (package, with) in tree.lines().filter_map(|line| line.split_once('|')) {
        let package = package.split(" (").next().unwrap_or(package).to_owned();
        // What was told before is marked at the end.
        let with = with.trim_end_matches(" (*)").split(',').filter(|feature| !feature.is_empty());
        features.entry(package).or_default().extend(with.map(str::to_owned));
    }
    Some(features)
}

#[test]
fn tests_lend_the_service_no_other_features() {
    let Some(service) = features(&["--package", "rollcall", "--edges", "normal,build"]) else { return };
    let Some(all) = features(&["--workspace", "--edges", "normal,build,dev"]) else { return };
    let added = service.iter().flat_map(|(package, own)| {
        let name = package.split(' ').next().unwrap_or_default();
        all[package].difference(own).map(move |feature| format!("{name}/{feature}"))
    });
    assert_eq!(added.collect::<BTreeSet<_>>(), ADDED.map(str::to_owned).into());
}

#[derive(serde::Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(serde::Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

#[test]
fn licences_may_be_passed_on() {
    // Of every platform where all of their packages are there, else of this one.
    let target = target();
    let every = ["metadata", "--format-version", "1"];
    let this = ["metadata", "--format-version", "1", "--filter-platform", target.as_str()];
    let Some(text) = cargo(&every).or_else(|| cargo(&this)) else { return };
    let metadata: Metadata = serde_json::from_str(&text).expect("metadata");
    println!("the licences of {} packages", metadata.packages.len());
    assert!(metadata.packages.len() > 100);
    for Package { name, version, license } in metadata.packages {
        let license = license.unwrap_or_else(|| panic!("{name} {version} names no licence"));
        assert!(allowed(&license), "{name} {version} is {license}");
    }
}

fn target() -> String {
    let output = Command::new("rustc").arg("-vV").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap_or("x86_64-unknown-linux-gnu").to_owned()
}

/// Whether an expression can be met with [`LICENCES`]: AND binds tighter than OR, as SPDX has it.
fn allowed(expression: &str) -> bool {
    // The slash is how it was written before SPDX expressions.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = either(&words);
    assert!(rest.is_empty(), "{expression} is not understood");
    met
}

fn either<'a>(words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = both(words);
    while let ["OR", more @ ..] = rest {
        let (other, after) = both(more);
        (met, rest) = (met | other, after);
    }
    (met, rest)
}

fn both<'a>(words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = one(words);
    while let ["AND", more @ ..] = rest {
        let (other, after) = one(more);
        (met, rest) = (met & other, after);
    }
    (met, rest)
}

fn one<'a>(words: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inner @ ..] => {
            let (met, rest) = either(inner);
            let [")", rest @ ..] = rest else { panic!("no closing parenthesis in {words:?}") };
            (met, rest)
        }
        [licence, "WITH", exception, rest @ ..] => {
            (LICENCES.contains(&format!("{licence} WITH {exception}").as_str()), rest)
        }
        [licence, rest @ ..] => (LICENCES.contains(licence), rest),
        [] => panic!("an expression ends early"),
    }
}

#[derive(serde::Deserialize)]
struct Deny {
    licenses: Allowed,
    bans: Banned,
}

#[derive(serde::Deserialize)]
struct Allowed {
    allow: BTreeSet<String>,
}

#[derive(serde::Deserialize)]
struct Banned {
    deny: Vec<Kept>,
}

#[derive(serde::Deserialize)]
struct Kept {
    #[serde(rename = "crate")]
    name: String,
}

#[test]
fn cargo_deny_goes_by_the_same_lists() {
    let text = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let Deny { licenses, bans } = toml::from_str(&text).expect("deny.toml is TOML");
    assert_eq!(licenses.allow, LICENCES.map(str::to_owned).into());
    let kept_out: BTreeSet<&str> = bans.deny.iter().map(|kept| kept.name.as_str()).collect();
    assert_eq!(kept_out, NONE_OF.into());
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    for good in ["MIT", "MIT/GPL-3.0", "GPL-3.0 OR (MIT AND ISC)", "Apache-2.0 WITH LLVM-exception"] {
        assert!(allowed(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "GPL-3.0 AND MIT OR AGPL-3.0", "MIT WITH Odd-exception"] {
        assert!(!allowed(bad), "{bad}");
    }
}

//! Who may import whom, read from the sources: in `use` lines and in paths within the code.

use std::{collections::BTreeSet, fs, path::Path};

use self::source::Source;

mod source;

/// The modules of the library, and which others of them each may name. Nothing else depends on order here: a module
/// that is not listed fails.
const MAY_NAME: [(&str, &[&str]); 24] = [
    // Pure decisions.
    ("rules", &[]),
    ("proto", &[]),
    ("config", &[]),
    // Blocks, and is used before there is a runtime; knows nothing of what runs on it.
    ("embedded", &[]),
    // How spans hang together, for who makes them.
    ("spans", &[]),
    ("telemetry", &["config", "exporter", "spans"]),
    ("exporter", &[]),
    ("seal", &["rules"]),
    ("storage", &["rules"]),
    ("engine", &["rules", "spans", "storage"]),
    // No database: tested with a log in memory.
    ("feed", &["rules", "seal"]),
    ("store_log", &["feed", "rules", "storage"]),
    ("durability", &["storage"]),
    ("enforcement", &["feed", "rules", "storage"]),
    // Follows this very service as any app does.
    ("access", &["rules"]),
    // Refusals, and what checks the chains.
    ("audit", &["rules", "storage"]),
    // Who calls: no handler reads a header, a certificate or a token.
    ("identity", &["rules"]),
    (
        "grpc",
        &[
            "access",
            "audit",
            "durability",
            "enforcement",
            "engine",
            "feed",
            "identity",
            "proto",
            "rules",
            "seal",
            "spans",
            "storage",
            "store_log",
        ],
    ),
    ("retention", &["storage"]),
    ("sweeper", &["engine", "rules", "storage"]),
    ("mail", &["rules", "seal", "storage"]),
    // Wires everything.
    (
        "app",
        &[
            "access",
            "audit",
            "durability",
            "enforcement",
            "engine",
            "feed",
            "grpc",
            "identity",
            "mail",
            "retention",
            "seal",
            "storage",
            "store_log",
            "sweeper",
        ],
    ),
    // A process of its own, beside an app: `grpc` for AccessService as the service answers it, `rules` for what an id may be,
    // all else through the client crate.
    ("agent", &["access", "exporter", "grpc", "proto", "rules"]),
    // `storage` for `migrate`, with `identity` and `mail` what `app` is started with, `rules` for what a name may be, `proto` for the scripted service of
    // `conformance`; all else goes through the public API.
    (
        "cli",
        &[
            "agent",
            "app",
            "audit",
            "config",
            "embedded",
            "exporter",
            "identity",
            "mail",
            "proto",
            "rules",
            "storage",
            "telemetry",
        ],
    ),
];

/// Crates that only some modules may name.
const CONFINED: [(&[&str], &[&str]); 16] = [
    (&["diesel", "diesel_async", "diesel_migrations", "deadpool"], &["storage"]),
    (&["tokio_postgres", "tokio_postgres_rustls"], &["storage"]),
    (&["rustls", "rustls_native_certs"], &["identity", "storage"]),
    (&["tokio_rustls"], &["grpc", "identity"]),
    (&["jsonwebtoken", "x509_cert", "hyper", "http_body_util"], &["identity"]),
    (
        &["tonic", "tonic_health", "tonic_reflection", "tonic_types"],
        // `telemetry` as a client of the collector.
        &["agent", "app", "cli", "grpc", "proto", "telemetry"],
    ),
    (&["tower"], &["grpc"]),
    (&["hyper_util"], &["grpc", "identity"]),
    (&["http"], &["agent", "grpc", "identity"]),
    (&["axum"], &["agent"]),
    (&["lettre", "percent_encoding"], &["mail"]),
    (&["url"], &["agent", "identity", "mail"]),
    (&["clap"], &["cli", "config", "main"]),
    (&["tracing_subscriber", "opentelemetry_sdk", "opentelemetry_proto"], &["telemetry"]),
    (&["opentelemetry", "tracing_opentelemetry"], &["spans", "telemetry"]),
    // Commands that talk to a service do it as any other client does, and so does the service's own replica.
    (&["rollcall_client"], &["access", "agent", "cli", "spans"]),
];

/// The crates that `rules` may use: none with I/O, a clock, or a runtime. `uuid` makes new ids in `ids.rs` alone.
const OF_RULES: [&str; 4] = ["email_address", "idna", "thiserror", "uuid"];

/// What asks a clock.
const CLOCKS: [&str; 4] = ["SystemTime", "Instant", "Utc", "Local"];

/// The one file that may hold `unsafe`: between `fork` and `exec` there is no other way.
const UNSAFE: &str = "src/embedded/postmaster.rs";

/// Lines of a file at most.
const LINES: usize = 600;

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(root, &root.join("src"), &mut found);
    assert!(found.len() > 50, "only {} sources were found", found.len());
    found
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            found.push(Source::new(&name, &fs::read_to_string(&path).expect("a source")));
        }
    }
}

/// Fails with all that is wrong, not only the first.
fn nothing(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn modules_name_only_those_they_may() {
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    for source in sources() {
        let own = source.module();
        if ["lib", "main"].contains(&own) {
            continue;
        }
        let Some((_, may)) = MAY_NAME.iter().find(|(module, _)| *module == own) else {
            wrong.push(format!("{}: say in MAY_NAME what {own} may name", source.name));
            continue;
        };
        for named in source.modules_named() {
            met.insert((own.to_owned(), named.clone()));
            if named != own && !may.contains(&named.as_str()) {
                wrong.push(format!("{}: {own} may not name {named}", source.name));
            }
        }
    }
    for (own, may) in MAY_NAME {
        for named in may {
            if !met.contains(&(own.to_owned(), (*named).to_owned())) {
                wrong.push(format!("{own} does not name {named}: take it from MAY_NAME"));
            }
        }
    }
    nothing(&wrong);
}

#[test]
fn crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (crates, modules) in CONFINED {
            for used in crates.iter().filter(|used| source.names_crate(used)) {
                if !modules.contains(&source.module()) {
                    wrong.push(format!("{}: {used} belongs to {}", source.name, modules.join(", ")));
                }
            }
        }
    }
    nothing(&wrong);
}

#[test]
fn rules_use_only_what_decides() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let manifest: toml::Table = toml::from_str(&manifest.expect("Cargo.toml")).expect("TOML");
    let crates: Vec<String> = manifest["dependencies"].as_table().expect("a table").keys().cloned().collect();
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(|source| source.module() == "rules") {
        for used in crates.iter().map(|name| name.replace('-', "_")) {
            if !OF_RULES.contains(&used.as_str()) && source.names_crate(&used) {
                wrong.push(format!("{}: rules may not use {used}", source.name));
            }
        }
        for place in ["fs", "net", "io", "env", "process", "thread"] {
            if source.has(&["std", "::", place]) {
                wrong.push(format!("{}: rules may not use std::{place}", source.name));
            }
        }
    }
    nothing(&wrong);
}

#[test]
fn the_environment_is_read_in_settings_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        if source.module() == "config" {
            continue;
        }
        for call in ["var", "var_os", "vars", "vars_os"] {
            if source.has(&["env", "::", call]) {
                wrong.push(format!("{}: env::{call}", source.name));
            }
        }
        // clap's `env = "NAME"` within the arguments of a command.
        if source.has(&["env", "="]) && source.module() != "cli" {
            wrong.push(format!("{}: an argument from the environment", source.name));
        }
    }
    nothing(&wrong);
}

#[test]
fn unsafe_is_in_one_file() {
    let found: Vec<String> =
        sources().into_iter().filter(|source| source.has(&["unsafe"])).map(|source| source.name).collect();
    assert_eq!(found, [UNSAFE]);
}

#[test]
fn rules_ask_no_clock_and_draw_nothing() {
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(|source| source.module() == "rules") {
        for clock in CLOCKS.iter().filter(|clock| source.has(&[clock])) {
            wrong.push(format!("{}: {clock}", source.name));
        }
        // New ids are made by who commands, and come in as arguments; here is only where their types live.
        let makes_ids = ["now_v7", "new_v4", "generate"].iter().any(|call| source.has(&[call]));
        if makes_ids && source.name != "src/rules/ids.rs" && !source.name.starts_with("src/rules/tests") {
            wrong.push(format!("{}: an id is drawn", source.name));
        }
    }
    nothing(&wrong);
}

#[test]
fn every_file_opens_with_what_it_promises_and_can_be_read_in_one_go() {
    let mut wrong = Vec::new();
    for source in sources() {
        let promise =
            source.text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
        if !promise.starts_with(char::is_alphanumeric) && !promise.starts_with('`') {
            wrong.push(format!("{} does not open with `//!`", source.name));
        }
        let lines = source.text.lines().count();
        if lines > LINES {
            wrong.push(format!("{} has {lines} lines", source.name));
        }
    }
    nothing(&wrong);
}

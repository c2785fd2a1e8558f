//! `rollcall conformance`: the Rust client and an instance in Python keep every clause of `docs/consumer-contract.md`, and
//! each variant of the latter that breaks one is found out, by the line of that clause.
//!
//! Every variant is tried against its own clause; with `ROLLCALL_CONFORMANCE=full` (`make conformance`) against all of them,
//! of which no other may fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::Path,
    process::Stdio,
    time::Duration,
};

use futures_util::{StreamExt as _, future, stream};
use tokio::process::Command;

use crate::support::python;

/// Longer than any run: the tool bounds each of its scripts.
const RUNNING: Duration = Duration::from_secs(300);
/// A machine that stands still for a second breaks promises on its own account: what failed is tried again, alone.
const ATTEMPTS: usize = 3;

/// The failed clauses of one run, and its exit code.
struct Ran {
    passed: BTreeSet<String>,
    failed: BTreeMap<String, String>,
    success: bool,
    errors: String,
}

async fn conformance(options: &[&str], command: &[&str]) -> Ran {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    // Two cores, and other tests beside.
    let jobs = if options.contains(&"--jobs") { &[][..] } else { &["--jobs", "4"] };
    tool.args(["conformance", "-o", "json"]).args(jobs).args(options);
    if !command.is_empty() {
        tool.arg("--").args(command);
    }
    tool.stdin(Stdio::null()).kill_on_drop(true);
    let output =
        tokio::time::timeout(RUNNING, tool.output()).await.expect("it ends in time").expect("rollcall");
    let mut ran = Ran {
        passed: BTreeSet::new(),
        failed: BTreeMap::new(),
        success: output.status.success(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        let clause = line["clause"].as_str().expect("a clause").to_owned();
        assert!(line["title"].as_str().is_some_and(|title| !title.is_empty()), "{line}");
        if line["passed"].as_bool().expect("whether it passed") {
            ran.passed.insert(clause);
        } else {
            let why = format!("expected {}; came: {}", line["expected"], line["came"]);
            ran.failed.insert(clause, why);
        }
    }
    assert_eq!(ran.success, ran.failed.is_empty() && !ran.passed.is_empty(), "{}", ran.errors);
    ran
}

/// As [`conformance`], but what fails and should not is tried again, alone.
async fn patiently(options: &[&str], command: &[&str], expected: Option<&str>) -> Ran {
    let mut ran = conformance(options, command).await;
    for _ in 1..ATTEMPTS {
        let unexpected: Vec<String> =
            ran.failed.keys().filter(|clause| Some(clause.as_str()) != expected).cloned().collect();
        if unexpected.is_empty() {
            break;
        }
        let only = unexpected.join(",");
        let again = conformance(&["--only", &only, "--jobs", "1"], command).await;
        ran.failed.retain(|clause, _| !unexpected.contains(clause));
        ran.passed.extend(again.passed);
        ran.failed.extend(again.failed);
        ran.errors.push_str(&again.errors);
    }
    ran
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instance in Python as a command.
async fn instance() -> Option<[String; 3]> {
    let python = python().await?.display().to_string();
    let instance = root().join("tests/python/instance.py").display().to_string();
    // Without bytecode: it would be left beside the sources.
    Some([python, "-B".to_owned(), instance])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_in_python_keeps_every_clause() {
    let Some(command) = instance().await else { return };
    let command = command.each_ref().map(String::as_str);
    let ran = patiently(&[], &command, None).await;
    assert!(ran.failed.is_empty(), "{:#?}\n{}", ran.failed, ran.errors);
    let document = include_str!("../../docs/consumer-contract.md");
    for clause in &ran.passed {
        assert!(
            document.contains(&format!("\n| {clause} | ")),
            "the document does not say how {clause} is tried"
        );
    }
}

/// Without a command it is the one that the Rust client is behind.
#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_keeps_every_clause() {
    let ran = patiently(&[], &[], None).await;
    assert!(ran.failed.is_empty(), "{:#?}\n{}", ran.failed, ran.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_instance_fails_the_clause_that_it_breaks_and_no_other() {
    let Some(command) = instance().await else { return };
    let full = env::var_os("ROLLCALL_CONFORMANCE").is_some_and(|value| value == "full");
    let listed = Command::new(&command[0]).args(&command[1..]).arg("--list-broken").output().await;
    let listed = String::from_utf8(listed.expect("python").stdout).expect("UTF-8");
    let variants: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once(' ')).collect();
    let broken: BTreeSet<&str> = variants.iter().map(|(_, clause)| *clause).collect();
    assert_eq!(broken.len(), 16, "each clause is broken by some variant: {broken:?}");
    let tried = stream::iter(variants).map(|(name, clause)| {
        let command = &command;
        async move {
            let mut broken = command.each_ref().map(String::as_str).to_vec();
            broken.extend(["--broken", name]);
            let options: &[&str] = if full { &[] } else { &["--only", clause] };
            let ran = patiently(options, &broken, Some(clause)).await;
            let failed: Vec<&str> = ran.failed.keys().map(String::as_str).collect();
            println!("{name}: {:?}", ran.failed);
            let wrong = || format!("{name} fails {failed:?} and not {clause} alone: {:#?}", ran.failed);
            (failed != [clause]).then(wrong)
        }
    });
    let at_once = if full { 1 } else { 3 };
    let wrong: Vec<String> = tried.buffer_unordered(at_once).filter_map(future::ready).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_or_says_nonsense_fails_with_what_came() {
    let ran = conformance(&["--only", "C1"], &["/nowhere/instance"]).await;
    assert!(ran.failed["C1"].contains("No such file"), "{:?}", ran.failed);
    // It ends at once, and what it said last is shown.
    let ran = conformance(&["--only", "C1"], &["sh", "-c", "echo no address >&2; exit 3"]).await;
    assert!(ran.failed["C1"].contains("ended"), "{:?}", ran.failed);
    assert!(ran.errors.contains("conformance-C1-0: no address"), "{}", ran.errors);
    let ran = conformance(&["--only", "C99"], &["true"]).await;
    assert!(ran.failed.is_empty() && ran.passed.is_empty() && ran.errors.contains("C99"), "{}", ran.errors);
}

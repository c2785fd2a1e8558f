//! `docs/guides.md` names only what exists: rules, methods, commands, tests.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path};

use prost_reflect::DescriptorPool;
use rollcall::proto::DESCRIPTORS;

use crate::processes::run;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of the rows of its tables: what is said, rules, methods, commands, tests.
fn rows() -> Vec<[String; 5]> {
    let page = fs::read_to_string(root().join("docs/guides.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what"));
    let cells = rows.filter(|line| !line.starts_with("| ---")).map(|line| {
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        cells.try_into().unwrap_or_else(|cells: Vec<String>| panic!("not five cells: {cells:?}"))
    });
    cells.collect()
}

/// The names of a cell: each in backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_rule_of_the_page_is_one_and_each_rule_is_on_it() {
    let rows = rows();
    let rules: BTreeSet<&str> = rows.iter().flat_map(|row| row[1].split(", ")).collect();
    let known: BTreeSet<String> = (1..=62).map(|rule| format!("R{rule:02}")).collect();
    let missing: Vec<&String> = known.iter().filter(|rule| !rules.contains(rule.as_str())).collect();
    assert!(missing.is_empty(), "on no line: {missing:?}");
    let unknown: Vec<&&str> = rules.iter().filter(|rule| !known.contains(**rule)).collect();
    assert!(unknown.is_empty(), "no rules: {unknown:?}");
}

#[test]
fn every_method_of_the_page_is_one() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let services: Vec<_> = pool.services().collect();
    let methods: BTreeSet<String> = services
        .iter()
        .flat_map(|service| service.methods())
        .map(|method| method.name().to_owned())
        .collect();
    for row in rows() {
        assert!(names(&row[2]).next().is_some(), "{row:?}");
        for name in names(&row[2]) {
            assert!(methods.contains(name), "{name}");
        }
    }
}

#[tokio::test]
async fn every_command_of_the_page_is_one() {
    let rows = rows();
    let commands: BTreeSet<&str> = rows.iter().flat_map(|row| names(&row[3])).collect();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let words = command.strip_prefix("rollcall ").unwrap().split(' ').chain(["--help"]);
        let output = run(words).await;
        assert!(output.status.success(), "{command}");
    }
}

#[test]
fn every_test_of_the_page_is_one_of_its_rule() {
    let mut sources = String::new();
    for place in ["src", "tests"] {
        collect(&root().join(place), &mut sources);
    }
    for row in rows() {
        assert!(names(&row[4]).next().is_some(), "{row:?}");
        for test in names(&row[4]) {
            assert!(sources.contains(&format!("fn {test}(")), "{test}");
        }
        let words = names(&row[4]).flat_map(|test| test.split('_'));
        let numbers: BTreeSet<String> = words.map(str::to_uppercase).collect();
        assert!(row[1].split(", ").any(|rule| numbers.contains(rule)), "a test of another rule: {row:?}");
    }
}

fn collect(directory: &Path, sources: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

//! `docs/guides.md` names only what exists: rules, methods, commands that call these, tests. So does SECURITY.md.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

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

/// The methods of the API.
fn methods() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let services: Vec<_> = pool.services().collect();
    let methods = services.iter().flat_map(|service| service.methods());
    methods.map(|method| method.name().to_owned()).collect()
}

#[test]
fn every_method_of_the_page_is_one() {
    let methods = methods();
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
fn the_commands_of_a_row_call_its_methods() {
    let mut sources = String::new();
    collect(&root().join("src/cli"), &mut sources);
    // The instances that `conformance` and `demo` start are no commands for people, and have no files of their own.
    let commands = sources.split("to_end(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let commands = commands.filter(|command| !["conformance-instance", "demo-instance"].contains(command));
    let calls: BTreeMap<&str, BTreeSet<String>> =
        commands.map(|command| (command, called_by(command))).collect();
    let somewhere: BTreeSet<&String> = calls.values().flatten().collect();
    assert!(somewhere.len() > 40, "{calls:?}");
    for row in rows() {
        let methods: BTreeSet<String> = names(&row[2]).map(str::to_owned).collect();
        let mut called = BTreeSet::new();
        for command in names(&row[3]) {
            let calls = &calls[command.trim_start_matches("rollcall ")];
            assert!(!calls.is_disjoint(&methods), "{command} calls {calls:?}: {row:?}");
            called.extend(calls);
        }
        let missed: Vec<&String> =
            methods.iter().filter(|method| somewhere.contains(method) && !called.contains(method)).collect();
        assert!(missed.is_empty(), "none of the commands calls {missed:?}: {row:?}");
    }
}

/// The methods that a command calls: their requests are made in its function, or in one that this calls in turn. A command
/// of one word has a file and a folder of its own.
fn called_by(command: &str) -> BTreeSet<String> {
    let group = command.split(' ').next().unwrap();
    let source = root().join(format!("src/cli/{group}.rs"));
    let mut modules = BTreeMap::from([(group.to_owned(), fs::read_to_string(&source).unwrap())]);
    let folder = fs::read_dir(source.with_extension("")).into_iter().flatten();
    for path in folder.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        modules.insert(name, fs::read_to_string(path).unwrap());
    }
    let text: String = if command == group {
        modules.into_values().collect()
    } else {
        let run = modules[group].split_once(&format!("to_end(\"{command}\", ")).unwrap().1.to_owned();
        let function = run.split('(').next().unwrap();
        let mut bodies = BTreeMap::new();
        add_bodies(&modules, group, function, &mut bodies);
        bodies.into_values().collect()
    };
    // The stream has a type of its own in the client crate.
    let calls =
        |name: &str| text.contains(&format!("v1::{name}Request")) || text.contains(&format!(" {name}::new("));
    methods().into_iter().filter(|name| calls(name)).collect()
}

/// Adds the body of a function as it is called in a module, `other` or `module::other`, and of those that it calls. What is
/// no function of these modules adds nothing.
fn add_bodies(
    modules: &BTreeMap<String, String>,
    here: &str,
    called: &str,
    bodies: &mut BTreeMap<(String, String), String>,
) {
    let (module, name) = called.rsplit_once("::").unwrap_or((here, called));
    let found = modules.get(module).and_then(|source| source.split_once(&format!("fn {name}(")));
    let key = (module.to_owned(), name.to_owned());
    let Some((_, rest)) = found.filter(|_| !name.is_empty() && !bodies.contains_key(&key)) else { return };
    let body = rest.split("\n}").next().unwrap();
    bodies.insert(key, body.to_owned());
    for (end, _) in body.match_indices('(') {
        let part_of_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        let begin = body[..end].trim_end_matches(part_of_name).len();
        add_bodies(modules, module, &body[begin..end], bodies);
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

/// The rows of SECURITY.md whose last cell names tests: the row, and what it names.
fn defences() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let (_, tables) = page.split_once("## What is done against whom").unwrap();
    let rows = tables.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let rows = rows.filter(|line| !line.ends_with("| test |"));
    rows.map(|row| {
        let last = row.trim_matches('|').rsplit('|').next().unwrap();
        (row.to_owned(), names(last).map(str::to_owned).collect())
    })
    .collect()
}

#[test]
fn every_test_of_the_threat_model_is_there() {
    let mut sources = String::new();
    for place in ["src", "tests", "client"] {
        collect(&root().join(place), &mut sources);
    }
    for (row, named) in defences() {
        assert!(!named.is_empty() || row.contains("| none: "), "no test: {row}");
        for name in named {
            let there = match name.trim_end_matches('…') {
                command if command.starts_with("make ") || command.starts_with("rollcall ") => true,
                path if path.contains('/') => root().join(path).exists(),
                begin => sources.contains(&format!("fn {begin}")),
            };
            assert!(there, "{name}: {row}");
        }
    }
}

#[test]
fn the_threat_model_has_each_of_the_ten_risks() {
    let rows = defences();
    for number in 1..=10 {
        let named = rows.iter().filter(|(row, _)| row.starts_with(&format!("| API{number} ")));
        assert_eq!(named.count(), 1, "API{number}");
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

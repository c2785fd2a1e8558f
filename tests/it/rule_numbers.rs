//! Every rule has a test through the API whose name begins with its number.

use std::{collections::BTreeSet, fs, path::Path};

/// The rules.
const RULES: std::ops::RangeInclusive<u32> = 1..=62;

#[test]
fn every_rule_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tested = BTreeSet::new();
    collect(&root.join("tests/it"), &mut tested);
    let untested: Vec<String> =
        RULES.filter(|rule| !tested.contains(rule)).map(|rule| format!("R{rule:02}")).collect();
    assert!(untested.is_empty(), "no test is named after {}", untested.join(", "));
}

fn collect(directory: &Path, tested: &mut BTreeSet<u32>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, tested);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tested.extend(numbers(&fs::read_to_string(&path).expect("a source")));
        }
    }
}

/// The numbers that the names of the test functions of a source begin with: `fn r13_r14_..` counts for R13 alone, so that
/// no rule lives in the test of another.
fn numbers(source: &str) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            continue;
        }
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some(name) = name.filter(|_| is_test) {
            let first = name.split('_').next().and_then(|word| word.strip_prefix('r'));
            numbers.extend(
                first.filter(|digits| digits.len() == 2).and_then(|digits| digits.parse::<u32>().ok()),
            );
        }
        is_test = false;
    }
    numbers
}

#[test]
fn names_are_read_as_people_read_them() {
    let source = "#[tokio::test]\nasync fn r13_r14_one() {}\n#[test]\nfn r60_two() {}\nfn r61_no_test() {}\n";
    assert_eq!(numbers(source), BTreeSet::from([13, 60]));
}

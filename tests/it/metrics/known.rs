//! The sources, [`KNOWN`] and `docs/metrics.md` say the same.

use std::{collections::BTreeMap, fs, path::Path};

use rollcall::exporter::{KNOWN, Kind, Known};

use super::file;

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}

/// What the macros in these sources count: the kind by name.
fn counted(directory: &Path, found: &mut BTreeMap<String, &'static str>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            counted(&path, found);
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source");
        // What the tests of the exporter count themselves stands at the end of their file.
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for kind in ["counter", "gauge", "histogram"] {
            for rest in source.split(&format!("metrics::{kind}!(")).skip(1) {
                let rest = rest.trim_start().strip_prefix('"');
                let rest = rest.unwrap_or_else(|| panic!("{}: a name is to stand there", path.display()));
                let name = rest.split('"').next().expect("a name").to_owned();
                let before = found.insert(name.clone(), kind);
                assert!(before.is_none_or(|before| before == kind), "{name} is two things");
            }
        }
    }
}

#[test]
fn the_sources_count_what_is_known_and_all_of_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    for directory in ["src", "client/src"] {
        counted(&root.join(directory), &mut found);
    }
    let known: BTreeMap<String, &str> =
        KNOWN.iter().map(|known| (known.name.to_owned(), word(known.kind))).collect();
    assert!(known.len() > 40 && known.len() == KNOWN.len(), "a name stands there twice");
    assert_eq!(found, known);
}

/// The rows of the page: name, type, labels, unit, meaning.
fn rows() -> Vec<[String; 5]> {
    let page = file("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `r"));
    let rows = rows.map(|line| {
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        cells.try_into().unwrap_or_else(|cells: Vec<String>| panic!("not five cells: {cells:?}"))
    });
    rows.collect()
}

#[test]
fn the_page_lists_what_is_known_and_nothing_else() {
    let rows = rows();
    let mut listed: Vec<(&str, &str, String)> =
        rows.iter().map(|[name, kind, labels, ..]| (name.as_str(), kind.as_str(), labels.clone())).collect();
    let mut known: Vec<(&str, &str, String)> =
        KNOWN.iter().map(|known| (known.name, word(known.kind), known.labels.join(", "))).collect();
    listed.sort();
    known.sort();
    assert_eq!(listed, known);
    for [name, _, _, unit, meaning] in &rows {
        assert!(!unit.is_empty() && meaning.len() > 10, "{name}: unit and meaning");
        assert_eq!(name.contains("_seconds"), unit == "seconds", "{name} is in {unit}");
        let known = KNOWN.iter().find(|known| known.name == name).expect("compared above");
        assert_eq!(unit, known.unit, "{name}");
    }
}

#[test]
fn names_are_as_prometheus_wants_them() {
    for Known { name, kind, help, .. } in KNOWN {
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        // By such a word whatever translates names would end them once more, or elsewhere.
        let words = |word: &str| name.split('_').filter(|part| *part == word).count();
        assert!(words("total") <= 1 && words("seconds") <= 1 && words("ratio") == 0, "{name}");
        assert!(words("seconds") == 0 || name.ends_with("_seconds"), "{name}");
        assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{name}: {help}");
        if let Kind::Histogram(bounds) = kind {
            assert!(bounds.is_sorted() && !bounds.is_empty(), "{name}");
        }
    }
}

//! The runbooks, and what other pages tell people to type.

use std::collections::BTreeSet;

use super::{file, files, rules::alerts};
use crate::processes::run;

/// Pages whose commands must be there.
const PAGES: [&str; 15] = [
    "README.md",
    "docs/adopt.md",
    "docs/agent.md",
    "docs/audit.md",
    "docs/backup.md",
    "docs/consumer-contract.md",
    "docs/enforcement.md",
    "docs/high-availability.md",
    "docs/identity.md",
    "docs/kubernetes.md",
    "docs/metrics.md",
    "docs/operations.md",
    "docs/sizing.md",
    "docs/tracing.md",
    "docs/upgrade.md",
];

#[test]
fn each_alert_has_its_page_and_each_page_its_alert() {
    let pages: BTreeSet<String> = files("docs/runbooks")
        .into_iter()
        .map(|name| name.strip_suffix(".md").unwrap_or_else(|| panic!("{name} is no page")).to_owned())
        .collect();
    assert_eq!(pages, alerts());
    for page in pages {
        let text = file(&format!("docs/runbooks/{page}.md"));
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let title = format!("# {page}");
        assert_eq!(
            headings,
            [title.as_str(), "## What it means", "## How to see it", "## What to do"],
            "{page}"
        );
        for (_, after) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let path = after.split([')', '#']).next().expect("a link");
            let path = match path.strip_prefix("../") {
                Some(above) => format!("docs/{above}"),
                None => format!("docs/runbooks/{path}"),
            };
            assert!(!file(&path).is_empty(), "{page}: {path}");
        }
    }
}

/// The commands of a page: lines of examples, and what stands in backticks.
fn commands(page: &str) -> BTreeSet<String> {
    let text = file(page);
    let mut found = BTreeSet::new();
    let mut rest = String::new();
    for (at, part) in text.split("```").enumerate() {
        let fenced = at % 2 == 1;
        let lines = part.lines().filter(|line| fenced || line.starts_with("    "));
        found.extend(lines.map(|line| line.trim_start().trim_start_matches("$ ").to_owned()));
        if !fenced {
            rest.push_str(part);
        }
    }
    // What a line is continued with belongs to it.
    let joined = rest.replace('\n', " ");
    found.extend(joined.split('`').skip(1).step_by(2).map(|inline| inline.trim().to_owned()));
    // The words behind `help` are a command, and take no option.
    found.retain(|line| line.starts_with("rollcall ") && !line.starts_with("rollcall help "));
    found
}

#[tokio::test]
async fn the_commands_of_the_pages_are_there_with_their_options() {
    let runbooks = files("docs/runbooks").into_iter().map(|name| format!("docs/runbooks/{name}"));
    let pages: Vec<String> = runbooks.chain(PAGES.map(str::to_owned)).collect();
    let mut tried = BTreeSet::new();
    for page in &pages {
        for command in commands(page) {
            let words: Vec<&str> = command.split_whitespace().skip(1).collect();
            let names =
                words.iter().take_while(|word| word.chars().all(|letter| letter.is_ascii_lowercase()));
            let names: Vec<&str> = names.copied().take(2).collect();
            let output = run(names.iter().copied().chain(["--help"])).await;
            assert!(output.status.success(), "{page}: {command}");
            let help = String::from_utf8_lossy(&output.stdout).into_owned();
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().expect("a name");
                assert!(
                    help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")),
                    "{page}: {command}: no {option}"
                );
            }
            tried.insert(names.join(" "));
        }
    }
    assert!(tried.len() > 10, "{tried:?}");
    println!("{} commands of {} pages", tried.len(), pages.len());
}

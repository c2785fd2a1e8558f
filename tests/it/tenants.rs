//! Organizations are kept apart by the database too, on the day on which a WHERE clause is wrong: row level security, and a
//! service whose statements have lost the clause. The roles are in `process::roles`.

mod direct;
mod without_where;

use std::{fs, path::Path};

/// The lines of a folder's sources, each file by itself.
fn sources(folder: &str) -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(root).expect("the sources").map(|entry| entry.expect("an entry").path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read = |path: &Path| fs::read_to_string(path).expect("a source").lines().map(str::to_owned).collect();
    files.map(|path| (path.display().to_string(), read(&path))).collect()
}

#[test]
fn whoever_looks_beyond_one_organization_says_why() {
    let mut found = [0; 3];
    for (folder, looks, says, within, count) in [
        // The comment stands above the statement, which may have some lines before it takes its connection.
        ("src/storage", "self.read_across()", "// Across: ", 12, 0),
        ("src/storage", ".beyond(async", "// ", 2, 1),
        ("src/engine", "        Tenant::Across", "/// ", 2, 2),
    ] {
        for (path, lines) in sources(folder) {
            for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.contains(looks)) {
                let above = &lines[at.saturating_sub(within)..at];
                assert!(
                    above.iter().any(|line| line.trim_start().starts_with(says)),
                    "{path}:{}: {looks} without a reason: say {says:?}",
                    at + 1
                );
                found[count] += 1;
            }
        }
    }
    assert!(found[0] >= 20 && found[1] >= 5 && found[2] >= 5, "{found:?}");
}

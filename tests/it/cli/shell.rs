//! What shells and `man` are given: made of the command line, so nothing of it may be missing.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::processes::BOUND;

const COMMANDS: [&str; 26] = [
    "serve",
    "demo",
    "migrate",
    "doctor",
    "watch",
    "replay",
    "export",
    "import",
    "app",
    "account",
    "organization",
    "contract",
    "workspace",
    "member",
    "invite",
    "erasure",
    "history",
    "departures",
    "lost",
    "audit",
    "agent",
    "check",
    "conformance",
    "health",
    "completions",
    "man",
];

/// What is below a command.
const BELOW: [(&str, &[&str]); 11] = [
    ("app", &["register", "get", "list", "update", "unregister"]),
    ("account", &["create", "get", "lookup", "update", "delete"]),
    ("organization", &["create", "get", "list", "update", "delete"]),
    ("contract", &["create", "get", "list", "update", "delete"]),
    ("workspace", &["create", "list", "update", "delete"]),
    ("member", &["add", "get", "list", "update", "deactivate", "reactivate", "remove", "erase", "leave"]),
    ("invite", &["create", "get", "list", "resend", "revoke", "accept", "decline"]),
    ("erasure", &["list", "apply", "get"]),
    ("history", &["at"]),
    ("lost", &["list", "resolve"]),
    ("audit", &["list", "verify"]),
];

#[tokio::test]
async fn every_shell_completes_every_command() {
    // The list here is whole.
    let help = run_well(["help"]).await;
    let listed = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let listed: Vec<&str> = listed.take_while(|word| *word != "-h,").filter(|word| *word != "help").collect();
    assert!(COMMANDS.iter().all(|command| listed.contains(command)), "{help}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run_well(["completions", shell]).await;
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("data-dir"), "{shell}: options too");
    }
    assert_eq!(run(["completions", "tcl"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn the_script_for_bash_is_one() {
    let script = run_well(["completions", "bash"]).await;
    let mut bash = match tokio::process::Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn() {
        Ok(bash) => bash,
        Err(error) => return println!("skipped: bash: {error}"),
    };
    bash.stdin.take().unwrap().write_all(script.as_bytes()).await.unwrap();
    let status = tokio::time::timeout(BOUND, bash.wait()).await.expect("bash reads it in time").unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn there_is_a_page_for_every_command() {
    let page = run_well(["man"]).await;
    assert!(page.contains(".TH rollcall 1"), "{page}");
    for command in COMMANDS {
        assert!(page.contains(&format!("rollcall\\-{command}(1)")), "{command}: {page}");
    }
    let directory = tempfile::tempdir().unwrap();
    let pages = place(&directory, "man1");
    for _ in 0..2 {
        assert_eq!(run_well(["man", "--output", &pages]).await, "");
    }
    let mut names: Vec<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected: Vec<String> = COMMANDS.iter().map(|command| format!("rollcall-{command}.1")).collect();
    // Pages of what is below a command too.
    expected.extend(["rollcall.1", "rollcall-help.1"].map(str::to_owned));
    for (command, below) in BELOW {
        let below = below.iter().chain(&["help"]);
        expected.extend(below.map(|inner| format!("rollcall-{command}-{inner}.1")));
    }
    expected.sort();
    assert_eq!(names, expected);
    let text = fs::read_to_string(format!("{pages}/rollcall-import.1")).unwrap();
    assert!(text.contains(".TH rollcall-import 1") && text.contains("\\-\\-reactivate"), "{text}");
    assert_eq!(fs::read_to_string(format!("{pages}/rollcall.1")).unwrap(), page);

    let file = written(&directory, "file", "");
    let errors = run_badly(["man", "--output", &file]).await;
    assert!(errors.starts_with(&format!("rollcall man: cannot make {file}: ")), "{errors}");
}

#[tokio::test]
async fn the_words_below_the_options_fit_the_width_that_help_is_wrapped_at() {
    // What is broken in the source at more than that is broken twice: lines of a word or two, within a sentence.
    let commands = COMMANDS.into_iter().map(|command| vec![command]);
    let below =
        BELOW.into_iter().flat_map(|(command, below)| below.iter().map(move |one| vec![command, *one]));
    for command in commands.chain(below) {
        let help = run_well(command.iter().chain(&["--help"])).await;
        let words =
            help.rsplit_once("--version\n").or_else(|| help.rsplit_once("see a summary with '-h')\n"));
        let words = words.or_else(|| help.rsplit_once("Print help\n")).expect("options").1;
        let lines: Vec<&str> = words.lines().collect();
        for (line, next) in lines.iter().zip(lines.iter().skip(1)) {
            let first = next.split_whitespace().next().unwrap_or_default();
            let of_a_list = line.starts_with(' ') || next.starts_with(' ');
            let ends = line.is_empty() || line.ends_with(['.', ':']) || next.is_empty();
            let filled = line.chars().count() + 1 + first.chars().count() > 85;
            assert!(of_a_list || ends || filled, "{command:?}: {line:?}");
        }
    }
}

#[tokio::test]
async fn who_reaches_no_service_is_told_where_to_look() {
    for command in [&["health"][..], &["app", "list"], &["member", "get", "MEMBER", "--organization", "ID"]] {
        let output = run(command.iter().chain(&["--endpoint", "http://127.0.0.1:1"])).await;
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            errors.contains("No service answered") && errors.contains("--endpoint"),
            "{command:?}: {errors}"
        );
    }
}

//! `docs/agent.md`, as a newcomer would follow it: its examples are run by a shell, and answer what stands below them.

use std::{collections::BTreeMap, path::Path, process::Stdio};

use tokio::process::Command;

use super::*;
use crate::processes::run;

/// A command of the page, and what stands below it.
struct Example {
    command: String,
    shown: String,
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agent.md");
    std::fs::read_to_string(path).expect("the page")
}

/// The blocks that begin with `$ `.
fn examples(page: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut within = false;
    for line in page.lines() {
        let text = line.strip_prefix("    ");
        match text.map(|text| (text, text.strip_prefix("$ "))) {
            Some((_, Some(command))) => {
                found.push(Example { command: command.to_owned(), shown: String::new() });
                within = true;
            }
            Some((text, None)) if within => found.last_mut().expect("one").shown += &format!("{text}\n"),
            // The events of a stream are divided by empty lines.
            None if line.is_empty() && within => found.last_mut().expect("one").shown += "\n",
            _ => within = false,
        }
    }
    found
}

/// The same without what differs from run to run: ids, stamps, times and numbers, and heartbeats.
fn normalized(text: &str) -> String {
    let text = text.replace(":\n\n", "");
    let lines = text.trim().lines().map(|line| {
        let (field, value) = line.split_once(": ").unwrap_or(("", line));
        match serde_json::from_str::<Value>(value) {
            Ok(mut json) => {
                normalize(&mut json);
                format!("{field}: {json}")
            }
            Err(_) if field == "id" => "id".to_owned(),
            Err(_) => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn normalize(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Object(fields) => fields.values_mut().for_each(normalize),
        Value::Number(_) => *json = Value::from(0),
        Value::String(text)
            if text.starts_with(|first: char| first.is_ascii_hexdigit()) && text.len() > 20 =>
        {
            *text = "varies".to_owned();
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_examples_answer_what_stands_below_them() {
    if Command::new("curl").arg("--version").output().await.is_err() {
        return println!("skipped: there is no curl");
    }
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let stamp = agent.check(&bob.account, &org.general).await.body["stamp"].as_str().expect("one").to_owned();
    let mut variables = BTreeMap::from([
        ("ACCOUNT", bob.account.clone()),
        ("WORKSPACE", org.general.clone()),
        ("STAMP", stamp),
        ("TOKEN", world.operator().rename_organization(&org.id, "Engines").await.expect("a name").token),
    ]);
    let examples = examples(&page());
    assert_eq!(examples.len(), 8, "all of them are found");
    let mut open = None;
    for Example { command, shown } in examples {
        let line = command.replace("127.0.0.1:7401", &agent.address.to_string());
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("exec {line}")])
            .envs(&variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = shell.kill_on_drop(true).spawn().expect("a shell");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut said = String::new();
        // A stream does not end by itself: bob leaves when it is open, and it is read until it says so.
        let streams = command.contains("/v1/revocations");
        while let Some(line) = timeout(BOUND, lines.next_line()).await.expect("in time").expect("a line") {
            said += &format!("{line}\n");
            if streams && line.starts_with("event: live") {
                out(&world, &org, &bob).await;
            }
            if let Some(data) = line.strip_prefix("data: ")
                && let Some(change) = serde_json::from_str::<Value>(data).expect("JSON")["change_id"].as_str()
            {
                variables.insert("CHANGE", change.to_owned());
                break;
            }
        }
        if streams {
            open = Some((child, lines));
        }
        assert_eq!(normalized(&said), normalized(&shown), "{command}");
    }
    drop(open);
    agent.end().await;
}

#[tokio::test]
async fn the_manifest_starts_what_there_is() {
    let page = page();
    let line = page.lines().find_map(|line| line.trim().strip_prefix("args: ")).expect("arguments");
    let arguments: Vec<String> = serde_json::from_str(line).expect("a list of texts");
    let output = run(arguments.iter().map(String::as_str).chain(["--listen", "0.0.0.0:0"])).await;
    // It understood everything but the address, which it refuses.
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(errors.contains("--listen-anywhere if that is meant"), "{errors}");
}

#[test]
fn every_reason_that_is_answered_is_on_the_page() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agent/refusal.rs");
    let source = std::fs::read_to_string(sources).expect("the source");
    let words = source.split('"').skip(1).step_by(2).filter(|text| {
        text.len() > 4 && text.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    });
    let words: Vec<&str> = words.collect();
    assert!(words.len() > 6, "{words:?}");
    let page = page();
    for word in words {
        assert!(page.contains(&format!("`{word}`")), "{word} is not in docs/agent.md");
    }
    let denials = (1..).map_while(|number| DenialReason::try_from(number).ok());
    for denial in denials {
        let word = denial.as_str_name().trim_start_matches("DENIAL_REASON_");
        assert!(page.contains(&format!("| `{word}` |")), "{word}");
    }
}

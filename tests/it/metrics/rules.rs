//! The rules for Prometheus and the dashboard for Grafana, in `helm/rollcall/files/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use rollcall::exporter::{KNOWN, Kind};
use serde_json::Value;

use super::{file, files, promtool};

const RULES: &str = "helm/rollcall/files/rules.yaml";
const DASHBOARD: &str = "helm/rollcall/files/dashboard.json";

/// The values of the lines of the rules with this key.
fn values<'a>(rules: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = rules.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(move |line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

/// The names of alerts.
pub(super) fn alerts() -> BTreeSet<String> {
    let rules = file(RULES);
    let alerts: Vec<String> = values(&rules, "alert").map(str::to_owned).collect();
    let distinct: BTreeSet<String> = alerts.iter().cloned().collect();
    assert_eq!(alerts.len(), distinct.len(), "an alert stands there twice");
    assert!(distinct.len() > 20, "{distinct:?}");
    distinct
}

/// Every name of a metric of ours in an expression.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|letter: char| !(letter.is_alphanumeric() || "_:".contains(letter)));
    let ours =
        |word: &&str| ["rollcall_", "rollcall:", "rpc_server_"].iter().any(|begin| word.starts_with(begin));
    words.filter(ours).map(str::to_owned).collect()
}

/// All names that an expression may use: what is counted, with the endings of a histogram, and what the rules record.
fn usable() -> BTreeSet<String> {
    let rules = file(RULES);
    let mut usable: BTreeSet<String> = values(&rules, "record").map(str::to_owned).collect();
    assert!(usable.len() > 3, "{usable:?}");
    for known in KNOWN {
        match known.kind {
            Kind::Histogram(_) => {
                usable.extend(["bucket", "sum", "count"].map(|end| format!("{}_{end}", known.name)));
            }
            _ => drop(usable.insert(known.name.to_owned())),
        }
    }
    usable
}

#[test]
fn the_rules_ask_only_for_what_is_counted() {
    let rules = file(RULES);
    // What begins with a `#` is for people.
    let lines: Vec<&str> = rules.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let used: BTreeSet<String> =
        names(&lines.join("\n")).into_iter().filter(|name| !name.starts_with("rollcall.")).collect();
    let usable = usable();
    let unknown: Vec<&String> = used.difference(&usable).collect();
    assert!(used.len() > 20 && unknown.is_empty(), "nobody counts {unknown:?}");
    // What is recorded is also used: by an alert, or on the dashboard.
    let dashboard = file(DASHBOARD);
    for record in values(&rules, "record") {
        let times = lines.iter().filter(|line| line.contains(record)).count();
        assert!(times > 1 || dashboard.contains(record), "{record} is recorded for nobody");
    }
}

#[test]
fn each_alert_says_how_bad_it_is_and_where_its_page_is() {
    let rules = file(RULES);
    for alert in alerts() {
        let (_, rest) = rules.split_once(&format!("- alert: {alert}\n")).expect("the alert");
        let rule = rest.split("- alert: ").next().expect("the rule");
        let severity = values(rule, "labels").next();
        assert!(matches!(severity, Some("{severity: page}" | "{severity: ticket}")), "{alert}: {severity:?}");
        let url = values(rule, "runbook_url").next().unwrap_or_default();
        assert_eq!(url, format!("https://rollcall.example/docs/runbooks/{alert}.md"), "{alert}");
        assert!(
            values(rule, "summary").next().is_some_and(|summary| summary.ends_with(['.', '"'])),
            "{alert}"
        );
    }
}

#[test]
fn promtool_takes_the_rules_and_their_tests_hold() {
    let Some(promtool) = promtool() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |arguments: &[&str]| {
        let output = Command::new(&promtool).args(arguments).current_dir(root).output().expect("promtool");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    };
    run(&["check", "rules", RULES]);
    let tests: Vec<String> =
        files("tests/promtool").into_iter().map(|name| format!("tests/promtool/{name}")).collect();
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    run(&[&["test", "rules"], tests.as_slice()].concat());
    println!("{} alerts, {} files of tests", alerts().len(), tests.len());
}

#[test]
fn each_alert_is_tested_to_fire_and_not_to() {
    let mut tested: BTreeMap<String, [bool; 2]> = BTreeMap::new();
    for name in files("tests/promtool") {
        let tests = file(&format!("tests/promtool/{name}"));
        for test in tests.split("alertname: ").skip(1) {
            let alert = test.lines().next().expect("a name").trim().to_owned();
            let quiet = test.split("- eval_time").next().is_some_and(|test| test.contains("exp_alerts: []"));
            tested.entry(alert).or_default()[usize::from(quiet)] = true;
        }
    }
    let both: BTreeSet<String> =
        tested.into_iter().filter(|(_, both)| *both == [true, true]).map(|(alert, _)| alert).collect();
    assert_eq!(both, alerts());
}

#[test]
fn the_dashboard_is_whole_and_shows_only_what_is_counted() {
    let dashboard: Value = serde_json::from_str(&file(DASHBOARD)).expect("JSON");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36), "a version of Grafana");
    assert!(dashboard["uid"].is_string() && dashboard["title"].is_string() && dashboard["id"].is_null());
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let variable = |name: &str| variables.iter().any(|variable| variable["name"] == name);
    assert!(variable("datasource") && variable("instance"), "{variables:?}");
    let panels = dashboard["panels"].as_array().expect("panels");
    let (mut ids, mut squares) = (BTreeSet::new(), BTreeSet::new());
    let (usable, mut shown) = (usable(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its number is another one's");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{title}: {key}"));
        assert!(place("x") + place("w") <= 24, "{title} is too wide");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(squares.insert((x, y)), "{title} lies on another one");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}: described");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: its unit");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title} asks for nothing");
        for target in targets {
            let used = names(target["expr"].as_str().expect("an expression"));
            let unknown: Vec<&String> = used.difference(&usable).collect();
            assert!(!used.is_empty() && unknown.is_empty(), "{title}: nobody counts {unknown:?}");
            shown.extend(used);
        }
    }
    assert!(panels.len() > 20 && shown.len() > 20, "{} panels", panels.len());
}

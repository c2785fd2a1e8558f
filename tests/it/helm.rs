//! What is shipped. The chart of `helm/rollcall` is tried with Helm's own engine by `tests/python/helm_chart.py`: what it renders
//! is valid for every Kubernetes that it is for, what it refuses it refuses by name, and what it starts is this program with
//! settings that this program has. `tests/python/supply_chain.py` looks at what a release is made by.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::support::python_of_helm;

/// Some 130 renders and refusals; half a minute on two cores that have nothing else to do.
const RUNNING: Duration = Duration::from_secs(300);

const CHART: [&str; 19] = [
    "manifests_are_valid",
    "an_older_kubernetes_is_refused",
    "bad_values_are_refused_by_name",
    "the_schema_is_closed_and_complete",
    "every_value_is_explained",
    "every_value_changes_something",
    "variables_are_settings_of_the_program",
    "the_program_takes_what_the_chart_says",
    "the_pods_of_the_chart_serve",
    "nobody_is_root",
    "secrets_exist_already_and_each_is_seen_by_whom_it_is_for",
    "who_migrates_is_as_the_mode_says",
    "only_pods_that_serve_are_found",
    "ports_and_probes_lead_to_the_service",
    "a_drain_has_the_time_that_it_may_take",
    "rules_and_dashboards_are_those_of_the_files",
    "notes_warn",
    "the_package_has_what_it_needs",
    "the_version_is_that_of_the_program",
];

const RELEASE: [&str; 7] = [
    "the_dockerfile_has_no_findings",
    "the_image_is_built_of_all_that_it_needs",
    "the_program_needs_no_more_than_the_image_has",
    "what_is_in_the_program_is_listed",
    "a_release_is_signed_by_digest",
    "a_version_that_is_another_one_is_refused",
    "the_workflow_may_no_more_than_it_must",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_renders_what_clusters_and_the_program_take() {
    check("helm_chart.py", &CHART).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_made_of_what_it_says() {
    check("supply_chain.py", &RELEASE).await;
}

/// Runs a program of `tests/python` that looks at this one.
async fn check(program: &str, checks: &[&str]) {
    let Some(python) = python_of_helm().await else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(program);
    // Without bytecode: it would be left beside the sources.
    let mut command = Command::new(python);
    command.arg("-B").arg(script).arg(env!("CARGO_BIN_EXE_rollcall"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(RUNNING, command.output())
        .await
        .expect("the checks end in time")
        .expect("python");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    let done: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("ok ")).collect();
    assert!(output.status.success(), "{said}{errors}");
    assert_eq!(done, checks);
}

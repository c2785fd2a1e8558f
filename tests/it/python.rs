//! A client of other people's making, in another language: `tests/python/client.py`, on the gRPC library of Python. It has
//! no generated code and knows the API by reflection alone.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::support::{Server, python};

/// Longer than all of the client's own bounds that can follow one another.
const RUNNING: Duration = Duration::from_secs(120);

const CHECKS: [&str; 20] = [
    "list_services",
    "health_watch",
    "health_check_overall",
    "health_check_each_service",
    "health_check_unknown_service",
    "register_app",
    "create_accounts",
    "create_organization",
    "create_workspace",
    "add_member",
    "add_workspace_member",
    "watch_snapshot",
    "deactivate",
    "watch_change",
    "stream_cancelled",
    "resume_after_cursor",
    "acknowledge",
    "deadline_exceeded",
    "error_info",
    "bad_request",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_python_knows_the_api_by_reflection() {
    let Some(python) = python().await else { return };
    let server = Server::checking().await;
    let address = server.endpoint().replace("http://", "");
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/client.py");
    // Without bytecode: it would be left beside the sources.
    let mut command = Command::new(python);
    command.arg("-B").arg(client).arg(address).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(RUNNING, command.output())
        .await
        .expect("the client ends in time")
        .expect("python");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let done: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("ok ")).collect();
    assert!(output.status.success(), "{said}{errors}");
    assert_eq!(done, CHECKS);
    server.stop().await;
}

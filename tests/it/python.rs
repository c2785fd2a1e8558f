//! A client of other people's making, in another language: `tests/python/client.py`, on the gRPC library of Python. It has
//! no generated code and knows the API by reflection alone.
//!
//! Its packages are installed once into `target/tools`. Where that cannot be done the test is skipped and says why, unless
//! `ROLLCALL_REQUIRE_PYTHON` is set to something but 0: then it fails.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::support::Server;

/// A download over a slow line.
const INSTALLING: Duration = Duration::from_secs(300);
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

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python that has what the client needs, or why there is none.
async fn python() -> Result<PathBuf, String> {
    let requirements = root().join("tests/python/requirements.txt");
    let digest = Sha256::digest(fs::read(&requirements).expect("requirements.txt"));
    let name: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let directory = root().join("target/tools").join(format!("python-{name}"));
    let (python, ready) = (directory.join("bin/python"), directory.join("ready"));
    if ready.exists() {
        return Ok(python);
    }
    fs::create_dir_all(root().join("target/tools")).expect("target/tools");
    // `--clear`: what an installation that was cut short left is no beginning.
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory)).await?;
    // No building from sources: it takes minutes and a compiler.
    let pip =
        ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--only-binary", ":all:", "-r"];
    run(Command::new(&python).args(pip).arg(&requirements)).await?;
    fs::write(&ready, "").expect("a mark in target/tools");
    Ok(python)
}

async fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{:?}", command.as_std());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(INSTALLING, command.output())
        .await
        .map_err(|_| format!("{shown}: not done after {} s", INSTALLING.as_secs()))?
        .map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{shown}: {}\n{said}{errors}", output.status))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_python_knows_the_api_by_reflection() {
    let python = match python().await {
        Ok(python) => python,
        Err(why) => {
            let required = env::var_os("ROLLCALL_REQUIRE_PYTHON").is_some_and(|value| value != "0");
            assert!(!required, "there is no Python with gRPC: {why}");
            println!("skipped: there is no Python with gRPC: {why}");
            return;
        }
    };
    let server = Server::start().await;
    let address = server.endpoint().replace("http://", "");
    let client = root().join("tests/python/client.py");
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

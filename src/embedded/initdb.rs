//! Creates the database files, all or nothing: under another name, which is changed when they are complete.

use std::path::Path;

use super::{
    Durability, EmbeddedError, SUPERUSER,
    binaries::Binaries,
    directory::{DataDirectory, create_private},
    identity::Identity,
    postmaster::server_command,
};

/// C.UTF-8 sorts like C and knows the letters of all languages; systems without it fall back to C.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// Fills `directory` with an empty database.
pub(super) fn create(
    directory: &DataDirectory,
    identity: &Identity,
    binaries: &Binaries,
    durability: Durability,
) -> Result<(), EmbeddedError> {
    let partial = directory.partial();
    let mut failure = String::new();
    for locale in LOCALES {
        // From a start that was killed, or from the locale before.
        directory.remove_partials();
        create_private(&partial).map_err(EmbeddedError::io("create", &partial))?;
        identity.own(&partial)?;
        match run(directory.root(), &partial, identity, binaries, durability, locale)? {
            None => return directory.adopt_partial(),
            Some(output) => failure = output,
        }
        if !failure.contains("invalid locale") {
            break;
        }
    }
    directory.remove_partials();
    Err(EmbeddedError::Initdb { data_dir: directory.root().to_path_buf(), output: failure })
}

/// What initdb complained about, if it did.
fn run(
    root: &Path,
    partial: &Path,
    identity: &Identity,
    binaries: &Binaries,
    durability: Durability,
    locale: &str,
) -> Result<Option<String>, EmbeddedError> {
    let program = binaries.initdb();
    let mut command = server_command(&program, root, identity);
    command.arg("--pgdata").arg(partial);
    command.args(["--username", SUPERUSER, "--encoding", "UTF8", "--lc-messages", "C", "--locale", locale]);
    command.args(["--auth-local", "trust", "--auth-host", "reject", "--no-instructions"]);
    if durability == Durability::Volatile {
        command.arg("--no-sync");
    }
    let output = command.output().map_err(EmbeddedError::spawn(&program))?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(Some(if said.is_empty() { format!("initdb ended with {}", output.status) } else { said }))
}

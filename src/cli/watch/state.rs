//! The state file: cursor and replica of one app, together, so that neither is ever ahead of the other.
//!
//! One process at a time holds it, by a lock beside it that the operating system lets go of however the process ends.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use rollcall_client::Tables;
use serde::{Deserialize, Serialize};

use crate::cli::files;

/// Counted up when the meaning of the file changes.
const FORMAT: u32 = 1;
/// The replica may hold e-mail addresses: nobody else's business.
const MODE: u32 = 0o600;

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    pub(super) app: String,
    pub(super) organization_ids: Vec<String>,
    pub(super) store_id: String,
    /// Whether the members of the replica have their profiles.
    pub(super) profiles: bool,
    /// Where to resume. `None` only before the first snapshot was complete.
    pub(super) cursor: Option<String>,
    pub(super) replica: Tables,
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("{} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("{} belongs to app {found:?}, not {expected:?}", path.display())]
    OtherApp { path: PathBuf, found: String, expected: String },
    #[error("{} has format {found}, this version reads {FORMAT}", path.display())]
    OtherFormat { path: PathBuf, found: u32 },
    #[error("{} is no state file, or damaged: {source}; move it away to begin with a snapshot", path.display())]
    Corrupt { path: PathBuf, source: serde_json::Error },
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl State {
    pub(super) fn new(app: &str, organization_ids: &[String], profiles: bool) -> Self {
        Self {
            format: FORMAT,
            app: app.to_owned(),
            organization_ids: organization_ids.to_owned(),
            store_id: String::new(),
            profiles,
            cursor: None,
            replica: Tables::default(),
        }
    }
}

/// A state file that this process holds.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// Never removed: a lock file that comes and goes can be held by two.
    _lock: File,
}

impl StateFile {
    /// Takes the file, and reads it where there is one.
    pub(super) fn open(path: &Path, app: &str) -> Result<(Self, Option<State>), StateError> {
        let at = |source| StateError::Io { path: path.to_owned(), source };
        // By its real name: through a symbolic link the rename would replace the link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(files::with_suffix(&path, ".lock"))
            .map_err(at)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StateError::InUse { path: path.clone() },
            TryLockError::Error(source) => at(source),
        })?;
        let state = read(&path)?;
        if let Some(State { app: found, .. }) = &state
            && found != app
        {
            let (found, expected) = (found.clone(), app.to_owned());
            return Err(StateError::OtherApp { path, found, expected });
        }
        Ok((Self { path, _lock: lock }, state))
    }

    /// Replaces the file. A fixed temporary name, since nobody else writes here: a kill leaves at most that one behind.
    pub(super) fn save(&self, content: &[u8]) -> Result<(), StateError> {
        files::replace_through(&self.path, &files::with_suffix(&self.path, ".tmp"), MODE, content)
            .map_err(|source| StateError::Io { path: self.path.clone(), source })
    }
}

fn read(path: &Path) -> Result<Option<State>, StateError> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Io { path: path.to_owned(), source }),
    };
    let corrupt = |source| StateError::Corrupt { path: path.to_owned(), source };
    let Header { format } = serde_json::from_slice(&bytes).map_err(corrupt)?;
    if format != FORMAT {
        return Err(StateError::OtherFormat { path: path.to_owned(), found: format });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(corrupt)
}

/// The replica in a state file that nobody needs to hold any more; `None` where there is no file.
pub(crate) fn read_replica(path: &Path) -> Result<Option<Tables>, StateError> {
    Ok(read(path)?.map(|state| state.replica))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(state: &State) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chat.state");
        let (file, found) = StateFile::open(&path, "chat").unwrap();
        assert!(found.is_none());
        file.save(&serde_json::to_vec(state).unwrap()).unwrap();
        (directory, path)
    }

    #[test]
    fn what_is_saved_is_found_again() {
        let mut state = State::new("chat", &["o".to_owned()], true);
        state.cursor = Some("opaque".to_owned());
        let (_directory, path) = saved(&state);
        let (_file, found) = StateFile::open(&path, "chat").unwrap();
        let found = found.unwrap();
        assert_eq!((found.cursor, found.profiles), (state.cursor, true));
        assert_eq!(found.organization_ids, ["o"]);
    }

    #[test]
    fn a_file_of_another_app_is_refused() {
        let (_directory, path) = saved(&State::new("chat", &[], false));
        let error = StateFile::open(&path, "boards").unwrap_err().to_string();
        assert!(error.ends_with("chat.state belongs to app \"chat\", not \"boards\""), "{error}");
    }

    #[test]
    fn a_file_in_use_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chat.state");
        let held = StateFile::open(&path, "chat").unwrap();
        let error = StateFile::open(&path, "chat").unwrap_err().to_string();
        assert!(error.ends_with("chat.state is in use by another process"), "{error}");
        drop(held);
        assert!(StateFile::open(&path, "chat").is_ok());
    }

    #[test]
    fn damage_is_noticed_and_the_file_named() {
        let whole = serde_json::to_string(&State::new("chat", &[], false)).unwrap();
        let cases = [
            String::new(),
            "{}".to_owned(),
            whole[..whole.len() - 2].to_owned(),
            whole.replace("\"cursor\"", "\"kursor\""),
            whole.replace("\"members\":[]", "\"members\":[{}]"),
        ];
        for case in cases {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("chat.state");
            fs::write(&path, &case).unwrap();
            let error = StateFile::open(&path, "chat").unwrap_err().to_string();
            assert!(error.contains("chat.state is no state file, or damaged"), "{case}: {error}");
        }
    }

    #[test]
    fn a_file_of_another_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chat.state");
        fs::write(&path, "{\"format\":2,\"app\":\"chat\"}").unwrap();
        let error = StateFile::open(&path, "chat").unwrap_err().to_string();
        assert!(error.ends_with("has format 2, this version reads 1"), "{error}");
    }
}

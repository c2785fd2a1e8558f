//! The data directory and the one lock that makes it ours.
//!
//! ```text
//! DIR/rollcall.lock      held while a service lives; its presence says that the directory is ours
//! DIR/pgdata             the database, complete: it is created as pgdata.partial-<pid> and then renamed
//! DIR/run                the socket, unless the path is too long for one
//! DIR/postgres.log       the server's log; at a start larger than 8 MiB it becomes postgres.log.old
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{EmbeddedError, binaries::Binaries, identity::Identity};

const LOCK: &str = "rollcall.lock";
const PARTIAL: &str = "pgdata.partial-";
/// Large enough for the story of a bad night, small enough that nobody has to care.
const LOG_ROTATE_BYTES: u64 = 8 << 20;
const LOG_TAIL_LINES: usize = 20;
const LOG_TAIL_BYTES: u64 = 16 << 10;

/// A directory that this process, and no other, serves from until this value is dropped.
#[derive(Debug)]
pub(super) struct DataDirectory {
    root: PathBuf,
    lock: File,
}

/// What can be known about a directory without touching it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Empty or absent.
    Nothing,
    /// Ours, with a database of this major version.
    Database { major: u32 },
    /// Ours, but the database has not been created.
    Prepared,
}

/// Refuses what is not ours and changes nothing.
pub(super) fn inspect(root: &Path) -> Result<Content, EmbeddedError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Nothing),
        Err(error) => return Err(EmbeddedError::io("read", root)(error)),
    };
    let mut empty = true;
    for entry in entries {
        let name = entry.map_err(EmbeddedError::io("read", root))?.file_name();
        if name == LOCK {
            return inspect_database(&root.join("pgdata"));
        }
        // A volume that was just formatted is as good as an empty directory.
        empty &= name == "lost+found";
    }
    if empty { Ok(Content::Nothing) } else { Err(EmbeddedError::Foreign { data_dir: root.to_path_buf() }) }
}

fn inspect_database(pgdata: &Path) -> Result<Content, EmbeddedError> {
    if !pgdata.try_exists().map_err(EmbeddedError::io("read", pgdata))? {
        return Ok(Content::Prepared);
    }
    let version_file = pgdata.join("PG_VERSION");
    let not_a_database = || EmbeddedError::NotADatabase { pgdata: pgdata.to_path_buf() };
    let text = match fs::read_to_string(&version_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_a_database()),
        Err(error) => return Err(EmbeddedError::io("read", &version_file)(error)),
    };
    text.trim().parse().map(|major| Content::Database { major }).map_err(|_| not_a_database())
}

impl DataDirectory {
    /// Creates what is missing, hands it to `identity` and takes the lock.
    pub(super) fn claim(
        root: &Path,
        identity: &Identity,
        binaries: &Binaries,
    ) -> Result<Self, EmbeddedError> {
        let created = !root.exists();
        fs::create_dir_all(root.parent().unwrap_or(root))
            .and_then(|()| create_private(root))
            .map_err(EmbeddedError::io("create", root))?;
        // Canonical, because servers that survive us are recognised by their working directory.
        let root = root.canonicalize().map_err(EmbeddedError::io("resolve", root))?;
        if let Err(error) = identity.check_reach(&root, binaries) {
            if created {
                // Leaves things as they were; when it fails, an empty directory remains, which does no harm.
                let _ = fs::remove_dir(&root);
            }
            return Err(error);
        }
        identity.own(&root)?;
        let lock = take_lock(&root)?;
        identity.own(&root.join(LOCK))?;
        Ok(Self { root, lock })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn pgdata(&self) -> PathBuf {
        self.root.join("pgdata")
    }

    /// Where a database is created, so that a half-made one never bears the final name. The name is this
    /// process's own: the `initdb` of a service that was killed tidies up after itself for a moment longer.
    pub(super) fn partial(&self) -> PathBuf {
        self.root.join(format!("{PARTIAL}{}", std::process::id()))
    }

    /// Removes what half-made databases there are. What cannot be removed costs space and nothing else.
    pub(super) fn remove_partials(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let partial = entry.file_name().as_encoded_bytes().starts_with(PARTIAL.as_bytes());
            if partial && let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(%error, path = %entry.path().display(), "cannot remove a half-made database");
            }
        }
    }

    /// Gives the complete database its name, for good: without the sync, a power failure could bring the
    /// old name back, and the data would seem to be gone.
    pub(super) fn adopt_partial(&self) -> Result<(), EmbeddedError> {
        let pgdata = self.pgdata();
        fs::rename(self.partial(), &pgdata)
            .and_then(|()| File::open(&self.root)?.sync_all())
            .map_err(EmbeddedError::io("create", &pgdata))
    }

    /// The log, to which the server appends.
    pub(super) fn open_log(&self, identity: &Identity) -> Result<Log, EmbeddedError> {
        let path = self.root.join("postgres.log");
        if fs::symlink_metadata(&path).is_ok_and(|it| it.len() > LOG_ROTATE_BYTES) {
            let old = self.root.join("postgres.log.old");
            fs::rename(&path, &old).map_err(EmbeddedError::io("rename", &path))?;
        }
        let file = open_own(OpenOptions::new().append(true), &path)?;
        identity.own(&path)?;
        let begin = file.metadata().map_err(EmbeddedError::io("read", &path))?.len();
        Ok(Log { path, file, begin })
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is just starting may hold a copy until it
        // executes its program, and a restart in that moment would find the directory in use.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, data_dir = %self.root.display(), "cannot unlock the data directory");
        }
    }
}

/// The log of one run of the server.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    pub(super) file: File,
    begin: u64,
}

impl Log {
    /// The last lines that this run has written.
    pub(super) fn tail(&self) -> String {
        self.read_tail().unwrap_or_else(|error| format!("(unreadable: {error})"))
    }

    fn read_tail(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.begin.max(end.saturating_sub(LOG_TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
    }
}

/// Creates `path` for its owner alone; an existing directory is taken as it is.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// The file names the holder for the message that the next one gets; only the lock itself decides.
fn take_lock(root: &Path) -> Result<File, EmbeddedError> {
    let path = root.join(LOCK);
    let mut file = open_own(OpenOptions::new().read(true).write(true), &path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)
                .and_then(|()| writeln!(file, "{}", std::process::id()))
                .map_err(EmbeddedError::io("write", &path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Err(EmbeddedError::InUse { data_dir: root.to_path_buf(), pid })
        }
        Err(TryLockError::Error(error)) => Err(EmbeddedError::io("lock", &path)(error)),
    }
}

/// Follows no link: the directory may belong to the user of the server, who must not be able to point root
/// at other files.
fn open_own(options: &mut OpenOptions, path: &Path) -> Result<File, EmbeddedError> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    options.create(true).mode(0o600).custom_flags(no_link).open(path).map_err(EmbeddedError::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freshly_formatted_volume_counts_as_empty_and_our_lock_as_ours() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let inspected = || inspect(directory.path()).expect("acceptable");
        assert_eq!(inspected(), Content::Nothing);
        fs::create_dir(directory.path().join("lost+found")).expect("a directory");
        assert_eq!(inspected(), Content::Nothing);
        File::create(directory.path().join(LOCK)).expect("a file");
        assert_eq!(inspected(), Content::Prepared);
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_not_followed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let elsewhere = directory.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, directory.path().join(LOCK)).expect("a link");
        let refused = take_lock(directory.path());
        assert!(matches!(refused, Err(EmbeddedError::Io { action: "open", .. })), "{refused:?}");
        assert!(!elsewhere.exists());
    }
}

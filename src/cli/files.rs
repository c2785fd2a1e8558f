//! Files that are replaced whole or not at all, and survive a crash of the machine once replacing them returned.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {} is no directory", path.display(), directory.display())]
    NoDirectory { path: PathBuf, directory: PathBuf },
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Says early what would otherwise be said after an hour of following: that the file has no place to be written to.
pub(crate) fn check_writable_place(path: &Path) -> Result<(), FileError> {
    let directory = directory_of(path);
    if directory.is_dir() { Ok(()) } else { Err(FileError::NoDirectory { path: path.to_owned(), directory }) }
}

/// Replaces a file that others may read. What is no regular file (a pipe, `/dev/stdout`) is written to instead: renaming
/// over it would remove it for everyone.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let special = target.metadata().is_ok_and(|metadata| !metadata.is_file());
    let written = if special {
        OpenOptions::new().write(true).open(&target).and_then(|mut file| file.write_all(content))
    } else {
        // With the process id: two exports to one file end with either, not with a mixture.
        let temporary = with_suffix(&target, &format!(".tmp-{}", std::process::id()));
        replace_through(&target, &temporary, 0o666, content)
    };
    written.map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Replaces a file through this temporary one: write, fsync, rename, fsync of the directory.
pub(crate) fn replace_through(target: &Path, temporary: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let written = write_synced(temporary, mode, content).and_then(|()| fs::rename(temporary, target));
    if written.is_err() {
        // A half-written file helps nobody; that removing it fails too changes nothing about the error.
        let _ = fs::remove_file(temporary);
    }
    written?;
    File::open(directory_of(target))?.sync_all()
}

fn write_synced(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The path with something appended to its file name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("roster.csv");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_regular_file_is_written_to_and_stays() {
        replace(Path::new("/dev/null"), b"text").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = check_writable_place(Path::new("/nowhere/at/all/r.csv")).unwrap_err().to_string();
        assert_eq!(error, "cannot write /nowhere/at/all/r.csv: /nowhere/at/all is no directory");
    }
}

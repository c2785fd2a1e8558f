//! Where the socket lives. Trust authentication means that whoever reaches the socket is the superuser, so
//! its directory is closed to everybody but the server's user; and the path of a socket is short, by the
//! kernel's rules, so a long data directory gets a directory elsewhere.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::{EmbeddedError, directory::create_private, identity::Identity};

/// The name that Postgres gives the socket of its port.
const SOCKET: &str = ".s.PGSQL.5432";
/// What fits into a `sockaddr_un` beside the terminating zero.
const MAX_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The directory of the socket. One outside of the data directory is removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketDirectory {
    path: PathBuf,
    outside: bool,
}

impl SocketDirectory {
    /// The directory for the server on `root`, private and without the remains of an earlier server. Only
    /// to be called when no server uses it.
    pub(super) fn prepare(root: &Path, identity: &Identity) -> Result<Self, EmbeddedError> {
        let inside = root.join("run");
        let outside = !fits(&inside);
        let path =
            if outside { runtime_directory(identity).join(short_name(root, identity)) } else { inside };
        create_private(&path).map_err(EmbeddedError::io("create", &path))?;
        check_private(&path, identity)?;
        identity.own(&path)?;
        for stale in [SOCKET.to_owned(), format!("{SOCKET}.lock")] {
            remove_if_there(&path.join(stale))?;
        }
        Ok(Self { path, outside })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        if self.outside {
            // Fails only when a server is left in it; the next start on the same data finds the same name.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// `text` with everything escaped that could mean something in a URL.
pub(super) fn percent_encode(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(*byte))
            }
            other => write!(encoded, "%{other:02X}").expect("writing to a String cannot fail"),
        }
        encoded
    })
}

fn fits(directory: &Path) -> bool {
    directory.join(SOCKET).as_os_str().as_bytes().len() <= MAX_PATH_BYTES
}

/// The session's directory when there is one, which is gone after the session; else the one for everybody.
/// Found by its fixed place rather than by `XDG_RUNTIME_DIR`, which is read nowhere else either.
fn runtime_directory(identity: &Identity) -> PathBuf {
    let session = PathBuf::from(format!("/run/user/{}", identity.uid()));
    let usable = fs::symlink_metadata(&session).is_ok_and(|it| it.is_dir() && it.uid() == identity.uid());
    if usable { session } else { PathBuf::from("/tmp") }
}

/// The same for the same data, so that what a killed service leaves behind is reused and not piled up.
fn short_name(root: &Path, identity: &Identity) -> String {
    // FNV-1a: stable across releases, which std's hasher does not promise.
    let hash = root.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("rollcall-{}-{hash:016x}", identity.uid())
}

/// In /tmp anybody could have made the directory before us.
fn check_private(path: &Path, identity: &Identity) -> Result<(), EmbeddedError> {
    let found = fs::symlink_metadata(path).map_err(EmbeddedError::io("read", path))?;
    let ours = found.uid() == identity.uid() || found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && ours && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(EmbeddedError::SocketDirectory { path: path.to_path_buf(), uid: identity.uid() })
}

fn remove_if_there(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EmbeddedError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_special_is_escaped() {
        assert_eq!(percent_encode(b"/a b/c,d%~"), "%2Fa%20b%2Fc%2Cd%25~");
    }

    #[test]
    fn the_limit_is_that_of_the_kernel() {
        let longest = MAX_PATH_BYTES - SOCKET.len() - 1;
        assert!(fits(&PathBuf::from("/".to_owned() + &"a".repeat(longest - 1))));
        assert!(!fits(&PathBuf::from("/".to_owned() + &"a".repeat(longest))));
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let identity = Identity::Current { uid: rustix::process::geteuid().as_raw() };
        let open = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode));
        open(0o700).expect("permissions");
        check_private(directory.path(), &identity).expect("private");
        open(0o770).expect("permissions");
        let refused = check_private(directory.path(), &identity);
        assert!(matches!(refused, Err(EmbeddedError::SocketDirectory { .. })), "{refused:?}");
    }
}

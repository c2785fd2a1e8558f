//! Decides as whom Postgres runs. It refuses to run as root, so a root service runs it as the owner of the
//! data, as `postgres` or as `nobody`, in this order, and hands the files over to that user. An ordinary user
//! runs it as itself.

use std::{
    fs, io,
    os::unix::{
        fs::{MetadataExt, lchown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{EmbeddedError, binaries::Binaries};

/// Whom Postgres may run as when the service runs as root, best first.
const FALLBACK_USERS: [&str; 2] = ["postgres", "nobody"];

/// As whom Postgres runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// As the user of this process.
    Current { uid: u32 },
    /// As another one, because this process is root's.
    Dropped(Account),
}

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Identity {
    /// For a database in `pgdata`, which need not exist yet.
    pub(super) fn for_data(pgdata: &Path) -> Result<Self, EmbeddedError> {
        let uid = rustix::process::geteuid().as_raw();
        let owner = fs::symlink_metadata(pgdata).ok().map(|it| (it.uid(), it.gid()));
        let passwd =
            if uid == 0 { fs::read_to_string("/etc/passwd").unwrap_or_default() } else { String::new() };
        decide(uid, owner, &passwd).ok_or(EmbeddedError::NoUser)
    }

    pub(super) fn uid(&self) -> u32 {
        match self {
            Self::Current { uid } => *uid,
            Self::Dropped(account) => account.uid,
        }
    }

    /// Lets `command` run as this user. std then gives up root's supplementary groups too.
    pub(super) fn apply(&self, command: &mut Command) {
        if let Self::Dropped(account) = self {
            command.uid(account.uid).gid(account.gid);
        }
    }

    /// Hands `path` over, but never what a link at `path` points to: the new owner could have put it there.
    pub(super) fn own(&self, path: &Path) -> Result<(), EmbeddedError> {
        match self {
            Self::Current { .. } => Ok(()),
            Self::Dropped(account) => lchown(path, Some(account.uid), Some(account.gid))
                .map_err(EmbeddedError::io("change the owner of", path)),
        }
    }

    /// Proves, by running the server there, that this user gets to the directory that holds `data_dir`.
    pub(super) fn check_reach(&self, data_dir: &Path, binaries: &Binaries) -> Result<(), EmbeddedError> {
        let (Self::Dropped(account), Some(parent)) = (self, data_dir.parent()) else { return Ok(()) };
        let program = binaries.postgres();
        let mut command = Command::new(&program);
        command.arg("--version").env_clear().current_dir(parent).stdin(Stdio::null());
        self.apply(&mut command);
        match (command.output(), account.first_closed(parent)) {
            (Ok(_), _) => Ok(()),
            (Err(error), Some(blocked_by)) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(EmbeddedError::Unreachable {
                    data_dir: data_dir.to_path_buf(),
                    blocked_by,
                    user: account.name.clone(),
                })
            }
            (Err(source), _) => Err(EmbeddedError::Spawn { program, source }),
        }
    }
}

impl Account {
    /// The outermost directory on the way to `path` that this user may not enter.
    fn first_closed(&self, path: &Path) -> Option<PathBuf> {
        let mut outermost_first: Vec<&Path> = path.ancestors().collect();
        outermost_first.reverse();
        let closed =
            outermost_first.into_iter().find(|it| fs::metadata(it).is_ok_and(|it| !self.may_enter(&it)));
        closed.map(Path::to_path_buf)
    }

    fn may_enter(&self, directory: &fs::Metadata) -> bool {
        let shift = match directory {
            it if it.uid() == self.uid => 6,
            it if it.gid() == self.gid => 3,
            _ => 0,
        };
        directory.mode() >> shift & 1 == 1
    }
}

/// The rule, as a function of its facts. None when root finds nobody to become.
fn decide(uid: u32, data_owner: Option<(u32, u32)>, passwd: &str) -> Option<Identity> {
    match (uid, data_owner) {
        (0, Some((uid, gid))) if uid != 0 => {
            let name = format!("user number {uid}");
            Some(Identity::Dropped(Account { name, uid, gid }))
        }
        (0, _) => FALLBACK_USERS.iter().find_map(|name| account(name, passwd)).map(Identity::Dropped),
        (uid, _) => Some(Identity::Current { uid }),
    }
}

fn account(name: &str, passwd: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (found, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        // An entry that maps the name to root would only make Postgres refuse later.
        (found == name && uid != 0).then(|| Account { name: name.to_owned(), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                          nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
                          postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n";

    fn dropped(name: &str, uid: u32, gid: u32) -> Option<Identity> {
        Some(Identity::Dropped(Account { name: name.to_owned(), uid, gid }))
    }

    #[test]
    fn an_ordinary_user_stays_itself_whoever_owns_the_data() {
        assert_eq!(decide(1000, None, PASSWD), Some(Identity::Current { uid: 1000 }));
        assert_eq!(decide(1000, Some((101, 104)), ""), Some(Identity::Current { uid: 1000 }));
    }

    #[test]
    fn root_becomes_the_owner_of_the_data_then_postgres_then_nobody() {
        assert_eq!(decide(0, Some((1000, 1001)), PASSWD), dropped("user number 1000", 1000, 1001));
        assert_eq!(decide(0, None, PASSWD), dropped("postgres", 101, 104));
        assert_eq!(decide(0, Some((0, 0)), PASSWD), dropped("postgres", 101, 104));
        let without_postgres: String = PASSWD.lines().take(2).map(|line| format!("{line}\n")).collect();
        assert_eq!(decide(0, None, &without_postgres), dropped("nobody", 65534, 65534));
        assert_eq!(decide(0, None, "root:x:0:0:root:/root:/bin/bash\npostgres:x:0:0::/:/bin/sh\n"), None);
    }

    #[test]
    fn a_closed_directory_on_the_way_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let top = tempfile::tempdir().expect("a temporary directory");
        let closed = top.path().join("closed");
        fs::create_dir_all(closed.join("below")).expect("directories");
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        open(top.path(), 0o755).expect("permissions");
        open(&closed, 0o700).expect("permissions");
        let stranger = Account { name: "stranger".to_owned(), uid: 4_000_001, gid: 4_000_001 };
        assert_eq!(stranger.first_closed(&closed.join("below")), Some(closed.clone()));
        open(&closed, 0o711).expect("permissions");
        assert_eq!(stranger.first_closed(&closed.join("below")), None);
    }
}

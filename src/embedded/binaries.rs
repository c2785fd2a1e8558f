//! Finds the server binaries of this system and never fetches any. The first place that holds a server of
//! version 15 or newer wins; a database that exists already prefers the version that wrote it, so that an
//! upgrade of the system, which installs the new version beside the old one, does not strand the data.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::EmbeddedError;

/// The oldest major version that the migrations run on.
pub(super) const OLDEST_MAJOR: u32 = 15;

/// Places that hold one directory per version: parent, what precedes the version in the name, what follows.
const VERSIONED: &[(&str, &str, &str)] = &[
    ("/usr/lib/postgresql", "", "bin"),          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                   // the PostgreSQL project's packages for RHEL and Fedora
    ("/usr/lib", "postgresql", "bin"),           // SUSE
    ("/usr/libexec", "postgresql", ""),          // Alpine
    ("/opt/homebrew/opt", "postgresql@", "bin"), // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql@", "bin"),    // Homebrew on Intel
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Places that hold at most one version: RHEL, Fedora and Arch, then Homebrew's links.
const PLAIN: &[&str] = &["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin"];

/// How each package manager is told; the first that is there decides.
const INSTALLERS: &[(&str, &str, bool)] = &[
    ("/usr/bin/apt-get", "apt-get install --no-install-recommends postgresql", true),
    ("/usr/bin/dnf", "dnf install postgresql-server", true),
    ("/opt/homebrew/bin/brew", "brew install postgresql@17", false),
    ("/usr/local/bin/brew", "brew install postgresql@17", false),
    ("/home/linuxbrew/.linuxbrew/bin/brew", "brew install postgresql@17", false),
    ("/sbin/apk", "apk add postgresql16", true),
    ("/usr/bin/zypper", "zypper install postgresql-server", true),
    ("/usr/bin/pacman", "pacman -S postgresql", true),
];

/// A directory with `postgres` and `initdb` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }
}

/// The binaries in `given`, or else the best of this system for data of version `wanted`.
pub(super) fn find(given: Option<&Path>, wanted: Option<u32>) -> Result<Binaries, EmbeddedError> {
    let none = || EmbeddedError::NoBinaries { given: given.map(Path::to_path_buf), install: install_here() };
    if let Some(dir) = given {
        let binaries = probe(dir).ok_or_else(none)?;
        return if binaries.major < OLDEST_MAJOR {
            Err(EmbeddedError::TooOld { bin_dir: binaries.dir, major: binaries.major })
        } else {
            Ok(binaries)
        };
    }
    let usable = places().into_iter().filter_map(|dir| probe(&dir)).filter(|it| it.major >= OLDEST_MAJOR);
    choose(usable, wanted).ok_or_else(none)
}

/// Lazily, because each probe runs a program: stops at the first that fits.
fn choose(usable: impl Iterator<Item = Binaries>, wanted: Option<u32>) -> Option<Binaries> {
    let mut first = None;
    for binaries in usable {
        if wanted.is_none_or(|major| major == binaries.major) {
            return Some(binaries);
        }
        first.get_or_insert(binaries);
    }
    first
}

/// Debian and the project's packages come first: they say the version in the name, newest first.
fn places() -> Vec<PathBuf> {
    let versioned = |range: &[(&str, &str, &str)]| -> Vec<PathBuf> {
        range.iter().flat_map(|(parent, before, after)| versions(Path::new(parent), before, after)).collect()
    };
    let (linux, homebrew) = VERSIONED.split_at(4);
    let mut places = versioned(linux);
    places.extend(PLAIN[..1].iter().map(PathBuf::from));
    places.extend(on_search_path());
    places.extend(versioned(homebrew));
    places.extend(PLAIN[1..].iter().map(PathBuf::from));
    places
}

/// Directories `parent/<before><version>/<after>`, newest version first.
fn versions(parent: &Path, before: &str, after: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = leading_number(entry.file_name().to_str()?.strip_prefix(before)?)?;
            Some((version, if after.is_empty() { entry.path() } else { entry.path().join(after) }))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The shell knows the search path, so that nothing here has to read the environment.
fn on_search_path() -> Option<PathBuf> {
    let output =
        Command::new("/bin/sh").args(["-c", "command -v postgres"]).stdin(Stdio::null()).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    path.is_absolute().then(|| path.parent().map(Path::to_path_buf))?
}

/// The version of the server in `dir`, when both programs are there and the server can say it.
fn probe(dir: &Path) -> Option<Binaries> {
    // Absolute, because the programs are run from within the data directory.
    let dir = std::path::absolute(dir).ok()?;
    let postgres = dir.join("postgres");
    if !postgres.is_file() || !dir.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(postgres).arg("--version").env_clear().stdin(Stdio::null()).output().ok()?;
    let major = parse_version(&String::from_utf8_lossy(&output.stdout))?;
    Some(Binaries { dir, major })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `postgres (PostgreSQL) 19devel`.
fn parse_version(line: &str) -> Option<u32> {
    leading_number(line.split_once("(PostgreSQL) ")?.1)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn install_here() -> String {
    install_command(|path| Path::new(path).exists(), rustix::process::geteuid().is_root())
}

fn install_command(exists: impl Fn(&str) -> bool, root: bool) -> String {
    match INSTALLERS.iter().find(|(manager, ..)| exists(manager)) {
        Some((_, command, true)) if !root => format!("sudo {command}"),
        Some((_, command, _)) => (*command).to_owned(),
        None => "this system's package manager (the package of the PostgreSQL server)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(major: u32) -> Binaries {
        Binaries { dir: PathBuf::from(format!("/{major}")), major }
    }

    #[test]
    fn version_lines_are_understood() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 19devel\n"), Some(19));
        assert_eq!(parse_version("something else 15\n"), None);
    }

    #[test]
    fn data_prefers_the_version_that_wrote_it_then_the_first_place() {
        let found = || [18, 17, 15].into_iter().map(binaries);
        assert_eq!(choose(found(), None), Some(binaries(18)));
        assert_eq!(choose(found(), Some(15)), Some(binaries(15)));
        assert_eq!(choose(found(), Some(16)), Some(binaries(18)), "the caller reports the mismatch");
        assert_eq!(choose(std::iter::empty(), Some(16)), None);
    }

    #[test]
    fn versions_are_sorted_as_numbers() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        for name in ["pgsql-9", "pgsql-17", "pgsql-15", "pgsql-x", "other"] {
            fs::create_dir(parent.path().join(name)).expect("a directory");
        }
        let found = versions(parent.path(), "pgsql-", "bin");
        let expected: Vec<_> =
            ["pgsql-17/bin", "pgsql-15/bin", "pgsql-9/bin"].map(|it| parent.path().join(it)).into();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_install_command_fits_system_and_user() {
        let only = |manager: &'static str| move |path: &str| path == manager;
        assert_eq!(
            install_command(only("/usr/bin/apt-get"), false),
            "sudo apt-get install --no-install-recommends postgresql"
        );
        assert_eq!(install_command(only("/usr/bin/dnf"), true), "dnf install postgresql-server");
        assert_eq!(install_command(only("/opt/homebrew/bin/brew"), false), "brew install postgresql@17");
        assert!(install_command(|_| false, false).contains("package manager"));
    }
}

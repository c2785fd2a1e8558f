//! Files that are read again when they change: a broken new one leaves the old one in force.

use std::{fs::File, io, io::Read as _, path::Path, time::Duration};

/// How often they are looked at: what is withdrawn there is to be out within two seconds.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// The longest file: thousands of callers, or of keys.
const MAX: u64 = 1024 * 1024;

/// A file with what was read of it last.
#[derive(Debug)]
pub(super) struct Watched<P> {
    path: P,
    /// None: it could not be read.
    seen: Option<Vec<u8>>,
}

impl<P: AsRef<Path>> Watched<P> {
    /// A file of which this was read.
    pub(super) const fn seen(path: P, content: Vec<u8>) -> Self {
        Self { path, seen: Some(content) }
    }

    /// What was read of it last. None: it could not be read.
    pub(super) fn content(&self) -> Option<&[u8]> {
        self.seen.as_deref()
    }

    /// What is in it, if that is something else than last time. The content is compared, not the time of the change: those of
    /// two quick changes can be the same. An error is told once.
    pub(super) fn changed(&mut self) -> Option<io::Result<Vec<u8>>> {
        match read(self.path.as_ref()) {
            Ok(content) if self.seen.as_ref() == Some(&content) => None,
            Ok(content) => {
                self.seen = Some(content.clone());
                Some(Ok(content))
            }
            Err(error) => self.seen.take().map(|_| Err(error)),
        }
    }
}

/// The whole of a file that is not too long.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    Ok(content)
}

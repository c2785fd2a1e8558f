//! The state file: what a restart begins with instead of a snapshot. Written whole beside the old one and put in its
//! place, with a checksum at its end. With it goes what is owed for revocations that its cursor is past. Never in it: the
//! lease and the subscription, which are of one process.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Revocation, lost::Past, owed::Kept, store::Store};
use crate::v1::{ExternalId, Receipt};

/// Counted up when the meaning changes.
const MAGIC: &[u8; 8] = b"rollcal1";
const CHECKSUM: usize = 32;
/// Rows of one chunk: of some 60 KB.
const CHUNK_ROWS: usize = 1024;
/// More than any chunk: a length beyond it is damage, and nothing is allocated for it.
const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// What the state is of, and where to resume.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Header {
    #[prost(string, tag = "1")]
    pub(super) app: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) organization_ids: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) store_id: String,
    #[prost(string, tag = "4")]
    pub(super) cursor: String,
    #[prost(int64, tag = "5")]
    pub(super) position: i64,
    /// The position of the last change that is in the state.
    #[prost(int64, tag = "6")]
    pub(super) changed: i64,
    #[prost(message, repeated, tag = "7")]
    pub(super) lately: Vec<Past>,
    #[prost(message, repeated, tag = "8")]
    pub(super) lost: Vec<Past>,
}

/// A part of the file.
#[derive(Clone, PartialEq, prost::Message)]
struct Chunk {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    organizations: Vec<Row>,
    #[prost(message, repeated, tag = "3")]
    workspaces: Vec<Row>,
    #[prost(message, repeated, tag = "4")]
    members: Vec<Row>,
    #[prost(message, repeated, tag = "5")]
    memberships: Vec<Row>,
    #[prost(message, repeated, tag = "6")]
    identities: Vec<Identity>,
    /// A file without them is one of a version that kept none.
    #[prost(message, repeated, tag = "7")]
    owed: Vec<Kept>,
}

/// A row of any kind; what a kind does not have is absent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Row {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(fixed64, tag = "2")]
    pub(super) word: u64,
    /// The place of the organization, or of the workspace of a membership.
    #[prost(uint32, tag = "3")]
    pub(super) parent: u32,
    #[prost(uint32, tag = "4")]
    pub(super) member: u32,
    #[prost(uint64, tag = "5")]
    pub(super) revoked: u64,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) account: Vec<u8>,
}

/// The external ids of an account.
#[derive(Clone, PartialEq, prost::Message)]
struct Identity {
    #[prost(bytes = "vec", tag = "1")]
    account: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    ids: Vec<ExternalId>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is no state of a replica, of another version, or damaged")]
    Damaged,
}

impl From<prost::DecodeError> for FileError {
    fn from(_: prost::DecodeError) -> Self {
        Self::Damaged
    }
}

/// Writes a state. Blocks.
pub(super) fn write(path: &Path, header: Header, store: &Store, owed: Vec<Kept>) -> Result<(), FileError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    // External ids are personal data.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&temporary)?;
    let mut out = Summed { inner: BufWriter::new(file), sum: Sha256::new() };
    out.write_all(MAGIC)?;
    put(&mut out, &Chunk { header: Some(header), ..Chunk::default() })?;
    let dump = store.dump();
    put_all(&mut out, dump.organizations, |organizations| Chunk { organizations, ..Chunk::default() })?;
    put_all(&mut out, dump.workspaces, |workspaces| Chunk { workspaces, ..Chunk::default() })?;
    put_all(&mut out, dump.members, |members| Chunk { members, ..Chunk::default() })?;
    put_all(&mut out, dump.memberships, |memberships| Chunk { memberships, ..Chunk::default() })?;
    let identities = store
        .identities
        .iter()
        .map(|(account, ids)| Identity { account: account.as_bytes().to_vec(), ids: ids.to_vec() });
    put_all(&mut out, identities, |identities| Chunk { identities, ..Chunk::default() })?;
    put_all(&mut out, owed.into_iter(), |owed| Chunk { owed, ..Chunk::default() })?;
    let Summed { mut inner, sum } = out;
    inner.write_all(&sum.finalize())?;
    inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&temporary, path)?;
    // So that the new name lasts as well.
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn put(out: &mut impl Write, chunk: &Chunk) -> io::Result<()> {
    out.write_all(&chunk.encode_length_delimited_to_vec())
}

fn put_all<T>(
    out: &mut impl Write,
    rows: impl Iterator<Item = T>,
    chunk: impl Fn(Vec<T>) -> Chunk,
) -> io::Result<()> {
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        put(out, &chunk(rows.by_ref().take(CHUNK_ROWS).collect()))?;
    }
    Ok(())
}

/// What a file holds.
pub(super) struct Found {
    pub(super) header: Header,
    pub(super) store: Store,
    /// What the process that wrote it owed, with what the handler said where it had returned.
    pub(super) owed: Vec<(Revocation, Option<Receipt>)>,
}

/// Reads a state; `None` where there is no file. Blocks.
pub(super) fn read(path: &Path) -> Result<Option<Found>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let length = file.metadata()?.len();
    let content = length.checked_sub(CHECKSUM as u64).ok_or(FileError::Damaged)?;
    let mut file = BufReader::new(file);
    let mut input = Summed { inner: (&mut file).take(content), sum: Sha256::new() };
    let mut magic = [0; MAGIC.len()];
    read_exact(&mut input, &mut magic)?;
    if magic != *MAGIC {
        return Err(FileError::Damaged);
    }
    let mut header = None;
    let mut store = Store::default();
    let mut owed = Vec::new();
    while let Some(chunk) = next(&mut input)? {
        header = header.or(chunk.header);
        let restored = chunk.organizations.iter().all(|row| store.restore_organization(row).is_some())
            && chunk.workspaces.iter().all(|row| store.restore_workspace(row).is_some())
            && chunk.members.iter().all(|row| store.restore_member(row).is_some())
            && chunk.memberships.iter().all(|row| store.restore_membership(row).is_some());
        if !restored {
            return Err(FileError::Damaged);
        }
        owed.extend(chunk.owed);
        for Identity { account, ids } in chunk.identities {
            store.identify(Uuid::from_slice(&account).map_err(|_| FileError::Damaged)?, &ids);
        }
    }
    let sum = input.sum.finalize();
    let mut expected = [0; CHECKSUM];
    read_exact(&mut file, &mut expected)?;
    let header = header.filter(|_| sum[..] == expected).ok_or(FileError::Damaged)?;
    store.scope.position = header.position;
    let owed: Option<Vec<_>> = owed.into_iter().map(|kept| kept.restore(&store)).collect();
    Ok(Some(Found { owed: owed.ok_or(FileError::Damaged)?, header, store }))
}

fn next(input: &mut impl Read) -> Result<Option<Chunk>, FileError> {
    let mut prefix = Vec::with_capacity(10);
    loop {
        let mut byte = [0];
        match input.read(&mut byte)? {
            0 if prefix.is_empty() => return Ok(None),
            0 => return Err(FileError::Damaged),
            _ => prefix.push(byte[0]),
        }
        if byte[0] < 0x80 {
            break;
        }
        if prefix.len() == 10 {
            return Err(FileError::Damaged);
        }
    }
    let length = prost::decode_length_delimiter(&prefix[..])?;
    if length > CHUNK_BYTES {
        return Err(FileError::Damaged);
    }
    let mut bytes = vec![0; length];
    read_exact(input, &mut bytes)?;
    Ok(Some(Chunk::decode(&bytes[..])?))
}

/// A file that ends too early is damaged; anything else is trouble with the disk.
fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), FileError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FileError::Damaged,
        _ => FileError::Io(error),
    })
}

/// Sums what passes.
struct Summed<T> {
    inner: T,
    sum: Sha256,
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Summed<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.sum.update(&bytes[..read]);
        Ok(read)
    }
}

/// The rows of a store, as the file has them.
pub(super) type Rows<'a> = Box<dyn Iterator<Item = Row> + 'a>;

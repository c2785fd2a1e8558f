//! Heads: where the log and the audit end, with their hashes, said to where the owner of the database cannot change it.
//!
//! Each head is a line of JSON, appended to a file, and a line of the service's log. Whoever can write the file could make up
//! lines, unless they are sealed with a key that is neither there nor in the database.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::storage::{ChainEnds, Database, StorageError};

/// Bytes of a key at least.
const KEY: usize = 32;

/// Where heads go, and how often.
#[derive(Clone)]
pub struct HeadsExport {
    /// The file to which they are appended. None: they are in the log alone.
    pub file: Option<PathBuf>,
    /// What seals them.
    pub key: Option<HeadsKey>,
    /// How often.
    pub every: Duration,
}

/// The key that seals heads.
#[derive(Clone)]
pub struct HeadsKey(Vec<u8>);

impl HeadsKey {
    /// Takes a key. None: it is too short to be one.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        // An editor's line end is not part of it.
        let bytes = bytes.trim_ascii_end();
        (bytes.len() >= KEY).then(|| Self(bytes.to_vec()))
    }

    fn mac(&self, head: &Head) -> Hmac<Sha256> {
        let Head { time, store_id, log_position, log_hash, audit_position, audit_hash, mac: _ } = head;
        let mac = Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.chain_update(format!("{time}|{store_id}|{log_position}|{log_hash}|{audit_position}|{audit_hash}"))
    }
}

/// A head as it is exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// When it was read, in UTC.
    pub time: String,
    /// The store.
    pub store_id: Uuid,
    /// Where the log ends.
    pub log_position: i64,
    /// The running hash of the log there.
    pub log_hash: String,
    /// Where the audit ends.
    pub audit_position: i64,
    /// The running hash of the audit there.
    pub audit_hash: String,
    /// The seal, where there is a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// What is wrong with an exported line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It ends too soon, as where somebody was killed while writing it: it says nothing, and accuses nobody.
    #[error("was cut off while it was written")]
    Cut,
    /// It is no head.
    #[error("is no head")]
    Malformed,
    /// It was altered, or sealed with another key, or not at all.
    #[error("is not sealed with this key: it was altered, made up, or sealed with another")]
    Seal,
}

impl Head {
    /// The head of now, sealed where there is a key.
    pub fn of(ends: &ChainEnds, time: DateTime<Utc>, key: Option<&HeadsKey>) -> Self {
        let mut head = Self {
            time: time.to_rfc3339_opts(SecondsFormat::Millis, true),
            store_id: ends.store_id,
            log_position: ends.log_position,
            log_hash: hex(&ends.log_hash),
            audit_position: ends.audit_position,
            audit_hash: hex(&ends.audit_hash),
            mac: None,
        };
        head.mac = key.map(|key| hex(&key.mac(&head).finalize().into_bytes()));
        head
    }

    /// When it was read. None: its time is none, as in no head that was parsed.
    pub fn exported_at(&self) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(&self.time).ok().map(|time| time.to_utc())
    }

    /// Reads a line, and checks its seal where there is a key.
    pub fn parse(line: &str, key: Option<&HeadsKey>) -> Result<Self, HeadError> {
        // Zeros: what a file system has after a power failure where it did not get to write.
        let line = line.trim_end_matches(['\n', '\0']);
        let head: Self = serde_json::from_str(line).map_err(|error| match error.is_eof() {
            true => HeadError::Cut,
            false => HeadError::Malformed,
        })?;
        head.exported_at().ok_or(HeadError::Malformed)?;
        if let Some(key) = key {
            let mac = head.mac.as_deref().and_then(unhex).ok_or(HeadError::Seal)?;
            // Compares in constant time.
            key.mac(&head).verify_slice(&mac).map_err(|_| HeadError::Seal)?;
        }
        Ok(head)
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// Exports heads: at the start, and then every so often.
pub async fn export(database: Database, export: HeadsExport, shutdown: CancellationToken) {
    loop {
        if let Err(error) = once(&database, &export).await {
            tracing::error!(%error, "the heads of log and audit could not be exported; it is tried again");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(export.every) => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the file cannot be written: {0}")]
    File(#[from] io::Error),
}

async fn once(database: &Database, export: &HeadsExport) -> Result<(), ExportError> {
    let ends = database.chain_ends().await?;
    let head = Head::of(&ends, Utc::now(), export.key.as_ref());
    let Head { log_position, log_hash, audit_position, audit_hash, mac, .. } = &head;
    let mac_text = mac.as_deref().unwrap_or_default();
    // In the log also where the file cannot be written.
    tracing::info!(
        log_position,
        log_hash,
        audit_position,
        audit_hash,
        mac = mac_text,
        "heads of log and audit"
    );
    if let Some(file) = export.file.clone() {
        let line = serde_json::to_string(&head).map_err(io::Error::other)? + "\n";
        // One write of a whole line, so that replicas with one file do not mix theirs.
        let append = move || {
            // A line that was cut off must not take this one with it.
            let line = if is_cut(&file) { format!("\n{line}") } else { line };
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
            file.write_all(line.as_bytes())?;
            file.sync_data()
        };
        tokio::task::spawn_blocking(append).await.map_err(io::Error::other)??;
    }
    Ok(())
}

/// Whether a file ends within a line. One that cannot be read does not say.
fn is_cut(path: &Path) -> bool {
    let last = || {
        // A pipe would wait for somebody to write.
        if !std::fs::metadata(path)?.is_file() {
            return Ok(b'\n');
        }
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        io::Result::Ok(last[0])
    };
    last().is_ok_and(|last| last != b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> ChainEnds {
        ChainEnds {
            store_id: Uuid::from_u128(1),
            log_position: 7,
            log_hash: vec![0xab; 32],
            audit_position: 9,
            audit_hash: vec![0x01; 32],
            ..ChainEnds::default()
        }
    }

    #[test]
    fn a_line_that_was_touched_is_not_taken() {
        let key = HeadsKey::new(&[7; 32]).expect("a key");
        let now = Utc::now();
        let head = Head::of(&ends(), now, Some(&key));
        let line = serde_json::to_string(&head).expect("JSON");
        assert_eq!(Head::parse(&line, Some(&key)), Ok(head.clone()));
        assert_eq!(Head::parse(&line, None), Ok(head.clone()));
        let touched = line.replace("\"log_position\":7", "\"log_position\":6");
        assert_ne!(touched, line);
        assert_eq!(Head::parse(&touched, Some(&key)), Err(HeadError::Seal));
        let other = HeadsKey::new(&[8; 32]).expect("a key");
        assert_eq!(Head::parse(&line, Some(&other)), Err(HeadError::Seal));
        let unsealed = serde_json::to_string(&Head::of(&ends(), now, None)).expect("JSON");
        assert!(!unsealed.contains("mac"));
        assert_eq!(Head::parse(&unsealed, Some(&key)), Err(HeadError::Seal));
        assert_eq!(Head::parse("{}", None), Err(HeadError::Malformed));
        let timeless = unsealed.replace(&head.time, "yesterday");
        assert_ne!(timeless, unsealed);
        assert_eq!(Head::parse(&timeless, None), Err(HeadError::Malformed));
        for cut in (0..line.len()).step_by(7) {
            assert_eq!(Head::parse(&line[..cut], Some(&key)), Err(HeadError::Cut));
            assert_eq!(Head::parse(&format!("{}\0\0\n", &line[..cut]), None), Err(HeadError::Cut));
        }
        assert!(HeadsKey::new(b"too short\n").is_none());
    }

    #[test]
    fn digits_are_read_as_they_are_written() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for text in ["a", "0g", "+1", "é0"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}

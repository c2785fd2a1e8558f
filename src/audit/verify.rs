//! Checks both chains, and says where the first break is.
//!
//! The hashes are computed here, from the rows as they are stored. What each hash covers:
//!
//! - the log: SHA-256 over the hash of the batch before and every change of the batch, in `batches`;
//! - the audit: SHA-256 over the hash of the entry before and all of the entry, in `audit_entries`.
//!
//! What was trimmed cannot be checked any more. Of the log the batch that has the floor is where the check begins: its hash is
//! given, and the changes after it must lead on from there. Of the audit it is the hash that trimming left. Whether it was
//! trimmed or removed is not told here, but by heads that were exported (`compare`).
//!
//! Memory is bounded: a page of rows at a time.

use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::heads::hex;
use crate::storage::{AuditActor, AuditLink, BatchLink, ChainEnds, ChainReader, LogLink, StorageError};

/// Rows that are read at once.
const PAGE: i64 = 2_000;

/// A chain that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What was checked begins after this position.
    pub after: i64,
    /// When the first of what was checked was recorded, as its hash says. None: there is nothing behind that position.
    pub first: Option<DateTime<Utc>>,
    /// Where the chain ends.
    pub head: i64,
    /// The hash there.
    pub hash: String,
}

/// Where a chain breaks first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// There is a change or an entry where none can be: behind the head, or at or below the floor.
    Inserted {
        /// What.
        what: What,
        /// Where.
        position: i64,
    },
    /// Positions are dense, and this one is missing.
    Removed {
        /// What.
        what: What,
        /// Where.
        position: i64,
    },
    /// The changes of a batch do not lead to its hash.
    Batch {
        /// The first change of the batch.
        first: i64,
        /// The last.
        last: i64,
        /// When it was sequenced.
        time: DateTime<Utc>,
    },
    /// A change was altered in what its hash does not cover, and follows from the rest.
    Beside {
        /// Where.
        position: i64,
    },
    /// The batches leave these changes out, or have them twice.
    Batches {
        /// The last position that the batches before have.
        after: i64,
    },
    /// An entry does not lead to its hash.
    Entry {
        /// Where.
        position: i64,
        /// When it says that it was recorded.
        time: DateTime<Utc>,
    },
    /// Chain and head do not fit.
    Head {
        /// What the chain is of.
        what: What,
        /// Where the chain ends.
        chain: i64,
        /// Where the head says that it ends.
        head: i64,
    },
    /// An actor of the audit is not the account that the row says.
    Actor {
        /// The actor.
        actor: String,
    },
}

/// What a chain is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Changes of the log.
    Change,
    /// Entries of the audit.
    Entry,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Change => "change",
            Self::Entry => "entry",
        })
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inserted { what, position } => {
                write!(f, "{what} {position} was inserted: it stands outside of the chain")
            }
            Self::Removed { what, position } => write!(f, "{what} {position} was removed"),
            Self::Batch { first, last, time } if first == last => {
                write!(f, "change {first} is not what was sequenced at {time}: its hash differs")
            }
            Self::Batch { first, last, time } => write!(
                f,
                "changes {first} to {last} are not what was sequenced at {time}: the hash of this batch differs"
            ),
            Self::Beside { position } => {
                write!(f, "change {position} was altered: its apps, or where its command ends, cannot be so")
            }
            Self::Batches { after } => {
                write!(f, "the batches do not go on after change {after}: one was removed or altered")
            }
            Self::Entry { position, time } => {
                write!(f, "entry {position}, recorded at {time}, is not what was chained: its hash differs")
            }
            Self::Head { what, chain, head } if chain == head => {
                write!(f, "the head at {what} {head} was altered: it is not that of the chain")
            }
            Self::Head { what, chain, head } => {
                write!(f, "the chain ends at {what} {chain}, and its head says {head}")
            }
            Self::Actor { actor } => {
                write!(f, "the actor {actor} is not the account that audit_actors says: its hash differs")
            }
        }
    }
}

/// A chain, checked.
pub type Checked = Result<Verified, Break>;

/// Checks the log.
pub async fn log(reader: &mut ChainReader, ends: &ChainEnds) -> Result<Checked, StorageError> {
    let what = What::Change;
    // The row before the floor, or whatever else is there.
    if let Some(row) = reader.changes(i64::MIN, 1).await?.first()
        && row.position <= ends.log_floor
    {
        return Ok(Err(Break::Inserted { what, position: row.position }));
    }
    // Trimming never takes the newest change, to which cursors are compared.
    if ends.log_floor > 0 && ends.log_floor >= ends.log_position {
        return Ok(Err(Break::Removed { what, position: ends.log_position }));
    }
    let mut batches = reader.batches(i64::MIN, PAGE).await?;
    let mut hash = Vec::new();
    let mut end = 0;
    if ends.log_floor > 0 {
        // The batch that has the floor: what it goes on from was trimmed.
        match batches.first() {
            Some(anchor) if (anchor.first_position..=anchor.last_position).contains(&ends.log_floor) => {
                (hash, end) = (anchor.hash.clone(), anchor.last_position);
            }
            _ => return Ok(Err(Break::Batches { after: ends.log_floor })),
        }
        batches.remove(0);
        // What is left of its changes cannot be checked, but that it is there.
        let mut changes = Changes::after(ends.log_floor);
        while changes.position < end {
            if let Err(found) = changes.next(reader).await? {
                return Ok(Err(found));
            }
        }
    }
    let (after, mut first) = (end, None);
    let mut changes = Changes::after(end);
    let mut commands = Commands::default();
    loop {
        if batches.is_empty() {
            batches = reader.batches(end, PAGE).await?;
            if batches.is_empty() {
                break;
            }
        }
        for BatchLink { last_position, first_position, hash: stored, sequence_time } in batches.drain(..) {
            if first_position != end + 1 || last_position < first_position {
                return Ok(Err(Break::Batches { after: end }));
            }
            let mut digest = Sha256::new().chain_update(&hash);
            let mut beside = None;
            while changes.position < last_position {
                let change = match changes.next(reader).await? {
                    Ok(change) => change,
                    Err(found) => return Ok(Err(found)),
                };
                beside = beside.or(commands.wrong(&change));
                if change.position > first_position {
                    digest.update(b"\n");
                }
                digest.update(change_text(&change));
                first = first.or(Some(change.record_time));
            }
            hash = digest.finalize().to_vec();
            if hash != stored {
                return Ok(Err(Break::Batch {
                    first: first_position,
                    last: last_position,
                    time: sequence_time,
                }));
            }
            // Here each command ends too: what is committed together is sequenced together.
            if let Some(position) = beside.or(commands.end()) {
                return Ok(Err(Break::Beside { position }));
            }
            end = last_position;
        }
    }
    if (end, &hash) != (ends.log_position, &ends.log_hash) {
        return Ok(Err(Break::Head { what, chain: end, head: ends.log_position }));
    }
    if let Some(row) = reader.changes(end, 1).await?.first() {
        return Ok(Err(Break::Inserted { what, position: row.position }));
    }
    Ok(Ok(Verified { after, first, head: end, hash: hex(&hash) }))
}

/// The changes of the log, one after the other.
struct Changes {
    /// Up to where they were given.
    position: i64,
    page: std::vec::IntoIter<LogLink>,
}

impl Changes {
    fn after(position: i64) -> Self {
        Self { position, page: Vec::new().into_iter() }
    }

    /// The next one, which stands right behind the last.
    async fn next(&mut self, reader: &mut ChainReader) -> Result<Result<LogLink, Break>, StorageError> {
        if self.page.len() == 0 {
            self.page = reader.changes(self.position, PAGE).await?.into_iter();
        }
        self.position += 1;
        Ok(match self.page.next() {
            Some(change) if change.position == self.position => Ok(change),
            _ => Err(Break::Removed { what: What::Change, position: self.position }),
        })
    }
}

/// What is stored beside what is hashed: where each command ends, and apps as a list.
#[derive(Default)]
struct Commands {
    /// The command that is read, and of each of its changes so far the position and where it says that the command ends. A
    /// command has at most some thousands.
    command: Option<Uuid>,
    ends: Vec<(i64, i64)>,
}

impl Commands {
    /// The first change of which it is wrong, as far as this one tells.
    fn wrong(&mut self, change: &LogLink) -> Option<i64> {
        let LogLink { position, command_id, command_end, apps, .. } = change;
        let ended = if self.command == Some(*command_id) { None } else { self.end() };
        self.command = Some(*command_id);
        self.ends.push((*position, *command_end));
        // Hashed is the list as one text, which a name with a comma would make of another list.
        ended.or_else(|| apps.iter().any(|app| app.contains(',')).then_some(*position))
    }

    /// The first change of the command that was read which says that it ends elsewhere.
    fn end(&mut self) -> Option<i64> {
        let last = self.ends.last().map(|(position, _)| *position);
        let wrong = self.ends.iter().find(|(_, end)| Some(*end) != last).map(|(position, _)| *position);
        self.ends.clear();
        wrong
    }
}

/// Checks the audit, and whom it names.
pub async fn audit(reader: &mut ChainReader, ends: &ChainEnds) -> Result<Checked, StorageError> {
    let what = What::Entry;
    if let Some(row) = reader.entries(i64::MIN, 1).await?.first()
        && row.position <= ends.audit_floor
    {
        return Ok(Err(Break::Inserted { what, position: row.position }));
    }
    let (mut end, mut hash) = (ends.audit_floor, ends.audit_floor_hash.clone());
    let mut first = None;
    loop {
        let page = reader.entries(end, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            if entry.position > ends.audit_position {
                // All up to the head is there: this one came in another way.
                if end == ends.audit_position {
                    return Ok(Err(Break::Inserted { what, position: entry.position }));
                }
                return Ok(Err(Break::Removed { what, position: end + 1 }));
            }
            if entry.position != end + 1 {
                return Ok(Err(Break::Removed { what, position: end + 1 }));
            }
            hash = Sha256::new().chain_update(&hash).chain_update(entry_text(&entry)).finalize().to_vec();
            if hash != entry.hash {
                return Ok(Err(Break::Entry { position: entry.position, time: entry.record_time }));
            }
            end = entry.position;
            first = first.or(Some(entry.record_time));
        }
    }
    if (end, &hash) != (ends.audit_position, &ends.audit_hash) {
        return Ok(Err(Break::Head { what, chain: end, head: ends.audit_position }));
    }
    let mut last = Vec::new();
    loop {
        let page = reader.actors(&last, PAGE).await?;
        let Some(next) = page.last() else { break };
        last.clone_from(&next.actor);
        if let Some(wrong) = page.iter().find(|row| actor_of(row) != row.actor) {
            return Ok(Err(Break::Actor { actor: hex(&wrong.actor) }));
        }
    }
    Ok(Ok(Verified { after: ends.audit_floor, first, head: end, hash: hex(&hash) }))
}

/// Texts with `|` between them. None of them has one: they are ids, numbers, words and DNS labels.
struct Fields(String);

impl Fields {
    fn begin(first: impl fmt::Display) -> Self {
        Self(first.to_string())
    }

    fn with(mut self, field: impl fmt::Display) -> Self {
        self.0.push('|');
        self.0.push_str(&field.to_string());
        self
    }

    /// An absent one is empty.
    fn or_empty(self, field: Option<impl fmt::Display>) -> Self {
        match field {
            Some(field) => self.with(field),
            None => self.with(""),
        }
    }
}

/// What `sequence_changes()` hashes of a change.
fn change_text(change: &LogLink) -> String {
    let LogLink {
        position,
        change_id,
        command_id,
        command_end: _,
        organization_id,
        apps,
        subject,
        workspace_id,
        member_id,
        state,
        role,
        version,
        reason,
        caller,
        acting_member_id,
        record_time,
        leaving,
        tombstone_id,
        handover_to_member_id,
        assignments,
    } = change;
    Fields::begin(position)
        .with(change_id)
        .with(command_id)
        .with(organization_id)
        .with(apps.join(","))
        .with(subject)
        .or_empty(*workspace_id)
        .or_empty(*member_id)
        .with(state)
        .or_empty(role.as_ref())
        .with(version)
        .with(reason)
        .with(caller)
        .or_empty(*acting_member_id)
        .with(record_time.timestamp_micros())
        .or_empty(*leaving)
        .or_empty(*tombstone_id)
        .or_empty(*handover_to_member_id)
        .or_empty(assignments.as_ref())
        .0
}

/// What `chain_audit()` hashes of an entry.
fn entry_text(entry: &AuditLink) -> String {
    let AuditLink {
        position,
        record_time,
        caller,
        actor,
        method,
        request_id,
        command_id,
        organization_id,
        outcome,
        times,
        hash: _,
    } = entry;
    Fields::begin(position)
        .with(record_time.timestamp_micros())
        .or_empty(caller.as_ref())
        .or_empty(actor.as_ref().map(|actor| hex(actor)))
        .with(method)
        .or_empty(*request_id)
        .or_empty(*command_id)
        .or_empty(*organization_id)
        .with(outcome)
        .with(times)
        .0
}

/// The actor that an account has, as `chain_audit()` makes it.
fn actor_of(row: &AuditActor) -> Vec<u8> {
    let AuditActor { actor: _, salt, account_id, organization_id } = row;
    Sha256::digest(Fields::begin(salt).with(account_id).or_empty(*organization_id).0).to_vec()
}

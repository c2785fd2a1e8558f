//! What there is at one moment: one database, replicas of the service, processes of an app. No absolute times: every
//! time is how long ago something was, counted in ticks and no further than matters, so that the states are finite
//! although time has no end.

/// Replicas of the service at most.
pub(crate) const REPLICAS: usize = 2;
/// Processes of the app at most. Each has a place for one subscription; a place is used again once its row has ended.
pub(crate) const PROCESSES: usize = 2;
/// Changes at most: X takes a person's access, and so does Y.
pub(crate) const CHANGES: usize = 2;

/// Ticks since something.
pub(crate) type Age = u8;

/// What happened in which order. A zero is a position that was drawn and is not filled (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Log {
    ids: [u8; CHANGES],
    len: u8,
}

impl Log {
    pub(crate) fn len(self) -> u8 {
        self.len
    }

    pub(crate) fn push(&mut self, change: usize) {
        self.ids[usize::from(self.len)] = id(change);
        self.len += 1;
    }

    /// Fills a position that was drawn before.
    pub(crate) fn fill(&mut self, position: u8, change: usize) {
        self.ids[usize::from(position) - 1] = id(change);
        self.len = self.len.max(position);
    }

    pub(crate) fn contains(self, change: usize) -> bool {
        self.position(change).is_some()
    }

    pub(crate) fn position(self, change: usize) -> Option<u8> {
        let at = self.ids.iter().position(|of| *of == id(change))?;
        Some(u8::try_from(at + 1).expect("a position is small"))
    }

    /// Whether the last change of a cursor stands here at the same place. That is all that a cursor tells.
    pub(crate) fn has(self, cursor: Self) -> bool {
        let last = usize::from(cursor.len);
        last == 0 || (cursor.len <= self.len && self.ids[last - 1] == cursor.ids[last - 1])
    }

    pub(crate) fn up_to(self, len: u8) -> Self {
        let mut part = Self { len: len.min(self.len), ..self };
        part.ids[usize::from(part.len)..].fill(0);
        part
    }

    /// The cursor moved past the next change of this log.
    pub(crate) fn after(self, cursor: Self) -> Option<Self> {
        let next = (usize::from(cursor.len)..usize::from(self.len)).find(|at| self.ids[*at] != 0)?;
        let mut moved = cursor;
        moved.ids[next] = self.ids[next];
        moved.len = u8::try_from(next + 1).expect("a position is small");
        Some(moved)
    }
}

fn id(change: usize) -> u8 {
    u8::try_from(change + 1).expect("changes are few")
}

/// What became of a subscription's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum RowState {
    #[default]
    None,
    /// Grants are recorded.
    Live,
    /// Replaced, or closed by somebody else than its holder: no more grants, and still part of every verdict.
    Fading,
    /// Ended because it was silent.
    Lapsed,
    /// Ended by its holder.
    Closed,
}

/// The row of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Row {
    pub(crate) state: RowState,
    /// How far the process said that it has applied.
    pub(crate) applied: u8,
    /// The longest lease, in ticks.
    pub(crate) ttl: Age,
    /// The head that the registering transaction saw. Zero where nobody asks for it.
    pub(crate) head: u8,
}

impl Row {
    /// Whether a verdict has to ask for it.
    pub(crate) fn counts(self) -> bool {
        matches!(self.state, RowState::Live | RowState::Fading)
    }
}

/// What is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Database {
    /// Changes that have no position yet.
    pub(crate) pending: [bool; CHANGES],
    pub(crate) log: Log,
    pub(crate) rows: [Row; PROCESSES],
    /// The longest lease of the app as it is set now.
    pub(crate) ttl: Age,
}

/// Which server a replica's connection leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Connection {
    #[default]
    Primary,
    /// To none: it broke with the failover.
    Broken,
    /// To the server that was the primary and does not know better.
    Former,
}

/// A call for a mark that has not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MarkCall {
    /// Since it was begun.
    pub(crate) age: Age,
    /// Of which processes the replica knew at the beginning that they are registered.
    pub(crate) known: [bool; PROCESSES],
    /// The head, once the call ran.
    pub(crate) head: Option<u8>,
}

/// A grant that is computed and not recorded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Grant {
    pub(crate) cursor: u8,
    /// How long. None: there is no mark for it, or nobody waits for the answer any more.
    pub(crate) lease: Option<Age>,
}

/// What a replica keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Replica {
    pub(crate) connection: Connection,
    /// For each head the age of the newest mark with it.
    pub(crate) marks: [Option<Age>; CHANGES + 1],
    pub(crate) call: Option<MarkCall>,
    /// What it has read of the log.
    pub(crate) window: Log,
    /// For each process that it knows to be registered, which marks it began since it knew.
    pub(crate) since_known: [Option<[bool; CHANGES + 1]>; PROCESSES],
    pub(crate) grants: [Option<Grant>; PROCESSES],
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Phase {
    #[default]
    Absent,
    /// Its registration is written and not committed.
    Registering,
    Running,
    /// It answers nothing any more, and its message that it closes is on the way.
    Closing,
    Dead,
}

/// An acknowledgement on the way to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Call {
    /// Since before it was sent, by the clock of the process.
    pub(crate) age: Age,
    pub(crate) cursor: Log,
    /// The longest lease among the answers that are on the way back.
    pub(crate) answer: Option<Age>,
}

/// A process of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Process {
    pub(crate) phase: Phase,
    pub(crate) applied: Log,
    /// What is left of the lease, by the clock of the process. Some(0): this very tick.
    pub(crate) lease: Option<Age>,
    pub(crate) call: Option<Call>,
}

impl Process {
    /// Whether a check would be answered now as if the change had never been.
    pub(crate) fn answers_from_before(self, change: usize) -> bool {
        self.lease.is_some() && !self.applied.contains(change)
    }
}

/// All of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct State {
    pub(crate) database: Database,
    /// What the standby has replayed, where it matters.
    pub(crate) standby: Option<Database>,
    /// What the former primary still has, where nobody stopped it.
    pub(crate) former: Option<Database>,
    pub(crate) failed_over: bool,
    /// Positions that were drawn by transactions which are not committed. Zero: none.
    pub(crate) drawn: [u8; CHANGES],
    /// Since each change was committed.
    pub(crate) committed: [Option<Age>; CHANGES],
    /// Changes that a failover lost. Nothing is promised of them.
    pub(crate) lost: [bool; CHANGES],
    /// Changes of which a verdict said ENFORCED.
    pub(crate) enforced: [bool; CHANGES],
    /// How long a replica has seen the number of a row's grants unchanged. None: it has not, or the number changed.
    /// The earliest of the replicas that watch decides, so one stands for all.
    pub(crate) watched: [Option<Age>; PROCESSES],
    /// Since the reading of these numbers was begun, where that is asked for.
    pub(crate) looking: Option<Age>,
    /// Rows as they were read some time ago, where a verdict may use such.
    pub(crate) remembered: Option<[Row; PROCESSES]>,
    pub(crate) replicas: [Replica; REPLICAS],
    pub(crate) processes: [Process; PROCESSES],
}

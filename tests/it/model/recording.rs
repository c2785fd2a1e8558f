//! What is recorded of a sequence.

use std::collections::{BTreeMap, BTreeSet};

use super::{commands::Step, state::Facts};

/// A sequence and what the service made of it.
#[derive(Debug, Clone)]
pub(super) struct Recording {
    pub(super) steps: Vec<Recorded>,
    /// What was read at the end.
    pub(super) end: Facts,
    /// For each app what a replica held, after each command that it was told of.
    pub(super) told: BTreeMap<&'static str, Vec<Facts>>,
}

/// A command and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) step: Step,
    pub(super) answer: Answer,
    /// What was read after it. Nothing was read where it was refused.
    pub(super) facts: Option<Facts>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Done,
    Planned(Planned),
    /// The reason.
    Refused(String),
    /// Nothing was sent: there was no plan to carry out.
    Skipped,
}

/// What a plan says.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) effects: Facts,
    pub(super) blockers: BTreeSet<String>,
    pub(super) seats_freed: i32,
    pub(super) account_deleted: bool,
    pub(super) organization_deleted: bool,
}

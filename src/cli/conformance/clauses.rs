//! The clauses that an instance has to keep (`docs/consumer-contract.md`), each with the scripts that try it.
//!
//! A script tries one clause and asks of all others no more than it needs to begin, so that who breaks one fails one. Each
//! runs on a stage of its own.

use std::{future::Future, pin::Pin};

use super::{report::Passed, stage::Stage};

mod acknowledge;
mod applying;
mod cursors;
mod digests;
mod forks;
mod lease;
mod streams;
mod time;

/// A clause, and how it is tried.
pub(super) struct Clause {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) scripts: &'static [Script],
}

type Script = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Passed> + Send + 'a>>;

macro_rules! clause {
    ($id:literal, $title:literal, $($script:path),+) => {
        Clause { id: $id, title: $title, scripts: &[$(|stage| Box::pin($script(stage))),+] }
    };
}

/// All of them, in the order of the document.
pub(super) const CLAUSES: &[Clause] = &[
    clause!("C1", "changes are applied in the order of the stream, whatever their times", applying::order),
    clause!("C2", "a change that comes again does nothing", applying::again),
    clause!("C3", "a message that is missing is noticed, and fetched", streams::gaps),
    clause!(
        "C4",
        "parts of a command deny when they arrive, and a cut command is fetched whole",
        applying::parts
    ),
    clause!(
        "C5",
        "a snapshot answers from its ready position on, and older versions do nothing",
        applying::snapshot
    ),
    clause!(
        "C6",
        "a refused cursor leads to a snapshot, that of another store to nothing",
        cursors::refusals,
        cursors::foreign,
        cursors::foreign_after_a_restart
    ),
    clause!(
        "C7",
        "revocations that the log has lost go on denying, and are reported",
        forks::lost,
        forks::behind_a_digest
    ),
    clause!("C8", "after CURSOR_COMPACTED the state is filled anew, not added to", cursors::compacted),
    clause!("C9", "bookmarks move the cursor, and silence is a dead connection", streams::bookmarks),
    clause!("C10", "an ended stream goes on after its cursor", streams::ended),
    clause!(
        "C11",
        "one Acknowledge at a time, with a deadline, with cursors of its own subscription",
        acknowledge::calls,
        acknowledge::closed
    ),
    clause!(
        "C12",
        "what is acknowledged is applied, receipts arrive, and an end is said",
        acknowledge::applied_first,
        acknowledge::replaced,
        acknowledge::replaced_while_away,
        acknowledge::replaced_unheard
    ),
    clause!(
        "lease",
        "no answer without a lease, which counts from before the call; then STALE, not DENIED",
        lease::from_before_the_call,
        lease::runs_out
    ),
    clause!("C14", "RetryInfo is kept, and nobody is denied because the service is away", time::retries),
    clause!("C16", "a digest that differs leads to a snapshot, and only that", digests::compared),
    clause!("C17", "a frozen process does not answer from before", time::frozen),
];

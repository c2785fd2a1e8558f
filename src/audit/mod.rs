//! The audit beside what commands write themselves: refusals, chaining, and the heads that are exported.
//!
//! - A command writes its entry in its own transaction (`storage`). A refusal leaves nothing behind to write it with:
//!   [`Audit`] keeps it for at most a second, and [`run`] writes all that came in with one statement. So a flood of refusals is
//!   no flood of writes: of what comes beyond a hundred in a second only the number is kept, for each caller, method and
//!   reason.
//! - What is committed is chained behind everything before it, each second, by whichever replica comes first.
//! - [`heads`] says where both chains end, to where no owner of the database can reach; [`verify`] checks the chains, and
//!   [`compare`] compares them with that.
//!
//! A replica that is killed loses the refusals of its last second, never a command.

pub mod compare;
pub mod heads;
pub mod verify;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::storage::{Database, Refusal, StorageError};

/// How often what waits is written and chained.
const EVERY: Duration = Duration::from_secs(1);
/// Refusals of a second that are written with all that is known of each: people and programs that are mistaken make fewer.
const DETAILED: usize = 100;
/// How many different refusals beyond that are counted apart: a few callers that are out of order. All others are counted
/// as one.
const FOLDED: usize = 100;
/// Stands for what is not told apart any more.
pub const VARIOUS: &str = "VARIOUS";

/// Takes refusals. Clones take them to the same place.
#[derive(Clone)]
pub struct Audit {
    database: Database,
    waiting: Arc<Mutex<Waiting>>,
    /// Held while what waited is written: who flushes beside waits for it.
    flushing: Arc<tokio::sync::Mutex<()>>,
}

/// What a flood is counted by.
type Flood = (Option<String>, String, String);

/// What waits to be written. Bounded, whatever comes.
#[derive(Default)]
struct Waiting {
    detailed: Vec<Refusal>,
    folded: BTreeMap<Flood, Refusal>,
}

impl Waiting {
    fn add(&mut self, refusal: Refusal) {
        if self.detailed.len() < DETAILED && refusal.times == 1 {
            self.detailed.push(refusal);
            return;
        }
        metrics::counter!("rollcall_audit_folded_total").increment(refusal.times.unsigned_abs());
        let key = |one: &Refusal| {
            let caller = one.caller.as_ref().map(|caller| caller.as_str().to_owned());
            (caller, one.method.clone(), one.reason.clone())
        };
        let refusal = Refusal { acting: None, request_id: None, organization: None, ..refusal };
        let refusal = if self.folded.len() < FOLDED || self.folded.contains_key(&key(&refusal)) {
            refusal
        } else {
            Refusal { caller: None, method: VARIOUS.to_owned(), reason: VARIOUS.to_owned(), ..refusal }
        };
        let times = refusal.times;
        self.folded.entry(key(&refusal)).and_modify(|one| one.times += times).or_insert(refusal);
    }

    fn take(&mut self) -> Vec<Refusal> {
        let Self { mut detailed, folded } = std::mem::take(self);
        detailed.extend(folded.into_values());
        detailed
    }
}

impl Audit {
    /// Takes refusals for a database. Nothing is written until [`run`] runs, or until [`Audit::flush`].
    pub fn new(database: Database) -> Self {
        Self { database, waiting: Arc::default(), flushing: Arc::default() }
    }

    /// Takes a refusal. Never waits.
    pub fn refused(&self, refusal: Refusal) {
        self.waiting().add(refusal);
    }

    /// Writes what was taken, and chains all that is committed. What cannot be written is kept, within the same bound.
    pub async fn flush(&self) -> Result<(), StorageError> {
        // In a task of its own: a caller who hangs up must not take along what waits.
        let audit = self.clone();
        let written = tokio::spawn(async move { audit.write().await }).await;
        written
            .unwrap_or_else(|_| Err(StorageError::Unavailable("writing the audit was given up".to_owned())))
    }

    async fn write(&self) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock().await;
        let taken = self.waiting().take();
        if !taken.is_empty()
            && let Err(error) = self.database.audit_refusals(&taken).await
        {
            let mut waiting = self.waiting();
            taken.into_iter().for_each(|refusal| waiting.add(refusal));
            return Err(error);
        }
        self.database.chain_audit().await
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes and chains each second, and once more at the end.
pub async fn run(audit: Audit, shutdown: CancellationToken) {
    let mut fails = false;
    loop {
        let ends = tokio::select! {
            () = shutdown.cancelled() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let flushed = audit.flush().await;
        // Once for each time that the database is away.
        if let (Err(error), false) = (&flushed, fails) {
            tracing::warn!(%error, "the audit waits to be written; it is tried again");
        }
        fails = flushed.is_err();
        if ends {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::rules::ids::{AccountId, CallerName};

    fn refusal(caller: &str, reason: &str) -> Refusal {
        Refusal {
            time: Utc::now(),
            caller: Some(caller.parse::<CallerName>().expect("a name")),
            acting: Some(AccountId(uuid::Uuid::now_v7())),
            method: "GetMember".to_owned(),
            request_id: None,
            organization: None,
            reason: reason.to_owned(),
            times: 1,
        }
    }

    #[test]
    fn a_flood_is_counted_by_whom_and_why_and_loses_nobody_else() {
        let mut waiting = Waiting::default();
        for _ in 0..DETAILED {
            waiting.add(refusal("chat", "MEMBER_NOT_FOUND"));
        }
        for _ in 0..5_000 {
            waiting.add(refusal("chat", "MEMBER_NOT_FOUND"));
        }
        waiting.add(refusal("boards", "CALLER_NOT_ALLOWED"));
        let taken = waiting.take();
        assert_eq!(taken.len(), DETAILED + 2);
        assert!(taken[..DETAILED].iter().all(|one| one.acting.is_some() && one.times == 1));
        let counted: Vec<_> = taken[DETAILED..]
            .iter()
            .map(|one| (one.caller.as_ref().map(CallerName::as_str), one.reason.as_str(), one.times))
            .collect();
        assert_eq!(
            counted,
            [(Some("boards"), "CALLER_NOT_ALLOWED", 1), (Some("chat"), "MEMBER_NOT_FOUND", 5_000)]
        );
        assert!(taken[DETAILED..].iter().all(|one| one.acting.is_none()));
        assert!(waiting.take().is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_counts_all() {
        let mut waiting = Waiting::default();
        let all = 10_000;
        for number in 0..all {
            waiting.add(refusal(&format!("caller-{number}"), "CALLER_NOT_ALLOWED"));
        }
        let taken = waiting.take();
        assert_eq!(taken.len(), DETAILED + FOLDED + 1);
        assert_eq!(taken.iter().map(|one| one.times).sum::<i64>(), all);
        let various: Vec<_> = taken.iter().filter(|one| one.method == VARIOUS).collect();
        assert_eq!(various.len(), 1);
        assert_eq!(various[0].caller, None);
        // What could not be written comes back within the same bound.
        taken.into_iter().for_each(|one| waiting.add(one));
        let again = waiting.take();
        assert!(again.len() <= DETAILED + FOLDED + 1, "{}", again.len());
        assert_eq!(again.iter().map(|one| one.times).sum::<i64>(), all);
    }
}

//! Running a write: detached from its caller, repeated when it loses, at most once for each request id.

use std::{future::Future, time::Duration};

use tokio::time::Instant;
use tracing::Instrument as _;

use super::{Context, Done, Engine, EngineError};
use crate::{
    rules::Change,
    storage::{Acting, ChangeOrigin, RequestSubject, StorageError, Transaction},
};

/// How often a write that loses against concurrent ones is tried. With waits of 10 to 84 ms in between, the fifth loss
/// comes after more than a hundred milliseconds of contention for the same few rows.
const ATTEMPTS: u32 = 5;

/// A write: what to do in a transaction that is begun, claimed for its request id, and committed around it.
pub(super) trait Work: Send + Sync + 'static {
    /// What is done, for the span around it.
    fn name(&self) -> &'static str;

    /// Loads, decides and writes all but the changes, which come last.
    fn apply(
        &self,
        transaction: &mut Transaction,
        context: &Context,
        firmness: Firmness,
    ) -> impl Future<Output = Result<Outcome, EngineError>> + Send;
}

/// What came of a write.
pub(super) enum Outcome {
    /// Keep it.
    Done(Effects),
    /// It cannot be decided with the locks it has: take it back and run it again with firmer ones.
    LockOrganization,
}

/// What a write did.
#[derive(Default)]
pub(super) struct Effects {
    /// What the answer shows.
    pub(super) subject: RequestSubject,
    /// The changes, in order.
    pub(super) changes: Vec<Change>,
    /// For whom the caller acted.
    pub(super) acting: Acting,
}

/// How firmly an attempt locks the organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Firmness {
    /// As the command usually needs it.
    Usual,
    /// For itself alone: the command turned out to be about "the last" of something.
    Alone,
}

impl Engine {
    /// Runs a write in a task of its own: it ends even if the caller hangs up, so that no commit is cut in the middle.
    pub(super) async fn run(&self, context: Context, work: impl Work) -> Result<Done, EngineError> {
        let engine = self.clone();
        let span = tracing::info_span!("command", command.name = work.name());
        let task = async move { engine.attempts(&context, &work).await };
        match tokio::spawn(task.instrument(span)).await {
            Ok(done) => done,
            Err(_) => Err(EngineError::Panicked),
        }
    }

    async fn attempts(&self, context: &Context, work: &impl Work) -> Result<Done, EngineError> {
        let mut firmness = Firmness::Usual;
        let mut lost = 0;
        loop {
            match self.attempt(context, work, firmness).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => firmness = Firmness::Alone,
                Err(EngineError::Storage(StorageError::Conflict(what))) => {
                    lost += 1;
                    if lost == ATTEMPTS {
                        return Err(EngineError::Contention(what));
                    }
                    tracing::debug!(lost, "a command lost against a concurrent one");
                    // Grows, and differs between two that met: the tail of a v7 id is random.
                    let jitter = uuid::Uuid::now_v7().as_bytes()[15] % 5;
                    tokio::time::sleep(Duration::from_millis(u64::from(jitter) + (5 << lost))).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One attempt. None: it needs firmer locks.
    async fn attempt(
        &self,
        context: &Context,
        work: &impl Work,
        firmness: Firmness,
    ) -> Result<Option<Done>, EngineError> {
        let mut transaction = self.database.begin().await?;
        match attempt_in(&mut transaction, context, work, firmness).await {
            Ok(Attempt::Commit(subject)) => {
                transaction.commit().await?;
                Ok(Some(Done { subject, committed: Instant::now() }))
            }
            Ok(Attempt::Repeated(subject)) => {
                transaction.rollback().await;
                Ok(Some(Done { subject, committed: Instant::now() }))
            }
            Ok(Attempt::LockOrganization) => {
                transaction.rollback().await;
                Ok(None)
            }
            // Refusals are not stored: the same request may succeed later.
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }
}

/// How the transaction of an attempt ends.
enum Attempt {
    Commit(RequestSubject),
    /// The request id was claimed before by this same write.
    Repeated(RequestSubject),
    LockOrganization,
}

async fn attempt_in(
    transaction: &mut Transaction,
    context: &Context,
    work: &impl Work,
    firmness: Firmness,
) -> Result<Attempt, EngineError> {
    if let Some(request) = &context.request {
        let earlier = transaction.claim_request(&context.caller, request.id, &request.payload_mac).await?;
        match earlier {
            Some(earlier) if earlier.payload_mac == request.payload_mac => {
                return Ok(Attempt::Repeated(earlier.subject));
            }
            Some(_) => return Err(EngineError::RequestIdReused),
            None => {}
        }
    }
    let Effects { subject, changes, acting } = match work.apply(transaction, context, firmness).await? {
        Outcome::Done(effects) => effects,
        Outcome::LockOrganization => return Ok(Attempt::LockOrganization),
    };
    if let Some(request) = &context.request {
        transaction.complete_request(&context.caller, request.id, &subject).await?;
    }
    if let (Some(command_id), false) = (subject.command_id, changes.is_empty()) {
        let origin = ChangeOrigin { command_id, caller: context.caller.clone(), acting };
        // The last statement before the commit, after every lock (see Transaction::append).
        transaction.append(&changes, &origin).await?;
        tracing::debug!(command.id = %command_id, changes = changes.len(), "command");
    }
    Ok(Attempt::Commit(subject))
}

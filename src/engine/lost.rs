//! Decisions about revocations that the log lost (C7). No stream tells of them: instances ask.

use super::{
    Context, Done, Engine, EngineError, Missing,
    run::{Attempt, Outcome, Work},
};
use crate::{
    rules::ids::{ChangeId, CommandId},
    storage::{RequestSubject, Tenant, Transaction},
};

/// A decision about a lost revocation.
#[derive(Debug, Clone, Copy)]
pub struct LostDecision {
    /// The change that was lost.
    pub change: ChangeId,
    /// Whether the command was given again. Otherwise the access stands.
    pub applied_again: bool,
}

impl Engine {
    /// Decides about a lost revocation.
    pub async fn resolve_lost(&self, context: Context, decision: LostDecision) -> Result<Done, EngineError> {
        self.run(context, decision).await
    }
}

impl Work for LostDecision {
    fn name(&self) -> &'static str {
        "ResolveLostRevocation"
    }

    /// The request names a change, and not whose it is.
    fn tenant(&self) -> Tenant {
        Tenant::Across
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject::default()
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        if !transaction.open(attempt.claim()).await? {
            return Ok(Outcome::Repeated);
        }
        let Self { change, applied_again } = *self;
        let decision = if applied_again { "APPLIED_AGAIN" } else { "DROPPED" };
        if !transaction.decide_lost(change, decision).await? {
            return Err(EngineError::Missing(Missing::LostRevocation(change)));
        }
        Ok(Outcome::Done(Box::default()))
    }
}

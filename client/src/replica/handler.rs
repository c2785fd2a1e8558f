//! What an app does when somebody is out: the app's own code, called with each revocation after it is applied.

use std::{borrow::Cow, future::Future, pin::Pin, sync::Arc, time::SystemTime};

use uuid::Uuid;

use crate::v1::{Assignments, ChangeReason, ExternalId};

/// Somebody lost access, or what is left of them ends: a member was deactivated, removed or erased, in the organization
/// or in one workspace. Checks deny it already.
///
/// One command is several of these: a member of two workspaces who is deactivated in the organization is one
/// revocation of the organization and one of each workspace. Ending the sessions of any of them twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The change. `None`: found by comparing a new snapshot with what was held, so nobody asks for a receipt.
    pub change: Option<ChangeRef>,
    /// Why. UNSPECIFIED where it was found by comparing.
    pub reason: ChangeReason,
    /// The organization.
    pub organization_id: Uuid,
    /// The workspace. `None`: the whole organization, all of its workspaces.
    pub workspace_id: Option<Uuid>,
    /// The member.
    pub member_id: Uuid,
    /// The account. `None` where it was not known.
    pub account_id: Option<Uuid>,
    /// Under which ids identity providers knew the person. Told again by another process: those that the state still has.
    pub external_ids: Vec<ExternalId>,
    /// The member is erased: also forget personal data and whatever links content to the person.
    pub erased: bool,
    /// The member who takes over what is assigned to this one (R58). `None`: nobody; it stays.
    pub handover_to_member_id: Option<Uuid>,
    /// Of an erasure: what becomes of what is assigned to the member (R46).
    pub assignments: Assignments,
    /// The trace of the call that made the change, as W3C Trace Context writes it (`traceparent`). `None`: it is in none
    /// that is recorded, or an earlier process was told of it.
    pub traceparent: Option<String>,
}

/// Which change a revocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRef {
    /// The id of the change, the same on every delivery: by it, work that was done once can be known again.
    pub change_id: Uuid,
    /// Its place in the log.
    pub position: i64,
    /// When it was recorded, for people to read.
    pub record_time: Option<SystemTime>,
}

/// How the end of what a revocation revoked went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All that there was is ended; maybe nothing.
    Ended {
        /// How many sessions (connections, logins) were closed.
        sessions: u32,
        /// How many things (tasks, entries) were handed over or cleared.
        handed_over: u32,
    },
    /// Something could not be ended. The handler is called again a few times; the last word is the receipt.
    Failed(
        /// Why, as a word for programs: lower-case letters, digits, `_`, `-` and `.`, at most 64. No personal data.
        Cow<'static, str>,
    ),
}

/// The app's part in a departure.
///
/// Called after the revocation is applied, several at once, in no promised order, once for each `change_id` in a
/// process (but again after [`Outcome::Failed`]). What it had not ended when the process ended it is called with again by the
/// next one, where there is a state file: what must not be done twice is to be done by `change_id`. A call that hangs makes its own receipt late and never the lease;
/// after [`super::ReplicaOptions::handler_timeout`] it is dropped and counts as failed.
pub trait Handler: Send + Sync + 'static {
    /// Ends what is open for this person, hands over what is assigned to them, and says how much that was.
    fn revoked(&self, revocation: Revocation) -> impl Future<Output = Outcome> + Send;
}

impl<F, R> Handler for F
where
    F: Fn(Revocation) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send,
{
    fn revoked(&self, revocation: Revocation) -> impl Future<Output = Outcome> + Send {
        self(revocation)
    }
}

/// The handler of an app that has nothing open beyond single requests: its checks deny, and that is all. Says so in its
/// receipts.
#[derive(Debug, Clone, Copy, Default)]
pub struct NothingToEnd;

impl Handler for NothingToEnd {
    async fn revoked(&self, _: Revocation) -> Outcome {
        Outcome::Ended { sessions: 0, handed_over: 0 }
    }
}

/// A handler whose type is forgotten.
pub(super) type AnyHandler =
    Arc<dyn Fn(Revocation) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

pub(super) fn any(handler: impl Handler) -> AnyHandler {
    let handler = Arc::new(handler);
    Arc::new(move |revocation| {
        let handler = Arc::clone(&handler);
        Box::pin(async move { handler.revoked(revocation).await })
    })
}

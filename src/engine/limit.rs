//! The safety limit of departures: how many memberships of others a person may end within an hour without saying that it
//! is meant. Counted in the database, so that neither a loop of single calls nor another replica evades it.

use futures_util::join;

use super::{
    Context, Done, Engine, EngineError, Order,
    run::{Attempt, Effects, Outcome, Work},
};
use crate::{
    rules::{
        Actor, Change, Command, Subject,
        ids::{CommandId, MemberId, OrganizationId},
        roles::MembershipState,
        state::State,
    },
    storage::{RequestSubject, Tenant, Transaction},
};

/// So many are never too many.
pub(super) const AT_LEAST: i64 = 10;
/// One in so many of the ACTIVE members: 5%.
pub(super) const SHARE: i64 = 20;

/// The ACTIVE members other than the acting person who leave the organization by these changes.
fn leaving(before: &State, actor: Option<MemberId>, changes: &[Change]) -> i64 {
    let ends = changes.iter().filter(|change| match &change.subject {
        Subject::Member(member) => {
            let was = before.members.get(&member.id).map(|member| member.state);
            member.state != MembershipState::Active
                && was == Some(MembershipState::Active)
                && actor != Some(member.id)
        }
        _ => false,
    });
    i64::try_from(ends.count()).unwrap_or(i64::MAX)
}

/// Refuses what exceeds the limit of the acting person.
pub(super) async fn check(
    transaction: &Transaction,
    order: &Order,
    before: &State,
    actor: &Actor,
    changes: &[Change],
) -> Result<(), EngineError> {
    // Who deletes the organization has confirmed just that, and who deletes a workspace ends a thing, not memberships one
    // after the other.
    if matches!(order.command, Command::DeleteOrganization { .. } | Command::DeleteWorkspace { .. }) {
        return Ok(());
    }
    let Some(acting) = actor.member_id().filter(|_| !order.exceed_limit) else { return Ok(()) };
    let ending = leaving(before, Some(acting), changes);
    if ending == 0 {
        return Ok(());
    }
    // One after the other: of two at once the second sees the first.
    let (locked, recent) = join!(
        transaction.lock_departures(order.organization, acting),
        transaction.recent_departures(order.organization, acting),
    );
    locked?;
    let departures = recent? + ending;
    if departures <= AT_LEAST {
        return Ok(());
    }
    let limit = (transaction.active_members(order.organization).await? / SHARE).max(AT_LEAST);
    if departures > limit { Err(EngineError::DepartureLimit { departures, limit }) } else { Ok(()) }
}

/// The beginning of a batch of departures, before its first member.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The organization.
    pub organization: OrganizationId,
    /// Who is to leave.
    pub members: Vec<MemberId>,
    /// Whether the acting person may end more memberships than the limit of an hour allows.
    pub exceed_limit: bool,
}

impl Engine {
    /// Claims the request id of a batch, and refuses it as a whole where it would exceed the limit of the acting person. A
    /// repetition is not asked again: what it still does is checked member by member.
    pub async fn begin_batch(&self, context: Context, batch: Batch) -> Result<Done, EngineError> {
        self.run(context, batch).await
    }
}

impl Work for Batch {
    fn name(&self) -> &'static str {
        "BatchDeactivateMembers"
    }

    fn tenant(&self) -> Tenant {
        Tenant::Organization(self.organization)
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject { organization_id: Some(self.organization), ..RequestSubject::default() }
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let Self { organization, members, exceed_limit } = self;
        if !transaction.open(attempt.claim()).await? {
            return Ok(Outcome::Repeated);
        }
        let effects = Effects { subject: self.expected(attempt.command_id), ..Effects::default() };
        let acting = match attempt.context.acting.filter(|_| !exceed_limit) {
            Some(account) => transaction.administrator_id(*organization, account).await?,
            None => None,
        };
        // Nobody else could end anything here, which each member's refusal says.
        let Some(acting) = acting else { return Ok(Outcome::Done(Box::new(effects))) };
        let (recent, ending, active) = join!(
            transaction.recent_departures(*organization, acting),
            transaction.active_among(*organization, members, acting),
            transaction.active_members(*organization),
        );
        let (departures, limit) = (recent? + ending?, (active? / SHARE).max(AT_LEAST));
        if departures > limit {
            return Err(EngineError::DepartureLimit { departures, limit });
        }
        Ok(Outcome::Done(Box::new(effects)))
    }
}

//! The safety limit of departures: how many memberships of others a person may end within an hour without saying that it
//! is meant. Counted in the database, so that neither a loop of single calls nor another replica evades it.

use futures_util::join;

use super::{Context, Engine, EngineError, Order};
use crate::{
    rules::{
        Actor, Change, Command, Subject,
        ids::{MemberId, OrganizationId},
        roles::MembershipState,
        state::State,
    },
    storage::Transaction,
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

impl Engine {
    /// Refuses a batch as a whole that would exceed the limit of the acting person, before its first member. The members
    /// of the batch are checked again one by one.
    pub async fn check_batch(
        &self,
        context: &Context,
        organization: OrganizationId,
        members: &[MemberId],
        exceed_limit: bool,
    ) -> Result<(), EngineError> {
        let Some(account) = context.acting.filter(|_| !exceed_limit) else { return Ok(()) };
        let transaction = self.database().transaction().await?;
        let counted = async {
            transaction.open(None).await?;
            let Some(acting) = transaction.member_id(organization, account).await? else { return Ok(None) };
            let (recent, ending, active) = join!(
                transaction.recent_departures(organization, acting),
                transaction.active_among(organization, members, acting),
                transaction.active_members(organization),
            );
            Ok::<_, EngineError>(Some((recent? + ending?, (active? / SHARE).max(AT_LEAST))))
        }
        .await;
        transaction.rollback().await;
        match counted? {
            Some((departures, limit)) if departures > limit => {
                Err(EngineError::DepartureLimit { departures, limit })
            }
            _ => Ok(()),
        }
    }
}

//! Seats: who holds one, and who gets none.
//!
//! - R35 an ACTIVE member holds a seat, whatever the role. Who would become ACTIVE without a free one is refused.
//! - R48 a seat is free as soon as its member is not ACTIVE any more. In a contract an account holds one seat, in however
//!   many of its organizations it is ACTIVE, so there the seat is free with the last of them.
//!
//! `check` looks at the changes of a whole command, so it covers every way to become ACTIVE, and a seat that a command
//! frees is there for whom the same command brings.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    change::{Change, Subject},
    ids::{AccountId, ContractId, MemberId, OrganizationId},
    roles::MembershipState,
    state::{Member, State},
    violation::Violation,
};

/// Whose seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatsOf {
    /// Those that one organization may have.
    Organization(OrganizationId),
    /// Those that the organizations of a contract share.
    Contract(ContractId),
}

/// The seats that a command is decided on, counted with the organization, and its contract, locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seats {
    /// The ACTIVE members of the organization.
    pub used: i64,
    /// The contract that the organization shares, or is to share.
    pub contract: Option<ContractSeats>,
}

/// The seats of a contract, seen from one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractSeats {
    /// The contract.
    pub id: ContractId,
    /// How many there are. None: as many as wish.
    pub limit: Option<i64>,
    /// The accounts that are ACTIVE in its organizations and in this one, each counted once.
    pub used: i64,
    /// Of the accounts that the command is about, those that are ACTIVE in another organization of it.
    pub elsewhere: BTreeSet<AccountId>,
}

/// Refuses changes that bring members to ACTIVE for whom there is no seat.
pub(super) fn check(before: &State, changes: &[Change]) -> Result<(), Violation> {
    // An organization begins with its owner, and no limit is below one.
    let Some(organization) = &before.organization else { return Ok(()) };
    let limit = organization.settings.seat_limit;
    if limit.is_none() && organization.contract.is_none() {
        return Ok(());
    }
    let (taking, freeing) = moves(before, changes);
    if taking.is_empty() {
        return Ok(());
    }
    let seats = before.seats.as_ref().ok_or(Violation::SeatsNotCounted)?;
    let fits = |of, used: i64, taken: usize, freed: usize, limit: Option<i64>| {
        let more = i64::try_from(taken).unwrap_or(i64::MAX) - i64::try_from(freed).unwrap_or(i64::MAX);
        match limit {
            Some(limit) if more > 0 && used.saturating_add(more) > limit => {
                Err(Violation::NoSeat { of, used, limit })
            }
            _ => Ok(()),
        }
    };
    fits(SeatsOf::Organization(organization.id), seats.used, taking.len(), freeing.len(), limit)?;
    let Some(contract) = &seats.contract else { return Ok(()) };
    let alone = |members: &[&Member]| {
        let here_alone =
            |member: &&&Member| member.account_id.is_none_or(|id| !contract.elsewhere.contains(&id));
        members.iter().filter(here_alone).count()
    };
    fits(SeatsOf::Contract(contract.id), contract.used, alone(&taking), alone(&freeing), contract.limit)
}

/// The members who become ACTIVE by the changes, as they are then, and those who cease to be, as they were.
fn moves<'a>(before: &'a State, changes: &'a [Change]) -> (Vec<&'a Member>, Vec<&'a Member>) {
    let after: BTreeMap<MemberId, &Member> = changes
        .iter()
        .filter_map(|change| match &change.subject {
            Subject::Member(member) => Some((member.id, member)),
            _ => None,
        })
        .collect();
    let active = |member: &Member| member.state == MembershipState::Active;
    let was = |id: &MemberId| before.members.get(id).filter(|member| active(member));
    let taking =
        after.values().copied().filter(|member| active(member) && was(&member.id).is_none()).collect();
    let freeing =
        after.values().filter(|member| !active(member)).filter_map(|member| was(&member.id)).collect();
    (taking, freeing)
}

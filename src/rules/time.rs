//! What time does to members: guests who are inactive (R55), planned returns (R56), and who is to leave (R59).
//!
//! The clock is [`State::now`](super::State::now), an argument like any other. What comes due is commanded by a task of
//! the service, which acts for nobody: `DeactivateInactive` and `ReturnAsPlanned` ask here, under the member's lock,
//! whether it is still due, and do nothing otherwise.

use super::{
    change::Reason,
    command::Restore,
    draft::Draft,
    ids::MemberId,
    members::{accept, close, reopen},
    roles::{MembershipState, OrganizationRole},
    state::{Member, Moment},
    tables::Action,
    violation::Violation,
};

/// Microseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1_000_000;
/// How far ahead a return may be planned: five years. Beyond that it is a slip of the pen.
const ABSENCE_DAYS: i64 = 1_827;

/// Changes what was announced of a member's future.
pub(super) fn announce(
    draft: &mut Draft<'_>,
    id: MemberId,
    leaving: Option<bool>,
    return_time: Option<Option<Moment>>,
) -> Result<(), Violation> {
    if let Some(leaving) = leaving {
        set_leaving(draft, id, leaving)?;
    }
    if let Some(return_time) = return_time {
        plan_return(draft, id, return_time)?;
    }
    Ok(())
}

/// R59: the right to delete entries goes before the access does.
fn set_leaving(draft: &mut Draft<'_>, id: MemberId, leaving: bool) -> Result<(), Violation> {
    let member = draft.member(id)?;
    let (action, reason) = if leaving {
        (Action::SetLeaving, Reason::LeavingSet)
    } else {
        (Action::ClearLeaving, Reason::LeavingCleared)
    };
    draft.permit(action, &member)?;
    accept(action, id, Some(member.state))?;
    if member.leaving != leaving {
        draft.push_member(Member { leaving, ..member }, reason);
    }
    Ok(())
}

/// R56: another planned return, or none any more.
fn plan_return(draft: &mut Draft<'_>, id: MemberId, return_time: Option<Moment>) -> Result<(), Violation> {
    let member = draft.member(id)?;
    draft.permit(Action::PlanReturn, &member)?;
    if member.state == MembershipState::Active {
        return Err(Violation::MemberActive(id));
    }
    accept(Action::PlanReturn, id, Some(member.state))?;
    if member.return_time != return_time {
        check_return(draft, return_time)?;
        draft.push_member(Member { return_time, ..member }, Reason::ReturnChanged);
    }
    Ok(())
}

/// Whether the actor may name a return together with a departure.
pub(super) fn permit_return(
    draft: &Draft<'_>,
    member: &Member,
    return_time: Option<Moment>,
) -> Result<(), Violation> {
    if return_time.is_some() { draft.permit(Action::PlanReturn, member) } else { Ok(()) }
}

/// A return lies ahead, and not so far that nobody will remember.
pub(super) fn check_return(draft: &Draft<'_>, return_time: Option<Moment>) -> Result<(), Violation> {
    let now = draft.state.now;
    match return_time {
        Some(time) if time <= now || time.0 - now.0 > ABSENCE_DAYS * DAY => {
            Err(Violation::ReturnTime { days: ABSENCE_DAYS })
        }
        _ => Ok(()),
    }
}

/// R55: guests alone, and only where the organization says after how many days. Neither a role that changed nor an
/// activity that was reported since somebody looked is overlooked: both are loaded behind the member's lock.
pub(super) fn deactivate_inactive(draft: &mut Draft<'_>, id: MemberId) -> Result<(), Violation> {
    let member = draft.member(id)?;
    let days = draft.state.organization.as_ref().and_then(|found| found.settings.guest_inactivity_days);
    let Some(days) = days else { return Ok(()) };
    let is_guest = member.role == OrganizationRole::Guest && member.state == MembershipState::Active;
    let inactive = draft.state.now.0 - draft.state.last_active.0 >= i64::from(days) * DAY;
    if is_guest && inactive {
        close(draft, member, Reason::DeactivatedForInactivity);
    }
    Ok(())
}

/// R56, R11: the only timer that brings anyone back, and only where the organization opted in.
pub(super) fn return_as_planned(draft: &mut Draft<'_>, id: MemberId) -> Result<(), Violation> {
    let member = draft.member(id)?;
    let opted_in = draft.state.organization.as_ref().is_some_and(|found| found.settings.reactivate_on_return);
    let due = member.return_time.is_some_and(|time| time <= draft.state.now);
    if opted_in && due && member.state == MembershipState::Deactivated {
        reopen(draft, member, &Restore::LastCascade, Reason::ReactivatedAsPlanned)?;
    }
    Ok(())
}

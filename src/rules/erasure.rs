//! The end of personal data: a member erased by an owner, or with the account.

use super::{
    change::Reason,
    command::{Actor, EraseMember, ErasureCause},
    departure::{Departure, Reach},
    draft::Draft,
    ids::MemberId,
    members::in_state,
    organizations,
    roles::{Assignments, ErasedBy, MembershipState},
    state::{Member, Tombstone},
    tables::{Action, Outcome, Standing, accepts},
    violation::Violation,
};

/// R41, R42: an owner erases who is DEACTIVATED or REMOVED. R45: the person goes, whatever they are, and everything that is
/// assigned to them is cleared.
pub(super) fn erase_member(draft: &mut Draft<'_>, command: &EraseMember) -> Result<(), Violation> {
    let EraseMember { member: id, tombstone, cause, assignments, departure } = command;
    let member = draft.member(*id)?;
    let action = match cause {
        ErasureCause::Owner => Action::EraseMember,
        ErasureCause::Account | ErasureCause::Ledger(_) => Action::DeleteAccount,
    };
    draft.permit(action, &member)?;
    let standing = Standing::from(Some(member.state));
    match accepts(Action::EraseMember, standing) {
        Outcome::Changes => {}
        Outcome::Nothing => return Ok(()),
        Outcome::Refused if *cause == ErasureCause::Owner => return Err(Violation::MemberActive(*id)),
        Outcome::Refused => {}
    }
    let (erased_by, reason) = match cause {
        ErasureCause::Owner => (ErasedBy::Owner, Reason::Erased),
        ErasureCause::Account => (ErasedBy::Account, Reason::AccountDeleted),
        ErasureCause::Ledger(ErasedBy::Owner) => (ErasedBy::Owner, Reason::Erased),
        ErasureCause::Ledger(ErasedBy::Account) => (ErasedBy::Account, Reason::AccountDeleted),
    };
    draft.assignments = Some(*assignments);
    if *cause == ErasureCause::Account && member.state == MembershipState::Active {
        let closing = in_state(draft, *id, &[MembershipState::Active]);
        // The account is what is given up here, so that losing it with the organization needs no second word.
        let departure = Departure { acknowledge_account_deletion: true, ..departure.clone() };
        draft.of_account = true;
        draft.depart(&member, &closing, Reach::Organization, &departure)?;
        draft.account_ends = false;
        if draft.organization_ends && draft.blockers.is_empty() {
            organizations::delete(draft);
        }
    } else {
        draft.hand_over(&member, departure)?;
    }
    erase(draft, *id, Tombstone { id: *tombstone, erased_by }, reason)
}

/// Carries out what a departure takes along: the organization (R60), the account (R36, R38, R39). Also where something else
/// stands in the way, so that a plan says what is lost once that is decided (R18). True: there is nothing left to do.
pub(super) fn ends_more(
    draft: &mut Draft<'_>,
    member: MemberId,
    departure: &Departure,
) -> Result<bool, Violation> {
    if draft.organization_ends {
        organizations::delete(draft);
    }
    if draft.account_ends {
        draft.assignments = Some(Assignments::Clear);
        let tombstone = Tombstone { id: departure.tombstone, erased_by: ErasedBy::Account };
        erase(draft, member, tombstone, Reason::AccountDeleted)?;
    }
    Ok(draft.account_ends || draft.organization_ends)
}

/// R43: whether the account ends with the erasure of a member. Not where something of it is left in another organization,
/// a REMOVED member included, whose content can still be linked to it (R29). And not where the person has agreed to nothing:
/// or whoever owns an organization could end the account of anybody, by adding and erasing them.
pub fn ends_account(member: &Member, actor: &Actor, known_elsewhere: bool) -> bool {
    !known_elsewhere && (member.vouched || *actor == Actor::Workload)
}

/// Out of everything, for good, with a tombstone in place of the person.
fn erase(draft: &mut Draft<'_>, id: MemberId, tombstone: Tombstone, reason: Reason) -> Result<(), Violation> {
    let member = draft.member(id)?;
    for membership in in_state(draft, id, &[MembershipState::Active, MembershipState::Deactivated]) {
        draft.revoke_membership(membership, MembershipState::Removed, Reason::RemovedWithErasure);
    }
    let member = Member { account_id: None, leaving: false, tombstone: Some(tombstone), ..member };
    draft.revoke_member(member, MembershipState::Erased, reason);
    Ok(())
}

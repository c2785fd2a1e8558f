//! R55, R56, R59: what time does, with a clock that the test holds.

use super::*;
use crate::rules::{Actor, Command, Departure, Reason, Subject, Violation, decide};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;
const TODAY: Moment = Moment(20_000 * DAY);

/// A slice at a moment, with a member in both workspaces.
fn at(now: Moment, role: OrganizationRole, standing: MembershipState) -> State {
    let mut state = State { now, ..slice() };
    put_member(&mut state, TARGET, role, standing);
    for workspace in [HOME, AWAY] {
        put_membership(&mut state, workspace, TARGET, WorkspaceRole::Member, standing);
    }
    state
}

fn settings(state: &mut State) -> &mut Settings {
    &mut state.organization.as_mut().expect("the organization").settings
}

/// The reasons of what a workload's command changes.
fn reasons(state: &State, command: &Command) -> Result<Vec<Reason>, Violation> {
    let changes = decide(state, &Actor::Workload, command, NOW)?;
    Ok(changes.into_iter().map(|change| change.reason).collect())
}

fn inactive(state: &State) -> Vec<Reason> {
    reasons(state, &Command::DeactivateInactive { member: TARGET }).expect("never refused")
}

fn returns(state: &State) -> Vec<Reason> {
    reasons(state, &Command::ReturnAsPlanned { member: TARGET }).expect("never refused")
}

#[test]
fn r55_a_guest_goes_when_the_days_are_full_and_not_a_moment_earlier() {
    let mut state = at(TODAY, OrganizationRole::Guest, MembershipState::Active);
    state.last_active = Moment(TODAY.0 - 30 * DAY);
    assert_eq!(inactive(&state), [], "never, where nothing is set");
    settings(&mut state).guest_inactivity_days = Some(30);
    let wanted = [
        Reason::DeactivatedForInactivity,
        Reason::DeactivatedWithOrganization,
        Reason::DeactivatedWithOrganization,
    ];
    assert_eq!(inactive(&state), wanted);
    state.last_active = Moment(TODAY.0 - 30 * DAY + 1);
    assert_eq!(inactive(&state), []);
    state.last_active = TODAY;
    assert_eq!(inactive(&state), []);
}

#[test]
fn r55_nobody_but_active_guests() {
    for role in OrganizationRole::ALL {
        for standing in [MembershipState::Active, MembershipState::Deactivated, MembershipState::Removed] {
            let mut state = at(TODAY, *role, standing);
            settings(&mut state).guest_inactivity_days = Some(1);
            let goes = *role == OrganizationRole::Guest && standing == MembershipState::Active;
            assert_eq!(!inactive(&state).is_empty(), goes, "{role:?} {standing:?}");
        }
    }
}

#[test]
fn r11_r56_only_an_organization_that_opted_in_brings_back_and_only_when_it_is_due() {
    let mut state = at(TODAY, OrganizationRole::Member, MembershipState::Deactivated);
    // Closed before, by another command: it stays closed (R33).
    state.workspace_members.get_mut(&(AWAY, TARGET)).expect("it is there").revoked_by = Some(NOW);
    state.members.get_mut(&TARGET).expect("it is there").return_time = Some(TODAY);
    assert_eq!(returns(&state), []);
    settings(&mut state).reactivate_on_return = true;
    assert_eq!(returns(&state), [Reason::ReactivatedAsPlanned, Reason::RestoredWithOrganization]);
    state.members.get_mut(&TARGET).expect("it is there").return_time = Some(Moment(TODAY.0 + 1));
    assert_eq!(returns(&state), []);
    state.members.get_mut(&TARGET).expect("it is there").return_time = None;
    assert_eq!(returns(&state), []);
    for standing in [MembershipState::Active, MembershipState::Removed] {
        let mut state = at(TODAY, OrganizationRole::Member, standing);
        settings(&mut state).reactivate_on_return = true;
        state.members.get_mut(&TARGET).expect("it is there").return_time = Some(TODAY);
        assert_eq!(returns(&state), [], "{standing:?}");
    }
}

#[test]
fn r56_a_return_lies_ahead_and_within_five_years() {
    let state = at(TODAY, OrganizationRole::Member, MembershipState::Active);
    let closed = at(TODAY, OrganizationRole::Member, MembershipState::Deactivated);
    for (ahead, fits) in [(-DAY, false), (0, false), (1, true), (1_827 * DAY, true), (1_827 * DAY + 1, false)]
    {
        let time = Moment(TODAY.0 + ahead);
        let deactivate = Command::DeactivateMember {
            member: TARGET,
            departure: Departure::regardless(),
            return_time: Some(time),
        };
        let update = announce(None, Some(Some(time)));
        for answer in [reasons(&state, &deactivate), reasons(&closed, &update)] {
            let answer = answer.map(|reasons| !reasons.is_empty());
            let wanted = if fits { Ok(true) } else { Err(Violation::ReturnTime { days: 1_827 }) };
            assert_eq!(answer, wanted, "{ahead}");
        }
    }
}

#[test]
fn r56_r59_what_was_announced_ends_when_it_is_over() {
    let mut state = at(TODAY, OrganizationRole::Member, MembershipState::Active);
    let run = |state: &mut State, command: &Command| {
        let changes = decide(state, &Actor::Workload, command, NOW).expect("nothing stands against it");
        changes.iter().for_each(|change| state.apply(change));
        let told = changes.iter().rev().find_map(|change| match &change.subject {
            Subject::Member(member) => Some(member.clone()),
            _ => None,
        });
        told.expect("a change of the member")
    };
    let time = Moment(TODAY.0 + DAY);
    assert!(run(&mut state, &announce(Some(true), None)).leaving);
    let gone = run(
        &mut state,
        &Command::DeactivateMember {
            member: TARGET,
            departure: Departure::regardless(),
            return_time: Some(time),
        },
    );
    assert_eq!((gone.leaving, gone.return_time), (true, Some(time)));
    let later = Some(Moment(TODAY.0 + 2 * DAY));
    assert_eq!(run(&mut state, &announce(None, Some(later))).return_time, later);
    assert_eq!(run(&mut state, &announce(None, Some(None))).return_time, None);
    let restore = crate::rules::Restore::LastCascade;
    let back = run(&mut state, &Command::ReactivateMember { member: TARGET, restore });
    assert_eq!((back.leaving, back.return_time), (true, None), "back for some days, and still leaving");
    run(
        &mut state,
        &Command::DeactivateMember {
            member: TARGET,
            departure: Departure::regardless(),
            return_time: Some(time),
        },
    );
    let removed =
        run(&mut state, &Command::RemoveMember { member: TARGET, departure: Departure::regardless() });
    assert_eq!(removed.return_time, None);
    let role = OrganizationRole::Member;
    let added = run(&mut state, &Command::AddMember { member: TARGET, account: account_of(TARGET), role });
    assert!(!added.leaving, "a new beginning");
}

fn announce(leaving: Option<bool>, return_time: Option<Option<Moment>>) -> Command {
    Command::UpdateMember {
        member: TARGET,
        role: None,
        profile_changes: false,
        profile_named: false,
        leaving,
        return_time,
    }
}

//! R35, R48: seats, asked of `decide`.

use super::*;
use crate::rules::{
    Actor, Command, Departure, OrganizationUpdate, Reason, Restore, SettingsUpdate, Subject, Violation,
    account_changed,
    change::Change,
    decide,
    ids::ContractId,
    seats::{ContractSeats, Seats, SeatsOf, check},
    state::Moment,
};

pub(super) const CONTRACT: ContractId = ContractId(Uuid::from_u128(900));

/// Seats of which none is used, and a contract that has room for all.
pub(super) fn of_nobody() -> Seats {
    Seats {
        used: 0,
        contract: Some(ContractSeats { id: CONTRACT, limit: None, used: 0, elsewhere: BTreeSet::new() }),
    }
}

/// The seats of a slice that has all members.
pub(super) fn of(state: &State) -> Seats {
    let active = state.members.values().filter(|member| member.state == MembershipState::Active).count();
    Seats { used: active as i64, contract: None }
}

/// A slice with these seats of the organization's own, and of a contract: limit and use.
fn with_seats(own: Option<(i64, i64)>, shared: Option<(i64, i64)>) -> State {
    let mut state = slice();
    let organization = state.organization.as_mut().expect("it is there");
    organization.settings.seat_limit = own.map(|(limit, _)| limit);
    organization.contract = shared.map(|_| CONTRACT);
    state.seats = Some(Seats {
        used: own.map_or(1, |(_, used)| used),
        contract: shared.map(|(limit, used)| ContractSeats {
            id: CONTRACT,
            limit: Some(limit),
            used,
            elsewhere: BTreeSet::new(),
        }),
    });
    state
}

fn ask(state: &State, command: &Command) -> Result<Vec<Change>, Violation> {
    decide(state, &Actor::Workload, command, NOW)
}

/// Every way to become ACTIVE, with the state in which it is one.
fn ways_in() -> Vec<(Command, Option<MembershipState>)> {
    let (member, account) = (TARGET, account_of(TARGET));
    let add = |role| Command::AddMember { member, account, role };
    vec![
        (add(OrganizationRole::Guest), None),
        (add(OrganizationRole::Owner), Some(MembershipState::Removed)),
        (
            Command::ReactivateMember { member, restore: Restore::LastCascade },
            Some(MembershipState::Deactivated),
        ),
        (Command::ReactivateWorkspaceMember { workspace: HOME, member }, Some(MembershipState::Deactivated)),
    ]
}

fn put(state: &mut State, standing: Option<MembershipState>) {
    state.now = Moment(1);
    state.organization.as_mut().expect("it is there").settings.reactivate_on_return = true;
    if let Some(standing) = standing {
        put_member(state, TARGET, OrganizationRole::Guest, standing);
        put_membership(state, HOME, TARGET, WorkspaceRole::Guest, standing);
        let member = state.members.get_mut(&TARGET).expect("it is there");
        member.return_time = (standing == MembershipState::Deactivated).then_some(Moment(1));
    }
}

#[test]
fn r35_every_way_in_takes_a_seat() {
    for (command, standing) in ways_in() {
        let asked = |own, shared| {
            let mut state = with_seats(own, shared);
            put(&mut state, standing);
            ask(&state, &command)
        };
        let none = |of, limit| Err(Violation::NoSeat { of, used: limit, limit });
        let name = command.name();
        assert!(format!("{command:?}").starts_with(name) && !name.is_empty(), "{name}: as it is called here");
        assert!(asked(None, None).is_ok(), "{name} where nothing limits");
        assert!(asked(Some((20, 19)), None).is_ok(), "{name} takes the last one");
        assert_eq!(asked(Some((20, 20)), None), none(SeatsOf::Organization(ORGANIZATION), 20), "{name}");
        assert!(asked(None, Some((30, 29))).is_ok(), "{name} takes the contract's last one");
        assert_eq!(asked(None, Some((30, 30))), none(SeatsOf::Contract(CONTRACT), 30), "{name}");
        assert_eq!(
            asked(Some((20, 20)), Some((30, 1))),
            none(SeatsOf::Organization(ORGANIZATION), 20),
            "{name}: both limits hold"
        );
    }
}

#[test]
fn r35_seats_that_were_not_counted_refuse() {
    for (command, standing) in ways_in() {
        for (own, shared) in [(Some((20, 1)), None), (None, Some((20, 1)))] {
            let mut state = State { seats: None, ..with_seats(own, shared) };
            put(&mut state, standing);
            assert_eq!(ask(&state, &command), Err(Violation::SeatsNotCounted), "{}", command.name());
        }
    }
}

/// Who takes none needs no count: neither those who are in already nor those who leave.
#[test]
fn r35_what_takes_no_seat_is_not_about_seats() {
    let member = TARGET;
    for command in [
        Command::DeactivateMember { member, departure: Departure::regardless(), return_time: None },
        Command::RemoveMember { member, departure: Departure::regardless() },
        Command::ReactivateMember { member, restore: Restore::All },
        Command::ReactivateWorkspaceMember { workspace: AWAY, member },
        Command::UpdateMember {
            member,
            role: Some(OrganizationRole::Admin),
            profile_changes: false,
            profile_named: false,
            leaving: None,
            return_time: None,
        },
    ] {
        let mut state = State { seats: None, ..with_seats(Some((1, 9)), Some((1, 9))) };
        put_member(&mut state, member, OrganizationRole::Member, MembershipState::Active);
        put_membership(&mut state, AWAY, member, WorkspaceRole::Member, MembershipState::Deactivated);
        assert!(ask(&state, &command).is_ok(), "{}", command.name());
    }
}

/// R48: an account holds one seat of a contract, in however many of its organizations it is.
#[test]
fn r48_an_account_counts_once_in_a_contract() {
    for (command, standing) in ways_in() {
        let mut state = with_seats(None, Some((30, 30)));
        put(&mut state, standing);
        let contract = state.seats.as_mut().and_then(|seats| seats.contract.as_mut()).expect("it is there");
        contract.elsewhere.insert(account_of(TARGET));
        assert!(ask(&state, &command).is_ok(), "{}: it has a seat already", command.name());
        state.organization.as_mut().expect("it is there").settings.seat_limit = Some(1);
        let none = Violation::NoSeat { of: SeatsOf::Organization(ORGANIZATION), used: 1, limit: 1 };
        assert_eq!(ask(&state, &command), Err(none), "{}: but none here", command.name());
    }
}

#[test]
fn r35_no_limit_is_set_below_what_is_in_use() {
    let limited = |limit| {
        organizations::setting(SettingsUpdate { seat_limit: Some(limit), ..SettingsUpdate::default() })
    };
    let state = with_seats(Some((20, 10)), None);
    assert_eq!(ask(&state, &limited(Some(10))).map(|changes| changes.len()), Ok(1));
    assert_eq!(ask(&state, &limited(None)).map(|changes| changes.len()), Ok(1));
    assert_eq!(ask(&state, &limited(Some(20))), Ok(vec![]), "as it is");
    let of = SeatsOf::Organization(ORGANIZATION);
    assert_eq!(ask(&state, &limited(Some(9))), Err(Violation::SeatsInUse { of, used: 10, limit: 9 }));

    let joining = Command::UpdateOrganization(OrganizationUpdate {
        contract: Some(Some(CONTRACT)),
        ..OrganizationUpdate::default()
    });
    let into = |limit, used| {
        let mut state = with_seats(None, Some((limit, used)));
        state.organization.as_mut().expect("it is there").contract = None;
        ask(&state, &joining)
    };
    assert_eq!(into(30, 30).map(|changes| changes.len()), Ok(1), "there is room for all of them");
    let of = SeatsOf::Contract(CONTRACT);
    assert_eq!(into(30, 31), Err(Violation::SeatsInUse { of, used: 31, limit: 30 }));
    let state = with_seats(None, Some((30, 31)));
    assert_eq!(ask(&state, &joining), Ok(vec![]), "it is in already");
}

/// R48: who goes and who comes in one command share a seat, also where more are in use than there are by now.
#[test]
fn r48_a_seat_is_freed_and_taken_at_once() {
    let state_of = |used| {
        let mut state = with_seats(Some((20, used)), Some((30, used)));
        put_member(&mut state, ACTOR, OrganizationRole::Member, MembershipState::Active);
        put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Deactivated);
        state
    };
    let becomes = |state: &State, member: MemberId, to: MembershipState| {
        let mut change = account_changed(&state.members[&member], &[Reason::ProfileChanged], NOW).remove(0);
        if let Subject::Member(member) = &mut change.subject {
            member.state = to;
        }
        change
    };
    for used in [20, 21] {
        let state = state_of(used);
        let comes = becomes(&state, TARGET, MembershipState::Active);
        let goes = becomes(&state, ACTOR, MembershipState::Deactivated);
        let none = Err(Violation::NoSeat { of: SeatsOf::Organization(ORGANIZATION), used, limit: 20 });
        assert_eq!(check(&state, std::slice::from_ref(&comes)), none);
        assert_eq!(check(&state, &[goes, comes.clone()]), Ok(()), "{used} in use");
        // Who is ACTIVE and stays so takes nothing and frees nothing.
        let stays = becomes(&state, ACTOR, MembershipState::Active);
        assert_eq!(check(&state, &[stays, comes]), none);
    }
}

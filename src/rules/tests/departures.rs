//! What is decided before somebody leaves: successors, hand-over, acknowledgements, and everything that stands in the way.

use super::*;
use crate::rules::{
    ActingMember, Actor, Blocker, Change, Command, Departure, EraseMember, ErasureCause, Plan, Reason,
    Subject, Violation, decide, ends_account, plan,
    roles::{Assignments, ErasedBy},
    tables::Denial,
};

/// Who may succeed and take over: an ACTIVE member who is in no workspace.
const HEIR: MemberId = MemberId(Uuid::from_u128(9));
const TOMBSTONE: Uuid = Uuid::from_u128(10);

/// TARGET is MEMBER of the organization and the only ADMIN of both workspaces; HEIR is in none.
fn scene() -> State {
    let mut state = slice();
    put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Active);
    put_member(&mut state, HEIR, OrganizationRole::Member, MembershipState::Active);
    for workspace in [HOME, AWAY] {
        put_membership(&mut state, workspace, TARGET, WorkspaceRole::Admin, MembershipState::Active);
        state.workspace_admins.insert((workspace, TARGET));
    }
    state.others_belong = true;
    state
}

fn themselves(role: OrganizationRole) -> Actor {
    Actor::Person {
        account: account_of(TARGET),
        member: Some(ActingMember { id: TARGET, role, state: MembershipState::Active }),
        workspace_admin: false,
    }
}

fn deactivate(departure: Departure) -> Command {
    Command::DeactivateMember { member: TARGET, departure, return_time: None }
}

fn in_workspace(workspace: WorkspaceId, departure: Departure) -> Command {
    Command::DeactivateWorkspaceMember { workspace, member: TARGET, departure }
}

fn done(state: &State, actor: &Actor, command: &Command) -> (State, Vec<Change>) {
    let changes = decide(state, actor, command, NOW).expect("nothing stands in the way");
    let mut after = state.clone();
    changes.iter().for_each(|change| after.apply(change));
    (after, changes)
}

fn blockers(state: &State, actor: &Actor, command: &Command) -> Vec<Blocker> {
    let Plan { blockers, .. } = plan(state, actor, command, NOW).expect("a plan");
    let refused = match decide(state, actor, command, NOW) {
        Err(Violation::Blocked(blockers)) => blockers,
        Ok(_) => Vec::new(),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(blockers, refused, "what the plan lists refuses the command");
    blockers
}

fn last_admin(workspace: WorkspaceId) -> Blocker {
    Blocker::LastWorkspaceAdmin { workspace, member: TARGET }
}

fn member_of(change: &Change) -> Option<MemberId> {
    match &change.subject {
        Subject::Member(member) => Some(member.id),
        Subject::WorkspaceMember(membership) => Some(membership.member_id),
        _ => None,
    }
}

#[test]
fn r57_every_workspace_that_would_lose_its_last_admin_is_listed() {
    let state = scene();
    let workload = Actor::Workload;
    let both = vec![last_admin(HOME), last_admin(AWAY)];
    assert_eq!(blockers(&state, &workload, &deactivate(Departure::default())), both);
    let remove = Command::RemoveMember { member: TARGET, departure: Departure::default() };
    assert_eq!(blockers(&state, &workload, &remove), both);
    assert_eq!(blockers(&state, &workload, &in_workspace(HOME, Departure::default())), [last_admin(HOME)]);
    let expel =
        Command::RemoveWorkspaceMember { workspace: AWAY, member: TARGET, departure: Departure::default() };
    assert_eq!(blockers(&state, &workload, &expel), [last_admin(AWAY)]);
    assert_eq!(blockers(&state, &workload, &deactivate(Departure::regardless())), []);
}

#[test]
fn r57_only_the_last_active_admin_of_a_live_workspace_counts() {
    let default = || deactivate(Departure::default());
    let mut state = scene();
    state.workspace_admins.insert((HOME, HEIR));
    assert_eq!(blockers(&state, &Actor::Workload, &default()), [last_admin(AWAY)], "another admin remains");
    state.workspace_members.get_mut(&(AWAY, TARGET)).expect("put").role = WorkspaceRole::Member;
    assert_eq!(blockers(&state, &Actor::Workload, &default()), [], "who is no admin leaves nothing behind");
    let mut state = scene();
    state.workspaces.get_mut(&HOME).expect("put").state = WorkspaceState::Deleted;
    assert_eq!(
        blockers(&state, &Actor::Workload, &default()),
        [last_admin(AWAY)],
        "a deleted one needs none"
    );
    let mut state = scene();
    put_membership(&mut state, HOME, TARGET, WorkspaceRole::Admin, MembershipState::Deactivated);
    assert_eq!(blockers(&state, &Actor::Workload, &default()), [last_admin(AWAY)], "closed before");
    let removed =
        Command::RemoveWorkspaceMember { workspace: HOME, member: TARGET, departure: Departure::default() };
    assert_eq!(blockers(&state, &Actor::Workload, &removed), [], "who has no access administers nothing");
}

#[test]
fn r57_whether_admins_are_asked_about() {
    let named = BTreeMap::from([(HOME, HEIR)]);
    for (asks, departure) in [
        (true, Departure::default()),
        (false, Departure::regardless()),
        (true, Departure { successor: Some(HEIR), ..Departure::regardless() }),
        (true, Departure { workspace_successors: named, ..Departure::regardless() }),
        (false, Departure { owner_successor: Some(HEIR), ..Departure::regardless() }),
    ] {
        assert_eq!(departure.asks_about_admins(), asks, "{departure:?}");
    }
}

#[test]
fn r57_a_successor_becomes_admin_wherever_one_is_missing_and_nowhere_else() {
    let mut state = scene();
    put_membership(&mut state, HOME, HEIR, WorkspaceRole::Guest, MembershipState::Active);
    let departure = Departure { successor: Some(HEIR), ..Departure::default() };
    let (after, changes) = done(&state, &Actor::Workload, &deactivate(departure.clone()));
    for workspace in [HOME, AWAY] {
        let membership = &after.workspace_members[&(workspace, HEIR)];
        assert_eq!((membership.role, membership.state), (WorkspaceRole::Admin, MembershipState::Active));
    }
    assert_eq!(after.workspace_members[&(HOME, HEIR)].version, 2);
    assert!(after.members[&HEIR].apps.contains(&app("boards")), "the app of the workspace knows them now");
    assert_eq!(after.members[&HEIR].role, OrganizationRole::Member);
    let reasons: Vec<(Option<MemberId>, Reason)> =
        changes.iter().map(|change| (member_of(change), change.reason)).collect();
    let (heir, target) = (Some(HEIR), Some(TARGET));
    assert_eq!(
        reasons,
        [
            (heir, Reason::RoleChanged),
            (heir, Reason::ScopeEntered),
            (heir, Reason::Created),
            (target, Reason::Deactivated),
            (target, Reason::DeactivatedWithOrganization),
            (target, Reason::DeactivatedWithOrganization),
        ],
        "the successor comes before the member goes"
    );
    let mut kept = state.clone();
    kept.workspace_admins.insert((HOME, SPARE_OWNER));
    kept.workspace_admins.insert((AWAY, SPARE_OWNER));
    let (after, _) = done(&kept, &Actor::Workload, &deactivate(departure));
    assert_eq!(after.workspace_members[&(HOME, HEIR)].role, WorkspaceRole::Guest, "nobody is missing");
    assert!(!after.workspace_members.contains_key(&(AWAY, HEIR)));
}

#[test]
fn r57_a_successor_named_for_a_workspace_comes_before_the_one_for_all() {
    let mut state = scene();
    let departure = Departure {
        successor: Some(HEIR),
        workspace_successors: BTreeMap::from([(AWAY, SPARE_OWNER)]),
        ..Departure::default()
    };
    let (after, _) = done(&state, &Actor::Workload, &deactivate(departure.clone()));
    assert_eq!(after.workspace_members[&(AWAY, SPARE_OWNER)].role, WorkspaceRole::Admin);
    assert!(!after.workspace_members.contains_key(&(AWAY, HEIR)));
    assert_eq!(after.workspace_members[&(HOME, HEIR)].role, WorkspaceRole::Admin);
    // Who was removed from it returns; who was deactivated in it comes back by a reactivation alone (R11).
    put_membership(&mut state, HOME, HEIR, WorkspaceRole::Guest, MembershipState::Removed);
    let (after, changes) = done(&state, &Actor::Workload, &deactivate(departure.clone()));
    assert_eq!(after.workspace_members[&(HOME, HEIR)].role, WorkspaceRole::Admin);
    assert!(changes.iter().any(|change| change.reason == Reason::Returned));
    put_membership(&mut state, HOME, HEIR, WorkspaceRole::Guest, MembershipState::Deactivated);
    let refused = decide(&state, &Actor::Workload, &deactivate(departure), NOW);
    assert_eq!(refused, Err(Violation::SuccessorUnfit(HEIR)));
}

fn demote(departure: Departure) -> Command {
    Command::SetWorkspaceRole { workspace: HOME, member: TARGET, role: WorkspaceRole::Member, departure }
}

#[test]
fn r57_the_last_admin_keeps_the_role_like_the_workspace_its_admin() {
    let state = scene();
    assert_eq!(blockers(&state, &Actor::Workload, &demote(Departure::default())), [last_admin(HOME)]);
    let (after, _) = done(&state, &Actor::Workload, &demote(Departure::regardless()));
    assert_eq!(after.workspace_members[&(HOME, TARGET)].role, WorkspaceRole::Member);
    let succeeded = demote(Departure { successor: Some(HEIR), ..Departure::default() });
    let (after, _) = done(&state, &Actor::Workload, &succeeded);
    assert_eq!(after.workspace_members[&(HOME, HEIR)].role, WorkspaceRole::Admin);
    assert_eq!(after.workspace_members[&(HOME, TARGET)].role, WorkspaceRole::Member);
    assert_eq!(after.workspace_members[&(HOME, TARGET)].state, MembershipState::Active);
    let themselves = demote(Departure { successor: Some(TARGET), ..Departure::default() });
    let refused = decide(&state, &Actor::Workload, &themselves, NOW);
    assert_eq!(refused, Err(Violation::SuccessorUnfit(TARGET)));
    let mut closed = scene();
    put_membership(&mut closed, HOME, TARGET, WorkspaceRole::Admin, MembershipState::Deactivated);
    assert_eq!(blockers(&closed, &Actor::Workload, &demote(Departure::default())), [], "without access");
    let mut two = scene();
    two.workspace_admins.insert((HOME, HEIR));
    assert_eq!(blockers(&two, &Actor::Workload, &demote(Departure::default())), [], "another admin remains");
}

#[test]
fn r15_an_app_names_admins_of_its_own_workspaces_alone() {
    let mut state = scene();
    state.calling_app = Some(app("chat"));
    let foreign = Err(Violation::WorkspaceOfOtherApp { app: app("boards") });
    let for_all = Departure { successor: Some(HEIR), ..Departure::default() };
    assert_eq!(decide(&state, &Actor::Workload, &deactivate(for_all.clone()), NOW), foreign);
    done(&state, &Actor::Workload, &in_workspace(HOME, for_all));
    let of = |workspace| Departure {
        workspace_successors: BTreeMap::from([(workspace, HEIR)]),
        ..Departure::regardless()
    };
    done(&state, &Actor::Workload, &deactivate(of(HOME)));
    assert_eq!(decide(&state, &Actor::Workload, &deactivate(of(AWAY)), NOW), foreign);
    // Also where nobody has to succeed.
    state.workspace_admins.insert((AWAY, SPARE_OWNER));
    assert_eq!(decide(&state, &Actor::Workload, &deactivate(of(AWAY)), NOW), foreign);
}

#[test]
fn r61_a_promotion_needs_what_it_needs_without_a_departure() {
    let departure = || Departure { successor: Some(HEIR), ..Departure::default() };
    for (role, within) in [OrganizationRole::Owner, OrganizationRole::Admin, OrganizationRole::Member]
        .into_iter()
        .flat_map(|role| [(role, false), (role, true)])
    {
        let mut state = scene();
        state.members.get_mut(&HEIR).expect("put").role = role;
        if within {
            put_membership(&mut state, HOME, HEIR, WorkspaceRole::Guest, MembershipState::Active);
        }
        let own = themselves(OrganizationRole::Member);
        for command in [deactivate(departure()), in_workspace(HOME, departure())] {
            let answer = decide(&state, &own, &command, NOW);
            match role {
                OrganizationRole::Member => assert!(answer.is_ok(), "{answer:?}"),
                _ => assert_eq!(answer, Err(Violation::Denied(Denial::RoleAboveOwn)), "{role:?} {within}"),
            }
            assert!(decide(&state, &Actor::Workload, &command, NOW).is_ok(), "{role:?} {within}");
        }
    }
}

/// Ways to spoil HEIR; whether HEIR can still take over (R58), who needs no rights for that.
const UNFIT: [(&str, bool); 5] =
    [("guest", true), ("leaving", true), ("deactivated", false), ("removed", false), ("unknown", false)];

fn spoil(state: &mut State, how: &str) {
    let heir = state.members.get_mut(&HEIR).expect("put");
    match how {
        "guest" => heir.role = OrganizationRole::Guest,
        "leaving" => heir.leaving = true,
        "deactivated" => heir.state = MembershipState::Deactivated,
        "removed" => heir.state = MembershipState::Removed,
        _ => {
            state.members.remove(&HEIR);
        }
    }
}

#[test]
fn r57_a_successor_is_another_active_member_no_guest_and_not_leaving() {
    let named = |member| {
        [
            Departure { successor: Some(member), ..Departure::default() },
            Departure { owner_successor: Some(member), ..Departure::regardless() },
            Departure { workspace_successors: BTreeMap::from([(HOME, member)]), ..Departure::regardless() },
        ]
    };
    for (how, _) in UNFIT {
        let mut state = scene();
        spoil(&mut state, how);
        for departure in named(HEIR) {
            let refused = decide(&state, &Actor::Workload, &deactivate(departure), NOW);
            assert_eq!(refused, Err(Violation::SuccessorUnfit(HEIR)), "{how}");
        }
    }
    for departure in named(TARGET) {
        let refused = decide(&scene(), &Actor::Workload, &deactivate(departure), NOW);
        assert_eq!(refused, Err(Violation::SuccessorUnfit(TARGET)), "oneself");
    }
}

#[test]
fn r58_the_changes_of_a_departure_name_who_takes_over() {
    let departure = Departure { handover_to: Some(HEIR), successor: Some(HEIR), ..Departure::default() };
    let (_, changes) = done(&scene(), &Actor::Workload, &deactivate(departure));
    for change in &changes {
        let named = (member_of(change) == Some(TARGET)).then_some(HEIR);
        assert_eq!(change.handover_to, named, "{change:?}");
        assert_eq!(change.assignments, None, "nothing is erased");
    }
    // Whoever was deactivated before hands over when they are removed.
    let mut state = scene();
    state.members.get_mut(&TARGET).expect("put").state = MembershipState::Deactivated;
    let departure = Departure { handover_to: Some(HEIR), ..Departure::default() };
    let (_, changes) = done(&state, &Actor::Workload, &Command::RemoveMember { member: TARGET, departure });
    assert!(changes.iter().all(|change| change.handover_to == Some(HEIR)), "{changes:?}");
}

#[test]
fn r58_who_takes_over_is_another_active_member() {
    let to = |member| deactivate(Departure { handover_to: Some(member), ..Departure::regardless() });
    for (how, fit) in UNFIT {
        let mut state = scene();
        spoil(&mut state, how);
        let answer = decide(&state, &Actor::Workload, &to(HEIR), NOW).map(|_| ());
        assert_eq!(answer, if fit { Ok(()) } else { Err(Violation::HandoverUnfit(HEIR)) }, "{how}");
    }
    let refused = decide(&scene(), &Actor::Workload, &to(TARGET), NOW);
    assert_eq!(refused, Err(Violation::HandoverUnfit(TARGET)), "oneself");
}

/// TARGET is the only owner, in no workspace.
fn owned() -> State {
    let mut state = scene();
    state.workspace_members.clear();
    state.members.get_mut(&TARGET).expect("put").role = OrganizationRole::Owner;
    state.members.get_mut(&SPARE_OWNER).expect("put").role = OrganizationRole::Member;
    state.active_owners = BTreeSet::from([TARGET]);
    state
}

#[test]
fn r60_the_last_owner_goes_when_another_becomes_owner() {
    let state = owned();
    let actor = themselves(OrganizationRole::Owner);
    for actor in [&actor, &Actor::Workload] {
        let stays = blockers(&state, actor, &deactivate(Departure::default()));
        assert_eq!(stays, [Blocker::LastOwner(TARGET)]);
        let acknowledged = Departure { acknowledge_organization_deletion: true, ..Departure::default() };
        let stays = blockers(&state, actor, &deactivate(acknowledged));
        assert_eq!(stays, [Blocker::LastOwner(TARGET)], "others belong");
        let departure = Departure { owner_successor: Some(HEIR), ..Departure::default() };
        let (after, changes) = done(&state, actor, &deactivate(departure));
        assert_eq!(after.members[&HEIR].role, OrganizationRole::Owner);
        assert_eq!((member_of(&changes[0]), changes[0].reason), (Some(HEIR), Reason::RoleChanged));
        assert_eq!(after.members[&TARGET].state, MembershipState::Deactivated);
    }
    // Who is owner by role and has no access leaves nothing behind, nor does another who has only the access.
    for (role, standing) in [
        (OrganizationRole::Owner, MembershipState::Deactivated),
        (OrganizationRole::Admin, MembershipState::Active),
    ] {
        let mut state = scene();
        state.workspace_members.clear();
        state.active_owners.clear();
        put_member(&mut state, TARGET, role, standing);
        let remove = Command::RemoveMember { member: TARGET, departure: Departure::default() };
        assert_eq!(blockers(&state, &Actor::Workload, &remove), [], "{role:?} {standing:?}");
    }
    // Where another owner remains nobody needs to become one.
    let mut state = state;
    state.active_owners.insert(SPARE_OWNER);
    let departure = Departure { owner_successor: Some(HEIR), ..Departure::default() };
    let (after, _) = done(&state, &actor, &deactivate(departure));
    assert_eq!(after.members[&HEIR].role, OrganizationRole::Member);
}

#[test]
fn r60_the_only_remaining_member_may_end_the_organization() {
    let mut state = owned();
    state.members.retain(|member, _| *member == TARGET);
    state.others_belong = false;
    let actor = themselves(OrganizationRole::Owner);
    let stays = blockers(&state, &actor, &deactivate(Departure::default()));
    assert_eq!(stays, [Blocker::OrganizationEnds(TARGET)]);
    let acknowledged = Departure { acknowledge_organization_deletion: true, ..Departure::default() };
    let by_others = blockers(&state, &Actor::Workload, &deactivate(acknowledged.clone()));
    assert_eq!(by_others, [Blocker::LastOwner(TARGET)], "only by leaving");
    put_membership(&mut state, HOME, TARGET, WorkspaceRole::Admin, MembershipState::Active);
    let remove = |departure| Command::RemoveMember { member: TARGET, departure };
    for command in
        [deactivate(acknowledged.clone()), remove(acknowledged.clone()), in_workspace(HOME, acknowledged)]
    {
        let (after, changes) = done(&state, &actor, &command);
        assert!(after.organization.as_ref().expect("it was there").is_deleted());
        assert!(after.workspaces.values().all(|workspace| workspace.state == WorkspaceState::Deleted));
        assert_eq!(after.members[&TARGET].state, MembershipState::Removed);
        assert!(after.members[&TARGET].account_id.is_some(), "the account stays");
        let last = changes.last().expect("changes");
        assert!(matches!(last.subject, Subject::Organization(_)), "{last:?}");
    }
}

#[test]
fn r36_r38_r39_the_account_ends_with_an_acknowledgement_alone() {
    let mut state = scene();
    state.actor_belongs_elsewhere = false;
    let actor = themselves(OrganizationRole::Member);
    let only = Blocker::OnlyOrganization(TARGET);
    let regardless = Departure { tombstone: TOMBSTONE, ..Departure::regardless() };
    assert_eq!(blockers(&state, &actor, &deactivate(regardless.clone())), vec![only.clone()]);
    assert_eq!(
        blockers(&state, &actor, &in_workspace(HOME, regardless.clone())),
        [],
        "another workspace is open"
    );
    assert_eq!(blockers(&state, &Actor::Workload, &deactivate(regardless.clone())), [], "R37");
    let at_once = deactivate(Departure::default());
    assert_eq!(blockers(&state, &actor, &at_once), [only.clone(), last_admin(HOME), last_admin(AWAY)]);
    state.workspace_members.remove(&(AWAY, TARGET));
    assert_eq!(blockers(&state, &actor, &in_workspace(HOME, regardless.clone())), [only]);

    let acknowledged = Departure { acknowledge_account_deletion: true, ..regardless };
    for command in [deactivate(acknowledged.clone()), in_workspace(HOME, acknowledged.clone())] {
        let (after, changes) = done(&state, &actor, &command);
        let member = &after.members[&TARGET];
        assert_eq!((member.state, member.account_id), (MembershipState::Erased, None));
        let tombstone = member.tombstone.expect("a tombstone");
        assert_eq!((tombstone.id, tombstone.erased_by), (TOMBSTONE, ErasedBy::Account));
        assert_eq!(after.workspace_members[&(HOME, TARGET)].state, MembershipState::Removed);
        let reasons: Vec<Reason> = changes.iter().map(|change| change.reason).collect();
        assert_eq!(reasons, [Reason::RemovedWithErasure, Reason::AccountDeleted]);
        assert!(changes.iter().all(|change| change.assignments == Some(Assignments::Clear)));
    }
    // R40: who belongs elsewhere keeps the account, whatever was acknowledged.
    state.actor_belongs_elsewhere = true;
    let (after, _) = done(&state, &actor, &deactivate(acknowledged));
    assert_eq!(after.members[&TARGET].state, MembershipState::Deactivated);
}

fn erasing(cause: ErasureCause, departure: Departure) -> Command {
    let assignments = if departure.handover_to.is_some() { Assignments::HandOver } else { Assignments::Keep };
    Command::EraseMember(EraseMember { member: TARGET, tombstone: TOMBSTONE, cause, assignments, departure })
}

#[test]
fn r41_r42_an_owner_erases_who_is_deactivated_or_removed() {
    let command = erasing(ErasureCause::Owner, Departure::default());
    assert_eq!(
        decide(&scene(), &Actor::Workload, &command, NOW),
        Err(Violation::MemberActive(TARGET)),
        "deactivate first"
    );
    for standing in [MembershipState::Deactivated, MembershipState::Removed] {
        let mut state = scene();
        put_member(&mut state, TARGET, OrganizationRole::Member, standing);
        put_membership(&mut state, HOME, TARGET, WorkspaceRole::Admin, MembershipState::Deactivated);
        put_membership(&mut state, AWAY, TARGET, WorkspaceRole::Admin, MembershipState::Removed);
        let target = state.members.get_mut(&TARGET).expect("put");
        (target.leaving, target.return_time) = (true, Some(crate::rules::state::Moment(1)));
        let handed = Departure { handover_to: Some(HEIR), ..Departure::default() };
        let (after, changes) = done(&state, &Actor::Workload, &erasing(ErasureCause::Owner, handed));
        let member = &after.members[&TARGET];
        assert_eq!((member.state, member.account_id, member.leaving), (MembershipState::Erased, None, false));
        assert_eq!(member.return_time, None, "nobody returns");
        assert_eq!(member.tombstone.expect("a tombstone").erased_by, ErasedBy::Owner);
        assert_eq!(after.workspace_members[&(HOME, TARGET)].state, MembershipState::Removed);
        assert_eq!(changes.len(), 2, "the membership that was not yet over, and the member: {changes:?}");
        assert_eq!(changes[1].reason, Reason::Erased);
        assert!(changes.iter().all(|change| change.handover_to == Some(HEIR)));
        assert!(changes.iter().all(|change| change.assignments == Some(Assignments::HandOver)));
        assert_eq!(decide(&after, &Actor::Workload, &command, NOW), Ok(Vec::new()), "again: nothing");
        let unfit = Departure { handover_to: Some(TARGET), ..Departure::default() };
        let refused = decide(&state, &Actor::Workload, &erasing(ErasureCause::Owner, unfit), NOW);
        assert_eq!(refused, Err(Violation::HandoverUnfit(TARGET)));
    }
}

#[test]
fn r08_r09_only_owners_erase_and_only_the_person_ends_the_account() {
    let mut state = scene();
    put_member(&mut state, TARGET, OrganizationRole::Guest, MembershipState::Deactivated);
    let acting = |id, role, standing| Actor::Person {
        account: account_of(id),
        member: Some(ActingMember { id, role, state: standing }),
        workspace_admin: true,
    };
    let owner = acting(ACTOR, OrganizationRole::Owner, MembershipState::Active);
    let admin = acting(ACTOR, OrganizationRole::Admin, MembershipState::Active);
    let person = acting(TARGET, OrganizationRole::Guest, MembershipState::Deactivated);
    let denied = Err(Violation::Denied(Denial::RoleInsufficient));
    for (cause, may) in [(ErasureCause::Owner, &owner), (ErasureCause::Account, &person)] {
        let command = erasing(cause, Departure::default());
        for actor in [&owner, &admin, &person] {
            let answer = decide(&state, actor, &command, NOW);
            if actor == may {
                assert!(answer.is_ok(), "{cause:?}")
            } else {
                assert_eq!(answer, denied, "{cause:?}")
            }
        }
    }
}

#[test]
fn r45_with_the_account_goes_whoever_may_leave_and_the_ledger_asks_nobody() {
    let state = scene();
    let account = |departure| erasing(ErasureCause::Account, departure);
    let actor = themselves(OrganizationRole::Member);
    let stays = blockers(&state, &actor, &account(Departure::default()));
    assert_eq!(stays, [last_admin(HOME), last_admin(AWAY)], "and no word about the account itself");
    let mut closed = state.clone();
    closed.members.get_mut(&TARGET).expect("put").state = MembershipState::Deactivated;
    closed.members.get_mut(&TARGET).expect("put").role = OrganizationRole::Owner;
    assert_eq!(blockers(&closed, &Actor::Workload, &account(Departure::default())), [], "without access");
    let mut alone = state.clone();
    alone.actor_belongs_elsewhere = false;
    assert_eq!(blockers(&alone, &actor, &account(Departure::regardless())), []);
    let (after, changes) = done(&state, &actor, &account(Departure::regardless()));
    assert_eq!(after.members[&TARGET].state, MembershipState::Erased);
    assert_eq!(changes.last().expect("changes").reason, Reason::AccountDeleted);

    let mut owner = owned();
    owner.others_belong = false;
    let actor = themselves(OrganizationRole::Owner);
    assert_eq!(blockers(&owner, &actor, &account(Departure::default())), [Blocker::OrganizationEnds(TARGET)]);
    let acknowledged = Departure { acknowledge_organization_deletion: true, ..Departure::default() };
    let (after, _) = done(&owner, &actor, &account(acknowledged));
    assert!(after.organization.as_ref().expect("it was there").is_deleted());
    assert_eq!(after.members[&TARGET].state, MembershipState::Erased);

    for (erased_by, reason) in
        [(ErasedBy::Owner, Reason::Erased), (ErasedBy::Account, Reason::AccountDeleted)]
    {
        let command = erasing(ErasureCause::Ledger(erased_by), Departure::default());
        let (after, changes) = done(&owned(), &Actor::Workload, &command);
        assert_eq!(after.members[&TARGET].tombstone.expect("a tombstone").erased_by, erased_by);
        assert_eq!(changes.last().expect("changes").reason, reason);
    }
}

#[test]
fn r43_an_account_ends_with_the_last_of_it_and_only_of_who_agreed() {
    let owner = themselves(OrganizationRole::Owner);
    for (agreed, actor, elsewhere, ends) in [
        (true, &owner, false, true),
        (true, &owner, true, false),
        (false, &owner, false, false),
        (false, &Actor::Workload, false, true),
        (false, &Actor::Workload, true, false),
    ] {
        let member = Member { vouched: agreed, ..scene().members[&TARGET].clone() };
        assert_eq!(ends_account(&member, actor, elsewhere), ends, "{agreed} {actor:?} {elsewhere}");
    }
}

#[test]
fn r43_whom_another_person_adds_has_agreed_to_nothing() {
    let person = |id, account| Actor::Person {
        account,
        member: Some(ActingMember { id, role: OrganizationRole::Owner, state: MembershipState::Active }),
        workspace_admin: false,
    };
    let new = MemberId(Uuid::from_u128(77));
    let add = Command::AddMember { member: new, account: account_of(new), role: OrganizationRole::Member };
    for (actor, agreed) in [
        (Actor::Workload, true),
        (person(ACTOR, account_of(ACTOR)), false),
        (person(ACTOR, account_of(new)), true),
    ] {
        let mut state = slice();
        let (after, _) = done(&state, &actor, &add);
        assert_eq!(after.members[&new].vouched, agreed, "{actor:?}");
        // Who agreed once, and is brought back by another, has.
        put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Removed);
        let account = account_of(TARGET);
        let again = Command::AddMember { member: TARGET, account, role: OrganizationRole::Member };
        let (after, _) = done(&state, &actor, &again);
        assert!(after.members[&TARGET].vouched);
    }
}

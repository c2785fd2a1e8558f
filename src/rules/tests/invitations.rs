//! Invitations, cell by cell: who may do what with them (R10, R61), what each state does with a command (R62), and what
//! accepting gives to whom.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::rules::{
    ActingMember, Actor, Command, InvitationCommand, Subject, Violation, decide, decide_invitation,
    ids::{Email, InvitationId},
    invitations::{
        ADDRESS_SENDS, ADDRESS_WINDOW, Invitation, InvitationBound, InvitationSlice, InvitationStep, Invite,
        InvitedTo, RESEND_EVERY,
    },
    roles::{InvitationState, Language},
    tables::{Denial, Standing},
};

const INVITATION: InvitationId = InvitationId(Uuid::from_u128(9));

/// Who may do it with an invitation that gives each role: owner, admin, member, guest. `y` yes, `.` the role does not
/// suffice, `^` it is above. The admin of workspaces is one of [`HOME`]; the commands are about [`HOME`], unless they say
/// otherwise.
const PERMISSIONS: &str = "
                  invite invite-there invite-both invite-nowhere resend revoke revoke-home revoke-away
workload          yyyy   yyyy         yyyy        yyyy           yyyy   yyyy   yyyy        yyyy
owner             yyyy   yyyy         yyyy        yyyy           yyyy   yyyy   yyyy        yyyy
admin             ^yyy   ^yyy         ^yyy        ^yyy           ^yyy   ^yyy   ^yyy        ^yyy
home-admin        ^^yy   ....         ....        ....           ^^yy   ....   ^^yy        ....
home-guest        ^^^y   ....         ....        ....           ^^^y   ....   ^^^y        ....
member            ....   ....         ....        ....           ....   ....   ....        ....
guest             ....   ....         ....        ....           ....   ....   ....        ....
outsider          ....   ....         ....        ....           ....   ....   ....        ....
deactivated       ....   ....         ....        ....           ....   ....   ....        ....
";

/// What each state of an invitation does: `changes`, `nothing`, or refused because of the state.
const STATES: &str = "
                   PENDING ACCEPTED DECLINED REVOKED EXPIRED
accept             changes refused  refused  refused refused
decline            changes refused  nothing  refused refused
resend             changes refused  refused  refused refused
revoke             changes refused  nothing  nothing nothing
revoke-home        changes refused  nothing  nothing nothing
";

const ROLES: [OrganizationRole; 4] =
    [OrganizationRole::Owner, OrganizationRole::Admin, OrganizationRole::Member, OrganizationRole::Guest];

fn invitation(role: OrganizationRole, state: InvitationState) -> Invitation {
    let to = |role| InvitedTo { role, revoked: false };
    Invitation {
        organization_id: ORGANIZATION,
        id: INVITATION,
        role,
        state,
        generation: 2,
        language: Language::En,
        member: (state == InvitationState::Accepted).then_some(SPARE_OWNER),
        resent_ago: None,
        workspaces: BTreeMap::from([(HOME, to(WorkspaceRole::Admin)), (AWAY, to(WorkspaceRole::Guest))]),
    }
}

fn about(invitation: Option<Invitation>) -> InvitationSlice {
    let state = slice();
    InvitationSlice {
        organization: state.organization.expect("it has one"),
        id: INVITATION,
        invitation,
        workspaces: state.workspaces,
        administered: BTreeSet::new(),
        addressee: None,
        actor_is_invited: true,
        sent_ago: Vec::new(),
    }
}

fn invite(role: Option<OrganizationRole>, workspaces: &[WorkspaceId]) -> InvitationCommand {
    InvitationCommand::Invite(Invite {
        email: "bob@example.com".parse::<Email>().expect("well-formed"),
        role,
        workspaces: workspaces.iter().map(|id| (*id, WorkspaceRole::Member)).collect(),
        language: Language::En,
    })
}

fn person(role: OrganizationRole, state: MembershipState) -> Actor {
    Actor::Person {
        account: account_of(ACTOR),
        member: Some(ActingMember { id: ACTOR, role, state }),
        workspace_admin: false,
    }
}

fn actor(word: &str) -> Actor {
    use MembershipState::{Active, Deactivated};
    match word {
        "workload" => Actor::Workload,
        "owner" => person(OrganizationRole::Owner, Active),
        "admin" => person(OrganizationRole::Admin, Active),
        "home-admin" | "member" => person(OrganizationRole::Member, Active),
        "guest" | "home-guest" => person(OrganizationRole::Guest, Active),
        "deactivated" => person(OrganizationRole::Owner, Deactivated),
        "outsider" => Actor::Person { account: account_of(ACTOR), member: None, workspace_admin: false },
        other => panic!("{other} is no actor"),
    }
}

fn rows(table: &'static str) -> (Vec<&'static str>, Vec<Vec<&'static str>>) {
    let mut lines = table.lines().filter(|line| !line.is_empty());
    let words = |line: &'static str| line.split_whitespace().collect::<Vec<_>>();
    (words(lines.next().expect("a header")), lines.map(words).collect())
}

#[test]
fn r10_r61_every_command_about_an_invitation_by_every_actor() {
    let (commands, rows) = rows(PERMISSIONS);
    for row in rows {
        for (name, cells) in commands.iter().zip(&row[1..]) {
            for (role, cell) in ROLES.into_iter().zip(cells.chars()) {
                let pending = Some(invitation(role, InvitationState::Pending));
                let (found, command) = match *name {
                    "invite" => (None, invite(Some(role), &[HOME])),
                    "invite-there" => (None, invite(Some(role), &[AWAY])),
                    "invite-both" => (None, invite(Some(role), &[AWAY, HOME])),
                    "invite-nowhere" => (None, invite(Some(role), &[])),
                    "resend" => (pending, InvitationCommand::Resend),
                    "revoke" => (pending, InvitationCommand::Revoke { workspace: None }),
                    "revoke-home" => (pending, InvitationCommand::Revoke { workspace: Some(HOME) }),
                    "revoke-away" => (pending, InvitationCommand::Revoke { workspace: Some(AWAY) }),
                    other => panic!("{other} is no command"),
                };
                let mut slice = about(found);
                // Whoever is not ACTIVE administers nothing, whatever an old row says.
                if ["home-admin", "home-guest", "deactivated"].contains(&row[0]) {
                    slice.administered.insert(HOME);
                }
                let answer = decide_invitation(&slice, &actor(row[0]), &command);
                let cell = match cell {
                    'y' => Ok(()),
                    '^' => Err(Violation::Denied(Denial::RoleAboveOwn)),
                    _ => Err(Violation::Denied(Denial::RoleInsufficient)),
                };
                assert_eq!(answer.map(|_| ()), cell, "{name} of {role:?} by {}", row[0]);
            }
        }
    }
}

#[test]
fn r62_every_command_about_an_invitation_in_every_state() {
    let (states, rows) = rows(STATES);
    for row in rows {
        for (state, cell) in states.iter().zip(&row[1..]) {
            let state = InvitationState::from_word(state).expect("a state");
            let found = invitation(OrganizationRole::Member, state);
            let command = match row[0] {
                "accept" => {
                    let answer = accept(&found, MembersBefore::None).map(|(changes, _)| changes > 0);
                    check(row[0], state, cell, answer);
                    continue;
                }
                "decline" => InvitationCommand::Decline { generation: 2 },
                "resend" => InvitationCommand::Resend,
                "revoke" => InvitationCommand::Revoke { workspace: None },
                "revoke-home" => InvitationCommand::Revoke { workspace: Some(HOME) },
                other => panic!("{other} is no command"),
            };
            let answer = decide_invitation(&about(Some(found)), &Actor::Workload, &command);
            check(row[0], state, cell, answer.map(|step| step != InvitationStep::Nothing));
        }
    }
}

fn check(command: &str, state: InvitationState, cell: &str, answer: Result<bool, Violation>) {
    let wanted = match cell {
        "changes" => Ok(true),
        "nothing" => Ok(false),
        "refused" => Err(Violation::Invitation { invitation: INVITATION, state }),
        other => panic!("{other} is no outcome"),
    };
    assert_eq!(answer, wanted, "{command} of {state:?}");
}

/// What the accepting account is in the organization before.
#[derive(Debug, Clone, Copy)]
enum MembersBefore {
    None,
    As(MembershipState),
}

/// The number of changes of accepting, and the slice afterwards.
fn accept(invitation: &Invitation, before: MembersBefore) -> Result<(usize, State), Violation> {
    let mut state = slice();
    state.invitation = Some(invitation.clone());
    state.actor_is_invited = true;
    let mut member = MemberId(INVITATION.0);
    if let MembersBefore::As(standing) = before {
        member = TARGET;
        put_member(&mut state, TARGET, OrganizationRole::Guest, standing);
        put_membership(&mut state, HOME, TARGET, WorkspaceRole::Guest, standing);
    }
    let account = account_of(TARGET);
    let acting = state.members.get(&member);
    let acting = acting.map(|found| ActingMember { id: found.id, role: found.role, state: found.state });
    let actor = Actor::Person { account, member: acting, workspace_admin: false };
    let command = Command::AcceptInvitation {
        invitation: INVITATION,
        member,
        account,
        generation: invitation.generation,
    };
    let changes = decide(&state, &actor, &command, NOW)?;
    changes.iter().for_each(|change| state.apply(change));
    assert!(changes.iter().all(|change| !matches!(change.subject, Subject::Organization(_))));
    Ok((changes.len(), state))
}

#[test]
fn r29_r62_accepting_in_every_standing() {
    use MembershipState::{Active, Deactivated, Removed};
    let pending = invitation(OrganizationRole::Admin, InvitationState::Pending);
    let new = MemberId(INVITATION.0);
    let (changes, state) = accept(&pending, MembersBefore::None).expect("a new member");
    assert_eq!(changes, 5, "the member, two scopes, two memberships");
    assert_eq!((state.members[&new].role, state.members[&new].state), (OrganizationRole::Admin, Active));
    assert_eq!(state.workspace_members[&(HOME, new)].role, WorkspaceRole::Admin);

    let (_, state) = accept(&pending, MembersBefore::As(Removed)).expect("returns");
    assert_eq!(
        (state.members[&TARGET].role, state.members[&TARGET].state),
        (OrganizationRole::Admin, Active)
    );
    assert_eq!(state.workspace_members[&(HOME, TARGET)].role, WorkspaceRole::Admin, "that of the invitation");
    assert!(!state.members.contains_key(&new), "the old id");

    let (changes, state) = accept(&pending, MembersBefore::As(Active)).expect("only what is missing");
    assert_eq!(changes, 2, "a scope and a membership");
    assert_eq!(state.members[&TARGET].role, OrganizationRole::Guest);
    assert_eq!(state.workspace_members[&(HOME, TARGET)].role, WorkspaceRole::Guest);
    assert_eq!(state.workspace_members[&(AWAY, TARGET)].state, Active);

    let refused = accept(&pending, MembersBefore::As(Deactivated)).map(|(changes, _)| changes);
    assert_eq!(refused, Err(Violation::Member { member: TARGET, standing: Standing::Deactivated }), "R11");
}

#[test]
fn r53_accepting_leads_only_into_what_is_left() {
    let new = MemberId(INVITATION.0);
    let mut pending = invitation(OrganizationRole::Member, InvitationState::Pending);
    pending.workspaces.get_mut(&HOME).expect("it is there").revoked = true;
    let (_, state) = accept(&pending, MembersBefore::None).expect("accepted");
    assert!(!state.workspace_members.contains_key(&(HOME, new)));
    assert!(state.workspace_members.contains_key(&(AWAY, new)));

    let revoke = |workspace| InvitationCommand::Revoke { workspace: Some(workspace) };
    let decided = |pending: &Invitation, workspace| {
        decide_invitation(&about(Some(pending.clone())), &Actor::Workload, &revoke(workspace))
    };
    assert_eq!(decided(&pending, HOME), Ok(InvitationStep::Nothing));
    assert_eq!(decided(&pending, AWAY), Ok(InvitationStep::RevokeWorkspace { workspace: AWAY, ends: true }));
    let whole = invitation(OrganizationRole::Member, InvitationState::Pending);
    assert_eq!(decided(&whole, AWAY), Ok(InvitationStep::RevokeWorkspace { workspace: AWAY, ends: false }));
    let nowhere = WorkspaceId(Uuid::from_u128(77));
    assert_eq!(decided(&whole, nowhere), Err(Violation::NoWorkspace(nowhere)));
}

#[test]
fn the_secret_must_be_the_newest_and_the_account_the_invited_one() {
    let pending = invitation(OrganizationRole::Member, InvitationState::Pending);
    let mut state = slice();
    state.invitation = Some(pending.clone());
    let (member, account) = (MemberId(INVITATION.0), account_of(TARGET));
    let actor = Actor::Person { account, member: None, workspace_admin: false };
    let ask = |state: &State, generation| {
        let command = Command::AcceptInvitation { invitation: INVITATION, member, account, generation };
        decide(state, &actor, &command, NOW).map(|changes| !changes.is_empty())
    };
    for generation in [0, 1, 3] {
        assert_eq!(ask(&state, generation), Err(Violation::InvitationSecret));
    }
    assert_eq!(ask(&state, 2), Err(Violation::InvitationOfOtherAccount(INVITATION)));
    let mut about = about(Some(pending));
    about.actor_is_invited = false;
    let decline = |about: &InvitationSlice, actor: &Actor, generation| {
        decide_invitation(about, actor, &InvitationCommand::Decline { generation })
    };
    let declined = Ok(InvitationStep::End(InvitationState::Declined));
    assert_eq!(decline(&about, &actor, 1), Err(Violation::InvitationSecret));
    assert_eq!(decline(&about, &actor, 2), Err(Violation::InvitationOfOtherAccount(INVITATION)));
    let gone = InvitationSlice { invitation: None, ..about.clone() };
    assert_eq!(decline(&gone, &actor, 2), Err(Violation::InvitationSecret), "as if it was made up");
    assert_eq!(decline(&about, &Actor::Workload, 2), declined, "whoever has the secret");
    let forwarding = |settings: &mut Settings| settings.invitation_forwarding = true;
    forwarding(&mut state.organization.as_mut().expect("it has one").settings);
    forwarding(&mut about.organization.settings);
    assert_eq!(ask(&state, 2), Ok(true));
    assert_eq!(decline(&about, &actor, 2), declined);
    state.invitation = None;
    assert_eq!(ask(&state, 2), Err(Violation::InvitationSecret), "nothing behind it is no more than made up");
}

/// The same account accepts again: nothing. Another one, or one that came after the member was erased: refused.
#[test]
fn r54_accepting_again() {
    let mut state = slice();
    let (member, account) = (TARGET, account_of(TARGET));
    let accepted = invitation(OrganizationRole::Member, InvitationState::Accepted);
    state.invitation = Some(Invitation { member: Some(TARGET), ..accepted });
    put_member(&mut state, TARGET, OrganizationRole::Member, MembershipState::Active);
    let ask = |state: &State, account| {
        let actor = Actor::Person { account, member: None, workspace_admin: false };
        let command = Command::AcceptInvitation { invitation: INVITATION, member, account, generation: 2 };
        decide(state, &actor, &command, NOW).map(|changes| changes.len())
    };
    let refused = Err(Violation::Invitation { invitation: INVITATION, state: InvitationState::Accepted });
    assert_eq!(ask(&state, account), Ok(0));
    assert_eq!(ask(&state, account_of(ACTOR)), refused);
    state.members.get_mut(&TARGET).expect("it is there").account_id = None;
    assert_eq!(ask(&state, account), refused);
}

#[test]
fn a_pending_invitation_is_extended_or_in_the_way() {
    let pending = invitation(OrganizationRole::Member, InvitationState::Pending);
    let third = WorkspaceId(Uuid::from_u128(78));
    let mut about = about(Some(pending.clone()));
    let workspace = Workspace { id: third, ..about.workspaces[&HOME].clone() };
    about.workspaces.insert(third, workspace);
    let ask = |about: &InvitationSlice, role, workspaces: &[WorkspaceId]| {
        decide_invitation(about, &Actor::Workload, &invite(role, workspaces))
    };
    let exists = Err(Violation::InvitationExists(INVITATION));
    assert_eq!(ask(&about, None, &[HOME, AWAY]), exists);
    assert_eq!(ask(&about, None, &[]), exists);
    assert_eq!(ask(&about, Some(OrganizationRole::Guest), &[third]), exists);
    let extended = |ids: &[WorkspaceId]| {
        let workspaces = ids.iter().map(|id| (*id, WorkspaceRole::Member)).collect();
        Ok(InvitationStep::Extend { invitation: INVITATION, workspaces })
    };
    assert_eq!(ask(&about, None, &[HOME, third]), extended(&[third]));
    assert_eq!(ask(&about, Some(OrganizationRole::Member), &[third]), extended(&[third]));
    // What was revoked is missing too.
    let home = about.invitation.as_mut().and_then(|found| found.workspaces.get_mut(&HOME));
    home.expect("it is there").revoked = true;
    assert_eq!(ask(&about, None, &[HOME]), extended(&[HOME]));
    // It never grows beyond what one may be to.
    for number in 0..98 {
        let id = WorkspaceId(Uuid::from_u128(1_000 + number));
        let to = InvitedTo { role: WorkspaceRole::Guest, revoked: false };
        about.invitation.as_mut().expect("it is there").workspaces.insert(id, to);
    }
    assert_eq!(ask(&about, None, &[HOME]), extended(&[HOME]), "the hundredth");
    assert_eq!(ask(&about, None, &[HOME, third]), exists);
    // Not from a single one either.
    let only = about.invitation.as_mut().expect("it is there");
    only.workspaces.retain(|id, _| *id == AWAY);
    let many: Vec<_> = (0..100).map(|number| WorkspaceId(Uuid::from_u128(2_000 + number))).collect();
    for id in &many {
        let workspace = Workspace { id: *id, ..about.workspaces[&HOME].clone() };
        about.workspaces.insert(*id, workspace);
    }
    assert_eq!(ask(&about, None, &many[..99]), extended(&many[..99]));
    assert_eq!(ask(&about, None, &many), exists);
    // One that has ended is in nobody's way, and without a role it is MEMBER.
    about.invitation = Some(Invitation { state: InvitationState::Expired, ..pending });
    let created = Ok(InvitationStep::Create { role: OrganizationRole::Member });
    assert_eq!(ask(&about, None, &[]), created);
    about.workspaces.get_mut(&HOME).expect("it is there").state = WorkspaceState::Deleted;
    assert_eq!(ask(&about, None, &[HOME]), Err(Violation::WorkspaceDeleted(HOME)));
}

#[test]
fn r62_whom_an_address_belongs_to() {
    let ask = |standing: Option<MembershipState>| {
        let slice = InvitationSlice { addressee: standing.map(|state| (TARGET, state)), ..about(None) };
        decide_invitation(&slice, &Actor::Workload, &invite(None, &[]))
    };
    let created = Ok(InvitationStep::Create { role: OrganizationRole::Member });
    for standing in [None, Some(MembershipState::Removed), Some(MembershipState::Erased)] {
        assert_eq!(ask(standing), created, "{standing:?}");
    }
    for state in [MembershipState::Active, MembershipState::Deactivated] {
        let standing = Standing::from(Some(state));
        assert_eq!(ask(Some(state)), Err(Violation::Member { member: TARGET, standing }));
    }
}

#[test]
fn how_often_is_bounded_by_the_invitation_and_by_the_address() {
    let minute = Duration::from_secs(60);
    assert_eq!((RESEND_EVERY, ADDRESS_WINDOW), (5 * minute, 24 * 60 * minute));
    let pending = invitation(OrganizationRole::Member, InvitationState::Pending);
    let resend = |resent_ago, sent_ago: Vec<Duration>| {
        let found = Invitation { resent_ago, ..pending.clone() };
        let slice = InvitationSlice { sent_ago, ..about(Some(found)) };
        decide_invitation(&slice, &Actor::Workload, &InvitationCommand::Resend)
    };
    let resent = Ok(InvitationStep::Resend { generation: 3 });
    let limited = |bound, wait| Err(Violation::InvitationRate { bound, wait });
    assert_eq!(resend(None, vec![]), resent, "the first time at once");
    assert_eq!(resend(Some(minute), vec![]), limited(InvitationBound::Invitation, 4 * minute));
    assert_eq!(resend(Some(RESEND_EVERY + minute), vec![]), resent);
    let day = |count: usize| (1..=count).map(|number| minute * u32::try_from(number).expect("few")).collect();
    assert_eq!(resend(None, day(ADDRESS_SENDS - 1)), resent);
    assert_eq!(
        resend(None, day(ADDRESS_SENDS)),
        limited(InvitationBound::Address, ADDRESS_WINDOW - 10 * minute),
        "until the oldest of ten is a day old"
    );
    let slice = InvitationSlice { sent_ago: day(ADDRESS_SENDS), ..about(None) };
    let invited = decide_invitation(&slice, &Actor::Workload, &invite(None, &[]));
    assert_eq!(invited, limited(InvitationBound::Address, ADDRESS_WINDOW - 10 * minute));
}

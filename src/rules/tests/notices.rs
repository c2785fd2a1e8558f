//! R17, R21, R24: who is told of what by mail.

use super::*;
use crate::rules::{
    Actor, Command, Departure, MailKind, Notice, Reason, Recipient, Restore, Subject, account_changed,
    decide,
    ids::{Email, InvitationId},
    notices,
    roles::Language,
};

/// The target as MEMBER in the organization and, ACTIVE or not, in the two workspaces.
fn target(home: MembershipState, away: MembershipState, standing: MembershipState) -> State {
    let mut state = slice();
    put_member(&mut state, TARGET, OrganizationRole::Member, standing);
    put_membership(&mut state, HOME, TARGET, WorkspaceRole::Member, home);
    put_membership(&mut state, AWAY, TARGET, WorkspaceRole::Member, away);
    state
}

/// The kind and the named workspace of each mail, all of them to the target.
fn told(state: &State, command: &Command) -> Vec<(MailKind, Option<WorkspaceId>)> {
    let changes = decide(state, &Actor::Workload, command, NOW).expect("it is allowed");
    let told = notices(state, &changes).into_iter().map(|notice| {
        assert_eq!(notice.to, Recipient::Account(account_of(TARGET)));
        assert_eq!((notice.organization, notice.member), (Some(ORGANIZATION), Some(TARGET)));
        (notice.kind, notice.workspace)
    });
    told.collect()
}

use MembershipState::{Active, Deactivated};

#[test]
fn r17_a_workspace_deactivation_names_the_workspace() {
    let command = Command::DeactivateWorkspaceMember {
        workspace: HOME,
        member: TARGET,
        departure: Departure::regardless(),
    };
    assert_eq!(
        told(&target(Active, Active, Active), &command),
        [(MailKind::DeactivatedInWorkspace, Some(HOME))]
    );
    assert_eq!(
        told(&target(Active, Deactivated, Active), &command),
        [(MailKind::DeactivatedInWorkspaceAndOrganization, Some(HOME))]
    );
    assert_eq!(told(&target(Deactivated, Active, Active), &command), [], "R24: nothing changed");
}

#[test]
fn r21_an_organization_deactivation_is_one_mail() {
    let command =
        Command::DeactivateMember { member: TARGET, departure: Departure::regardless(), return_time: None };
    assert_eq!(
        told(&target(Active, Active, Active), &command),
        [(MailKind::DeactivatedInOrganization, None)]
    );
    assert_eq!(told(&target(Deactivated, Deactivated, Deactivated), &command), [], "R24: nothing changed");
}

#[test]
fn whoever_comes_back_or_goes_is_told_once() {
    let closed = target(Deactivated, Deactivated, Deactivated);
    let all = Command::ReactivateMember { member: TARGET, restore: Restore::All };
    assert_eq!(told(&closed, &all), [(MailKind::Reactivated, None)]);
    let one = Command::ReactivateWorkspaceMember { workspace: HOME, member: TARGET };
    assert_eq!(told(&closed, &one), [(MailKind::Reactivated, Some(HOME))]);
    let open = target(Active, Active, Active);
    assert_eq!(
        told(&open, &Command::RemoveMember { member: TARGET, departure: Departure::regardless() }),
        [(MailKind::Removed, None)]
    );
    let one = Command::RemoveWorkspaceMember {
        workspace: HOME,
        member: TARGET,
        departure: Departure::regardless(),
    };
    assert_eq!(told(&open, &one), [(MailKind::Removed, Some(HOME))]);
}

#[test]
fn a_deleted_workspace_is_told_to_those_who_lose_it() {
    let command = Command::DeleteWorkspace { workspace: HOME };
    assert_eq!(told(&target(Active, Active, Active), &command), [(MailKind::Removed, Some(HOME))]);
    assert_eq!(
        told(&target(Active, Deactivated, Active), &command),
        [(MailKind::DeactivatedInWorkspaceAndOrganization, Some(HOME))]
    );
    assert_eq!(told(&target(Deactivated, Active, Active), &command), [], "had no access to it");
}

#[test]
fn roles_names_and_additions_are_no_news() {
    let mut state = target(Active, Active, Active);
    let role = Some(OrganizationRole::Admin);
    let command = Command::UpdateMember {
        member: TARGET,
        role,
        profile_changes: true,
        profile_named: true,
        leaving: Some(true),
        return_time: None,
    };
    assert_eq!(told(&state, &command), []);
    assert_eq!(
        notices(&state, &account_changed(&state.members[&TARGET], &[Reason::ProfileChanged], NOW)),
        []
    );
    state.workspace_members.remove(&(HOME, TARGET));
    let command =
        Command::AddWorkspaceMember { workspace: HOME, member: TARGET, role: WorkspaceRole::Member };
    assert_eq!(told(&state, &command), []);
}

/// Changes of one member as other commands make them.
fn of_member(reasons: &[Reason]) -> Vec<Notice> {
    let state = target(Active, Active, Active);
    let mut changes = account_changed(&state.members[&TARGET], reasons, NOW);
    for change in &mut changes {
        if let Subject::Member(member) = &mut change.subject {
            member.account_id = None;
        }
    }
    notices(&state, &changes)
}

#[test]
fn r49_who_is_erased_is_told_at_the_address_from_before() {
    let told = of_member(&[Reason::Erased]);
    let [notice] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((notice.kind, &notice.to), (MailKind::Erased, &Recipient::Account(account_of(TARGET))));
    assert_eq!(notice.member, None, "nothing leads from the address to the tombstone");
    // One mail for the account, which its own command queues, and none for each membership.
    assert_eq!(of_member(&[Reason::AccountDeleted]), []);
    assert_eq!(of_member(&[Reason::Deactivated, Reason::AccountDeleted]), []);
}

#[test]
fn an_inactive_guest_and_the_members_of_a_deleted_organization_are_told() {
    let kinds = |reasons: &[Reason]| of_member(reasons).iter().map(|notice| notice.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&[Reason::DeactivatedForInactivity]), [MailKind::DeactivatedInOrganization]);
    assert_eq!(kinds(&[Reason::ReactivatedAsPlanned]), [MailKind::Reactivated]);
    assert_eq!(kinds(&[Reason::OrganizationDeleted]), [MailKind::OrganizationDeleted]);
}

#[test]
fn mails_of_their_own_name_what_they_are_about() {
    let email: Email = "ada@example.com".parse().expect("well-formed");
    let invitation = InvitationId(Uuid::from_u128(9));
    let notice = Notice::invitation(ORGANIZATION, invitation, 2, email.clone(), Language::De);
    let bare = Notice::new(MailKind::Invitation, Recipient::Address(email, Language::De));
    let (organization, invitation) = (Some(ORGANIZATION), Some((invitation, 2)));
    assert_eq!(notice, Notice { organization, invitation, ..bare });
    let notice = Notice::return_due(ORGANIZATION, TARGET, account_of(ACTOR));
    let bare = Notice::new(MailKind::ReturnDue, Recipient::Account(account_of(ACTOR)));
    assert_eq!(notice, Notice { organization, member: Some(TARGET), ..bare });
    let nothing = Notice::account_deleted(account_of(TARGET));
    assert_eq!((nothing.organization, nothing.member), (None, None));
}

//! I. Invitations.

use futures_util::{future::join_all, join};
use rollcall_client::v1::*;
use tonic::Code::{
    AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted,
};

use crate::{
    fixtures::{Invited, Org, Person, World, inviting, refused, told},
    races::rounds,
};

/// A person who administers these workspaces, and nothing else.
async fn head(world: &World, org: &Org, name: &str, workspaces: &[&String]) -> Person {
    let person = world.member(org, name).await;
    for workspace in workspaces {
        world.put_in(org, workspace, &person, WorkspaceRole::Admin).await;
    }
    person
}

fn ids(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| member.member_id.as_str()).collect()
}

#[tokio::test]
async fn r10_owners_admins_and_admins_of_that_workspace_revoke() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "boards", "room").await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let (here, there) =
        (head(&world, &org, "here", &[&org.general]).await, head(&world, &org, "there", &[&room]).await);
    let (member, guest) =
        (world.member(&org, "member").await, world.member_as(&org, "guest", OrganizationRole::Guest).await);
    let stranger = world.organization("stranger").await.owner;

    let invited = world.invite(&org, "bob", &[&org.general]).await;
    for person in [&there, &member, &guest, &stranger] {
        let caller = world.acting(person);
        refused(caller.revoke(&org, &invited.id).await, PermissionDenied, "ROLE_INSUFFICIENT");
        let one = caller.revoke_for(&org, &invited.id, &org.general).await;
        refused(one, PermissionDenied, "ROLE_INSUFFICIENT");
    }
    // The admin of the workspace revokes it, and not the whole.
    refused(world.acting(&here).revoke(&org, &invited.id).await, PermissionDenied, "ROLE_INSUFFICIENT");
    assert_eq!(world.invitation(&org, &invited.id).await.state(), InvitationState::Pending);
    let ended = world.acting(&here).revoke_for(&org, &invited.id, &org.general).await.expect("his workspace");
    assert_eq!(ended.invitation.expect("it").state(), InvitationState::Revoked, "it was the last one");

    // It does not matter who invited.
    for person in [&org.owner, &admin] {
        let invited: Invited =
            world.acting(&here).invite(&org, "bob", &[&org.general]).await.expect("invited").into();
        world.acting(person).revoke(&org, &invited.id).await.expect("revoked");
    }
    // Above one's own role nobody revokes (R61).
    for role in [OrganizationRole::Owner, OrganizationRole::Admin] {
        let request = CreateInvitationRequest { role: role.into(), ..inviting(&org, "eve", &[&org.general]) };
        let invited: Invited = world.operator().invite_with(request).await.expect("invited").into();
        if role == OrganizationRole::Owner {
            let whole = world.acting(&admin).revoke(&org, &invited.id).await;
            refused(whole, PermissionDenied, "ROLE_ABOVE_OWN");
        }
        let one = world.acting(&here).revoke_for(&org, &invited.id, &org.general).await;
        refused(one, PermissionDenied, "ROLE_ABOVE_OWN");
        world.acting(&org.owner).revoke(&org, &invited.id).await.expect("revoked");
    }
}

#[tokio::test]
async fn r61_who_may_invite_to_what() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "boards", "room").await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let here = head(&world, &org, "here", &[&org.general]).await;
    let member = world.member_in(&org, "member", &[&org.general]).await;
    let mark = world.mark().await;
    let as_role = |role: OrganizationRole, name: &str, workspaces: &[&String]| CreateInvitationRequest {
        role: role.into(),
        ..inviting(&org, name, workspaces)
    };
    let (caller, general) = (world.acting(&here), &org.general);
    for request in [
        inviting(&org, "new", &[]),
        inviting(&org, "new", &[&room]),
        inviting(&org, "new", &[general, &room]),
    ] {
        refused(caller.invite_with(request).await, PermissionDenied, "ROLE_INSUFFICIENT");
    }
    for role in [OrganizationRole::Admin, OrganizationRole::Owner] {
        let request = as_role(role, "new", &[general]);
        refused(caller.invite_with(request).await, PermissionDenied, "ROLE_ABOVE_OWN");
    }
    let request = as_role(OrganizationRole::Owner, "new", &[]);
    refused(world.acting(&admin).invite_with(request).await, PermissionDenied, "ROLE_ABOVE_OWN");
    let by_member = world.acting(&member).invite(&org, "new", &[general]).await;
    refused(by_member, PermissionDenied, "ROLE_INSUFFICIENT");
    // An app invites to its own workspaces (R15).
    let by_app = world.calling_as("boards").invite(&org, "new", &[general]).await;
    refused(by_app, PermissionDenied, "WORKSPACE_OF_OTHER_APP");

    for (number, role) in [OrganizationRole::Member, OrganizationRole::Guest].into_iter().enumerate() {
        caller.invite_with(as_role(role, &format!("h{number}"), &[general])).await.expect("his workspace");
    }
    world.acting(&admin).invite_with(as_role(OrganizationRole::Admin, "a", &[])).await.expect("up to own");
    world.acting(&org.owner).invite_with(as_role(OrganizationRole::Owner, "o", &[])).await.expect("an owner");
    world.calling_as("chat").invite(&org, "c", &[general]).await.expect("its own");
    assert_eq!(world.changes_since(mark).await, 0, "invitations are no part of the feed");
}

#[tokio::test]
async fn r29_who_was_removed_returns_with_the_old_id_by_accepting() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "boards", "room").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &room]).await;
    world.operator().remove(&org, &bob).await.expect("removed");

    let request = CreateInvitationRequest {
        role: OrganizationRole::Admin.into(),
        ..inviting(&org, "bob", &[&org.general])
    };
    let invited: Invited = world.operator().invite_with(request).await.expect("invited").into();
    let mut boards = world.follow("boards").await;
    let answer = world.acting(&bob).accept(&invited.secret).await.expect("accepted");
    let member = answer.member.expect("the member");
    assert_eq!(member.member_id, bob.member, "old content is linked again");
    assert_eq!((member.state(), member.role()), (MemberState::Active, OrganizationRole::Admin));
    assert_eq!(
        answer.active_workspace_ids,
        std::slice::from_ref(&org.general),
        "no other than those of the invitation"
    );
    assert_eq!(world.state_in(&org, &room, &bob).await, WorkspaceMemberState::Removed);
    let invitation = answer.invitation.expect("it");
    assert_eq!((invitation.state(), invitation.member_id), (InvitationState::Accepted, bob.member.clone()));
    assert_eq!(told(&boards.changes().await).len(), 1, "boards knows the member, and is told of the return");
}

#[tokio::test]
async fn r50_who_was_erased_is_a_new_member_by_accepting() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let elsewhere = world.organization("eve").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.add_account(&elsewhere, &bob.account, OrganizationRole::Member).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    erase(&world, &bob.member).await;

    let invited = world.invite(&org, "bob", &[&org.general]).await;
    let again = world.join(&bob.account, &invited.secret).await;
    assert_ne!(again.member, bob.member, "never linked to what was erased");
    assert_eq!(again.member, invited.id, "the id of the invitation");
    assert_eq!(world.get(&org, &again).await.version, 2, "no history: added, and in the scope of an app");
    assert_eq!(
        world.list_in(&org, &org.general).await.iter().filter(|one| one.member_id == again.member).count(),
        1
    );
}

/// What erasing leaves of a member.
async fn erase(world: &World, member: &str) {
    let erased = format!(
        "UPDATE members SET state = 'ERASED', account_id = NULL, tombstone_id = gen_random_uuid(), \
         erased_by = 'OWNER' WHERE member_id = '{member}'"
    );
    world.server().database().batch_execute(&erased).await.expect("erased");
}

#[tokio::test]
async fn r51_another_account_of_the_same_address_is_another_person() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    erase(&world, &bob.member).await;
    let deleted = format!(
        "UPDATE accounts SET state = 'DELETED', email = NULL, email_key = NULL WHERE account_id = '{}'",
        bob.account
    );
    world.server().database().batch_execute(&deleted).await.expect("deleted");

    let account = world.account("bob").await;
    assert_ne!(account, bob.account);
    let invited = world.invite(&org, "bob", &[]).await;
    let again = world.join(&account, &invited.secret).await;
    assert_ne!(again.member, bob.member);
}

#[tokio::test]
async fn r52_who_is_invited_is_listed_beside_the_members_until_revoked() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.account("bob").await;
    let first = world.invite(&org, "bob", &[&org.general]).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let second = world.invite(&org, "joe", &[&org.general]).await;
    let third = world.invite(&org, "kim", &[]).await;
    let mark = world.mark().await;

    assert_eq!(ids(&world.list(&org).await), [&org.owner.member, &eve.member], "where nobody asks for them");
    let all = world.list_invited_too(&org).await;
    let mut wanted = [&org.owner.member, &first.id, &eve.member, &second.id, &third.id];
    wanted.sort();
    assert_eq!(ids(&all), wanted, "one order of ids, whatever is on the page");
    let found = all.iter().find(|member| member.member_id == first.id).expect("listed");
    assert_eq!((found.state(), found.role()), (MemberState::Invited, OrganizationRole::Member));
    assert_eq!(found.profile.clone().expect("a profile").email, "bob@example.com");
    assert!(found.account_id.is_empty(), "who has the address is nobody's business");
    let all = world.list_invited_too_in(&org, &org.general).await;
    let invited = all.iter().filter(|one| one.state() == WorkspaceMemberState::Invited);
    let mut wanted = [first.id.as_str(), second.id.as_str()];
    wanted.sort();
    assert_eq!(invited.map(|one| one.member_id.as_str()).collect::<Vec<_>>(), wanted);

    // There is no member yet: neither to read nor to command.
    let nobody = Person { account: bob.clone(), member: first.id.clone() };
    let request = GetMemberRequest {
        organization_id: org.id.clone(),
        member_id: first.id.clone(),
        ..Default::default()
    };
    refused(world.members().get_member(request).await, FailedPrecondition, "MEMBER_INVITED");
    let operator = world.operator();
    refused(operator.deactivate(&org, &nobody).await, FailedPrecondition, "MEMBER_INVITED");
    refused(operator.remove(&org, &nobody).await, FailedPrecondition, "MEMBER_INVITED");
    refused(operator.reactivate(&org, &nobody).await, FailedPrecondition, "MEMBER_INVITED");
    refused(operator.set_name(&org, &nobody, "Bob").await, FailedPrecondition, "MEMBER_INVITED");
    let put = operator.add_to(&org, &org.general, &nobody, WorkspaceRole::Guest).await;
    refused(put, FailedPrecondition, "MEMBER_INVITED");

    operator.revoke(&org, &first.id).await.expect("revoked");
    operator.revoke(&org, &first.id).await.expect("nothing to do");
    assert!(!ids(&world.list_invited_too(&org).await).contains(&first.id.as_str()));
    assert_eq!(world.list_invited_too_in(&org, &org.general).await.len(), 3);
    refused(
        world.operator().acting(&bob).accept(&first.secret).await,
        FailedPrecondition,
        "INVITATION_REVOKED",
    );
    refused(operator.decline(&first.secret).await, FailedPrecondition, "INVITATION_REVOKED");
    refused(operator.resend(&org, &first.id).await, FailedPrecondition, "INVITATION_REVOKED");
    refused(operator.deactivate(&org, &nobody).await, NotFound, "MEMBER_NOT_FOUND");
    let ended = world.invitation(&org, &first.id).await;
    assert_eq!((ended.state(), ended.email), (InvitationState::Revoked, String::new()));
    assert_eq!(world.changes_since(mark).await, 0, "no event of any of it");
}

#[tokio::test]
async fn r53_one_workspace_is_revoked_and_the_others_stay() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "boards", "room").await;
    let here = head(&world, &org, "here", &[&org.general]).await;
    let bob = world.account("bob").await;
    let invited = world.invite(&org, "bob", &[&org.general, &room]).await;

    let caller = world.acting(&here);
    refused(caller.revoke_for(&org, &invited.id, &room).await, PermissionDenied, "ROLE_INSUFFICIENT");
    let answer = caller.revoke_for(&org, &invited.id, &org.general).await.expect("his");
    let invitation = answer.invitation.expect("it");
    assert_eq!(invitation.state(), InvitationState::Pending, "because of the other workspace");
    let revoked = |id: &String| {
        let found = invitation.workspaces.iter().find(|one| one.workspace_id == *id);
        found.expect("named").revoked
    };
    assert!(revoked(&org.general) && !revoked(&room));
    let again = caller.revoke_for(&org, &invited.id, &org.general).await.expect("nothing to do");
    assert_eq!(again.invitation.expect("it").version, invitation.version);
    assert!(ids(&world.list_invited_too(&org).await).contains(&invited.id.as_str()), "still listed");
    let listed = world.list_invited_too_in(&org, &org.general).await;
    assert!(listed.iter().all(|one| one.member_id != invited.id));
    assert_eq!(world.list_invited_too_in(&org, &room).await.len(), 1);

    // Inviting again brings the workspace back, for whoever may.
    let again = caller.invite(&org, "bob", &[&org.general]).await.expect("invited again");
    assert_eq!(again.invitation.expect("it").invitation_id, invited.id);
    assert_eq!(again.secret, "", "it is the same invitation, and not all of it is his");
    caller.revoke_for(&org, &invited.id, &org.general).await.expect("and revoked again");

    let person = world.join(&bob, &invited.secret).await;
    assert_eq!(world.state_in(&org, &room, &person).await, WorkspaceMemberState::Active);
    assert!(world.list_in(&org, &org.general).await.iter().all(|one| one.member_id != person.member));

    // The last workspace takes the invitation along, an owner's revocation all of them.
    let invited = world.invite(&org, "joe", &[&org.general, &room]).await;
    for workspace in [&org.general, &room] {
        world.acting(&org.owner).revoke_for(&org, &invited.id, workspace).await.expect("revoked");
    }
    assert_eq!(world.invitation(&org, &invited.id).await.state(), InvitationState::Revoked);
    let invited = world.invite(&org, "joe", &[&org.general, &room]).await;
    world.acting(&org.owner).revoke(&org, &invited.id).await.expect("revoked");
    assert_eq!(world.invitation(&org, &invited.id).await.state(), InvitationState::Revoked);
    let elsewhere = world.workspace(&org, "chat", "elsewhere").await;
    let invited = world.invite(&org, "joe", &[&org.general]).await;
    let not_of_it = world.operator().revoke_for(&org, &invited.id, &elsewhere).await;
    refused(not_of_it, NotFound, "WORKSPACE_NOT_FOUND");
    // What has ended is over, whatever it was to.
    world.operator().revoke(&org, &invited.id).await.expect("revoked");
    world.operator().revoke_for(&org, &invited.id, &elsewhere).await.expect("nothing to do");
}

#[tokio::test]
async fn r53_a_deleted_workspace_is_revoked_of_every_invitation() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "boards", "room").await;
    let both = world.invite(&org, "bob", &[&org.general, &room]).await;
    let only = world.invite(&org, "joe", &[&room]).await;
    let neither = world.invite(&org, "kim", &[]).await;
    world.operator().delete_workspace(&org, &room).await.expect("deleted");
    assert_eq!(world.invitation(&org, &both.id).await.state(), InvitationState::Pending);
    assert_eq!(world.invitation(&org, &neither.id).await.state(), InvitationState::Pending);
    let ended = world.invitation(&org, &only.id).await;
    assert_eq!((ended.state(), ended.email), (InvitationState::Revoked, String::new()));
    let bob = world.account("bob").await;
    let person = world.join(&bob, &both.secret).await;
    assert_eq!(world.state_in(&org, &org.general, &person).await, WorkspaceMemberState::Active);
    refused(world.operator().invite(&org, "new", &[&room]).await, FailedPrecondition, "WORKSPACE_DELETED");
}

#[tokio::test]
async fn r54_what_was_accepted_is_not_revoked() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.account("bob").await;
    let invited = world.invite(&org, "bob", &[&org.general]).await;
    let person = world.join(&bob, &invited.secret).await;
    let mark = world.mark().await;
    let owner = world.acting(&org.owner);
    refused(owner.revoke(&org, &invited.id).await, FailedPrecondition, "INVITATION_ACCEPTED");
    let one = owner.revoke_for(&org, &invited.id, &org.general).await;
    refused(one, FailedPrecondition, "INVITATION_ACCEPTED");
    refused(owner.resend(&org, &invited.id).await, FailedPrecondition, "INVITATION_ACCEPTED");
    refused(world.operator().decline(&invited.secret).await, FailedPrecondition, "INVITATION_ACCEPTED");
    // Accepting again is nothing, by the same account alone.
    let again = world.join(&bob, &invited.secret).await;
    assert_eq!(again.member, person.member);
    let eve = world.account("eve").await;
    let by_other = world.operator().acting(&eve).accept(&invited.secret).await;
    refused(by_other, FailedPrecondition, "INVITATION_ACCEPTED");
    assert_eq!(world.changes_since(mark).await, 0);
    owner.deactivate(&org, &person).await.expect("deactivated instead");
}

#[tokio::test]
async fn r54_of_accepting_and_revoking_at_once_one_wins() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let (mut accepted, mut revoked) = (0, 0);
    for round in 0..rounds() {
        let name = format!("p{round}");
        let account = world.account(&name).await;
        let invited = world.invite(&org, &name, &[&org.general]).await;
        let (person, owner) = (world.operator().acting(&account), world.acting(&org.owner));
        // Whoever is sent first has an advantage: it changes.
        let (one, other) = if round % 2 == 0 {
            join!(person.accept(&invited.secret), owner.revoke(&org, &invited.id))
        } else {
            let (other, one) = join!(owner.revoke(&org, &invited.id), person.accept(&invited.secret));
            (one, other)
        };
        let state = world.invitation(&org, &invited.id).await.state();
        match (one, other) {
            (Ok(_), Err(lost)) => {
                refused::<()>(Err(lost), FailedPrecondition, "INVITATION_ACCEPTED");
                assert_eq!(state, InvitationState::Accepted);
                accepted += 1;
            }
            (Err(lost), Ok(_)) => {
                refused::<()>(Err(lost), FailedPrecondition, "INVITATION_REVOKED");
                assert_eq!(state, InvitationState::Revoked);
                revoked += 1;
            }
            (one, other) => panic!("not exactly one: {one:?} and {other:?}"),
        }
    }
    println!("{accepted} accepted, {revoked} revoked");
    let members = world.list_invited_too(&org).await;
    assert_eq!(members.len(), 1 + accepted, "members are those who accepted, and nobody is invited any more");
}

#[tokio::test]
async fn r54_many_acceptances_at_once_are_one() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.account("bob").await;
    let invited = world.invite(&org, "bob", &[&org.general]).await;
    let mark = world.mark().await;
    let joined = join_all((0..10).map(|_| world.join(&bob, &invited.secret))).await;
    assert!(joined.iter().all(|person| person.member == invited.id));
    assert_eq!(world.changes_since(mark).await, 3, "the member, the scope, the membership");
}

#[tokio::test]
async fn r62_whom_an_invitation_finds() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "boards", "room").await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let operator = world.operator();
    refused(operator.invite(&org, "eve", &[&room]).await, AlreadyExists, "MEMBER_EXISTS");
    operator.deactivate(&org, &eve).await.expect("deactivated");
    refused(operator.invite(&org, "EVE", &[]).await, FailedPrecondition, "MEMBER_DEACTIVATED");

    // Whoever becomes a member in between keeps the role, and is added to what is missing.
    let invited = world.invite(&org, "joe", &[&org.general, &room]).await;
    let account = world.account("joe").await;
    let joe = world.add_account(&org, &account, OrganizationRole::Admin).await;
    world.put_in(&org, &org.general, &joe, WorkspaceRole::Admin).await;
    let answer = world.acting(&joe).accept(&invited.secret).await.expect("accepted");
    assert_eq!(answer.member.expect("it").role(), OrganizationRole::Admin);
    assert_eq!(world.get_in(&org, &org.general, &joe).await.role(), WorkspaceRole::Admin);
    assert_eq!(world.get_in(&org, &room, &joe).await.role(), WorkspaceRole::Member);
    assert_eq!(
        world.get(&org, &joe).await.profile.expect("a profile").display_name,
        "",
        "nor is anyone renamed"
    );

    // Whoever was deactivated in between stays so: only an admin reactivates (R11).
    let invited = world.invite(&org, "kim", &[&room]).await;
    let account = world.account("kim").await;
    let kim = world.add_account(&org, &account, OrganizationRole::Member).await;
    operator.deactivate(&org, &kim).await.expect("deactivated");
    refused(world.acting(&kim).accept(&invited.secret).await, FailedPrecondition, "MEMBER_DEACTIVATED");
    assert_eq!(world.invitation(&org, &invited.id).await.state(), InvitationState::Pending);

    // Declined is declined.
    let invited = world.invite(&org, "lou", &[]).await;
    operator.decline(&invited.secret).await.expect("declined");
    operator.decline(&invited.secret).await.expect("nothing to do");
    let account = world.account("lou").await;
    let late = world.operator().acting(&account).accept(&invited.secret).await;
    refused(late, FailedPrecondition, "INVITATION_DECLINED");
    refused(operator.resend(&org, &invited.id).await, FailedPrecondition, "INVITATION_DECLINED");
    operator.revoke(&org, &invited.id).await.expect("it has ended already");
    assert_eq!(world.invitation(&org, &invited.id).await.state(), InvitationState::Declined);
    refused(operator.decline("made up").await, InvalidArgument, "INVITATION_SECRET_INVALID");
}

/// The seat is taken by accepting, not by inviting (R52).
#[tokio::test]
async fn r35_accepting_takes_a_seat() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let mut invited = Vec::new();
    for number in 0..4 {
        let name = format!("p{number}");
        invited.push((world.account(&name).await, world.invite(&org, &name, &[&org.general]).await));
    }
    let limited = format!("UPDATE organizations SET seat_limit = 2 WHERE organization_id = '{}'", org.id);
    world.server().database().batch_execute(&limited).await.expect("one is free");
    let calls = invited.iter().map(|(account, one)| {
        let caller = world.operator().acting(account);
        async move { caller.accept(&one.secret).await }
    });
    let (taken, refused_ones): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!(taken.len(), 1, "of many at once one");
    for answer in refused_ones {
        refused(answer, ResourceExhausted, "NO_SEAT");
    }
    let waiting = world.list_invited_too(&org).await;
    assert_eq!(
        waiting.iter().filter(|one| one.state() == MemberState::Invited).count(),
        3,
        "they can try again"
    );
}

#[tokio::test]
async fn r01_a_deleted_organization_invites_nobody() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.account("bob").await;
    let invited = world.invite(&org, "bob", &[&org.general]).await;
    let request =
        DeleteOrganizationRequest { organization_id: org.id.clone(), confirm: true, ..Default::default() };
    world.organizations().delete_organization(request).await.expect("deleted");
    let ended = world.invitation(&org, &invited.id).await;
    assert_eq!((ended.state(), ended.email), (InvitationState::Revoked, String::new()));
    let operator = world.operator();
    let reason = "ORGANIZATION_DELETED";
    refused(world.operator().acting(&bob).accept(&invited.secret).await, FailedPrecondition, reason);
    refused(operator.decline(&invited.secret).await, FailedPrecondition, reason);
    refused(operator.resend(&org, &invited.id).await, FailedPrecondition, reason);
    refused(operator.revoke(&org, &invited.id).await, FailedPrecondition, reason);
    refused(operator.invite(&org, "eve", &[]).await, FailedPrecondition, reason);
}

//! R62: every method that names a member, a membership in a workspace, or an account, in every state of it.

use rollcall_client::v1::*;

use super::{Column, compare, covers};
use crate::fixtures::{Org, Person, World, made_up_id};

/// The state of $MEMBER in the organization: none, INVITED, ACTIVE, DEACTIVATED, REMOVED, ERASED. Who was a member was
/// in $WORKSPACE, and nobody ever in $ROOM. $BOB is ACTIVE. All accounts belong to another organization too.
const MEMBERS: &str = "
FeedService/ListChanges member_id=$MEMBER
    yes yes yes yes yes yes
FeedService/GetMembershipAt member_id=$MEMBER position=$POSITION
    MEMBER_NOT_FOUND MEMBER_NOT_FOUND yes yes yes yes
MemberService/GetMember member_id=$MEMBER
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes yes yes
MemberService/BatchGetMembers member_ids[]=$MEMBER
    yes yes yes yes yes yes
MemberService/AddMember account_id=$ACCOUNT role=MEMBER
    yes yes MEMBER_EXISTS MEMBER_DEACTIVATED yes yes
InvitationService/CreateInvitation email=$EMAIL role=MEMBER
    yes INVITATION_EXISTS MEMBER_EXISTS MEMBER_DEACTIVATED yes yes
MemberService/UpdateMember member.member_id=$MEMBER member.role=GUEST update_mask.paths[]=role
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes MEMBER_REMOVED MEMBER_ERASED
MemberService/UpdateMember member.member_id=$MEMBER member.profile.display_name=New update_mask.paths[]=profile.display_name
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes MEMBER_REMOVED MEMBER_ERASED
MemberService/UpdateMember member.member_id=$MEMBER member.leaving=true update_mask.paths[]=leaving
    MEMBER_NOT_FOUND MEMBER_INVITED yes MEMBER_DEACTIVATED MEMBER_REMOVED MEMBER_ERASED
MemberService/UpdateMember member.member_id=$MEMBER member.leaving=false update_mask.paths[]=leaving
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes MEMBER_REMOVED MEMBER_ERASED
MemberService/UpdateMember member.member_id=$MEMBER member.return_time.seconds=$SOON update_mask.paths[]=return_time
    MEMBER_NOT_FOUND MEMBER_INVITED MEMBER_ACTIVE yes MEMBER_REMOVED MEMBER_ERASED
MemberService/DeactivateMember member_id=$MEMBER
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes MEMBER_REMOVED MEMBER_ERASED
MemberService/ReactivateMember member_id=$MEMBER
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes MEMBER_REMOVED MEMBER_ERASED
MemberService/RemoveMember member_id=$MEMBER
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes yes MEMBER_ERASED
MemberService/EraseMember member_id=$MEMBER confirm=true
    MEMBER_NOT_FOUND MEMBER_INVITED MEMBER_ACTIVE yes yes yes
MemberService/ReapplyErasure erasure.member_id=$MEMBER erasure.tombstone_id=$NOBODY erasure.erased_by=OWNER
    yes yes yes yes yes yes
MemberService/ReportActivity activities[].member_id=$MEMBER
    yes yes yes yes yes yes
MemberService/BatchDeactivateMembers members[].member_id=$MEMBER
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes MEMBER_REMOVED MEMBER_ERASED
MemberService/PlanDeparture member_id=$MEMBER kind=DEACTIVATE
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes MEMBER_REMOVED MEMBER_ERASED
MemberService/PlanDeparture member_id=$MEMBER kind=REMOVE
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes yes MEMBER_ERASED
MemberService/PlanDeparture member_id=$MEMBER kind=ERASE
    MEMBER_NOT_FOUND MEMBER_INVITED MEMBER_ACTIVE yes yes yes
MemberService/LeaveOrganization acting_account_id=$ACCOUNT confirm=true
    MEMBER_NOT_FOUND MEMBER_NOT_FOUND yes yes MEMBER_REMOVED MEMBER_NOT_FOUND
MemberService/LeaveWorkspace acting_account_id=$ACCOUNT workspace_id=$WORKSPACE confirm=true
    MEMBER_NOT_FOUND MEMBER_NOT_FOUND yes yes WORKSPACE_MEMBER_REMOVED MEMBER_NOT_FOUND
MemberService/AddWorkspaceMember member_id=$MEMBER workspace_id=$ROOM role=MEMBER
    MEMBER_NOT_FOUND MEMBER_INVITED yes MEMBER_DEACTIVATED MEMBER_REMOVED MEMBER_ERASED
MemberService/GetWorkspaceMember member_id=$MEMBER workspace_id=$WORKSPACE
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes yes yes
MemberService/UpdateWorkspaceMember workspace_member.member_id=$MEMBER workspace_member.workspace_id=$WORKSPACE workspace_member.role=GUEST update_mask.paths[]=role
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes WORKSPACE_MEMBER_REMOVED WORKSPACE_MEMBER_REMOVED
MemberService/DeactivateWorkspaceMember member_id=$MEMBER workspace_id=$WORKSPACE
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes WORKSPACE_MEMBER_REMOVED WORKSPACE_MEMBER_REMOVED
MemberService/ReactivateWorkspaceMember member_id=$MEMBER workspace_id=$WORKSPACE
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes WORKSPACE_MEMBER_REMOVED WORKSPACE_MEMBER_REMOVED
MemberService/RemoveWorkspaceMember member_id=$MEMBER workspace_id=$WORKSPACE
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes yes yes
MemberService/PlanDeparture member_id=$MEMBER kind=DEACTIVATE_IN_WORKSPACE workspace_id=$WORKSPACE
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes WORKSPACE_MEMBER_REMOVED WORKSPACE_MEMBER_REMOVED
MemberService/PlanDeparture member_id=$MEMBER kind=REMOVE_FROM_WORKSPACE workspace_id=$WORKSPACE
    MEMBER_NOT_FOUND MEMBER_INVITED yes yes yes yes
MemberService/DeactivateMember member_id=$BOB departure.handover_to_member_id=$MEMBER
    HANDOVER_UNFIT HANDOVER_UNFIT yes HANDOVER_UNFIT HANDOVER_UNFIT HANDOVER_UNFIT
MemberService/DeactivateMember member_id=$BOB departure.successor_member_id=$MEMBER
    SUCCESSOR_UNFIT SUCCESSOR_UNFIT yes SUCCESSOR_UNFIT SUCCESSOR_UNFIT SUCCESSOR_UNFIT
MemberService/RemoveMember member_id=$BOB departure.owner_successor_member_id=$MEMBER
    SUCCESSOR_UNFIT SUCCESSOR_UNFIT yes SUCCESSOR_UNFIT SUCCESSOR_UNFIT SUCCESSOR_UNFIT
MemberService/RemoveWorkspaceMember member_id=$BOB workspace_id=$WORKSPACE departure.workspace_successors[].workspace_id=$WORKSPACE departure.workspace_successors[].member_id=$MEMBER
    SUCCESSOR_UNFIT SUCCESSOR_UNFIT yes SUCCESSOR_UNFIT SUCCESSOR_UNFIT SUCCESSOR_UNFIT
";

/// The state in the organization of the account that accepts an invitation which was sent before it, or after a
/// departure.
const ACCEPTING: &str = "
InvitationService/AcceptInvitation secret=$SECRET acting_account_id=$ACCOUNT
    yes yes MEMBER_DEACTIVATED yes yes
";

/// The state of $MEMBER, who is ACTIVE in the organization, in $WORKSPACE: none, INVITED (and no member yet), ACTIVE,
/// DEACTIVATED, REMOVED. ERASED ones are in the table of members.
const MEMBERSHIPS: &str = "
MemberService/AddWorkspaceMember member_id=$MEMBER workspace_id=$WORKSPACE role=MEMBER
    yes MEMBER_INVITED WORKSPACE_MEMBER_EXISTS WORKSPACE_MEMBER_DEACTIVATED yes
MemberService/GetWorkspaceMember member_id=$MEMBER workspace_id=$WORKSPACE
    WORKSPACE_MEMBER_NOT_FOUND MEMBER_INVITED yes yes yes
MemberService/UpdateWorkspaceMember workspace_member.member_id=$MEMBER workspace_member.workspace_id=$WORKSPACE workspace_member.role=GUEST update_mask.paths[]=role
    WORKSPACE_MEMBER_NOT_FOUND MEMBER_INVITED yes yes WORKSPACE_MEMBER_REMOVED
MemberService/DeactivateWorkspaceMember member_id=$MEMBER workspace_id=$WORKSPACE
    WORKSPACE_MEMBER_NOT_FOUND MEMBER_INVITED yes yes WORKSPACE_MEMBER_REMOVED
MemberService/ReactivateWorkspaceMember member_id=$MEMBER workspace_id=$WORKSPACE
    WORKSPACE_MEMBER_NOT_FOUND MEMBER_INVITED yes yes WORKSPACE_MEMBER_REMOVED
MemberService/RemoveWorkspaceMember member_id=$MEMBER workspace_id=$WORKSPACE
    WORKSPACE_MEMBER_NOT_FOUND MEMBER_INVITED yes yes yes
MemberService/PlanDeparture member_id=$MEMBER kind=DEACTIVATE_IN_WORKSPACE workspace_id=$WORKSPACE
    WORKSPACE_MEMBER_NOT_FOUND MEMBER_INVITED yes yes WORKSPACE_MEMBER_REMOVED
MemberService/PlanDeparture member_id=$MEMBER kind=REMOVE_FROM_WORKSPACE workspace_id=$WORKSPACE
    WORKSPACE_MEMBER_NOT_FOUND MEMBER_INVITED yes yes yes
MemberService/LeaveWorkspace acting_account_id=$ACCOUNT workspace_id=$WORKSPACE confirm=true
    WORKSPACE_MEMBER_NOT_FOUND MEMBER_NOT_FOUND yes yes WORKSPACE_MEMBER_REMOVED
";

/// The account $ACCOUNT: none, ACTIVE in an organization, DEACTIVATED in its only one, DELETED.
const ACCOUNTS: &str = "
AccountService/GetAccount account_id=$ACCOUNT
    ACCOUNT_NOT_FOUND yes yes yes
AccountService/LookupAccount email=$EMAIL
    ACCOUNT_NOT_FOUND yes yes ACCOUNT_NOT_FOUND
AccountService/CreateAccount email=$EMAIL
    yes ACCOUNT_EMAIL_TAKEN ACCOUNT_EMAIL_TAKEN yes
AccountService/UpdateAccount account.account_id=$ACCOUNT account.language=de update_mask.paths[]=language
    ACCOUNT_NOT_FOUND yes yes ACCOUNT_NOT_FOUND
AccountService/DeleteAccount account_id=$ACCOUNT confirm=true
    ACCOUNT_NOT_FOUND yes yes yes
AccountService/ListAccountOrganizations account_id=$ACCOUNT
    ACCOUNT_NOT_FOUND yes yes yes
OrganizationService/CreateOrganization display_name=New owner_account_id=$ACCOUNT first_workspace.app=chat first_workspace.display_name=new
    ACCOUNT_NOT_FOUND yes yes ACCOUNT_NOT_FOUND
MemberService/AddMember account_id=$ACCOUNT role=MEMBER
    ACCOUNT_NOT_FOUND yes yes ACCOUNT_NOT_FOUND
MemberService/ReapplyErasure erasure.account_id=$ACCOUNT erasure.erased_by=ACCOUNT
    yes yes yes yes
InvitationService/AcceptInvitation secret=$SECRET acting_account_id=$ACCOUNT
    ACCOUNT_NOT_FOUND INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT ACCOUNT_NOT_FOUND
InvitationService/DeclineInvitation secret=$SECRET acting_account_id=$ACCOUNT
    ACCOUNT_NOT_FOUND INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT ACCOUNT_NOT_FOUND
";

/// A member with this account, in the workspace `general`, in each state that a member can have.
async fn in_each_state(world: &World, org: &Org, accounts: [&str; 4]) -> [Person; 4] {
    let mut people = Vec::new();
    for account in accounts {
        let person = world.add_account(org, account, OrganizationRole::Member).await;
        world.put_in(org, &org.general, &person, WorkspaceRole::Member).await;
        people.push(person);
    }
    let people: [Person; 4] = people.try_into().expect("four");
    let [_, deactivated, removed, erased] = &people;
    let operator = world.operator();
    for person in [deactivated, erased] {
        operator.deactivate(org, person).await.expect("deactivated");
    }
    operator.remove(org, removed).await.expect("removed");
    operator.erase(org, erased).await.expect("erased");
    people
}

#[tokio::test]
async fn r62_every_method_about_a_member_in_every_state() {
    let world = World::start().await;
    let (org, elsewhere) = (world.organization("ada").await, world.organization("eve").await);
    let room = world.workspace(&org, "boards", "room").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let names = ["none", "invited", "active", "deactivated", "removed", "erased"];
    let mut accounts = Vec::new();
    for name in names {
        let account = world.account(name).await;
        world.add_account(&elsewhere, &account, OrganizationRole::Guest).await;
        accounts.push(account);
    }
    let [none, invited, there @ ..] = &accounts[..] else { panic!("six") };
    let there: [&str; 4] = [&there[0], &there[1], &there[2], &there[3]];
    let people = in_each_state(&world, &org, there).await;
    let invitation = world.invite(&org, "invited", &[&org.general]).await;
    let mark = world.mark().await;

    let column = Column::new(&[
        ("ORG", &org.id),
        ("WORKSPACE", &org.general),
        ("ROOM", &room),
        ("BOB", &bob.member),
        ("NOBODY", &made_up_id()),
        ("SOON", &super::soon()),
        ("POSITION", &mark.to_string()),
    ]);
    let mut columns = Vec::new();
    let ids = [(none, made_up_id()), (invited, invitation.id)];
    let ids = ids.into_iter().map(|(account, id)| (account.clone(), id));
    let ids = ids.chain(people.iter().map(|person| (person.account.clone(), person.member.clone())));
    for (name, (account, member)) in names.into_iter().zip(ids) {
        let email = format!("{name}@example.com");
        let column = column.clone().and(&[("ACCOUNT", &account), ("MEMBER", &member), ("EMAIL", &email)]);
        columns.push((name, column));
    }
    compare(&world, MEMBERS, &columns).await;
    assert_eq!(world.changes_since(mark).await, 0, "all of it was only asked");
}

#[tokio::test]
async fn r62_an_invitation_is_accepted_in_every_state() {
    let world = World::start().await;
    let (org, elsewhere) = (world.organization("ada").await, world.organization("eve").await);
    let names = ["none", "active", "deactivated", "removed", "erased"];
    let (mut accounts, mut secrets) = (Vec::new(), Vec::new());
    for name in names {
        let account = world.account(name).await;
        world.add_account(&elsewhere, &account, OrganizationRole::Guest).await;
        accounts.push(account);
    }
    for name in &names[..3] {
        secrets.push(world.invite(&org, name, &[]).await.secret);
    }
    let there: [&str; 4] = [&accounts[1], &accounts[2], &accounts[3], &accounts[4]];
    in_each_state(&world, &org, there).await;
    for name in &names[3..] {
        secrets.push(world.invite(&org, name, &[]).await.secret);
    }
    let columns = names.into_iter().zip(accounts.iter().zip(&secrets)).map(|(name, (account, secret))| {
        (name, Column::new(&[("ORG", &org.id), ("ACCOUNT", account), ("SECRET", secret)]))
    });
    compare(&world, ACCEPTING, &columns.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn r62_every_method_about_a_workspace_member_in_every_state() {
    let world = World::start().await;
    let (org, elsewhere) = (world.organization("ada").await, world.organization("eve").await);
    let room = world.workspace(&org, "boards", "room").await;
    let operator = world.operator();
    let out = world.member_in(&org, "out", &[&org.general]).await;
    let inside = [&org.general, &room];
    let active = world.member_in(&org, "active", &inside).await;
    let deactivated = world.member_in(&org, "deactivated", &inside).await;
    let removed = world.member_in(&org, "removed", &inside).await;
    operator.deactivate_in(&org, &room, &deactivated).await.expect("deactivated");
    operator.remove_from(&org, &room, &removed).await.expect("removed");
    let invitation = world.invite(&org, "invited", &[&room]).await;
    let invited = Person { account: world.account("invited").await, member: invitation.id };
    let people = [
        ("none", out),
        ("invited", invited),
        ("active", active),
        ("deactivated", deactivated),
        ("removed", removed),
    ];
    let mut columns = Vec::new();
    for (name, person) in people {
        if name != "invited" {
            world.add_account(&elsewhere, &person.account, OrganizationRole::Guest).await;
        }
        let names = [
            ("ORG", org.id.as_str()),
            ("WORKSPACE", &room),
            ("MEMBER", &person.member),
            ("ACCOUNT", &person.account),
        ];
        columns.push((name, Column::new(&names)));
    }
    let mark = world.mark().await;
    compare(&world, MEMBERSHIPS, &columns).await;
    assert_eq!(world.changes_since(mark).await, 0, "all of it was only asked");
}

#[tokio::test]
async fn r62_every_method_about_an_account_in_every_state() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let operator = world.operator();
    let [active, out, deleted] = [
        world.member(&org, "active").await,
        world.member(&org, "out").await,
        world.member(&org, "deleted").await,
    ];
    operator.deactivate(&org, &out).await.expect("deactivated");
    operator.delete_account(&deleted.account).await.expect("deleted");
    let secret = world.invite(&other, "somebody", &[]).await.secret;
    let accounts = [
        ("none", made_up_id()),
        ("active", active.account),
        ("out", out.account),
        ("deleted", deleted.account),
    ];
    let columns = accounts.map(|(name, account)| {
        let email = format!("{name}@example.com");
        let names =
            [("ORG", other.id.as_str()), ("ACCOUNT", &account), ("EMAIL", &email), ("SECRET", &secret)];
        (name, Column::new(&names))
    });
    let mark = world.mark().await;
    compare(&world, ACCOUNTS, &columns).await;
    assert_eq!(world.changes_since(mark).await, 0, "all of it was only asked");
}

#[test]
fn r62_every_method_that_names_a_member_or_an_account_has_a_row() {
    let members = ["member_id", "member_ids", "handover_to_member_id", "successor_member_id"];
    // What the log lost may name whatever it may.
    covers(MEMBERS, &members, &["FeedService/ReportLostRevocations"]);
    // Whoever is unknown may not: that is an answer, not a refusal.
    let checks = ["AccessService/CheckAccess", "AccessService/BatchCheckAccess"];
    let but = [checks[0], checks[1], "MemberService/UpdateMember"];
    covers(ACCOUNTS, &["account_id", "owner_account_id"], &but);
}

//! R62: every method that names a workspace, an organization or an invitation, in every state of it.

use rollcall_client::v1::*;

use super::{Column, compare, covers};
use crate::fixtures::{Invited, Org, Person, World, made_up_id};

/// $WORKSPACE: none, of another organization, ACTIVE, DELETED. $BOB is or was in the latter two, as $ABSENT, who is
/// DEACTIVATED in the organization; $NEW in none; $INVITATION is to both.
const WORKSPACES: &str = "
FeedService/ListChanges workspace_id=$WORKSPACE
    yes yes yes yes
OrganizationService/GetWorkspace workspace_id=$WORKSPACE
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes yes
OrganizationService/UpdateWorkspace workspace.workspace_id=$WORKSPACE workspace.display_name=New update_mask.paths[]=display_name
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes WORKSPACE_DELETED
OrganizationService/DeleteWorkspace workspace_id=$WORKSPACE
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes yes
MemberService/ListWorkspaceMembers workspace_id=$WORKSPACE
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes yes
MemberService/AddWorkspaceMember workspace_id=$WORKSPACE member_id=$NEW role=MEMBER
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes WORKSPACE_DELETED
MemberService/GetWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes yes
MemberService/UpdateWorkspaceMember workspace_member.workspace_id=$WORKSPACE workspace_member.member_id=$BOB workspace_member.role=GUEST update_mask.paths[]=role
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes WORKSPACE_DELETED
MemberService/DeactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes WORKSPACE_MEMBER_REMOVED
MemberService/ReactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes WORKSPACE_DELETED
MemberService/RemoveWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes yes
MemberService/PlanDeparture workspace_id=$WORKSPACE member_id=$BOB kind=DEACTIVATE_IN_WORKSPACE
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes WORKSPACE_MEMBER_REMOVED
MemberService/PlanDeparture workspace_id=$WORKSPACE member_id=$BOB kind=REMOVE_FROM_WORKSPACE
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes yes
MemberService/LeaveWorkspace workspace_id=$WORKSPACE acting_account_id=$BOB_ACCOUNT confirm=true
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes WORKSPACE_MEMBER_REMOVED
MemberService/ReactivateMember member_id=$ABSENT restore=LISTED workspace_ids[]=$WORKSPACE
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes WORKSPACE_DELETED
InvitationService/CreateInvitation email=new@example.com role=MEMBER workspaces[].workspace_id=$WORKSPACE workspaces[].role=MEMBER
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes WORKSPACE_DELETED
InvitationService/RevokeInvitation invitation_id=$INVITATION workspace_id=$WORKSPACE
    WORKSPACE_NOT_FOUND WORKSPACE_NOT_FOUND yes yes
";

/// The organization: none, ACTIVE, DELETED. In the latter two $BOB is or was a member, also of $WORKSPACE, and
/// $ABSENT was DEACTIVATED.
const ORGANIZATIONS: &str = "
FeedService/Watch app=chat organization_ids[]=$ORG
    ORGANIZATION_NOT_FOUND yes yes
FeedService/ListChanges organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes
FeedService/GetMembershipAt organization_id=$ORG member_id=$BOB position=$POSITION
    ORGANIZATION_NOT_FOUND yes yes
FeedService/ListDepartures organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes
AuditService/ListAuditEntries organization_id=$ORG
    yes yes yes
OrganizationService/GetOrganization organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes
OrganizationService/UpdateOrganization organization.display_name=New update_mask.paths[]=display_name
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
OrganizationService/DeleteOrganization confirm=true
    ORGANIZATION_NOT_FOUND yes yes
OrganizationService/CreateWorkspace app=chat display_name=new
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
OrganizationService/GetWorkspace workspace_id=$WORKSPACE
    ORGANIZATION_NOT_FOUND yes yes
OrganizationService/UpdateWorkspace workspace.workspace_id=$WORKSPACE workspace.display_name=New update_mask.paths[]=display_name
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
OrganizationService/DeleteWorkspace workspace_id=$SPARE
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
OrganizationService/ListWorkspaces organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes
MemberService/AddMember account_id=$FRESH role=MEMBER
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/GetMember member_id=$BOB
    ORGANIZATION_NOT_FOUND yes yes
MemberService/BatchGetMembers member_ids[]=$BOB
    ORGANIZATION_NOT_FOUND yes yes
MemberService/ListMembers organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes
MemberService/UpdateMember member.member_id=$BOB member.role=GUEST update_mask.paths[]=role
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/DeactivateMember member_id=$BOB
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/ReactivateMember member_id=$ABSENT
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/RemoveMember member_id=$BOB
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/ReportActivity activities[].member_id=$BOB
    yes yes yes
MemberService/AddWorkspaceMember workspace_id=$SPARE member_id=$BOB role=MEMBER
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/GetWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB
    ORGANIZATION_NOT_FOUND yes yes
MemberService/ListWorkspaceMembers workspace_id=$WORKSPACE
    ORGANIZATION_NOT_FOUND yes yes
MemberService/UpdateWorkspaceMember workspace_member.workspace_id=$WORKSPACE workspace_member.member_id=$BOB workspace_member.role=GUEST update_mask.paths[]=role
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/DeactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/ReactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/RemoveWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/PlanDeparture member_id=$BOB kind=DEACTIVATE
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/PlanDeparture member_id=$ABSENT kind=ERASE
    ORGANIZATION_NOT_FOUND yes yes
MemberService/LeaveOrganization acting_account_id=$BOB_ACCOUNT confirm=true departure.acknowledge_account_deletion=true
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/LeaveWorkspace acting_account_id=$BOB_ACCOUNT workspace_id=$WORKSPACE confirm=true departure.acknowledge_account_deletion=true
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/BatchDeactivateMembers members[].member_id=$BOB
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
MemberService/EraseMember member_id=$ABSENT confirm=true
    ORGANIZATION_NOT_FOUND yes yes
MemberService/ReapplyErasure erasure.member_id=$ABSENT erasure.tombstone_id=$BOB erasure.erased_by=OWNER
    yes yes yes
InvitationService/CreateInvitation email=new@example.com role=MEMBER
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
InvitationService/GetInvitation invitation_id=$INVITATION
    ORGANIZATION_NOT_FOUND yes yes
InvitationService/ListInvitations include_ended=true
    ORGANIZATION_NOT_FOUND yes yes
InvitationService/AcceptInvitation secret=$SECRET acting_account_id=$INVITED
    - yes ORGANIZATION_DELETED
InvitationService/DeclineInvitation secret=$SECRET
    - yes ORGANIZATION_DELETED
InvitationService/ResendInvitation invitation_id=$INVITATION
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
InvitationService/RevokeInvitation invitation_id=$INVITATION
    ORGANIZATION_NOT_FOUND yes ORGANIZATION_DELETED
";

/// The invitation of $ACCOUNT to $WORKSPACE: none, PENDING, ACCEPTED, DECLINED, REVOKED, EXPIRED.
const INVITATIONS: &str = "
InvitationService/GetInvitation invitation_id=$INVITATION
    INVITATION_NOT_FOUND yes yes yes yes yes
InvitationService/AcceptInvitation secret=$SECRET acting_account_id=$ACCOUNT
    INVITATION_SECRET_INVALID yes yes INVITATION_DECLINED INVITATION_REVOKED INVITATION_EXPIRED
InvitationService/DeclineInvitation secret=$SECRET
    INVITATION_SECRET_INVALID yes INVITATION_ACCEPTED yes INVITATION_REVOKED INVITATION_EXPIRED
InvitationService/ResendInvitation invitation_id=$INVITATION
    INVITATION_NOT_FOUND yes INVITATION_ACCEPTED INVITATION_DECLINED INVITATION_REVOKED INVITATION_EXPIRED
InvitationService/RevokeInvitation invitation_id=$INVITATION
    INVITATION_NOT_FOUND yes INVITATION_ACCEPTED yes yes yes
InvitationService/RevokeInvitation invitation_id=$INVITATION workspace_id=$WORKSPACE
    INVITATION_NOT_FOUND yes INVITATION_ACCEPTED yes yes yes
";

#[tokio::test]
async fn r62_every_method_about_a_workspace_in_every_state() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let operator = world.operator();
    let room = world.workspace(&org, "boards", "room").await;
    let both = [&org.general, &room];
    let bob = world.member_in(&org, "bob", &both).await;
    let absent = world.member_in(&org, "absent", &both).await;
    let new = world.member(&org, "new.member").await;
    for person in [&bob, &absent] {
        world.add_account(&other, &person.account, OrganizationRole::Guest).await;
    }
    operator.deactivate(&org, &absent).await.expect("deactivated");
    let invitation = world.invite(&org, "invited", &both).await;
    let spare = world.workspace(&org, "boards", "spare").await;
    // So that deleting $WORKSPACE puts nobody out of the organization.
    for person in [&bob, &org.owner] {
        world.put_in(&org, &spare, person, WorkspaceRole::Member).await;
    }
    operator.delete_workspace(&org, &room).await.expect("deleted");
    let column = Column::new(&[
        ("ORG", &org.id),
        ("BOB", &bob.member),
        ("BOB_ACCOUNT", &bob.account),
        ("ABSENT", &absent.member),
        ("NEW", &new.member),
        ("INVITATION", &invitation.id),
    ]);
    let columns = [
        ("none", made_up_id()),
        ("other", other.general.clone()),
        ("active", org.general.clone()),
        ("deleted", room),
    ];
    let columns = columns.map(|(name, id)| (name, column.clone().and(&[("WORKSPACE", &id)])));
    let mark = world.mark().await;
    compare(&world, WORKSPACES, &columns).await;
    assert_eq!(world.changes_since(mark).await, 0, "all of it was only asked");
}

/// What the rows name of an organization.
async fn contents(world: &World, org: &Org, tag: &str) -> Column {
    let spare = world.workspace(org, "chat", "spare").await;
    let bob = world.member_in(org, &format!("bob.{tag}"), &[&org.general]).await;
    let absent = world.member(org, &format!("absent.{tag}")).await;
    world.operator().deactivate(org, &absent).await.expect("deactivated");
    let name = format!("invited.{tag}");
    let invited = world.invite(org, &name, &[]).await;
    Column::new(&[
        ("ORG", &org.id),
        ("WORKSPACE", &org.general),
        ("SPARE", &spare),
        ("BOB", &bob.member),
        ("BOB_ACCOUNT", &bob.account),
        ("ABSENT", &absent.member),
        ("INVITATION", &invited.id),
        ("SECRET", &invited.secret),
        ("INVITED", &world.account(&name).await),
    ])
}

#[tokio::test]
async fn r62_every_method_about_an_organization_in_every_state() {
    let world = World::start().await;
    let (org, ended) = (world.organization("ada").await, world.organization("eve").await);
    let active = contents(&world, &org, "active").await;
    let deleted = contents(&world, &ended, "deleted").await;
    world.operator().delete_organization(&ended, true).await.expect("deleted");
    let mark = world.mark().await;
    let common = [("FRESH", world.account("fresh").await), ("POSITION", mark.to_string())];
    let common = [(common[0].0, common[0].1.as_str()), (common[1].0, common[1].1.as_str())];
    let none = active.clone().and(&[("ORG", &made_up_id())]);
    let columns = [("none", none), ("active", active), ("deleted", deleted)];
    let columns = columns.map(|(name, column)| (name, column.and(&common)));
    compare(&world, ORGANIZATIONS, &columns).await;
    assert_eq!(world.changes_since(mark).await, 0, "all of it was only asked");
}

#[tokio::test]
async fn r62_every_method_about_an_invitation_in_every_state() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let operator = world.operator();
    let names = ["pending", "accepted", "declined", "revoked", "expired"];
    let mut all: Vec<(&str, Invited, String)> = Vec::new();
    for name in names {
        let invited = world.invite(&org, name, &[&org.general]).await;
        all.push((name, invited, world.account(name).await));
    }
    let [_, accepted, declined, revoked, expired] = &all[..] else { panic!("five") };
    let _: Person = world.join(&accepted.2, &accepted.1.secret).await;
    operator.decline(&declined.1.secret).await.expect("declined");
    operator.revoke(&org, &revoked.1.id).await.expect("revoked");
    let moved = format!(
        "UPDATE invitations SET expire_time = now() - interval '1 hour' WHERE invitation_id = '{}'",
        expired.1.id
    );
    world.server().database().batch_execute(&moved).await.expect("moved");
    let none = Invited { id: made_up_id(), secret: "bm90LW9uZQ".to_owned() };
    let columns = [("none", none, all[0].2.clone())].into_iter().chain(all);
    let columns = columns.map(|(name, invited, account)| {
        let column = Column::new(&[
            ("ORG", &org.id),
            ("WORKSPACE", &org.general),
            ("INVITATION", &invited.id),
            ("SECRET", &invited.secret),
            ("ACCOUNT", &account),
        ]);
        (name, column)
    });
    compare(&world, INVITATIONS, &columns.collect::<Vec<_>>()).await;
}

#[test]
fn r62_every_method_that_names_a_thing_has_a_row() {
    // What the log lost may name whatever it may.
    let lost = ["FeedService/ReportLostRevocations"];
    let mut but = lost.to_vec();
    // Nobody may use what is unknown: that is an answer, not a refusal.
    but.extend(["AccessService/CheckAccess", "AccessService/BatchCheckAccess"]);
    covers(WORKSPACES, &["workspace_id", "workspace_ids"], &but);
    covers(ORGANIZATIONS, &["organization_id", "organization_ids"], &lost);
    covers(INVITATIONS, &["invitation_id", "secret"], &[]);
}

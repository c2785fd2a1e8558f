//! R61: every method that can act for a person, by everyone who could try.

use rollcall_client::v1::*;

use super::{Column, compare, covers};
use crate::fixtures::{Invited, Org, Person, World, inviting, made_up_id};

/// The columns. `head` administers $WORKSPACE, `other` another workspace, `gone` is a DEACTIVATED owner, `deleted` had
/// the account deleted; all persons but `stranger` and `deleted` are in $WORKSPACE. `app` is an app that acts as
/// itself, and $WORKSPACE is not of it.
///
/// $BOB is a MEMBER and $SECOND an OWNER in $WORKSPACE, $NEW a MEMBER and $ALOOF an OWNER in none. $ABSENT and
/// $ABSENT_OWNER are DEACTIVATED, $HALTED is DEACTIVATED in $WORKSPACE alone. $SELF is the acting person.
const TABLE: &str = "
AccountService/CreateAccount email=new@example.com
    no no no no no no no no no   yes yes
AccountService/GetAccount account_id=$BOB_ACCOUNT
    ACCOUNT_NOT_FOUND yes yes yes yes yes yes ACCOUNT_NOT_FOUND ACCOUNT_NOT_FOUND   yes yes
AccountService/ListAccountOrganizations account_id=$BOB_ACCOUNT
    ACCOUNT_NOT_FOUND yes yes yes yes yes yes ACCOUNT_NOT_FOUND ACCOUNT_NOT_FOUND   yes yes
AccountService/LookupAccount email=bob@example.com
    ACCOUNT_NOT_FOUND yes yes yes yes yes yes ACCOUNT_NOT_FOUND ACCOUNT_NOT_FOUND   ACCOUNT_NOT_FOUND yes
AccountService/UpdateAccount account.account_id=$BOB_ACCOUNT account.email=new@example.com update_mask.paths[]=email
    no no no no no no no no no   yes yes
AccountService/UpdateAccount account.account_id=$ME account.language=de update_mask.paths[]=language
    yes yes yes yes yes yes yes yes ACCOUNT_NOT_FOUND   - -
AccountService/UpdateAccount account.account_id=$ME account.external_ids[].issuer=a account.external_ids[].subject=b update_mask.paths[]=external_ids
    no no no no no no no no ACCOUNT_NOT_FOUND   - -
AccountService/DeleteAccount account_id=$BOB_ACCOUNT confirm=true leave_without_admin=true
    no no no no no no no no no   yes yes
AccountService/DeleteAccount account_id=$ME confirm=true leave_without_admin=true
    yes yes yes yes yes yes yes yes yes   - -
OrganizationService/CreateOrganization display_name=New owner_account_id=$BOB_ACCOUNT first_workspace.app=chat first_workspace.display_name=new
    no no no no no no no no no   app yes
OrganizationService/CreateOrganization display_name=New owner_account_id=$ME first_workspace.app=chat first_workspace.display_name=new
    yes yes yes yes yes yes yes yes ACCOUNT_NOT_FOUND   - -
OrganizationService/CreateOrganization display_name=New owner_account_id=$ME first_workspace.app=chat first_workspace.display_name=new settings.seat_limit=5
    no no no no no no no no ACCOUNT_NOT_FOUND   - -
OrganizationService/GetOrganization organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
OrganizationService/GetWorkspace workspace_id=$WORKSPACE
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
OrganizationService/ListWorkspaces organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
OrganizationService/UpdateOrganization organization.display_name=New update_mask.paths[]=display_name
    no no no no no yes yes no no   yes yes
OrganizationService/UpdateOrganization organization.settings.self_deactivation=false update_mask.paths[]=settings.self_deactivation
    no no no no no yes yes no no   yes yes
OrganizationService/UpdateOrganization organization.settings.seat_limit=1000 update_mask.paths[]=settings.seat_limit
    no no no no no no no no no   yes yes
OrganizationService/UpdateOrganization organization.contract_id=$CONTRACT update_mask.paths[]=contract_id
    no no no no no no no no no   yes yes
OrganizationService/DeleteOrganization confirm=true
    no no no no no no yes no no   yes yes
OrganizationService/CreateWorkspace app=chat display_name=new
    no no no no no yes yes no no   app yes
OrganizationService/UpdateWorkspace workspace.workspace_id=$WORKSPACE workspace.display_name=New update_mask.paths[]=display_name
    no no no yes no yes yes no no   app yes
OrganizationService/DeleteWorkspace workspace_id=$WORKSPACE
    no no no no no yes yes no no   app yes
OrganizationService/CreateContract display_name=New
    no no no no no no no no no   yes yes
OrganizationService/UpdateContract contract.contract_id=$CONTRACT contract.display_name=New update_mask.paths[]=display_name
    no no no no no no no no no   yes yes
OrganizationService/DeleteContract contract_id=$CONTRACT
    no no no no no no no no no   yes yes
MemberService/GetMember member_id=$BOB
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
MemberService/BatchGetMembers member_ids[]=$BOB
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
MemberService/ListMembers organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
MemberService/GetWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
MemberService/ListWorkspaceMembers workspace_id=$WORKSPACE
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
MemberService/AddMember account_id=$FRESH role=MEMBER
    no above no no no yes yes no no   yes yes
MemberService/AddMember account_id=$FRESH role=OWNER
    no above above above above above yes no no   yes yes
MemberService/UpdateMember member.member_id=$BOB member.profile.display_name=New update_mask.paths[]=profile.display_name
    no no no no no yes yes no no   yes yes
MemberService/UpdateMember member.member_id=$SECOND member.profile.display_name=New update_mask.paths[]=profile.display_name
    no no no no no above yes no no   yes yes
MemberService/UpdateMember member.member_id=$SELF member.profile.display_name=New update_mask.paths[]=profile.display_name
    - yes yes yes yes yes yes no -   - -
MemberService/UpdateMember member.member_id=$BOB member.role=GUEST update_mask.paths[]=role
    no no no no no yes yes no no   yes yes
MemberService/UpdateMember member.member_id=$BOB member.role=ADMIN update_mask.paths[]=role
    no above above above above yes yes no no   yes yes
MemberService/UpdateMember member.member_id=$BOB member.role=OWNER update_mask.paths[]=role
    no above above above above above yes no no   yes yes
MemberService/UpdateMember member.member_id=$SECOND member.role=GUEST update_mask.paths[]=role
    no no no no no above yes no no   yes yes
MemberService/UpdateMember member.member_id=$SELF member.role=GUEST update_mask.paths[]=role
    - no no no no yes yes no -   - -
MemberService/UpdateMember member.member_id=$BOB member.leaving=true update_mask.paths[]=leaving
    no no no no no yes yes no no   yes yes
MemberService/UpdateMember member.member_id=$SECOND member.leaving=true update_mask.paths[]=leaving
    no no no no no above yes no no   yes yes
MemberService/UpdateMember member.member_id=$SELF member.leaving=true update_mask.paths[]=leaving
    - no no no no no no no -   - -
MemberService/UpdateMember member.member_id=$SELF member.leaving=false update_mask.paths[]=leaving
    - no no no no no no no -   - -
MemberService/UpdateMember member.member_id=$ABSENT member.return_time.seconds=$SOON update_mask.paths[]=return_time
    no no no no no yes yes no no   yes yes
MemberService/UpdateMember member.member_id=$ABSENT_OWNER member.return_time.seconds=$SOON update_mask.paths[]=return_time
    no no no no no above yes no no   yes yes
MemberService/DeactivateMember member_id=$BOB departure.leave_without_admin=true
    no no no no no yes yes no no   yes yes
MemberService/DeactivateMember member_id=$SECOND departure.leave_without_admin=true
    no no no no no above yes no no   yes yes
MemberService/DeactivateMember member_id=$SELF departure.leave_without_admin=true
    - yes yes yes yes yes yes yes -   - -
MemberService/DeactivateMember member_id=$SELF departure.leave_without_admin=true return_time.seconds=$SOON
    - no no no no yes yes no -   - -
MemberService/ReactivateMember member_id=$ABSENT
    no no no no no yes yes no no   yes yes
MemberService/ReactivateMember member_id=$ABSENT_OWNER
    no no no no no above yes no no   yes yes
MemberService/ReactivateMember member_id=$SELF
    - no no no no yes yes no -   - -
MemberService/RemoveMember member_id=$BOB departure.leave_without_admin=true
    no no no no no yes yes no no   yes yes
MemberService/RemoveMember member_id=$SECOND departure.leave_without_admin=true
    no no no no no above yes no no   yes yes
MemberService/RemoveMember member_id=$SELF departure.leave_without_admin=true
    - no no no no yes yes no -   - -
MemberService/AddWorkspaceMember workspace_id=$WORKSPACE member_id=$NEW role=MEMBER
    no no no yes no yes yes no no   app yes
MemberService/AddWorkspaceMember workspace_id=$WORKSPACE member_id=$ALOOF role=MEMBER
    no no no above no above yes no no   app yes
MemberService/AddWorkspaceMember workspace_id=$WORKSPACE member_id=$SELF role=MEMBER
    - no no WORKSPACE_MEMBER_EXISTS no WORKSPACE_MEMBER_EXISTS WORKSPACE_MEMBER_EXISTS no -   - -
MemberService/UpdateWorkspaceMember workspace_member.workspace_id=$WORKSPACE workspace_member.member_id=$BOB workspace_member.role=GUEST update_mask.paths[]=role leave_without_admin=true
    no no no yes no yes yes no no   app yes
MemberService/UpdateWorkspaceMember workspace_member.workspace_id=$WORKSPACE workspace_member.member_id=$SECOND workspace_member.role=GUEST update_mask.paths[]=role leave_without_admin=true
    no no no above no above yes no no   app yes
MemberService/UpdateWorkspaceMember workspace_member.workspace_id=$WORKSPACE workspace_member.member_id=$SELF workspace_member.role=GUEST update_mask.paths[]=role leave_without_admin=true
    - no no yes no yes yes no -   - -
MemberService/DeactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB departure.leave_without_admin=true
    no no no yes no yes yes no no   app yes
MemberService/DeactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$SECOND departure.leave_without_admin=true
    no no no above no above yes no no   app yes
MemberService/DeactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$SELF departure.leave_without_admin=true
    - yes yes yes yes yes yes yes -   - -
MemberService/ReactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$HALTED
    no no no yes no yes yes no no   app yes
MemberService/ReactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$ABSENT
    no no no no no yes yes no no   app yes
MemberService/ReactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$ABSENT_OWNER
    no no no above no above yes no no   app yes
MemberService/ReactivateWorkspaceMember workspace_id=$WORKSPACE member_id=$SELF
    - no no yes no yes yes no -   - -
MemberService/RemoveWorkspaceMember workspace_id=$WORKSPACE member_id=$BOB departure.leave_without_admin=true
    no no no yes no yes yes no no   app yes
MemberService/RemoveWorkspaceMember workspace_id=$WORKSPACE member_id=$SECOND departure.leave_without_admin=true
    no no no above no above yes no no   app yes
MemberService/RemoveWorkspaceMember workspace_id=$WORKSPACE member_id=$SELF departure.leave_without_admin=true
    - no no yes no yes yes no -   - -
MemberService/PlanDeparture member_id=$BOB kind=DEACTIVATE
    no no no no no yes yes no no   yes yes
MemberService/PlanDeparture member_id=$SECOND kind=DEACTIVATE
    no no no no no above yes no no   yes yes
MemberService/PlanDeparture member_id=$SELF kind=DEACTIVATE
    - yes yes yes yes yes yes yes -   - -
MemberService/PlanDeparture member_id=$BOB kind=REMOVE
    no no no no no yes yes no no   yes yes
MemberService/PlanDeparture member_id=$ABSENT kind=ERASE
    no no no no no no yes no no   yes yes
MemberService/PlanDeparture member_id=$BOB kind=DEACTIVATE_IN_WORKSPACE workspace_id=$WORKSPACE
    no no no yes no yes yes no no   app yes
MemberService/PlanDeparture member_id=$BOB kind=REMOVE_FROM_WORKSPACE workspace_id=$WORKSPACE
    no no no yes no yes yes no no   app yes
MemberService/LeaveOrganization confirm=true departure.leave_without_admin=true
    MEMBER_NOT_FOUND yes yes yes yes yes yes yes MEMBER_NOT_FOUND   INVALID_FIELD INVALID_FIELD
MemberService/LeaveWorkspace workspace_id=$WORKSPACE confirm=true departure.leave_without_admin=true
    MEMBER_NOT_FOUND yes yes yes yes yes yes yes MEMBER_NOT_FOUND   INVALID_FIELD INVALID_FIELD
MemberService/BatchDeactivateMembers members[].member_id=$BOB departure.leave_without_admin=true
    no no no no no yes yes no no   yes yes
MemberService/BatchDeactivateMembers members[].member_id=$SECOND departure.leave_without_admin=true
    no no no no no above yes no no   yes yes
MemberService/EraseMember member_id=$ABSENT confirm=true
    no no no no no no yes no no   yes yes
MemberService/EraseMember member_id=$ABSENT_OWNER confirm=true
    no no no no no no yes no no   yes yes
MemberService/ReapplyErasure erasure.member_id=$NOBODY erasure.tombstone_id=$NOBODY erasure.erased_by=OWNER
    no no no no no no no no no   CALLER_IS_APP yes
InvitationService/GetInvitation invitation_id=$INVITATION
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
InvitationService/ListInvitations organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
FeedService/ListChanges organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
FeedService/GetMembershipAt member_id=$BOB position=$POSITION
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
FeedService/ListDepartures organization_id=$ORG
    ORGANIZATION_NOT_FOUND yes yes yes yes yes yes ORGANIZATION_NOT_FOUND ORGANIZATION_NOT_FOUND   yes yes
FeedService/GetEnforcement position=$POSITION
    CHANGE_NOT_FOUND yes yes yes yes yes yes CHANGE_NOT_FOUND CHANGE_NOT_FOUND   yes yes
InvitationService/CreateInvitation email=new@example.com role=MEMBER
    no no no no no yes yes no no   yes yes
InvitationService/CreateInvitation email=new@example.com role=MEMBER workspaces[].workspace_id=$WORKSPACE workspaces[].role=MEMBER
    no no no yes no yes yes no no   app yes
InvitationService/CreateInvitation email=new@example.com role=OWNER workspaces[].workspace_id=$WORKSPACE workspaces[].role=MEMBER
    no no no above no above yes no no   app yes
InvitationService/AcceptInvitation secret=$SECRET
    INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT ACCOUNT_NOT_FOUND   INVALID_FIELD INVALID_FIELD
InvitationService/DeclineInvitation secret=$SECRET
    INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT INVITATION_OF_OTHER_ACCOUNT ACCOUNT_NOT_FOUND   yes yes
InvitationService/ResendInvitation invitation_id=$INVITATION
    no no no yes no yes yes no no   yes yes
InvitationService/ResendInvitation invitation_id=$OWNER_INVITATION
    no no no above no above yes no no   yes yes
InvitationService/RevokeInvitation invitation_id=$INVITATION
    no no no no no yes yes no no   yes yes
InvitationService/RevokeInvitation invitation_id=$OWNER_INVITATION
    no no no no no above yes no no   yes yes
InvitationService/RevokeInvitation invitation_id=$INVITATION workspace_id=$WORKSPACE
    no no no yes no yes yes no no   app yes
InvitationService/RevokeInvitation invitation_id=$OWNER_INVITATION workspace_id=$WORKSPACE
    no no no above no above yes no no   app yes
";

/// Who is in the workspace with a role, and in another one so that leaving the first ends nothing else; and a guest of
/// another organization, so that leaving this one does not end the account.
async fn placed(
    world: &World,
    scene: &Scene,
    name: &str,
    as_what: (OrganizationRole, WorkspaceRole),
) -> Person {
    let person = world.member_as(&scene.org, name, as_what.0).await;
    world.put_in(&scene.org, &scene.workspace, &person, as_what.1).await;
    world.put_in(&scene.org, &scene.lounge, &person, WorkspaceRole::Member).await;
    world.add_account(&scene.elsewhere, &person.account, OrganizationRole::Guest).await;
    person
}

struct Scene {
    org: Org,
    elsewhere: Org,
    workspace: String,
    lounge: String,
}

#[tokio::test]
async fn r61_everyone_who_could_try_by_every_method() {
    let world = World::start().await;
    let (org, elsewhere) = (world.organization("ada").await, world.organization("eve").await);
    let workspace = world.workspace(&org, "chat", "workspace").await;
    let lounge = world.workspace(&org, "chat", "lounge").await;
    let scene = Scene { org, elsewhere, workspace, lounge };
    let (org, operator) = (&scene.org, world.operator());
    let within = WorkspaceRole::Member;

    let guest = placed(&world, &scene, "guest", (OrganizationRole::Guest, within)).await;
    let member = placed(&world, &scene, "member", (OrganizationRole::Member, within)).await;
    let head = placed(&world, &scene, "head", (OrganizationRole::Member, WorkspaceRole::Admin)).await;
    let other = placed(&world, &scene, "other", (OrganizationRole::Member, within)).await;
    let room = world.workspace(org, "chat", "room").await;
    world.put_in(org, &room, &other, WorkspaceRole::Admin).await;
    let admin = placed(&world, &scene, "admin", (OrganizationRole::Admin, within)).await;
    let owner = placed(&world, &scene, "owner", (OrganizationRole::Owner, within)).await;
    let gone = placed(&world, &scene, "gone", (OrganizationRole::Owner, WorkspaceRole::Admin)).await;
    operator.deactivate(org, &gone).await.expect("deactivated");
    let deleted = placed(&world, &scene, "deleted", (OrganizationRole::Owner, WorkspaceRole::Admin)).await;
    operator.delete_account(&deleted.account).await.expect("deleted");
    let stranger = world.account("stranger").await;
    world.add_account(&scene.elsewhere, &stranger, OrganizationRole::Member).await;

    let bob = world.member_in(org, "bob", &[&scene.workspace, &scene.lounge]).await;
    let second = placed(&world, &scene, "second", (OrganizationRole::Owner, within)).await;
    let new = world.member(org, "new.member").await;
    let aloof = world.member_as(org, "aloof", OrganizationRole::Owner).await;
    let absent = placed(&world, &scene, "absent", (OrganizationRole::Member, within)).await;
    let absent_owner = placed(&world, &scene, "absent.owner", (OrganizationRole::Owner, within)).await;
    for person in [&absent, &absent_owner] {
        operator.deactivate(org, person).await.expect("deactivated");
    }
    let halted = placed(&world, &scene, "halted", (OrganizationRole::Member, within)).await;
    operator.deactivate_in(org, &scene.workspace, &halted).await.expect("deactivated");
    let contract =
        operator.create_contract(None).await.expect("a contract").contract.expect("it").contract_id;
    let invited = world.invite(org, "invited", &[&scene.workspace]).await;
    let request = CreateInvitationRequest {
        role: OrganizationRole::Owner.into(),
        ..inviting(org, "invited.owner", &[&scene.workspace])
    };
    let invited_owner = Invited::from(operator.invite_with(request).await.expect("invited"));

    let position = world.last_position(org).await.to_string();
    let column = Column::new(&[
        ("POSITION", &position),
        ("ORG", &org.id),
        ("WORKSPACE", &scene.workspace),
        ("BOB", &bob.member),
        ("BOB_ACCOUNT", &bob.account),
        ("SECOND", &second.member),
        ("NEW", &new.member),
        ("ALOOF", &aloof.member),
        ("ABSENT", &absent.member),
        ("ABSENT_OWNER", &absent_owner.member),
        ("HALTED", &halted.member),
        ("FRESH", &world.account("fresh").await),
        ("CONTRACT", &contract),
        ("INVITATION", &invited.id),
        ("OWNER_INVITATION", &invited_owner.id),
        ("SECRET", &invited.secret),
        ("SOON", &super::soon()),
        ("NOBODY", &made_up_id()),
    ]);
    let by = |person: &Person| column.clone().and(&[("ME", &person.account), ("SELF", &person.member)]);
    let columns = [
        ("stranger", column.clone().and(&[("ME", &stranger)])),
        ("guest", by(&guest)),
        ("member", by(&member)),
        ("head", by(&head)),
        ("other", by(&other)),
        ("admin", by(&admin)),
        ("owner", by(&owner)),
        ("gone", by(&gone)),
        ("deleted", by(&deleted)),
        ("app", Column { app: Some("boards"), ..column.clone() }),
        ("workload", column),
    ];
    let mark = world.mark().await;
    compare(&world, TABLE, &columns).await;
    assert_eq!(world.changes_since(mark).await, 0, "all of it was only asked");
}

#[test]
fn r61_every_method_that_acts_for_somebody_has_a_row() {
    covers(TABLE, &["acting_account_id"], &[]);
}

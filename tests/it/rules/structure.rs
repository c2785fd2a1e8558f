//! A. What an organization always has, and what a change of role is not.

use rollcall_client::v1::*;
use tonic::Code;

use crate::fixtures::{World, refused, told};

#[tokio::test]
async fn r01_an_organization_begins_with_a_workspace_and_keeps_the_last_one() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let workspaces = world.workspaces(&org).await;
    assert_eq!(workspaces.len(), 1);
    assert_eq!(workspaces[0].workspace_id, org.general);

    refused(
        world.acting(&org.owner).delete_workspace(&org, &org.general).await,
        Code::FailedPrecondition,
        "LAST_WORKSPACE",
    );
    assert_eq!(world.workspaces(&org).await.len(), 1);

    let boards = world.workspace(&org, "boards", "boards").await;
    world.put_in(&org, &boards, &org.owner, WorkspaceRole::Member).await;
    world.operator().delete_workspace(&org, &org.general).await.expect("it is not the last");
    refused(
        world.operator().delete_workspace(&org, &boards).await,
        Code::FailedPrecondition,
        "LAST_WORKSPACE",
    );
    let again = world.operator().delete_workspace(&org, &org.general).await.expect("nothing to do");
    assert_eq!(again.workspace.expect("the workspace").state(), WorkspaceState::Deleted);
}

#[tokio::test]
async fn r01_deleting_a_members_only_workspace_cascades() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let only = world.member_in(&org, "bob", &[&boards]).await;
    let both = world.member_in(&org, "eve", &[&boards, &org.general]).await;
    // Closed before: the deletion takes nothing along that was not open in the workspace.
    let closed = world.member_in(&org, "joe", &[&boards, &org.general]).await;
    world.operator().deactivate_in(&org, &boards, &closed).await.expect("closed");
    let mut follower = world.follow("boards").await;

    let deleted = world.acting(&org.owner).delete_workspace(&org, &boards).await.expect("deleted");

    assert_eq!(deleted.deactivated_member_ids, [only.member.as_str()]);
    assert_eq!(world.state(&org, &only).await, MemberState::Deactivated);
    assert_eq!(world.state(&org, &both).await, MemberState::Active);
    assert_eq!(world.state(&org, &closed).await, MemberState::Active);
    for person in [&only, &both, &closed] {
        assert_eq!(world.state_in(&org, &boards, person).await, WorkspaceMemberState::Removed);
    }
    assert_eq!(world.state_in(&org, &org.general, &both).await, WorkspaceMemberState::Active);
    let changes = follower.changes().await;
    assert!(changes.iter().all(|change| change.command_id == changes[0].command_id), "one command");
    let mut told = told(&changes);
    told.sort();
    assert_eq!(
        told,
        [
            "member DEACTIVATED: DEACTIVATED_WITH_LAST_WORKSPACE",
            "workspace DELETED: DELETED",
            "workspace_member REMOVED: REMOVED_WITH_WORKSPACE",
            "workspace_member REMOVED: REMOVED_WITH_WORKSPACE",
            "workspace_member REMOVED: REMOVED_WITH_WORKSPACE",
        ]
    );
}

#[tokio::test]
async fn r02_an_account_lives_on_without_any_organization() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;

    world.acting(&org.owner).deactivate(&org, &bob).await.expect("deactivated");
    let belongs = world.organizations_of(&bob.account).await;
    assert_eq!(belongs, [(org.id.clone(), MemberState::Deactivated)], "which still counts as belonging");

    world.acting(&org.owner).remove(&org, &bob).await.expect("removed");
    assert_eq!(world.organizations_of(&bob.account).await, []);
    let account = world.get_account(&bob.account).await;
    assert_eq!((account.state(), account.email.as_str()), (AccountState::Active, "bob@example.com"));
}

#[tokio::test]
async fn r03_a_changed_role_is_a_changed_role_and_nothing_else() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let before = world.get(&org, &bob).await;
    let memberships = [world.get_in(&org, &org.general, &bob).await, world.get_in(&org, &boards, &bob).await];
    let (mut chat, mut other) = (world.follow("chat").await, world.follow("boards").await);

    world.acting(&org.owner).set_role(&org, &bob, OrganizationRole::Guest).await.expect("a guest");

    let after = world.get(&org, &bob).await;
    assert_eq!((after.role(), after.state()), (OrganizationRole::Guest, MemberState::Active));
    assert_eq!(after.version, before.version + 1);
    let now = [world.get_in(&org, &org.general, &bob).await, world.get_in(&org, &boards, &bob).await];
    assert_eq!(now, memberships);
    assert_eq!(told(&chat.changes().await), ["member ACTIVE: ROLE_CHANGED"]);
    assert_eq!(told(&other.changes().await), ["member ACTIVE: ROLE_CHANGED"]);

    let owner = world.acting(&org.owner);
    owner.set_role_in(&org, &boards, &bob, WorkspaceRole::Guest).await.expect("a guest there");
    assert_eq!(told(&other.changes().await), ["workspace_member ACTIVE: ROLE_CHANGED"]);
    assert_eq!(told(&chat.changes().await), [""; 0]);

    // The same role once more is no change.
    owner.set_role_in(&org, &boards, &bob, WorkspaceRole::Guest).await.expect("nothing to do");
    owner.set_role(&org, &bob, OrganizationRole::Guest).await.expect("nothing to do");
    assert_eq!(told(&other.changes().await), [""; 0]);
}

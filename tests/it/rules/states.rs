//! R62: what each state does with each command. Every cell is tested where the table is; here its rows arrive as
//! statuses.

use rollcall_client::v1::*;
use tonic::Code::{AlreadyExists, FailedPrecondition};

use crate::fixtures::{Person, World, made_up_id, refused, unknown};

#[tokio::test]
async fn r62_a_member_in_every_state() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let owner = world.acting(&org.owner);
    let active = world.member_in(&org, "active", &[&org.general]).await;
    let deactivated = world.member_in(&org, "deactivated", &[&org.general]).await;
    let removed = world.member_in(&org, "removed", &[&org.general]).await;
    owner.deactivate(&org, &deactivated).await.expect("deactivated");
    owner.remove(&org, &removed).await.expect("removed");
    let nobody = Person { account: active.account.clone(), member: made_up_id() };
    let role = OrganizationRole::Guest;
    let mark = world.mark().await;

    refused(owner.add(&org, &active.account, role).await, AlreadyExists, "MEMBER_EXISTS");
    refused(owner.add(&org, &deactivated.account, role).await, FailedPrecondition, "MEMBER_DEACTIVATED");
    refused(owner.set_role(&org, &removed, role).await, FailedPrecondition, "MEMBER_REMOVED");
    refused(owner.set_name(&org, &removed, "Other").await, FailedPrecondition, "MEMBER_REMOVED");
    refused(owner.deactivate(&org, &removed).await, FailedPrecondition, "MEMBER_REMOVED");
    refused(owner.reactivate(&org, &removed).await, FailedPrecondition, "MEMBER_REMOVED");
    let missing = "MEMBER_NOT_FOUND";
    unknown(owner.set_role(&org, &nobody, role).await, missing, &nobody.member);
    unknown(owner.set_name(&org, &nobody, "Other").await, missing, &nobody.member);
    unknown(owner.deactivate(&org, &nobody).await, missing, &nobody.member);
    unknown(owner.reactivate(&org, &nobody).await, missing, &nobody.member);
    unknown(owner.remove(&org, &nobody).await, missing, &nobody.member);
    owner.deactivate(&org, &deactivated).await.expect("nothing to do");
    owner.reactivate(&org, &active).await.expect("nothing to do");
    owner.remove(&org, &removed).await.expect("nothing to do");
    assert_eq!(world.changes_since(mark).await, 0);

    owner.set_role(&org, &deactivated, role).await.expect("the role changes, the state does not");
    owner.set_name(&org, &deactivated, "Other").await.expect("the name changes, the state does not");
    assert_eq!(world.state(&org, &deactivated).await, MemberState::Deactivated);
    owner.remove(&org, &deactivated).await.expect("removed");
    owner.add(&org, &removed.account, role).await.expect("added again");
}

#[tokio::test]
async fn r62_a_workspace_member_in_every_state() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let owner = world.acting(&org.owner);
    let room = world.workspace(&org, "boards", "boards").await;
    let out = world.member(&org, "out").await;
    let active = world.member_in(&org, "active", &[&org.general, &room]).await;
    let deactivated = world.member_in(&org, "deactivated", &[&org.general, &room]).await;
    let removed = world.member_in(&org, "removed", &[&org.general, &room]).await;
    owner.deactivate_in(&org, &room, &deactivated).await.expect("deactivated");
    owner.remove_from(&org, &room, &removed).await.expect("removed");
    let nobody = Person { account: out.account.clone(), member: made_up_id() };
    let role = WorkspaceRole::Guest;
    let mark = world.mark().await;

    let exists = "WORKSPACE_MEMBER_EXISTS";
    refused(owner.add_to(&org, &room, &active, role).await, AlreadyExists, exists);
    let reason = "WORKSPACE_MEMBER_DEACTIVATED";
    refused(owner.add_to(&org, &room, &deactivated, role).await, FailedPrecondition, reason);
    let reason = "WORKSPACE_MEMBER_REMOVED";
    refused(owner.set_role_in(&org, &room, &removed, role).await, FailedPrecondition, reason);
    refused(owner.deactivate_in(&org, &room, &removed).await, FailedPrecondition, reason);
    refused(owner.reactivate_in(&org, &room, &removed).await, FailedPrecondition, reason);
    let missing = "WORKSPACE_MEMBER_NOT_FOUND";
    unknown(owner.set_role_in(&org, &room, &out, role).await, missing, &out.member);
    unknown(owner.deactivate_in(&org, &room, &out).await, missing, &out.member);
    unknown(owner.reactivate_in(&org, &room, &out).await, missing, &out.member);
    unknown(owner.remove_from(&org, &room, &out).await, missing, &out.member);
    unknown(owner.add_to(&org, &room, &nobody, role).await, "MEMBER_NOT_FOUND", &nobody.member);
    owner.deactivate_in(&org, &room, &deactivated).await.expect("nothing to do");
    owner.reactivate_in(&org, &room, &active).await.expect("nothing to do");
    owner.remove_from(&org, &room, &removed).await.expect("nothing to do");
    assert_eq!(world.changes_since(mark).await, 0);

    owner.set_role_in(&org, &room, &deactivated, role).await.expect("the role changes");
    assert_eq!(world.state_in(&org, &room, &deactivated).await, WorkspaceMemberState::Deactivated);
    owner.remove_from(&org, &room, &deactivated).await.expect("removed");
    owner.add_to(&org, &room, &removed, role).await.expect("added again");
    owner.add_to(&org, &room, &out, role).await.expect("added");
}

#[tokio::test]
async fn r62_the_state_in_the_organization_and_of_the_workspace_count_too() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let owner = world.acting(&org.owner);
    let (room, gone) =
        (world.workspace(&org, "boards", "room").await, world.workspace(&org, "boards", "gone").await);
    let active = world.member_in(&org, "active", &[&org.general, &gone]).await;
    let deactivated = world.member_in(&org, "deactivated", &[&org.general]).await;
    let removed = world.member_in(&org, "removed", &[&org.general]).await;
    owner.deactivate(&org, &deactivated).await.expect("deactivated");
    owner.remove(&org, &removed).await.expect("removed");
    owner.delete_workspace(&org, &gone).await.expect("deleted");
    let role = WorkspaceRole::Member;
    let mark = world.mark().await;

    let reason = "MEMBER_DEACTIVATED";
    refused(owner.add_to(&org, &room, &deactivated, role).await, FailedPrecondition, reason);
    refused(owner.add_to(&org, &room, &removed, role).await, FailedPrecondition, "MEMBER_REMOVED");
    let reason = "WORKSPACE_DELETED";
    refused(owner.add_to(&org, &gone, &active, role).await, FailedPrecondition, reason);
    refused(owner.set_role_in(&org, &gone, &active, role).await, FailedPrecondition, reason);
    refused(owner.reactivate_in(&org, &gone, &active).await, FailedPrecondition, reason);
    refused(owner.rename_workspace(&org, &gone, "Other").await, FailedPrecondition, reason);
    owner.remove_from(&org, &gone, &active).await.expect("nothing to do");
    owner.delete_workspace(&org, &gone).await.expect("nothing to do");
    assert_eq!(world.changes_since(mark).await, 0);
}

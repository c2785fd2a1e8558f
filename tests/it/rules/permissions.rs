//! B. Who may do what. Every cell of the table is tested where the table is; here its rows arrive as statuses.

use rollcall_client::v1::*;
use tonic::Code::{self, PermissionDenied};

use crate::fixtures::{World, refused};

const INSUFFICIENT: &str = "ROLE_INSUFFICIENT";
const ABOVE_OWN: &str = "ROLE_ABOVE_OWN";

#[tokio::test]
async fn r04_everyone_may_deactivate_themselves() {
    let world = World::start().await;
    let (org, elsewhere) = (world.organization("ada").await, world.organization("eve").await);
    let boards = world.workspace(&org, "boards", "boards").await;
    for (name, role) in [
        ("admin", OrganizationRole::Admin),
        ("member", OrganizationRole::Member),
        ("guest", OrganizationRole::Guest),
    ] {
        let person = world.member_as(&org, name, role).await;
        world.add_account(&elsewhere, &person.account, OrganizationRole::Guest).await;
        for workspace in [&org.general, &boards] {
            world.put_in(&org, workspace, &person, WorkspaceRole::Member).await;
        }
        let own = world.acting(&person);
        own.deactivate_in(&org, &boards, &person).await.expect("from a workspace");
        assert_eq!(world.state_in(&org, &boards, &person).await, WorkspaceMemberState::Deactivated);
        own.deactivate(&org, &person).await.expect("from the organization");
        assert_eq!(world.state(&org, &person).await, MemberState::Deactivated, "{name}");
    }
}

#[tokio::test]
async fn r05_who_is_no_admin_ends_no_one_elses_membership() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let guest = world.member_as(&org, "guest", OrganizationRole::Guest).await;
    let stranger = world.organization("stranger").await.owner;
    let mark = world.mark().await;
    for person in [&eve, &guest, &stranger] {
        let caller = world.acting(person);
        refused(caller.deactivate(&org, &bob).await, PermissionDenied, INSUFFICIENT);
        refused(caller.remove(&org, &bob).await, PermissionDenied, INSUFFICIENT);
        refused(caller.deactivate_in(&org, &org.general, &bob).await, PermissionDenied, INSUFFICIENT);
        refused(caller.remove_from(&org, &org.general, &bob).await, PermissionDenied, INSUFFICIENT);
        refused(caller.deactivate(&org, &org.owner).await, PermissionDenied, INSUFFICIENT);
    }
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
}

#[tokio::test]
async fn r07_an_owner_deactivates_anyone() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    for role in
        [OrganizationRole::Owner, OrganizationRole::Admin, OrganizationRole::Member, OrganizationRole::Guest]
    {
        let name = role.as_str_name().rsplit('_').next().expect("a word").to_lowercase();
        let person = world.member_as(&org, &name, role).await;
        world.acting(&org.owner).deactivate(&org, &person).await.expect("deactivated");
        assert_eq!(world.state(&org, &person).await, MemberState::Deactivated);
        let account = world.get_account(&person.account).await;
        assert_eq!(account.state(), AccountState::Active);
    }
}

#[tokio::test]
async fn r11_only_an_admin_of_the_organization_reactivates() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let head = world.member(&org, "head").await;
    world.put_in(&org, &org.general, &head, WorkspaceRole::Admin).await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    world.acting(&org.owner).deactivate(&org, &bob).await.expect("deactivated");
    let mark = world.mark().await;

    for person in [&bob, &eve, &head] {
        let caller = world.acting(person);
        refused(caller.reactivate(&org, &bob).await, PermissionDenied, INSUFFICIENT);
        // Nor by the way round (R34), not even by the admin of the workspace.
        refused(caller.reactivate_in(&org, &org.general, &bob).await, PermissionDenied, INSUFFICIENT);
    }
    assert_eq!(world.changes_since(mark).await, 0);

    world.acting(&admin).reactivate(&org, &bob).await.expect("reactivated");
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);
}

#[tokio::test]
async fn r61_nobody_reaches_above_their_own_role() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let account = world.account("new").await;
    let mark = world.mark().await;
    let caller = world.acting(&admin);

    refused(caller.deactivate(&org, &org.owner).await, PermissionDenied, ABOVE_OWN);
    refused(caller.remove(&org, &org.owner).await, PermissionDenied, ABOVE_OWN);
    refused(caller.deactivate_in(&org, &org.general, &org.owner).await, PermissionDenied, ABOVE_OWN);
    refused(caller.set_role(&org, &org.owner, OrganizationRole::Member).await, PermissionDenied, ABOVE_OWN);
    refused(caller.set_name(&org, &org.owner, "Other").await, PermissionDenied, ABOVE_OWN);
    refused(caller.set_role(&org, &bob, OrganizationRole::Owner).await, PermissionDenied, ABOVE_OWN);
    refused(caller.add(&org, &account, OrganizationRole::Owner).await, PermissionDenied, ABOVE_OWN);
    assert_eq!(world.changes_since(mark).await, 0);

    // Up to their own role they may.
    caller.add(&org, &account, OrganizationRole::Admin).await.expect("another admin");
    caller.set_role(&org, &bob, OrganizationRole::Admin).await.expect("an admin");
    caller.deactivate(&org, &bob).await.expect("deactivated");
}

#[tokio::test]
async fn r61_a_workspace_admin_acts_in_that_workspace_alone() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let head = world.member(&org, "head").await;
    world.put_in(&org, &org.general, &head, WorkspaceRole::Admin).await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    world.put_in(&org, &org.general, &admin, WorkspaceRole::Guest).await;
    let new = world.member(&org, "new").await;
    let caller = world.acting(&head);

    refused(caller.deactivate(&org, &bob).await, PermissionDenied, INSUFFICIENT);
    refused(caller.deactivate_in(&org, &boards, &bob).await, PermissionDenied, INSUFFICIENT);
    refused(caller.add_to(&org, &boards, &new, WorkspaceRole::Guest).await, PermissionDenied, INSUFFICIENT);
    refused(caller.rename_workspace(&org, &boards, "Other").await, PermissionDenied, INSUFFICIENT);
    refused(caller.delete_workspace(&org, &org.general).await, PermissionDenied, INSUFFICIENT);
    refused(caller.create_workspace(&org, "chat", "Other").await, PermissionDenied, INSUFFICIENT);
    refused(caller.rename_organization(&org.id, "Other").await, PermissionDenied, INSUFFICIENT);
    refused(caller.deactivate_in(&org, &org.general, &admin).await, PermissionDenied, ABOVE_OWN);
    refused(caller.deactivate_in(&org, &org.general, &org.owner).await, PermissionDenied, ABOVE_OWN);

    caller.add_to(&org, &org.general, &new, WorkspaceRole::Admin).await.expect("added");
    caller.set_role_in(&org, &org.general, &bob, WorkspaceRole::Guest).await.expect("changed");
    caller.deactivate_in(&org, &org.general, &bob).await.expect("deactivated");
    caller.reactivate_in(&org, &org.general, &bob).await.expect("reactivated");
    caller.remove_from(&org, &org.general, &bob).await.expect("removed");
    caller.rename_workspace(&org, &org.general, "lounge").await.expect("renamed");

    // A guest who administers it is still below every member.
    let outsider = world.member_as(&org, "outsider", OrganizationRole::Guest).await;
    world.put_in(&org, &org.general, &outsider, WorkspaceRole::Admin).await;
    let other = world.member_as(&org, "other", OrganizationRole::Guest).await;
    let by_guest = world.acting(&outsider);
    refused(by_guest.deactivate_in(&org, &org.general, &new).await, PermissionDenied, ABOVE_OWN);
    refused(by_guest.remove_from(&org, &org.general, &new).await, PermissionDenied, ABOVE_OWN);
    refused(
        by_guest.add_to(&org, &org.general, &bob, WorkspaceRole::Member).await,
        PermissionDenied,
        ABOVE_OWN,
    );
    refused(by_guest.invite(&org, "more", &[&org.general]).await, PermissionDenied, ABOVE_OWN);
    by_guest.add_to(&org, &org.general, &other, WorkspaceRole::Member).await.expect("added");
    by_guest.deactivate_in(&org, &org.general, &other).await.expect("deactivated");

    // Who is no longer ACTIVE in the workspace administers it no longer.
    world.acting(&org.owner).deactivate_in(&org, &org.general, &head).await.expect("deactivated");
    refused(caller.rename_workspace(&org, &org.general, "Other").await, PermissionDenied, INSUFFICIENT);
}

#[tokio::test]
async fn r61_people_change_themselves_up_to_a_point() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let eve = world.member(&org, "eve").await;
    let own = world.acting(&bob);

    own.set_name(&org, &bob, "Bob").await.expect("their own name");
    assert_eq!(world.get(&org, &bob).await.profile.expect("a profile").display_name, "Bob");
    refused(own.set_name(&org, &eve, "Eve").await, PermissionDenied, INSUFFICIENT);
    refused(own.set_role(&org, &bob, OrganizationRole::Admin).await, PermissionDenied, ABOVE_OWN);
    refused(own.set_role(&org, &bob, OrganizationRole::Guest).await, PermissionDenied, INSUFFICIENT);
    refused(
        own.set_role_in(&org, &org.general, &bob, WorkspaceRole::Admin).await,
        PermissionDenied,
        INSUFFICIENT,
    );
    refused(own.remove(&org, &bob).await, PermissionDenied, INSUFFICIENT);

    own.change_email(&bob.account, "bob.b@example.com").await.expect("their own address");
    refused(own.change_email(&eve.account, "e@example.com").await, PermissionDenied, INSUFFICIENT);
    refused(own.create_account("more@example.com").await, PermissionDenied, INSUFFICIENT);
    refused(own.create_organization(&eve.account, "chat").await, PermissionDenied, INSUFFICIENT);
    own.create_organization(&bob.account, "chat").await.expect("their own organization");
}

/// A workload as itself is bound by every rule but those about roles.
#[tokio::test]
async fn r61_a_workload_is_bound_by_all_other_rules() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let operator = world.operator();
    refused(operator.deactivate(&org, &org.owner).await, Code::FailedPrecondition, "LAST_OWNER");
    refused(operator.delete_workspace(&org, &org.general).await, Code::FailedPrecondition, "LAST_WORKSPACE");
    let second = world.member_as(&org, "second", OrganizationRole::Owner).await;
    operator.set_role(&org, &org.owner, OrganizationRole::Guest).await.expect("a guest");
    assert_eq!(world.state(&org, &second).await, MemberState::Active);
}

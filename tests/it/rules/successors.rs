//! R57: who is ADMIN of a workspace after the last one; and who may decide that (R15, R61).

use std::collections::BTreeSet;

use rollcall_client::v1::*;
use tonic::Code::{FailedPrecondition, PermissionDenied};

use crate::fixtures::{Org, Person, World, blockers, refused};

fn nothing() -> DepartureTerms {
    DepartureTerms::default()
}

fn succeeded_by(person: &Person) -> DepartureTerms {
    DepartureTerms { successor_member_id: person.member.clone(), ..nothing() }
}

fn membership(org: &Org, workspace: &str, person: &Person, role: WorkspaceRole) -> WorkspaceMember {
    WorkspaceMember {
        organization_id: org.id.clone(),
        workspace_id: workspace.to_owned(),
        member_id: person.member.clone(),
        role: role.into(),
        ..Default::default()
    }
}

async fn without_admin(world: &World, org: &Org) -> BTreeSet<String> {
    let request = ListWorkspacesRequest {
        organization_id: org.id.clone(),
        filter: "without_admin = true".to_owned(),
        ..Default::default()
    };
    let page = world.organizations().list_workspaces(request).await.expect("a page").into_inner();
    page.workspaces.into_iter().map(|workspace| workspace.workspace_id).collect()
}

#[tokio::test]
async fn r57_the_last_admin_loses_the_role_to_a_successor_or_knowingly() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let room = world.workspace(&org, "chat", "room").await;
    let bob = world.member(&org, "bob").await;
    let eve = world.member(&org, "eve").await;
    let guest = world.member_as(&org, "guest", OrganizationRole::Guest).await;
    world.put_in(&org, &room, &bob, WorkspaceRole::Admin).await;
    let (owner, own) = (world.acting(&org.owner), world.acting(&bob));
    let plain = UpdateWorkspaceMemberRequest::default;
    let less = || membership(&org, &room, &bob, WorkspaceRole::Member);
    let mark = world.mark().await;
    for caller in [&owner, &own, &world.operator()] {
        let refusal = caller.set_role_in_as_asked(less(), plain()).await;
        let refusal = refused(refusal, FailedPrecondition, "LAST_WORKSPACE_ADMIN");
        assert_eq!(blockers(&refusal), [("LAST_WORKSPACE_ADMIN".to_owned(), room.clone())]);
        assert!(refusal.message().contains("leave_without_admin"), "{}", refusal.message());
        assert!(!refusal.message().contains("workspace_successors"), "the request has none");
    }
    for unfit in [&guest, &bob] {
        let message = UpdateWorkspaceMemberRequest { successor_member_id: unfit.member.clone(), ..plain() };
        let refusal = owner.set_role_in_as_asked(less(), message).await;
        refused(refusal, FailedPrecondition, "SUCCESSOR_UNFIT");
    }
    // As if they left, they promote whom they could promote (R61).
    let message = UpdateWorkspaceMemberRequest { successor_member_id: org.owner.member.clone(), ..plain() };
    refused(own.set_role_in_as_asked(less(), message).await, PermissionDenied, "ROLE_ABOVE_OWN");
    assert_eq!(world.changes_since(mark).await, 0);

    let message = UpdateWorkspaceMemberRequest { successor_member_id: eve.member.clone(), ..plain() };
    own.set_role_in_as_asked(less(), message).await.expect("to a successor");
    assert_eq!(world.get_in(&org, &room, &bob).await.role(), WorkspaceRole::Member);
    let admin = world.get_in(&org, &room, &eve).await;
    assert_eq!((admin.role(), admin.state()), (WorkspaceRole::Admin, WorkspaceMemberState::Active));

    // Of two admins one may go, whoever is not ACTIVE administers nothing, and another admin asks nobody.
    owner
        .set_role_in_as_asked(membership(&org, &room, &bob, WorkspaceRole::Admin), plain())
        .await
        .expect("two");
    owner.set_role_in_as_asked(less(), plain()).await.expect("one is left");
    world.put_in(&org, &org.general, &bob, WorkspaceRole::Member).await;
    owner
        .set_role_in_as_asked(membership(&org, &room, &bob, WorkspaceRole::Admin), plain())
        .await
        .expect("two");
    world.operator().deactivate_in(&org, &room, &bob).await.expect("put out");
    owner.set_role_in_as_asked(less(), plain()).await.expect("who is out leaves nothing behind");
    assert!(!without_admin(&world, &org).await.contains(&room));
    let refusal =
        owner.set_role_in_as_asked(membership(&org, &room, &eve, WorkspaceRole::Guest), plain()).await;
    refused(refusal, FailedPrecondition, "LAST_WORKSPACE_ADMIN");
    let message = UpdateWorkspaceMemberRequest { leave_without_admin: true, ..plain() };
    let less = membership(&org, &room, &eve, WorkspaceRole::Guest);
    owner.set_role_in_as_asked(less, message).await.expect("knowingly");
    assert!(without_admin(&world, &org).await.contains(&room), "it is listed so");
}

#[tokio::test]
async fn r15_r57_an_app_names_admins_of_its_own_workspaces_alone() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let room = world.workspace(&org, "chat", "room").await;
    let bob = world.member(&org, "bob").await;
    let eve = world.member(&org, "eve").await;
    for workspace in [&room, &boards] {
        world.put_in(&org, workspace, &bob, WorkspaceRole::Admin).await;
    }
    let of = |workspace: &String| DepartureTerms {
        workspace_successors: vec![WorkspaceSuccessor {
            workspace_id: workspace.clone(),
            member_id: eve.member.clone(),
        }],
        leave_without_admin: true,
        ..nothing()
    };
    let chat = world.calling_as("chat").acting(&org.owner.account);
    let mark = world.mark().await;
    for terms in [succeeded_by(&eve), of(&boards)] {
        let refusal = chat.deactivate_with(&org, &bob, terms.clone()).await;
        refused(refusal, PermissionDenied, "WORKSPACE_OF_OTHER_APP");
        let refusal = chat.plan(&org, &bob, DepartureKind::Deactivate, terms.clone()).await;
        refused(refusal, PermissionDenied, "WORKSPACE_OF_OTHER_APP");
        let refusal = chat.remove_with(&org, &bob, terms).await;
        refused(refusal, PermissionDenied, "WORKSPACE_OF_OTHER_APP");
    }
    assert_eq!(world.changes_since(mark).await, 0);
    chat.deactivate_with(&org, &bob, of(&room)).await.expect("its own; the other is left without");
    assert_eq!(world.get_in(&org, &room, &eve).await.role(), WorkspaceRole::Admin);
    assert!(without_admin(&world, &org).await.contains(&boards));
    // A caller that is no app is not bound so.
    world.operator().reactivate(&org, &bob).await.expect("back");
    let payroll = world.calling_as("payroll").acting(&org.owner.account);
    payroll.deactivate_with(&org, &bob, succeeded_by(&eve)).await.expect("no app");
    assert_eq!(world.get_in(&org, &boards, &eve).await.role(), WorkspaceRole::Admin);
}

#[tokio::test]
async fn r61_who_leaves_promotes_whom_they_could_promote_without_leaving() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("joe").await);
    let room = world.workspace(&org, "chat", "room").await;
    let spare = world.workspace(&org, "chat", "spare").await;
    let admin = world.member_as(&org, "admin", OrganizationRole::Admin).await;
    let eve = world.member(&org, "eve").await;
    for (name, role) in [("bob", OrganizationRole::Member), ("guest", OrganizationRole::Guest)] {
        let person = world.member_as(&org, name, role).await;
        world.add_account(&other, &person.account, OrganizationRole::Guest).await;
        world.put_in(&org, &room, &person, WorkspaceRole::Admin).await;
        world.put_in(&org, &spare, &person, WorkspaceRole::Member).await;
        let own = world.acting(&person);
        let mark = world.mark().await;
        for above in [&org.owner, &admin] {
            // Whether they are in the workspace or not, and just as without leaving.
            let code = PermissionDenied;
            refused(own.add_to(&org, &room, above, WorkspaceRole::Admin).await, code, "ROLE_ABOVE_OWN");
            refused(own.leave(&org, false, succeeded_by(above)).await, code, "ROLE_ABOVE_OWN");
            refused(own.leave(&org, true, succeeded_by(above)).await, code, "ROLE_ABOVE_OWN");
            let refusal = own.leave_workspace(&org, &room, true, succeeded_by(above)).await;
            refused(refusal, code, "ROLE_ABOVE_OWN");
        }
        assert_eq!(world.changes_since(mark).await, 0);
        if role == OrganizationRole::Guest {
            // Every member is above a guest, and no guest succeeds.
            refused(own.leave(&org, true, succeeded_by(&eve)).await, PermissionDenied, "ROLE_ABOVE_OWN");
            let terms = DepartureTerms { leave_without_admin: true, ..nothing() };
            own.leave(&org, true, terms).await.expect("without an admin");
            continue;
        }
        own.leave(&org, true, succeeded_by(&eve)).await.expect("to a member");
        assert_eq!(world.get_in(&org, &room, &eve).await.role(), WorkspaceRole::Admin);
        world.operator().remove_from(&org, &room, &eve).await.expect("for the next");
    }
    // Who administers the organization promotes up to their own role, and whoever is in the workspace alike.
    let bob = world.member(&org, "second").await;
    world.put_in(&org, &room, &bob, WorkspaceRole::Admin).await;
    let by_admin = world.acting(&admin);
    let refusal = by_admin.deactivate_with(&org, &bob, succeeded_by(&org.owner)).await;
    refused(refusal, PermissionDenied, "ROLE_ABOVE_OWN");
    world.put_in(&org, &room, &org.owner, WorkspaceRole::Member).await;
    let refusal = by_admin.deactivate_with(&org, &bob, succeeded_by(&org.owner)).await;
    refused(refusal, PermissionDenied, "ROLE_ABOVE_OWN");
    by_admin.deactivate_with(&org, &bob, succeeded_by(&admin)).await.expect("themselves");
    assert_eq!(world.get_in(&org, &room, &admin).await.role(), WorkspaceRole::Admin);
}

#[tokio::test]
async fn r60_what_lifts_a_refusal_is_in_the_request() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("joe").await);
    world.add_account(&other, &org.owner.account, OrganizationRole::Guest).await;
    world.workspace(&org, "chat", "spare").await;
    world.member(&org, "bob").await;
    let owner = world.acting(&org.owner);
    let leaving = owner.leave(&org, true, nothing()).await;
    let leaving = refused(leaving, FailedPrecondition, "LAST_OWNER");
    assert!(leaving.message().contains("owner_successor_member_id"), "{}", leaving.message());
    for refusal in [
        refused(
            owner.set_role(&org, &org.owner, OrganizationRole::Admin).await,
            FailedPrecondition,
            "LAST_OWNER",
        ),
        refused(owner.delete_workspace(&org, &org.general).await, FailedPrecondition, "LAST_OWNER"),
        refused(owner.delete_account(&org.owner.account).await, FailedPrecondition, "LAST_OWNER"),
    ] {
        assert!(!refusal.message().contains("successor"), "{}", refusal.message());
    }
}

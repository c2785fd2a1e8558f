//! Etags (AIP-154): a command on a version that is no more is refused. `validate_only` (AIP-163): everything is checked and
//! nothing is changed.

use rollcall_client::v1::*;
use tonic::{
    Code::{Aborted, AlreadyExists, FailedPrecondition, NotFound, PermissionDenied},
    Response, Status,
};

use crate::fixtures::{Org, Person, World, made_up_id, mask, refused, regardless};

const MISMATCH: &str = "ETAG_MISMATCH";

async fn renamed(
    world: &World,
    org: &Org,
    etag: &str,
    name: &str,
) -> Result<Response<UpdateOrganizationResponse>, Status> {
    let organization = Organization {
        organization_id: org.id.clone(),
        display_name: name.to_owned(),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let request = UpdateOrganizationRequest {
        organization: Some(organization),
        update_mask: mask(&["display_name"]),
        ..Default::default()
    };
    world.organizations().update_organization(request).await
}

fn deactivating(org: &Org, person: &Person, etag: &str) -> DeactivateMemberRequest {
    DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: person.member.clone(),
        etag: etag.to_owned(),
        departure: regardless(),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_etag_names_a_version_and_refuses_another() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let read = || async {
        let request = GetOrganizationRequest { organization_id: org.id.clone(), ..Default::default() };
        let answer = world.organizations().get_organization(request).await.expect("read");
        answer.into_inner().organization.expect("the organization").etag
    };
    let first = read().await;
    assert_eq!(read().await, first, "the same version has the same etag");
    let answer =
        renamed(&world, &org, &first, "Second").await.expect("the version that was read").into_inner();
    let second = answer.organization.expect("the organization").etag;
    assert_ne!(second, first);
    let mark = world.mark().await;
    refused(renamed(&world, &org, &first, "Third").await, Aborted, MISMATCH);
    refused(renamed(&world, &org, "made up", "Third").await, Aborted, MISMATCH);
    assert_eq!(world.changes_since(mark).await, 0);
    renamed(&world, &org, &second, "Third").await.expect("the newest version");
    renamed(&world, &org, "", "Fourth").await.expect("any version");
}

#[tokio::test]
async fn every_thing_has_an_etag_that_its_commands_look_at() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let stale = world.get(&org, &bob).await.etag;
    let stale_there = world.get_in(&org, &org.general, &bob).await.etag;
    world.operator().set_role(&org, &bob, OrganizationRole::Admin).await.expect("promoted");
    world.operator().set_role_in(&org, &org.general, &bob, WorkspaceRole::Admin).await.expect("promoted");
    let mut members = world.members();
    let mark = world.mark().await;

    refused(members.deactivate_member(deactivating(&org, &bob, &stale)).await, Aborted, MISMATCH);
    let request = RemoveMemberRequest {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        etag: stale.clone(),
        ..Default::default()
    };
    refused(members.remove_member(request).await, Aborted, MISMATCH);
    let member = Member {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        role: OrganizationRole::Guest.into(),
        etag: stale.clone(),
        ..Default::default()
    };
    let request =
        UpdateMemberRequest { member: Some(member), update_mask: mask(&["role"]), ..Default::default() };
    refused(members.update_member(request).await, Aborted, MISMATCH);
    let request = DeactivateWorkspaceMemberRequest {
        organization_id: org.id.clone(),
        workspace_id: org.general.clone(),
        member_id: bob.member.clone(),
        etag: stale_there.clone(),
        departure: regardless(),
        ..Default::default()
    };
    refused(members.deactivate_workspace_member(request).await, Aborted, MISMATCH);
    let request = RemoveWorkspaceMemberRequest {
        organization_id: org.id.clone(),
        workspace_id: org.general.clone(),
        member_id: bob.member.clone(),
        etag: stale_there,
        departure: regardless(),
        ..Default::default()
    };
    refused(members.remove_workspace_member(request).await, Aborted, MISMATCH);
    let workspace = world.workspaces(&org).await.remove(0);
    let rename = |name: &str| UpdateWorkspaceRequest {
        workspace: Some(Workspace { display_name: name.to_owned(), ..workspace.clone() }),
        update_mask: mask(&["display_name"]),
        ..Default::default()
    };
    world.organizations().update_workspace(rename("second")).await.expect("the version that was read");
    refused(world.organizations().update_workspace(rename("third")).await, Aborted, MISMATCH);
    let account = world.get_account(&bob.account).await;
    let change = |email: &str| UpdateAccountRequest {
        account: Some(Account { email: email.to_owned(), ..account.clone() }),
        update_mask: mask(&["email"]),
        ..Default::default()
    };
    world.accounts().update_account(change("bob2@example.com")).await.expect("the version that was read");
    refused(world.accounts().update_account(change("bob3@example.com")).await, Aborted, MISMATCH);
    // The renamed workspace and the changed address, and nothing of what was refused.
    assert_eq!(world.changes_since(mark).await, 2);

    let fresh = world.get(&org, &bob).await.etag;
    members.deactivate_member(deactivating(&org, &bob, &fresh)).await.expect("the newest version");
}

#[tokio::test]
async fn what_is_only_validated_changes_nothing() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let mark = world.mark().await;
    let mut members = world.members();

    let only = DeactivateMemberRequest { validate_only: true, ..deactivating(&org, &bob, "") };
    let answer = members.deactivate_member(only.clone()).await.expect("it could be done").into_inner();
    assert_eq!(answer, DeactivateMemberResponse::default());
    // A request id that was only tried is free.
    let request_id = made_up_id();
    let tried = DeactivateMemberRequest { request_id: request_id.clone(), ..only };
    members.deactivate_member(tried).await.expect("it could be done");
    let account = CreateAccountRequest {
        email: "new@example.com".to_owned(),
        validate_only: true,
        ..Default::default()
    };
    let answer = world.accounts().create_account(account).await.expect("it could be done").into_inner();
    assert_eq!(answer, CreateAccountResponse::default());
    let workspace = CreateWorkspaceRequest {
        organization_id: org.id.clone(),
        app: "chat".to_owned(),
        display_name: "new".to_owned(),
        validate_only: true,
        ..Default::default()
    };
    world.organizations().create_workspace(workspace.clone()).await.expect("it could be done");
    assert_eq!(world.workspaces(&org).await.len(), 1);
    assert_eq!(world.changes_since(mark).await, 0);
    assert_eq!(world.state(&org, &bob).await, MemberState::Active);

    // What would be refused is refused the same.
    let taken = CreateAccountRequest {
        email: "bob@example.com".to_owned(),
        validate_only: true,
        ..Default::default()
    };
    refused(world.accounts().create_account(taken).await, AlreadyExists, "ACCOUNT_EMAIL_TAKEN");
    let elsewhere = CreateWorkspaceRequest { organization_id: made_up_id(), ..workspace };
    refused(world.organizations().create_workspace(elsewhere).await, NotFound, "ORGANIZATION_NOT_FOUND");
    let acting = DeactivateMemberRequest {
        validate_only: true,
        acting_account_id: bob.account.clone(),
        ..deactivating(&org, &org.owner, "")
    };
    refused(members.deactivate_member(acting).await, PermissionDenied, "ROLE_INSUFFICIENT");
    let last = DeactivateMemberRequest { validate_only: true, ..deactivating(&org, &org.owner, "") };
    refused(members.deactivate_member(last).await, FailedPrecondition, "LAST_OWNER");
    let done = DeactivateMemberRequest { request_id, ..deactivating(&org, &bob, "") };
    members.deactivate_member(done).await.expect("done");
    assert_eq!(world.state(&org, &bob).await, MemberState::Deactivated);
}

//! Ids of nothing, and of things that are somewhere else.

use rollcall_client::v1::*;
use tonic::{Code, Status};

use super::Scene;
use crate::fixtures::{Org, Person, by_email, made_up_id, refused, unknown};

#[tokio::test]
async fn unknown_ids_are_not_found() {
    let scene = Scene::begin().await;
    let (world, org, bob) = (&scene.world, &scene.org, &scene.bob);
    let operator = world.operator();
    let id = made_up_id();
    let nowhere = Org { id: id.clone(), general: org.general.clone(), owner: bob.clone() };
    let nobody = Person { account: id.clone(), member: id.clone() };
    let guest = OrganizationRole::Guest;
    let role = WorkspaceRole::Guest;

    let reason = "ACCOUNT_NOT_FOUND";
    let request = GetAccountRequest { account_id: id.clone(), ..Default::default() };
    unknown(world.accounts().get_account(request).await, reason, &id);
    let request = ListAccountOrganizationsRequest { account_id: id.clone(), ..Default::default() };
    unknown(world.accounts().list_account_organizations(request).await, reason, &id);
    unknown(operator.change_email(&id, "new@example.com").await, reason, &id);
    unknown(operator.create_organization(&id, "chat").await, reason, &id);
    unknown(operator.add(org, &id, guest).await, reason, &id);
    // An address is not repeated.
    let request = by_email("nobody@example.com");
    let status = refused(world.accounts().lookup_account(request).await, Code::NotFound, reason);
    assert!(!format!("{status:?}").contains("nobody@"), "{status:?}");

    let reason = "ORGANIZATION_NOT_FOUND";
    let request = GetOrganizationRequest { organization_id: id.clone(), ..Default::default() };
    unknown(world.organizations().get_organization(request).await, reason, &id);
    let request = ListWorkspacesRequest { organization_id: id.clone(), ..Default::default() };
    unknown(world.organizations().list_workspaces(request).await, reason, &id);
    let request = ListMembersRequest { organization_id: id.clone(), ..Default::default() };
    unknown(world.members().list_members(request).await, reason, &id);
    let request = BatchGetMembersRequest {
        organization_id: id.clone(),
        member_ids: vec![id.clone()],
        ..Default::default()
    };
    unknown(world.members().batch_get_members(request).await, reason, &id);
    unknown(operator.rename_organization(&id, "Other").await, reason, &id);
    unknown(operator.create_workspace(&nowhere, "chat", "new").await, reason, &id);
    unknown(operator.add(&nowhere, &bob.account, guest).await, reason, &id);
    unknown(operator.deactivate(&nowhere, bob).await, reason, &id);
    unknown(operator.deactivate_in(&nowhere, &org.general, bob).await, reason, &id);

    let reason = "WORKSPACE_NOT_FOUND";
    unknown(get_workspace(&scene, &id).await, reason, &id);
    unknown(operator.rename_workspace(org, &id, "Other").await, reason, &id);
    unknown(operator.delete_workspace(org, &id).await, reason, &id);
    unknown(operator.add_to(org, &id, bob, role).await, reason, &id);
    unknown(operator.set_role_in(org, &id, bob, role).await, reason, &id);
    unknown(operator.deactivate_in(org, &id, bob).await, reason, &id);
    unknown(operator.reactivate_in(org, &id, bob).await, reason, &id);
    unknown(operator.remove_from(org, &id, bob).await, reason, &id);

    let reason = "MEMBER_NOT_FOUND";
    let request =
        GetMemberRequest { organization_id: org.id.clone(), member_id: id.clone(), ..Default::default() };
    unknown(world.members().get_member(request).await, reason, &id);
    unknown(operator.deactivate(org, &nobody).await, reason, &id);
    unknown(operator.add_to(org, &org.general, &nobody, role).await, reason, &id);
    unknown(operator.deactivate_in(org, &org.general, &nobody).await, reason, &id);

    let reason = "APP_NOT_FOUND";
    unknown(operator.create_workspace(org, "nothing", "new").await, reason, "nothing");
    unknown(operator.create_organization(&bob.account, "nothing").await, reason, "nothing");
    let request = GetAppRequest { app: "nothing".to_owned(), ..Default::default() };
    unknown(world.apps().get_app(request).await, reason, "nothing");
    let request = WatchRequest { app: "nothing".to_owned(), ..Default::default() };
    unknown::<()>(Err(watch_refusal(&scene, request).await), reason, "nothing");
    let request =
        WatchRequest { app: "chat".to_owned(), organization_ids: vec![id.clone()], ..Default::default() };
    unknown::<()>(Err(watch_refusal(&scene, request).await), "ORGANIZATION_NOT_FOUND", &id);
    let request = AcknowledgeRequest { subscription_id: id.clone(), ..Default::default() };
    let status = world.feed().acknowledge(request).await.expect_err("no such subscription");
    assert!(matches!(status.code(), Code::NotFound | Code::InvalidArgument), "{status:?}");
    let request = CloseSubscriptionRequest { subscription_id: id.clone(), ..Default::default() };
    unknown(world.feed().close_subscription(request).await, "SUBSCRIPTION_NOT_FOUND", &id);

    scene.is_unchanged().await;
}

async fn get_workspace(scene: &Scene, workspace: &str) -> Result<GetWorkspaceResponse, Status> {
    let request = GetWorkspaceRequest {
        organization_id: scene.org.id.clone(),
        workspace_id: workspace.to_owned(),
        ..Default::default()
    };
    scene.world.organizations().get_workspace(request).await.map(tonic::Response::into_inner)
}

/// A stream may be refused by the call or by its first message.
pub(super) async fn watch_refusal(scene: &Scene, request: WatchRequest) -> Status {
    match scene.world.feed().watch(request).await {
        Err(status) => status,
        Ok(stream) => stream.into_inner().message().await.expect_err("a refusal"),
    }
}

/// Things of another organization are as unknown as things that never were.
#[tokio::test]
async fn things_of_another_organization_are_not_found() {
    let mut scene = Scene::begin().await;
    let other = scene.world.organization("eve").await;
    let stranger = scene.world.member_in(&other, "joe", &[&other.general]).await;
    scene.remember().await;
    let (org, bob) = (&scene.org, &scene.bob);
    let role = WorkspaceRole::Guest;
    for caller in [scene.world.operator(), scene.world.acting(&org.owner)] {
        let reason = "WORKSPACE_NOT_FOUND";
        unknown(caller.rename_workspace(org, &other.general, "Other").await, reason, &other.general);
        unknown(caller.delete_workspace(org, &other.general).await, reason, &other.general);
        unknown(caller.add_to(org, &other.general, bob, role).await, reason, &other.general);
        unknown(caller.deactivate_in(org, &other.general, bob).await, reason, &other.general);
        let reason = "MEMBER_NOT_FOUND";
        unknown(caller.deactivate(org, &stranger).await, reason, &stranger.member);
        unknown(caller.reactivate(org, &stranger).await, reason, &stranger.member);
        unknown(caller.remove(org, &stranger).await, reason, &stranger.member);
        unknown(caller.set_name(org, &stranger, "Other").await, reason, &stranger.member);
        unknown(caller.add_to(org, &org.general, &stranger, role).await, reason, &stranger.member);
        unknown(caller.deactivate_in(org, &org.general, &stranger).await, reason, &stranger.member);
    }
    unknown(get_workspace(&scene, &other.general).await, "WORKSPACE_NOT_FOUND", &other.general);
    scene.is_unchanged().await;
}

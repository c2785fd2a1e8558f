//! Malformed fields: INVALID_ARGUMENT, naming the field by its path in the request.

use rollcall_client::v1::*;

use super::{Scene, unknown_things::watch_refusal};
use crate::fixtures::{by_email, invalid, invalid_within, made_up_id, mask};

const BAD_IDS: [&str; 4] =
    ["", "x", "0190b7a4111170008000000000000001", "0190b7a4-1111-7000-8000-00000000000g"];
const BAD_APPS: [&str; 4] = ["", "Chat", "9chat", "chat room"];

/// Names that are no names, also where a name may be absent.
fn bad_names() -> [String; 9] {
    let short =
        ["a\0b", "a\nb", " a", "a\u{202e}b", "a\u{200b}b", "a\u{200d}", "\u{2800}"].map(str::to_owned);
    let [nul, line, space, turned, invisible, joined, blank] = short;
    [nul, line, space, turned, invisible, joined, blank, "ä".repeat(201), "x".repeat(10_000)]
}

#[tokio::test]
async fn ids_are_uuids() {
    let scene = Scene::begin().await;
    let (mut accounts, mut organizations, mut members) =
        (scene.world.accounts(), scene.world.organizations(), scene.world.members());
    let (organization_id, member_id) = (scene.org.id.clone(), scene.bob.member.clone());
    let workspace_id = scene.org.general.clone();
    for bad in BAD_IDS.map(str::to_owned) {
        let request = GetAccountRequest { account_id: bad.clone(), ..Default::default() };
        invalid(accounts.get_account(request).await, "account_id");
        let request = ListAccountOrganizationsRequest { account_id: bad.clone(), ..Default::default() };
        invalid(accounts.list_account_organizations(request).await, "account_id");
        let account =
            Account { account_id: bad.clone(), email: "a@example.com".to_owned(), ..Default::default() };
        let request = UpdateAccountRequest {
            account: Some(account),
            update_mask: mask(&["email"]),
            ..Default::default()
        };
        invalid(accounts.update_account(request).await, "account.account_id");

        let request = GetOrganizationRequest { organization_id: bad.clone(), ..Default::default() };
        invalid(organizations.get_organization(request).await, "organization_id");
        let request = GetWorkspaceRequest {
            organization_id: organization_id.clone(),
            workspace_id: bad.clone(),
            ..Default::default()
        };
        invalid(organizations.get_workspace(request).await, "workspace_id");
        let organization = Organization {
            organization_id: bad.clone(),
            display_name: "New".to_owned(),
            ..Default::default()
        };
        let request = UpdateOrganizationRequest {
            organization: Some(organization),
            update_mask: mask(&["display_name"]),
            ..Default::default()
        };
        invalid(organizations.update_organization(request).await, "organization.organization_id");
        let workspace = Workspace {
            organization_id: organization_id.clone(),
            workspace_id: bad.clone(),
            display_name: "New".to_owned(),
            ..Default::default()
        };
        let request = UpdateWorkspaceRequest {
            workspace: Some(workspace),
            update_mask: mask(&["display_name"]),
            ..Default::default()
        };
        invalid(organizations.update_workspace(request).await, "workspace.workspace_id");

        let request = GetMemberRequest {
            organization_id: organization_id.clone(),
            member_id: bad.clone(),
            ..Default::default()
        };
        invalid(members.get_member(request).await, "member_id");
        let request = DeactivateMemberRequest {
            organization_id: bad.clone(),
            member_id: member_id.clone(),
            ..Default::default()
        };
        invalid(members.deactivate_member(request).await, "organization_id");
        let request = RemoveMemberRequest {
            organization_id: organization_id.clone(),
            member_id: bad.clone(),
            ..Default::default()
        };
        invalid(members.remove_member(request).await, "member_id");
        let membership = WorkspaceMember {
            organization_id: organization_id.clone(),
            workspace_id: workspace_id.clone(),
            member_id: bad.clone(),
            role: WorkspaceRole::Guest.into(),
            ..Default::default()
        };
        let request = UpdateWorkspaceMemberRequest {
            workspace_member: Some(membership),
            update_mask: mask(&["role"]),
            ..Default::default()
        };
        invalid(members.update_workspace_member(request).await, "workspace_member.member_id");
        let request = DeactivateWorkspaceMemberRequest {
            organization_id: organization_id.clone(),
            workspace_id: bad.clone(),
            member_id: member_id.clone(),
            ..Default::default()
        };
        invalid(members.deactivate_workspace_member(request).await, "workspace_id");
        let request = BatchGetMembersRequest {
            organization_id: organization_id.clone(),
            member_ids: vec![member_id.clone(), bad.clone()],
            ..Default::default()
        };
        invalid_within(members.batch_get_members(request).await, "member_ids");
        if !bad.is_empty() {
            // Absent is a meaning of its own for these.
            let request = DeactivateMemberRequest {
                organization_id: organization_id.clone(),
                member_id: member_id.clone(),
                acting_account_id: bad.clone(),
                ..Default::default()
            };
            invalid(members.deactivate_member(request.clone()).await, "acting_account_id");
            let request = DeactivateMemberRequest {
                acting_account_id: String::new(),
                request_id: bad.clone(),
                ..request
            };
            invalid(members.deactivate_member(request).await, "request_id");
        }
    }
    for member_ids in [vec![], vec![member_id; 1_001]] {
        let request = BatchGetMembersRequest {
            organization_id: organization_id.clone(),
            member_ids,
            ..Default::default()
        };
        invalid(members.batch_get_members(request).await, "member_ids");
    }
    scene.is_unchanged().await;
}

#[tokio::test]
async fn addresses_are_addresses() {
    let scene = Scene::begin().await;
    let operator = scene.world.operator();
    let long = format!("{}@example.com", "a".repeat(243));
    assert_eq!(long.len(), 255);
    for bad in
        ["", "ada", "ada@", "@example.com", "a b@example.com", "a\0@example.com", "A <a@example.com>", &long]
    {
        invalid(operator.create_account(bad).await, "email");
        invalid(operator.change_email(&scene.bob.account, bad).await, "account.email");
        let request = by_email(bad);
        invalid(scene.world.accounts().lookup_account(request).await, "email");
    }
    scene.is_unchanged().await;
}

#[tokio::test]
async fn shown_names_are_bounded() {
    let scene = Scene::begin().await;
    let (org, bob, operator) = (&scene.org, &scene.bob, scene.world.operator());
    let empty = [String::new()];
    for bad in bad_names().iter().chain(&empty) {
        invalid(operator.rename_organization(&org.id, bad).await, "organization.display_name");
        invalid(operator.create_workspace(org, "chat", bad).await, "display_name");
        invalid(operator.rename_workspace(org, &org.general, bad).await, "workspace.display_name");
        invalid(create_organization(&scene, bad, "chat", "general", "").await, "display_name");
        invalid(create_organization(&scene, "New", "chat", bad, "").await, "first_workspace.display_name");
    }
    for bad in bad_names() {
        invalid(operator.set_name(org, bob, &bad).await, "member.profile.display_name");
        invalid(create_organization(&scene, "New", "chat", "general", &bad).await, "owner_display_name");
        let request = AddMemberRequest {
            organization_id: org.id.clone(),
            account_id: made_up_id(),
            role: OrganizationRole::Guest.into(),
            display_name: bad,
            ..Default::default()
        };
        invalid(scene.world.members().add_member(request).await, "display_name");
    }
    scene.is_unchanged().await;
    operator.rename_organization(&org.id, &"ä".repeat(200)).await.expect("200 characters, of two bytes each");
}

async fn create_organization(
    scene: &Scene,
    name: &str,
    app: &str,
    workspace: &str,
    owner: &str,
) -> Result<tonic::Response<CreateOrganizationResponse>, tonic::Status> {
    let request = CreateOrganizationRequest {
        display_name: name.to_owned(),
        owner_account_id: scene.bob.account.clone(),
        first_workspace: Some(FirstWorkspace { app: app.to_owned(), display_name: workspace.to_owned() }),
        owner_display_name: owner.to_owned(),
        ..Default::default()
    };
    scene.world.organizations().create_organization(request).await
}

#[tokio::test]
async fn app_names_are_labels() {
    let scene = Scene::begin().await;
    let long = "a".repeat(64);
    for bad in BAD_APPS.into_iter().chain([long.as_str()]) {
        let request = RegisterAppRequest { app: bad.to_owned(), ..Default::default() };
        invalid(scene.world.apps().register_app(request).await, "app");
        let request = GetAppRequest { app: bad.to_owned(), ..Default::default() };
        invalid(scene.world.apps().get_app(request).await, "app");
        invalid(scene.world.operator().create_workspace(&scene.org, bad, "new").await, "app");
        invalid(create_organization(&scene, "New", bad, "general", "").await, "first_workspace.app");
        let request = WatchRequest { app: bad.to_owned(), ..Default::default() };
        invalid::<()>(Err(watch_refusal(&scene, request).await), "app");
    }
    let request = CreateOrganizationRequest {
        display_name: "New".to_owned(),
        owner_account_id: scene.bob.account.clone(),
        ..Default::default()
    };
    invalid_within(scene.world.organizations().create_organization(request).await, "first_workspace");
    scene.is_unchanged().await;
}

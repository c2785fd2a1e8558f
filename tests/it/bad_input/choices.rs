//! Values that are none of those to choose from, pages and masks that are none, and streams that cannot be opened.

use rollcall_client::v1::*;
use tonic::Code::InvalidArgument;

use super::{Scene, unknown_things::watch_refusal};
use crate::fixtures::{invalid, invalid_within, mask, refused};

const BAD_PAGE_SIZES: [i32; 3] = [-1, 1_001, i32::MIN];
const BAD_PAGE_TOKENS: [&str; 2] = ["!", "bm90LWEtdG9rZW4"];
/// Of an enum with at most four values.
const BAD_ENUMS: [i32; 3] = [0, 99, -1];

#[tokio::test]
async fn roles_and_choices_are_declared_ones() {
    let scene = Scene::begin().await;
    let mut members = scene.world.members();
    let (organization_id, member_id) = (scene.org.id.clone(), scene.bob.member.clone());
    let workspace_id = scene.org.general.clone();
    for bad in BAD_ENUMS {
        let request = AddMemberRequest {
            organization_id: organization_id.clone(),
            account_id: scene.bob.account.clone(),
            role: bad,
            ..Default::default()
        };
        invalid(members.add_member(request).await, "role");
        let member = Member {
            organization_id: organization_id.clone(),
            member_id: member_id.clone(),
            role: bad,
            ..Default::default()
        };
        let request =
            UpdateMemberRequest { member: Some(member), update_mask: mask(&["role"]), ..Default::default() };
        invalid(members.update_member(request).await, "member.role");
        let request = AddWorkspaceMemberRequest {
            organization_id: organization_id.clone(),
            workspace_id: workspace_id.clone(),
            member_id: member_id.clone(),
            role: bad,
            ..Default::default()
        };
        invalid(members.add_workspace_member(request).await, "role");
        let membership = WorkspaceMember {
            organization_id: organization_id.clone(),
            workspace_id: workspace_id.clone(),
            member_id: member_id.clone(),
            role: bad,
            ..Default::default()
        };
        let request = UpdateWorkspaceMemberRequest {
            workspace_member: Some(membership),
            update_mask: mask(&["role"]),
            ..Default::default()
        };
        invalid(members.update_workspace_member(request).await, "workspace_member.role");
        if bad != 0 {
            // Absent means the default.
            let request = ReactivateMemberRequest {
                organization_id: organization_id.clone(),
                member_id: member_id.clone(),
                restore: bad,
                ..Default::default()
            };
            invalid(members.reactivate_member(request).await, "restore");
        }
    }
    let request = ReactivateMemberRequest {
        organization_id: organization_id.clone(),
        member_id: member_id.clone(),
        restore: Restore::Listed.into(),
        workspace_ids: vec!["x".to_owned()],
        ..Default::default()
    };
    invalid_within(members.reactivate_member(request).await, "workspace_ids");
    scene.is_unchanged().await;
}

#[tokio::test]
async fn update_masks_name_what_can_be_updated() {
    let scene = Scene::begin().await;
    let (org, bob) = (&scene.org, &scene.bob);
    let masks = [None, mask(&[]), mask(&["nonsense"]), mask(&["state"]), mask(&["version"])];
    for update_mask in masks {
        let account = Account {
            account_id: bob.account.clone(),
            email: "new@example.com".to_owned(),
            ..Default::default()
        };
        let request = UpdateAccountRequest {
            account: Some(account),
            update_mask: update_mask.clone(),
            ..Default::default()
        };
        invalid(scene.world.accounts().update_account(request).await, "update_mask");
        let organization = Organization {
            organization_id: org.id.clone(),
            display_name: "New".to_owned(),
            ..Default::default()
        };
        let request = UpdateOrganizationRequest {
            organization: Some(organization),
            update_mask: update_mask.clone(),
            ..Default::default()
        };
        invalid(scene.world.organizations().update_organization(request).await, "update_mask");
        let workspace = Workspace {
            organization_id: org.id.clone(),
            workspace_id: org.general.clone(),
            display_name: "New".to_owned(),
            ..Default::default()
        };
        let request = UpdateWorkspaceRequest {
            workspace: Some(workspace),
            update_mask: update_mask.clone(),
            ..Default::default()
        };
        invalid(scene.world.organizations().update_workspace(request).await, "update_mask");
        let member = Member {
            organization_id: org.id.clone(),
            member_id: bob.member.clone(),
            role: OrganizationRole::Guest.into(),
            ..Default::default()
        };
        let request = UpdateMemberRequest {
            member: Some(member),
            update_mask: update_mask.clone(),
            ..Default::default()
        };
        invalid(scene.world.members().update_member(request).await, "update_mask");
        let membership = WorkspaceMember {
            organization_id: org.id.clone(),
            workspace_id: org.general.clone(),
            member_id: bob.member.clone(),
            role: WorkspaceRole::Guest.into(),
            ..Default::default()
        };
        let request = UpdateWorkspaceMemberRequest {
            workspace_member: Some(membership),
            update_mask,
            ..Default::default()
        };
        invalid(scene.world.members().update_workspace_member(request).await, "update_mask");
    }
    scene.is_unchanged().await;
}

#[tokio::test]
async fn pages_are_bounded_and_tokens_are_ours() {
    let scene = Scene::begin().await;
    let world = &scene.world;
    let organization_id = scene.org.id.clone();
    let sizes = BAD_PAGE_SIZES.map(|size| (size, String::new(), "page_size"));
    let tokens = BAD_PAGE_TOKENS.map(|token| (0, token.to_owned(), "page_token"));
    for (page_size, page_token, field) in sizes.into_iter().chain(tokens) {
        let request = ListAppsRequest { page_size, page_token: page_token.clone(), ..Default::default() };
        invalid(world.apps().list_apps(request).await, field);
        let request =
            ListOrganizationsRequest { page_size, page_token: page_token.clone(), ..Default::default() };
        invalid(world.organizations().list_organizations(request).await, field);
        let request = ListWorkspacesRequest {
            organization_id: organization_id.clone(),
            page_size,
            page_token: page_token.clone(),
            ..Default::default()
        };
        invalid(world.organizations().list_workspaces(request).await, field);
        let request = ListMembersRequest {
            organization_id: organization_id.clone(),
            page_size,
            page_token: page_token.clone(),
            ..Default::default()
        };
        invalid(world.members().list_members(request).await, field);
        let request = ListWorkspaceMembersRequest {
            organization_id: organization_id.clone(),
            workspace_id: scene.org.general.clone(),
            page_size,
            page_token: page_token.clone(),
            ..Default::default()
        };
        invalid(world.members().list_workspace_members(request).await, field);
        let account_id = scene.bob.account.clone();
        let request = ListAccountOrganizationsRequest {
            account_id,
            page_size,
            page_token: page_token.clone(),
            ..Default::default()
        };
        invalid(world.accounts().list_account_organizations(request).await, field);
        let request = ListSubscriptionsRequest { page_size, page_token, ..Default::default() };
        invalid(world.feed().list_subscriptions(request).await, field);
    }

    // A token is good for the list that it was given for.
    let first = ListMembersRequest { organization_id, page_size: 1, ..Default::default() };
    let page = world.members().list_members(first).await.expect("a page").into_inner();
    assert!(!page.next_page_token.is_empty(), "there are two members");
    let request = ListAppsRequest { page_token: page.next_page_token, ..Default::default() };
    invalid(world.apps().list_apps(request).await, "page_token");
    scene.is_unchanged().await;
}

#[tokio::test]
async fn a_watch_says_what_is_wrong_with_it() {
    let scene = Scene::begin().await;
    let watch = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let long = "a".repeat(129);
    for bad in ["a b", "a\0", "ä", &long] {
        let request = WatchRequest { instance: bad.to_owned(), ..watch.clone() };
        invalid::<()>(Err(watch_refusal(&scene, request).await), "instance");
    }
    let request = WatchRequest { organization_ids: vec!["x".to_owned()], ..watch.clone() };
    invalid_within::<()>(Err(watch_refusal(&scene, request).await), "organization_ids");
    let request =
        WatchRequest { instance: "chat-1".to_owned(), subscription_id: "x".to_owned(), ..watch.clone() };
    invalid::<()>(Err(watch_refusal(&scene, request).await), "subscription_id");
    for cursor in ["!", "bm90LWEtY3Vyc29y"] {
        let request = WatchRequest { cursor: cursor.to_owned(), ..watch.clone() };
        refused::<()>(Err(watch_refusal(&scene, request).await), InvalidArgument, "CURSOR_INVALID");
    }
    scene.is_unchanged().await;
}

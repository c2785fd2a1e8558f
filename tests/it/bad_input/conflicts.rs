//! Well-formed input that collides with what is there.

use rollcall_client::v1::*;
use tonic::Code::{AlreadyExists, PermissionDenied};

use super::Scene;
use crate::fixtures::{by_email, refused};

#[tokio::test]
async fn what_is_there_already_is_not_added_again() {
    let scene = Scene::begin().await;
    let (world, org, bob) = (&scene.world, &scene.org, &scene.bob);
    for caller in [world.operator(), world.acting(&org.owner)] {
        let again = caller.add(org, &bob.account, OrganizationRole::Guest).await;
        refused(again, AlreadyExists, "MEMBER_EXISTS");
        let again = caller.add_to(org, &org.general, bob, WorkspaceRole::Guest).await;
        refused(again, AlreadyExists, "WORKSPACE_MEMBER_EXISTS");
        let again = caller.create_workspace(org, "boards", "general").await;
        refused(again, AlreadyExists, "WORKSPACE_NAME_TAKEN");
    }
    let request = RegisterAppRequest { app: "chat".to_owned(), ..Default::default() };
    refused(world.apps().register_app(request).await, AlreadyExists, "APP_EXISTS");
    scene.is_unchanged().await;
}

#[tokio::test]
async fn a_name_of_a_live_workspace_is_taken_by_renaming_too() {
    let mut scene = Scene::begin().await;
    let room = scene.world.workspace(&scene.org, "boards", "room").await;
    scene.remember().await;
    let (org, operator) = (&scene.org, scene.world.operator());
    let renamed = operator.rename_workspace(org, &room, "general").await;
    refused(renamed, AlreadyExists, "WORKSPACE_NAME_TAKEN");
    scene.is_unchanged().await;
    // The name of a deleted one is free.
    operator.delete_workspace(org, &room).await.expect("deleted");
    operator.create_workspace(org, "chat", "room").await.expect("free again");
}

#[tokio::test]
async fn nobody_promotes_themselves() {
    let scene = Scene::begin().await;
    let (org, bob) = (&scene.org, &scene.bob);
    let own = scene.world.acting(bob);
    for role in [OrganizationRole::Owner, OrganizationRole::Admin] {
        refused(own.set_role(org, bob, role).await, PermissionDenied, "ROLE_ABOVE_OWN");
    }
    let promoted = own.set_role_in(org, &org.general, bob, WorkspaceRole::Admin).await;
    refused(promoted, PermissionDenied, "ROLE_INSUFFICIENT");
    scene.is_unchanged().await;
}

#[tokio::test]
async fn an_address_in_another_spelling_is_the_same_address() {
    let scene = Scene::begin().await;
    let (world, operator) = (&scene.world, scene.world.operator());
    operator.create_account("jörg@bücher.example").await.expect("an account");
    for email in [
        "bob@example.com",
        "BOB@example.com",
        "bob@EXAMPLE.com",
        "jörg@xn--bcher-kva.example",
        "JÖRG@BÜCHER.example",
    ] {
        let status = refused(operator.create_account(email).await, AlreadyExists, "ACCOUNT_EMAIL_TAKEN");
        assert!(!format!("{status:?}").contains('@'), "the address is not repeated: {status:?}");
    }
    for email in ["Bob@Example.com", "bob@example.com"] {
        let request = by_email(email);
        let found = world.accounts().lookup_account(request).await.expect("found").into_inner();
        assert_eq!(found.account.expect("the account").account_id, scene.bob.account);
    }
    scene.is_unchanged().await;
}

#[tokio::test]
async fn another_persons_address_is_theirs() {
    let scene = Scene::begin().await;
    let (world, bob) = (&scene.world, &scene.bob);
    for caller in [world.operator(), world.acting(bob)] {
        for email in ["ada@example.com", "Ada@EXAMPLE.com"] {
            let changed = caller.change_email(&bob.account, email).await;
            refused(changed, AlreadyExists, "ACCOUNT_EMAIL_TAKEN");
        }
    }
    // Nor may an owner change it, in whose organization they are.
    let changed = world.acting(&scene.org.owner).change_email(&bob.account, "bob.b@example.com").await;
    refused(changed, PermissionDenied, "ROLE_INSUFFICIENT");
    scene.is_unchanged().await;
}

#[tokio::test]
async fn an_app_does_nothing_in_a_workspace_of_another_app() {
    let scene = Scene::begin().await;
    let (org, bob) = (&scene.org, &scene.bob);
    let app = scene.world.calling_as("boards");
    let reason = "WORKSPACE_OF_OTHER_APP";
    let status = refused(app.deactivate_in(org, &org.general, bob).await, PermissionDenied, reason);
    let info = tonic_types::StatusExt::get_details_error_info(&status).expect("an ErrorInfo");
    assert_eq!(info.metadata.get("resource").map(String::as_str), Some("chat"), "whose it is");
    refused(app.rename_workspace(org, &org.general, "Other").await, PermissionDenied, reason);
    refused(app.create_workspace(org, "chat", "new").await, PermissionDenied, reason);
    scene.is_unchanged().await;
}

//! Deletions that wait in the same call until they are enforced: of a workspace, of an organization, and of what a ledger
//! erases again.

use std::time::Duration;

use rollcall_client::v1::*;

use super::{Instance, commands::keep_up, late, of, set};
use crate::{
    fixtures::{Org, World, invalid},
    support::Server,
};

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Long enough to hear how far it is.
fn soon() -> Option<prost_types::Duration> {
    Some(Duration::from_millis(500).try_into().expect("short"))
}

async fn delete_workspace(
    world: &World,
    org: &Org,
    workspace: &str,
    await_enforcement: Option<prost_types::Duration>,
) -> DeleteWorkspaceResponse {
    let request = DeleteWorkspaceRequest {
        organization_id: org.id.clone(),
        workspace_id: workspace.to_owned(),
        await_enforcement,
        ..Default::default()
    };
    world.organizations().delete_workspace(request).await.expect("deleted").into_inner()
}

async fn delete_organization(
    world: &World,
    org: &Org,
    await_enforcement: Option<prost_types::Duration>,
) -> DeleteOrganizationResponse {
    let request = DeleteOrganizationRequest {
        organization_id: org.id.clone(),
        confirm: true,
        await_enforcement,
        ..Default::default()
    };
    world.organizations().delete_organization(request).await.expect("deleted").into_inner()
}

/// The state of all apps, and the apps.
fn told(enforcement: Option<&Enforcement>) -> (EnforcementState, Vec<&str>) {
    let report = enforcement.expect("it was waited for");
    (report.state(), report.apps.iter().map(|app| app.app.as_str()).collect())
}

#[tokio::test]
async fn a_deletion_is_enforced_when_every_app_in_whose_scope_it_was_has_followed() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let spare = world.workspace(&org, "boards", "spare").await;
    world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let eve = world.member_in(&org, "eve", &[&boards]).await;
    // In chat no more, which knows her all the same.
    let kim = world.member_in(&org, "kim", &[&org.general, &spare]).await;
    world.operator().deactivate_in(&org, &org.general, &kim).await.expect("deactivated");
    // It has nothing to do with any of it, and of it nothing can be known.
    set(&world, "track", "serve_stale", "true").await;
    let chat = keep_up(&world, Instance::open(&world, "chat", "chat-1").await);
    let other = keep_up(&world, Instance::open(&world, "boards", "boards-1").await);

    let done = delete_workspace(&world, &org, &boards, seconds(20)).await;
    assert_eq!(done.deactivated_member_ids, std::slice::from_ref(&eve.member));
    assert_eq!(told(done.enforcement.as_ref()), (EnforcementState::Enforced, vec!["boards"]));
    let done = delete_workspace(&world, &org, &spare, seconds(20)).await;
    assert_eq!(done.deactivated_member_ids, std::slice::from_ref(&kim.member));
    let report = done.enforcement.expect("it was waited for");
    assert_eq!(told(Some(&report)), (EnforcementState::Enforced, vec!["boards", "chat"]));
    assert_eq!(
        (of(&report, "chat").applied_instances, report.organization_id.as_str()),
        (1, org.id.as_str())
    );

    let done = delete_organization(&world, &org, seconds(20)).await;
    // Boards has no workspace there any more, and knows the organization and who was in it.
    assert_eq!(told(done.enforcement.as_ref()), (EnforcementState::Enforced, vec!["boards", "chat"]));
    // Nobody knows then any more which command it was: so it is about every app.
    let again = delete_organization(&world, &org, soon()).await;
    let (state, apps) = told(again.enforcement.as_ref());
    assert_eq!((state, apps.contains(&"track")), (EnforcementState::Unbounded, true), "{apps:?}");
    let unasked = delete_organization(&world, &org, None).await;
    assert_eq!(unasked.enforcement, None);
    for task in [chat, other] {
        task.abort();
    }
}

#[tokio::test]
async fn a_deletion_names_who_may_still_let_people_in() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    world.member_in(&org, "bob", &[&org.general, &boards]).await;
    let bad = Some(prost_types::Duration { seconds: 31, nanos: 0 });
    let request = DeleteWorkspaceRequest {
        organization_id: org.id.clone(),
        workspace_id: boards.clone(),
        await_enforcement: bad,
        ..Default::default()
    };
    invalid(world.organizations().delete_workspace(request).await, "await_enforcement");
    let request = DeleteOrganizationRequest {
        organization_id: org.id.clone(),
        confirm: true,
        await_enforcement: bad,
        ..Default::default()
    };
    invalid(world.organizations().delete_organization(request).await, "await_enforcement");
    let request = ReapplyErasureRequest { await_enforcement: bad, ..Default::default() };
    invalid(world.members().reapply_erasure(request).await, "await_enforcement");
    assert_eq!(world.workspaces(&org).await.len(), 2, "refused before anything is done");

    let _cut_off = Instance::open(&world, "boards", "cut-off").await;
    let pending = [("cut-off".to_owned(), InstanceState::Pending)];
    let done = delete_workspace(&world, &org, &boards, soon()).await;
    let report = done.enforcement.expect("as far as it got");
    assert_eq!(told(Some(&report)), (EnforcementState::Pending, vec!["boards"]));
    assert_eq!(late(&report, "boards"), pending);
    let done = delete_organization(&world, &org, soon()).await;
    assert_eq!(done.organization.expect("the organization").state(), OrganizationState::Deleted);
    let report = done.enforcement.expect("as far as it got");
    assert_eq!(told(Some(&report)), (EnforcementState::Pending, vec!["boards", "chat"]));
    assert_eq!(late(&report, "boards"), pending);
}

/// Somebody who deleted the account is back with a backup, and is put out again.
#[tokio::test]
async fn what_is_erased_again_is_waited_for_like_what_is_erased() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let (store, backup) = world.stop().await.copy().await;
    let world = World::resumed(Server::on(store).await);
    world.operator().delete_account(&bob.account).await.expect("deleted");
    let ledger = world.operator().erasures().await;
    let of_member = ledger.iter().find(|entry| !entry.member_id.is_empty()).expect("a member").clone();
    drop(world.stop().await);

    let world = World::resumed(Server::on(backup).await);
    assert_eq!(world.state(&org, &bob).await, MemberState::Active, "the backup knows nothing of it");
    let _cut_off = Instance::open(&world, "chat", "cut-off").await;
    let request =
        ReapplyErasureRequest { erasure: Some(of_member), await_enforcement: soon(), ..Default::default() };
    let done = world.members().reapply_erasure(request).await.expect("applied").into_inner();
    assert!(done.applied);
    let report = done.enforcement.expect("as far as it got");
    assert_eq!(told(Some(&report)), (EnforcementState::Pending, vec!["chat"]));
    assert_eq!(late(&report, "chat"), [("cut-off".to_owned(), InstanceState::Pending)]);
}

//! `request_id` (AIP-155): what repeats a call, and what does not.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use rollcall_client::v1::*;
use tonic::{
    Code::{FailedPrecondition, InvalidArgument},
    Request,
};
use tonic_types::StatusExt;

use super::Scene;
use crate::fixtures::{made_up_id, refused, regardless};

fn deactivate(scene: &Scene, member: &str, request_id: &str) -> DeactivateMemberRequest {
    DeactivateMemberRequest {
        organization_id: scene.org.id.clone(),
        member_id: member.to_owned(),
        request_id: request_id.to_owned(),
        departure: regardless(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_repetition_changes_nothing_and_answers_with_the_thing_as_it_is_then() {
    let scene = Scene::begin().await;
    let mut members = scene.world.members();
    let account = scene.world.account("new").await;
    let add = AddMemberRequest {
        organization_id: scene.org.id.clone(),
        account_id: account,
        role: OrganizationRole::Member.into(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let first = members.add_member(add.clone()).await.expect("added").into_inner();
    let member = first.member.expect("the member");
    members.deactivate_member(deactivate(&scene, &member.member_id, "")).await.expect("deactivated");
    let mark = scene.world.mark().await;

    let again = members.add_member(add).await.expect("nothing to do").into_inner();

    assert_eq!(again.token, first.token, "the token is of the write that was made");
    let again = again.member.expect("the member");
    assert_eq!((again.member_id, again.version), (member.member_id, member.version + 1));
    assert_eq!(MemberState::try_from(again.state), Ok(MemberState::Deactivated));
    assert_eq!(scene.world.changes_since(mark).await, 0);
}

#[tokio::test]
async fn a_request_id_is_good_for_one_payload() {
    let mut scene = Scene::begin().await;
    let request_id = made_up_id();
    let first = deactivate(&scene, &scene.bob.member, &request_id);
    scene.world.members().deactivate_member(first.clone()).await.expect("deactivated");
    scene.remember().await;

    let mut members = scene.world.members();
    let other = deactivate(&scene, &scene.org.owner.member, &request_id);
    let acting = DeactivateMemberRequest { acting_account_id: scene.org.owner.account.clone(), ..first };
    for reused in [other, acting] {
        let status = refused(members.deactivate_member(reused).await, InvalidArgument, "REQUEST_ID_REUSED");
        let details = status.get_details_bad_request().expect("a BadRequest");
        assert_eq!(details.field_violations[0].field, "request_id");
    }
    // Another method is another payload, whatever its fields.
    let removal = RemoveMemberRequest {
        organization_id: scene.org.id.clone(),
        member_id: scene.bob.member.clone(),
        request_id: request_id.clone(),
        ..Default::default()
    };
    refused(members.remove_member(removal.clone()).await, InvalidArgument, "REQUEST_ID_REUSED");
    scene.is_unchanged().await;

    // Another caller has request ids of its own.
    let mut request = Request::new(removal);
    request.metadata_mut().insert("rollcall-caller", "console".parse().expect("ASCII"));
    members.remove_member(request).await.expect("removed");
}

#[tokio::test]
async fn a_refusal_is_not_remembered() {
    let scene = Scene::begin().await;
    let mut members = scene.world.members();
    let request = deactivate(&scene, &scene.org.owner.member, &made_up_id());
    refused(members.deactivate_member(request.clone()).await, FailedPrecondition, "LAST_OWNER");
    scene.is_unchanged().await;
    scene.world.member_as(&scene.org, "second", OrganizationRole::Owner).await;
    members.deactivate_member(request).await.expect("nothing stands in the way any more");
}

#[tokio::test]
async fn the_same_request_twenty_times_at_once_has_one_effect() {
    let scene = Scene::begin().await;
    let world = &scene.world;
    let [for_account, for_member, for_organization] = [made_up_id(), made_up_id(), made_up_id()];

    let calls = (0..20).map(|_| {
        let (mut accounts, request_id) = (world.accounts(), for_account.clone());
        let email = "new@example.com".to_owned();
        async move {
            let request = CreateAccountRequest { email, request_id, ..Default::default() };
            accounts.create_account(request).await.expect("an account").into_inner()
        }
    });
    let accounts: BTreeSet<String> =
        join_all(calls).await.into_iter().map(|made| made.account.expect("it").account_id).collect();
    assert_eq!(accounts.len(), 1, "{accounts:?}");
    let account = accounts.into_iter().next().expect("one");

    let calls = (0..20).map(|_| {
        let (mut members, account_id) = (world.members(), account.clone());
        let (organization_id, request_id) = (scene.org.id.clone(), for_member.clone());
        async move {
            let role = OrganizationRole::Member.into();
            let request =
                AddMemberRequest { organization_id, account_id, role, request_id, ..Default::default() };
            members.add_member(request).await.expect("a member").into_inner()
        }
    });
    let answers = join_all(calls).await;
    let ids: BTreeSet<_> = answers.iter().map(|made| made.member.clone().expect("it").member_id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(world.changes_since(scene.mark).await, 1, "one member is new");

    let mark = world.mark().await;
    let calls = (0..20).map(|_| {
        let (mut organizations, request_id) = (world.organizations(), for_organization.clone());
        let owner_account_id = account.clone();
        async move {
            let first_workspace =
                FirstWorkspace { app: "chat".to_owned(), display_name: "general".to_owned() };
            let request = CreateOrganizationRequest {
                display_name: "New".to_owned(),
                owner_account_id,
                first_workspace: Some(first_workspace),
                request_id,
                ..Default::default()
            };
            organizations.create_organization(request).await.expect("an organization").into_inner()
        }
    });
    let made = join_all(calls).await;
    let ids: BTreeSet<_> =
        made.iter().map(|made| made.organization.clone().expect("it").organization_id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(world.changes_since(mark).await, 4, "organization, workspace, owner, and the owner in it");
}

#[tokio::test]
async fn an_app_is_registered_once_by_a_repeated_call() {
    let scene = Scene::begin().await;
    let request =
        RegisterAppRequest { app: "new".to_owned(), request_id: made_up_id(), ..Default::default() };
    let calls = (0..20).map(|_| {
        let (mut apps, request) = (scene.world.apps(), request.clone());
        async move { apps.register_app(request).await.expect("registered").into_inner().app.expect("the app") }
    });
    for app in join_all(calls).await {
        assert_eq!(app.name, "new");
    }
    scene.is_unchanged().await;
}

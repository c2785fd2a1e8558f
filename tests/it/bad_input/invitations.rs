//! Invitations that are asked for in a wrong way.

use rollcall_client::v1::*;
use tonic::Code::InvalidArgument;

use super::Scene;
use crate::fixtures::{Org, invalid, invalid_within, inviting, made_up_id, refused, unknown};

const BAD_IDS: [&str; 3] = ["x", "0190b7a4111170008000000000000001", "0190b7a4-1111-7000-8000-00000000000g"];

#[tokio::test]
async fn what_is_wrong_with_a_new_invitation_is_named() {
    let scene = Scene::begin().await;
    let (org, operator) = (&scene.org, scene.world.operator());
    let good = inviting(org, "new", &[&org.general]);
    let long = format!("{}@example.com", "a".repeat(243));
    for bad in ["", "ada", "ada@", "a b@example.com", "A <a@example.com>", &long] {
        let request = CreateInvitationRequest { email: bad.to_owned(), ..good.clone() };
        invalid(operator.invite_with(request).await, "email");
    }
    for bad in BAD_IDS {
        let request = CreateInvitationRequest { organization_id: bad.to_owned(), ..good.clone() };
        invalid(operator.invite_with(request).await, "organization_id");
        let request = CreateInvitationRequest { request_id: bad.to_owned(), ..good.clone() };
        invalid(operator.invite_with(request).await, "request_id");
        let request = CreateInvitationRequest { acting_account_id: bad.to_owned(), ..good.clone() };
        invalid(scene.world.invitations().create_invitation(request).await, "acting_account_id");
    }
    let to = |workspace_id: &str, role: i32| InvitationWorkspace {
        workspace_id: workspace_id.to_owned(),
        role,
        revoked: false,
    };
    let twice = vec![to(&org.general, 1), to(&org.general, 2)];
    let many = (0..101).map(|_| to(&made_up_id(), 1)).collect();
    for bad in
        [vec![to("", 1)], vec![to("x", 1)], vec![to(&org.general, 0)], vec![to(&org.general, 9)], twice, many]
    {
        let request = CreateInvitationRequest { workspaces: bad, ..good.clone() };
        invalid_within(operator.invite_with(request).await, "workspaces");
    }
    for role in [9, -1] {
        let request = CreateInvitationRequest { role, ..good.clone() };
        invalid(operator.invite_with(request).await, "role");
    }
    for bad in ["EN", "fr", "deutsch"] {
        let request = CreateInvitationRequest { language: bad.to_owned(), ..good.clone() };
        invalid(operator.invite_with(request).await, "language");
    }
    for (seconds, nanos) in [(0, 0), (3_599, 0), (30 * 86_400, 1), (-3_600, 0), (i64::MAX, 0), (i64::MIN, -1)]
    {
        let time_to_live = Some(prost_types::Duration { seconds, nanos });
        let request = CreateInvitationRequest { time_to_live, ..good.clone() };
        invalid(operator.invite_with(request).await, "time_to_live");
        let request = ResendInvitationRequest {
            organization_id: org.id.clone(),
            invitation_id: made_up_id(),
            time_to_live,
            ..Default::default()
        };
        invalid(scene.world.invitations().resend_invitation(request).await, "time_to_live");
    }
    scene.is_unchanged().await;
}

#[tokio::test]
async fn ids_pages_and_secrets_of_invitations() {
    let scene = Scene::begin().await;
    let (org, operator) = (&scene.org, scene.world.operator());
    let mut invitations = scene.world.invitations();
    for bad in BAD_IDS {
        let get = GetInvitationRequest {
            organization_id: org.id.clone(),
            invitation_id: bad.to_owned(),
            ..Default::default()
        };
        invalid(invitations.get_invitation(get).await, "invitation_id");
        invalid(operator.resend(org, bad).await, "invitation_id");
        invalid(operator.revoke(org, bad).await, "invitation_id");
        invalid(operator.revoke_for(org, &made_up_id(), bad).await, "workspace_id");
        let list = ListInvitationsRequest { organization_id: bad.to_owned(), ..Default::default() };
        invalid(invitations.list_invitations(list).await, "organization_id");
    }
    for (page_size, page_token, field) in
        [(-1, "", "page_size"), (1_001, "", "page_size"), (0, "!", "page_token")]
    {
        let list = ListInvitationsRequest {
            organization_id: org.id.clone(),
            page_size,
            page_token: page_token.to_owned(),
            ..Default::default()
        };
        invalid(invitations.list_invitations(list).await, field);
    }
    // A page of the members is none of the members with the invitees.
    let first = ListMembersRequest { organization_id: org.id.clone(), page_size: 1, ..Default::default() };
    let page = scene.world.members().list_members(first).await.expect("a page").into_inner();
    let other = ListMembersRequest {
        organization_id: org.id.clone(),
        page_token: page.next_page_token,
        include_invited: true,
        ..Default::default()
    };
    invalid(scene.world.members().list_members(other).await, "page_token");

    invalid(operator.accept("").await, "secret");
    invalid(operator.decline("").await, "secret");
    for bad in ["!", "made-up", "bm90LWEtc2VjcmV0"] {
        refused(operator.accept(bad).await, InvalidArgument, "INVITATION_SECRET_INVALID");
        refused(operator.decline(bad).await, InvalidArgument, "INVITATION_SECRET_INVALID");
    }
    scene.is_unchanged().await;
}

#[tokio::test]
async fn who_accepts_says_for_whom_and_names_are_names() {
    let mut scene = Scene::begin().await;
    let invited = scene.world.invite(&scene.org, "new", &[]).await;
    scene.remember().await;
    // Nobody acts.
    invalid(scene.world.operator().accept(&invited.secret).await, "acting_account_id");
    for bad in ["a\0b", " a", &"ä".repeat(201)] {
        let request = AcceptInvitationRequest {
            secret: invited.secret.clone(),
            acting_account_id: scene.bob.account.clone(),
            display_name: bad.to_owned(),
            ..Default::default()
        };
        invalid(scene.world.invitations().accept_invitation(request).await, "display_name");
    }
    scene.is_unchanged().await;
}

#[tokio::test]
async fn unknown_invitations_are_not_found() {
    let scene = Scene::begin().await;
    let (world, org, operator) = (&scene.world, &scene.org, scene.world.operator());
    let id = made_up_id();
    let get = |organization: &str, id: &str| GetInvitationRequest {
        organization_id: organization.to_owned(),
        invitation_id: id.to_owned(),
        ..Default::default()
    };
    let reason = "INVITATION_NOT_FOUND";
    unknown(world.invitations().get_invitation(get(&org.id, &id)).await, reason, &id);
    unknown(operator.resend(org, &id).await, reason, &id);
    unknown(operator.revoke(org, &id).await, reason, &id);
    unknown(operator.revoke_for(org, &id, &org.general).await, reason, &id);
    // One of another organization is none of this.
    let other = world.organization("eve").await;
    let invited = world.invite(&other, "joe", &[]).await;
    unknown(operator.revoke(org, &invited.id).await, reason, &invited.id);
    unknown(operator.resend(org, &invited.id).await, reason, &invited.id);
    unknown(world.invitations().get_invitation(get(&org.id, &invited.id)).await, reason, &invited.id);
    assert_eq!(world.invitation(&other, &invited.id).await.version, 1);

    let reason = "ORGANIZATION_NOT_FOUND";
    let nowhere = Org { id: id.clone(), general: org.general.clone(), owner: scene.bob.clone() };
    unknown(operator.invite(&nowhere, "new", &[]).await, reason, &id);
    unknown(operator.revoke(&nowhere, &id).await, reason, &id);
    unknown(operator.resend(&nowhere, &id).await, reason, &id);
    unknown(world.invitations().get_invitation(get(&id, &id)).await, reason, &id);
    let list = ListInvitationsRequest { organization_id: id.clone(), ..Default::default() };
    unknown(world.invitations().list_invitations(list).await, reason, &id);
    unknown(operator.invite(org, "new", &[&id]).await, "WORKSPACE_NOT_FOUND", &id);
    unknown(operator.invite(org, "new", &[&other.general]).await, "WORKSPACE_NOT_FOUND", &other.general);
}

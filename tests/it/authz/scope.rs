//! R15: what an app sees and commands in an organization in which another app is too.

use rollcall_client::v1::{
    access_service_client::AccessServiceClient, feed_service_client::FeedServiceClient,
    invitation_service_client::InvitationServiceClient, member_service_client::MemberServiceClient,
    organization_service_client::OrganizationServiceClient, subject::Subject as Thing, *,
};
use tonic::{Code, Response};

use super::GATEWAY;
use crate::{
    fixtures::{Caller, World, made_up_id, refused},
    support::{Channel, Server},
};

/// The workspace and the member that something is about.
pub(super) fn things(subject: Option<&Subject>) -> (&str, &str) {
    match subject.and_then(|subject| subject.subject.as_ref()) {
        Some(Thing::Workspace(workspace)) => (&workspace.workspace_id, ""),
        Some(Thing::Member(member)) => ("", &member.member_id),
        Some(Thing::WorkspaceMember(membership)) => (&membership.workspace_id, &membership.member_id),
        _ => ("", ""),
    }
}

#[tokio::test]
async fn r15_an_app_sees_its_own_things_in_an_organization_of_several() {
    let world = World::on(Server::checking_and_telling_apart().await).await;
    let org = world.organization("ada").await;
    let board = world.workspace(&org, "boards", "board").await;
    let (in_chat, in_board) = (
        world.member_in(&org, "chat", &[&org.general]).await,
        world.member_in(&org, "board", &[&board]).await,
    );
    let both = world.member_in(&org, "both", &[&org.general, &board]).await;
    world.invite(&org, "to.board", &[&board]).await;
    let channel = world.server().channel().calling_as("boards");
    let boards = Caller::new(channel.clone());
    let organization_id = org.id.clone();

    let request = ListWorkspacesRequest { organization_id: organization_id.clone(), ..Default::default() };
    let listed = OrganizationServiceClient::new(channel.clone()).list_workspaces(request).await;
    let listed = listed.map(Response::into_inner).expect("a page").workspaces;
    let ids: Vec<&str> = listed.iter().map(|workspace| workspace.workspace_id.as_str()).collect();
    assert_eq!(ids, [board.as_str()]);

    let mut members = MemberServiceClient::new(channel.clone());
    let request = ListMembersRequest { organization_id: organization_id.clone(), ..Default::default() };
    let listed = members.list_members(request).await.expect("a page").into_inner().members;
    let mut ids: Vec<&str> = listed.iter().map(|member| member.member_id.as_str()).collect();
    ids.sort_unstable();
    let mut expected = [in_board.member.as_str(), both.member.as_str()];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    let request = GetMemberRequest {
        organization_id: organization_id.clone(),
        member_id: in_chat.member.clone(),
        ..Default::default()
    };
    refused(members.get_member(request).await, Code::NotFound, "MEMBER_NOT_FOUND");
    let request = ListInvitationsRequest { organization_id: organization_id.clone(), ..Default::default() };
    let mut invitations = InvitationServiceClient::new(channel.clone());
    let listed = invitations.list_invitations(request.clone()).await.expect("a page").into_inner();
    assert_eq!(listed.invitations.len(), 1);
    let chat = world.server().channel().calling_as("chat");
    let listed = InvitationServiceClient::new(chat.clone()).list_invitations(request).await.expect("a page");
    assert!(listed.into_inner().invitations.is_empty(), "it is to a workspace of the other app");

    // What happened in the other app is not told either.
    let request = ListChangesRequest { organization_id, page_size: 1_000, ..Default::default() };
    let mut feed = FeedServiceClient::new(channel.clone());
    let changes = feed.list_changes(request).await.expect("a page").into_inner().changes;
    let told: Vec<(&str, &str)> = changes.iter().map(|change| things(change.subject.as_ref())).collect();
    assert!(told.iter().any(|(workspace, _)| *workspace == board), "{told:?}");
    assert!(told.iter().all(|(workspace, _)| *workspace != org.general), "{told:?}");
    assert!(told.iter().all(|(_, member)| *member != in_chat.member), "{told:?}");

    // Nor does it command what it does not see; another app's name in the request is its own fault.
    refused(boards.deactivate(&org, &in_chat).await, Code::NotFound, "MEMBER_NOT_FOUND");
    refused(boards.remove_from(&org, &org.general, &both).await, Code::NotFound, "WORKSPACE_NOT_FOUND");
    refused(
        boards.create_workspace(&org, "chat", "more").await,
        Code::PermissionDenied,
        "WORKSPACE_OF_OTHER_APP",
    );
    // Whom it adds to its own workspace enters its scope.
    let added = boards.add_to(&org, &board, &in_chat, WorkspaceRole::Member).await.expect("added");

    let check = |workspace: &str| CheckAccessRequest {
        check: Some(AccessCheck {
            workspace_id: workspace.to_owned(),
            person: Some(access_check::Person::AccountId(both.account.clone())),
            ..Default::default()
        }),
        at_least_as_fresh: added.token.clone(),
        ..Default::default()
    };
    let allowed = async |channel: Channel, workspace: &str| {
        let answer =
            AccessServiceClient::new(channel).check_access(check(workspace)).await.expect("an answer");
        let access = answer.into_inner().access.expect("an answer");
        (access.allowed, access.denial_reason())
    };
    let unknown = (false, DenialReason::WorkspaceUnknown);
    assert!(allowed(channel.clone(), &board).await.0);
    assert_eq!(allowed(channel.clone(), &org.general).await, unknown);
    assert!(allowed(chat.clone(), &org.general).await.0);
    assert_eq!(allowed(chat, &board).await, unknown);

    // The person is out of everything, and each app is told of its own.
    let gone = boards.deactivate(&org, &both).await.expect("deactivated");
    assert_eq!(gone.deactivated_workspace_ids, [board]);
}

#[tokio::test]
async fn r15_an_app_reports_lost_revocations_of_its_own_organizations_alone() {
    let world = World::telling_apart().await;
    let (own, foreign) = (world.organization("ada").await, world.organization("eve").await);
    world.workspace(&own, "boards", "board").await;
    let boards = super::instance(world.server().channel().calling_as("boards"), "boards", "one").await;
    let lost = |organization: &str| LostRevocation {
        change_id: made_up_id(),
        organization_id: organization.to_owned(),
        member_id: made_up_id(),
        reason: ChangeReason::Deactivated.into(),
        ..Default::default()
    };
    let revocations = vec![lost(&foreign.id), lost(&own.id), lost(&made_up_id())];
    let request = ReportLostRevocationsRequest { subscription_id: boards.subscription, revocations };
    let mut feed = FeedServiceClient::new(world.server().channel().calling_as("boards"));
    let told = async |feed: &mut FeedServiceClient<Channel>| {
        let answer = feed.report_lost_revocations(request.clone()).await.expect("reported");
        answer.into_inner().resolved_change_ids
    };
    assert!(told(&mut feed).await.is_empty());
    let waiting = world.feed().list_lost_revocations(ListLostRevocationsRequest::default()).await;
    let waiting = waiting.expect("a page").into_inner().revocations;
    let waiting: Vec<&str> = waiting.iter().map(|lost| lost.organization_id.as_str()).collect();
    assert_eq!(waiting, [own.id.as_str()]);

    // Another app has reported the same, and it is decided: that is told to those whose organization it is.
    let chat = super::instance(world.server().channel().calling_as("chat"), "chat", "one").await;
    let by_chat = ReportLostRevocationsRequest { subscription_id: chat.subscription, ..request.clone() };
    FeedServiceClient::new(world.server().channel().calling_as("chat"))
        .report_lost_revocations(by_chat)
        .await
        .expect("reported");
    for lost in &request.revocations[..2] {
        let decided = ResolveLostRevocationRequest {
            change_id: lost.change_id.clone(),
            decision: LostRevocationDecision::Dropped.into(),
            ..Default::default()
        };
        world.feed().resolve_lost_revocation(decided).await.expect("decided");
    }
    assert_eq!(told(&mut feed).await, [request.revocations[1].change_id.clone()]);
}

#[tokio::test]
async fn r15_a_person_brings_an_app_into_an_organization_and_no_app_brings_itself() {
    let world = World::telling_apart().await;
    let org = world.organization("ada").await;
    let elsewhere = world.organization_of(&org.owner.account).await;
    let boards = Caller::new(world.server().channel().calling_as("boards"));
    refused(boards.create_workspace(&org, "boards", "board").await, Code::NotFound, "ORGANIZATION_NOT_FOUND");
    let gateway = Caller::new(world.server().channel().calling_as(GATEWAY)).acting(&org.owner.account);
    let made = gateway.create_workspace(&org, "boards", "board").await.expect("by the owner");
    let board = made.workspace.expect("the workspace").workspace_id;
    boards.rename_workspace(&org, &board, "renamed").await.expect("its own by now");

    // Where a person goes next is told as far as whoever asks knows it (R21).
    let bob = world.member_in(&org, "bob", &[&org.general, &board]).await;
    world.add_account(&elsewhere, &bob.account, OrganizationRole::Member).await;
    let hidden = world.organization("eve").await;
    world.add_account(&hidden, &bob.account, OrganizationRole::Member).await;
    let gone = gateway.deactivate(&org, &bob).await.expect("deactivated");
    assert_eq!(gone.other_organization_ids, [elsewhere.id]);
}

//! A request id that was used is no right: whoever is out reads nothing by repeating what they wrote before.

use std::fmt::Debug;

use rollcall_client::v1::*;
use tonic::{Code, Response, Status};

use super::GATEWAY;
use crate::{
    fixtures::{Org, Person, World, inviting, made_up_id, mask, refused, regardless},
    support::Channel,
};

/// Writes that an admin makes, each under a request id of its own, that can be made again byte for byte.
struct Writes {
    channel: Channel,
    named: UpdateOrganizationRequest,
    profiled: UpdateMemberRequest,
    invited: CreateInvitationRequest,
    put_in: AddWorkspaceMemberRequest,
    founded: CreateWorkspaceRequest,
}

/// What each came to, in words.
type Answers = Vec<Result<String, Status>>;

fn told<T: Debug>(answer: Result<Response<T>, Status>) -> Result<String, Status> {
    answer.map(|answer| format!("{:?}", answer.into_inner()))
}

impl Writes {
    fn of(channel: Channel, org: &Org, admin: &Person, bob: &Person, workspace: &str) -> Self {
        let acting = &admin.account;
        let organization = Organization {
            organization_id: org.id.clone(),
            display_name: "Named by X".to_owned(),
            ..Default::default()
        };
        let member = Member {
            organization_id: org.id.clone(),
            member_id: bob.member.clone(),
            profile: Some(Profile { display_name: "Bob by X".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        Self {
            channel,
            named: UpdateOrganizationRequest {
                organization: Some(organization),
                update_mask: mask(&["display_name"]),
                acting_account_id: acting.clone(),
                request_id: made_up_id(),
                ..Default::default()
            },
            profiled: UpdateMemberRequest {
                member: Some(member),
                update_mask: mask(&["profile.display_name"]),
                acting_account_id: acting.clone(),
                request_id: made_up_id(),
                ..Default::default()
            },
            invited: CreateInvitationRequest {
                acting_account_id: acting.clone(),
                request_id: made_up_id(),
                ..inviting(org, "zoe", &[])
            },
            put_in: AddWorkspaceMemberRequest {
                organization_id: org.id.clone(),
                workspace_id: workspace.to_owned(),
                member_id: bob.member.clone(),
                role: WorkspaceRole::Member.into(),
                acting_account_id: acting.clone(),
                request_id: made_up_id(),
                ..Default::default()
            },
            founded: CreateWorkspaceRequest {
                organization_id: org.id.clone(),
                app: "chat".to_owned(),
                display_name: "Founded by X".to_owned(),
                acting_account_id: acting.clone(),
                request_id: made_up_id(),
                ..Default::default()
            },
        }
    }

    async fn make(&self) -> Answers {
        let mut organizations =
            organization_service_client::OrganizationServiceClient::new(self.channel.clone());
        let mut members = member_service_client::MemberServiceClient::new(self.channel.clone());
        let mut invitations = invitation_service_client::InvitationServiceClient::new(self.channel.clone());
        vec![
            told(organizations.update_organization(self.named.clone()).await),
            told(members.update_member(self.profiled.clone()).await),
            told(invitations.create_invitation(self.invited.clone()).await),
            told(members.add_workspace_member(self.put_in.clone()).await),
            told(organizations.create_workspace(self.founded.clone()).await),
        ]
    }
}

#[tokio::test]
async fn r24_who_is_out_reads_nothing_by_repeating_what_they_wrote() {
    let world = World::telling_apart().await;
    let org = world.organization("ada").await;
    let workspace = world.workspace(&org, "chat", "w").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let admin = world.member_as(&org, "x", OrganizationRole::Admin).await;
    let gateway = world.server().channel().calling_as(GATEWAY);
    let writes = Writes::of(gateway, &org, &admin, &bob, &workspace);
    for first in writes.make().await {
        first.expect("an admin may");
    }
    let owner = world.operator();
    owner.set_name(&org, &bob, "Robert").await.expect("renamed");
    let again = writes.make().await;
    assert!(again[1].as_ref().is_ok_and(|answer| answer.contains("Robert")), "it shows what is: {again:?}");
    assert!(again.iter().all(Result::is_ok), "{again:?}");

    // Out in every way, and nothing that was written before says what became of it.
    owner.deactivate(&org, &admin).await.expect("out");
    let mark = world.mark().await;
    let deactivated = writes.make().await;
    assert_eq!(world.changes_since(mark).await, 0);
    owner.remove(&org, &admin).await.expect("removed");
    let mark = world.mark().await;
    let removed = writes.make().await;
    assert_eq!(world.changes_since(mark).await, 0);
    for refusal in deactivated.into_iter().chain(removed) {
        refused(refusal, Code::NotFound, "ORGANIZATION_NOT_FOUND");
    }
}

#[tokio::test]
async fn r24_who_left_may_repeat_their_own_departure() {
    let world = World::telling_apart().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let zoe = world.member_as(&org, "zoe", OrganizationRole::Admin).await;
    // Where they keep their accounts.
    let other = world.organization("eve").await;
    for person in [&bob, &zoe] {
        world.add_account(&other, &person.account, OrganizationRole::Member).await;
    }
    let gateway = world.server().channel().calling_as(GATEWAY);
    let mut members = member_service_client::MemberServiceClient::new(gateway.clone());
    let leaving = LeaveOrganizationRequest {
        organization_id: org.id.clone(),
        confirm: true,
        acting_account_id: bob.account.clone(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let left = members.leave_organization(leaving.clone()).await.expect("he may").into_inner();
    let again = members.leave_organization(leaving).await.expect("it was done").into_inner();
    assert_eq!((again.token, again.member), (left.token, left.member));
    // By the method that others are put out by too.
    let out = DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: zoe.member.clone(),
        departure: regardless(),
        acting_account_id: zoe.account.clone(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let left = members.deactivate_member(out.clone()).await.expect("she may").into_inner();
    let again = members.deactivate_member(out).await.expect("it was done").into_inner();
    assert_eq!((again.token, again.member), (left.token, left.member));
    // Who deleted the organization belongs to it no more.
    let gone = DeleteOrganizationRequest {
        organization_id: org.id.clone(),
        confirm: true,
        acting_account_id: org.owner.account.clone(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let mut organizations = organization_service_client::OrganizationServiceClient::new(gateway);
    let first = organizations.delete_organization(gone.clone()).await.expect("the owner may").into_inner();
    let again = organizations.delete_organization(gone).await.expect("it was done").into_inner();
    assert_eq!((again.token, again.organization), (first.token, first.organization));
}

/// What is not in its scope yet when an app has made it, and what ended with the account.
#[tokio::test]
async fn r24_a_retry_of_what_nobody_else_has_seen_is_answered() {
    let world = World::telling_apart().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let known = world.member_in(&other, "known", &[&other.general]).await;
    let chat = world.server().channel().calling_as("chat");
    let mut members = member_service_client::MemberServiceClient::new(chat.clone());
    let add = AddMemberRequest {
        organization_id: org.id.clone(),
        account_id: known.account.clone(),
        role: OrganizationRole::Member.into(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let added = members.add_member(add.clone()).await.expect("an app may").into_inner();
    assert_eq!(members.add_member(add).await.expect("it was done").into_inner(), added);
    let mut invitations = invitation_service_client::InvitationServiceClient::new(chat);
    let invite = CreateInvitationRequest { request_id: made_up_id(), ..inviting(&org, "zoe", &[]) };
    let invited = invitations.create_invitation(invite.clone()).await.expect("an app may").into_inner();
    let again = invitations.create_invitation(invite).await.expect("it was done").into_inner();
    assert_eq!(again.invitation, invited.invitation);

    // The only organization of somebody, by the method that others are put out by too.
    let bob = world.member(&org, "bob").await;
    let gateway = world.server().channel().calling_as(GATEWAY);
    let mut members = member_service_client::MemberServiceClient::new(gateway);
    let departure = DepartureTerms { acknowledge_account_deletion: true, ..regardless().expect("terms") };
    let out = DeactivateMemberRequest {
        organization_id: org.id.clone(),
        member_id: bob.member.clone(),
        departure: Some(departure),
        acting_account_id: bob.account.clone(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let left = members.deactivate_member(out.clone()).await.expect("he may").into_inner();
    let again = members.deactivate_member(out).await.expect("it was done").into_inner();
    assert_eq!((again.token, again.member), (left.token, left.member));
}

//! For whom a caller acts: who may say so, and what becomes of who may not.

use std::collections::BTreeSet;

use rollcall_client::v1::{
    account_service_client::AccountServiceClient, member_service_client::MemberServiceClient,
    organization_service_client::OrganizationServiceClient, *,
};
use tonic::{Code, Status};

use super::{
    GATEWAY,
    matrix::{ask, matrix, request},
    tenant,
};
use crate::{
    fixtures::{Caller, Org, World, by_email, refused, requests::methods},
    support::{CALLERS, Channel, Server, create_database},
};

pub(super) async fn rename(
    channel: Channel,
    org: &Org,
    acting: &str,
) -> Result<UpdateOrganizationResponse, Status> {
    let organization = Organization {
        organization_id: org.id.clone(),
        display_name: "Renamed".to_owned(),
        ..Default::default()
    };
    let request = UpdateOrganizationRequest {
        organization: Some(organization),
        update_mask: crate::fixtures::mask(&["display_name"]),
        acting_account_id: acting.to_owned(),
        ..Default::default()
    };
    let answer = OrganizationServiceClient::new(channel).update_organization(request).await;
    answer.map(tonic::Response::into_inner)
}

pub(super) async fn list(channel: Channel, org: &Org, acting: &str) -> Result<ListMembersResponse, Status> {
    let request = ListMembersRequest {
        organization_id: org.id.clone(),
        acting_account_id: acting.to_owned(),
        ..Default::default()
    };
    MemberServiceClient::new(channel).list_members(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn only_who_may_say_for_whom_it_acts_does_so() {
    let world = World::telling_apart().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let channel = world.server().channel();
    let as_caller = |name: &str| channel.clone().calling_as(name);
    let ada = &org.owner.account;

    rename(as_caller(GATEWAY), &org, ada).await.expect("for an owner");
    // Neither writing nor reading, as itself or for a person.
    for acting in ["", ada] {
        let worker = as_caller("boards-worker");
        refused(rename(worker.clone(), &org, acting).await, Code::PermissionDenied, "CALLER_NOT_ALLOWED");
        refused(list(worker, &org, acting).await, Code::PermissionDenied, "CALLER_NOT_ALLOWED");
    }
    // Whom it is for was not said.
    refused(rename(as_caller(GATEWAY), &org, "").await, Code::PermissionDenied, "CALLER_NOT_ALLOWED");
    refused(list(as_caller(GATEWAY), &org, "").await, Code::PermissionDenied, "CALLER_NOT_ALLOWED");
    // An app reads as itself, and says of nobody that it acts for them.
    list(as_caller("chat"), &org, "").await.expect("its own");
    for acting in [ada, &other.owner.account] {
        let said = list(as_caller("chat"), &org, acting).await;
        refused(said, Code::PermissionDenied, "IMPERSONATION_NOT_ALLOWED");
    }
    refused(rename(as_caller("chat"), &org, "").await, Code::PermissionDenied, "CALLER_NOT_ALLOWED");

    // Who acts for a person sees no further than that person.
    let seen = list(as_caller(GATEWAY), &org, ada).await.expect("a member").members;
    assert_eq!(seen.len(), 1);
    let stranger = list(as_caller(GATEWAY), &org, &other.owner.account).await;
    refused(stranger, Code::NotFound, "ORGANIZATION_NOT_FOUND");
    let stranger = rename(as_caller(GATEWAY), &org, &other.owner.account).await;
    refused(stranger, Code::NotFound, "ORGANIZATION_NOT_FOUND");
    let by_gateway = LookupAccountRequest { acting_account_id: ada.clone(), ..by_email("eve@example.com") };
    let found = AccountServiceClient::new(as_caller(GATEWAY)).lookup_account(by_gateway).await;
    refused(found, Code::NotFound, "ACCOUNT_NOT_FOUND");
    // Nor does the operator, who may do less than everything.
    refused(
        list(channel.clone(), &org, &other.owner.account).await,
        Code::NotFound,
        "ORGANIZATION_NOT_FOUND",
    );
    refused(rename(channel, &org, &other.owner.account).await, Code::PermissionDenied, "ROLE_INSUFFICIENT");
}

/// What says for whom it asks: for who may say so.
const SAID: [&str; 2] =
    ["AccessService/BatchCheckAccess checks[].workspace_id", "AccessService/CheckAccess check.workspace_id"];
/// What needs no more than what the request brings along.
const PROVEN: [&str; 4] = [
    "FeedService/AwaitEnforcement token",
    "FeedService/GetEnforcement token",
    "InvitationService/DeclineInvitation secret",
    "MemberService/GetErasure receipt",
];

#[tokio::test]
async fn a_workload_that_says_nothing_of_a_person_may_nothing() {
    let world = World::on(Server::checking_and_telling_apart().await).await;
    let tenant = tenant(&world, "chat", "alone").await;
    let (rows, methods) = (matrix(), methods());
    let mut refused = 0;
    for (workload, expected) in [(GATEWAY, [&SAID[..], &PROVEN].concat()), ("boards-worker", PROVEN.to_vec())]
    {
        let channel = world.server().channel().calling_as(workload);
        let mut otherwise = BTreeSet::new();
        for row in &rows {
            let message = request(&methods[row.method], row, &tenant, None);
            match ask(&channel, &methods[row.method], message).await.as_str() {
                "PERMISSION_DENIED/CALLER_NOT_ALLOWED" => refused += 1,
                _ => {
                    let first = row.request.split('=').next().unwrap_or_default();
                    otherwise.insert(format!("{} {first}", row.method));
                }
            }
        }
        assert_eq!(otherwise.into_iter().collect::<Vec<_>>(), expected, "{workload}");
    }
    println!("{refused} of {} requests refused", 2 * rows.len());
}

#[tokio::test]
async fn an_app_for_a_person_sees_and_does_what_both_may() {
    let trusted = CALLERS
        .replace("name = \"boards\"\napp = true", "name = \"boards\"\napp = true\nimpersonates = true");
    assert_ne!(trusted, CALLERS);
    let world = World::on(Server::telling_apart_on(create_database().await, &trusted).await).await;
    let org = world.organization("ada").await;
    let (without_app, of_others) =
        (world.organization_of(&org.owner.account).await, world.organization("eve").await);
    let board = world.workspace(&org, "boards", "board").await;
    world.workspace(&of_others, "boards", "theirs").await;
    let in_chat = world.member_in(&org, "bob", &[&org.general]).await;
    let in_board = world.member_in(&org, "cleo", &[&board]).await;
    let channel = world.server().channel().calling_as("boards");
    let ada = &org.owner.account;

    let seen = list(channel.clone(), &org, ada).await.expect("of both").members;
    let seen: Vec<&str> = seen.iter().map(|member| member.member_id.as_str()).collect();
    assert_eq!(seen, [in_board.member.as_str()], "who is in the scope of the app");
    list(channel.clone(), &of_others, "").await.expect("the app itself is there");
    for org in [&without_app, &of_others] {
        refused(list(channel.clone(), org, ada).await, Code::NotFound, "ORGANIZATION_NOT_FOUND");
        refused(rename(channel.clone(), org, ada).await, Code::NotFound, "ORGANIZATION_NOT_FOUND");
    }
    rename(channel.clone(), &org, ada).await.expect("an owner, where the app is too");
    // The role is the person's, whom it is about is the app's.
    let for_owner = Caller::new(channel.clone()).acting(ada);
    let for_member = Caller::new(channel).acting(&in_board.account);
    refused(for_owner.deactivate(&org, &in_chat).await, Code::NotFound, "MEMBER_NOT_FOUND");
    refused(
        for_member.set_role(&org, &in_board, OrganizationRole::Admin).await,
        Code::PermissionDenied,
        "ROLE_ABOVE_OWN",
    );
    for_owner.deactivate(&org, &in_board).await.expect("what both may");
}

#[tokio::test]
async fn who_was_put_out_reads_nothing_and_may_still_be_told_what_they_are() {
    let world = World::telling_apart().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let gateway = world.server().channel().calling_as(GATEWAY);
    list(gateway.clone(), &org, &bob.account).await.expect("a member");
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    refused(list(gateway.clone(), &org, &bob.account).await, Code::NotFound, "ORGANIZATION_NOT_FOUND");
    // Commands are for the rules to answer: a repetition of the same departure changes nothing (R24).
    let request = LeaveOrganizationRequest {
        organization_id: org.id.clone(),
        acting_account_id: bob.account.clone(),
        confirm: true,
        ..Default::default()
    };
    let left = MemberServiceClient::new(gateway).leave_organization(request).await.expect("out already");
    assert_eq!(left.into_inner().member.expect("the member").state(), MemberState::Deactivated);
}

//! What is good for one caller and for no other: page tokens, cursors, etags of plans, receipts, names of instances.

use rollcall_client::v1::{
    app_service_client::AppServiceClient, feed_service_client::FeedServiceClient,
    member_service_client::MemberServiceClient, watch_response::Message, *,
};
use tonic::Code;

use super::{GATEWAY, instance};
use crate::fixtures::{Caller, World, invalid, refused};

#[tokio::test]
async fn what_another_caller_was_given_is_refused() {
    let world = World::telling_apart().await;
    let org = world.organization("ada").await;
    let board = world.workspace(&org, "boards", "board").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &board]).await;
    world.member_in(&org, "zoe", &[&org.general, &board]).await;
    let channel = world.server().channel();
    let as_caller = |name: &str| channel.clone().calling_as(name);
    let of = |name: &str| Caller::new(as_caller(name));

    // Pages.
    let first = ListMembersRequest { organization_id: org.id.clone(), page_size: 1, ..Default::default() };
    let page = MemberServiceClient::new(as_caller("chat")).list_members(first.clone()).await.expect("a page");
    let next = ListMembersRequest { page_token: page.into_inner().next_page_token, ..first };
    for other in ["boards", "console"] {
        invalid(MemberServiceClient::new(as_caller(other)).list_members(next.clone()).await, "page_token");
    }
    let acting = ListMembersRequest { acting_account_id: org.owner.account.clone(), ..next.clone() };
    invalid(MemberServiceClient::new(as_caller(GATEWAY)).list_members(acting).await, "page_token");
    MemberServiceClient::new(as_caller("chat")).list_members(next).await.expect("its own");

    // Plans.
    let owner = of(GATEWAY).acting(&org.owner.account);
    let plan = owner.plan(&org, &bob, DepartureKind::Deactivate, DepartureTerms::default()).await;
    let terms = DepartureTerms { plan_etag: plan.expect("a plan").etag, ..Default::default() };
    let other = of("chat").deactivate_with(&org, &bob, terms.clone()).await;
    refused(other, Code::Aborted, "PLAN_CHANGED");
    owner.deactivate_with(&org, &bob, terms).await.expect("as it was planned");

    // Receipts.
    let receipt = owner.erase(&org, &bob).await.expect("erased").receipt;
    let read = async |name: &str| {
        let request = GetErasureRequest { receipt: receipt.clone(), ..Default::default() };
        MemberServiceClient::new(as_caller(name)).get_erasure(request).await
    };
    for other in ["chat", "boards-worker"] {
        refused(read(other).await, Code::InvalidArgument, "RECEIPT_INVALID");
    }
    read(GATEWAY).await.expect("whoever got it");
    read("console").await.expect("who may read all");
}

#[tokio::test]
async fn another_app_takes_no_stream_and_says_nothing_for_it() {
    let world = World::telling_apart().await;
    let org = world.organization("ada").await;
    let channel = world.server().channel();
    let as_caller = |name: &str| channel.clone().calling_as(name);
    let mut one = instance(as_caller("chat"), "chat", "one").await;
    let mut boards = FeedServiceClient::new(as_caller("boards"));
    let watch = |app: &str, cursor: &str| WatchRequest {
        app: app.to_owned(),
        instance: "one".to_owned(),
        cursor: cursor.to_owned(),
        ..Default::default()
    };
    // Its name, its cursor, its subscription.
    let taken = boards.watch(watch("chat", "")).await.map(|_| ());
    refused(taken, Code::NotFound, "APP_NOT_FOUND");
    let resumed = boards.watch(watch("boards", &one.cursor)).await.map(|_| ());
    refused(resumed, Code::FailedPrecondition, "CURSOR_SCOPE_CHANGED");
    let resumed = WatchRequest { subscription_id: one.subscription.clone(), ..watch("boards", "") };
    refused(boards.watch(resumed).await.map(|_| ()), Code::NotFound, "SUBSCRIPTION_NOT_FOUND");
    let elsewhere = world.organization("eve").await;
    let filtered = WatchRequest { organization_ids: vec![elsewhere.id], ..watch("boards", "") };
    refused(boards.watch(filtered).await.map(|_| ()), Code::NotFound, "ORGANIZATION_NOT_FOUND");

    let subscription_id = one.subscription.clone();
    let acknowledge = AcknowledgeRequest {
        subscription_id: subscription_id.clone(),
        applied_cursor: one.cursor.clone(),
        ..Default::default()
    };
    refused(boards.acknowledge(acknowledge.clone()).await, Code::NotFound, "SUBSCRIPTION_NOT_FOUND");
    for cursor in ["", &one.cursor] {
        let cursor = cursor.to_owned();
        let close = CloseSubscriptionRequest {
            subscription_id: subscription_id.clone(),
            cursor,
            ..Default::default()
        };
        refused(boards.close_subscription(close).await, Code::NotFound, "SUBSCRIPTION_NOT_FOUND");
    }
    let report = ReportLostRevocationsRequest { subscription_id, ..Default::default() };
    refused(boards.report_lost_revocations(report).await, Code::NotFound, "SUBSCRIPTION_NOT_FOUND");
    let listed = boards.list_subscriptions(ListSubscriptionsRequest::default()).await.expect("a page");
    assert!(listed.into_inner().subscriptions.is_empty(), "none of its own");

    let mut apps = AppServiceClient::new(as_caller("boards"));
    let listed = apps.list_apps(ListAppsRequest::default()).await.expect("a page").into_inner().apps;
    assert_eq!(listed.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["boards"]);

    // The stream goes on, and so does its lease.
    FeedServiceClient::new(as_caller("chat")).acknowledge(acknowledge).await.expect("granted");
    let renamed = world.operator().rename_organization(&org.id, "Renamed").await.expect("renamed");
    let version = renamed.organization.expect("it").version;
    loop {
        let message = one.stream.message().await.expect("no refusal").expect("no end");
        let Some(Message::Batch(batch)) = message.message else { continue };
        let told = batch.changes.iter().any(|change| match &change.subject {
            Some(Subject { subject: Some(subject::Subject::Organization(told)) }) => {
                told.organization_id == org.id && told.version == version
            }
            _ => false,
        });
        if told {
            break;
        }
    }
}

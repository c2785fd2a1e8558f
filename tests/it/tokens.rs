//! C13: reads at the token of a write, on one replica of the service and on two (T36).

use std::time::Duration;

use rollcall_client::v1::{
    feed_service_client::FeedServiceClient, member_service_client::MemberServiceClient,
    organization_service_client::OrganizationServiceClient, *,
};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::{
    fixtures::{Org, World, by_email, refused},
    small::Small,
    support::{Channel, Server},
};

/// What sequencing takes for itself.
const SEQUENCING: &str = "8243122705118243";

/// Reads an organization at a token.
async fn get(channel: Channel, organization: &str, token: &str) -> Result<Organization, Status> {
    let request = GetOrganizationRequest {
        organization_id: organization.to_owned(),
        at_least_as_fresh: token.to_owned(),
        ..Default::default()
    };
    let answer = OrganizationServiceClient::new(channel).get_organization(request).await?;
    Ok(answer.into_inner().organization.expect("the organization"))
}

/// The same, by a client that does not wait for long.
async fn get_soon(channel: Channel, organization: &str, token: &str) -> Result<Organization, Status> {
    let mut request = Request::new(GetOrganizationRequest {
        organization_id: organization.to_owned(),
        at_least_as_fresh: token.to_owned(),
        ..Default::default()
    });
    request.set_timeout(Duration::from_millis(600));
    let answer = OrganizationServiceClient::new(channel).get_organization(request).await?;
    Ok(answer.into_inner().organization.expect("the organization"))
}

async fn rename(world: &World, org: &Org, name: &str) -> String {
    world.operator().rename_organization(&org.id, name).await.expect("a new name").token
}

#[tokio::test(flavor = "multi_thread")]
async fn c13_a_read_on_another_replica_is_never_older_than_its_token() {
    let one = Server::start().await;
    let other = Server::beside(&one).await;
    let small = Small::make(one.channel(), "ada@example.com").await;
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let (small, writes, reads) = (small.clone(), one.channel(), other.channel());
        tasks.spawn(async move {
            let mut stale = 0;
            for round in 0..12 {
                let request = small.renaming(&format!("name {task}-{round}"));
                let written =
                    OrganizationServiceClient::new(writes.clone()).update_organization(request).await;
                let written = written.expect("a new name").into_inner();
                let version = written.organization.expect("the organization").version;
                let read = get(reads.clone(), &small.organization, &written.token).await.expect("a read");
                stale += usize::from(read.version < version);
            }
            stale
        });
    }
    let stale: usize = tasks.join_all().await.into_iter().sum();
    println!("t36_stale_reads = {stale}");
    assert_eq!(stale, 0);
    other.stop().await;
}

#[tokio::test]
async fn c13_a_read_waits_for_a_token_that_the_log_does_not_have_yet() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let channel = world.server().channel();
    let database = world.server().database();
    let request = UpdateOrganizationRequest {
        organization: Some(Organization {
            organization_id: org.id.clone(),
            display_name: "held back".to_owned(),
            ..Default::default()
        }),
        update_mask: crate::fixtures::mask(&["display_name"]),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let write = async || world.organizations().update_organization(request.clone()).await;
    database.batch_execute(&format!("SELECT pg_advisory_lock({SEQUENCING})")).await.expect("held");
    let token = write().await.expect("success does not wait for the log").into_inner().token;
    let status =
        refused(get_soon(channel.clone(), &org.id, &token).await, Code::Unavailable, "TOKEN_NOT_REACHED");
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    let waiting = tokio::spawn({
        let (channel, id, token) = (channel.clone(), org.id.clone(), token.clone());
        async move { get(channel, &id, &token).await }
    });
    database.batch_execute(&format!("SELECT pg_advisory_unlock({SEQUENCING})")).await.expect("let go");
    let read = waiting.await.expect("no panic").expect("what it waited for");
    assert_eq!(read.display_name, "held back");
    get(channel.clone(), &org.id, &token).await.expect("the same token later");
    // The same write again knows where its change stands by now.
    let resolved = write().await.expect("a repetition").into_inner().token;
    assert_ne!(resolved, token);
    get(channel, &org.id, &resolved).await.expect("a read");
}

#[tokio::test]
async fn c13_a_token_of_what_was_trimmed_is_reached() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let database = world.server().database();
    let mut tokens = Vec::new();
    for name in ["first", "second", "third"] {
        tokens.push(rename(&world, &org, name).await);
    }
    let old = "UPDATE batches SET sequence_time = now() - interval '10 days'";
    database.batch_execute(old).await.expect("an older log");
    let trim = "SELECT * FROM trim_log(interval '1 day', interval '2 days', interval '0', 5000)";
    database.execute(trim, &[]).await.expect("trimmed");
    for token in &tokens {
        get(world.server().channel(), &org.id, token).await.expect("below, at and above the floor");
    }
}

#[tokio::test]
async fn c13_a_token_of_a_lost_write_is_forked_or_not_reached() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let token = rename(&world, &org, "lost").await;
    let channel = world.server().channel();
    let database = world.server().database();
    let another =
        "UPDATE changes SET change_id = gen_random_uuid() WHERE position = (SELECT position FROM log_head)";
    database.batch_execute(another).await.expect("another history");
    refused(get(channel.clone(), &org.id, &token).await, Code::FailedPrecondition, "TOKEN_FORKED");
    let gone = "DELETE FROM changes WHERE position = (SELECT position FROM log_head)";
    database.batch_execute(gone).await.expect("a shorter history");
    refused(get_soon(channel, &org.id, &token).await, Code::Unavailable, "TOKEN_NOT_REACHED");
}

#[tokio::test]
async fn c13_a_token_of_another_store_is_refused() {
    let (world, other) = (World::start().await, World::start().await);
    let org = world.organization("ada").await;
    let elsewhere = other.organization("ada").await;
    let token = rename(&other, &elsewhere, "elsewhere").await;
    let read = get(world.server().channel(), &org.id, &token).await;
    refused(read, Code::FailedPrecondition, "TOKEN_WRONG_STORE");
}

#[tokio::test]
async fn c13_every_read_refuses_a_token_that_is_none() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let token = rename(&world, &org, "a name").await;
    let mut flipped = token.clone().into_bytes();
    flipped[40] = if flipped[40] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("ASCII");
    for bad in [flipped, token[..token.len() - 1].to_owned(), "token".to_owned(), "A".repeat(10_000)] {
        read_everything(&world, &org, &bad, |answer| {
            refused(answer, Code::InvalidArgument, "TOKEN_INVALID");
        })
        .await;
    }
    read_everything(&world, &org, &token, |answer| answer.expect("a read")).await;
}

/// Calls every read with a token.
async fn read_everything(world: &World, org: &Org, token: &str, check: impl Fn(Result<(), Status>)) {
    let channel = || world.server().channel();
    let (organization_id, workspace_id) = (org.id.clone(), org.general.clone());
    let (account_id, member_id) = (org.owner.account.clone(), org.owner.member.clone());
    let at_least_as_fresh = token.to_owned();
    macro_rules! read {
        ($client:expr, $method:ident, $request:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {
            // Some have no other field.
            #[allow(clippy::needless_update)]
            let request = $request {
                $($field: read!(@value $field $(: $value)?),)*
                at_least_as_fresh: at_least_as_fresh.clone(),
                ..Default::default()
            };
            check($client.$method(request).await.map(|_| ()));
        };
        (@value $field:ident) => { $field.clone() };
        (@value $field:ident : $value:expr) => { $value };
    }
    let (mut accounts, mut apps) = (world.accounts(), world.apps());
    let mut organizations = OrganizationServiceClient::new(channel());
    let mut members = MemberServiceClient::new(channel());
    let mut feed = FeedServiceClient::new(channel());
    read!(accounts, get_account, GetAccountRequest { account_id });
    read!(accounts, lookup_account, LookupAccountRequest { key: by_email("ada@example.com").key });
    read!(accounts, list_account_organizations, ListAccountOrganizationsRequest { account_id });
    read!(apps, get_app, GetAppRequest { app: "chat".to_owned() });
    read!(apps, list_apps, ListAppsRequest {});
    read!(organizations, get_organization, GetOrganizationRequest { organization_id });
    read!(organizations, list_organizations, ListOrganizationsRequest {});
    read!(organizations, get_workspace, GetWorkspaceRequest { organization_id, workspace_id });
    read!(organizations, list_workspaces, ListWorkspacesRequest { organization_id });
    read!(members, get_member, GetMemberRequest { organization_id, member_id });
    let member_ids = vec![member_id.clone()];
    read!(members, batch_get_members, BatchGetMembersRequest { organization_id, member_ids });
    read!(members, list_members, ListMembersRequest { organization_id });
    read!(
        members,
        get_workspace_member,
        GetWorkspaceMemberRequest { organization_id, workspace_id, member_id }
    );
    read!(members, list_workspace_members, ListWorkspaceMembersRequest { organization_id, workspace_id });
    read!(feed, list_subscriptions, ListSubscriptionsRequest {});
}

//! Callers who are gone: what was not decided is given up at once, what was sent to be committed is done.

use std::time::Duration;

use rollcall_client::v1::{
    CreateWorkspaceRequest, GetOrganizationRequest, ListContractsRequest,
    organization_service_client::OrganizationServiceClient,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    deadlines::{Held, patient, renamings, waits, within},
    soon, until,
};
use crate::{fixtures::refused, small::Small, support::Server};

/// Well below the 3 s after which a statement gives up waiting for a lock by itself.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Returns once no statement waits for what this test holds, and no transaction of the service is open.
async fn nothing_is_left(server: &Server) {
    assert!(is_given_up(server).await, "given up at once, not by a time-out of the database");
}

/// Whether that is so soon.
async fn is_given_up(server: &Server) -> bool {
    let query = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL \
                   AND (state LIKE 'idle in transaction%' OR pg_backend_pid() = ANY (pg_blocking_pids(pid))))";
    let free = until("nobody who waits", async || {
        server.database().query_one(query, &[]).await.expect("the activity").get(0)
    });
    tokio::time::timeout(AT_ONCE, free).await.is_ok()
}

/// Over the same connection: by its answer the server has read that the call before was cancelled.
async fn cancellation_is_read(server: &Server) {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(server.channel()).check(request).await.expect("the connection lives");
}

#[tokio::test]
async fn a_write_that_outlives_its_deadline_undecided_is_given_up() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    let mut client = patient(&server);
    let mut renaming = small.renaming("Engines Ltd");
    renaming.request_id = uuid::Uuid::new_v4().to_string();
    // More often than there are connections: none of them is lost.
    for _ in 0..12 {
        let held = Held::organization(&server, &small.organization).await;
        let call = client.update_organization(within("400m", renaming.clone()));
        refused(soon("an answer", call).await, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        nothing_is_left(&server).await;
        held.release().await;
    }
    small.rename("Later").await.expect("renamed");
    until("the change in the log", async || renamings(&server, &small.organization).await > 0).await;
    assert_eq!(renamings(&server, &small.organization).await, 1, "none of them was done");
    // The request id was not kept either.
    let answer = client.update_organization(renaming).await.expect("an answer").into_inner();
    assert_eq!(answer.organization.expect("the organization").display_name, "Engines Ltd");
    server.stop().await;
}

#[tokio::test]
async fn a_write_whose_caller_hangs_up_undecided_is_given_up() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    let mut renaming = small.renaming("Engines Ltd");
    renaming.request_id = uuid::Uuid::new_v4().to_string();
    let mut given_up = false;
    // A machine that stalls for two seconds does not do so each time.
    for _ in 0..3 {
        let held = Held::organization(&server, &small.organization).await;
        let calls: Vec<_> = (0..2)
            .map(|_| {
                let mut client = OrganizationServiceClient::new(server.channel());
                let renaming = renaming.clone();
                // The second waits for the claim of the first.
                tokio::spawn(async move { client.update_organization(renaming).await.map(drop) })
            })
            .collect();
        waits(&server).await;
        for call in calls {
            call.abort();
            assert!(call.await.expect_err("hung up").is_cancelled());
        }
        cancellation_is_read(&server).await;
        given_up |= is_given_up(&server).await;
        held.release().await;
        if given_up {
            break;
        }
    }
    assert!(given_up, "given up at once, not by a time-out of the database");
    small.rename("Later").await.expect("renamed");
    until("the change in the log", async || renamings(&server, &small.organization).await > 0).await;
    assert_eq!(renamings(&server, &small.organization).await, 1, "it was not done");
    server.stop().await;
}

#[tokio::test]
async fn a_write_whose_commit_was_sent_is_done_without_its_caller() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    // Another workspace of this name, not yet committed: the last pipeline waits for what becomes of it.
    let hold = format!(
        "BEGIN; INSERT INTO workspaces (organization_id, workspace_id, app, display_name, state, version) \
         VALUES ('{}', gen_random_uuid(), 'chat', 'taken?', 'ACTIVE', 1)",
        small.organization
    );
    server.database().batch_execute(&hold).await.expect("held");
    let creating = CreateWorkspaceRequest {
        organization_id: small.organization.clone(),
        app: "chat".to_owned(),
        display_name: "taken?".to_owned(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let (mut client, request) = (OrganizationServiceClient::new(server.channel()), creating.clone());
    let call = tokio::spawn(async move { client.create_workspace(request).await.map(drop) });
    waits(&server).await;
    call.abort();
    assert!(call.await.expect_err("hung up").is_cancelled());
    cancellation_is_read(&server).await;
    server.database().batch_execute("ROLLBACK").await.expect("released");

    let query = "SELECT workspace_id::text FROM workspaces WHERE display_name = 'taken?'";
    let mut made = None;
    until("the workspace", async || {
        made = server.database().query_opt(query, &[]).await.expect("looked");
        made.is_some()
    })
    .await;
    let made: String = made.expect("found").get(0);
    let answer = OrganizationServiceClient::new(server.channel()).create_workspace(creating).await;
    let answer = answer.expect("the same write").into_inner().workspace.expect("the workspace");
    assert_eq!(answer.workspace_id, made, "it was done once");
    server.stop().await;
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_delays_no_other() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    // A table that neither the log nor a task of the service's own reads.
    server.database().batch_execute("BEGIN; LOCK TABLE contracts").await.expect("held");
    let organization_id = small.organization.clone();
    // As many as the pool has connections, twice.
    for _ in 0..2 {
        let calls = (0..8).map(|_| {
            let mut request = tonic::Request::new(ListContractsRequest::default());
            request.metadata_mut().insert("grpc-timeout", "400m".parse().expect("a header"));
            let mut client = OrganizationServiceClient::new(server.channel());
            async move { client.list_contracts(request).await }
        });
        for answer in futures_util::future::join_all(calls).await {
            // The client's own time-out, which reads the same header, may be the first.
            let code = answer.expect_err("it waits for the table").code();
            assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
        }
        let others = (0..16).map(|_| {
            let mut client = patient(&server);
            let request =
                GetOrganizationRequest { organization_id: organization_id.clone(), ..Default::default() };
            async move { client.get_organization(request).await }
        });
        let others = tokio::time::timeout(AT_ONCE, futures_util::future::join_all(others)).await;
        for answer in others.expect("not behind statements that nobody waits for") {
            answer.expect("the organization");
        }
        nothing_is_left(&server).await;
    }
    server.database().batch_execute("COMMIT").await.expect("released");
    let contracts = OrganizationServiceClient::new(server.channel())
        .list_contracts(ListContractsRequest::default())
        .await;
    contracts.expect("reads go on");
    server.stop().await;
}

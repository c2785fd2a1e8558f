//! Deadlines: the answer comes in time.

use futures_util::future::join_all;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rollcall_client::v1::{
    UpdateOrganizationRequest, organization_service_client::OrganizationServiceClient,
};
use tonic::{Code, Request, body::Body};

use super::until;
use crate::{fixtures::refused, small::Small, support::Server};

/// A row that the test holds, so that a command must wait for it.
pub(super) struct Held<'a> {
    client: &'a tokio_postgres::Client,
}

impl<'a> Held<'a> {
    pub(super) async fn organization(server: &'a Server, id: &str) -> Self {
        let client = server.database();
        let lock = format!("BEGIN; SELECT 1 FROM organizations WHERE organization_id = '{id}' FOR UPDATE");
        client.batch_execute(&lock).await.expect("held");
        Self { client }
    }

    pub(super) async fn release(self) {
        self.client.batch_execute("COMMIT").await.expect("released");
    }
}

/// Returns once a command waits for a row that is held.
pub(crate) async fn waits(server: &Server) {
    let query = "SELECT EXISTS (SELECT FROM pg_locks \
                 WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))";
    until("a command that waits", async || {
        server.database().query_one(query, &[]).await.expect("the locks").get(0)
    })
    .await;
}

/// How often the organization was renamed, according to the log.
pub(crate) async fn renamings(server: &Server, organization: &str) -> i64 {
    let query = format!(
        "SELECT count(*) FROM changes WHERE reason = 'RENAMED' AND organization_id = '{organization}'"
    );
    server.database().query_one(&query, &[]).await.expect("the log").get(0)
}

/// A client that leaves deadlines to the service: tonic's own gives up by itself at the same time.
pub(super) fn patient(server: &Server) -> OrganizationServiceClient<Client<HttpConnector, Body>> {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    OrganizationServiceClient::with_origin(client, server.endpoint().parse().expect("an endpoint"))
}

pub(super) fn within(
    timeout: &'static str,
    message: UpdateOrganizationRequest,
) -> Request<UpdateOrganizationRequest> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().expect("a header"));
    request
}

#[tokio::test]
async fn a_call_is_answered_when_its_deadline_has_passed() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    let held = Held::organization(&server, &small.organization).await;
    // Many at once: tonic has a time-out of its own, which must not be the first.
    let client = patient(&server);
    let calls = ["200m", "300m", "400m", "500m"].repeat(20).into_iter().map(|timeout| {
        let (mut client, message) = (client.clone(), small.renaming("New"));
        async move { client.update_organization(within(timeout, message)).await }
    });
    for answer in join_all(calls).await {
        refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    }
    // It may be where there is hardly a deadline.
    for timeout in ["1n", "1m", "3m", "10m"] {
        let answer = client.clone().update_organization(within(timeout, small.renaming("New"))).await;
        let code = answer.expect_err("over").code();
        assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?} after {timeout}");
    }
    held.release().await;
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_deadline_is_refused() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    let answer = patient(&server).update_organization(within("soon", small.renaming("New"))).await;
    crate::fixtures::invalid(answer, "grpc-timeout");
    server.stop().await;
}

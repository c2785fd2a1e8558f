//! AccessService on the same port, as the service answers it.

use rollcall_client::v1::access_service_client::AccessServiceClient;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;
use crate::{
    fixtures::{invalid, refused},
    support::{Channel, Server},
};

impl Beside {
    fn channel(&self) -> tonic::transport::Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).expect("an endpoint").connect_lazy()
    }

    pub(super) fn access(&self) -> AccessServiceClient<Channel> {
        AccessServiceClient::new(self.channel().into())
    }

    async fn is_serving(&self, service: &str) -> bool {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(self.channel()).check(request).await.expect("a status");
        answer.into_inner().status() == ServingStatus::Serving
    }
}

pub(super) fn asking(person: &Person, workspace: &str) -> CheckAccessRequest {
    let check = AccessCheck {
        person: Some(access_check::Person::AccountId(person.account.clone())),
        workspace_id: workspace.to_owned(),
        ..Default::default()
    };
    CheckAccessRequest { check: Some(check), ..Default::default() }
}

#[tokio::test]
async fn a_check_over_grpc_answers_as_the_service_does_and_at_the_token_of_a_write() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let asked = asking(&bob, &org.general);
    let allowed = agent.access().check_access(asked.clone()).await.expect("an answer").into_inner();
    let access = allowed.access.expect("the answer");
    assert_eq!((access.allowed, &access.member_id, allowed.stale), (true, &bob.member, false));
    assert_eq!(access.workspace_role(), WorkspaceRole::Member);

    // The agent itself waits until it has seen the write.
    let token = out(&world, &org, &bob).await;
    let at = CheckAccessRequest { at_least_as_fresh: token.clone(), ..asked.clone() };
    let denied = agent.access().check_access(at).await.expect("an answer").into_inner();
    assert_eq!(denied.access.expect("the answer").denial_reason(), DenialReason::NotInWorkspace);
    assert!(denied.position > allowed.position);
    let batch = BatchCheckAccessRequest {
        checks: vec![asked.check.clone().expect("one"); 2],
        at_least_as_fresh: token,
        ..Default::default()
    };
    let batch = agent.access().batch_check_access(batch).await.expect("an answer").into_inner();
    assert_eq!(batch.accesses.iter().filter(|access| !access.allowed).count(), 2);

    let damaged = CheckAccessRequest { at_least_as_fresh: "AAAA".to_owned(), ..asked.clone() };
    let answer = agent.access().check_access(damaged).await;
    refused(answer, Code::InvalidArgument, "TOKEN_INVALID");
    invalid(agent.access().check_access(CheckAccessRequest::default()).await, "check");
    assert!(agent.is_serving("").await && agent.is_serving("rollcall.v1.AccessService").await);
    // Nothing else of the service is here.
    let elsewhere = rollcall_client::v1::feed_service_client::FeedServiceClient::new(agent.channel());
    let answer = { elsewhere }.list_subscriptions(ListSubscriptionsRequest::default()).await;
    assert_eq!(answer.expect_err("not here").code(), Code::Unimplemented);
    agent.end().await;
}

#[tokio::test]
async fn a_session_is_known_by_its_stamp_over_grpc_as_over_http() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let ask = async |stamp: &str, token: &str| {
        let mut asked = asking(&bob, &org.general);
        asked.check.as_mut().expect("it").stamp = stamp.to_owned();
        asked.at_least_as_fresh = token.to_owned();
        let answer = agent.access().check_access(asked).await.map(tonic::Response::into_inner);
        answer.map(|answer| answer.access.expect("the answer"))
    };
    let stamp = ask("", "").await.expect("an answer").stamp;
    assert_eq!(agent.check(&bob.account, &org.general).await.body["stamp"], *stamp);
    assert!(ask(&stamp, "").await.expect("an answer").allowed);
    let operator = world.operator();
    let token = operator.deactivate_in(&org, &org.general, &bob).await.expect("out").token;
    let denied = ask(&stamp, &token).await.expect("an answer");
    assert_eq!(denied.denial_reason(), DenialReason::WorkspaceMemberDeactivated);
    assert!(denied.stamp.is_empty(), "nothing to make a session with");
    let token = operator.reactivate_in(&org, &org.general, &bob).await.expect("back").token;
    let over = ask(&stamp, &token).await.expect("an answer");
    assert_eq!((over.allowed, over.denial_reason()), (false, DenialReason::SessionRevoked));
    let anew = ask("", &token).await.expect("an answer").stamp;
    assert!(anew != stamp && ask(&anew, &token).await.expect("an answer").allowed);
    invalid(ask("1.2", "").await, "check.stamp");
    agent.end().await;
}

#[tokio::test]
async fn a_check_over_grpc_says_when_it_cannot_tell() {
    let server = Server::start().await;
    let agent = Beside::of(server.channel().unchecked().into(), |_| {}).await;
    let id = uuid::Uuid::new_v4().to_string();
    let nobody = Person { account: id.clone(), member: String::new() };
    let answer = agent.access().check_access(asking(&nobody, &id)).await;
    refused(answer, Code::Unavailable, "ACCESS_STALE");
    assert!(!agent.is_serving("").await);
    agent.end().await;
    server.stop().await;
}

//! gRPC on the same port as the paths: AccessService, health and reflection.

use std::sync::Arc;

use axum::Router;
use rollcall_client::{
    Client, ReplicaStatus, reason,
    v1::{ErrorReason, GetEnforcementRequest, get_enforcement_request::Write},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, health_reporter},
};

use super::Shared;
use crate::{
    grpc::{TokenRefusal, Tokens, beside},
    proto::DESCRIPTORS,
};

/// The whole, and the one service: both are serving while checks are answered.
const SERVICES: [&str; 2] = ["", "rollcall.v1.AccessService"];

/// Adds what is answered over gRPC.
pub(super) async fn routes(router: Router, shared: &Shared) -> Routes {
    let (reporter, health) = health_reporter();
    let status = shared.replica.status();
    // Before the first answer can be asked for: a service that is not known yet is NOT_FOUND.
    set(&reporter, false).await;
    // Ends with the agent.
    tokio::spawn(follow(reporter, status, shared.stop.clone()));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(SERVICES[1])
            .with_service_name("grpc.health.v1.Health")
    };
    let described = "the descriptor sets come from our own build";
    Routes::from(router)
        .add_service(health)
        .add_service(reflection().build_v1().expect(described))
        .add_service(reflection().build_v1alpha().expect(described))
        .add_service(beside(shared.access.clone(), Arc::clone(&shared.tokens)))
}

async fn set(reporter: &HealthReporter, answering: bool) {
    let status = if answering { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Keeps health true until the agent is to end; then the watches of it end too, which would hold the end up.
async fn follow(
    mut reporter: HealthReporter,
    mut status: watch::Receiver<ReplicaStatus>,
    stop: CancellationToken,
) {
    loop {
        let answering = status.borrow_and_update().is_answering();
        set(&reporter, answering && !stop.is_cancelled()).await;
        tokio::select! {
            () = stop.cancelled() => break,
            changed = status.changed() => if changed.is_err() { break },
        }
    }
    set(&reporter, false).await;
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}

/// The service, which can open its tokens.
#[derive(Debug)]
pub(super) struct Service(pub(super) Client);

impl Tokens for Arc<Service> {
    async fn position(&self, token: &str) -> Result<i64, TokenRefusal> {
        let request =
            GetEnforcementRequest { write: Some(Write::Token(token.to_owned())), ..Default::default() };
        match self.0.feed().get_enforcement(request).await {
            Ok(answer) => {
                let report = answer.into_inner().enforcement.unwrap_or_default();
                Ok(report.position)
            }
            Err(status) => Err(match reason(&status) {
                Some(ErrorReason::TokenInvalid | ErrorReason::InvalidField) => TokenRefusal::Invalid,
                Some(ErrorReason::TokenWrongStore) => TokenRefusal::WrongStore,
                Some(ErrorReason::TokenForked) => TokenRefusal::Forked,
                // The service cannot say: the caller may try again.
                _ => TokenRefusal::NotReached,
            }),
        }
    }
}

//! `rollcall health`: asks `grpc.health.v1` once, for probes and scripts.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use rollcall_client::{ConnectError, describe};
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{EndpointArgs, run, service::unreached};

/// A probe that hangs is worse than one that fails.
const TIMEOUT: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Prints the status (SERVING, NOT_SERVING) and exits with 0 only when it is SERVING.

Examples:
  rollcall health
  rollcall health --endpoint http://rollcall:7400 --service rollcall.v1.FeedService";

/// Arguments of `health`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Ask about one gRPC service instead of the whole, for example rollcall.v1.FeedService
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
}

#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the service knows no gRPC service {0:?}")]
    UnknownService(String),
    #[error("{}{}", describe(.0), unreached(.0))]
    Call(Box<Status>),
}

pub(super) fn run(args: HealthArgs) -> ExitCode {
    run::to_end("health", check(args))
}

/// The answer is the result, on stdout; only what prevents one is an error.
async fn check(args: HealthArgs) -> Result<ExitCode, HealthError> {
    let HealthArgs { endpoint, service } = args;
    let mut health = HealthClient::new(endpoint.connect()?.channel());
    let request = HealthCheckRequest { service: service.clone() };
    let answer =
        tokio::time::timeout(TIMEOUT, health.check(request)).await.map_err(|_| HealthError::Timeout)?;
    let status = match answer {
        Ok(response) => response.into_inner().status(),
        Err(status) if status.code() == Code::NotFound => return Err(HealthError::UnknownService(service)),
        Err(status) => return Err(HealthError::Call(Box::new(status))),
    };
    run::say(status.as_str_name());
    Ok(if status == ServingStatus::Serving { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

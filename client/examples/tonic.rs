//! A gRPC app behind one interceptor: who may not use the workspace gets PERMISSION_DENIED with the reason, and while
//! nobody knows, everybody gets UNAVAILABLE with RetryInfo. Handlers find `Allowed` in the request's extensions.
//!
//! The service behind it is grpc.health.v1, so that the example needs no definitions of its own: any other is wrapped
//! alike.
//!
//!     cargo run -p rollcall-client --example tonic -- --service http://127.0.0.1:7400 --app chat
//!     grpcurl -plaintext -H 'account-id: ...' -H 'workspace-id: ...' 127.0.0.1:8080 grpc.health.v1.Health/Check

use std::{collections::HashMap, error::Error, time::Duration};

use clap::Parser;
use rollcall_client::NothingToEnd;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Server,
};
use tonic_types::{ErrorDetails, StatusExt as _};

mod common;
use common::{Flags, Gate, Refused, Who};

/// A gRPC app.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let listener = args.flags.listen().await?;
    run(args, listener).await
}

pub(crate) async fn run(Args { flags }: Args, listener: TcpListener) -> Result<(), Box<dyn Error>> {
    // Nothing is open beyond single calls. A long stream would hold a `SessionGuard` beside its work, as the sockets of
    // the chat do.
    let gate = Gate::start(&flags, NothingToEnd)?;
    let (_reporter, health) = tonic_health::server::health_reporter();
    Server::builder()
        .add_service(InterceptedService::new(health, MembersOnly(gate.clone())))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), common::goodbye(gate.clone()))
        .await?;
    gate.outcome()
}

/// Lets only those pass who may use the workspace.
#[derive(Clone)]
struct MembersOnly(Gate);

impl Interceptor for MembersOnly {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        // In place of a login: an app takes the account from a token that it has verified.
        let id = |key: &'static str| -> Result<_, Status> {
            let value = request.metadata().get(key).and_then(|value| value.to_str().ok()?.parse().ok());
            value.ok_or_else(|| Status::unauthenticated(format!("metadata {key} is no id")))
        };
        let who = Who { account_id: id("account-id")?, workspace_id: id("workspace-id")? };
        let allowed = self.0.check(who).map_err(status)?;
        request.extensions_mut().insert(allowed);
        Ok(request)
    }
}

/// What to answer, with what a client decides by: the reason, or when to come again.
fn status(refused: Refused) -> Status {
    match refused {
        Refused::Denied(reason) => Status::with_error_details(
            Code::PermissionDenied,
            "this person may not use the workspace",
            ErrorDetails::with_error_info(reason.as_str_name(), "chat.example.com", HashMap::new()),
        ),
        Refused::Stale => Status::with_error_details(
            Code::Unavailable,
            "it is not known now who may use the workspace",
            ErrorDetails::with_retry_info(Some(Duration::from_secs(1))),
        ),
    }
}

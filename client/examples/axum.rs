//! An HTTP app behind one middleware: who may not use the workspace of a path gets 403 with the reason, and while nobody
//! knows, everybody gets 503 with `Retry-After`. Handlers find out as what the person is there.
//!
//!     cargo run -p rollcall-client --example axum -- --service http://127.0.0.1:7400 --app chat
//!     curl -i -H 'x-account-id: ...' http://127.0.0.1:8080/workspaces/.../entries

use std::error::Error;

use axum::{
    Extension, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use clap::Parser;
use rollcall_client::{Allowed, NothingToEnd, v1::WorkspaceRole};
use tokio::net::TcpListener;
use uuid::Uuid;

mod common;
use common::{Flags, Gate, Who};

/// An HTTP app.
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
    // Nothing is open beyond single requests, and each of them asks.
    let gate = Gate::start(&flags, NothingToEnd)?;
    let app = Router::new()
        .route("/workspaces/{workspace_id}/entries", get(list))
        .route("/workspaces/{workspace_id}/entries/{entry}", delete(remove))
        .route_layer(middleware::from_fn_with_state(gate.clone(), members_only))
        .route("/check", get(common::check))
        .with_state(gate.clone());
    common::serve(listener, app, gate).await
}

/// The parts of a path that the middleware reads.
#[derive(serde::Deserialize)]
struct Place {
    workspace_id: Uuid,
}

/// Lets only those pass who may use the workspace.
async fn members_only(
    State(gate): State<Gate>,
    Path(Place { workspace_id }): Path<Place>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(account_id) = signed_in(&request) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    match gate.check(Who { account_id, workspace_id }) {
        Ok(allowed) => {
            request.extensions_mut().insert(allowed);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    }
}

/// In place of a login: an app takes the account from its session, or asks with `Person::External` for the `iss` and
/// `sub` of a token that it has verified.
fn signed_in(request: &Request) -> Option<Uuid> {
    request.headers().get("x-account-id")?.to_str().ok()?.parse().ok()
}

async fn list(Extension(allowed): Extension<Allowed>) -> String {
    format!("entries, as member {} sees them\n", allowed.member_id)
}

async fn remove(Extension(allowed): Extension<Allowed>) -> Result<String, StatusCode> {
    // Whoever is leaving keeps reading and writing, but deletes nothing (R59).
    let may = !allowed.leaving && allowed.workspace_role == WorkspaceRole::Admin;
    may.then(|| "deleted\n".to_owned()).ok_or(StatusCode::FORBIDDEN)
}

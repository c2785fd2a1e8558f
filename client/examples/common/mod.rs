//! What the examples share: flags, the replica, and the question with its three answers.

#![allow(dead_code)] // Each example uses a part.

use std::{
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use rollcall_client::{
    Access, Allowed, ClientOptions, Credentials, Handler, Phase, Replica, ReplicaOptions, connect_with,
    v1::DenialReason,
};
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

pub(crate) mod sessions;

/// What every example is started with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    /// A replica of the service; again for more, of which the next is used where one does not answer
    #[arg(long, default_value = "http://127.0.0.1:7400")]
    service: Vec<String>,
    /// The app, as it is registered
    #[arg(long, default_value = "chat")]
    app: String,
    /// The name of this process; without one, the process id makes it
    #[arg(long)]
    instance: Option<String>,
    /// Where to listen; with port 0 a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Experiment: answer for an hour without a lease. Shows what the lease prevents
    #[arg(long)]
    lease_off: bool,
}

impl Flags {
    /// Listens, and prints where.
    pub(crate) async fn listen(&self) -> Result<TcpListener, Box<dyn Error>> {
        let listener = TcpListener::bind(self.listen).await?;
        println!("listening {}", listener.local_addr()?);
        Ok(listener)
    }
}

/// The replica, and how it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) replica: Replica,
    pub(crate) lease_off: bool,
    /// Whether another process has the name of this one.
    replaced: Arc<AtomicBool>,
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refused {
    /// The person may not.
    Denied(DenialReason),
    /// Nobody knows now: to be tried again.
    Stale,
}

/// Whose access to what. An app takes the account from its own session or token, never from the request's words.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub(crate) struct Who {
    pub(crate) account_id: Uuid,
    pub(crate) workspace_id: Uuid,
}

impl Gate {
    /// Begins to follow. Checks are stale until there is a state and a lease.
    pub(crate) fn start(flags: &Flags, handler: impl Handler) -> Result<Self, Box<dyn Error>> {
        let credentials = Credentials::default().caller(&flags.app);
        let endpoints: Vec<&str> = flags.service.iter().map(String::as_str).collect();
        let client = connect_with(&endpoints, &ClientOptions { credentials, ..ClientOptions::default() })?;
        let instance =
            flags.instance.clone().unwrap_or_else(|| format!("{}-{}", flags.app, std::process::id()));
        let replica = Replica::start(client, ReplicaOptions::new(&flags.app, instance), handler);
        Ok(Self { replica, lease_off: flags.lease_off, replaced: Arc::default() })
    }

    /// Whether the person may, now.
    pub(crate) fn check(&self, who: Who) -> Result<Allowed, Refused> {
        let Who { account_id, workspace_id } = who;
        let access = if self.lease_off {
            self.replica.check_within(account_id, workspace_id, Duration::from_secs(3600)).access
        } else {
            self.replica.check(account_id, workspace_id)
        };
        match access {
            Access::Allowed(allowed) => Ok(allowed),
            Access::Denied(reason) => Err(Refused::Denied(reason)),
            Access::Stale => Err(Refused::Stale),
        }
    }

    /// How the process is to end, once it has.
    pub(crate) fn outcome(&self) -> Result<(), Box<dyn Error>> {
        match self.replaced.load(Ordering::Acquire) {
            true => Err("another process follows under this instance name".into()),
            false => Ok(()),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Denied(reason) => {
                (StatusCode::FORBIDDEN, Json(json!({ "reason": reason.as_str_name() }))).into_response()
            }
            // Not 401 or 403: a client signs people out for those.
            Self::Stale => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(RETRY_AFTER, "1")],
                Json(json!({ "reason": "ACCESS_STALE" })),
            )
                .into_response(),
        }
    }
}

/// `GET /check?account_id=...&workspace_id=...`: 200, 403 or 503. To look from outside; an app needs none.
pub(crate) async fn check(
    State(gate): State<Gate>,
    Query(who): Query<Who>,
) -> Result<Json<serde_json::Value>, Refused> {
    let allowed = gate.check(who)?;
    Ok(Json(json!({ "member_id": allowed.member_id.to_string(), "leaving": allowed.leaving })))
}

/// Serves until the process is told to end; then the replica says goodbye, so that no departure waits for it.
pub(crate) async fn serve(listener: TcpListener, app: Router, gate: Gate) -> Result<(), Box<dyn Error>> {
    axum::serve(listener, app).with_graceful_shutdown(goodbye(gate.clone())).await?;
    gate.outcome()
}

/// Waits for SIGINT or SIGTERM, or for another process to take the name of this one, which would never answer again. Then
/// ends the replica: guards resolve, so open connections close too.
pub(crate) async fn goodbye(gate: Gate) {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("a runtime with signals");
    let mut status = gate.replica.status();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = status.wait_for(|status| status.phase == Phase::Replaced) => {
            gate.replaced.store(true, Ordering::Release);
        }
    }
    gate.replica.shutdown().await;
}

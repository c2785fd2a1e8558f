//! The live replica of the client crate as a process beside an app, for apps in any language: access checks over
//! gRPC and HTTP/JSON, revocations and receipts, on one port, for whoever is on the same machine.
//!
//! What it promises:
//! 1. A check is answered as [`Replica::check`] answers it: from memory, and with 503 where nobody can know.
//! 2. Every revocation is told to every reader of `GET /v1/revocations`, after checks deny it, in one order for all, which
//!    is not that of the log. A reader that comes back goes on where it was, or is told with `resync` that it has to ask
//!    again about all that it has open.
//! 3. What the service hears as ended is what every reader said that was told of it. Where one of them said nothing in
//!    time, or nobody was there, the service hears that it was not ended.
//! 4. Nothing that a reader does or leaves undone holds up the replica, its lease, or another reader.
//!
//! What an app makes of it is in `docs/agent.md`.

mod answer;
mod browser;
mod events;
mod grpc;
mod patient;
mod receipt;
mod refusal;
mod relay;
mod routes;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use rollcall_client::{Client, Phase, Replica, ReplicaOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use crate::access::Access;
use browser::Reached;
use patient::Patient;
use relay::Relay;

/// How long calls in flight may take after the streams of events have ended.
const DRAIN: Duration = Duration::from_secs(3);
/// So many revocations wait for their receipts at once; beyond it the client crate keeps as many again.
const WAITING: usize = 10_000;
/// How often in all the receipt of a revocation is waited for. The service hears of each wait that was in vain; a receipt
/// in a later one takes its place.
const WAITS: u32 = 6;
/// Calls in flight on one connection, as the service has it.
const MAX_STREAMS: u32 = 1_024;

/// What an agent runs with.
#[derive(Debug)]
pub struct Options {
    /// The service.
    pub client: Client,
    /// What to follow, and as whom. How the handler is called is the agent's own affair.
    pub replica: ReplicaOptions,
    /// Where to answer.
    pub listen: SocketAddr,
    /// How long the receipt of a revocation is waited for before the service hears that there is none.
    pub receipt_patience: Duration,
    /// For how long a reader may take nothing that is written to it before its connection is cut.
    pub write_patience: Duration,
}

/// Why an agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another process follows under the same name.
    #[error("another process follows under this instance name: give each agent its own (--instance)")]
    Replaced,
    /// Connections cannot be accepted any more.
    #[error("cannot serve: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    listener: TcpListener,
    address: SocketAddr,
    write_patience: Duration,
    shared: Shared,
}

/// What the handlers of calls share.
#[derive(Debug, Clone)]
struct Shared {
    replica: Replica,
    /// The same replica, as AccessService asks it.
    access: Access,
    tokens: Arc<grpc::Service>,
    relay: Arc<Relay>,
    /// Cancelled when the agent is to end: it is not ready any more, and still answers.
    stop: CancellationToken,
}

impl Shared {
    fn is_ready(&self) -> bool {
        !self.stop.is_cancelled() && self.replica.status().borrow().is_answering()
    }
}

impl Agent {
    /// Takes the port and begins to follow. Needs a Tokio runtime. Until `stop` is cancelled it goes on trying, whatever
    /// the service says.
    ///
    /// # Errors
    ///
    /// Where the port cannot be had.
    pub async fn start(options: Options, stop: CancellationToken) -> io::Result<Self> {
        let Options { client, replica, listen, receipt_patience, write_patience } = options;
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let relay = Arc::new(Relay::new(receipt_patience, WAITS));
        let replica = ReplicaOptions {
            handler_concurrency: WAITING,
            // The relay ends a wait by itself; this is for a defect.
            handler_timeout: receipt_patience + Duration::from_secs(10),
            handler_attempts: WAITS,
            ..replica
        };
        let replica = Replica::start(client.clone(), replica, receipt::Asking(Arc::clone(&relay)));
        let (access, tokens) = (Access::of(replica.clone()), Arc::new(grpc::Service(client)));
        let shared = Shared { replica, access, tokens, relay, stop };
        Ok(Self { listener, address, write_patience, shared })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is told to stop: then it is not ready any more, waits a few seconds for receipts that readers owe,
    /// closes the subscription, ends the streams and finishes what is being answered.
    ///
    /// # Errors
    ///
    /// Where it ends by itself.
    pub async fn serve(self) -> Result<(), AgentError> {
        let Self { listener, address, write_patience, shared } = self;
        let reached = if address.ip().is_loopback() { Reached::Here } else { Reached::Anywhere };
        let drained = CancellationToken::new();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let incoming = incoming.map(move |accepted| accepted.map(|io| Patient::new(io, write_patience)));
        let server = Server::builder().accept_http1(true).max_concurrent_streams(MAX_STREAMS);
        let serving = server.serve_with_incoming_shutdown(
            browser::guarded(grpc::routes(routes::router(shared.clone()), &shared).await, reached),
            incoming,
            drained.clone().cancelled_owned(),
        );
        tokio::pin!(serving);
        let mut status = shared.replica.status();
        let ended = tokio::select! {
            served = &mut serving => return served.map_err(AgentError::from),
            () = shared.stop.cancelled() => Ok(()),
            _ = status.wait_for(|status| status.phase == Phase::Replaced) => Err(AgentError::Replaced),
        };
        shared.stop.cancel();
        // Receipts are still taken meanwhile.
        let last = async {
            shared.replica.shutdown().await;
            shared.relay.close();
            drained.cancel();
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = &mut serving => served?,
            () = last => tracing::warn!("what was being answered took too long; it is cut"),
        }
        ended
    }
}

#[cfg(test)]
mod tests;

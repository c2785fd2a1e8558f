//! gRPC: parse, one call, convert. Rules live elsewhere; errors become statuses in `status` alone.

mod access;
mod account;
mod activity;
mod answer;
mod app;
mod audit;
mod audited;
mod authn;
mod authz;
mod beside;
mod body;
mod contract;
mod convert;
mod departure;
mod enforcement;
mod erasure;
mod feed;
mod filter;
mod fresh;
#[doc(hidden)]
pub mod fuzzed;
mod health;
mod history;
mod incoming;
mod invitation;
mod layer;
mod limits;
mod lost;
mod member;
mod member_reads;
mod organization;
mod page;
mod parse;
mod persons;
mod settings;
mod status;
mod tls;
mod within;

pub use self::{
    access::Owners,
    beside::{Tokens, beside, caught_up},
    convert::encode_change,
    fresh::TokenRefusal,
    limits::CallLimits,
    within::{Within, channel as channel_within},
};

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Server};
use tonic_health::server::health_reporter;

use crate::{
    access::Access,
    audit::Audit,
    durability::Durability,
    enforcement::Enforcement,
    engine::Engine,
    feed::{Digests, Limits, Marks, Registry, Window},
    identity::Gate,
    proto::{
        DESCRIPTORS, access_service_server::AccessServiceServer,
        account_service_server::AccountServiceServer, app_service_server::AppServiceServer,
        audit_service_server::AuditServiceServer, feed_service_server::FeedServiceServer,
        invitation_service_server::InvitationServiceServer, member_service_server::MemberServiceServer,
        organization_service_server::OrganizationServiceServer,
    },
    seal::Seal,
    store_log::StoreLog,
};

/// Answers with nothing where everything was only to be checked (AIP-163).
macro_rules! unless_validated {
    ($done:expr) => {
        if $done.validated {
            return Ok(Response::new(Default::default()));
        }
    };
}
use unless_validated;

/// The largest request: a batch of 1,000 ids is 40 kB.
const MAX_REQUEST: usize = 256 * 1024;
/// The largest head of a request: a cursor travels in the body; tokens of identity providers stay under 8 kB.
const MAX_HEADERS: u32 = 16 * 1024;
/// Calls in flight on one connection; the default is no limit at all.
const MAX_STREAMS: u32 = 1_024;
/// Calls that a peer may take back before they were looked at, of those that lie there at once. More of them is no client
/// that changes its mind: the connection ends (CVE-2023-44487). The library's own number, said here so that it stays.
const MAX_TAKEN_BACK: usize = 20;
/// Calls of a connection that may end because the peer broke the protocol: each lets it begin another one beyond
/// [`MAX_STREAMS`] while the first still runs (CVE-2025-8671). A proxy hands on what its many clients do; the library's number
/// is 1,024.
const MAX_BROKEN: usize = 256;
/// What a peer may send of a call, and of all calls of a connection, before anything of it was taken: the largest request,
/// and some of them.
const IN_FLIGHT_CALL: u32 = 256 * 1024;
const IN_FLIGHT: u32 = 1024 * 1024;
/// How often a silent connection is probed, and how long it may take to answer: a half-open one is gone after both.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after NOT_SERVING the health watches are ended: time for balancers to hear of it.
const HEALTH_GRACE: Duration = Duration::from_millis(500);

/// What the services share.
#[derive(Clone)]
pub struct Services {
    /// Writes and reads.
    pub engine: Engine,
    /// Leases and verdicts.
    pub enforcement: Enforcement,
    /// How far the log reaches.
    pub marks: Marks,
    /// The log.
    pub source: Arc<StoreLog>,
    /// Its newest changes, encoded.
    pub window: Arc<Window>,
    /// What bounds a stream.
    pub limits: Limits,
    /// What bounds a caller.
    pub calls: CallLimits,
    /// Bounds how many streams are being opened at once.
    pub opening: Arc<Semaphore>,
    /// The keys of cursors and tokens.
    pub seal: Arc<Seal>,
    /// The open streams.
    pub registry: Registry,
    /// Where refusals go.
    pub audit: Audit,
    /// Whether what is written survives the loss of the database server.
    pub durability: Durability,
    /// The service's own replica. None: access checks are not served.
    pub access: Option<Access>,
    /// Which app each workspace is of.
    pub owners: Owners,
    /// What bookmarks compare followers with. None: nothing.
    pub digests: Option<Arc<Digests>>,
    /// Tells callers apart.
    pub gate: Gate,
    /// Whether the caller is the service's own replica.
    pub is_within: bool,
    /// Ends every stream.
    pub shutdown: CancellationToken,
}

impl Services {
    /// The newest position that this replica knows.
    fn head(&self) -> Result<i64, Status> {
        self.marks.newest().map(|mark| mark.head.position).ok_or_else(status::unavailable)
    }

    /// What is around every call, and what is within its limits.
    fn layers(&self) -> (layer::CallsLayer, persons::PersonsLayer) {
        let methods = authz::Methods::declared();
        let authn = authn::Authn::new(self.gate.clone());
        let around = layer::CallsLayer::new(self.durability.clone(), authn, methods.clone());
        (around, persons::PersonsLayer::new(self.engine.database().clone(), methods))
    }

    /// Serves on a bound listener until `shutdown`, then drains: NOT_SERVING, streams end with a last bookmark and
    /// UNAVAILABLE, calls in flight end, and after `drain` whatever is left is cut.
    pub async fn serve(self, listener: TcpListener, drain: Duration) -> Result<(), tonic::transport::Error> {
        let shutdown = self.shutdown.clone();
        let (reporter, health) = health_reporter();
        let checking = self.access.is_some();
        let acceptor = self.gate.acceptor();
        health::begin(&reporter, &self.marks, checking).await;
        let healthy = tokio::spawn(health::follow(
            reporter.clone(),
            self.marks.clone(),
            self.access.clone(),
            shutdown.clone(),
        ));
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let described = "the descriptor sets come from our own build";
        let incoming = incoming::incoming(listener, self.calls.connections);
        let (around, within) = self.layers();
        let router = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(MAX_HEADERS)
            .http2_max_pending_accept_reset_streams(Some(MAX_TAKEN_BACK))
            .http2_max_local_error_reset_streams(Some(MAX_BROKEN))
            .initial_stream_window_size(IN_FLIGHT_CALL)
            .initial_connection_window_size(IN_FLIGHT)
            .max_concurrent_streams(MAX_STREAMS)
            .max_connection_age(feed::connection_age(self.limits.age))
            .layer(audited::AuditLayer::new(self.audit.clone()))
            .layer(around)
            .layer(limits::LimitsLayer::new(self.calls, self.engine.database().pool_size()))
            .layer(within)
            .add_service(health)
            .add_service(reflection().build_v1().expect(described))
            .add_service(reflection().build_v1alpha().expect(described))
            .add_service(AccountServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(AppServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(AuditServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(OrganizationServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(MemberServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_service(InvitationServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST))
            .add_optional_service(
                checking
                    .then(|| AccessServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST)),
            )
            .add_service(FeedServiceServer::new(self).max_decoding_message_size(MAX_REQUEST));
        let drained: JoinHandle<()> = tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                shutdown.cancelled().await;
                health::end(&reporter, checking).await;
                tokio::time::sleep(HEALTH_GRACE).await;
                health::clear(&reporter).await;
            }
        });
        let ended = shutdown.clone().cancelled_owned();
        let serving = async {
            match acceptor {
                Some(acceptor) => {
                    let incoming = tls::incoming(incoming, acceptor, shutdown.clone());
                    router.serve_with_incoming_shutdown(incoming, ended).await
                }
                None => router.serve_with_incoming_shutdown(incoming, ended).await,
            }
        };
        let deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        let served = tokio::select! {
            served = serving => served,
            () = deadline => {
                tracing::warn!("the drain took too long; open calls are cut");
                Ok(())
            }
        };
        shutdown.cancel();
        // Both end with `shutdown`; what they could fail with is a panic, which is logged by its hook.
        let _ = tokio::join!(healthy, drained);
        served
    }
}

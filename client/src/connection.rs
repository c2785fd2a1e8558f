//! The connection to the service: made on first use, made again when it breaks, and never silently dead.

use std::time::Duration;

use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::v1::{
    access_service_client::AccessServiceClient, account_service_client::AccountServiceClient,
    app_service_client::AppServiceClient, audit_service_client::AuditServiceClient,
    feed_service_client::FeedServiceClient, invitation_service_client::InvitationServiceClient,
    member_service_client::MemberServiceClient, organization_service_client::OrganizationServiceClient,
};
use crate::{Credentials, Endpoints, TlsFiles};

/// A TCP connection takes a round trip; five seconds allow for two lost SYNs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a unary call, or the opening of a stream, may take. Longer than the service's own deadline for a write.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// An HTTP/2 ping this often, also while idle: a peer that vanished without a FIN is noticed within
/// [`KEEPALIVE_INTERVAL`] + [`KEEPALIVE_TIMEOUT`].
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a ping may stay unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A batch or page is bounded by the service well below this; tonic's own 4 MiB would be too near.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A connection to a service: to one of its replicas at a time, and to the next where one does not answer:
/// a call that meets one fails, and the call after it goes to the next, whoever makes it. Cheap to clone; the clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    endpoints: Endpoints,
    credentials: Credentials,
}

/// How to connect.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Who calls.
    pub credentials: Credentials,
    /// For `https` endpoints: whom to trust, as whom to present oneself. `None`: the roots of this machine.
    pub tls: Option<ClientTlsConfig>,
    /// The same from files, which every new connection reads anew. Instead of `tls`.
    pub tls_files: Option<TlsFiles>,
    /// How long a call may take that sets no timeout of its own, and the opening of a stream. `None`: 30 s, which is
    /// longer than the service's own deadline for a write.
    pub timeout: Option<Duration>,
}

/// Why no connection can be made to an endpoint, whatever happens.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint is no URL.
    #[error("{endpoint:?} is no endpoint; one looks like http://127.0.0.1:7400")]
    Malformed {
        /// What was given.
        endpoint: String,
    },
    /// The endpoint asks for another scheme than `http` or `https`.
    #[error("{endpoint:?} must begin with http:// or https://")]
    Scheme {
        /// What was given.
        endpoint: String,
    },
    /// The certificates cannot be used.
    #[error("the TLS settings cannot be used: {0}")]
    Tls(#[source] tonic::transport::Error),
    /// `tls` and `tls_files` are both given.
    #[error("the TLS settings are given twice")]
    TlsTwice,
    /// No endpoint was given.
    #[error("at least one endpoint is needed")]
    NoEndpoint,
}

/// Prepares a connection to `endpoint` (`http://host:port`). Nothing is sent before the first call, which fails with
/// UNAVAILABLE when nobody answers; a broken connection is made again by the next call. Needs a Tokio runtime.
///
/// # Errors
///
/// Only for an endpoint that can never work.
pub fn connect(endpoint: &str) -> Result<Client, ConnectError> {
    connect_with(&[endpoint], &ClientOptions::default())
}

/// As [`connect`], to one of several replicas of the service, with options.
///
/// # Errors
///
/// Only for what can never work.
pub fn connect_with(endpoints: &[&str], options: &ClientOptions) -> Result<Client, ConnectError> {
    let channels =
        endpoints.iter().map(|endpoint| channel(endpoint, options)).collect::<Result<Vec<_>, _>>()?;
    if channels.is_empty() {
        return Err(ConnectError::NoEndpoint);
    }
    Ok(Client { endpoints: Endpoints::new(channels), credentials: options.credentials.clone() })
}

fn channel(endpoint: &str, options: &ClientOptions) -> Result<Channel, ConnectError> {
    let malformed = || ConnectError::Malformed { endpoint: endpoint.to_owned() };
    let mut parsed = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| malformed())?;
    let mut files = None;
    match parsed.uri().scheme_str() {
        Some("http") => {}
        Some("https") if options.tls_files.is_some() => {
            if options.tls.is_some() {
                return Err(ConnectError::TlsTwice);
            }
            let uri = parsed.uri().clone();
            let host = uri.host().ok_or_else(malformed)?.trim_matches(['[', ']']).to_owned();
            // TLS is made below the transport, which is told of it by the origin alone.
            let authority = uri.authority().ok_or_else(malformed)?;
            parsed =
                Endpoint::from_shared(format!("http://{authority}")).map_err(|_| malformed())?.origin(uri);
            files = options.tls_files.as_ref().map(|files| (files, host));
        }
        Some("https") => {
            let tls = options.tls.clone().unwrap_or_else(|| ClientTlsConfig::new().with_native_roots());
            parsed = parsed.tls_config(tls).map_err(ConnectError::Tls)?;
        }
        Some(_) => return Err(ConnectError::Scheme { endpoint: endpoint.to_owned() }),
        None => return Err(malformed()),
    }
    let parsed = parsed
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(options.timeout.unwrap_or(REQUEST_TIMEOUT))
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    Ok(match files {
        Some((files, host)) => files.connect(parsed, host),
        None => parsed.connect_lazy(),
    })
}

/// What a call goes through: the endpoint in use, and who calls.
pub type Transport = InterceptedService<Endpoints, Credentials>;

impl From<Channel> for Client {
    /// Over a connection that was made otherwise, as within one process.
    fn from(channel: Channel) -> Self {
        Self { endpoints: Endpoints::new([channel]), credentials: Credentials::default() }
    }
}

impl Client {
    /// The connection in use, without credentials, for any other gRPC client (health, reflection).
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.endpoints.channel(self.turn())
    }

    /// Access checks that the service answers.
    #[must_use]
    pub fn access(&self) -> AccessServiceClient<Transport> {
        AccessServiceClient::new(self.transport())
    }

    /// Accounts.
    #[must_use]
    pub fn accounts(&self) -> AccountServiceClient<Transport> {
        AccountServiceClient::new(self.transport())
    }

    /// Organizations and workspaces.
    #[must_use]
    pub fn organizations(&self) -> OrganizationServiceClient<Transport> {
        OrganizationServiceClient::new(self.transport()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Members of organizations and workspaces.
    #[must_use]
    pub fn members(&self) -> MemberServiceClient<Transport> {
        MemberServiceClient::new(self.transport()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Invitations.
    #[must_use]
    pub fn invitations(&self) -> InvitationServiceClient<Transport> {
        InvitationServiceClient::new(self.transport())
    }

    /// Apps.
    #[must_use]
    pub fn apps(&self) -> AppServiceClient<Transport> {
        AppServiceClient::new(self.transport())
    }

    /// The audit.
    #[must_use]
    pub fn audit(&self) -> AuditServiceClient<Transport> {
        AuditServiceClient::new(self.transport()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// The feed's unary calls; to follow it, use [`crate::Watch`].
    #[must_use]
    pub fn feed(&self) -> FeedServiceClient<Transport> {
        FeedServiceClient::new(self.transport()).max_decoding_message_size(MESSAGE_BYTES)
    }

    fn transport(&self) -> Transport {
        InterceptedService::new(self.endpoints.clone(), self.credentials.clone())
    }

    /// Which connection is in use, as a number for [`Client::move_on`].
    pub(crate) fn turn(&self) -> usize {
        self.endpoints.turn()
    }

    /// Uses the next endpoint from here on, unless somebody moved on since `turn` was read: the connection of that
    /// turn does not answer.
    pub(crate) fn move_on(&self, turn: usize) {
        self.endpoints.move_on(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_is_an_http_url() {
        assert!(connect("http://127.0.0.1:7400").is_ok());
        assert!(matches!(connect("127.0.0.1:7400"), Err(ConnectError::Malformed { .. })));
        assert!(connect("https://example.org").is_ok());
        assert!(matches!(connect("ftp://example.org"), Err(ConnectError::Scheme { .. })));
        assert!(matches!(connect("not a url"), Err(ConnectError::Malformed { .. })));
        assert!(matches!(connect_with(&[], &ClientOptions::default()), Err(ConnectError::NoEndpoint)));
    }

    #[tokio::test]
    async fn who_saw_an_endpoint_fail_moves_on_once() {
        let client = connect_with(&["http://a:1", "http://b:1"], &ClientOptions::default()).unwrap();
        let (turn, other) = (client.turn(), client.clone());
        client.move_on(turn);
        other.move_on(turn);
        assert_eq!((client.turn(), other.turn()), (turn + 1, turn + 1));
    }
}

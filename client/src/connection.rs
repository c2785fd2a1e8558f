//! The connection to the service: made on first use, made again when it breaks, and never silently dead.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::v1::{
    account_service_client::AccountServiceClient, app_service_client::AppServiceClient,
    feed_service_client::FeedServiceClient, invitation_service_client::InvitationServiceClient,
    member_service_client::MemberServiceClient, organization_service_client::OrganizationServiceClient,
};

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

/// A connection to one service. Cheap to clone; the clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
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
    /// The endpoint asks for another scheme than `http`.
    #[error("{endpoint:?} must begin with http://; for TLS connect through a mesh or a local proxy")]
    Scheme {
        /// What was given.
        endpoint: String,
    },
}

/// Prepares a connection to `endpoint` (`http://host:port`). Nothing is sent before the first call, which fails with
/// UNAVAILABLE when nobody answers; a broken connection is made again by the next call. Needs a Tokio runtime.
///
/// # Errors
///
/// Only for an endpoint that can never work.
pub fn connect(endpoint: &str) -> Result<Client, ConnectError> {
    let malformed = || ConnectError::Malformed { endpoint: endpoint.to_owned() };
    let parsed = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| malformed())?;
    match parsed.uri().scheme_str() {
        Some("http") => {}
        Some(_) => return Err(ConnectError::Scheme { endpoint: endpoint.to_owned() }),
        None => return Err(malformed()),
    }
    let channel = parsed
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy();
    Ok(Client { channel })
}

impl Client {
    /// The connection itself, for a [`crate::Watch`] or any other gRPC client (health, reflection).
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Accounts.
    #[must_use]
    pub fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel())
    }

    /// Organizations and workspaces.
    #[must_use]
    pub fn organizations(&self) -> OrganizationServiceClient<Channel> {
        OrganizationServiceClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Members of organizations and workspaces.
    #[must_use]
    pub fn members(&self) -> MemberServiceClient<Channel> {
        MemberServiceClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Invitations.
    #[must_use]
    pub fn invitations(&self) -> InvitationServiceClient<Channel> {
        InvitationServiceClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Apps.
    #[must_use]
    pub fn apps(&self) -> AppServiceClient<Channel> {
        AppServiceClient::new(self.channel())
    }

    /// The feed's unary calls; to follow it, use [`crate::Watch`].
    #[must_use]
    pub fn feed(&self) -> FeedServiceClient<Channel> {
        feed(self.channel())
    }
}

pub(crate) fn feed(channel: Channel) -> FeedServiceClient<Channel> {
    FeedServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_is_an_http_url() {
        assert!(connect("http://127.0.0.1:7400").is_ok());
        assert!(matches!(connect("127.0.0.1:7400"), Err(ConnectError::Malformed { .. })));
        assert!(matches!(connect("https://example.org"), Err(ConnectError::Scheme { .. })));
        assert!(matches!(connect("not a url"), Err(ConnectError::Malformed { .. })));
    }
}

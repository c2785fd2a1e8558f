//! A service within its own process: how the service's own replica follows it, over the same HTTP/2 and the same handlers
//! as any app, and under the service's own app, which nobody else is given.

use std::{future::ready, io};

use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tower::service_fn;

use super::{MAX_REQUEST, Services};
use crate::{identity::Gate, proto::feed_service_server::FeedServiceServer};

/// What a connection buffers in each direction.
const BUFFER: usize = 256 * 1024;
/// What may be in flight on it: a message of a snapshot is 150 kB.
const IN_FLIGHT: u32 = 1024 * 1024;

/// The end of a channel at which the service is. There is one connection at a time, so nothing piles up.
pub struct Within(mpsc::UnboundedReceiver<DuplexStream>);

/// A channel into this process. What is called waits until it is [served](Services::serve_within).
pub fn channel() -> (Channel, Within) {
    let (connections, within) = mpsc::unbounded_channel();
    let connect = service_fn(move |_| {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let connected = connections.send(theirs).map(|()| TokioIo::new(ours));
        ready(connected.map_err(|_| io::Error::other("the service has ended")))
    });
    let channel = Endpoint::from_static("http://within")
        .initial_connection_window_size(IN_FLIGHT)
        .initial_stream_window_size(IN_FLIGHT)
        .connect_with_connector_lazy(connect);
    (channel, Within(within))
}

impl Services {
    /// Serves the feed at the other end of a [`channel`] until `closed`, also while the service drains.
    pub async fn serve_within(mut self, within: Within, closed: CancellationToken) {
        self.is_within = true;
        self.gate = Gate::insecure();
        let incoming = UnboundedReceiverStream::new(within.0).map(Ok::<_, io::Error>);
        let (around, within_limits) = self.layers();
        let served = Server::builder()
            .layer(around)
            .layer(within_limits)
            .add_service(FeedServiceServer::new(self).max_decoding_message_size(MAX_REQUEST))
            .serve_with_incoming_shutdown(incoming, closed.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the service's own replica cannot follow any more");
        }
    }
}

//! The service's own TLS: connections are taken while others still shake hands, and each says who is at its other end.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::{authn, incoming::Guarded};
use crate::identity::{Acceptor, Cause, Certificate};

/// How long shaking hands may take: three round trips, over a bad line.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    /// None: it showed none.
    pub(super) certificate: Option<Arc<Certificate>>,
}

/// A connection over which hands were shaken.
pub(super) struct Connection {
    stream: TlsStream<Guarded<TcpStream>>,
    peer: Peer,
}

/// The connections over which hands were shaken, of those that come in, until `shutdown`. Any number shakes hands at a time: each
/// has one of the places of the connections already, and who never finishes must keep nobody else waiting.
pub(super) fn incoming(
    connections: impl Stream<Item = io::Result<Guarded<TcpStream>>> + Send + 'static,
    acceptor: Acceptor,
    shutdown: CancellationToken,
) -> ReceiverStream<io::Result<Guarded<Connection>>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut connections = std::pin::pin!(connections);
        // Those who shake hands when it ends go with it.
        let mut shaking = JoinSet::new();
        loop {
            let stream = tokio::select! {
                () = shutdown.cancelled() => return,
                Some(_) = shaking.join_next() => continue,
                Some(Ok(stream)) = connections.next() => stream,
                else => return,
            };
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            shaking.spawn(async move {
                if let Some(connection) = shake(&acceptor, stream).await {
                    // An error means that the server has ended.
                    let _ = sender.send(Ok(Guarded::over(connection))).await;
                }
            });
        }
    });
    ReceiverStream::new(receiver)
}

async fn shake(acceptor: &Acceptor, stream: Guarded<TcpStream>) -> Option<Connection> {
    let address = stream.connect_info().remote_addr();
    let shaken = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
    match shaken.unwrap_or(Err(Cause::HandshakeFailed)) {
        Ok((stream, certificate)) => {
            let peer = Peer { address, certificate: certificate.map(Arc::new) };
            Some(Connection { stream, peer })
        }
        Err(cause) => {
            authn::tell(cause);
            None
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

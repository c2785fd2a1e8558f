//! Connections: how many there may be, and how long one may take to begin to speak HTTP/2.
//!
//! What a connection may do afterwards is said in `mod.rs`: HTTP/2 itself looks for floods and resets, and a peer that is
//! silent, or that dribbles the head of a request, cannot answer the ping that asks whether it is alive.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

/// How long a connection may take to say its first words. One round trip is all that it needs.
const PREFACE_PATIENCE: Duration = Duration::from_secs(10);
/// What every connection of HTTP/2 begins with, in bytes; that of TLS is longer.
const PREFACE: usize = 24;
/// How long to wait after a connection that could not be taken, as where there are no more files: the next one would fail
/// at once again.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// The connections of a listener, at most so many at a time (0: any number). What comes then is closed at once, so that a
/// client tries another replica instead of waiting for this one.
pub(super) fn incoming(
    listener: TcpListener,
    connections: u32,
) -> impl Stream<Item = io::Result<Guarded<TcpStream>>> {
    let room = match connections {
        0 => Semaphore::MAX_PERMITS,
        connections => connections as usize,
    };
    stream::unfold((listener, Arc::new(Semaphore::new(room))), |(listener, room)| async {
        loop {
            let connection = match listener.accept().await {
                Ok((connection, _)) => connection,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                metrics::counter!("rollcall_connections_refused_total").increment(1);
                tracing::debug!("there are as many connections as there may be");
                continue;
            };
            if connection.set_nodelay(true).is_err() {
                // It is gone already.
                continue;
            }
            let guarded = Guarded::new(connection, place);
            return Some((Ok(guarded), (listener, room)));
        }
    })
}

/// A connection that has a place, and that must begin in time.
pub(super) struct Guarded<C> {
    inner: C,
    /// None: what it goes over has one.
    _place: Option<OwnedSemaphorePermit>,
    /// How much was read, until it is enough.
    read: usize,
    /// Until when it must be. None: it was.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<C> Guarded<C> {
    fn new(inner: C, place: OwnedSemaphorePermit) -> Self {
        Self { _place: Some(place), ..Self::over(inner) }
    }

    /// One over another, which has a place: who shook hands must begin in time too.
    pub(super) fn over(inner: C) -> Self {
        Self { inner, _place: None, read: 0, deadline: Some(Box::pin(sleep(PREFACE_PATIENCE))) }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Guarded<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let Some(mut deadline) = self.deadline.take() else { return polled };
        self.read += buffer.filled().len() - before;
        if self.read >= PREFACE {
            return polled;
        }
        if polled.is_pending() && deadline.as_mut().poll(context).is_ready() {
            metrics::counter!("rollcall_connections_silent_total").increment(1);
            tracing::debug!("a connection did not begin to speak in time");
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.deadline = Some(deadline);
        polled
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Guarded<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<C: Connected> Connected for Guarded<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::{Instant, advance},
    };

    use super::*;

    fn guarded<C>(inner: C) -> Guarded<C> {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
        Guarded::new(inner, place)
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_to_speak_is_cut() {
        let (mut peer, ours) = duplex(1_024);
        let mut ours = guarded(ours);
        let begun = Instant::now();
        let dribbling = tokio::spawn(async move {
            // A byte a second: less than the preface in time.
            while peer.write_all(b"P").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let error = loop {
            if let Err(error) = ours.read_u8().await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < PREFACE_PATIENCE + Duration::from_secs(1));
        drop(ours);
        dribbling.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_begun_may_be_silent() {
        let (mut peer, ours) = duplex(1_024);
        let mut ours = guarded(ours);
        peer.write_all(&[0; PREFACE]).await.expect("written");
        ours.read_exact(&mut [0; PREFACE]).await.expect("read");
        let reading = tokio::spawn(async move { ours.read_u8().await });
        tokio::task::yield_now().await;
        advance(100 * PREFACE_PATIENCE).await;
        peer.write_u8(7).await.expect("written");
        assert_eq!(reading.await.expect("it reads").expect("a byte"), 7);
    }
}

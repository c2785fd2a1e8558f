//! The replicas of the service that a client knows: each call goes to one of them, and where that does not answer, the next
//! call goes to the next. The call itself fails: whether it may be repeated its caller knows.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response};
use tonic::{
    body::Body,
    transport::{Channel, Error},
};
use tower::Service;

/// UNAVAILABLE, as it stands in a header.
const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");

/// A connection to each of some replicas, of which one is in use. Cheap to clone; the clones move on together.
#[derive(Debug, Clone)]
pub struct Endpoints {
    channels: Arc<[Channel]>,
    /// Counts up; which channel is used follows from it.
    current: Arc<AtomicUsize>,
}

impl Endpoints {
    /// Of one channel at least.
    pub(crate) fn new(channels: impl Into<Arc<[Channel]>>) -> Self {
        Self { channels: channels.into(), current: Arc::default() }
    }

    /// Which connection is in use, as a number for [`Endpoints::move_on`].
    pub(crate) fn turn(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// The connection of a turn.
    pub(crate) fn channel(&self, turn: usize) -> Channel {
        self.channels[turn % self.channels.len()].clone()
    }

    /// Uses the next endpoint from here on, unless somebody moved on since `turn` was read: the connection of that
    /// turn does not answer.
    pub(crate) fn move_on(&self, turn: usize) {
        let _ =
            self.current.compare_exchange(turn, turn.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Service<Request<Body>> for Endpoints {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    /// Which endpoint it will be shows with the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let endpoints = self.clone();
        Box::pin(async move {
            let turn = endpoints.turn();
            let mut channel = endpoints.channel(turn);
            let answered = async {
                poll_fn(|context| channel.poll_ready(context)).await?;
                channel.call(request).await
            };
            let answered = answered.await;
            if answered.as_ref().is_ok_and(answers) {
                return answered;
            }
            endpoints.move_on(turn);
            answered
        })
    }
}

/// Whether there is a service that works: one that is ending, or whose database is away, says UNAVAILABLE in its first
/// headers, and a proxy before one that is gone answers without gRPC.
fn answers<B>(response: &Response<B>) -> bool {
    !response.status().is_server_error() && response.headers().get("grpc-status") != Some(&UNAVAILABLE)
}

//! The body of an answer to `Watch`: frames go out as they are, without a buffer in between.
//!
//! Tonic encodes every message of a call into one buffer, which stays as large as the largest message was: for a stream
//! that was sent a snapshot and is idle since, that is most of what it takes. So the handler hands its frames over beside
//! an empty answer ([`WatchFrames`], an extension of it), and the layer around all calls makes the body of them.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Response};
use http_body::Frame as BodyFrame;
use tonic::{Status, body::Body};

use super::status;
use crate::proto::Frame;

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

/// The frames of a stream on their way from the handler to the layer. Clones are the same frames: extensions must be
/// cloneable.
#[derive(Clone)]
pub(super) struct WatchFrames(Arc<Mutex<Option<Frames>>>);

impl WatchFrames {
    pub(super) fn new(frames: impl Stream<Item = Result<Frame, Status>> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::pin(frames)))))
    }

    /// The body. Empty where another clone has made it.
    fn into_body(self) -> Body {
        let frames = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        frames.map_or_else(Body::empty, |frames| {
            Body::new(WatchBody { frames, chunks: VecDeque::new(), ended: false })
        })
    }
}

/// Gives an answer its frames, where a handler left some beside it.
pub(super) fn framed(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<WatchFrames>() {
        Some(frames) => response.map(|_| frames.into_body()),
        None => response,
    }
}

/// The body of a stream that ends when the caller is not to have it any more, in the middle of whatever it says. What was
/// proven holds no more, so the caller is asked to prove anew who it is: with that it may be let in again, or hear why not.
pub(super) struct Cut {
    body: Body,
    withdrawn: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
}

impl Cut {
    pub(super) fn new(body: Body, withdrawn: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { body, withdrawn: Box::pin(withdrawn), ended: false }
    }
}

impl http_body::Body for Cut {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.withdrawn.as_mut().poll(context).is_pending() {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        self.ended = true;
        // With it goes whatever made the stream.
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        Poll::Ready(match status::caller_unknown().add_header(&mut trailers) {
            Ok(()) => Some(Ok(BodyFrame::trailers(trailers))),
            Err(_) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}

struct WatchBody {
    frames: Frames,
    /// What is left of the frame that is being sent.
    chunks: VecDeque<Bytes>,
    ended: bool,
}

impl http_body::Body for WatchBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(BodyFrame::data(chunk))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match self.frames.as_mut().poll_next(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                self.chunks = frame.into_chunks();
                let chunk = self.chunks.pop_front().unwrap_or_default();
                return Poll::Ready(Some(Ok(BodyFrame::data(chunk))));
            }
            Poll::Ready(Some(Err(status))) => status,
            Poll::Ready(None) => Status::ok(""),
        };
        self.ended = true;
        let mut trailers = HeaderMap::new();
        // Fails for details that are no header: ours are base64. Without trailers the stream is cut, which clients retry.
        if status.add_header(&mut trailers).is_err() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(BodyFrame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.chunks.is_empty()
    }
}

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

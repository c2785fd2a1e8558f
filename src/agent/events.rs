//! `GET /v1/revocations`: one reader's stream of server-sent events. What lies between the window and the reader is what
//! the kernel buffers, and one write.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use rollcall_client::{Replica, ReplicaStatus};
use tokio::{sync::watch, time::Instant};

use super::relay::{Begin, Reader, Step};

/// How often something is written at least, so that both sides notice when the other is gone.
const BEAT: Duration = Duration::from_secs(5);
/// How soon a reader that was cut off comes again, in milliseconds.
const RETRY_MS: u32 = 1_000;

struct Stream {
    reader: Reader,
    /// What is said first.
    greeting: Option<String>,
    status: watch::Receiver<ReplicaStatus>,
    /// What was last said about whether checks are answered.
    answering: Option<bool>,
    beat: Instant,
}

/// The body of an answer that does not end by itself.
pub(super) fn body(reader: Reader, begin: Begin, replica: &Replica) -> Body {
    let mut greeting = format!("retry: {RETRY_MS}\n\n");
    if let Begin::Resync(id, why) = begin {
        greeting.push_str(&format!("id: {id}\nevent: resync\ndata: {{\"reason\":\"{why}\"}}\n\n"));
    }
    let stream = Stream {
        reader,
        greeting: Some(greeting),
        status: replica.status(),
        answering: None,
        beat: Instant::now() + BEAT,
    };
    Body::from_stream(stream::unfold(stream, async |mut stream| {
        let bytes = stream.next().await?;
        stream.beat = Instant::now() + BEAT;
        Some((Ok::<_, Infallible>(bytes), stream))
    }))
}

impl Stream {
    /// The next thing to be written. `None`: the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting.into());
        }
        loop {
            if let Some(said) = self.standing() {
                return Some(said.into());
            }
            match self.reader.step() {
                Step::Send(bytes) => return Some(bytes),
                Step::Wait => {}
                Step::End(why) => {
                    tracing::debug!(why, "a stream of revocations ends");
                    return None;
                }
            }
            tokio::select! {
                // The relay and the replica outlive their readers.
                _ = self.reader.news.changed() => {}
                _ = self.status.changed() => {}
                () = tokio::time::sleep_until(self.beat) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    /// Whether checks are answered, where that is another thing than what was said.
    fn standing(&mut self) -> Option<String> {
        let status = self.status.borrow_and_update();
        let (answering, position) = (status.is_answering(), status.position);
        drop(status);
        if self.answering.replace(answering) == Some(answering) {
            return None;
        }
        let event = if answering { "live" } else { "stale" };
        Some(format!("event: {event}\ndata: {{\"position\":{position}}}\n\n"))
    }
}

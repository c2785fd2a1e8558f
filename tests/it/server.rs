//! What the service does besides answering well-formed calls in good times: health, reflection, deadlines, the drain,
//! and what is too large or strange.

use std::time::Duration;

use rollcall_client::v1::{
    WatchRequest, WatchResponse, feed_service_client::FeedServiceClient, watch_response::Message,
};
use tonic::{Status, Streaming};

use crate::support::Channel;

mod deadlines;
mod drain;
mod gone;
mod health;
mod strange;

pub(crate) use self::deadlines::waits;

/// Longer than anything here takes, also on a busy machine: only a defect runs into it.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// An answer, or a failure of the test after [`BOUND`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(BOUND, Box::pin(future)).await;
    answer.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Asks again and again until it is so.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, asking).await;
}

/// A stream of the app `chat`, read up to its first bookmark, as an observer.
pub(crate) async fn watch(channel: Channel) -> Streaming<WatchResponse> {
    let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let stream = FeedServiceClient::new(channel).watch(request).await;
    let mut stream = stream.expect("a stream").into_inner();
    while !matches!(next(&mut stream).await.expect("a message"), Message::Bookmark(_)) {}
    stream
}

/// The next message, or how the stream ends.
pub(crate) async fn next(stream: &mut Streaming<WatchResponse>) -> Result<Message, Status> {
    let message = soon("a message of the stream", stream.message()).await?;
    Ok(message.expect("a stream has no end of its own").message.expect("every message says something"))
}

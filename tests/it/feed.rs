//! The feed through the API: snapshot and tail, cursors, subscriptions, several replicas of the service.

mod cursors;
mod external_ids;
mod lost;
mod snapshots;
mod subscriptions;

use std::time::Duration;

use rollcall_client::v1::{WatchRequest, WatchResponse, watch_response::Message};
use tonic::{Code, Status, Streaming};

use crate::fixtures::World;

/// Longer than any answer takes, also on a busy machine: only a defect runs into it.
const BOUND: Duration = Duration::from_secs(20);

/// The next message of a stream, or its end.
async fn next(stream: &mut Streaming<WatchResponse>) -> Result<WatchResponse, Status> {
    let message = tokio::time::timeout(BOUND, stream.message()).await.expect("a message in time")?;
    Ok(message.expect("streams end with a status"))
}

/// Opens a stream.
async fn watch(world: &World, request: WatchRequest) -> Result<Streaming<WatchResponse>, Status> {
    world.feed().watch(request).await.map(tonic::Response::into_inner)
}

/// Reads a stream until a message has a cursor and this holds.
async fn cursor_when(stream: &mut Streaming<WatchResponse>, holds: impl Fn(&Message) -> bool) -> String {
    loop {
        let message = next(stream).await.expect("an open stream");
        if !message.cursor.is_empty() && message.message.as_ref().is_some_and(&holds) {
            return message.cursor;
        }
    }
}

/// The first cursor of a new stream.
async fn first_cursor(world: &World, request: WatchRequest) -> String {
    let mut stream = watch(world, request).await.expect("a stream");
    cursor_when(&mut stream, |_| true).await
}

/// Checks how a stream ended, or why it was not opened.
fn refused(status: &Status, code: Code, reason: &str) {
    crate::fixtures::refused::<()>(Err(status.clone()), code, reason);
}

fn chat() -> WatchRequest {
    WatchRequest { app: "chat".to_owned(), ..WatchRequest::default() }
}

fn instance(name: &str) -> WatchRequest {
    WatchRequest { instance: name.to_owned(), ..chat() }
}

//! Standard output, which may be slow, stuck or gone: none of it keeps the watch from ending in order.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::error::WatchFailure;

/// How long a reader who stalls may hold up the end after a signal.
const GRACE: Duration = Duration::from_secs(2);

/// What became of something printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Printed {
    /// The reader has it, as far as the operating system goes.
    Yes,
    /// The reader left, or stalls while the watch should end: this was not printed.
    ReaderGone,
}

/// Prints and flushes on a thread of its own, so that a full pipe blocks neither signals nor acknowledgements.
pub(super) async fn print(text: Vec<u8>, stop: &CancellationToken) -> Result<Printed, WatchFailure> {
    if text.is_empty() {
        return Ok(Printed::Yes);
    }
    let writing = tokio::task::spawn_blocking(move || {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&text)?;
        stdout.flush()
    });
    let stalled = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        written = writing => match written.map_err(io::Error::other).flatten() {
            Ok(()) => Ok(Printed::Yes),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Printed::ReaderGone),
            Err(error) => Err(WatchFailure::Output(error)),
        },
        () = stalled => Ok(Printed::ReaderGone),
    }
}

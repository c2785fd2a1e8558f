//! What stands before a proxy and takes away one message that tells of a change, as if the proxy had lost it. Everything else
//! arrives, frame by frame.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use prost::Message as _;
use rollcall_client::v1::{WatchResponse, watch_response::Message};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use crate::faults::frames::DATA;

pub(super) struct Swallower {
    address: SocketAddr,
    hungry: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Swallower {
    /// Before this endpoint.
    pub(super) async fn before(endpoint: &str) -> Self {
        let target = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let hungry = Arc::new(AtomicBool::new(false));
        let appetite = Arc::clone(&hungry);
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                // Nobody there: this one ends, and the client comes again.
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                let ((mut from_near, to_near), (from_far, mut to_far)) =
                    (near.into_split(), far.into_split());
                let appetite = Arc::clone(&appetite);
                tokio::spawn(async move {
                    // Either end is the end.
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_near, &mut to_far) => {}
                        _ = answers(from_far, to_near, &appetite) => {}
                    }
                });
            }
        });
        Self { address, hungry, task }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has it take the next message that tells of a change.
    pub(super) fn take_one(&self) {
        self.hungry.store(true, Ordering::SeqCst);
    }

    /// Whether it has.
    pub(super) fn has_taken_it(&self) -> bool {
        !self.hungry.load(Ordering::SeqCst)
    }
}

impl Drop for Swallower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, hungry: &AtomicBool) -> io::Result<()> {
    loop {
        let mut head = [0; 9];
        from.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        from.read_exact(&mut payload).await?;
        // Data that ends nothing and is not padded: no flag.
        let is_told = (head[3], head[4]) == (DATA, 0) && tells_of_a_change(&payload);
        if is_told && hungry.swap(false, Ordering::SeqCst) {
            continue;
        }
        to.write_all(&head).await?;
        to.write_all(&payload).await?;
    }
}

/// Whether it is one message of a stream, whole, and no bookmark.
fn tells_of_a_change(payload: &[u8]) -> bool {
    let Some((&[0, a, b, c, d], message)) = payload.split_first_chunk::<5>() else { return false };
    let whole = u32::from_be_bytes([a, b, c, d]) as usize == message.len();
    let message = whole.then(|| WatchResponse::decode(message));
    matches!(message, Some(Ok(WatchResponse { message: Some(Message::Batch(_)), .. })))
}

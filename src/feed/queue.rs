//! The queue between a stream and its reader: short, so that a slow reader costs little, and it can be cut (C10).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::sync::mpsc;

use super::message::{Message, StreamEnd};

type Item = Result<Message, StreamEnd>;

/// Makes a queue of so many messages.
pub fn queue(messages: usize) -> (Outlet, Messages) {
    let (sender, receiver) = mpsc::channel(messages);
    let shared = Arc::new(Mutex::new(Shared { receiver, cursor: String::new(), cut: None }));
    (Outlet { sender, shared: Arc::clone(&shared) }, Messages { shared })
}

struct Shared {
    receiver: mpsc::Receiver<Item>,
    /// The last cursor that was taken.
    cursor: String,
    /// What the reader is told instead of what was queued.
    cut: Option<StreamEnd>,
}

/// The stream's side.
pub struct Outlet {
    sender: mpsc::Sender<Item>,
    shared: Arc<Mutex<Shared>>,
}

/// The reader's side.
pub struct Messages {
    shared: Arc<Mutex<Shared>>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing panics while it holds this lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn clear(&mut self) {
        self.receiver.close();
        while self.receiver.try_recv().is_ok() {}
    }
}

impl Outlet {
    pub(super) fn sender(&self) -> mpsc::Sender<Item> {
        self.sender.clone()
    }

    /// Ends a queue that is not read: what is in it is dropped, and its reader, should it come back, hears this.
    pub(super) fn cut(&self, end: impl FnOnce(String) -> StreamEnd) {
        let mut shared = lock(&self.shared);
        shared.clear();
        shared.cut = Some(end(shared.cursor.clone()));
    }
}

impl Messages {
    /// The next message, or why there is none any more; then None.
    pub async fn next(&mut self) -> Option<Item> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// [`Messages::next`] for who polls.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let mut shared = lock(&self.shared);
        if let Some(end) = shared.cut.take() {
            return Poll::Ready(Some(Err(end)));
        }
        let polled = shared.receiver.poll_recv(context);
        if let Poll::Ready(Some(Ok(message))) = &polled
            && !message.cursor.is_empty()
        {
            shared.cursor.clone_from(&message.cursor);
        }
        polled
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        lock(&self.shared).clear();
    }
}

//! When the state is saved: soon after a change, seldom while nothing happens, and never twice at once.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use super::state::{StateError, StateFile};

/// Between two saves while changes flow. What a kill loses is printed again, so it is a question of how much, not of
/// safety.
const SOON: Duration = Duration::from_millis(250);
/// The same while only bookmarks come, which move the cursor alone: losing one costs nothing but a little of the log
/// read again.
const LATER: Duration = Duration::from_secs(5);
/// A large replica takes long to write: at most this part of the time goes into that.
const SHARE: u32 = 10;

pub(super) struct Saver {
    file: Arc<StateFile>,
    due: Option<Instant>,
    last: Option<Instant>,
    writing: Option<JoinHandle<Result<Duration, StateError>>>,
    cost: Duration,
}

impl Saver {
    pub(super) fn new(file: StateFile) -> Self {
        Self { file: Arc::new(file), due: None, last: None, writing: None, cost: Duration::ZERO }
    }

    /// There is something to save: at once after a quiet time, else soon, or later.
    pub(super) fn changed(&mut self, soon: bool) {
        let wait = (if soon { SOON } else { LATER }).max(self.cost * SHARE);
        let due = self.last.map_or_else(Instant::now, |last| last + wait);
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Whether there is something to save.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// Waits until [`Saver::begin`] should be called; forever while there is nothing to save. May be dropped and called
    /// again.
    pub(super) async fn due(&mut self) -> Result<(), StateError> {
        self.written().await?;
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
        Ok(())
    }

    /// Starts writing. Whoever calls it has printed what the content covers.
    pub(super) fn begin(&mut self, content: Vec<u8>, cost_so_far: Duration) {
        self.due = None;
        self.last = Some(Instant::now());
        let file = Arc::clone(&self.file);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            file.save(&content)?;
            Ok(cost_so_far + begun.elapsed())
        }));
    }

    /// Waits for what is being written.
    pub(super) async fn written(&mut self) -> Result<(), StateError> {
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            self.cost = written.expect("saving does not panic")?;
        }
        Ok(())
    }
}

//! When the state is written to its file, and a write that is under way.

use std::time::Duration;

use tokio::{task::JoinHandle, time::Instant};

/// How often the state is written to its file, when it changed.
const SAVE: Duration = Duration::from_secs(60);
/// How soon after a revocation: a process that is killed forgets at most those of its last second, and with a large state of
/// the pause below, should the log lose them too (C7).
const SAVE_REVOCATION: Duration = Duration::from_secs(1);
/// After a write of the file so many times as long as that took passes before the next: a large state is not written all
/// the time.
const SAVE_PAUSE: u32 = 10;

/// When the state is to be written next.
pub(super) struct Saves {
    /// Whether there is a file at all.
    wanted: bool,
    due: Instant,
    /// Not before then.
    rested: Instant,
}

impl Saves {
    pub(super) fn new(wanted: bool, now: Instant) -> Self {
        Self { wanted, due: now + SAVE, rested: now }
    }

    /// Something is to be in the file soon.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = self.due.min(now + SAVE_REVOCATION);
    }

    pub(super) fn began(&mut self, now: Instant) {
        self.due = now + SAVE;
    }

    pub(super) fn ended(&mut self, now: Instant, took: Duration) {
        self.rested = now + took * SAVE_PAUSE;
    }

    /// `None`: never. Nobody is woken each second for a file that there is not.
    pub(super) fn next(&self) -> Option<Instant> {
        self.wanted.then(|| self.due.max(self.rested))
    }
}

pub(super) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// A state that is being written.
pub(super) struct Saving {
    /// Its own log line says what went wrong.
    pub(super) task: JoinHandle<bool>,
    /// What it is of.
    pub(super) position: i64,
    pub(super) begun: Instant,
}

/// Returns when it is written, and says whether it is; never where nothing is being written.
pub(super) async fn finished(saving: &mut Option<Saving>) -> bool {
    match saving {
        Some(Saving { task, .. }) => matches!(task.await, Ok(true)),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wakes_a_replica_without_a_file_and_a_revocation_is_saved_soon_where_there_is_one() {
        let now = Instant::now();
        let mut without = Saves::new(false, now);
        without.hurry(now);
        assert_eq!(without.next(), None);

        let mut saves = Saves::new(true, now);
        assert_eq!(saves.next(), Some(now + SAVE));
        saves.hurry(now);
        assert_eq!(saves.next(), Some(now + SAVE_REVOCATION));
        // What comes meanwhile does not put it off.
        saves.hurry(now + SAVE_REVOCATION / 2);
        assert_eq!(saves.next(), Some(now + SAVE_REVOCATION));
        saves.began(now);
        assert_eq!(saves.next(), Some(now + SAVE));
        // A large state rests, whatever is revoked.
        saves.ended(now, SAVE);
        saves.hurry(now);
        assert_eq!(saves.next(), Some(now + SAVE * SAVE_PAUSE));
    }
}

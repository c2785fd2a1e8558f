//! What a replica is started with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::clock::{Clock, SystemClock};

/// What to follow and how. How long leases last, and whether the app answers after them, is not here: it is how the
/// app is registered, so that the service knows it.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// The registered app.
    pub app: String,
    /// The name of this process, unique among the app's live ones (as a pod's name): at most 128 printable ASCII
    /// characters without spaces.
    pub instance: String,
    /// Only these organizations. Empty: all.
    pub organization_ids: Vec<String>,
    /// Where to keep the state, so that a restart needs no snapshot: a file of this process alone, on a disk that lasts. `None`:
    /// nowhere. It is of one store: pointed at another, the replica stays STALE and `trouble` of its status names the file, until
    /// that is moved away or the endpoint set right. It also keeps which revocations are owed, because the handler has not returned
    /// or its receipt is not taken: the next process with it goes on with those. It holds the external ids of people and is readable by its owner only.
    pub state_file: Option<PathBuf>,
    /// How many calls of the handler may run at once.
    pub handler_concurrency: usize,
    /// How long a call of the handler may take before it counts as failed.
    pub handler_timeout: Duration,
    /// How often a failed call of the handler is made in all, with growing waits between.
    pub handler_attempts: u32,
    /// What time is told by. For tests.
    pub clock: Arc<dyn Clock>,
}

impl ReplicaOptions {
    /// Follows everything in the app's scope and keeps it in memory only.
    #[must_use]
    pub fn new(app: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            app: app.into(),
            instance: instance.into(),
            organization_ids: Vec::new(),
            state_file: None,
            handler_concurrency: 16,
            handler_timeout: Duration::from_secs(30),
            handler_attempts: 5,
            clock: Arc::new(SystemClock),
        }
    }
}

//! Whether a write that is answered now survives the loss of the database server: looked at all the time, said with every
//! answer of a write (C15).
//!
//! Local until it is known to be replicated, and local again with the first doubt. Postgres does not answer a commit that a
//! standby which it is told to wait for has not on disk: so where one is wanted and connected, what was answered is there too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::storage::{Database, Replication, StorageError};

/// How often it looks: so long an answer may be wrong after the server was told to wait for nobody any more.
const EVERY: Duration = Duration::from_secs(2);

/// What was last found.
#[derive(Debug, Clone, Default)]
pub struct Durability(Arc<AtomicBool>);

impl Durability {
    /// `replicated`: committed on a synchronous standby too. `local`: on the database server alone, as far as is known.
    pub fn word(&self) -> &'static str {
        if self.0.load(Ordering::Acquire) { "replicated" } else { "local" }
    }

    fn set(&self, replicated: bool) {
        if self.0.swap(replicated, Ordering::AcqRel) != replicated {
            tracing::info!(durability = self.word(), "what is answered from now on is");
        }
    }
}

/// Looks until the shutdown.
pub async fn run(database: Database, durability: Durability, shutdown: CancellationToken) {
    let looking = async {
        let mut doubt = None;
        loop {
            match database.replication().await {
                Ok(found) => {
                    let now = doubt_in(&found);
                    if now != doubt
                        && let Some(why) = now
                    {
                        tracing::warn!(why, "commits wait for a standby, and none is known to have them");
                    }
                    doubt = now;
                    durability.set(found.wanted && found.synchronous);
                    measure(found.wanted, found.synchronous);
                }
                // Nothing was said about the database.
                Err(StorageError::Overloaded) => {}
                // What answers next may be another server.
                Err(error) => {
                    tracing::debug!(%error, "the standbys cannot be asked about");
                    durability.set(false);
                    metrics::gauge!("rollcall_writes_replicated").set(0.0);
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = looking => {}
    }
}

fn measure(wanted: bool, synchronous: bool) {
    let number = |so: bool| if so { 1.0 } else { 0.0 };
    metrics::gauge!("rollcall_standby_wanted").set(number(wanted));
    metrics::gauge!("rollcall_writes_replicated").set(number(wanted && synchronous));
}

/// Why writes are local although they should not be.
fn doubt_in(found: &Replication) -> Option<&'static str> {
    match found {
        Replication { wanted: false, .. } | Replication { synchronous: true, .. } => None,
        Replication { hidden: true, .. } => Some("the role may not see it: GRANT pg_read_all_stats"),
        Replication { .. } => Some("none is connected: writes wait for it"),
    }
}

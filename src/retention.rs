//! The task that trims: every minute it moves what is old from the log into the history, and drops what is too old from
//! there and from the audit, batch after batch until nothing is due. It has changes forget their traces.
//!
//! Any number of replicas may run it at once. It holds nothing beyond one statement (C18), survives a database that is
//! away, and ends with the service. What is due is decided in the database, by `trim_log`, `trim_history` and `trim_audit`.

use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::storage::{Database, Retention, StorageError};

/// How often it looks. What is kept for days does not need to go at the second.
const EVERY: Duration = Duration::from_secs(60);
/// How long a change says which trace it was a part of: longer than anybody traces one call.
const TRACES: Duration = Duration::from_secs(3_600);
/// A pause between two batches, in which others get their turn at the disk.
const PAUSE: Duration = Duration::from_millis(100);

/// Trims until the shutdown.
pub async fn run(database: Database, keep: Retention, shutdown: CancellationToken) {
    let trimming = async {
        loop {
            match trim(&database, &keep).await {
                Ok(()) => metrics::gauge!("rollcall_retention_success_timestamp_seconds").set(unix_time()),
                Err(error) => tracing::warn!(%error, "trimming failed; it is tried again"),
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    // In the middle of a statement too: the database finishes or forgets it, either is whole.
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = trimming => {}
    }
}

/// Trims all that is due now.
async fn trim(database: &Database, keep: &Retention) -> Result<(), StorageError> {
    let mut moved = 0;
    loop {
        let trimmed = database.trim_log(keep).await?;
        moved += trimmed.moved;
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!("rollcall_retention_floor_position").set(trimmed.floor as f64);
        measure("moved", trimmed.moved);
        if !trimmed.more {
            if moved > 0 {
                tracing::info!(moved, floor = trimmed.floor, "changes moved from the log into the history");
            }
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    while let (_, true) = database.forget_traces(TRACES).await? {
        tokio::time::sleep(PAUSE).await;
    }
    if let Some(keep) = keep.history {
        let removed = drop_old(database, Old::History, keep).await?;
        if removed > 0 {
            tracing::info!(removed, "old history dropped");
        }
    }
    if let Some(keep) = keep.audit {
        let removed = drop_old(database, Old::Audit, keep).await?;
        if removed > 0 {
            tracing::info!(removed, "old entries of the audit dropped");
        }
    }
    Ok(())
}

/// What is kept by its age alone.
#[derive(Clone, Copy)]
enum Old {
    History,
    Audit,
}

impl Old {
    fn word(self) -> &'static str {
        match self {
            Self::History => "history_dropped",
            Self::Audit => "audit_dropped",
        }
    }
}

fn measure(what: &'static str, rows: i64) {
    metrics::counter!("rollcall_retention_rows_total", "what" => what).increment(rows.unsigned_abs());
}

fn unix_time() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Drops batch after batch until nothing is due. Returns how many rows.
async fn drop_old(database: &Database, what: Old, keep: Duration) -> Result<i64, StorageError> {
    let mut removed = 0;
    loop {
        let (rows, more) = match what {
            Old::History => database.trim_history(keep).await?,
            Old::Audit => database.trim_audit(keep).await?,
        };
        removed += rows;
        measure(what.word(), rows);
        if !more {
            return Ok(removed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

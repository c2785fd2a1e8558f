//! Applies a trace as fast as its dependencies allow, with a bound on what is in flight.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    num::NonZeroUsize,
    time::Instant,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use rollcall_client::Client;

use super::{apply::Applier, plan::Plan};
use crate::cli::{
    calls::{ApplyError, FIRST_APP},
    progress::Totals,
    trace::Trace,
};

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("cannot register app {app:?}: {error}")]
    App { app: String, error: ApplyError },
    #[error(
        "line {line}: {error}; {applied} rows are applied, none after this one begun; run it again to go on"
    )]
    Row { line: usize, applied: usize, error: ApplyError },
}

/// Applies all rows. `applied` is called after each; `concurrency` bounds the rows in flight.
pub(crate) async fn run(
    client: &Client,
    trace: &Trace,
    concurrency: NonZeroUsize,
    applied: impl Fn(),
) -> Result<Totals, ReplayError> {
    let begun = Instant::now();
    let applier = Applier::new(client.clone(), trace.digest);
    register_apps(&applier, trace).await?;
    apply_rows(&applier, trace, concurrency, applied).await?;
    Ok(Totals { rows: trace.rows.len(), took: begun.elapsed() })
}

async fn register_apps(applier: &Applier, trace: &Trace) -> Result<(), ReplayError> {
    let mut apps = BTreeSet::from([FIRST_APP]);
    apps.extend(trace.rows.iter().filter_map(|row| row.op.workspace()).map(|(_, app)| app));
    for app in apps {
        applier
            .calls
            .ensure_app(app)
            .await
            .map_err(|error| ReplayError::App { app: app.to_owned(), error })?;
    }
    Ok(())
}

async fn apply_rows(
    applier: &Applier,
    trace: &Trace,
    concurrency: NonZeroUsize,
    applied: impl Fn(),
) -> Result<(), ReplayError> {
    let Plan { mut waits, followers } = Plan::of(&trace.rows);
    // The earliest ready row first: the order of the file as far as possible.
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..waits.len()).filter(|index| waits[*index] == 0).map(Reverse).collect();
    let mut flying = FuturesUnordered::new();
    let mut failure: Option<(usize, ApplyError)> = None;
    let mut count = 0;
    loop {
        while failure.is_none()
            && flying.len() < concurrency.get()
            && let Some(Reverse(index)) = ready.pop()
        {
            flying.push(async move { (index, applier.apply(&trace.rows[index]).await) });
        }
        // After a failure nothing new is begun, but what is in flight is waited for: the count must be true.
        let Some((index, result)) = flying.next().await else { break };
        match result {
            Ok(()) => {
                count += 1;
                applied();
                for next in &followers[index] {
                    waits[*next] -= 1;
                    if waits[*next] == 0 {
                        ready.push(Reverse(*next));
                    }
                }
            }
            Err(error) if failure.as_ref().is_none_or(|(first, _)| index < *first) => {
                failure = Some((index, error));
            }
            Err(_) => {}
        }
    }
    match failure {
        Some((index, error)) => Err(ReplayError::Row { line: trace.rows[index].line, applied: count, error }),
        None => Ok(()),
    }
}

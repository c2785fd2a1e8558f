//! Runs the app's handler: several at once, each change once, again a few times where it failed, and never in the way
//! of the stream or the lease.

use std::{
    borrow::Cow,
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::Instant,
};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    Outcome, ReplicaOptions, Revocation,
    handler::AnyHandler,
    owed::{Debt, Origin},
    shared::Shared,
};
use crate::{
    traces,
    v1::{Receipt, ReceiptOutcome},
};

/// So many revocations wait for the handler at most: twice the largest command. What comes beyond is told as failed.
const WAITING: usize = 10_000;
/// Of so many changes it is remembered that the handler was called: more than a stream repeats after a cut.
const REMEMBERED: usize = 100_000;
/// The wait before a failed call is made again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// How long a shutdown waits for handlers.
const GRACE: Duration = Duration::from_secs(5);
/// The longest detail of a receipt.
const DETAIL: usize = 64;

/// Where revocations are handed in.
#[derive(Debug)]
pub(super) struct Endings {
    queue: mpsc::Sender<(Debt, Revocation)>,
    shared: Arc<Shared>,
    seen: HashSet<Uuid>,
    order: VecDeque<Uuid>,
}

impl Endings {
    /// Begins to run the handler, until what is returned is dropped and all is done or the grace is over.
    pub(super) fn start(
        shared: &Arc<Shared>,
        handler: AnyHandler,
        options: &ReplicaOptions,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let run = Run {
            handler,
            shared: Arc::clone(shared),
            timeout: options.handler_timeout,
            attempts: options.handler_attempts.max(1),
        };
        let endings =
            Self { queue, shared: Arc::clone(shared), seen: HashSet::new(), order: VecDeque::new() };
        (endings, run_all(run, waiting, options.handler_concurrency.max(1)))
    }

    /// Hands a revocation in, unless its change was before.
    pub(super) fn put(&mut self, revocation: Revocation) {
        if self.is_new(&revocation) {
            self.hand_in(revocation, Origin::Stream);
        }
    }

    /// Hands in what an earlier process owed: to the handler, or only its receipt where the handler had returned.
    pub(super) fn inherit(&mut self, revocation: Revocation, receipt: Option<Receipt>) {
        if !self.is_new(&revocation) {
            return;
        }
        match receipt {
            Some(receipt) => self.shared.receipts.owe_receipt(revocation, receipt),
            None => self.hand_in(revocation, Origin::File),
        }
    }

    /// Takes nothing any more: what was handed in is the last.
    pub(super) fn close(&mut self) {
        self.queue = mpsc::channel(1).0;
    }

    fn is_new(&mut self, revocation: &Revocation) -> bool {
        let Some(change) = revocation.change else { return true };
        if !self.seen.insert(change.change_id) {
            return false;
        }
        self.order.push_back(change.change_id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    fn hand_in(&self, revocation: Revocation, from: Origin) {
        metrics::counter!("rollcall_replica_revocations_total", "app" => self.shared.app.clone())
            .increment(1);
        let debt = self.shared.receipts.owe(revocation.clone(), from);
        if let Err(error) = self.queue.try_send((debt, revocation)) {
            let (debt, revocation) = error.into_inner();
            tracing::error!(member_id = %revocation.member_id, "the handler is too far behind, a revocation is left out");
            tell(&self.shared, &revocation, &Outcome::Failed(Cow::Borrowed("overflow")));
            self.shared.receipts.handled(debt);
        }
    }
}

#[derive(Clone)]
struct Run {
    handler: AnyHandler,
    shared: Arc<Shared>,
    timeout: Duration,
    attempts: u32,
}

async fn run_all(run: Run, mut waiting: mpsc::Receiver<(Debt, Revocation)>, concurrency: usize) {
    let permits = Arc::new(Semaphore::new(concurrency));
    let mut running = JoinSet::new();
    let ended = run.shared.ended();
    tokio::pin!(ended);
    let mut deadline = None;
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((waiting.recv().await?, permit))
        };
        tokio::select! {
            next = next => match next {
                Some(((debt, revocation), permit)) => {
                    let run = run.clone();
                    running.spawn(async move {
                        run.until_done(revocation).await;
                        // Not where it was dropped: then it is owed.
                        run.shared.receipts.handled(debt);
                        drop(permit);
                    });
                }
                None => break,
            },
            Some(_) = running.join_next() => {}
            () = &mut ended, if deadline.is_none() => deadline = Some(Instant::now() + GRACE),
            () = at(deadline) => break,
        }
    }
    let rest = async { while running.join_next().await.is_some() {} };
    // What does not end in time is dropped with the set, and stays owed.
    let _ = tokio::time::timeout_at(deadline.unwrap_or_else(|| Instant::now() + GRACE), rest).await;
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Run {
    async fn until_done(&self, revocation: Revocation) {
        let mut wait = FIRST_WAIT;
        for attempt in 1..=self.attempts {
            let outcome = self.once(revocation.clone()).await;
            // A failure is told at once: a later word takes its place.
            tell(&self.shared, &revocation, &outcome);
            let Outcome::Failed(detail) = outcome else { return };
            metrics::counter!("rollcall_replica_handler_failures_total", "app" => self.shared.app.clone())
                .increment(1);
            tracing::warn!(member_id = %revocation.member_id, attempt, detail = %sane(&detail), "ending what was revoked failed");
            if attempt < self.attempts {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
    }

    /// In a task of its own, so that a panic in the app's code is a failure and nothing more.
    async fn once(&self, revocation: Revocation) -> Outcome {
        let mut call = JoinSet::new();
        let span = traces::handling(&revocation, &self.shared.app);
        call.spawn((self.handler)(revocation).instrument(span));
        match tokio::time::timeout(self.timeout, call.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(_) => Outcome::Failed(Cow::Borrowed("panicked")),
            Err(_) => Outcome::Failed(Cow::Borrowed("timeout")),
        }
    }
}

fn tell(shared: &Shared, revocation: &Revocation, outcome: &Outcome) {
    let Some(change) = revocation.change else { return };
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let (outcome, ended_sessions, handed_over, detail) = match outcome {
        Outcome::Ended { sessions, handed_over } => {
            (ReceiptOutcome::Ended, number(*sessions), number(*handed_over), String::new())
        }
        Outcome::Failed(detail) => (ReceiptOutcome::Failed, 0, 0, sane(detail).to_owned()),
    };
    shared.receipts.put(Receipt {
        position: change.position,
        change_id: change.change_id.to_string(),
        outcome: outcome.into(),
        ended_sessions,
        handed_over,
        detail,
    });
}

/// A detail that the service takes: one bad word must not cost the acknowledgement that it travels in.
fn sane(detail: &str) -> &str {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
    if !detail.is_empty() && detail.len() <= DETAIL && detail.chars().all(fits) { detail } else { "failed" }
}

//! The one task of a replica that looks up what acknowledgements are compared with and memory does not have: whose a
//! subscription is, and which changes stand at positions. It reads for all who ask at once, over a connection of its own,
//! since a lease must not wait for the pool that callers share. What a lease needs has a line before that of receipts.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::flush::Refused;
use crate::{
    rules::ids::SubscriptionId,
    storage::{Enforcer, LookedUp, StorageError},
};

/// How long a look-up may take.
const CALL: Duration = Duration::from_secs(10);
/// How long somebody waits for one, as long as for a connection of the pool.
const PATIENCE: Duration = Duration::from_secs(3);
/// Who may wait in each line. Whoever comes beyond that is told at once.
const QUEUE: usize = 10_000;
/// Positions of receipts that are looked up at a time, roughly: some milliseconds.
const POSITIONS: usize = 5_000;

/// Where to ask.
#[derive(Clone)]
pub(super) struct Lookup {
    leases: mpsc::Sender<Ask>,
    receipts: mpsc::Sender<Ask>,
}

/// What somebody wants to know.
#[derive(Debug)]
struct Ask {
    subscription: Option<SubscriptionId>,
    positions: Vec<i64>,
    answer: oneshot::Sender<Result<Arc<LookedUp>, Refused>>,
}

impl Lookup {
    pub(super) fn start(enforcer: Enforcer, shutdown: CancellationToken) -> (Self, JoinHandle<()>) {
        let ((leases, of_leases), (receipts, of_receipts)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        (Self { leases, receipts }, tokio::spawn(run(enforcer, of_leases, of_receipts, shutdown)))
    }

    /// A subscription that this replica does not know.
    pub(super) async fn subscription(&self, id: SubscriptionId) -> Result<Arc<LookedUp>, Refused> {
        ask(&self.leases, Some(id), Vec::new()).await
    }

    /// A position that the window does not have.
    pub(super) async fn position(&self, position: i64) -> Result<Arc<LookedUp>, Refused> {
        ask(&self.leases, None, vec![position]).await
    }

    /// What receipts of a subscription are of.
    pub(super) async fn receipts(
        &self,
        id: SubscriptionId,
        positions: Vec<i64>,
    ) -> Result<Arc<LookedUp>, Refused> {
        ask(&self.receipts, Some(id), positions).await
    }
}

async fn ask(
    line: &mpsc::Sender<Ask>,
    subscription: Option<SubscriptionId>,
    positions: Vec<i64>,
) -> Result<Arc<LookedUp>, Refused> {
    let (answer, answered) = oneshot::channel();
    line.try_send(Ask { subscription, positions, answer }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Refused::Storage(StorageError::Overloaded),
        // The replica is shutting down.
        mpsc::error::TrySendError::Closed(_) => Refused::Unavailable,
    })?;
    let answered = timeout(PATIENCE, answered).await;
    answered.map_err(|_| Refused::Storage(StorageError::Overloaded))?.map_err(|_| Refused::Unavailable)?
}

async fn run(
    mut enforcer: Enforcer,
    mut leases: mpsc::Receiver<Ask>,
    mut receipts: mpsc::Receiver<Ask>,
    shutdown: CancellationToken,
) {
    let mut failing = false;
    loop {
        let mut asks = Vec::new();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some(ask) = leases.recv() => asks.push(ask),
            Some(ask) = receipts.recv() => asks.push(ask),
            else => return,
        }
        while let Ok(ask) = leases.try_recv() {
            asks.push(ask);
        }
        let mut count: usize = asks.iter().map(|ask| ask.positions.len()).sum();
        while count < POSITIONS
            && let Ok(ask) = receipts.try_recv()
        {
            count += ask.positions.len();
            asks.push(ask);
        }
        // Who hung up wants to know nothing.
        asks.retain(|ask| !ask.answer.is_closed());
        let found = tokio::select! {
            () = shutdown.cancelled() => return,
            found = timeout(CALL, look_up(&mut enforcer, &asks)) => found,
        };
        let found = found.unwrap_or_else(|_| Err(StorageError::Unavailable("a look-up hangs".to_owned())));
        match found {
            Ok(found) => {
                failing = false;
                let found = Arc::new(found);
                asks.into_iter().for_each(|ask| answer(ask, Ok(Arc::clone(&found))));
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "acknowledgements cannot be compared with the log");
                }
                asks.into_iter().for_each(|ask| answer(ask, Err(Refused::Unavailable)));
            }
        }
    }
}

async fn look_up(enforcer: &mut Enforcer, asks: &[Ask]) -> Result<LookedUp, StorageError> {
    let subscriptions: BTreeSet<Uuid> =
        asks.iter().filter_map(|ask| ask.subscription).map(|subscription| subscription.0).collect();
    let positions: BTreeSet<i64> = asks.iter().flat_map(|ask| &ask.positions).copied().collect();
    let subscriptions: Vec<Uuid> = subscriptions.into_iter().collect();
    let positions: Vec<i64> = positions.into_iter().collect();
    enforcer.look_up(&subscriptions, &positions).await
}

fn answer(ask: Ask, found: Result<Arc<LookedUp>, Refused>) {
    // Whoever asked may have hung up.
    let _ = ask.answer.send(found);
}

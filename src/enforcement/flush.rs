//! The one task of a replica that stores what instances acknowledge: one statement for all that came in since the last
//! one. A grant is answered after its commit, so a thousand instances cost a commit, not a thousand. Those with receipts
//! wait in a line of their own: however many they are, a lease waits for one statement with some of them at most.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    rules::ids::{ChangeId, SubscriptionId},
    storage::{Applied, Enforcer, Granted, ReceiptWrite, StorageError},
};

/// How far apart statements begin at least: whoever comes within it shares the next one.
const SPACING: Duration = Duration::from_millis(2);
/// Rows that somebody else has locked are tried again after so long.
const BUSY: Duration = Duration::from_millis(10);
/// So often: what locks a row for longer than a second is no transaction of ours.
const TRIES: u32 = 100;
/// How long a statement may take.
const CALL: Duration = Duration::from_secs(10);
/// Acknowledgements that may wait in each line.
const QUEUE: usize = 10_000;
/// Receipts of a statement, roughly: some tens of milliseconds.
const RECEIPTS: usize = 5_000;

/// Why an acknowledgement is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The subscription has ended, and another process follows under its instance name, or has.
    #[error("another process has the instance name")]
    Replaced,
    /// The subscription has ended.
    #[error("the subscription has ended")]
    Ended,
    /// There is none.
    #[error("there is no such subscription")]
    Missing,
    /// The log has another change at what was applied, or none.
    #[error("the history is another one")]
    Forked,
    /// Its row stays locked.
    #[error("the subscription is locked")]
    Busy,
    /// The database fails. The task has said why.
    #[error("the database fails")]
    Unavailable,
    /// The database fails.
    #[error(transparent)]
    Storage(StorageError),
}

/// Where to ask for a grant.
#[derive(Clone)]
pub(super) struct Flush {
    leases: mpsc::Sender<Ask>,
    receipts: mpsc::Sender<Ask>,
}

/// What waits for the next statement.
struct Ask {
    applied: Applied,
    receipts: Vec<ReceiptWrite>,
    tries: u32,
    answer: oneshot::Sender<Result<Granted, Refused>>,
}

impl Flush {
    pub(super) fn start(
        enforcer: Enforcer,
        stored: Arc<Notify>,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let ((leases, of_leases), (receipts, of_receipts)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        (Self { leases, receipts }, tokio::spawn(run(enforcer, of_leases, of_receipts, stored, shutdown)))
    }

    /// Stores what a subscription has applied, and what it ended.
    pub(super) async fn grant(
        &self,
        applied: Applied,
        receipts: Vec<ReceiptWrite>,
    ) -> Result<Granted, Refused> {
        let (answer, answered) = oneshot::channel();
        let line = if receipts.is_empty() { &self.leases } else { &self.receipts };
        let ask = Ask { applied, receipts, tries: 0, answer };
        // Either fails where the task has ended: the replica is shutting down.
        line.send(ask).await.map_err(|_| Refused::Unavailable)?;
        answered.await.map_err(|_| Refused::Unavailable)?
    }
}

/// What one statement stores of some asks. Who asks twice is stored once, with what is more.
#[derive(Debug, Default)]
struct Batch {
    applied: BTreeMap<SubscriptionId, (i64, ChangeId)>,
    receipts: BTreeMap<(SubscriptionId, i64), ReceiptWrite>,
}

impl Batch {
    fn of(asks: &[Ask]) -> Self {
        let mut batch = Self::default();
        for Ask { applied, receipts, .. } in asks {
            batch.add(*applied, receipts);
        }
        batch
    }

    fn add(&mut self, Applied { subscription, position, change }: Applied, receipts: &[ReceiptWrite]) {
        let furthest = self.applied.entry(subscription).or_insert((position, change));
        *furthest = (position, change).max(*furthest);
        for receipt in receipts {
            match self.receipts.entry((subscription, receipt.position)) {
                Entry::Vacant(free) => {
                    free.insert(receipt.clone());
                }
                // As the statement does with one that is stored.
                Entry::Occupied(mut taken) if !taken.get().ended => {
                    taken.insert(receipt.clone());
                }
                Entry::Occupied(_) => {}
            }
        }
    }

    async fn store(self, enforcer: &mut Enforcer) -> Result<BTreeMap<SubscriptionId, Granted>, StorageError> {
        let applied = self.applied.into_iter();
        let applied =
            applied.map(|(subscription, (position, change))| Applied { subscription, position, change });
        let (applied, receipts) =
            (applied.collect::<Vec<_>>(), self.receipts.into_values().collect::<Vec<_>>());
        let stored = timeout(CALL, enforcer.grant(&applied, &receipts)).await;
        let stored = stored.unwrap_or_else(|_| Err(StorageError::Unavailable("a grant hangs".to_owned())));
        Ok(stored?.into_iter().collect())
    }
}

async fn run(
    mut enforcer: Enforcer,
    mut leases: mpsc::Receiver<Ask>,
    mut with_receipts: mpsc::Receiver<Ask>,
    stored: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut asks: Vec<Ask> = Vec::new();
    let mut failing = false;
    loop {
        if asks.is_empty() {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(ask) = leases.recv() => asks.push(ask),
                Some(ask) = with_receipts.recv() => asks.push(ask),
                else => return,
            }
        }
        while let Ok(ask) = leases.try_recv() {
            asks.push(ask);
        }
        let mut receipts: usize = asks.iter().map(|ask| ask.receipts.len()).sum();
        while receipts < RECEIPTS
            && let Ok(ask) = with_receipts.try_recv()
        {
            receipts += ask.receipts.len();
            asks.push(ask);
        }
        let begun = Instant::now();
        let granted = Batch::of(&asks).store(&mut enforcer).await;
        let mut next = begun + SPACING;
        match granted {
            Ok(granted) => {
                failing = false;
                for ask in std::mem::take(&mut asks) {
                    match granted.get(&ask.applied.subscription).copied() {
                        Some(Granted::Busy) if ask.tries < TRIES && !ask.answer.is_closed() => {
                            asks.push(Ask { tries: ask.tries + 1, ..ask });
                            next = begun + BUSY;
                        }
                        found => answer(ask, Ok(found.unwrap_or(Granted::Missing))),
                    }
                }
                stored.notify_one();
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "no leases can be granted");
                }
                asks.drain(..).for_each(|ask| answer(ask, Err(Refused::Unavailable)));
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep_until(next) => {}
        }
    }
}

fn answer(ask: Ask, granted: Result<Granted, Refused>) {
    // Whoever asked may have hung up.
    let _ = ask.answer.send(granted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ids::OrganizationId;

    fn receipt(subscription: SubscriptionId, position: i64, ended: bool) -> ReceiptWrite {
        ReceiptWrite {
            subscription,
            organization: OrganizationId::generate(),
            position,
            ended,
            ended_sessions: 1,
            handed_over: 0,
            detail: String::new(),
            revoking: true,
        }
    }

    #[test]
    fn who_asks_twice_is_stored_once_with_what_is_more() {
        let (one, other) = (SubscriptionId::generate(), SubscriptionId::generate());
        let mut batch = Batch::default();
        let changes: Vec<ChangeId> = (0..8).map(|_| ChangeId::generate()).collect();
        let at = |subscription, position: i64| Applied {
            subscription,
            position,
            change: changes[usize::try_from(position).expect("a small one")],
        };
        batch.add(at(one, 7), &[receipt(one, 5, false)]);
        batch.add(at(one, 6), &[receipt(one, 5, true), receipt(one, 6, true)]);
        batch.add(at(one, 6), &[receipt(one, 6, false)]);
        batch.add(at(other, 2), &[receipt(other, 5, false)]);
        assert_eq!(batch.applied, BTreeMap::from([(one, (7, changes[7])), (other, (2, changes[2]))]));
        let ended: Vec<_> = batch.receipts.iter().map(|(of, receipt)| (*of, receipt.ended)).collect();
        let mut wanted = [((one, 5), true), ((one, 6), true), ((other, 5), false)];
        wanted.sort_unstable();
        assert_eq!(ended, wanted);
    }
}

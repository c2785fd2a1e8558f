//! Acknowledges what is applied, and takes the leases that are granted for it: at once after a change, else often enough
//! that the lease does not run out. One call at a time; it never waits for a handler.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tonic::{Code, Status};

use super::{lease::Sent, shared::Shared};
use crate::{
    Client,
    backoff::Backoff,
    describe, reason,
    v1::{AcknowledgeRequest, ErrorReason, Receipt},
};

/// A lease is renewed this many times while it lasts,
const RENEWALS: u32 = 6;
/// but not more often than this: many instances renew.
const RENEW_AT_MOST: Duration = Duration::from_secs(1);
/// The waits after a failed call: short ones, since the lease runs on.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long one call may take, in parts of the lease, within bounds: an endpoint that hangs must leave time for another.
const TIMEOUT_PARTS: u32 = 6;
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How far the replica is, as checks see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) subscription_id: String,
    /// The last cursor that came on this subscription and is applied. Empty: none yet, or what it says is not what checks
    /// see.
    pub(super) cursor: String,
    pub(super) position: i64,
    /// Counts up with each message that changed what checks see: that is acknowledged at once, since a departure waits for
    /// it. That nothing happened is not.
    pub(super) changes: u64,
}

impl Progress {
    fn is_urgent(&self, last: &Self) -> bool {
        !self.cursor.is_empty()
            && (self.changes != last.changes
                || self.subscription_id != last.subscription_id
                || last.cursor.is_empty())
    }
}

/// What an acknowledgement showed about the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// This subscription has ended.
    Ended(String),
    /// This cursor of it cannot be resumed: the stream will say the same, and get a snapshot.
    Unresumable(String),
}

/// Runs until the replica ends.
pub(super) async fn acknowledge(
    shared: Arc<Shared>,
    client: Client,
    mut progress: watch::Receiver<Progress>,
    findings: mpsc::Sender<Finding>,
) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    // A receipt that was put while one was in flight is in the next call, and wakes for it.
    let mut retry_at: Option<Instant> = None;
    let mut renew_at = Instant::now();
    let mut last = Progress::default();
    // Receipts come also when nothing is followed any more: a replica that ends waits for its handlers.
    let mut following = true;
    loop {
        if let Some(at) = retry_at {
            tokio::time::sleep_until(at).await;
        } else {
            tokio::select! {
                changed = progress.changed(), if following => {
                    following = changed.is_ok();
                    if !following {
                        continue;
                    }
                    let leased = shared.lease.read(&*shared.clock).leased;
                    if leased && !progress.borrow_and_update().is_urgent(&last) {
                        continue;
                    }
                }
                () = shared.receipts.came.notified() => {}
                () = tokio::time::sleep_until(renew_at) => {}
            }
        }
        let now = progress.borrow_and_update().clone();
        last.clone_from(&now);
        let begun = Instant::now();
        renew_at = begun + (shared.lease.ttl() / RENEWALS).max(RENEW_AT_MOST);
        retry_at = None;
        if now.cursor.is_empty() {
            continue;
        }
        match once(&shared, &client, &now).await {
            Ok(()) => backoff.reset(),
            Err(Refusal::Receipts) => retry_at = Some(begun),
            Err(Refusal::Ended) => {
                send(&findings, Finding::Ended(now.subscription_id)).await;
            }
            Err(Refusal::Unresumable) => {
                send(&findings, Finding::Unresumable(now.subscription_id)).await;
            }
            Err(Refusal::Later) => retry_at = Some(Instant::now() + backoff.next(None)),
        }
    }
}

/// Hands in the receipts that are left when a replica ends. It answers no more checks, so the lease means nothing.
pub(super) async fn hand_in(shared: &Shared, client: &Client, progress: &Progress) {
    if !shared.receipts.up_to(progress.position).is_empty() {
        // What is refused now is told by nobody.
        let _ = once(shared, client, progress).await;
    }
}

async fn send(findings: &mpsc::Sender<Finding>, finding: Finding) {
    // Nobody follows any more: the replica ends.
    let _ = findings.send(finding).await;
}

enum Refusal {
    /// One of the receipts was not taken; they are left out from here on.
    Receipts,
    Ended,
    Unresumable,
    Later,
}

async fn once(shared: &Shared, client: &Client, progress: &Progress) -> Result<(), Refusal> {
    let receipts = shared.receipts.up_to(progress.position);
    let request = AcknowledgeRequest {
        subscription_id: progress.subscription_id.clone(),
        applied_cursor: progress.cursor.clone(),
        receipts: receipts.clone(),
    };
    let timeout = (shared.lease.ttl() / TIMEOUT_PARTS).clamp(TIMEOUTS.0, TIMEOUTS.1);
    let turn = client.turn();
    let mut feed = client.feed();
    let sent = Sent::now(&*shared.clock);
    let answer = match tokio::time::timeout(timeout, feed.acknowledge(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(refused(shared, client, turn, &status, &receipts)),
        Err(_) => {
            let status = Status::deadline_exceeded("an acknowledgement was not answered in time");
            return Err(refused(shared, client, turn, &status, &receipts));
        }
    };
    if let Some(duration) = answer.lease_duration.and_then(|duration| Duration::try_from(duration).ok()) {
        shared.lease.take(sent, duration);
        shared.leased.notify_one();
    }
    shared.receipts.done(&receipts);
    shared.say(|status| {
        status.head = status.head.max(answer.head_position);
        status.trouble = None;
    });
    // Those that did not fit.
    if !shared.receipts.up_to(progress.position).is_empty() {
        shared.receipts.came.notify_one();
    }
    Ok(())
}

fn refused(shared: &Shared, client: &Client, turn: usize, status: &Status, receipts: &[Receipt]) -> Refusal {
    match reason(status) {
        Some(ErrorReason::SubscriptionClosed | ErrorReason::SubscriptionNotFound) => return Refusal::Ended,
        Some(ErrorReason::CursorInvalid | ErrorReason::CursorForked | ErrorReason::CursorCompacted) => {
            return Refusal::Unresumable;
        }
        _ => {}
    }
    shared.trouble(&format!("an acknowledgement failed: {}", describe(status)));
    let about_receipts = reason(status) == Some(ErrorReason::ChangeNotSent)
        || (status.code() == Code::InvalidArgument && !receipts.is_empty());
    if about_receipts {
        tracing::error!(receipts = receipts.len(), "the service took no receipt of these, they are left out");
        shared.receipts.done(receipts);
        return Refusal::Receipts;
    }
    client.move_on(turn);
    Refusal::Later
}

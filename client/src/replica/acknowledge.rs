//! Acknowledges what is applied, and takes the leases that are granted for it: at once after a change, else often enough
//! that the lease does not run out. One call at a time; it never waits for a handler. Where a call with receipts fails, the
//! cursor goes alone: that is what the lease is granted for, and costs a service that is busy the least. The receipts
//! are tried again behind it.

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
    describe, metadata, reason,
    v1::{AcknowledgeRequest, ErrorReason, Receipt},
};

/// A lease is renewed this many times while it lasts,
const RENEWALS: u32 = 6;
/// but not more often than this: many instances renew.
const RENEW_AT_MOST: Duration = Duration::from_secs(1);
/// The waits after a failed call: short ones, since the lease runs on.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before receipts are tried again: nobody is let in for that.
const LONGEST_RECEIPTS: Duration = Duration::from_secs(5);
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
    /// The last cursor that came on it, whether or not what it says is what checks see: who shows it is this process.
    pub(super) heard: String,
    pub(super) position: i64,
    /// Counts up with each message that changed what checks see: that is acknowledged at once, since a departure waits for
    /// it. That nothing happened is not.
    pub(super) changes: u64,
    /// Subscriptions that this process had before, the newest last, each with a cursor that came on it.
    pub(super) earlier: Vec<(String, String)>,
}

/// Earlier subscriptions that are remembered.
const EARLIER: usize = 100;

impl Progress {
    /// What follows on this, where the subscription may be another one.
    pub(super) fn then(&mut self, next: Self) -> Self {
        let mut earlier = std::mem::take(&mut self.earlier);
        if next.subscription_id != self.subscription_id && !self.heard.is_empty() {
            earlier.push((std::mem::take(&mut self.subscription_id), std::mem::take(&mut self.heard)));
            // A process that has so many has other troubles.
            earlier.drain(..earlier.len().saturating_sub(EARLIER));
        }
        Self { earlier, ..next }
    }

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
    /// This subscription has ended, and its instance name is another process's.
    Replaced(String),
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
    // Until when receipts are held back.
    let mut held: Option<Instant> = None;
    let mut holding = Backoff::new(FIRST_WAIT, LONGEST_RECEIPTS);
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
                () = shared.receipts.came.notified(), if held.is_none() => {}
                () = tokio::time::sleep_until(held.map_or(renew_at, |at| at.min(renew_at))) => {}
            }
        }
        let now = progress.borrow_and_update().clone();
        last.clone_from(&now);
        let begun = Instant::now();
        renew_at = begun + (shared.lease.ttl() / RENEWALS).max(RENEW_AT_MOST);
        retry_at = None;
        // Receipts that failed before are tried under a fresh lease: they may take all the time that a call has.
        let calls: &[Carry] = match held {
            None => &[Carry::Receipts],
            Some(at) if at > begun => &[Carry::Nothing],
            Some(_) => &[Carry::Nothing, Carry::Receipts],
        };
        held = held.filter(|at| *at > begun);
        if now.cursor.is_empty() {
            continue;
        }
        for carry in calls {
            match once(&shared, &client, &now, *carry).await {
                Ok(()) => {
                    backoff.reset();
                    if *carry == Carry::Receipts {
                        holding.reset();
                    }
                    continue;
                }
                Err(Refusal::Receipts) => retry_at = Some(begun),
                Err(Refusal::Held) => {
                    held = Some(Instant::now() + holding.next(None));
                    // At once, unless the cursor went alone just now.
                    retry_at = (calls.len() == 1).then_some(begun);
                }
                Err(Refusal::Ended) => {
                    send(&findings, Finding::Ended(now.subscription_id.clone())).await;
                }
                Err(Refusal::Replaced) => {
                    send(&findings, Finding::Replaced(now.subscription_id.clone())).await;
                }
                Err(Refusal::Unresumable) => {
                    send(&findings, Finding::Unresumable(now.subscription_id.clone())).await;
                }
                Err(Refusal::Later) => retry_at = Some(Instant::now() + backoff.next(None)),
            }
            break;
        }
    }
}

/// Hands in the receipts that are left when a replica ends. It answers no more checks, so the lease means nothing.
pub(super) async fn hand_in(shared: &Shared, client: &Client, progress: &Progress) {
    if !shared.receipts.up_to(progress.position).is_empty() {
        // What is refused now is told by nobody.
        let _ = once(shared, client, progress, Carry::Receipts).await;
    }
}

async fn send(findings: &mpsc::Sender<Finding>, finding: Finding) {
    // Nobody follows any more: the replica ends.
    let _ = findings.send(finding).await;
}

/// What goes with a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carry {
    Receipts,
    Nothing,
}

enum Refusal {
    /// The call had receipts: it may do better without.
    Held,
    /// One of the receipts was not taken; they are left out from here on.
    Receipts,
    Ended,
    Replaced,
    Unresumable,
    Later,
}

async fn once(shared: &Shared, client: &Client, progress: &Progress, carry: Carry) -> Result<(), Refusal> {
    let receipts = match carry {
        Carry::Receipts => shared.receipts.up_to(progress.position),
        Carry::Nothing => Vec::new(),
    };
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
        // Without receipts it shows nothing about what ails those.
        if carry == Carry::Receipts {
            status.trouble = None;
        }
    });
    // Those that did not fit.
    if carry == Carry::Receipts && !shared.receipts.up_to(progress.position).is_empty() {
        shared.receipts.came.notify_one();
    }
    Ok(())
}

fn refused(shared: &Shared, client: &Client, turn: usize, status: &Status, receipts: &[Receipt]) -> Refusal {
    match reason(status) {
        Some(ErrorReason::SubscriptionClosed | ErrorReason::SubscriptionNotFound) => return Refusal::Ended,
        Some(ErrorReason::SubscriptionReplaced) => return Refusal::Replaced,
        Some(ErrorReason::CursorInvalid | ErrorReason::CursorForked | ErrorReason::CursorCompacted) => {
            return Refusal::Unresumable;
        }
        _ => {}
    }
    shared.trouble(&format!("an acknowledgement failed: {}", describe(status)));
    let about_receipts = reason(status) == Some(ErrorReason::ChangeNotSent)
        || (status.code() == Code::InvalidArgument && !receipts.is_empty());
    if about_receipts {
        tracing::error!(
            receipts = receipts.len(),
            "the service did not take all of these receipts, they are left out"
        );
        shared.receipts.refused(receipts, place(status));
        return Refusal::Receipts;
    }
    client.move_on(turn);
    if receipts.is_empty() { Refusal::Later } else { Refusal::Held }
}

/// Which receipt a refusal is about.
fn place(status: &Status) -> Option<usize> {
    let field = metadata(status, "field")?;
    field.strip_prefix("receipts[")?.split_once(']')?.0.parse().ok()
}

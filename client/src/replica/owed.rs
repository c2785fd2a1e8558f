//! What is owed for a revocation: that the handler returns, and that the service has its receipt. It is in memory until
//! both are done, and in the state file, so that a restart owes it too: the cursor of the file is past the change, which is
//! told to nobody again.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{ChangeRef, Revocation, store::Store};
use crate::v1::{Receipt, ReceiptOutcome};

/// So many receipts wait at most: beyond it, the oldest is dropped, and its departure is told as not ended. Of calls of the
/// handler as many wait, so what is owed has a bound too.
const RECEIPTS: usize = 10_000;
/// So many go with one acknowledgement.
const AT_ONCE: usize = 500;

/// Revocations until they are done, and receipts that wait for the next acknowledgement.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    inner: Mutex<Inner>,
    pub(super) came: Notify,
    /// Something that the file has is owed no more.
    pub(super) settled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Vec<Receipt>,
    owed: BTreeMap<Debt, Owed>,
    last: u64,
    /// Whether the file has something else.
    is_changed: bool,
}

/// Names something that is owed, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Debt(u64);

/// Where a revocation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Stream,
    /// An earlier process was told of it.
    File,
}

#[derive(Debug)]
struct Owed {
    revocation: Revocation,
    from: Origin,
    /// The handler is not called any more.
    is_handled: bool,
    is_in_file: bool,
}

impl Owed {
    fn change_id(&self) -> Option<Uuid> {
        self.revocation.change.map(|change| change.change_id)
    }
}

impl Receipts {
    /// From here on the handler's return is owed, and the receipt where it is of a change.
    pub(super) fn owe(&self, revocation: Revocation, from: Origin) -> Debt {
        self.lock().owe(revocation, from, false)
    }

    /// As [`Receipts::owe`], where the handler has returned and this is what it said.
    pub(super) fn owe_receipt(&self, revocation: Revocation, receipt: Receipt) {
        self.lock().owe(revocation, Origin::File, true);
        self.put(receipt);
    }

    /// The handler has returned for the last time; its receipt, if there is one, was put.
    pub(super) fn handled(&self, debt: Debt) {
        let mut inner = self.lock();
        inner.is_changed = true;
        let Inner { owed, waiting, .. } = &mut *inner;
        let Some(handled) = owed.get_mut(&debt) else { return };
        handled.is_handled = true;
        let is_in_file = handled.is_in_file;
        // It came last, or nearly: of many at once nobody looks through all.
        let is_waiting = handled.change_id().is_some_and(|id| {
            let id = id.to_string();
            waiting.iter().rev().any(|receipt| receipt.change_id == id)
        });
        if is_waiting {
            return;
        }
        owed.remove(&debt);
        drop(inner);
        if is_in_file {
            self.settled.notify_one();
        }
    }

    pub(super) fn put(&self, receipt: Receipt) {
        let mut inner = self.lock();
        inner.waiting.retain(|other| other.change_id != receipt.change_id);
        let mut about = HashSet::new();
        if inner.waiting.len() == RECEIPTS {
            about.extend(change_id(&inner.waiting.remove(0)));
        }
        inner.waiting.push(receipt);
        if about.is_empty() {
            drop(inner);
        } else {
            self.settle(inner, &about);
        }
        self.came.notify_one();
    }

    /// Some that are covered by what is acknowledged. They stay until they are [`Receipts::done`].
    pub(super) fn up_to(&self, position: i64) -> Vec<Receipt> {
        let inner = self.lock();
        inner.waiting.iter().filter(|receipt| receipt.position <= position).take(AT_ONCE).cloned().collect()
    }

    /// These were taken, or never will be. One that was replaced by a newer word meanwhile stays.
    pub(super) fn done(&self, receipts: &[Receipt]) {
        let mut inner = self.lock();
        inner.waiting.retain(|waiting| !receipts.contains(waiting));
        self.settle(inner, &receipts.iter().filter_map(change_id).collect());
    }

    /// None of these was taken, because of the one at this place: all are left out. Where that one is of an earlier process
    /// only those of earlier ones are: the service does not know this one for their successor.
    pub(super) fn refused(&self, receipts: &[Receipt], place: Option<usize>) {
        let inherited: HashSet<Uuid> = {
            let inner = self.lock();
            inner.owed.values().filter(|owed| owed.from == Origin::File).filter_map(Owed::change_id).collect()
        };
        let is_inherited = |receipt: &Receipt| change_id(receipt).is_some_and(|id| inherited.contains(&id));
        if place.and_then(|place| receipts.get(place)).is_some_and(is_inherited) {
            let all: Vec<_> = receipts.iter().filter(|receipt| is_inherited(receipt)).cloned().collect();
            self.done(&all);
        } else {
            self.done(receipts);
        }
    }

    /// All that is owed, as the file has it from here on.
    pub(super) fn kept(&self) -> Vec<Kept> {
        let mut inner = self.lock();
        inner.is_changed = false;
        let Inner { waiting, owed, .. } = &mut *inner;
        let receipts: HashMap<Uuid, &Receipt> =
            waiting.iter().filter_map(|receipt| Some((change_id(receipt)?, receipt))).collect();
        let kept = owed.values_mut().map(|owed| {
            owed.is_in_file = true;
            // What failed is tried again after a restart.
            let receipt = owed
                .change_id()
                .and_then(|id| receipts.get(&id).copied().cloned())
                .filter(|receipt| owed.is_handled && receipt.outcome() == ReceiptOutcome::Ended);
            Kept::of(&owed.revocation, receipt)
        });
        kept.collect()
    }

    /// Whether [`Receipts::kept`] is not what it was.
    pub(super) fn is_changed(&self) -> bool {
        self.lock().is_changed
    }

    /// Lets go of what is handled and has no receipt under way, of these changes.
    fn settle(&self, mut inner: MutexGuard<'_, Inner>, about: &HashSet<Uuid>) {
        let waiting: HashSet<Uuid> =
            inner.waiting.iter().filter_map(change_id).filter(|id| about.contains(id)).collect();
        let (mut is_less, mut is_in_file) = (false, false);
        inner.owed.retain(|_, owed| {
            let is_over = owed.is_handled
                && owed.change_id().is_some_and(|id| about.contains(&id) && !waiting.contains(&id));
            is_less |= is_over;
            is_in_file |= is_over && owed.is_in_file;
            !is_over
        });
        inner.is_changed |= is_less;
        drop(inner);
        if is_in_file {
            self.settled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn owe(&mut self, revocation: Revocation, from: Origin, is_handled: bool) -> Debt {
        self.is_changed = true;
        self.last += 1;
        let debt = Debt(self.last);
        self.owed.insert(debt, Owed { revocation, from, is_handled, is_in_file: from == Origin::File });
        debt
    }
}

fn change_id(receipt: &Receipt) -> Option<Uuid> {
    Uuid::try_parse(&receipt.change_id).ok()
}

/// A revocation as the file keeps it: ids alone. Who the person is at identity providers is what the state says of the
/// account, so an erasure takes it from here too.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Kept {
    /// Empty: found by comparing.
    #[prost(bytes = "vec", tag = "1")]
    change_id: Vec<u8>,
    #[prost(int64, tag = "2")]
    position: i64,
    #[prost(message, optional, tag = "3")]
    record_time: Option<prost_types::Timestamp>,
    #[prost(int32, tag = "4")]
    reason: i32,
    #[prost(bytes = "vec", tag = "5")]
    organization: Vec<u8>,
    /// Empty: the whole organization.
    #[prost(bytes = "vec", tag = "6")]
    workspace: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    member: Vec<u8>,
    /// Empty: not known.
    #[prost(bytes = "vec", tag = "8")]
    account: Vec<u8>,
    #[prost(bool, tag = "9")]
    erased: bool,
    /// Empty: nobody.
    #[prost(bytes = "vec", tag = "10")]
    handover: Vec<u8>,
    #[prost(int32, tag = "11")]
    assignments: i32,
    /// What the handler said, where it has returned.
    #[prost(message, optional, tag = "12")]
    receipt: Option<Receipt>,
}

impl Kept {
    fn of(revocation: &Revocation, receipt: Option<Receipt>) -> Self {
        let id = |id: Option<Uuid>| id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        let change = revocation.change;
        Self {
            change_id: id(change.map(|change| change.change_id)),
            position: change.map(|change| change.position).unwrap_or_default(),
            record_time: change.and_then(|change| change.record_time).map(Into::into),
            reason: revocation.reason.into(),
            organization: id(Some(revocation.organization_id)),
            workspace: id(revocation.workspace_id),
            member: id(Some(revocation.member_id)),
            account: id(revocation.account_id),
            erased: revocation.erased,
            handover: id(revocation.handover_to_member_id),
            assignments: revocation.assignments.into(),
            receipt,
        }
    }

    /// The revocation, and what its handler said. `None`: it cannot be.
    pub(super) fn restore(self, store: &Store) -> Option<(Revocation, Option<Receipt>)> {
        let given = |id: &[u8]| match id {
            [] => Some(None),
            id => Uuid::from_slice(id).ok().map(Some),
        };
        let change = given(&self.change_id)?.map(|change_id| ChangeRef {
            change_id,
            position: self.position,
            record_time: self.record_time.and_then(|time| time.try_into().ok()),
        });
        let account_id = given(&self.account)?;
        let revocation = Revocation {
            change,
            reason: self.reason.try_into().unwrap_or_default(),
            organization_id: Uuid::from_slice(&self.organization).ok()?,
            workspace_id: given(&self.workspace)?,
            member_id: Uuid::from_slice(&self.member).ok()?,
            account_id,
            external_ids: account_id.map(|id| store.external_ids(id).to_vec()).unwrap_or_default(),
            erased: self.erased,
            handover_to_member_id: given(&self.handover)?,
            assignments: self.assignments.try_into().unwrap_or_default(),
            // Whoever looks at that trace has looked long ago.
            traceparent: None,
        };
        Some((revocation, self.receipt))
    }
}

//! A snapshot that is received beside the state that answers, and what follows when it takes its place.

use std::collections::HashSet;

use uuid::Uuid;

use super::{
    Revocation,
    lost::{Lately, Past},
    store::{Gone, Source, Store, Thing, gone},
};
use crate::v1::{Assignments, ChangeReason};

pub(super) struct Fill {
    store: Store,
    /// Whether it is of another history than what it takes the place of.
    is_forked: bool,
    /// The position that must be passed before this is the state of one time. `None`: pages are still to come.
    ready: Option<i64>,
    /// What changes after the snapshot revoked.
    revocations: Vec<Revocation>,
}

impl Fill {
    pub(super) fn new(is_forked: bool) -> Self {
        Self { store: Store::default(), is_forked, ready: None, revocations: Vec::new() }
    }

    pub(super) fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    pub(super) fn page(&mut self, thing: &Thing) {
        self.store.apply(thing, Source::Snapshot);
    }

    pub(super) fn end(&mut self, position: i64, ready_position: i64) {
        self.store.scope.position = position;
        self.ready = Some(ready_position);
    }

    pub(super) fn passed(&mut self, position: i64) {
        self.store.scope.position = self.store.scope.position.max(position);
    }

    pub(super) fn revoked(&mut self, revocations: Vec<Revocation>) {
        self.revocations.extend(revocations);
    }

    /// What nobody was told yet, where another snapshot takes the place of this one.
    pub(super) fn untold(self) -> Vec<Revocation> {
        self.revocations
    }

    pub(super) fn is_forked(&self) -> bool {
        self.is_forked
    }

    /// Whether no pages are to come.
    pub(super) fn is_whole(&self) -> bool {
        self.ready.is_some()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some_and(|ready| self.store.scope.position >= ready)
    }
}

/// What came of a swap.
pub(super) struct Swapped {
    pub(super) store: Store,
    pub(super) lately: Lately,
    pub(super) revocations: Vec<Revocation>,
    pub(super) lost: Vec<Past>,
    pub(super) changed: i64,
}

/// Compares a complete fill with what was held, on a thread of its own: there may be millions of rows.
pub(super) async fn swap(fill: Fill, old: Store, lately: Lately) -> Swapped {
    let compare = tokio::task::spawn_blocking(move || compare(fill, old, lately));
    compare.await.expect("comparing two states does not panic")
}

fn compare(fill: Fill, old: Store, lately: Lately) -> Swapped {
    let Fill { mut store, is_forked, ready: _, mut revocations } = fill;
    store.remember(&old.scope);
    // In another history revocations may be missing. Also where nobody could tell that it is another one, as of a cursor that
    // is too old to be compared.
    let lost = lately.lost(&old.scope, &store.scope, is_forked);
    let told: HashSet<(Uuid, Option<Uuid>)> =
        revocations.iter().map(|revocation| (revocation.member_id, revocation.workspace_id)).collect();
    let found =
        gone(&old, &store.scope).into_iter().filter(|gone| !told.contains(&(gone.member, gone.workspace)));
    revocations.extend(found.map(found_by_comparing));
    let changed = store.scope.position;
    Swapped { store, lately, revocations, lost, changed }
}

fn found_by_comparing(gone: Gone) -> Revocation {
    let Gone { organization, workspace, member, account, external_ids, erased } = gone;
    Revocation {
        change: None,
        reason: ChangeReason::Unspecified,
        organization_id: organization,
        workspace_id: workspace,
        member_id: member,
        account_id: account,
        external_ids,
        erased,
        handover_to_member_id: None,
        assignments: Assignments::Unspecified,
        traceparent: None,
    }
}

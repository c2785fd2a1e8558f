//! Follows the stream: applies each message, publishes what came of it, and only then lets the app's handler and the
//! acknowledgements know.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use uuid::Uuid;

use super::{
    ChangeRef, Phase, ReplicaOptions, Revocation,
    acknowledge::{Finding, Progress},
    endings::Endings,
    file::{self, FileError, Found, Header},
    fill::{Fill, swap},
    lost::{Lately, Lost, Past},
    saves::{Saves, Saving, at, finished},
    shared::{Ending, Shared},
    store::{Applied, Body, Source, Store, Thing, Touched, parse},
};
use crate::{
    Event, Watch, WatchError, traces,
    v1::{Bookmark, Change, ChangeBatch, ChangeReason, ErrorReason, Opened},
};

/// How long a replica that ends waits for the rest of it: more than handlers, receipts and the goodbye take.
const SETTLE: Duration = Duration::from_secs(15);
/// No position: what is held is not in the file.
const NEVER: i64 = -1;
/// How soon after a refill for a digest that did not fit the next one may come; it doubles up to the last. A mismatch that a
/// refill does not mend is a defect, and no reason to read everything again and again.
const FIRST_REFILL: Duration = Duration::from_secs(60);
const LAST_REFILL: Duration = Duration::from_secs(3600);

pub(super) struct Follow {
    pub(super) shared: Arc<Shared>,
    pub(super) options: ReplicaOptions,
    pub(super) watch: Watch,
    pub(super) endings: Endings,
    pub(super) lost: Arc<Lost>,
    /// Some of what was lost is decided.
    pub(super) resolved: Arc<tokio::sync::Notify>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) findings: mpsc::Receiver<Finding>,
    pub(super) held: Held,
}

/// What was applied.
#[derive(Default)]
pub(super) struct Held {
    store: Store,
    /// A snapshot that is received, beside what answers.
    fill: Option<Fill>,
    /// Whether a snapshot was ever complete: without one there is nothing to answer from.
    filled: bool,
    store_id: String,
    /// The position of the last change that is in the state.
    changed: i64,
    lately: Lately,
    saved: i64,
    /// Whether something was revoked, or found lost, that is not in the file yet.
    unsaved: bool,
    /// How many messages changed what checks see.
    changes: u64,
    refill: Refill,
}

/// When the state may be filled anew because of its digest.
#[derive(Default)]
struct Refill {
    not_before: Option<Instant>,
    wait: Duration,
}

impl Follow {
    /// Runs until the replica ends, or another process takes its name.
    pub(super) async fn run(mut self) {
        self.load().await;
        let mut saving: Option<Saving> = None;
        let mut saves = Saves::new(self.options.state_file.is_some(), Instant::now());
        let ended = self.shared.ended();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                event = self.watch.next() => match event {
                    Ok(event) => self.take(event).await,
                    Err(WatchError::Replaced { .. }) => {
                        self.replaced();
                        ended.await;
                        return;
                    }
                    Err(error) => self.fail(&error),
                },
                Some(finding) = self.findings.recv() => {
                    if self.heed(&finding) {
                        self.replaced();
                        // It would go on with what the other process is told.
                        drop(self.watch);
                        ended.await;
                        return;
                    }
                }
                () = self.resolved.notified() => {
                    self.held.unsaved = true;
                    self.publish(&[Touched::Everyone]);
                }
                () = self.shared.receipts.settled.notified() => self.held.unsaved = true,
                is_written = finished(&mut saving) => {
                    let took = self.saved(saving.take(), is_written);
                    saves.ended(Instant::now(), took);
                }
                () = at(saves.next()), if saving.is_none() => {
                    saves.began(Instant::now());
                    saving = self.save();
                }
                () = &mut ended => break,
            }
            if self.held.unsaved {
                saves.hurry(Instant::now());
            }
        }
        // Nobody reads the stream any more, and the handler gets nothing that is new.
        self.watch.reopen();
        self.endings.close();
        // One after the other: both write beside the same file.
        if saving.is_some() {
            let is_written = finished(&mut saving).await;
            self.saved(saving.take(), is_written);
        }
        self.save_now().await;
        // What handlers did meanwhile and the service was told of is not to be done again. Bounded: who ends may be gone.
        if *self.shared.ending.borrow() == Some(Ending::Shutdown) {
            let _ = tokio::time::timeout(SETTLE, self.shared.settled.notified()).await;
            if self.shared.receipts.is_changed() {
                self.held.unsaved = true;
                self.save_now().await;
            }
        }
    }

    async fn save_now(&mut self) {
        if let Some(saving) = self.save() {
            finished(&mut Some(saving)).await;
        }
    }

    /// Begins with the state of the file, if there is one that fits.
    async fn load(&mut self) {
        let Some(path) = self.options.state_file.clone() else { return };
        let read = tokio::task::spawn_blocking(move || file::read(&path)).await;
        let Found { header, store, owed } = match read {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                return tracing::warn!(%error, "the state file is not used, a snapshot is taken");
            }
            Err(_) => return tracing::warn!("the state file could not be read, a snapshot is taken"),
        };
        if header.app != self.options.app || header.organization_ids != self.options.organization_ids {
            return tracing::warn!(app = %header.app, "the state file is of another app or filter, a snapshot is taken");
        }
        let Header { store_id, cursor, position, changed, lately, lost, app: _, organization_ids: _ } =
            header;
        self.watch.resume(cursor, store_id.clone());
        self.lost.add(lost);
        self.held = Held {
            store,
            filled: true,
            store_id,
            changed,
            lately: Lately::of(lately),
            saved: position,
            ..Held::default()
        };
        self.publish(&[]);
        owed.into_iter().for_each(|(revocation, receipt)| self.endings.inherit(revocation, receipt));
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Opened(opened) => self.opened(&opened),
            Event::SnapshotPage(page) => {
                if let Some(fill) = &mut self.held.fill {
                    page.subjects.iter().filter_map(parse).for_each(|thing| fill.page(&thing));
                }
            }
            Event::SnapshotEnd(end) => {
                if let Some(fill) = &mut self.held.fill {
                    fill.end(end.position, end.ready_position);
                }
                self.complete().await;
            }
            Event::Batch(batch) => {
                self.batch(&batch);
                self.complete().await;
            }
            Event::Bookmark(bookmark) => {
                self.bookmark(&bookmark);
                self.complete().await;
            }
            Event::Disconnected { cause, .. } => {
                self.shared.trouble(&format!("the stream was lost: {cause}"));
                return;
            }
        }
        self.progressed();
    }

    fn opened(&mut self, opened: &Opened) {
        let ttl = opened.lease_ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or_default();
        self.shared.lease.agree(ttl, opened.serve_stale);
        self.shared.leased.notify_one();
        self.held.store_id.clone_from(&opened.store_id);
        // A fill whose pages are all here goes on with the stream that resumes behind them.
        let whole = self.held.fill.take_if(|fill| fill.is_whole() && !opened.snapshot_follows);
        // Another history is one until a snapshot of it took the place of what was held.
        let forked = opened.cursor_refusal() == ErrorReason::CursorForked
            || self.held.fill.as_ref().is_some_and(Fill::is_forked);
        // What one that is dropped revoked is denied already, and would be found by no comparison.
        let untold = self.held.fill.take().map(Fill::untold).unwrap_or_default();
        self.held.fill = whole.or_else(|| opened.snapshot_follows.then(|| Fill::new(forked)));
        match &mut self.held.fill {
            Some(fill) => fill.revoked(untold),
            None => untold.into_iter().for_each(|revocation| self.endings.put(revocation)),
        }
        if opened.cursor_refusal() != ErrorReason::Unspecified {
            tracing::warn!(reason = opened.cursor_refusal().as_str_name(), "the state is filled anew");
        }
        self.shared.say(|status| {
            status.subscription_id = Some(opened.subscription_id.clone()).filter(|id| !id.is_empty());
            status.head = status.head.max(opened.head_position);
            status.trouble = None;
        });
    }

    fn batch(&mut self, batch: &ChangeBatch) {
        let mut revocations = Vec::new();
        let mut touched = Vec::with_capacity(batch.changes.len());
        // What answers while another state is received is to deny too; but of another history it may take nothing, since its
        // versions say nothing here.
        let both = self.held.filled && self.held.fill.as_ref().is_some_and(|fill| !fill.is_forked());
        let now = self.shared.clock.wall().as_secs();
        // Until checks see it. What is received beside what answers is seen later, at once with everything else.
        let _spans = (both || self.held.fill.is_none())
            .then(|| traces::applying(batch, &self.options.app, &self.options.instance));
        for change in &batch.changes {
            let Some(thing) = change.subject.as_ref().and_then(parse) else { continue };
            let store = self.held.fill.as_mut().map_or(&mut self.held.store, Fill::store);
            let applied = store.apply_and_tell(&thing, Source::Change);
            if !both {
                touched.push(applied.touched);
            }
            if revokes(change, &thing) {
                if both {
                    touched.push(self.held.store.apply(&thing, Source::Change));
                }
                self.held.unsaved = true;
                self.held.lately.add(past(change, &thing, now));
                revocations.extend(revocation(change, &thing, applied));
            }
        }
        let last = batch.changes.last().map(|change| change.position).unwrap_or_default();
        if let Some(fill) = &mut self.held.fill {
            fill.revoked(revocations);
            if !batch.more_parts {
                fill.passed(last);
            }
            if both {
                self.publish(&touched);
            }
            return;
        }
        self.held.changed = self.held.changed.max(last);
        self.held.changes += 1;
        // Short of a whole command the state is between two positions; what it denies is denied all the same.
        if !batch.more_parts {
            self.passed(last);
        }
        self.publish(&touched);
        revocations.into_iter().for_each(|revocation| self.endings.put(revocation));
    }

    fn bookmark(&mut self, bookmark: &Bookmark) {
        if let Some(fill) = &mut self.held.fill {
            fill.passed(bookmark.position);
            return;
        }
        self.passed(bookmark.position);
        self.publish(&[]);
        if !bookmark.digest.is_empty()
            && bookmark.digest_position >= self.held.changed
            && bookmark.digest != self.held.store.scope.digest.to_be_bytes()
        {
            self.differs(bookmark.digest_position);
        }
    }

    fn passed(&mut self, position: i64) {
        let scope = &mut self.held.store.scope;
        scope.position = scope.position.max(position);
    }

    /// The service holds something else (C16): one of the two is wrong, and the service's is the one that counts.
    fn differs(&mut self, position: i64) {
        let refill = &mut self.held.refill;
        if refill.not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return;
        }
        refill.wait = (refill.wait * 2).clamp(FIRST_REFILL, LAST_REFILL);
        refill.not_before = Some(Instant::now() + refill.wait);
        tracing::error!(position, "the state differs from the service's, it is filled anew");
        metrics::counter!("rollcall_replica_digest_mismatches_total", "app" => self.options.app.clone())
            .increment(1);
        self.watch.resync();
    }

    /// Puts a complete snapshot in the place of what answered so far.
    async fn complete(&mut self) {
        let Some(fill) = self.held.fill.take_if(|fill| fill.is_ready()) else { return };
        let old = std::mem::take(&mut self.held.store);
        let lately = std::mem::take(&mut self.held.lately);
        let swapped = swap(fill, old, lately).await;
        self.held.store = swapped.store;
        self.held.lately = swapped.lately;
        self.held.changed = swapped.changed;
        self.held.changes += 1;
        if !swapped.lost.is_empty() {
            tracing::error!(
                count = swapped.lost.len(),
                "the log has lost revocations that were applied here; they go on denying until an operator decides"
            );
        }
        self.held.unsaved |= !swapped.lost.is_empty() || !swapped.revocations.is_empty();
        self.lost.add(swapped.lost);
        let again = std::mem::replace(&mut self.held.filled, true);
        self.publish(&[Touched::Everyone]);
        self.shared.say(|status| status.resyncs += u64::from(again));
        swapped.revocations.into_iter().for_each(|revocation| self.endings.put(revocation));
    }

    /// Lets checks see what is held.
    fn publish(&mut self, touched: &[Touched]) {
        let lost = self.lost.len();
        if lost != self.held.store.scope.lost.len() || touched.contains(&Touched::Everyone) {
            self.held.store.scope.lost = self.lost.denied();
        }
        self.shared.publish(self.held.store.scope.clone(), touched);
        if self.held.filled {
            self.shared.lease.fill();
        }
        self.shared.say(|status| status.lost_revocations = lost);
    }

    /// What may be acknowledged: only what checks see.
    fn progressed(&mut self) {
        let heard = self.watch.acknowledgeable().map(|(_, cursor)| cursor.to_owned()).unwrap_or_default();
        let now = Progress {
            subscription_id: self.watch.subscription_id().unwrap_or_default().to_owned(),
            cursor: if self.held.fill.is_none() { heard.clone() } else { String::new() },
            heard,
            position: self.held.store.scope.position,
            changes: self.held.changes,
            earlier: Vec::new(),
        };
        self.progress.send_if_modified(|progress| {
            let before = progress.clone();
            *progress = progress.then(now);
            *progress != before
        });
    }

    /// Says whether another process has the name of this one.
    fn heed(&mut self, finding: &Finding) -> bool {
        let (Finding::Ended(of) | Finding::Replaced(of) | Finding::Unresumable(of)) = finding;
        // It may be of a stream that ended meanwhile: then the one that took its place is this replica's own.
        if self.watch.subscription_id() != Some(of) {
            return false;
        }
        match finding {
            Finding::Ended(_) => self.watch.resubscribe(),
            Finding::Unresumable(_) => self.watch.reopen(),
            Finding::Replaced(_) => return true,
        }
        self.progressed();
        false
    }

    fn fail(&mut self, error: &WatchError) {
        // Nothing heals this (C6): a snapshot of another store would deny everybody, and forget what was revoked in this one.
        match (error, &self.options.state_file) {
            (WatchError::WrongStore, Some(file)) => self.shared.trouble(&format!(
                "{error}; to follow that one from now on, end the process and move {} away",
                file.display()
            )),
            _ => self.shared.trouble(&error.to_string()),
        }
    }

    fn replaced(&mut self) {
        self.shared.trouble("another process follows under this instance name");
        self.shared.lease.disown();
        self.shared.leased.notify_one();
        self.shared.say(|status| status.phase = Phase::Replaced);
        self.progress.send_modify(|progress| *progress = progress.then(Progress::default()));
    }

    /// Writes the state, beside the work. `None` where there is nothing to write.
    fn save(&mut self) -> Option<Saving> {
        let path = self.options.state_file.clone()?;
        let position = self.held.store.scope.position;
        let is_same = position == self.held.saved && !self.held.unsaved;
        if !self.held.filled || self.held.fill.is_some() || is_same {
            return None;
        }
        let cursor = self.watch.cursor()?.to_owned();
        self.held.unsaved = false;
        let header = Header {
            app: self.options.app.clone(),
            organization_ids: self.options.organization_ids.clone(),
            store_id: self.held.store_id.clone(),
            cursor,
            position,
            changed: self.held.changed,
            lately: self.held.lately.iter().cloned().collect(),
            lost: self.lost.list(),
        };
        let (store, owed) = (self.held.store.clone(), self.shared.receipts.kept());
        let task = tokio::task::spawn_blocking(move || {
            let written: Result<(), FileError> = file::write(&path, header, &store, owed);
            if let Err(error) = &written {
                tracing::warn!(path = %path.display(), %error, "the state file could not be written");
            }
            written.is_ok()
        });
        Some(Saving { task, position, begun: Instant::now() })
    }

    /// Notes what became of a write, and says how long it took.
    fn saved(&mut self, saving: Option<Saving>, is_written: bool) -> Duration {
        let Some(Saving { position, begun, .. }) = saving else { return Duration::ZERO };
        // What could not be written is tried again with the next regular one.
        self.held.saved = if is_written { position } else { NEVER };
        begun.elapsed()
    }
}

/// Whether a change takes access away, or takes away what is left after that (R58, R46).
fn revokes(change: &Change, thing: &Thing) -> bool {
    let active = match thing.body {
        Body::Member { .. } => thing.word.is_active_member(),
        Body::Membership { .. } => thing.word.is_active_membership(),
        Body::Organization | Body::Workspace(_) => return false,
    };
    // Of somebody who is out already these change nothing about that. What is not known is taken for an end.
    let other = matches!(
        ChangeReason::try_from(change.reason),
        Ok(ChangeReason::Created
            | ChangeReason::Renamed
            | ChangeReason::ProfileChanged
            | ChangeReason::ScopeEntered
            | ChangeReason::RoleChanged
            | ChangeReason::SettingsChanged
            | ChangeReason::LeavingSet
            | ChangeReason::LeavingCleared
            | ChangeReason::ReturnChanged
            | ChangeReason::ExternalIdsChanged)
    );
    !active && !other
}

fn past(change: &Change, thing: &Thing, applied: u64) -> Past {
    let (workspace, member) = subject(thing);
    Past {
        change_id: change.change_id.clone(),
        organization_id: thing.organization.to_string(),
        workspace_id: workspace.map(|id| id.to_string()).unwrap_or_default(),
        member_id: member.to_string(),
        reason: change.reason,
        record_time: change.record_time,
        applied,
    }
}

fn revocation(change: &Change, thing: &Thing, applied: Applied) -> Option<Revocation> {
    let (workspace_id, member_id) = subject(thing);
    Some(Revocation {
        change: Some(ChangeRef {
            change_id: Uuid::try_parse(&change.change_id).ok()?,
            position: change.position,
            record_time: change.record_time.and_then(|time| time.try_into().ok()),
        }),
        reason: change.reason(),
        organization_id: thing.organization,
        workspace_id,
        member_id,
        account_id: applied.account,
        external_ids: applied.external_ids,
        erased: thing.word.is_erased() && workspace_id.is_none(),
        handover_to_member_id: Uuid::try_parse(&change.handover_to_member_id).ok(),
        assignments: change.assignments(),
        traceparent: Some(&change.traceparent).filter(|traceparent| !traceparent.is_empty()).cloned(),
    })
}

/// The workspace and member of a thing that is about one.
fn subject(thing: &Thing) -> (Option<Uuid>, Uuid) {
    match thing.body {
        Body::Member { member, .. } => (None, member),
        Body::Membership { workspace, member } => (Some(workspace), member),
        Body::Workspace(id) => (Some(id), Uuid::nil()),
        Body::Organization => (None, Uuid::nil()),
    }
}

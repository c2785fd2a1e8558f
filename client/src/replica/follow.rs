//! Follows the stream: applies each message, publishes what came of it, and only then lets the app's handler and the
//! acknowledgements know.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use uuid::Uuid;

use super::{
    ChangeRef, Phase, ReplicaOptions, Revocation,
    acknowledge::{Finding, Progress},
    endings::Endings,
    file::{self, FileError, Header},
    fill::{Fill, swap},
    lost::{Lately, Lost, Past},
    shared::Shared,
    store::{Applied, Body, Source, Store, Thing, Touched, parse},
};
use crate::{
    Event, Watch, WatchError,
    v1::{Bookmark, Change, ChangeBatch, ChangeReason, ErrorReason, Opened},
};

/// How often the state is written to its file, when it changed.
const SAVE: Duration = Duration::from_secs(60);
/// How soon after a revocation: a process that is killed forgets at most those of its last second, and with a large state of
/// the pause below, should the log lose them too (C7).
const SAVE_REVOCATION: Duration = Duration::from_secs(1);
/// After a write of the file so many times as long as that took passes before the next: a large state is not written all
/// the time.
const SAVE_PAUSE: u32 = 10;
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
    /// The state is of the file, and no stream has confirmed that it is of the store that is followed.
    from_file: bool,
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
        let (mut save_at, mut rested) = (Instant::now() + SAVE, Instant::now());
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
                Some(finding) = self.findings.recv() => self.heed(&finding),
                () = self.resolved.notified() => {
                    self.held.unsaved = true;
                    self.publish(&[Touched::Everyone]);
                }
                is_written = finished(&mut saving) => {
                    rested = Instant::now() + self.saved(saving.take(), is_written) * SAVE_PAUSE;
                }
                () = tokio::time::sleep_until(save_at.max(rested)), if saving.is_none() => {
                    save_at = Instant::now() + SAVE;
                    saving = self.save();
                }
                () = &mut ended => break,
            }
            if self.held.unsaved {
                save_at = save_at.min(Instant::now() + SAVE_REVOCATION);
            }
        }
        // One after the other: both write beside the same file.
        if saving.is_some() {
            let is_written = finished(&mut saving).await;
            self.saved(saving.take(), is_written);
        }
        if let Some(last) = self.save() {
            finished(&mut Some(last)).await;
        }
    }

    /// Begins with the state of the file, if there is one that fits.
    async fn load(&mut self) {
        let Some(path) = self.options.state_file.clone() else { return };
        let read = tokio::task::spawn_blocking(move || file::read(&path)).await;
        let (header, store) = match read {
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
            from_file: true,
            saved: position,
            ..Held::default()
        };
        self.publish(&[]);
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
        self.held.from_file = false;
        // A fill whose pages are all here goes on with the stream that resumes behind them.
        let whole = self.held.fill.take_if(|fill| fill.is_whole() && !opened.snapshot_follows);
        // Another history is one until a snapshot of it took the place of what was held.
        let forked = opened.cursor_refusal() == ErrorReason::CursorForked
            || self.held.fill.as_ref().is_some_and(Fill::is_forked);
        self.held.fill = whole.or_else(|| opened.snapshot_follows.then(|| Fill::new(forked)));
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
        let now = self.shared.clock.wall().as_secs();
        for change in &batch.changes {
            let Some(thing) = change.subject.as_ref().and_then(parse) else { continue };
            let store = self.held.fill.as_mut().map_or(&mut self.held.store, Fill::store);
            let applied = store.apply_and_tell(&thing, Source::Change);
            touched.push(applied.touched);
            if revokes(change, &thing) {
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
        self.held.unsaved |= !swapped.lost.is_empty();
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
        let (subscription_id, cursor) = match self.watch.acknowledgeable() {
            Some((subscription, cursor)) if self.held.fill.is_none() => {
                (subscription.to_owned(), cursor.to_owned())
            }
            _ => Default::default(),
        };
        let now = Progress {
            subscription_id,
            cursor,
            position: self.held.store.scope.position,
            changes: self.held.changes,
        };
        self.progress.send_if_modified(|progress| {
            let changed = *progress != now;
            *progress = now;
            changed
        });
    }

    fn heed(&mut self, finding: &Finding) {
        // What was found may be about a stream that ended meanwhile.
        let current = self.watch.subscription_id();
        match finding {
            Finding::Ended(subscription) if current == Some(subscription) => self.watch.resubscribe(),
            Finding::Unresumable(subscription) if current == Some(subscription) => self.watch.reopen(),
            Finding::Ended(_) | Finding::Unresumable(_) => return,
        }
        self.progressed();
    }

    fn fail(&mut self, error: &WatchError) {
        if matches!(error, WatchError::WrongStore) && self.held.from_file {
            tracing::warn!("the state file is of another store, a snapshot is taken");
            self.held = Held::default();
            self.lost.clear();
            self.publish(&[Touched::Everyone]);
            self.watch.forget();
            return;
        }
        self.shared.trouble(&error.to_string());
    }

    fn replaced(&mut self) {
        self.shared.trouble("another process follows under this instance name");
        self.shared.say(|status| status.phase = Phase::Replaced);
        self.progress.send_replace(Progress::default());
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
        let store = self.held.store.clone();
        let task = tokio::task::spawn_blocking(move || {
            let written: Result<(), FileError> = file::write(&path, header, &store);
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

/// A state that is being written.
struct Saving {
    /// Its own log line says what went wrong.
    task: JoinHandle<bool>,
    /// What it is of.
    position: i64,
    begun: Instant,
}

/// Returns when it is written, and says whether it is; never where nothing is being written.
async fn finished(saving: &mut Option<Saving>) -> bool {
    match saving {
        Some(Saving { task, .. }) => matches!(task.await, Ok(true)),
        None => std::future::pending().await,
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

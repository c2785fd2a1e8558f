//! Revocations that were applied here and that the log has lost, after a failover that lost its end (C7). They go on
//! denying, are reported, and end by an operator's decision alone: a lost tail re-admits nobody silently.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use uuid::Uuid;

use super::{
    shared::Shared,
    store::{Scope, is_active, version},
};
use crate::{Client, v1};

/// How often what is lost is reported, and thereby asked whether it is decided.
const REPORT: Duration = Duration::from_secs(30);
/// So many go in one report.
const AT_ONCE: usize = 500;
/// How long an applied revocation is remembered: longer than any tail that a failover loses.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// And so many at most: two of the largest commands.
const AT_MOST: usize = 10_000;

/// A revocation that was applied.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Past {
    #[prost(string, tag = "1")]
    pub(super) change_id: String,
    #[prost(string, tag = "2")]
    pub(super) organization_id: String,
    /// Empty: the whole organization.
    #[prost(string, tag = "3")]
    pub(super) workspace_id: String,
    #[prost(string, tag = "4")]
    pub(super) member_id: String,
    #[prost(int32, tag = "5")]
    pub(super) reason: i32,
    #[prost(message, optional, tag = "6")]
    pub(super) record_time: Option<prost_types::Timestamp>,
    /// By the wall clock, in seconds.
    #[prost(uint64, tag = "7")]
    pub(super) applied: u64,
}

impl Past {
    fn subject(&self) -> Option<(Uuid, Option<Uuid>)> {
        let workspace = match self.workspace_id.as_str() {
            "" => None,
            id => Some(Uuid::try_parse(id).ok()?),
        };
        Some((Uuid::try_parse(&self.member_id).ok()?, workspace))
    }

    fn report(&self) -> v1::LostRevocation {
        let Self { change_id, organization_id, workspace_id, member_id, reason, record_time, applied: _ } =
            self.clone();
        v1::LostRevocation {
            change_id,
            organization_id,
            workspace_id,
            member_id,
            reason,
            record_time,
            instance: String::new(),
            app: String::new(),
        }
    }
}

/// What was revoked lately.
#[derive(Debug, Default)]
pub(super) struct Lately {
    revocations: VecDeque<Past>,
}

impl Lately {
    pub(super) fn of(revocations: Vec<Past>) -> Self {
        Self { revocations: revocations.into() }
    }

    pub(super) fn add(&mut self, revocation: Past) {
        let horizon = revocation.applied.saturating_sub(REMEMBERED.as_secs());
        while self.revocations.len() >= AT_MOST
            || self.revocations.front().is_some_and(|oldest| oldest.applied < horizon)
        {
            self.revocations.pop_front();
        }
        self.revocations.push_back(revocation);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Past> {
        self.revocations.iter()
    }

    /// Those that denied something in the old state which the new one allows. With another history whether somebody gave the
    /// access back meanwhile, or the revocation is lost, cannot be told apart here: an operator can. Where the history is
    /// taken for the same, access that was given back has a higher version, and what has none is of another one after all.
    pub(super) fn lost(&self, old: &Scope, new: &Scope, is_another: bool) -> Vec<Past> {
        let denied_and_allowed = |past: &&Past| {
            past.subject().is_some_and(|(member, workspace)| {
                !is_active(old, member, workspace)
                    && is_active(new, member, workspace)
                    && (is_another || version(new, member, workspace) <= version(old, member, workspace))
            })
        };
        self.revocations.iter().filter(denied_and_allowed).cloned().collect()
    }
}

/// What is lost and not decided, by change.
#[derive(Debug, Default)]
pub(super) struct Lost {
    revocations: Mutex<HashMap<String, Past>>,
    pub(super) changed: tokio::sync::Notify,
}

impl Lost {
    pub(super) fn add(&self, revocations: impl IntoIterator<Item = Past>) {
        let mut held = self.lock();
        held.extend(revocations.into_iter().map(|past| (past.change_id.clone(), past)));
        if !held.is_empty() {
            self.changed.notify_one();
        }
    }

    pub(super) fn list(&self) -> Vec<Past> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// What they deny, as checks read it.
    pub(super) fn denied(&self) -> Arc<HashSet<(Uuid, Option<Uuid>)>> {
        Arc::new(self.lock().values().filter_map(Past::subject).collect())
    }

    fn resolve(&self, change_ids: &[String]) -> bool {
        let mut held = self.lock();
        let before = held.len();
        held.retain(|change_id, _| !change_ids.contains(change_id));
        held.len() != before
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Past>> {
        self.revocations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what is lost, again and again while something is, and says through `resolved` when some of it was decided.
    pub(super) async fn report(&self, client: &Client, shared: &Shared, resolved: &tokio::sync::Notify) {
        loop {
            let revocations = self.list();
            let subscription_id = shared.status.borrow().subscription_id.clone();
            let (Some(subscription_id), false) = (subscription_id, revocations.is_empty()) else {
                let mut status = shared.status.subscribe();
                // Whoever has it from a file reports as soon as there is a subscription to do it by.
                let subscribed = async {
                    let _ = status.wait_for(|status| status.subscription_id.is_some()).await;
                };
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = subscribed, if !revocations.is_empty() => {}
                    () = tokio::time::sleep(REPORT) => {}
                }
                continue;
            };
            for revocations in revocations.chunks(AT_ONCE) {
                let request = v1::ReportLostRevocationsRequest {
                    subscription_id: subscription_id.clone(),
                    revocations: revocations.iter().map(Past::report).collect(),
                };
                match client.feed().report_lost_revocations(request).await {
                    Ok(answer) if self.resolve(&answer.get_ref().resolved_change_ids) => {
                        resolved.notify_one()
                    }
                    Ok(_) => {}
                    Err(status) => {
                        tracing::warn!(error = %crate::describe(&status), "lost revocations could not be reported")
                    }
                }
            }
            // What is found meanwhile does not wait.
            let _ = tokio::time::timeout(REPORT, self.changed.notified()).await;
        }
    }
}

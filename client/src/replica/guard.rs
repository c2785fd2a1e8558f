//! Guards of what stays open longer than a request: they resolve when the person is out, or when nobody knows any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::v1::DenialReason;

/// Why a guard resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The person lost access: close the connection and end the session.
    Revoked(DenialReason),
    /// The replica does not know any more: close the connection so that the client comes again; the session may stay.
    Stale,
}

/// Watches over one open connection of one person in one workspace. Dropping it ends the watching.
#[derive(Debug)]
#[must_use = "a guard that is dropped guards nothing"]
pub struct SessionGuard {
    ended: oneshot::Receiver<Ended>,
    /// What it was resolved with, once seen.
    seen: Option<Ended>,
    entry: Option<Entry>,
}

/// Where a guard is registered.
#[derive(Debug)]
struct Entry {
    guards: Arc<Guards>,
    member: Uuid,
    number: u64,
}

impl SessionGuard {
    /// Waits until the connection has to be closed. May be dropped and called again, as in `select!`.
    pub async fn ended(&mut self) -> Ended {
        if let Some(seen) = self.seen {
            return seen;
        }
        // The replica that could tell is gone: nobody knows any more.
        let ended = (&mut self.ended).await.unwrap_or(Ended::Stale);
        *self.seen.insert(ended)
    }

    /// A guard that has resolved.
    pub(super) fn resolved(ended: Ended) -> Self {
        Self { ended: oneshot::channel().1, seen: Some(ended), entry: None }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        if let Some(Entry { guards, member, number }) = self.entry.take() {
            guards.remove(member, number);
        }
    }
}

/// The guards that have not resolved, by member: what happens to one person looks at the connections of that person
/// alone.
#[derive(Debug, Default)]
pub(super) struct Guards {
    registered: Mutex<Registered>,
}

#[derive(Debug, Default)]
struct Registered {
    next: u64,
    of_members: HashMap<Uuid, Vec<Guard>>,
}

#[derive(Debug)]
struct Guard {
    number: u64,
    workspace: Uuid,
    ended: oneshot::Sender<Ended>,
}

impl Guards {
    /// Registers a guard. Whoever does must look at the state after it: what changed before resolved nothing.
    pub(super) fn register(self: &Arc<Self>, member: Uuid, workspace: Uuid) -> SessionGuard {
        let (sender, ended) = oneshot::channel();
        let mut registered = self.lock();
        registered.next += 1;
        let number = registered.next;
        registered.of_members.entry(member).or_default().push(Guard { number, workspace, ended: sender });
        SessionGuard { ended, seen: None, entry: Some(Entry { guards: Arc::clone(self), member, number }) }
    }

    /// Resolves those of one member for which there is a reason now.
    pub(super) fn review(&self, member: Uuid, reason: impl Fn(Uuid, Uuid) -> Option<Ended>) {
        let mut registered = self.lock();
        if let Some(guards) = registered.of_members.get_mut(&member) {
            review(guards, member, &reason);
            if guards.is_empty() {
                registered.of_members.remove(&member);
            }
        }
    }

    /// As [`Guards::review`], of all members.
    pub(super) fn review_all(&self, reason: impl Fn(Uuid, Uuid) -> Option<Ended>) {
        self.lock().of_members.retain(|member, guards| {
            review(guards, *member, &reason);
            !guards.is_empty()
        });
    }

    fn remove(&self, member: Uuid, number: u64) {
        let mut registered = self.lock();
        if let Some(guards) = registered.of_members.get_mut(&member) {
            guards.retain(|guard| guard.number != number);
            if guards.is_empty() {
                registered.of_members.remove(&member);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        // Nothing that runs under the lock leaves it half done.
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().of_members.values().map(Vec::len).sum()
    }
}

fn review(guards: &mut Vec<Guard>, member: Uuid, reason: &impl Fn(Uuid, Uuid) -> Option<Ended>) {
    for guard in std::mem::take(guards) {
        match reason(member, guard.workspace) {
            // Dropped meanwhile: nothing is open any more.
            Some(ended) => drop(guard.ended.send(ended)),
            None => guards.push(guard),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_review_resolves_those_with_a_reason_and_dropping_ends_the_watching() {
        let guards = Arc::new(Guards::default());
        let [ada, bob] = [1, 2].map(Uuid::from_u128);
        let [general, random] = [3, 4].map(Uuid::from_u128);
        let mut first = guards.register(ada, general);
        let second = guards.register(ada, random);
        let mut other = guards.register(bob, general);
        let out = Ended::Revoked(DenialReason::NotInWorkspace);
        guards.review(ada, |_, workspace| (workspace == general).then_some(out));
        assert_eq!(first.ended().await, out);
        assert_eq!(first.ended().await, out, "asked again");
        assert_eq!(guards.len(), 2);
        drop((first, second));
        assert_eq!(guards.len(), 1);
        guards.review_all(|_, _| Some(Ended::Stale));
        assert_eq!(other.ended().await, Ended::Stale);
        assert_eq!(guards.len(), 0);
        assert_eq!(SessionGuard::resolved(out).ended().await, out);
    }
}

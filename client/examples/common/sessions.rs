//! The sockets that are open, and how many of them a departure closed: what a receipt says.

use std::{collections::HashMap, sync::Arc};

use rollcall_client::Revocation;
use tokio::sync::watch;
use uuid::Uuid;

/// Open sockets, and those that were closed and are in no receipt yet, by member and workspace.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    counts: watch::Sender<HashMap<(Uuid, Uuid), Count>>,
}

#[derive(Debug, Default)]
struct Count {
    open: u32,
    revoked: u32,
}

impl Sessions {
    pub(crate) fn open(self: &Arc<Self>, member_id: Uuid, workspace_id: Uuid) -> Session {
        let key = (member_id, workspace_id);
        self.counts.send_modify(|counts| counts.entry(key).or_default().open += 1);
        Session { sessions: Arc::clone(self), key, revoked: false }
    }

    /// Waits until the sessions that a departure is about are closed, and says how many there were. Their guards have
    /// resolved before the handler is called.
    pub(crate) async fn ended(&self, revocation: &Revocation) -> u32 {
        let is_of = |(member, workspace): &(Uuid, Uuid)| {
            *member == revocation.member_id && revocation.workspace_id.is_none_or(|id| id == *workspace)
        };
        let closed = |counts: &HashMap<_, Count>| counts.iter().all(|(key, n)| !is_of(key) || n.open == 0);
        let _ = self.counts.subscribe().wait_for(closed).await;
        let mut ended = 0;
        self.counts.send_modify(|counts| {
            counts
                .iter_mut()
                .filter(|(key, _)| is_of(key))
                .for_each(|(_, n)| ended += std::mem::take(&mut n.revoked));
            counts.retain(|_, n| n.open > 0 || n.revoked > 0);
        });
        ended
    }
}

/// One open socket, until it is dropped.
pub(crate) struct Session {
    sessions: Arc<Sessions>,
    key: (Uuid, Uuid),
    /// It was closed because its person is out.
    pub(crate) revoked: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.counts.send_modify(|counts| {
            let count = counts.entry(self.key).or_default();
            count.open = count.open.saturating_sub(1);
            count.revoked += u32::from(self.revoked);
            if count.open == 0 && count.revoked == 0 {
                counts.remove(&self.key);
            }
        });
    }
}

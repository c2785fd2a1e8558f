//! The live replica, through its public API, against a service whose every answer the test says. Time is paused: where nothing
//! else is to be done it jumps, and the clocks of leases stand until a test moves them.

use std::{sync::Arc, time::Duration};

use rollcall_client::{
    Access, Answer, Handler, ManualClock, Outcome, Replica, ReplicaOptions, Revocation, v1::DenialReason,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use script::{Script, Stream, Streams};
use things::*;

mod answers;
mod endpoints;
mod handlers;
mod leases;
mod owed;
mod restarts;
// What the examples' tests need besides.
#[allow(dead_code)]
mod script;
mod shadow;
mod snapshots;
mod things;

/// A replica with its service.
struct Stage {
    script: Arc<Script>,
    streams: Streams,
    clock: Arc<ManualClock>,
    replica: Replica,
    /// What the handler was called with.
    revocations: mpsc::UnboundedReceiver<Revocation>,
}

impl Stage {
    /// A replica that has just begun.
    fn begin(options: impl FnOnce(&mut ReplicaOptions)) -> Self {
        let (sender, revocations) = mpsc::unbounded_channel();
        let handler = move |revocation: Revocation| {
            let _ = sender.send(revocation);
            async { Outcome::Ended { sessions: 2, handed_over: 1 } }
        };
        Self::with(options, handler, revocations)
    }

    fn with(
        options: impl FnOnce(&mut ReplicaOptions),
        handler: impl Handler,
        revocations: mpsc::UnboundedReceiver<Revocation>,
    ) -> Self {
        let (script, streams, client) = script::start();
        let clock = Arc::new(ManualClock::default());
        let mut set = ReplicaOptions::new("chat", "chat-1");
        set.clock = clock.clone();
        options(&mut set);
        let replica = Replica::start(client, set, handler);
        Self { script, streams, clock, replica, revocations }
    }

    /// A replica that follows and answers: two people may use the workspace, as of position 10 and cursor `filled`.
    async fn live() -> (Self, Stream) {
        Self::live_with(|_| {}).await
    }

    async fn live_with(options: impl FnOnce(&mut ReplicaOptions)) -> (Self, Stream) {
        let mut stage = Self::begin(options);
        let stream = stage.fill("s1").await;
        stage.replica.ready().await;
        assert!(stage.check(1).is_allowed());
        (stage, stream)
    }

    /// Serves the next stream with a snapshot of two people.
    async fn fill(&mut self, subscription_id: &str) -> Stream {
        let mut stream = Stream::next(&mut self.streams).await;
        stream.open(subscription_id, true).await;
        stream.page(people(2)).await;
        stream.end("filled", 10, 10).await;
        stream
    }

    fn check(&self, number: u128) -> Access {
        self.replica.check(account_id(number), workspace_id())
    }

    fn denied(&self, number: u128) -> Option<DenialReason> {
        match self.check(number) {
            Access::Denied(reason) => Some(reason),
            Access::Allowed(_) | Access::Stale => None,
        }
    }

    /// Looks again and again until checks of this person are answered so.
    async fn until(&self, number: u128, answer: impl Fn(Access) -> bool) {
        let looking = async {
            while !answer(self.check(number)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, looking).await.expect("the answer changes");
    }
}

/// Longer than any wait that a test is about.
const LONG: Duration = Duration::from_secs(120);

fn parsed(id: &str) -> Uuid {
    id.parse().expect("an id")
}

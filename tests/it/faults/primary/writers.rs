//! Writers who note each command that was acknowledged, so that it can be asked afterwards whether it is there.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rollcall_client::v1::UpdateOrganizationRequest;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::super::{
    load::answered,
    scene::{soon, until},
};
use crate::{
    small::Small,
    support::{Channel, Database},
};

/// How soon one comes again who was not served.
const AGAIN: Duration = Duration::from_millis(20);

/// A command that was answered.
struct Acknowledged {
    request: Uuid,
    /// When the attempt began that was answered.
    begun: Instant,
    heard: Instant,
}

/// Writers at work, on one organization of their own: its version counts the effects.
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    tasks: JoinSet<()>,
    small: Small,
    first: i64,
}

/// What became of what was acknowledged.
pub(super) struct Kept {
    pub(super) commands: usize,
    /// Commands that were acknowledged and are not there.
    pub(super) lost: usize,
    /// Effects that no command asked for.
    pub(super) duplicated: i64,
}

impl Writers {
    /// So many of them. Each begins at another one of these channels.
    pub(super) async fn start(small: &Small, channels: &[Channel], writers: usize) -> Self {
        let first = small.get().await.expect("the organization").version;
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        for number in 0..writers {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            let (small, channels) = (small.clone(), channels.to_vec());
            tasks.spawn(async move {
                let mut attempt = number;
                while !stop.load(Ordering::Relaxed) {
                    let request = Uuid::new_v4();
                    let message = UpdateOrganizationRequest {
                        request_id: request.to_string(),
                        ..small.renaming(&Uuid::new_v4().to_string())
                    };
                    let begun = loop {
                        let begun = Instant::now();
                        if answered(&channels[attempt % channels.len()], &message).await {
                            break begun;
                        }
                        attempt += 1;
                        sleep(AGAIN).await;
                    };
                    let heard = Instant::now();
                    let mut acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                    acknowledged.push(Acknowledged { request, begun, heard });
                }
            });
        }
        Self { stop, acknowledged, tasks, small: small.clone(), first }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until so many more commands are acknowledged.
    pub(super) async fn more(&self, commands: usize) {
        let wanted = self.count() + commands;
        until("acknowledgements", async || self.count() >= wanted).await;
    }

    /// Waits for the first acknowledgement of an attempt that was made after this moment, and says how long after it that
    /// was heard: what was under way at the moment says nothing of what came after.
    pub(super) async fn first_after(&self, moment: Instant) -> Duration {
        let find = || {
            let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            let after = acknowledged.iter().filter(|one| one.begun >= moment);
            after.map(|one| one.heard - moment).min()
        };
        let mut found = None;
        until("an acknowledgement", async || {
            found = find();
            found.is_some()
        })
        .await;
        found.expect("it was waited for")
    }

    /// How many of those that were acknowledged so far are not there.
    pub(super) async fn missing(&self, database: &Database) -> usize {
        // Noted first, then looked for: what is acknowledged in between is not asked about.
        let acknowledged: Vec<Uuid> = {
            let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            acknowledged.iter().map(|one| one.request).collect()
        };
        let there = self.there(database).await;
        acknowledged.iter().filter(|request| !there.contains(request)).count()
    }

    /// The commands that the database knows: each has an effect in the same transaction.
    async fn there(&self, database: &Database) -> HashSet<Uuid> {
        let query = "SELECT request_id FROM requests WHERE organization_id = $1::text::uuid";
        let rows = database.client.query(query, &[&self.small.organization]).await.expect("the requests");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Lets everyone end the command that they are at, and counts.
    pub(super) async fn end(&mut self, database: &Database) -> Kept {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = soon("the last answers", self.tasks.join_next()).await {
            ended.expect("a writer that met nothing strange");
        }
        let lost = self.missing(database).await;
        let version = "SELECT version FROM organizations WHERE organization_id = $1::text::uuid";
        let row = database.client.query_one(version, &[&self.small.organization]).await;
        let effects = row.expect("the organization").get::<_, i64>(0) - self.first;
        let there = i64::try_from(self.there(database).await.len()).expect("few");
        Kept { commands: self.count(), lost, duplicated: effects - there }
    }
}

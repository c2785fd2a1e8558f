//! Writers who repeat each command under its request id until it is answered, at one replica and then the next; and the
//! count of what came of it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use rollcall_client::v1::{
    UpdateOrganizationRequest, organization_service_client::OrganizationServiceClient,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::scene::{Reader, Scene, soon, until};
use crate::{
    small::Small,
    support::{Channel, Database},
};

/// How soon one comes again who was not served.
const AGAIN: Duration = Duration::from_millis(20);
/// Longer than the service lets anyone wait.
const CALL: Duration = Duration::from_secs(15);

/// What the writers have met so far.
struct Met {
    stop: AtomicBool,
    answered: AtomicI64,
    retries: AtomicI64,
    /// The longest time between two answers that ended, and the last answer.
    silence: Mutex<(Duration, Instant)>,
}

/// Writers at work. All of them rename one organization: its version counts the effects.
pub(super) struct Load {
    met: Arc<Met>,
    writers: JoinSet<()>,
    small: Small,
    /// The version before the first command.
    first: i64,
}

/// What came of a load.
pub(super) struct Sum {
    pub(super) commands: i64,
    pub(super) retries: i64,
    /// The longest time without an answer.
    pub(super) outage: Duration,
    /// Commands that were answered and are not there.
    pub(super) lost: i64,
    /// Effects that no command asked for.
    pub(super) duplicated: i64,
}

impl Load {
    /// So many writers, each of whom knows all these replicas.
    pub(super) async fn start(small: &Small, channels: &[Channel], writers: usize) -> Self {
        let first = small.get().await.expect("the organization").version;
        let met = Arc::new(Met {
            stop: AtomicBool::new(false),
            answered: AtomicI64::new(0),
            retries: AtomicI64::new(0),
            silence: Mutex::new((Duration::ZERO, Instant::now())),
        });
        let mut tasks = JoinSet::new();
        for number in 0..writers {
            let (met, small, channels) = (Arc::clone(&met), small.clone(), channels.to_vec());
            tasks.spawn(async move {
                let mut attempt = number;
                while !met.stop.load(Ordering::Relaxed) {
                    let request = UpdateOrganizationRequest {
                        request_id: uuid::Uuid::new_v4().to_string(),
                        ..small.renaming(&uuid::Uuid::new_v4().to_string())
                    };
                    while !answered(&channels[attempt % channels.len()], &request).await {
                        met.retries.fetch_add(1, Ordering::Relaxed);
                        attempt += 1;
                        sleep(AGAIN).await;
                    }
                    let now = Instant::now();
                    let mut silence = met.silence.lock().unwrap_or_else(PoisonError::into_inner);
                    *silence = (silence.0.max(now - silence.1), now);
                    met.answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { met, writers: tasks, small: small.clone(), first }
    }

    /// Waits until so many more commands are answered.
    pub(super) async fn more(&self, commands: i64) {
        let wanted = self.met.answered.load(Ordering::Relaxed) + commands;
        until("answers", async || self.met.answered.load(Ordering::Relaxed) >= wanted).await;
    }

    /// How many attempts were not answered so far.
    pub(super) fn retries(&self) -> i64 {
        self.met.retries.load(Ordering::Relaxed)
    }

    /// Waits until a writer has met a refusal that no repetition mends.
    pub(super) async fn is_refused(&mut self) -> bool {
        soon("a writer that gives up", self.writers.join_next()).await.is_some_and(|ended| ended.is_err())
    }

    /// Lets everyone end the command that they are at, and counts. The reader must have been told each version.
    pub(super) async fn end(self, database: &Database, reader: Option<&Reader>) -> Sum {
        self.met.stop.store(true, Ordering::Relaxed);
        soon("the last answers", self.writers.join_all()).await;
        let commands = self.met.answered.load(Ordering::Relaxed);
        let version = "SELECT version FROM organizations WHERE organization_id = $1::text::uuid";
        let row = database.client.query_one(version, &[&self.small.organization]).await;
        let effects = row.expect("the organization").get::<_, i64>(0) - self.first;
        if let Some(reader) = reader {
            reader.until(self.first + effects).await;
            for version in self.first + 1..=self.first + effects {
                reader.told(version);
            }
        }
        let (outage, _) = *self.met.silence.lock().unwrap_or_else(PoisonError::into_inner);
        Sum {
            commands,
            retries: self.met.retries.load(Ordering::Relaxed),
            outage,
            lost: (commands - effects).max(0),
            duplicated: (effects - commands).max(0),
        }
    }
}

impl Sum {
    /// Prints it, and fails if there is anything but one effect of each command.
    pub(super) fn judge(&self, what: &str) {
        let Self { commands, retries, outage, lost, duplicated } = self;
        println!("{what}_commands = {commands}");
        println!("{what}_retries = {retries}");
        println!("{what}_outage_s = {:.2}", outage.as_secs_f64());
        println!("{what}_lost = {lost}");
        println!("{what}_duplicated = {duplicated}");
        assert_eq!((*lost, *duplicated), (0, 0), "{what}: each command has one effect");
    }
}

/// One attempt.
pub(super) async fn answered(channel: &Channel, request: &UpdateOrganizationRequest) -> bool {
    let mut client = OrganizationServiceClient::new(channel.clone());
    match timeout(CALL, client.update_organization(request.clone())).await {
        Ok(Ok(_)) => true,
        Ok(Err(status)) => {
            let for_good = [Code::InvalidArgument, Code::FailedPrecondition, Code::NotFound];
            // Of a connection that broke the code says so too, without a reason: that of the service has one.
            let defect = status.code() == Code::Internal && status.get_details_error_info().is_some();
            assert!(!defect && !for_good.contains(&status.code()), "{status:?}");
            false
        }
        Err(_) => false,
    }
}

/// What T2 to T4, T6, T19 and T39 rely on: an effect that is taken away after it was answered is counted as lost, one that
/// nobody asked for as doubled, and a version of which a reader was not told ends the test.
#[tokio::test(flavor = "multi_thread")]
async fn t2_a_write_that_is_lost_or_done_twice_is_found() {
    let scene = Scene::start(&[]).await;
    let channel: Channel = scene.replica.client().channel().into();
    for (statement, wanted) in [
        ("UPDATE organizations SET version = version - 1", (1, 0)),
        ("UPDATE organizations SET version = version + 1", (0, 1)),
        ("UPDATE organizations SET version = version", (0, 0)),
    ] {
        let load = Load::start(&scene.small, std::slice::from_ref(&channel), 2).await;
        load.more(10).await;
        scene.database.client.batch_execute(statement).await.expect("it is broken");
        load.more(10).await;
        let sum = load.end(&scene.database, None).await;
        assert_eq!((sum.lost, sum.duplicated), wanted, "{statement}");
    }
    let reader = scene.reader().await;
    let load = Load::start(&scene.small, &[channel], 2).await;
    load.more(10).await;
    reader.until(1).await;
    reader.forget_one();
    let database = scene.database.another().await;
    let end = tokio::spawn(async move { load.end(&database, Some(&reader)).await });
    assert!(soon("the end", end).await.is_err_and(|error| error.is_panic()), "a version that was skipped");
}

//! What a lease needs, and what tells that a departure is enforced, waits for no connection of the pool that callers share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rollcall_client::v1::{organization_service_client::OrganizationServiceClient, *};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic::{Code, Request, metadata::MetadataValue};
use tonic_types::StatusExt as _;

use super::{BOUND, Instance, awaiting, enforcement, late, out, receipt, scene, set};
use crate::{
    fixtures::{World, made_up_id, reason},
    server::until,
    support::{Database, Server},
};

/// Connections of a small pool.
const POOL: usize = 2;
/// Somebody waits 3 s for a connection of the pool. What does not wait for one is done long before.
const SOON: std::time::Duration = std::time::Duration::from_millis(1_500);

/// The pool of a service, in the hands of calls that wait for a lock.
struct Taken {
    locking: Database,
    stop: Arc<AtomicBool>,
    calls: JoinSet<()>,
}

/// Calls of other callers that keep every connection of the pool.
async fn take_the_pool(world: &World) -> Taken {
    let locking = world.server().another_connection().await;
    locking.client.batch_execute("BEGIN; LOCK TABLE contracts").await.expect("a lock");
    let (stop, mut calls) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    // Each caller has one turn in a pool of two.
    for number in 0..10 * POOL {
        let mut organizations = OrganizationServiceClient::new(world.server().channel().unchecked());
        let caller: MetadataValue<_> = format!("busy-{number}").parse().expect("a name");
        let stop = Arc::clone(&stop);
        calls.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let get = GetContractRequest { contract_id: made_up_id(), ..Default::default() };
                let mut request = Request::new(get);
                request.metadata_mut().insert("rollcall-caller", caller.clone());
                // Where the lock was not granted in time the next one waits.
                let _ = organizations.get_contract(request).await;
            }
        });
    }
    let waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'contracts'::regclass AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until("a pool that is taken", async || {
        let row = world.server().database().query_one(waiting, &[]).await.expect("locks");
        row.get::<_, i64>(0) >= i64::try_from(POOL).expect("few")
    })
    .await;
    Taken { locking, stop, calls }
}

impl Taken {
    async fn let_go(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.locking.client.batch_execute("COMMIT").await.expect("no lock");
        self.calls.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c12_a_lease_a_receipt_and_a_verdict_wait_for_no_connection_of_the_pool() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    set(&world, "chat", "lease_ttl_ms", "2000").await;
    let early = Instance::open(&world, "chat", "early").await;
    early.applied(&world).await;
    // A service that has just begun: it knows no subscription, and no change is among its newest.
    let database = world.stop().await;
    let world = World::resumed(Server::with_pool(database, POOL).await);
    let taken = take_the_pool(&world).await;
    let renewed = timeout(SOON, early.applied(&world)).await.expect("in time");
    assert!(renewed.lease_duration.is_some(), "{renewed:?}");
    taken.let_go().await;

    let mut later = Instance::open(&world, "chat", "later").await;
    early.applied(&world).await;
    let token = out(&world, &org, &bob).await;
    later.reach(enforcement(&world, &token).await.position).await;
    let taken = take_the_pool(&world).await;
    let renewed = timeout(SOON, later.ended(&world, 3)).await.expect("in time");
    assert!(renewed.lease_duration.is_some(), "{renewed:?}");
    let client = world.server().database();
    let receipts = "SELECT count(*), coalesce(sum(ended_sessions), 0) FROM receipts WHERE outcome = 'ENDED'";
    let row = client.query_one(receipts, &[]).await.expect("receipts");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (2, 6), "the member's and the membership's");
    // The early one hears nothing any more: it is given up and the verdict recorded, with the pool still taken.
    let begun = Instant::now();
    let recorded = "SELECT count(*) FROM enforcements WHERE app = 'chat' AND state = 'ENFORCED'";
    until("a verdict", async || {
        client.query_one(recorded, &[]).await.expect("verdicts").get::<_, i64>(0) == 1
    })
    .await;
    // A lease, the margin for the clocks and some readings.
    assert!(begun.elapsed() < SOON * 3, "{:?}", begun.elapsed());
    taken.let_go().await;
    let report = enforcement(&world, &token).await;
    assert!(late(&report, "chat").contains(&("early".to_owned(), InstanceState::Lapsed)), "{report:?}");
}

/// Whoever waits for enforcement reads in turns. Where the database does not answer, those behind the first are told soon,
/// and not one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn who_gets_no_turn_while_the_database_is_away_is_told_in_time() {
    const WAITS: usize = 8;
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    Instance::open(&world, "chat", "chat-1").await.applied(&world).await;
    let token = out(&world, &org, &bob).await;
    let locking = world.server().another_connection().await;
    locking.client.batch_execute("BEGIN; LOCK TABLE receipts").await.expect("a lock");
    let begun = Instant::now();
    let mut waits = JoinSet::new();
    for _ in 0..WAITS {
        let (mut feed, request) = (world.feed(), awaiting(&token));
        waits.spawn(async move {
            let mut stream = feed.await_enforcement(request).await?.into_inner();
            while stream.message().await?.is_some() {}
            Ok(())
        });
    }
    let ends = timeout(BOUND, waits.join_all()).await.expect("in time");
    // One or two hold a turn for the 3 s that a lock is waited for; the turn itself is waited for as long.
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    let overloaded = |end: &Result<(), tonic::Status>| match end {
        Err(status) => status.code() == Code::ResourceExhausted && reason(status) == "OVERLOADED",
        Ok(()) => false,
    };
    let told = ends.iter().filter(|end| overloaded(end)).count();
    assert!(told >= WAITS - 3, "{ends:?}");
    for end in ends.iter().filter(|end| overloaded(end)) {
        let details = end.as_ref().expect_err("a refusal").get_error_details();
        assert!(details.retry_info().is_some(), "when to come back: {end:?}");
    }
    locking.client.batch_execute("COMMIT").await.expect("no lock");
    let mut stream = world.feed().await_enforcement(awaiting(&token)).await.expect("a turn").into_inner();
    let first = timeout(BOUND, stream.message()).await.expect("in time").expect("open").expect("a message");
    assert!(first.enforcement.is_some());
}

/// Instances that send as many receipts as they may, again and again, beside one that renews its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_does_not_stand_in_line_behind_receipts() {
    const NOISY: usize = 20;
    /// Calls of each of them under way.
    const AT_ONCE: usize = 5;
    const RECEIPTS: i64 = 500;
    const RENEWALS: usize = 20;
    let world = World::start().await;
    let (org, _) = scene(&world).await;
    let mut noisy = Vec::new();
    for number in 0..NOISY {
        noisy.push(Instance::open(&world, "chat", &format!("noisy-{number}")).await);
    }
    let quiet = Instance::open(&world, "chat", "quiet").await;
    quiet.applied(&world).await;
    let grown = "
        WITH grown AS (
            UPDATE organizations SET version = version + $1 WHERE organization_id = $2::text::uuid RETURNING version
        )
        INSERT INTO pending_changes
            (change_id, command_id, organization_id, apps, subject, state, version, reason, caller)
        SELECT gen_random_uuid(), gen_random_uuid(), $2::text::uuid, ARRAY['chat'], 'ORGANIZATION', 'ACTIVE',
            version - $1 + number, 'RENAMED', 'many'
        FROM grown, generate_series(1, $1) number ORDER BY number";
    world.server().database().execute(grown, &[&RECEIPTS, &org.id]).await.expect("changes");
    let (stop, mut calls) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for mut instance in noisy {
        while i64::try_from(instance.changes.len()).expect("few") < RECEIPTS {
            instance.next().await;
        }
        // One that failed is written anew each time.
        let failed = |change| receipt(change, ReceiptOutcome::Failed, 0);
        let receipts = instance.changes.iter().take(500).map(failed).collect();
        let request = AcknowledgeRequest { receipts, ..instance.acknowledgement() };
        for _ in 0..AT_ONCE {
            let (mut feed, request, stop) = (world.feed(), request.clone(), Arc::clone(&stop));
            calls.spawn(async move {
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    // Those of a busy service may be refused.
                    if feed.acknowledge(request.clone()).await.is_ok() {
                        took.push(begun.elapsed());
                    }
                }
                took
            });
        }
    }
    let stored = "SELECT count(*) FROM receipts";
    until("receipts", async || {
        world.server().database().query_one(stored, &[]).await.expect("receipts").get::<_, i64>(0) > 0
    })
    .await;
    let mut renewals = Vec::new();
    for _ in 0..RENEWALS {
        let begun = Instant::now();
        quiet.applied(&world).await;
        renewals.push(begun.elapsed());
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut took: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    took.sort_unstable();
    renewals.sort_unstable();
    let (receipts, renewal) = (took[took.len() / 2], renewals[RENEWALS / 2]);
    println!(
        "acknowledgements with receipts {receipts:?}, renewals {renewal:?}, the slowest {:?}",
        renewals.last()
    );
    assert!(renewal * 2 < receipts, "a lease takes {renewal:?}, receipts take {receipts:?}");
}

//! T12: nothing passes between an instance and the service, and nobody is told. The instance denies at the end of its lease,
//! before anybody may say that who left meanwhile is out; when the network is back it catches up.

use std::{sync::Arc, time::Duration};

use rollcall_client::{Access, ManualClock, connect};
use tokio::time::{Instant, sleep_until};

use super::{
    crew::{Crew, Instance},
    network::{Way, Wire},
    scene::{Scene, soon, until},
    size,
};

/// What a busy machine may need to notice it.
const SLACK: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn t12_an_instance_that_is_cut_off_denies_at_the_end_of_its_lease_and_catches_up() {
    let (ttl, cut_for) = (
        size(Duration::from_secs(2), Duration::from_secs(30)),
        size(Duration::ZERO, Duration::from_secs(60)),
    );
    let scene = Scene::start(&[]).await;
    let crew = Crew::make(scene.replica.client().channel().into(), size(10, 200)).await;
    crew.lease(ttl).await;
    let wire = Wire::before(&scene.replica.endpoint()).await;
    let cut_off = Instance::start(connect(&wire.endpoint()).expect("an endpoint"), "cut-off", |_| {}).await;
    // What this test finds where a lease does not end: an instance whose clocks stand still.
    let timeless = Instance::start(connect(&wire.endpoint()).expect("an endpoint"), "timeless", |options| {
        options.clock = Arc::new(ManualClock::default());
    })
    .await;
    for instance in [&cut_off, &timeless] {
        assert_eq!(instance.lets_in(&crew, &crew.people), crew.people.len());
    }

    wire.let_pass(Way::Silent);
    let cut = Instant::now();
    let (leave, stay) = crew.people.split_at(crew.people.len() / 2);
    let stale = async {
        let at = cut_off.until(&crew, &stay[0], |access| *access == Access::Stale).await;
        println!("t12_time_to_deny_s = {:.2}", at.duration_since(cut).as_secs_f64());
        assert!(at.duration_since(cut) < ttl + SLACK, "longer than its lease: {:?}", at.duration_since(cut));
    };
    let leaving = async {
        let mut last = String::new();
        for person in leave {
            last = crew.out(person).await;
        }
        let (chat, at) = crew.enforced(last).await;
        assert_eq!((chat.instances, chat.applied_instances, chat.lapsed_instances), (2, 0, 2), "{chat:?}");
        println!("t12_enforced_after_s = {:.2}", at.duration_since(cut).as_secs_f64());
        // The first look at what is promised.
        (cut_off.lets_in(&crew, leave), timeless.lets_in(&crew, leave))
    };
    let ((), (wrong, found)) = tokio::join!(stale, leaving);
    println!("t12_let_in_after_enforced = {wrong}");
    assert_eq!(wrong, 0);
    assert_eq!(found, leave.len(), "an instance whose lease does not end is found out");

    let changes: i64 = size(2_000, 100_000);
    scene.flood(changes).await;
    let last = scene.pen().rename().await.expect("a write");
    assert!(last > changes);
    until("positions for all of it", async || {
        let pending = "SELECT count(*) FROM pending_changes";
        scene.database.client.query_one(pending, &[]).await.expect("a count").get::<_, i64>(0) == 0
    })
    .await;
    let head = "SELECT max(position) FROM changes";
    let head: i64 = scene.database.client.query_one(head, &[]).await.expect("the log").get(0);
    sleep_until(cut + cut_for).await;
    let before = cut_off.replica.status().borrow().position;
    assert_eq!(cut_off.lets_in(&crew, &crew.people), 0, "it answers nobody");
    wire.let_pass(Way::Open);
    let healed = Instant::now();
    soon("its stream", cut_off.replica.passed(before + 1)).await;
    let heard = Instant::now();
    soon("the end of the log", cut_off.replica.passed(head)).await;
    let applied = heard.elapsed();
    soon("a lease", cut_off.replica.ready()).await;
    println!("t12_resumed_after_s = {:.2}", heard.duration_since(healed).as_secs_f64());
    println!("t12_caught_up_after_s = {:.2}", healed.elapsed().as_secs_f64());
    println!("t12_catch_up_changes_per_s = {:.0}", (head - before) as f64 / applied.as_secs_f64().max(0.001));
    assert_eq!((cut_off.lets_in(&crew, leave), cut_off.lets_in(&crew, stay)), (0, stay.len()));
    assert_eq!(cut_off.replica.status().borrow().resyncs, 0, "it needs no snapshot");
}

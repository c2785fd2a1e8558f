//! T18: the clock of an instance is set forward and back by ten minutes. Its lease does not notice: nobody is let in after
//! ENFORCED.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rollcall_client::{Access, Clock, SystemClock, connect};
use tokio::time::Instant;

use super::{
    crew::{Crew, Instance},
    network::{Way, Wire},
    scene::{Scene, soon},
};

const TTL: Duration = Duration::from_secs(2);
const JUMP: i64 = 600;
/// What a busy machine may need besides.
const SLACK: Duration = Duration::from_secs(3);

/// The clocks of this machine, of which one can be set.
#[derive(Debug, Default)]
struct Settable {
    ahead: AtomicI64,
    /// Whether the time since the boot is told by the wall clock, which is what must not be.
    wall_alone: bool,
}

impl Settable {
    fn set(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::SeqCst);
    }
}

impl Clock for Settable {
    fn boot(&self) -> Duration {
        if self.wall_alone { self.wall() } else { SystemClock.boot() }
    }

    fn wall(&self) -> Duration {
        let ahead = self.ahead.load(Ordering::SeqCst);
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { SystemClock.wall() - by } else { SystemClock.wall() + by }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t18_an_instance_whose_clock_is_set_lets_nobody_in_for_longer() {
    let scene = Scene::start(&[]).await;
    let crew = Crew::make(scene.replica.client().channel().into(), 2).await;
    crew.lease(TTL).await;
    let [leaver, stays] = &crew.people[..] else { panic!("two people") };
    let wire = Wire::before(&scene.replica.endpoint()).await;
    let clock = Arc::new(Settable::default());
    // What this test finds: one that tells time by the wall clock alone.
    let wall = Arc::new(Settable { wall_alone: true, ..Settable::default() });
    let with = |clock: &Arc<Settable>, name: &str| {
        let clock = Arc::clone(clock);
        Instance::begin(connect(&wire.endpoint()).expect("an endpoint"), name, |options| {
            options.clock = clock
        })
    };
    let (instance, deceived) = (with(&clock, "chat-1"), with(&wall, "chat-2"));
    for instance in [&instance, &deceived] {
        soon("an instance", instance.replica.ready()).await;
    }

    // Forward: nobody knows whether the machine slept. The next lease is granted as ever.
    clock.set(JUMP);
    assert_eq!(instance.check(&crew, stays), Access::Stale);
    let set = Instant::now();
    let again = instance.until(&crew, stays, Access::is_allowed).await;
    println!("t18_answers_again_after_s = {:.2}", again.duration_since(set).as_secs_f64());
    assert!(again.duration_since(set) < TTL + SLACK);
    // Back: it goes on, and its lease ends as if nothing had been set.
    for clock in [&clock, &wall] {
        clock.set(-JUMP);
    }
    assert!(instance.check(&crew, stays).is_allowed());
    wire.let_pass(Way::Silent);
    crew.enforced(crew.out(leaver).await).await;
    let (wrong, found) = (instance.lets_in(&crew, &crew.people), deceived.lets_in(&crew, &crew.people));
    println!("t18_let_in_after_enforced = {wrong}");
    assert_eq!((wrong, found), (0, 2));
}

//! T25: what becomes of an app whose right was withdrawn by mistake. It lets nobody in meanwhile, and when the right comes back
//! it follows again by itself.

use std::time::{Duration, Instant};

use rollcall_client::{
    Access, Outcome, Phase, Replica, ReplicaOptions, ReplicaStatus, Revocation, connect, v1::*,
};
use uuid::Uuid;

use super::withdrawn::without;
use crate::{
    fixtures::{Person, World, mask},
    support::{CALLERS, Server, Sidecar, create_database},
};

/// Far more than a lease and the longest wait of the client together.
const BOUND: Duration = Duration::from_secs(60);
/// The shortest lease that there is.
const TTL: Duration = Duration::from_secs(2);

/// An instance of an app, behind its sidecar.
struct Instance {
    replica: Replica,
    _sidecar: Sidecar,
}

impl Instance {
    async fn start(world: &World, app: &str) -> Self {
        let changed = App {
            name: app.to_owned(),
            lease_ttl: Some(TTL.try_into().expect("a duration")),
            ..Default::default()
        };
        let request =
            UpdateAppRequest { app: Some(changed), update_mask: mask(&["lease_ttl"]), ..Default::default() };
        world.apps().update_app(request).await.expect("an app");
        let sidecar = Sidecar::start(world.server().channel().calling_as(app)).await;
        let client = connect(sidecar.endpoint()).expect("an endpoint");
        let handler = |_: Revocation| async { Outcome::Ended { sessions: 0, handed_over: 0 } };
        let replica = Replica::start(client, ReplicaOptions::new(app, "one"), handler);
        let instance = Self { replica, _sidecar: sidecar };
        instance.until(|status| status.phase == Phase::Live).await;
        instance
    }

    /// Waits for a status, and says how long it took.
    async fn until(&self, wanted: impl FnMut(&ReplicaStatus) -> bool) -> Duration {
        let since = Instant::now();
        let mut status = self.replica.status();
        tokio::time::timeout(BOUND, status.wait_for(wanted)).await.expect("in time").expect("a replica");
        since.elapsed()
    }

    fn check(&self, person: &Person, workspace: &str) -> Access {
        self.replica.check(id(&person.account), id(workspace))
    }

    /// What it says while it has a lease: on a busy machine one of the shortest may lapse between a status and a question.
    async fn answer(&self, person: &Person, workspace: &str) -> Access {
        let since = Instant::now();
        loop {
            let access = self.check(person, workspace);
            if access != Access::Stale {
                return access;
            }
            assert!(since.elapsed() < BOUND, "it stays stale");
            tokio::time::timeout(Duration::from_millis(50), self.replica.status().changed()).await.ok();
        }
    }
}

fn id(text: &str) -> Uuid {
    text.parse().expect("an id")
}

fn is_troubled_by(status: &ReplicaStatus, reason: &str) -> bool {
    status.phase == Phase::Stale && status.trouble.as_ref().is_some_and(|trouble| trouble.contains(reason))
}

#[tokio::test]
async fn t25_a_replica_whose_caller_is_listed_again_is_back_by_itself() {
    let world = World::telling_apart().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let zoe = world.member_in(&org, "zoe", &[&org.general]).await;
    let one = Instance::start(&world, "chat").await;
    assert!(one.answer(&bob, &org.general).await.is_allowed());

    // Out of the file: it lets in nobody, once its lease is over.
    world.server().set_callers(&without("chat"));
    let lapsed = one.until(|status| is_troubled_by(status, "CALLER_UNKNOWN")).await;
    assert_eq!(one.check(&bob, &org.general), Access::Stale);
    // In the file, and not as an app.
    let as_workload = CALLERS.replace("name = \"chat\"\napp = true", "name = \"chat\"");
    assert_ne!(as_workload, CALLERS);
    world.server().set_callers(&as_workload);
    one.until(|status| is_troubled_by(status, "CALLER_NOT_ALLOWED")).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");

    // As it was.
    world.server().set_callers(CALLERS);
    let back = one.until(|status| status.phase == Phase::Live).await;
    println!(
        "T25: a replica without a right was stale after {} ms, and live {} ms after it had it again",
        lapsed.as_millis(),
        back.as_millis()
    );
    assert_eq!(one.answer(&bob, &org.general).await, Access::Denied(DenialReason::MemberDeactivated));
    assert!(one.answer(&zoe, &org.general).await.is_allowed());
    assert_eq!(one.replica.status().borrow().resyncs, 0, "it resumed");
    one.replica.shutdown().await;
}

#[tokio::test]
async fn t25_a_replica_whose_app_is_registered_again_is_back_by_itself() {
    let listed = "[[caller]]\nname = \"spare\"\napp = true\nspiffe_ids = [\"spiffe://example.org/ns/spare/sa/spare\"]\n";
    let world =
        World::on(Server::telling_apart_on(create_database().await, &format!("{CALLERS}\n{listed}")).await)
            .await;
    let register = RegisterAppRequest { app: "spare".to_owned(), ..Default::default() };
    world.apps().register_app(register.clone()).await.expect("registered");
    let one = Instance::start(&world, "spare").await;
    let request = UnregisterAppRequest { app: "spare".to_owned(), ..Default::default() };
    world.apps().unregister_app(request).await.expect("unregistered");
    one.until(|status| status.phase == Phase::Stale).await;
    world.apps().register_app(register).await.expect("registered again");
    let back = one.until(|status| status.phase == Phase::Live).await;
    println!("T25: live {} ms after the app was registered again", back.as_millis());

    // And it is told what comes.
    let org = world.organization("ada").await;
    let workspace = world.workspace(&org, "spare", "spare").await;
    let bob = world.member_in(&org, "bob", &[&workspace]).await;
    let position = world.last_position(&org).await;
    one.replica.passed(position).await;
    assert!(one.answer(&bob, &workspace).await.is_allowed());
    one.replica.shutdown().await;
}

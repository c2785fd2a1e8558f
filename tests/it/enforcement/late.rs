//! What takes longer than its bound, which must not be. So the database says that it was recorded a minute before anybody
//! heard of it: what a log that could not be reached for so long, or a replica that stood still, would come to.

use rollcall_client::v1::*;

use super::{Instance, await_end, awaiting, enforcement, out, scene};
use crate::{
    fixtures::World,
    metrics::scrape::{scrape, start, value},
    server::until,
};

const AGED: &str = "
    CREATE FUNCTION aged() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.record_time := NEW.record_time - interval '1 minute';
        RETURN NEW;
    END $$;
    CREATE TRIGGER aged BEFORE INSERT ON pending_changes FOR EACH ROW EXECUTE FUNCTION aged();";
const WARNED: &str = "a departure is enforced later than its bound";
const COUNTED: &str = "rollcall_enforcement_late_total{app=\"chat\"}";
const SETTLED: &str = "rollcall_enforcement_seconds_count{app=\"chat\"}";

/// The process beside it says what it sees; the leases last half a minute, so nothing here waits for one to end.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_late_is_told_while_it_lasts_and_counted_once() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let other = world.organization("joe").await;
    let (service, metrics) = start(&world.server().another_connection().await.url).await;
    let mut late =
        [Instance::open(&world, "chat", "chat-1").await, Instance::open(&world, "chat", "chat-2").await];
    let elsewhere = WatchRequest {
        app: "chat".to_owned(),
        instance: "elsewhere".to_owned(),
        organization_ids: vec![other.id],
        ..Default::default()
    };
    let elsewhere = Instance::watch(&world, elsewhere).await;
    for instance in late.iter().chain([&elsewhere]) {
        instance.applied(&world).await;
    }
    let warnings = || -> Vec<String> {
        let said = service.run.stderr();
        let lines = said.lines().filter(|line| line.contains(WARNED) && line.contains("app=\"chat\""));
        lines.map(str::to_owned).collect()
    };
    until("the counter", async || value(&scrape(&metrics).await, COUNTED) == Some(0.0)).await;

    let database = world.server().database();
    database.batch_execute(AGED).await.expect("aged");
    let token = out(&world, &org, &bob).await;
    until("the warning", async || !warnings().is_empty()).await;
    let report = enforcement(&world, &token).await;
    assert_eq!(report.state(), EnforcementState::Pending, "{report:?}");
    let [warning] = &warnings()[..] else { panic!("{:?}", warnings()) };
    let command = format!("command.id=\"{}\"", report.command_id);
    for part in [&command, "instances=\"chat-1 chat-2\"", "pending=true", "bound_ms=30300"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    assert_eq!(value(&scrape(&metrics).await, COUNTED), Some(1.0));

    for instance in &mut late {
        instance.reach(report.position).await;
        instance.applied(&world).await;
    }
    let end = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    assert_eq!(end.state(), EnforcementState::Enforced);
    until("its verdict", async || value(&scrape(&metrics).await, SETTLED) == Some(1.0)).await;
    // One that keeps to its bound is told of by nobody; nor is the first one again.
    database.batch_execute("DROP TRIGGER aged ON pending_changes").await.expect("no more");
    let token = out(&world, &org, &eve).await;
    let position = enforcement(&world, &token).await.position;
    for instance in &mut late {
        instance.reach(position).await;
        instance.applied(&world).await;
    }
    until("the next verdict", async || value(&scrape(&metrics).await, SETTLED) == Some(2.0)).await;
    assert_eq!(value(&scrape(&metrics).await, COUNTED), Some(1.0));
    assert_eq!(warnings().len(), 1, "{:?}", warnings());
    service.terminate().await;
}

//! What ReportActivity records, and of whom.

use std::time::{Duration, SystemTime};

use rollcall_client::v1::*;

use super::{active, at, number, waits_for_a_lock};
use crate::fixtures::{Person, World, invalid, made_up_id};

#[tokio::test]
async fn r55_a_report_names_those_of_whom_nothing_was_recorded() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let away = world.member(&org, "away").await;
    let gone = world.member(&org, "gone").await;
    let there = world.add_account(&other, &bob.account, OrganizationRole::Guest).await;
    world.operator().deactivate(&org, &away).await.expect("deactivated");
    world.operator().remove(&org, &gone).await.expect("removed");
    let nobody = Person { account: made_up_id(), member: made_up_id() };
    let mark = world.mark().await;
    let reported = vec![
        active(&org, &bob, None),
        active(&org, &bob, None),
        active(&other, &there, None),
        active(&org, &away, None),
        // Not in this organization.
        active(&org, &there, None),
        active(&org, &gone, None),
        active(&org, &nobody, None),
    ];
    let mut unknown = world.operator().report(reported.clone()).await.expect("a report");
    unknown.sort();
    let mut wanted = vec![there.member.clone(), gone.member.clone(), nobody.member.clone()];
    wanted.sort();
    assert_eq!(unknown, wanted);
    assert_eq!(number(&world, "SELECT count(*) FROM member_activity").await, 3);
    assert_eq!(world.changes_since(mark).await, 0, "no change of the log");

    // An app reports those of its scope.
    let unknown = world.calling_as("chat").report(reported[..4].to_vec()).await.expect("a report");
    let mut wanted = vec![there.member.clone(), away.member.clone()];
    wanted.sort();
    assert_eq!(unknown, wanted);
    let unknown = world.calling_as("boards").report(reported[..1].to_vec()).await.expect("a report");
    assert_eq!(unknown, [bob.member.as_str()]);
    assert!(world.calling_as("console").report(reported[..1].to_vec()).await.expect("a report").is_empty());
}

#[tokio::test]
async fn r55_a_report_with_a_bad_entry_records_nothing_and_names_it() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    let good = active(&org, &bob, None);
    let operator = world.operator();
    invalid(operator.report(vec![]).await, "activities");
    invalid(operator.report(vec![good.clone(); 1_001]).await, "activities");
    let minutes = |minutes: u64| SystemTime::now() + Duration::from_secs(60 * minutes);
    let bad = [
        (Activity { organization_id: "x".to_owned(), ..good.clone() }, "organization_id"),
        (Activity { member_id: String::new(), ..good.clone() }, "member_id"),
        (active(&org, &bob, Some(at(minutes(2)))), "time"),
        (active(&org, &bob, Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })), "time"),
        (active(&org, &bob, Some(prost_types::Timestamp { seconds: 0, nanos: -1 })), "time"),
    ];
    for (entry, field) in bad {
        invalid(operator.report(vec![good.clone(), entry]).await, &format!("activities[1].{field}"));
    }
    assert_eq!(number(&world, "SELECT count(*) FROM member_activity").await, 0);

    // A clock that is a little ahead is forgiven, and lengthens nothing.
    let soon = SystemTime::now() + Duration::from_secs(50);
    operator.report(vec![good.clone(), active(&org, &bob, Some(at(soon)))]).await.expect("a report");
    assert_eq!(number(&world, "SELECT count(*) FROM member_activity WHERE active_time > now()").await, 0);
    assert!(operator.report(vec![good; 1_000]).await.expect("a report").is_empty());
}

#[tokio::test]
async fn r55_reports_that_name_the_same_members_in_any_order_do_not_lock_each_other_out() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let mut forwards = Vec::new();
    for index in 0..30 {
        let person = world.member(&org, &format!("person{index}")).await;
        forwards.push(active(&org, &person, None));
    }
    let backwards: Vec<Activity> = forwards.iter().rev().cloned().collect();
    let operator = world.operator();
    for round in 0..30 {
        let (one, other) = (operator.report(forwards.clone()), operator.report(backwards.clone()));
        let (one, other) = tokio::join!(one, other);
        assert!(one.is_ok() && other.is_ok(), "round {round}: {one:?} {other:?}");
    }
}

/// Nothing of an erased member comes back by a report that was under way.
#[tokio::test]
async fn r55_a_report_that_meets_an_erasure_records_nothing() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    world.operator().report(vec![active(&org, &bob, None)]).await.expect("recorded");
    let eraser = world.server().another_connection().await;
    let erase = format!(
        "BEGIN;
         UPDATE members SET state = 'ERASED', account_id = NULL, revoked_by = gen_random_uuid(),
                tombstone_id = gen_random_uuid(), erased_by = 'OWNER'
         WHERE member_id = '{id}';
         DELETE FROM member_activity WHERE member_id = '{id}'",
        id = bob.member
    );
    eraser.client.batch_execute(&erase).await.expect("an erasure under way");
    let (operator, report) = (world.operator(), vec![active(&org, &bob, None)]);
    let report = tokio::spawn(async move { operator.report(report).await });
    waits_for_a_lock(&world).await;
    eraser.client.batch_execute("COMMIT").await.expect("erased");
    assert_eq!(report.await.expect("it ends").expect("a report"), [bob.member.as_str()]);
    assert_eq!(number(&world, "SELECT count(*) FROM member_activity").await, 0);
}

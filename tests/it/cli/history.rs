//! `rollcall history` and `rollcall departures` against a service.

use rollcall_client::v1::*;
use serde_json::Value;

use crate::{
    fixtures::World,
    processes::{run, run_badly, run_well},
};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_printed_for_people_and_for_programs() {
    let world = World::start().await;
    let (org, endpoint) = (world.organization("ada").await, world.server().endpoint());
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().set_name(&org, &bob, "Bob Babbage").await.unwrap();
    let token = world.acting(&org.owner).deactivate(&org, &bob).await.unwrap().token;
    let position = crate::history::newest(&world, &org, &token).await;
    let base = ["history", "--endpoint", &endpoint, "--organization", &org.id];
    let with = |more: &[&str]| {
        base.iter()
            .map(|text| (*text).to_owned())
            .chain(more.iter().map(|text| (*text).to_owned()))
            .collect::<Vec<_>>()
    };

    let table = run_well(with(&[])).await;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("POSITION  RECORD_TIME"), "{table}");
    assert!(rows[1].contains("DEACTIVATED_WITH_ORGANIZATION") && rows[1].contains(&org.general), "{table}");
    assert!(rows[2].contains(" DEACTIVATED ") && rows[2].contains(&org.owner.member), "{table}");
    assert!(!table.contains("Babbage"), "{table}");

    let whole = lines(&run_well(with(&["-o", "json"])).await);
    assert_eq!(whole.len(), rows.len() - 1);
    let oldest = lines(&run_well(with(&["-o", "json", "--oldest-first"])).await);
    assert_eq!(oldest.iter().rev().collect::<Vec<_>>(), whole.iter().collect::<Vec<_>>());
    assert_eq!((&whole[0]["position"], &whole[0]["subject"]), (&position.into(), &"workspace_member".into()));
    assert_eq!(whole[1]["acting_member_id"], org.owner.member.as_str());
    let some = run_well(with(&[
        "-o",
        "json",
        "--reason",
        "deactivated",
        "--reason",
        "role-changed",
        "--member",
        &bob.member,
    ]))
    .await;
    assert_eq!(lines(&some), [whole[1].clone()]);
    assert_eq!(lines(&run_well(with(&["-o", "json", "--limit", "3"])).await), whole[..3]);
    assert_eq!(run_well(with(&["-o", "json", "--until", "2020-01-01"])).await, "");
    assert_eq!(lines(&run_well(with(&["-o", "json", "--since", "2020-01-01T10:00:00+01:00"])).await), whole);

    let at = ["history", "at", "--endpoint", &endpoint, "--organization", &org.id, "--member", &bob.member];
    let at = |more: &[&str]| at.iter().chain(more).map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let then = run_well(at(&["--position", &(position - 2).to_string()])).await;
    let then: Vec<Vec<&str>> = then.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(then[0], ["WORKSPACE_ID", "STATE", "ROLE", "VERSION", "LEAVING"]);
    assert_eq!(then[1], ["ACTIVE", "MEMBER", "3", "false"]);
    assert_eq!(then[2], [org.general.as_str(), "ACTIVE", "MEMBER", "1"]);
    let now = lines(&run_well(at(&["--position", &position.to_string(), "-o", "json"])).await);
    assert_eq!((&now[0]["state"], &now[1]["state"]), (&"DEACTIVATED".into(), &"DEACTIVATED".into()));
    let errors = run_badly(at(&["--time", "2020-01-01"])).await;
    assert!(errors.starts_with("rollcall history at: ") && errors.contains("no such member"), "{errors}");

    for bad in [
        vec!["history", "--endpoint", &endpoint],
        with(&["--reason", "nothing"]).iter().map(String::as_str).collect(),
        with(&["--since", "yesterday"]).iter().map(String::as_str).collect(),
        at(&[]).iter().map(String::as_str).collect(),
        at(&["--position", "1", "--time", "2020-01-01"]).iter().map(String::as_str).collect(),
    ] {
        let output = run(&bad).await;
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn departures_are_printed_with_names_and_apps() {
    let world = World::start().await;
    let (org, endpoint) = (world.organization("ada").await, world.server().endpoint());
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let eve = world.member(&org, "eve").await;
    world.operator().set_name(&org, &bob, "=Bob, \"B\"").await.unwrap();
    world.operator().set_name(&org, &org.owner, "Ada").await.unwrap();
    let request =
        WatchRequest { app: "chat".to_owned(), instance: "chat-1".to_owned(), ..WatchRequest::default() };
    let _stream = world.feed().watch(request).await.unwrap();
    world.acting(&org.owner).deactivate(&org, &bob).await.unwrap();
    world.calling_as("payroll").remove(&org, &eve).await.unwrap();

    let base = ["departures", "--endpoint", &endpoint, "--organization", &org.id];
    let csv = run_well(base.iter().chain(&["--csv"])).await;
    let records: Vec<csv::StringRecord> = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(csv.as_bytes())
        .records()
        .map(Result::unwrap)
        .collect();
    let cells = |row: usize| records[row].iter().skip(1).collect::<Vec<_>>();
    assert_eq!(
        records[0].iter().collect::<Vec<_>>().join(","),
        "depart_time,member_id,name,rendering,reason,caller,acting_member_id,acting_name,seats_freed,handover_to_name,apps"
    );
    assert_eq!(cells(1), [&eve.member, "", "STRUCK", "REMOVED", "payroll", "", "", "1", "", ""]);
    let ada = org.owner.member.as_str();
    let by_ada = ["DEACTIVATED", "DEACTIVATED", "anonymous", ada, "Ada", "1", "", "chat 0/1"];
    assert_eq!(cells(2), [&[bob.member.as_str(), "'=Bob, \"B\""][..], &by_ada[..]].concat());
    assert_eq!(records.len(), 3);

    let json = lines(&run_well(base.iter().chain(&["-o", "json"])).await);
    assert_eq!((&json[1]["name"], &json[1]["apps"][0]["instances"]), (&"=Bob, \"B\"".into(), &1.into()));
    let none = run_well(base.iter().chain(&["--until", "2020-01-01"])).await;
    assert_eq!(none.lines().count(), 1, "{none}");
}

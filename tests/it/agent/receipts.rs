//! What the service hears as ended is what the readers said.

use serde_json::json;

use super::*;

#[tokio::test]
async fn c12_a_revocation_reaches_the_reader_and_its_receipt_the_report() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let mut events = agent.events("").await;
    let token = out(&world, &org, &bob).await;
    let revocation = events.revocation().await;
    // Checks deny it before anybody is told.
    assert_eq!(agent.check(&bob.account, &org.general).await.body["denial_reason"], "NOT_IN_WORKSPACE");
    for (key, value) in [
        ("member_id", &bob.member),
        ("account_id", &bob.account),
        ("organization_id", &org.id),
        ("workspace_id", &org.general),
        ("reason", &"REMOVED".to_owned()),
    ] {
        assert_eq!(revocation[key], **value, "{revocation}");
    }
    assert!(revocation["position"].as_i64() > Some(0) && revocation["erased"] == false, "{revocation}");
    // Applied, and nothing is said of sessions yet.
    let before = report(&world, &token, |chat| chat.applied_instances == 1).await;
    assert_eq!(before.ended_instances, 0);
    for _ in 0..2 {
        let reply = agent.ended(&revocation, 3).await;
        assert_eq!((reply.code, reply.body), (200, json!({ "complete": true })), "a repetition counts once");
    }
    let after = report(&world, &token, |chat| chat.ended_instances == 1).await;
    assert_eq!((after.ended_sessions, after.handed_over, after.late.len()), (3, 0, 0), "{after:?}");
    agent.end().await;
}

#[tokio::test]
async fn it_is_ended_when_every_reader_that_was_told_has_said_so() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let mut one = agent.events_of("/v1/revocations?reader=web-1", "").await;
    let mut two = agent.events_of("/v1/revocations?reader=web-2", "").await;
    let token = out(&world, &org, &bob).await;
    let change = one.revocation().await["change_id"].clone();
    assert_eq!(two.revocation().await["change_id"], change);
    let receipt = |reader: &str| json!({ "change_id": change, "reader": reader, "ended_sessions": 2, "handed_over": 1 });
    let stranger = agent.post("/v1/receipts", &receipt("web-3")).await;
    assert_eq!((stranger.code, &stranger.body["error"]["field"]), (400, &"reader".into()));
    assert_eq!(agent.post("/v1/receipts", &receipt("web-1")).await.body, json!({ "complete": false }));
    assert_eq!(agent.post("/v1/receipts", &receipt("web-2")).await.body, json!({ "complete": true }));
    let report = report(&world, &token, |chat| chat.ended_instances == 1).await;
    assert_eq!((report.ended_sessions, report.handed_over), (4, 2));
    agent.end().await;
}

#[tokio::test]
async fn where_nobody_reads_the_service_hears_so_until_a_reader_comes_and_ends_it() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let token = out(&world, &org, &bob).await;
    let failed = report(&world, &token, |chat| failure(chat).is_some()).await;
    assert_eq!(failure(&failed), Some("no_reader"));
    // It is told to who comes while a receipt is still taken.
    let mut events = agent.events("").await;
    assert_eq!(events.next().await, Some(("resync".to_owned(), json!({ "reason": "first" }))));
    let revocation = events.revocation().await;
    agent.ended(&revocation, 1).await;
    let ended = report(&world, &token, |chat| chat.ended_instances == 1).await;
    assert_eq!((ended.ended_sessions, failure(&ended)), (1, None));
    agent.end().await;
}

#[tokio::test]
async fn a_failure_is_passed_on_and_a_later_receipt_takes_its_place() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let mut events = agent.events("").await;
    let token = out(&world, &org, &bob).await;
    let change = events.revocation().await["change_id"].clone();
    agent.post("/v1/receipts", &json!({ "change_id": change, "failed": "db_down" })).await;
    let failed = report(&world, &token, |chat| failure(chat).is_some()).await;
    assert_eq!(failure(&failed), Some("db_down"));
    agent.post("/v1/receipts", &json!({ "change_id": change, "ended_sessions": 5 })).await;
    let ended = report(&world, &token, |chat| chat.ended_instances == 1).await;
    assert_eq!(ended.ended_sessions, 5);
    agent.end().await;
}

#[tokio::test]
async fn a_receipt_that_does_not_come_is_a_failure_and_one_that_comes_at_last_is_too_late() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    // Each of the waits is over at once; between them lie six seconds.
    let agent = Beside::with(&world, |options| options.receipt_patience = Duration::from_millis(1)).await;
    let mut events = agent.events("").await;
    let token = out(&world, &org, &bob).await;
    let revocation = events.revocation().await;
    let failed = report(&world, &token, |chat| failure(chat).is_some()).await;
    assert_eq!((failure(&failed), failed.applied_instances), (Some("no_receipt"), 1));
    // The check denies all the same.
    assert_eq!(agent.check(&bob.account, &org.general).await.body["allowed"], false);
    // A heartbeat is written every five seconds: after two of them the last wait is over.
    let mut beats = events;
    while beats.beats < 2 {
        let line = timeout(BOUND, beats.lines.next_line()).await.expect("in time").expect("a line");
        beats.beats += usize::from(line.expect("open").starts_with(':'));
    }
    let late = agent.ended(&revocation, 1).await;
    assert_eq!((late.code, &late.body["error"]["reason"]), (409, &"RECEIPT_LATE".into()), "{late:?}");
    agent.end().await;
}

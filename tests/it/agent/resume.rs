//! A reader that comes back has missed nothing, or is told that it may have.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_reader_goes_on_after_the_last_event_that_it_saw() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let mut events = agent.events("").await;
    assert_eq!(events.next().await, Some(("resync".to_owned(), json!({ "reason": "first" }))));
    out(&world, &org, &bob).await;
    let revocation = events.revocation().await;
    agent.ended(&revocation, 0).await;
    let seen = events.last_id.clone();
    drop(events);
    // Two leave while nobody reads.
    let mut gone = Vec::new();
    for name in ["ann", "cy"] {
        let person = person(&world, &org, name).await;
        let token = out(&world, &org, &person).await;
        report(&world, &token, |chat| chat.applied_instances == 1).await;
        gone.push(person.member);
    }
    let mut events = agent.events(&seen).await;
    assert_eq!(events.next().await.expect("an event").0, "live", "no resync");
    for member in &gone {
        let revocation = events.revocation().await;
        assert_eq!(revocation["member_id"], **member);
        assert_eq!(agent.ended(&revocation, 0).await.code, 200, "told, so its receipt is taken");
    }
    assert_ne!(events.last_id, seen);
    agent.end().await;
}

#[tokio::test]
async fn a_reader_whose_stream_broke_off_after_resync_is_told_again_what_it_owes() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    // Nobody reads.
    let token = out(&world, &org, &bob).await;
    report(&world, &token, |chat| failure(chat) == Some("no_reader")).await;
    let mut events = agent.events("").await;
    events.until("resync").await;
    let resynced = events.last_id.clone();
    assert_eq!(events.revocation().await["member_id"], *bob.member);
    // It has no id of its own: the last one is that of `resync`.
    assert_eq!(events.last_id, resynced);
    drop(events);
    let mut events = agent.events(&resynced).await;
    let revocation = events.revocation().await;
    assert_eq!((&revocation["member_id"], &events.last_id), (&bob.member.clone().into(), &String::new()));
    assert_eq!(agent.ended(&revocation, 1).await.body, json!({ "complete": true }));
    report(&world, &token, |chat| chat.ended_instances == 1).await;
    // Said is said.
    drop(events);
    let mut events = agent.events(&resynced).await;
    assert_eq!(events.next().await.expect("an event").0, "live");
    let ann = person(&world, &org, "ann").await;
    out(&world, &org, &ann).await;
    assert_eq!(events.revocation().await["member_id"], *ann.member);
    agent.end().await;
}

#[tokio::test]
async fn a_reader_whose_last_event_is_not_known_is_told_to_ask_again() {
    let world = World::start().await;
    let agent = Beside::start(&world).await;
    let mut events = agent.events("").await;
    events.until("live").await;
    let known = events.last_id.clone();
    let run = known.split_once('-').expect("a run").0;
    for strange in ["5", "0badcafe-1", &format!("{run}-99"), "\u{e9}"] {
        let mut events = agent.events(strange).await;
        assert_eq!(
            events.next().await,
            Some(("resync".to_owned(), json!({ "reason": "unknown" }))),
            "{strange}"
        );
        assert_eq!(events.last_id, known, "from here on it can resume");
    }
    // An agent that was started anew knows nothing of the old one's events.
    agent.end().await;
    let agent = Beside::start(&world).await;
    let mut events = agent.events(&known).await;
    assert_eq!(events.next().await, Some(("resync".to_owned(), json!({ "reason": "unknown" }))));
    agent.end().await;
}

#[tokio::test]
async fn of_two_streams_under_one_name_the_newer_goes_on() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let agent = Beside::start(&world).await;
    let mut old = agent.events("").await;
    old.until("live").await;
    let mut new = agent.events("").await;
    assert_eq!(old.end().await, [], "it ends");
    out(&world, &org, &bob).await;
    let revocation = new.revocation().await;
    assert_eq!(agent.ended(&revocation, 1).await.body, json!({ "complete": true }));
    agent.end().await;
}

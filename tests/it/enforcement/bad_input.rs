//! What is wrong with an acknowledgement, a close or a wait: refused, and nothing of it is stored.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use rollcall_client::v1::*;
use tonic::Code;

use super::{
    Instance, acknowledge, awaiting, close, counted, enforcement, out, receipt, revokes, scene, set,
};
use crate::fixtures::{World, invalid, made_up_id, refused, unknown};

/// Cursors that are forged.
const FORGED: usize = 10_000;

/// What is stored of the one subscription.
async fn stored(world: &World) -> (i64, i64) {
    let counted = counted(world, "chat").await;
    (counted[0].grant_seq, counted[0].applied_position)
}

#[tokio::test]
async fn forged_cursors_grant_nothing() {
    let world = World::start().await;
    // Longer than ten thousand refusals take on a busy machine: it must not be given up meanwhile.
    set(&world, "chat", "lease_ttl_ms", "300000").await;
    let chat = Instance::open(&world, "chat", "chat-1").await;
    chat.applied(&world).await;
    let before = stored(&world).await;
    let text = chat.cursor.as_bytes().to_vec();
    let tries = (0..FORGED).map(|number| {
        let mut forged = text.clone();
        // Every bit of every character, one at a time, then two.
        let bits = forged.len() * 7;
        let (bit, second) = (number % bits, (number / bits) * 131 % bits);
        forged[bit / 7] ^= 1 << (bit % 7);
        if number >= bits && second != bit {
            forged[second / 7] ^= 1 << (second % 7);
        }
        // One that was tried alone already is tried with its neighbour.
        if number >= bits && second == bit {
            forged[((second + 1) % bits) / 7] ^= 1 << ((second + 1) % bits % 7);
        }
        String::from_utf8(forged).expect("still ASCII")
    });
    let asks = tries.map(|forged| {
        assert_ne!(forged, chat.cursor);
        let (mut feed, request) = (world.feed(), chat.acknowledgement());
        async move {
            let request = AcknowledgeRequest { applied_cursor: forged, ..request };
            match feed.acknowledge(request).await {
                Ok(_) => "accepted".to_owned(),
                Err(status) => format!("{:?} {}", status.code(), crate::fixtures::reason(&status)),
            }
        }
    });
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    let mut asked = futures_util::stream::iter(asks).buffer_unordered(32);
    while let Some(answer) = asked.next().await {
        *answers.entry(answer).or_default() += 1;
    }
    println!("t23_forged_cursors = {FORGED}");
    println!("t23_forged_cursors_accepted = {}", answers.get("accepted").copied().unwrap_or(0));
    assert_eq!(answers, BTreeMap::from([("InvalidArgument CURSOR_INVALID".to_owned(), FORGED)]));
    assert_eq!(stored(&world).await, before, "none of them grants");
    // And none does harm: the true one counts as ever.
    assert!(chat.applied(&world).await.lease_duration.is_some());
    assert_eq!(stored(&world).await.0, before.0 + 1);
}

#[tokio::test]
async fn foreign_cursors_grant_nothing() {
    let world = World::start().await;
    let (one, two) =
        (Instance::open(&world, "chat", "chat-1").await, Instance::open(&world, "boards", "boards-1").await);
    let observer =
        Instance::watch(&world, WatchRequest { app: "chat".to_owned(), ..Default::default() }).await;
    let before = stored(&world).await;
    for foreign in [&two.cursor, &observer.cursor] {
        let request = AcknowledgeRequest { applied_cursor: foreign.clone(), ..one.acknowledgement() };
        refused(acknowledge(&world, request).await, Code::InvalidArgument, "CURSOR_INVALID");
        let request = CloseSubscriptionRequest {
            subscription_id: one.id.clone(),
            cursor: foreign.clone(),
            process_has_ended: true,
        };
        refused(world.feed().close_subscription(request).await, Code::InvalidArgument, "CURSOR_INVALID");
    }
    let elsewhere = World::start().await;
    let there = Instance::open(&elsewhere, "chat", "chat-1").await;
    let request = AcknowledgeRequest { applied_cursor: there.cursor.clone(), ..one.acknowledgement() };
    refused(acknowledge(&world, request).await, Code::FailedPrecondition, "CURSOR_WRONG_STORE");
    let request = CloseSubscriptionRequest {
        subscription_id: one.id.clone(),
        cursor: there.cursor,
        ..Default::default()
    };
    refused(world.feed().close_subscription(request).await, Code::FailedPrecondition, "CURSOR_WRONG_STORE");
    let request = AcknowledgeRequest { subscription_id: made_up_id(), ..one.acknowledgement() };
    let id = request.subscription_id.clone();
    unknown(acknowledge(&world, request).await, "SUBSCRIPTION_NOT_FOUND", &id);
    assert_eq!(stored(&world).await, before);
}

#[tokio::test]
async fn receipts_are_of_what_was_sent_and_applied() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let eve = world.member_in(&org, "eve", &[&boards]).await;
    let (mut chat, mut other) =
        (Instance::open(&world, "chat", "chat-1").await, Instance::open(&world, "boards", "boards-1").await);
    let before = chat.acknowledgement();
    let chats = out(&world, &org, &bob).await;
    let token = out(&world, &org, &eve).await;
    let position = enforcement(&world, &token).await.position;
    chat.reach(position).await;
    other.reach(position).await;
    let mine = chat.changes.iter().find(|change| revokes(change)).expect("a revocation").clone();
    let theirs = other.changes.iter().find(|change| revokes(change)).expect("a revocation").clone();
    let with =
        |receipts: &[Receipt]| AcknowledgeRequest { receipts: receipts.to_vec(), ..chat.acknowledgement() };
    let good = receipt(&mine, ReceiptOutcome::Ended, 1);
    let stored_before = stored(&world).await;

    // Of another app's scope, of no change, of another change than stands there, and of one that is not applied yet.
    let made_up = Receipt { change_id: made_up_id(), ..good.clone() };
    let beyond = Receipt { position: position + 100, ..good.clone() };
    for bad in [receipt(&theirs, ReceiptOutcome::Ended, 1), made_up, beyond] {
        refused(acknowledge(&world, with(&[bad])).await, Code::FailedPrecondition, "CHANGE_NOT_SENT");
    }
    let one_of_two = with(&[good.clone(), receipt(&theirs, ReceiptOutcome::Ended, 1)]);
    let status = refused(acknowledge(&world, one_of_two).await, Code::FailedPrecondition, "CHANGE_NOT_SENT");
    let details = tonic_types::StatusExt::get_details_error_info(&status).expect("details");
    assert_eq!(details.metadata.get("field").map(String::as_str), Some("receipts[1]"));
    let early = AcknowledgeRequest { receipts: vec![good.clone()], ..before };
    refused(acknowledge(&world, early).await, Code::FailedPrecondition, "CHANGE_NOT_SENT");

    for (field, bad) in [
        ("position", Receipt { position: 0, ..good.clone() }),
        ("change_id", Receipt { change_id: "x".to_owned(), ..good.clone() }),
        ("change_id", Receipt { change_id: String::new(), ..good.clone() }),
        ("outcome", Receipt { outcome: 0, ..good.clone() }),
        ("outcome", Receipt { outcome: 99, ..good.clone() }),
        ("ended_sessions", Receipt { ended_sessions: -1, ..good.clone() }),
        ("handed_over", Receipt { handed_over: -1, ..good.clone() }),
        ("detail", Receipt { detail: "Bob Smith".to_owned(), ..good.clone() }),
        ("detail", Receipt { detail: "x".repeat(65), ..good.clone() }),
    ] {
        invalid(acknowledge(&world, with(&[bad])).await, &format!("receipts[0].{field}"));
    }
    invalid(acknowledge(&world, with(&[good.clone(), good.clone()])).await, "receipts[1].position");
    let many: Vec<Receipt> = (1..=501).map(|position| Receipt { position, ..good.clone() }).collect();
    invalid(acknowledge(&world, with(&many)).await, "receipts");

    assert_eq!(stored(&world).await, stored_before, "refused, it stores nothing");
    acknowledge(&world, with(&[good])).await.expect("a good one");
    let report = enforcement(&world, &chats).await;
    assert_eq!(super::of(&report, "chat").ended_sessions, 1);
}

#[tokio::test]
async fn an_instance_name_that_is_used_twice_at_once_is_one_instance() {
    let world = World::start().await;
    // Each reads no more than who it is: two of them are ended at some point of their snapshot.
    let open = async || {
        let request =
            WatchRequest { app: "chat".to_owned(), instance: "chat-1".to_owned(), ..Default::default() };
        let mut stream = world.feed().watch(request).await.expect("a stream").into_inner();
        let first = stream.message().await.expect("open").expect("a message").message;
        let Some(watch_response::Message::Opened(opened)) = first else { panic!("{first:?}") };
        (stream, opened.subscription_id)
    };
    let opened: [_; 3] = tokio::join!(open(), open(), open()).into();
    let counted = counted(&world, "chat").await;
    assert_eq!(counted.len(), 1, "nobody was granted anything yet");
    let mut ends = Vec::new();
    for (mut stream, id) in opened {
        if id == counted[0].subscription_id {
            continue;
        }
        ends.push(loop {
            if let Err(status) = stream.message().await {
                break status;
            }
        });
    }
    assert_eq!(ends.len(), 2);
    for end in ends {
        refused::<()>(Err(end), Code::Aborted, "SUBSCRIPTION_REPLACED");
    }
}

#[tokio::test]
async fn after_a_close_nothing_is_stored() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    chat.applied(&world).await;
    let token = out(&world, &org, &bob).await;
    chat.reach(enforcement(&world, &token).await.position).await;
    close(&world, &chat.id, "").await;
    let change = chat.changes.iter().find(|change| revokes(change)).expect("a revocation");
    let late = AcknowledgeRequest {
        receipts: vec![receipt(change, ReceiptOutcome::Ended, 9)],
        ..chat.acknowledgement()
    };
    refused(acknowledge(&world, late).await, Code::FailedPrecondition, "SUBSCRIPTION_CLOSED");
    let report = enforcement(&world, &token).await;
    let chat = super::of(&report, "chat");
    assert_eq!((chat.applied_instances, chat.ended_sessions), (0, 0));
}

#[tokio::test]
async fn waits_are_checked() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let token = out(&world, &org, &bob).await;
    let wait = async |request| world.feed().await_enforcement(request).await.map(|_| ());
    invalid(wait(awaiting("")).await, "token");
    refused(wait(awaiting("x")).await, Code::InvalidArgument, "TOKEN_INVALID");
    for (seconds, nanos) in [(-1, 0), (601, 0), (600, 1)] {
        let timeout = Some(prost_types::Duration { seconds, nanos });
        invalid(wait(AwaitEnforcementRequest { timeout, ..awaiting(&token) }).await, "timeout");
    }
    invalid(wait(AwaitEnforcementRequest { until: 9, ..awaiting(&token) }).await, "until");
    let apps = vec!["chat".to_owned(); 101];
    invalid(wait(AwaitEnforcementRequest { apps, ..awaiting(&token) }).await, "apps");
    let apps = vec!["No App".to_owned()];
    invalid(wait(AwaitEnforcementRequest { apps, ..awaiting(&token) }).await, "apps");
    let apps = vec!["nothing".to_owned()];
    unknown(wait(AwaitEnforcementRequest { apps, ..awaiting(&token) }).await, "APP_NOT_FOUND", "nothing");

    use get_enforcement_request::Write;
    let get = async |write| {
        world.feed().get_enforcement(GetEnforcementRequest { write, ..Default::default() }).await.map(|_| ())
    };
    invalid(get(None).await, "write");
    invalid(get(Some(Write::Token(String::new()))).await, "token");
    refused(get(Some(Write::Token("x".to_owned()))).await, Code::InvalidArgument, "TOKEN_INVALID");
    invalid(get(Some(Write::CommandId("x".to_owned()))).await, "command_id");
    invalid(get(Some(Write::Position(0))).await, "position");
    let id = made_up_id();
    unknown(get(Some(Write::CommandId(id.clone()))).await, "CHANGE_NOT_FOUND", &id);
    let elsewhere = World::start().await;
    let (org, bob) = scene(&elsewhere).await;
    let foreign = out(&elsewhere, &org, &bob).await;
    refused(wait(awaiting(&foreign)).await, Code::FailedPrecondition, "TOKEN_WRONG_STORE");
}

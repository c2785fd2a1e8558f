//! C6: a cursor resumes exactly, or is refused with the reason that says what to do.

use prost_reflect::{DynamicMessage, Kind};
use rollcall_client::v1::{
    AcknowledgeRequest, CloseSubscriptionRequest, ErrorReason, Opened, WatchRequest, WatchResponse,
    feed_service_client::FeedServiceClient, watch_response::Message,
};
use tonic::{Code, Request, Streaming};

use super::{chat, cursor_when, first_cursor, instance, next, refused, subscriptions::subscribe, watch};
use crate::{
    fixtures::{
        World, invalid, reason,
        requests::{methods, send, set},
    },
    support::Server,
};

/// More than a message may have.
const MEGABYTE: usize = 1 << 20;

async fn refusal(world: &World, request: WatchRequest) -> tonic::Status {
    watch(world, request).await.expect_err("a refusal")
}

#[tokio::test]
async fn c6_a_stream_resumes_after_its_cursor() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let cursor = first_cursor(&world, chat()).await;
    world.workspace(&org, "chat", "second").await;
    world.workspace(&org, "chat", "third").await;

    let mut stream =
        watch(&world, WatchRequest { cursor: cursor.clone(), ..chat() }).await.expect("a stream");
    let opened = next(&mut stream).await.expect("the first message");
    assert_eq!(opened.previous_cursor, cursor, "C3 holds across streams");
    let Some(Message::Opened(opened)) = opened.message else { panic!("{opened:?}") };
    assert!(!opened.snapshot_follows);
    let second = cursor_when(&mut stream, |message| matches!(message, Message::Batch(_))).await;

    let mut again = watch(&world, WatchRequest { cursor: second, ..chat() }).await.expect("a stream");
    next(&mut again).await.expect("the first message");
    // Whatever of the two the first stream had not told yet comes now, then nothing but bookmarks.
    cursor_when(&mut again, |message| matches!(message, Message::Bookmark(_))).await;
}

#[tokio::test]
async fn c6_damaged_and_made_up_cursors_are_refused() {
    let world = World::start().await;
    let cursor = first_cursor(&world, chat()).await;
    let mut flipped = cursor.clone().into_bytes();
    flipped[60] = if flipped[60] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("ASCII");
    for bad in [flipped, cursor[..cursor.len() - 1].to_owned(), "cursor".to_owned(), "A".repeat(100_000)] {
        let status = refusal(&world, WatchRequest { cursor: bad, ..chat() }).await;
        refused(&status, Code::InvalidArgument, "CURSOR_INVALID");
    }
}

#[tokio::test]
async fn c6_a_cursor_of_another_store_is_refused_and_never_heals() {
    let (world, other) = (World::start().await, World::start().await);
    let cursor = first_cursor(&other, chat()).await;
    for snapshot_if_refused in [false, true] {
        let request = WatchRequest { cursor: cursor.clone(), snapshot_if_refused, ..chat() };
        let status = refusal(&world, request).await;
        refused(&status, Code::FailedPrecondition, "CURSOR_WRONG_STORE");
    }
}

#[tokio::test]
async fn c6_a_cursor_holds_for_one_app_and_one_filter() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let cursor = first_cursor(&world, chat()).await;
    let filtered = WatchRequest { organization_ids: vec![org.id.clone()], cursor: cursor.clone(), ..chat() };
    let boards = WatchRequest { app: "boards".to_owned(), cursor: cursor.clone(), ..chat() };
    for request in [filtered.clone(), boards] {
        let status = refusal(&world, request).await;
        refused(&status, Code::FailedPrecondition, "CURSOR_SCOPE_CHANGED");
    }
    // The same call may ask for what the refusal would have told it to do.
    let request = WatchRequest { snapshot_if_refused: true, ..filtered };
    let mut stream = watch(&world, request).await.expect("a stream");
    let Some(Message::Opened(opened)) = next(&mut stream).await.expect("the first message").message else {
        panic!("opened comes first")
    };
    assert!(opened.snapshot_follows);
    assert_eq!(opened.cursor_refusal(), ErrorReason::CursorScopeChanged);
}

#[tokio::test]
async fn c6_a_cursor_whose_change_is_another_one_or_is_gone_is_refused() {
    let world = World::start().await;
    world.organization("ada").await;
    let cursor = first_cursor(&world, chat()).await;
    let database = world.server().database();
    let other_change =
        "UPDATE changes SET change_id = gen_random_uuid() WHERE position = (SELECT position FROM log_head)";
    let gone = "DELETE FROM changes WHERE position = (SELECT position FROM log_head)";
    for history in [other_change, gone] {
        database.batch_execute(history).await.expect("another history");
        // One that has not read the log before it became another.
        let fresh = Server::beside(world.server()).await;
        let request = WatchRequest { cursor: cursor.clone(), ..chat() };
        let status = FeedServiceClient::new(fresh.channel()).watch(request).await.expect_err("a refusal");
        refused(&status, Code::FailedPrecondition, "CURSOR_FORKED");
    }
}

async fn told(mut stream: Streaming<WatchResponse>) -> Opened {
    match next(&mut stream).await.expect("the first message").message {
        Some(Message::Opened(opened)) => opened,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn c6_a_cursor_is_judged_also_where_a_snapshot_is_asked_for_anyway() {
    let (world, other) = (World::start().await, World::start().await);
    world.organization("ada").await;
    let cursor = first_cursor(&world, chat()).await;
    let anyway = |cursor: &str| WatchRequest { cursor: cursor.to_owned(), snapshot_anyway: true, ..chat() };
    // Nothing is wrong with it, and yet there is a snapshot, whole and with a tail.
    let mut stream = watch(&world, anyway(&cursor)).await.expect("a stream");
    let opened = next(&mut stream).await.expect("the first message");
    assert_eq!(opened.previous_cursor, "", "a snapshot takes its place");
    let Some(Message::Opened(opened)) = opened.message else { panic!("{opened:?}") };
    assert!(opened.snapshot_follows && opened.cursor_refusal() == ErrorReason::Unspecified, "{opened:?}");
    let end = cursor_when(&mut stream, |message| matches!(message, Message::SnapshotEnd(_))).await;
    cursor_when(&mut stream, |message| matches!(message, Message::Bookmark(_))).await;
    let opened = told(watch(&world, WatchRequest { cursor: end, ..chat() }).await.expect("a stream")).await;
    assert!(!opened.snapshot_follows, "resumed");
    // What is wrong is said, without asking for it twice.
    let opened = told(watch(&world, anyway("cursor")).await.expect("a stream")).await;
    assert!(opened.snapshot_follows && opened.cursor_refusal() == ErrorReason::CursorInvalid, "{opened:?}");
    let status = refusal(&other, anyway(&cursor)).await;
    refused(&status, Code::FailedPrecondition, "CURSOR_WRONG_STORE");
    let another_history =
        "UPDATE changes SET change_id = gen_random_uuid() WHERE position = (SELECT position FROM log_head)";
    world.server().database().batch_execute(another_history).await.expect("another history");
    let fresh = Server::beside(world.server()).await;
    let stream = FeedServiceClient::new(fresh.channel()).watch(anyway(&cursor)).await.expect("a stream");
    let opened = told(stream.into_inner()).await;
    assert!(opened.snapshot_follows && opened.cursor_refusal() == ErrorReason::CursorForked, "{opened:?}");
}

#[tokio::test]
async fn c6_another_store_is_named_before_what_is_missing_in_it() {
    let (world, other) = (World::start().await, World::start().await);
    let cursor = first_cursor(&other, chat()).await;
    let request = WatchRequest { app: "unregistered".to_owned(), cursor, ..chat() };
    refused(&refusal(&world, request).await, Code::FailedPrecondition, "CURSOR_WRONG_STORE");
}

#[tokio::test]
async fn c6_a_cursor_of_any_size_is_refused_and_its_stream_goes_on() {
    let world = World::start().await;
    let (mut stream, id, cursor) = subscribe(&world, instance("chat-1")).await;
    for length in [1_025, 100_000, MEGABYTE] {
        for cursor in ["A".repeat(length), cursor.repeat(length.div_ceil(cursor.len()))] {
            let subscription_id = id.clone();
            let acknowledge =
                AcknowledgeRequest { subscription_id, applied_cursor: cursor.clone(), ..Default::default() };
            let close = CloseSubscriptionRequest {
                subscription_id: id.clone(),
                cursor: cursor.clone(),
                ..Default::default()
            };
            let watching = WatchRequest { cursor, ..instance("chat-2") };
            for (field, answer) in [
                ("cursor", watch(&world, watching).await.map(drop)),
                ("applied_cursor", world.feed().acknowledge(acknowledge).await.map(drop)),
                ("cursor", world.feed().close_subscription(close).await.map(drop)),
            ] {
                if length == MEGABYTE {
                    invalid(answer, "request");
                } else {
                    let status = answer.expect_err("no cursor is so long");
                    refused(&status, Code::InvalidArgument, "CURSOR_INVALID");
                    let message = status.message();
                    assert!(message.starts_with(field) && message.len() < 200, "{message}");
                }
            }
        }
    }
    let sound = AcknowledgeRequest { subscription_id: id, applied_cursor: cursor, ..Default::default() };
    world.feed().acknowledge(sound).await.expect("it counts as ever");
    cursor_when(&mut stream, |message| matches!(message, Message::Bookmark(_))).await;
}

/// Wherever the service takes back a text that it made: cursors, tokens of writes, tokens of pages.
#[tokio::test]
async fn c6_no_text_of_a_megabyte_is_answered_wherever_cursors_and_tokens_are_taken() {
    let world = World::checking().await;
    let mut asked = 0;
    for (name, method) in methods() {
        let input = method.input();
        let opaque =
            |name: &str| name.contains("cursor") || name.contains("token") || name == "at_least_as_fresh";
        for field in input.fields().filter(|field| field.kind() == Kind::String && opaque(field.name())) {
            for length in [100_000, MEGABYTE] {
                let mut message = DynamicMessage::new(input.clone());
                set(&mut message, field.name(), &"A".repeat(length));
                let answer = send::<()>(&world.server().channel(), &method, Request::new(message)).await;
                let of = format!("{name} {}", field.name());
                let status = answer.expect_err(&of);
                if length == MEGABYTE {
                    invalid::<()>(Err(status), "request");
                } else {
                    // Of the field, or of one that is missing besides.
                    assert_eq!(status.code(), Code::InvalidArgument, "{of}: {status:?}");
                    reason(&status);
                }
            }
            asked += 1;
        }
    }
    println!("t23_fields_that_take_cursors_or_tokens = {asked}");
    assert!(asked >= 40, "{asked}");
}

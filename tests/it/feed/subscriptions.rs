//! C11: who follows, and how far each has applied what it was sent; over one replica of the service and over two.

use rollcall_client::v1::{
    AcknowledgeRequest, CloseSubscriptionRequest, ListSubscriptionsRequest, Subscription, WatchRequest,
    watch_response::Message,
};
use tonic::{Code, Status, Streaming};

use super::{BOUND, chat, cursor_when, instance, next, refused, watch};
use crate::{fixtures::World, support::Server};

pub(super) type Stream = Streaming<rollcall_client::v1::WatchResponse>;

/// Opens a stream of a subscription, and reads who it is and its first cursor.
pub(super) async fn subscribe(world: &World, request: WatchRequest) -> (Stream, String, String) {
    let mut stream = watch(world, request).await.expect("a stream");
    let opened = next(&mut stream).await.expect("the first message").message;
    let Some(Message::Opened(opened)) = opened else { panic!("{opened:?}") };
    let cursor = cursor_when(&mut stream, |_| true).await;
    (stream, opened.subscription_id, cursor)
}

pub(super) async fn acknowledge(
    world: &World,
    subscription_id: &str,
    applied_cursor: &str,
) -> Result<i64, Status> {
    let request = AcknowledgeRequest {
        subscription_id: subscription_id.to_owned(),
        applied_cursor: applied_cursor.to_owned(),
        ..Default::default()
    };
    world.feed().acknowledge(request).await.map(|answer| answer.into_inner().applied_position)
}

async fn subscriptions(world: &World) -> Vec<Subscription> {
    let request = ListSubscriptionsRequest { app: "chat".to_owned(), ..Default::default() };
    world.feed().list_subscriptions(request).await.expect("a page").into_inner().subscriptions
}

/// How a stream ends.
async fn end(stream: &mut Stream) -> Status {
    loop {
        match next(stream).await {
            Ok(_) => {}
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn c11_what_was_applied_never_goes_back() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let (mut stream, id, first) = subscribe(&world, instance("chat-1")).await;
    let at_first = acknowledge(&world, &id, &first).await.expect("an acknowledgement");
    world.workspace(&org, "chat", "second").await;
    let later = cursor_when(&mut stream, |message| matches!(message, Message::Batch(_))).await;
    let at_later = acknowledge(&world, &id, &later).await.expect("an acknowledgement");
    assert!(at_later > at_first);
    // Late and repeated calls change nothing.
    let mut regressions = 0;
    for cursor in [&first, &later] {
        let answered = acknowledge(&world, &id, cursor).await.expect("a late or a repeated one");
        regressions += usize::from(answered != at_later);
    }
    println!("t22_regressions = {regressions}");
    assert_eq!(regressions, 0);
    let listed = subscriptions(&world).await;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].instance.as_str(), listed[0].applied_position), ("chat-1", at_later));
    assert_eq!(listed[0].lag, 0);
    assert!(listed[0].acknowledge_time.is_some());
    world.workspace(&org, "boards", "unseen").await;
    assert!(subscriptions(&world).await[0].lag > 0, "the head moved on, whatever the scope");
}

#[tokio::test]
async fn c11_a_cursor_counts_for_the_subscription_that_it_was_sent_to() {
    let world = World::start().await;
    let (_one, first, first_cursor) = subscribe(&world, instance("chat-1")).await;
    let (_two, second, _) = subscribe(&world, instance("chat-2")).await;
    let mut observer = watch(&world, chat()).await.expect("a stream");
    let observed = cursor_when(&mut observer, |_| true).await;
    for cursor in [first_cursor.as_str(), observed.as_str(), "made-up"] {
        let status = acknowledge(&world, &second, cursor).await.expect_err("not its own");
        refused(&status, Code::InvalidArgument, "CURSOR_INVALID");
    }
    acknowledge(&world, &first, &first_cursor).await.expect("its own");
    let nobody = uuid::Uuid::now_v7().to_string();
    let status = acknowledge(&world, &nobody, &first_cursor).await.expect_err("no such subscription");
    refused(&status, Code::NotFound, "SUBSCRIPTION_NOT_FOUND");
}

#[tokio::test]
async fn a_newer_process_of_the_same_name_replaces_the_older() {
    let world = World::start().await;
    let (mut old, old_id, cursor) = subscribe(&world, instance("chat-1")).await;
    let (_new, new_id, _) = subscribe(&world, instance("chat-1")).await;
    assert_ne!(old_id, new_id);
    refused(&end(&mut old).await, Code::Aborted, "SUBSCRIPTION_REPLACED");
    // It is told so on every way: watching anew, it would put out the newer one.
    is_told_of_its_replacement(&world, &old_id, &cursor).await;
    assert_eq!(subscriptions(&world).await.len(), 1);
}

async fn is_told_of_its_replacement(world: &World, id: &str, cursor: &str) {
    let status = acknowledge(world, id, cursor).await.expect_err("it has ended");
    refused(&status, Code::FailedPrecondition, "SUBSCRIPTION_REPLACED");
    let (subscription_id, cursor) = (id.to_owned(), cursor.to_owned());
    let request = WatchRequest { subscription_id, cursor, ..instance("chat-1") };
    let status = watch(world, request).await.expect_err("it has ended");
    refused(&status, Code::FailedPrecondition, "SUBSCRIPTION_REPLACED");
}

/// Cut off, a process may be given up before another one takes its name, and hear of neither.
#[tokio::test]
async fn who_was_given_up_is_replaced_by_the_next_of_its_name() {
    let world = World::start().await;
    let (_old, old_id, cursor) = subscribe(&world, instance("chat-1")).await;
    let close = |id: &str| CloseSubscriptionRequest { subscription_id: id.to_owned(), ..Default::default() };
    world.feed().close_subscription(close(&old_id)).await.expect("closed");
    let status = acknowledge(&world, &old_id, &cursor).await.expect_err("it has ended");
    refused(&status, Code::FailedPrecondition, "SUBSCRIPTION_CLOSED");
    let (_other, _, _) = subscribe(&world, instance("chat-2")).await;
    let status = acknowledge(&world, &old_id, &cursor).await.expect_err("it has ended");
    refused(&status, Code::FailedPrecondition, "SUBSCRIPTION_CLOSED");
    let (_new, new_id, _) = subscribe(&world, instance("chat-1")).await;
    is_told_of_its_replacement(&world, &old_id, &cursor).await;
    // The name is free again.
    world.feed().close_subscription(close(&new_id)).await.expect("closed");
    let status = acknowledge(&world, &old_id, &cursor).await.expect_err("it has ended");
    refused(&status, Code::FailedPrecondition, "SUBSCRIPTION_CLOSED");
}

#[tokio::test]
async fn a_process_that_reconnects_keeps_its_subscription_and_has_one_stream() {
    let world = World::start().await;
    let (mut old, id, cursor) = subscribe(&world, instance("chat-1")).await;
    let request = WatchRequest { subscription_id: id.clone(), cursor: cursor.clone(), ..instance("chat-1") };
    let mut new = watch(&world, request).await.expect("a stream");
    let Some(Message::Opened(opened)) = next(&mut new).await.expect("the first message").message else {
        panic!("opened comes first")
    };
    assert_eq!(opened.subscription_id, id);
    refused(&end(&mut old).await, Code::Aborted, "SUBSCRIPTION_REPLACED");
    // A subscription is its instance's own.
    let request = WatchRequest { subscription_id: id, cursor, ..instance("chat-2") };
    let status = watch(&world, request).await.expect_err("another instance");
    refused(&status, Code::NotFound, "SUBSCRIPTION_NOT_FOUND");
}

#[tokio::test]
async fn a_closed_subscription_ends_its_stream_and_is_listed_no_more() {
    let world = World::start().await;
    let (mut stream, id, _) = subscribe(&world, instance("chat-1")).await;
    for _ in 0..2 {
        let request = CloseSubscriptionRequest { subscription_id: id.clone(), ..Default::default() };
        world.feed().close_subscription(request).await.expect("closed, and closed again");
    }
    refused(&end(&mut stream).await, Code::Aborted, "SUBSCRIPTION_CLOSED");
    assert!(subscriptions(&world).await.is_empty());
}

#[tokio::test]
async fn observers_are_counted_nowhere() {
    let world = World::start().await;
    let mut observer = watch(&world, chat()).await.expect("a stream");
    cursor_when(&mut observer, |_| true).await;
    assert!(subscriptions(&world).await.is_empty());
}

#[tokio::test]
async fn two_replicas_of_the_service_tell_one_story() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let other = Server::beside(world.server()).await;
    let mut feed = rollcall_client::v1::feed_service_client::FeedServiceClient::new(other.channel());
    let mut there = feed.watch(instance("chat-1")).await.expect("a stream").into_inner();
    let cursor = cursor_when(&mut there, |_| true).await;
    // Written here, told there.
    world.workspace(&org, "chat", "second").await;
    let there_cursor = cursor_when(&mut there, |message| matches!(message, Message::Batch(_))).await;
    // A cursor of one replica resumes on the other, at the same place.
    let mut here = watch(&world, WatchRequest { cursor, ..instance("chat-2") }).await.expect("a stream");
    let batch = loop {
        if let Some(Message::Batch(batch)) = next(&mut here).await.expect("an open stream").message {
            break batch;
        }
    };
    assert_eq!(batch.changes.len(), 1);
    let resumed = WatchRequest { cursor: there_cursor, ..chat() };
    watch(&world, resumed).await.expect("the store's own cursor, whichever replica sent it");
    // The same instance name here ends the stream there.
    let (_new, _, _) = subscribe(&world, instance("chat-1")).await;
    let status = tokio::time::timeout(BOUND, end(&mut there)).await.expect("ended in time");
    refused(&status, Code::Aborted, "SUBSCRIPTION_REPLACED");
    other.stop().await;
}

#[tokio::test]
async fn a_subscription_has_one_stream_over_all_replicas_of_the_service() {
    let world = World::start().await;
    let other = Server::beside(world.server()).await;
    let (mut here, id, cursor) = subscribe(&world, instance("chat-1")).await;
    // A half-open connection: the process comes back through another replica, which cannot see the first stream.
    let mut feed = rollcall_client::v1::feed_service_client::FeedServiceClient::new(other.channel());
    let request = WatchRequest { subscription_id: id.clone(), cursor, ..instance("chat-1") };
    let mut there = feed.watch(request).await.expect("a stream").into_inner();
    let opened = next(&mut there).await.expect("the first message").message;
    assert!(matches!(opened, Some(Message::Opened(opened)) if opened.subscription_id == id));
    let status = tokio::time::timeout(BOUND, end(&mut here)).await.expect("ended in time");
    refused(&status, Code::Aborted, "SUBSCRIPTION_REPLACED");
    // The newer one goes on.
    cursor_when(&mut there, |message| matches!(message, Message::Bookmark(_))).await;
    assert_eq!(subscriptions(&world).await.len(), 1);
    drop(there);
    other.stop().await;
}

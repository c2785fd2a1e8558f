//! What a cursor below, at and above the floor is told, by `Watch` and by `Acknowledge`.

use rollcall_client::v1::{
    ErrorReason, RegisterAppRequest, WatchRequest, app_service_client::AppServiceClient,
};
use tonic::Code;

use super::{A_DAY, Reader, Trail, age, chat, head, trim};
use crate::{fixtures::refused, small::Small, support::Server};

#[tokio::test]
async fn c8_c6_a_cursor_below_the_floor_is_compacted_and_at_it_or_above_it_goes_on() {
    let trail = Trail::make(5).await;
    let floor = trail.position(2);
    age(trail.database(), floor).await;
    assert_eq!(trim(trail.database(), A_DAY).await, (floor, floor, false));

    refused(trail.resume(1).await, Code::FailedPrecondition, "CURSOR_COMPACTED");
    assert_eq!(trail.resume(2).await.expect("at the floor")[0], floor + 1, "nothing after it was trimmed");
    assert_eq!(trail.resume(3).await.expect("above the floor")[0], floor + 2);

    // The same call may ask for what the refusal would have told it to do.
    let cursor = trail.cursors[1].1.clone();
    let request = WatchRequest { cursor, snapshot_if_refused: true, ..chat() };
    let channel = trail.world.server().channel();
    let (_reader, opened) = Reader::open(channel, request).await.expect("a stream");
    assert!(opened.snapshot_follows);
    assert_eq!(opened.cursor_refusal(), ErrorReason::CursorCompacted);
}

#[tokio::test]
async fn c8_c11_an_acknowledgement_below_the_floor_is_refused() {
    let trail = Trail::make(4).await;
    let floor = trail.position(1);
    age(trail.database(), floor).await;
    trim(trail.database(), A_DAY).await;
    refused(trail.acknowledge(0).await, Code::FailedPrecondition, "CURSOR_COMPACTED");
    assert_eq!(trail.acknowledge(1).await.expect("at the floor"), floor);
    assert_eq!(trail.acknowledge(2).await.expect("above it"), floor + 1);
}

#[tokio::test]
async fn c8_c6_another_change_at_the_floor_is_a_fork() {
    let trail = Trail::make(3).await;
    age(trail.database(), trail.position(1)).await;
    trim(trail.database(), A_DAY).await;
    let another = "UPDATE log_floor SET change_id = gen_random_uuid()";
    trail.database().batch_execute(another).await.expect("another history");
    refused(trail.resume(1).await, Code::FailedPrecondition, "CURSOR_FORKED");
    refused(trail.acknowledge(1).await, Code::FailedPrecondition, "CURSOR_FORKED");
}

#[tokio::test]
async fn c8_a_cursor_before_the_first_change_holds_while_nothing_was_trimmed() {
    let server = Server::without_window().await;
    let request = RegisterAppRequest { app: "chat".to_owned(), ..Default::default() };
    AppServiceClient::new(server.channel()).register_app(request).await.expect("an app");
    let (mut reader, opened) = Reader::open(server.channel(), chat()).await.expect("a stream");
    assert_eq!(opened.head_position, 0);
    let cursor = reader.next().await.expect("the end of an empty snapshot").cursor;
    let resume = WatchRequest { cursor, ..chat() };
    let small = Small::make(server.channel(), "ada@example.com").await;
    small.rename("Difference Engines").await.expect("a second command");

    let (mut reader, _) = Reader::open(server.channel(), resume.clone()).await.expect("a stream");
    assert_eq!(reader.batch().await.expect("the first batch").0[0], 1);
    let database = server.database();
    age(database, head(database).await).await;
    trim(database, A_DAY).await;
    let late = Reader::open(server.channel(), resume).await.map(|_| ());
    refused(late, Code::FailedPrecondition, "CURSOR_COMPACTED");
}

//! The drain: everyone is told, what is in flight ends, and nobody waits for the deadline.

use std::time::{Duration, Instant};

use futures_util::future;
use rollcall_client::v1::watch_response::Message;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use super::{
    BOUND,
    deadlines::{Held, waits},
    next, soon, watch,
};
use crate::{
    fixtures::{reason, refused},
    small::Small,
    support::Server,
};

/// The server of the tests cuts what is left after five seconds: a drain that takes so long has waited for somebody.
const WELL_BEFORE: Duration = Duration::from_secs(4);

#[tokio::test]
async fn streams_and_probes_are_told_and_nobody_is_waited_for() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    small.rename("Engines Ltd").await.expect("renamed");
    let mut stream = watch(server.channel()).await;
    let mut probe = HealthClient::new(server.channel())
        .watch(HealthCheckRequest { service: String::new() })
        .await
        .expect("a probe that stays")
        .into_inner();
    let mut status =
        async || soon("a status", probe.message()).await.map(|answer| answer.map(|it| it.status()));
    while status().await.expect("a status") != Some(ServingStatus::Serving) {}

    let begun = Instant::now();
    server.begin_shutdown();
    let end = loop {
        match next(&mut stream).await {
            Ok(Message::Bookmark(bookmark)) => assert!(bookmark.position > 0),
            Ok(other) => panic!("nothing has happened: {other:?}"),
            Err(end) => break end,
        }
    };
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    let retry = end.get_details_retry_info().expect("when to come back");
    assert!(retry.retry_delay.is_some_and(|delay| delay < BOUND), "{retry:?}");
    assert_eq!(status().await.expect("a last status"), Some(ServingStatus::NotServing));
    let last = status().await;
    assert!(!matches!(last, Ok(Some(_))), "the probe is let go: {last:?}");

    soon("the end", server.stop()).await;
    assert!(begun.elapsed() < WELL_BEFORE, "the drain took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_call_in_flight_is_answered() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    let held = Held::organization(&server, &small.organization).await;
    let renaming = small.rename("Engines Ltd");
    let meanwhile = async {
        waits(&server).await;
        server.begin_shutdown();
        held.release().await;
    };
    let (renamed, ()) = soon("the answer", future::join(renaming, meanwhile)).await;
    assert_eq!(renamed.expect("it was in flight").display_name, "Engines Ltd");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_asked_for_too_late_is_sent_elsewhere() {
    use rollcall_client::v1::{WatchRequest, feed_service_client::FeedServiceClient};

    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    // Another connection that is known to the server before it begins to drain, kept by the call in flight.
    let held = Held::organization(&server, &small.organization).await;
    let renaming = small.rename("Engines Ltd");
    let meanwhile = async {
        waits(&server).await;
        server.begin_shutdown();
        let request = WatchRequest { app: "chat".to_owned(), ..Default::default() };
        let late = FeedServiceClient::new(server.channel()).watch(request).await;
        // Either the connection takes no new calls any more, or the call is told why.
        let late = late.expect_err("no new streams");
        if late.get_details_error_info().is_some() {
            refused::<()>(Err(late), Code::Unavailable, "SHUTTING_DOWN");
        } else {
            assert!([Code::Unavailable, Code::Unknown, Code::Cancelled].contains(&late.code()), "{late:?}");
        }
        held.release().await;
    };
    let (renamed, ()) = soon("the answers", future::join(renaming, meanwhile)).await;
    renamed.expect("it was in flight");
    server.stop().await;
}

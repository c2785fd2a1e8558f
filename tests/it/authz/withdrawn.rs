//! T25: a right that is withdrawn while its holder watches. The stream is cut, on whichever replica it is.

use std::time::{Duration, Instant};

use rollcall_client::v1::{app_service_client::AppServiceClient, feed_service_client::FeedServiceClient, *};
use tonic::{Code, Status, Streaming};

use super::{GATEWAY, instance};
use crate::{
    fixtures::{World, reason, refused},
    support::{CALLERS, Server},
};

/// How soon after it was withdrawn.
const BOUND: Duration = Duration::from_secs(2);

/// Reads a stream to its end: how long it took since a moment, and what it ended with.
async fn end<T>(stream: &mut Streaming<T>, since: Instant) -> (Duration, Status) {
    let ended = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a reason"),
                Err(status) => return (since.elapsed(), status),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends")
}

/// The callers without one of them.
pub(super) fn without(caller: &str) -> String {
    let kept =
        CALLERS.split("\n[[caller]]\n").filter(|entry| !entry.contains(&format!("name = \"{caller}\"")));
    kept.collect::<Vec<_>>().join("\n[[caller]]\n")
}

#[tokio::test]
async fn t25_a_right_that_is_withdrawn_cuts_the_stream() {
    let world = World::telling_apart().await;
    world.organization("ada").await;
    let channel = world.server().channel();
    let as_caller = |name: &str| channel.clone().calling_as(name);
    let mut chat = instance(as_caller("chat"), "chat", "one").await;
    let mut boards = instance(as_caller("boards"), "boards", "one").await;
    // Who waits for what will never be: nobody follows for `chat` but who acknowledges nothing.
    let token = world.operator().rename_organization(&world.organization("eve").await.id, "Eve").await;
    let request = AwaitEnforcementRequest {
        token: token.expect("renamed").token,
        until: EnforcementGoal::Ended.into(),
        apps: vec!["chat".to_owned()],
        ..Default::default()
    };
    let waiting = FeedServiceClient::new(as_caller(GATEWAY)).await_enforcement(request).await;
    let mut waiting = waiting.expect("a stream").into_inner();

    let since = Instant::now();
    world.server().set_callers(&without("chat"));
    let (took, status) = end(&mut chat.stream, since).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "CALLER_UNKNOWN"));
    println!("T25: out of the file of the callers: the stream was cut after {} ms", took.as_millis());
    assert!(took <= BOUND, "{took:?}");
    let again = WatchRequest { app: "chat".to_owned(), ..Default::default() };
    let again = FeedServiceClient::new(as_caller("chat")).watch(again).await.map(|_| ());
    refused(again, Code::Unauthenticated, "CALLER_UNKNOWN");

    let since = Instant::now();
    world.server().set_callers(&without(GATEWAY));
    let (took, status) = end(&mut waiting, since).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "CALLER_UNKNOWN"));
    println!("T25: the wait of who is no caller any more was cut after {} ms", took.as_millis());
    assert!(took <= BOUND, "{took:?}");

    // Who stays, stays.
    let open = tokio::time::timeout(Duration::from_millis(1_500), async {
        loop {
            boards.stream.message().await.expect("no refusal").expect("no end");
        }
    });
    open.await.expect_err("the stream of the other app goes on");
}

#[tokio::test]
async fn t25_an_app_that_is_unregistered_is_cut_everywhere() {
    let listed = "[[caller]]\nname = \"spare\"\napp = true\nspiffe_ids = [\"spiffe://example.org/ns/spare/sa/spare\"]\n";
    let callers = format!("{CALLERS}\n{listed}");
    let database = crate::support::create_database().await;
    let world = World::on(Server::telling_apart_on(database, &callers).await).await;
    let beside = Server::telling_apart_on(world.server().another_connection().await, &callers).await;
    let mut apps = AppServiceClient::new(world.server().channel());
    let request = RegisterAppRequest { app: "spare".to_owned(), ..Default::default() };
    apps.register_app(request).await.expect("registered");
    let here = world.server().channel().calling_as("spare");
    let there = beside.channel().calling_as("spare");
    let (mut one, mut two) =
        (instance(here.clone(), "spare", "one").await, instance(there, "spare", "two").await);
    let since = Instant::now();
    let request = UnregisterAppRequest { app: "spare".to_owned(), ..Default::default() };
    apps.unregister_app(request).await.expect("unregistered");
    let ((at_once, first), (elsewhere, second)) =
        tokio::join!(end(&mut one.stream, since), end(&mut two.stream, since));
    for status in [first, second] {
        let told = (status.code(), reason(&status));
        assert_eq!(told, (Code::Aborted, "SUBSCRIPTION_CLOSED".to_owned()));
    }
    println!(
        "T25: unregistered: the stream was cut after {} ms, on the other replica after {} ms",
        at_once.as_millis(),
        elsewhere.as_millis()
    );
    assert!(at_once.max(elsewhere) <= BOUND, "{at_once:?} {elsewhere:?}");
    let again = WatchRequest { app: "spare".to_owned(), ..Default::default() };
    let again = FeedServiceClient::new(here).watch(again).await.map(|_| ());
    refused(again, Code::NotFound, "APP_NOT_FOUND");
    beside.stop().await;
}

//! What one caller may take: calls of each kind in a second, streams, and connections of all together.

mod share;

use std::time::Duration;

use rollcall_client::v1::{
    ListAppsRequest, WatchRequest, app_service_client::AppServiceClient,
    feed_service_client::FeedServiceClient,
};
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tonic::{Code, Request, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::{
    fixtures::refused,
    server::{soon, until},
    small::Small,
    support::{CallLimits, Channel, Server},
};

/// As `caller` says that it is called.
fn by<T>(caller: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("rollcall-caller", tonic::metadata::MetadataValue::from_static(caller));
    request
}

async fn list(channel: &Channel, caller: &'static str) -> Result<(), Status> {
    let mut apps = AppServiceClient::new(channel.clone());
    soon("an answer", apps.list_apps(by(caller, ListAppsRequest::default()))).await.map(drop)
}

/// What a refusal says of when to come back and of the bound.
fn quota(status: &Status) -> (Duration, String, String) {
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("a RetryInfo");
    let quota = status.get_details_quota_failure().expect("a QuotaFailure");
    let [violation] = &quota.violations[..] else { panic!("one bound: {quota:?}") };
    (wait, violation.subject.clone(), violation.description.clone())
}

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_come_back_and_others_go_on() {
    let server = Server::limiting(CallLimits { reads: 2, writes: 2, ..CallLimits::default() }).await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    let channel = server.channel();
    let mut answered = 0;
    let refusal = loop {
        match list(&channel, "chat").await {
            Ok(()) => answered += 1,
            refusal => break refused(refusal, Code::ResourceExhausted, "RATE_LIMITED"),
        }
    };
    assert!((4..20).contains(&answered), "two seconds' worth, and what came meanwhile: {answered}");
    let (wait, subject, description) = quota(&refusal);
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
    assert_eq!((subject.as_str(), description.as_str()), ("reads", "one caller may make 2 reads a second"));
    // Whoever comes back when they are told to is served.
    tokio::time::sleep(wait).await;
    list(&channel, "chat").await.expect("as it was said");
    // Other callers and other kinds of calls notice nothing, nor does health.
    list(&channel, "boards").await.expect("another caller");
    let request = HealthCheckRequest::default();
    for _ in 0..50 {
        let health = HealthClient::new(channel.clone()).check(request.clone()).await.expect("health");
        assert_eq!(health.into_inner().status(), ServingStatus::Serving);
    }
    // Writes have a bucket of their own, which making the organization has emptied.
    let mut refusal = None;
    for _ in 0..10 {
        if let Err(status) = small.rename("Engines Ltd").await {
            refusal = Some(status);
        }
    }
    let refusal = refusal.expect("more than two writes a second");
    assert_eq!(quota(&refusal).1, "writes");
    refused::<()>(Err(refusal), Code::ResourceExhausted, "RATE_LIMITED");
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_was_limited_did_nothing_and_may_be_repeated() {
    let server = Server::limiting(CallLimits { writes: 3, ..CallLimits::default() }).await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    let mut done = small.get().await.expect("read").version;
    let policy = rollcall_client::RetryPolicy::default();
    for number in 0..12 {
        let small = small.clone();
        let renamed = rollcall_client::retry(&policy, || {
            let small = small.clone();
            async move { small.rename(&format!("Engines {number}")).await.map(tonic::Response::new) }
        });
        let renamed = soon("a write that is repeated", renamed).await.expect("in the end");
        assert_eq!(renamed.version, done + 1, "each write has one effect");
        done = renamed.version;
    }
    server.stop().await;
}

#[tokio::test]
async fn streams_of_one_caller_are_bounded() {
    let server = Server::limiting(CallLimits { streams: 2, ..CallLimits::default() }).await;
    let _small = Small::make(server.channel(), "ada@example.com").await;
    let watch = async |caller| {
        let request = by(caller, WatchRequest { app: "chat".to_owned(), ..Default::default() });
        let mut stream =
            soon("a stream", FeedServiceClient::new(server.channel()).watch(request)).await?.into_inner();
        soon("its first message", stream.message()).await?.expect("no end");
        Ok(stream)
    };
    let first = watch("chat").await.expect("a stream");
    let mut second = watch("chat").await.expect("another");
    let refusal = refused(watch("chat").await, Code::ResourceExhausted, "STREAM_LIMIT");
    let (wait, subject, description) = quota(&refusal);
    assert!(wait >= Duration::from_secs(1), "{wait:?}");
    assert_eq!((subject.as_str(), description.as_str()), ("streams", "one caller may have 2 streams open"));
    watch("boards").await.expect("another caller's");
    soon("the next message", second.message()).await.expect("an open stream").expect("no end");
    // One that its reader has left counts no more.
    drop(first);
    until("room for a stream", async || watch("chat").await.is_ok()).await;
    server.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_and_who_comes_then_is_not_kept_waiting() {
    let server = Server::limiting(CallLimits { connections: 4, ..CallLimits::default() }).await;
    list(&server.channel(), "chat").await.expect("the first connection");
    let address = server.endpoint().strip_prefix("http://").expect("an address").to_owned();
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(&address).await.expect("a connection"));
    }
    // Taken one after the other, so the next one comes when these have their places.
    let mut refused = TcpStream::connect(&address).await.expect("the system answers");
    let end = soon("the end of the connection", refused.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "it is closed: {end:?}");
    list(&server.channel(), "chat").await.expect("who is connected does not notice");
    drop(silent);
    until("room for a connection", async || {
        let channel = tonic::transport::Endpoint::from_shared(server.endpoint()).expect("an endpoint");
        list(&channel.connect_lazy().into(), "chat").await.is_ok()
    })
    .await;
    server.stop().await;
}

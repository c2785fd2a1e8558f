//! The resuming watch of the client against a service that plays a script: cuts, gaps, silence and refusals exactly where
//! a test wants them.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use rollcall::proto::{
    AcknowledgeRequest, AcknowledgeResponse, AwaitEnforcementRequest, AwaitEnforcementResponse,
    CloseSubscriptionRequest, CloseSubscriptionResponse, Frame, GetEnforcementRequest,
    GetEnforcementResponse, GetMembershipAtRequest, GetMembershipAtResponse, ListChangesRequest,
    ListChangesResponse, ListDeparturesRequest, ListDeparturesResponse, ListSubscriptionsRequest,
    ListSubscriptionsResponse, WatchRequest,
    feed_service_server::{FeedService, FeedServiceServer},
};
use rollcall_client::{
    Event, Gap, Interruption, Watch, WatchError, WatchOptions, connect,
    v1::{Bookmark, ChangeBatch, Opened, SnapshotEnd, SnapshotPage, WatchResponse, watch_response::Message},
};
use tokio::net::TcpListener;
use tonic::{Code, Request, Response, Status, transport::Server, transport::server::TcpIncoming};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What one `Watch` call gets.
enum Call {
    /// These messages, and then this end; `None`: the stream stays open and says nothing more.
    Stream(Vec<WatchResponse>, Option<Status>),
    Refused(Status),
}

fn frames(messages: Vec<WatchResponse>) -> impl Iterator<Item = Result<Frame, Status>> {
    messages.into_iter().map(|message| Ok(Frame::from(message.encode_to_vec())))
}

#[derive(Clone, Default)]
struct Scripted {
    calls: Arc<Mutex<VecDeque<Call>>>,
    requests: Arc<Mutex<Vec<WatchRequest>>>,
}

#[tonic::async_trait]
impl FeedService for Scripted {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.requests.lock().unwrap().push(request.into_inner());
        let call = self.calls.lock().unwrap().pop_front();
        match call.unwrap_or_else(|| Call::Refused(Status::unimplemented("the script is at its end"))) {
            Call::Refused(status) => Err(status),
            Call::Stream(messages, Some(status)) => {
                let end = stream::iter([Err(status)]);
                Ok(Response::new(stream::iter(frames(messages)).chain(end).boxed()))
            }
            Call::Stream(messages, None) => {
                Ok(Response::new(stream::iter(frames(messages)).chain(stream::pending()).boxed()))
            }
        }
    }

    async fn acknowledge(
        &self,
        _: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    async fn close_subscription(
        &self,
        _: Request<CloseSubscriptionRequest>,
    ) -> Result<Response<CloseSubscriptionResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    async fn list_subscriptions(
        &self,
        _: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    type AwaitEnforcementStream = stream::Empty<Result<AwaitEnforcementResponse, Status>>;

    async fn await_enforcement(
        &self,
        _: Request<AwaitEnforcementRequest>,
    ) -> Result<Response<Self::AwaitEnforcementStream>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    async fn get_enforcement(
        &self,
        _: Request<GetEnforcementRequest>,
    ) -> Result<Response<GetEnforcementResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    async fn list_changes(
        &self,
        _: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    async fn get_membership_at(
        &self,
        _: Request<GetMembershipAtRequest>,
    ) -> Result<Response<GetMembershipAtResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    async fn list_departures(
        &self,
        _: Request<ListDeparturesRequest>,
    ) -> Result<Response<ListDeparturesResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    async fn report_lost_revocations(
        &self,
        _: Request<rollcall::proto::ReportLostRevocationsRequest>,
    ) -> Result<Response<rollcall::proto::ReportLostRevocationsResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    async fn list_lost_revocations(
        &self,
        _: Request<rollcall::proto::ListLostRevocationsRequest>,
    ) -> Result<Response<rollcall::proto::ListLostRevocationsResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }

    async fn resolve_lost_revocation(
        &self,
        _: Request<rollcall::proto::ResolveLostRevocationRequest>,
    ) -> Result<Response<rollcall::proto::ResolveLostRevocationResponse>, Status> {
        Err(Status::unimplemented("not in any script"))
    }
}

impl Scripted {
    /// Serves the script, and prepares a watch of it.
    async fn watch(calls: Vec<Call>, cursor: Option<&str>) -> (Self, Watch) {
        let scripted = Self { calls: Arc::new(Mutex::new(calls.into())), requests: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = FeedServiceServer::new(scripted.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
        let mut options = WatchOptions::new("chat");
        options.instance = Some("chat-1".to_owned());
        options.cursor = cursor.map(str::to_owned);
        let watch = Watch::new(connect(&endpoint).unwrap().channel(), options);
        (scripted, watch)
    }

    /// The cursor and the subscription that each call asked for.
    fn asked(&self) -> Vec<(String, String)> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|request| (request.cursor.clone(), request.subscription_id.clone())).collect()
    }
}

fn message(previous_cursor: &str, cursor: &str, message: Message) -> WatchResponse {
    WatchResponse {
        previous_cursor: previous_cursor.to_owned(),
        cursor: cursor.to_owned(),
        message: Some(message),
    }
}

fn opened(subscription_id: &str, snapshot_follows: bool) -> Message {
    Message::Opened(Opened {
        subscription_id: subscription_id.to_owned(),
        snapshot_follows,
        bookmark_interval: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
        ..Opened::default()
    })
}

fn bookmark(position: i64) -> Message {
    Message::Bookmark(Bookmark { position, ..Bookmark::default() })
}

fn batch(part: i32, more_parts: bool) -> Message {
    Message::Batch(ChangeBatch { changes: vec![], part, more_parts })
}

fn refusal(code: Code, reason: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "rollcall.v1", HashMap::new());
    Status::with_error_details(code, "scripted", details)
}

/// The events of a watch until the position was told.
async fn until_position(watch: &mut Watch, position: i64) -> Vec<Event> {
    let mut events = Vec::new();
    let following = async {
        loop {
            let event = watch.next().await.unwrap();
            events.push(event.clone());
            if matches!(event, Event::Bookmark(bookmark) if bookmark.position == position) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), following).await.expect("the position is told in time");
    events
}

/// Why the watch was disconnected, each time.
fn causes(events: Vec<Event>) -> Vec<Interruption> {
    events
        .into_iter()
        .filter_map(|event| match event {
            Event::Disconnected { cause, .. } => Some(cause),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn c6_a_cut_stream_is_resumed_from_the_last_cursor_with_the_same_subscription() {
    let snapshot = vec![
        message("", "", opened("s1", true)),
        message("", "", Message::SnapshotPage(SnapshotPage { index: 0, subjects: vec![] })),
        message("", "a", Message::SnapshotEnd(SnapshotEnd { pages: 1, position: 1, ready_position: 1 })),
        message("a", "b", bookmark(2)),
    ];
    let resumed = vec![message("b", "", opened("s1", false)), message("b", "c", bookmark(3))];
    let calls = vec![
        Call::Refused(Status::unavailable("not yet")),
        Call::Stream(snapshot, Some(Status::unavailable("SHUTTING_DOWN"))),
        Call::Stream(resumed, None),
    ];
    let (scripted, mut watch) = Scripted::watch(calls, None).await;
    let events = until_position(&mut watch, 3).await;
    assert_eq!(causes(events).len(), 2);
    let asked = [("", ""), ("", ""), ("b", "s1")].map(|(cursor, id)| (cursor.to_owned(), id.to_owned()));
    assert_eq!(scripted.asked(), asked);
    assert_eq!((watch.cursor(), watch.acknowledgeable()), (Some("c"), Some(("s1", "c"))));
}

#[tokio::test]
async fn a_subscription_that_has_ended_is_opened_anew() {
    for gone in [
        refusal(Code::FailedPrecondition, "SUBSCRIPTION_CLOSED"),
        refusal(Code::NotFound, "SUBSCRIPTION_NOT_FOUND"),
    ] {
        let calls = vec![
            Call::Stream(
                vec![message("a", "", opened("s1", false)), message("a", "b", bookmark(1))],
                Some(Status::unavailable("cut")),
            ),
            Call::Refused(gone),
            Call::Stream(vec![message("b", "", opened("s2", false)), message("b", "c", bookmark(2))], None),
        ];
        let (scripted, mut watch) = Scripted::watch(calls, Some("a")).await;
        until_position(&mut watch, 1).await;
        assert_eq!(watch.acknowledgeable(), Some(("s1", "b")));
        while !matches!(watch.next().await.unwrap(), Event::Opened(_)) {}
        // A cursor that came on the old subscription is none that the new one may acknowledge.
        assert_eq!((watch.subscription_id(), watch.acknowledgeable()), (Some("s2"), None));
        until_position(&mut watch, 2).await;
        assert_eq!(watch.acknowledgeable(), Some(("s2", "c")));
        let asked: Vec<_> = scripted.asked().into_iter().skip(1).collect();
        assert_eq!(asked, [("b".to_owned(), "s1".to_owned()), ("b".to_owned(), String::new())]);
    }
}

#[tokio::test]
async fn who_is_not_let_in_with_one_token_may_be_with_the_next() {
    let unknown = || refusal(Code::Unauthenticated, "CALLER_UNKNOWN");
    let calls = vec![
        Call::Refused(unknown()),
        Call::Stream(
            vec![message("a", "", opened("s1", false)), message("a", "b", bookmark(1))],
            Some(unknown()),
        ),
        Call::Stream(vec![message("b", "", opened("s1", false)), message("b", "c", bookmark(2))], None),
    ];
    let (scripted, mut watch) = Scripted::watch(calls, Some("a")).await;
    assert_eq!(causes(until_position(&mut watch, 2).await).len(), 2);
    let asked = [("a", ""), ("a", ""), ("b", "s1")].map(|(cursor, id)| (cursor.to_owned(), id.to_owned()));
    assert_eq!(scripted.asked(), asked);
}

#[tokio::test]
async fn c3_after_a_gap_the_watch_resumes_from_its_own_cursor() {
    let lost = vec![message("a", "", opened("s1", false)), message("b", "c", bookmark(9))];
    let whole = vec![message("a", "", opened("s1", false)), message("a", "b", bookmark(1))];
    let (scripted, mut watch) =
        Scripted::watch(vec![Call::Stream(lost, None), Call::Stream(whole, None)], Some("a")).await;
    let events = until_position(&mut watch, 1).await;
    assert!(matches!(causes(events)[..], [Interruption::Gap(Gap::Cursor)]));
    assert!(scripted.asked().iter().all(|(cursor, _)| cursor == "a"));
}

#[tokio::test]
async fn c4_a_command_cut_between_its_parts_is_sent_again_from_before_it() {
    let half = vec![message("a", "", opened("s1", false)), message("a", "", batch(0, true))];
    let whole = vec![
        message("a", "", opened("s1", false)),
        message("a", "", batch(0, true)),
        message("a", "b", batch(1, false)),
        message("b", "c", bookmark(5)),
    ];
    let calls = vec![Call::Stream(half, Some(Status::unavailable("cut"))), Call::Stream(whole, None)];
    let (scripted, mut watch) = Scripted::watch(calls, Some("a")).await;
    until_position(&mut watch, 5).await;
    assert_eq!(scripted.asked()[1].0, "a");
}

#[tokio::test]
async fn c9_silence_is_a_dead_connection_also_for_a_caller_who_polls_often() {
    let silent = vec![message("a", "", opened("s1", false))];
    let alive = vec![message("a", "", opened("s1", false)), message("a", "b", bookmark(1))];
    let (_scripted, mut watch) =
        Scripted::watch(vec![Call::Stream(silent, None), Call::Stream(alive, None)], Some("a")).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let mut causes = Vec::new();
    loop {
        tokio::select! {
            // Drops the pending call of `next` again and again, which must neither lose a message nor forget the time.
            biased;
            _ = ticks.tick() => {}
            event = watch.next() => match event.unwrap() {
                Event::Disconnected { cause, .. } => causes.push(cause),
                Event::Bookmark(_) => break,
                _ => {}
            }
        }
    }
    assert!(matches!(causes[0], Interruption::Silent(silence) if silence == Duration::from_millis(150)));
}

#[tokio::test]
async fn what_does_not_heal_ends_the_watch_with_its_reason() {
    let cases = [
        (refusal(Code::FailedPrecondition, "CURSOR_WRONG_STORE"), "another store"),
        (refusal(Code::FailedPrecondition, "CURSOR_FORKED"), "a snapshot is needed"),
        (refusal(Code::FailedPrecondition, "CURSOR_COMPACTED"), "a snapshot is needed"),
        (refusal(Code::NotFound, "APP_NOT_FOUND"), "no app called \"chat\" is registered"),
        (refusal(Code::InvalidArgument, "INVALID_FIELD"), "INVALID_FIELD: scripted"),
        (refusal(Code::FailedPrecondition, "SUBSCRIPTION_CLOSED"), "SUBSCRIPTION_CLOSED: scripted"),
        (Status::permission_denied("no"), "PermissionDenied: no"),
    ];
    for (status, expected) in cases {
        let (_scripted, mut watch) = Scripted::watch(vec![Call::Refused(status)], Some("a")).await;
        let error = watch.next().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(watch.cursor(), Some("a"));
    }
    // An open stream that ends so is called again, and that call asks for the snapshot.
    let forked = Call::Stream(
        vec![message("a", "", opened("s1", false))],
        Some(refusal(Code::FailedPrecondition, "CURSOR_FORKED")),
    );
    let anew = Call::Stream(vec![message("", "", opened("s1", true))], None);
    let (scripted, mut watch) = Scripted::watch(vec![forked, anew], Some("a")).await;
    assert!(matches!(watch.next().await.unwrap(), Event::Opened(_)));
    assert!(matches!(watch.next().await.unwrap(), Event::Disconnected { .. }));
    assert!(matches!(watch.next().await.unwrap(), Event::Opened(opened) if opened.snapshot_follows));
    assert_eq!(scripted.asked()[1].0, "a");
    let taken_over = Call::Stream(
        vec![message("a", "", opened("s1", false))],
        Some(refusal(Code::Aborted, "SUBSCRIPTION_REPLACED")),
    );
    let (_scripted, mut watch) = Scripted::watch(vec![taken_over], Some("a")).await;
    watch.next().await.unwrap();
    assert!(matches!(watch.next().await, Err(WatchError::Replaced { .. })));
}

//! A service in this process whose every answer the test says: what a real one cannot be brought to do on purpose.

#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use prost::Message as _;
use rollcall_client::{
    Client,
    v1::{watch_response::Message, *},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnboundedReceiverStream};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{Service, http},
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
    transport::{Endpoint, Server},
};
use tonic_prost::ProstCodec;

pub(crate) type Sending = mpsc::Sender<Result<WatchResponse, Status>>;
type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Acknowledging = Box<dyn FnMut(&AcknowledgeRequest) -> Result<AcknowledgeResponse, Status> + Send>;
type Reporting = Box<dyn FnMut(&ReportLostRevocationsRequest) -> Vec<String> + Send>;

/// What the service was called with, and what it answers.
pub(crate) struct Script {
    opened: mpsc::UnboundedSender<(WatchRequest, Sending)>,
    acknowledging: Mutex<Acknowledging>,
    reporting: Mutex<Reporting>,
    pub(crate) acknowledged: watch::Sender<Vec<AcknowledgeRequest>>,
    pub(crate) reported: watch::Sender<Vec<ReportLostRevocationsRequest>>,
    pub(crate) closed: watch::Sender<Vec<CloseSubscriptionRequest>>,
    /// Whether acknowledgements with receipts are never answered.
    pub(crate) receipts_hang: AtomicBool,
    /// Whether new connections are refused.
    pub(crate) away: AtomicBool,
}

/// The streams that were opened, in their order.
pub(crate) type Streams = mpsc::UnboundedReceiver<(WatchRequest, Sending)>;

/// How long a lease of the script lasts.
pub(crate) const TTL: Duration = Duration::from_secs(30);

/// A service that grants a full lease for whatever is acknowledged, and a client of it.
pub(crate) fn start() -> (Arc<Script>, Streams, Client) {
    let (script, streams) = make();
    let (connections, incoming) = mpsc::unbounded_channel();
    let server = Server::builder().add_service(Feed(Arc::clone(&script)));
    tokio::spawn(server.serve_with_incoming(UnboundedReceiverStream::new(incoming)));
    let of_connector = Arc::clone(&script);
    let channel =
        Endpoint::from_static("http://script").connect_with_connector_lazy(tower::service_fn(move |_| {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let away = of_connector.away.load(Ordering::SeqCst);
            let connected = !away && connections.send(Ok::<_, std::io::Error>(theirs)).is_ok();
            std::future::ready(if connected {
                Ok(TokioIo::new(ours))
            } else {
                Err(std::io::Error::other("away"))
            })
        }));
    (script, streams, channel.into())
}

fn make() -> (Arc<Script>, Streams) {
    let (opened, streams) = mpsc::unbounded_channel();
    let script = Arc::new(Script {
        opened,
        acknowledging: Mutex::new(Box::new(|_| Ok(granted(TTL)))),
        reporting: Mutex::new(Box::new(|_| Vec::new())),
        acknowledged: watch::Sender::default(),
        reported: watch::Sender::default(),
        closed: watch::Sender::default(),
        receipts_hang: AtomicBool::new(false),
        away: AtomicBool::new(false),
    });
    (script, streams)
}

/// As [`start`], for a client in another process: with its address.
pub(crate) async fn listen() -> (Arc<Script>, Streams, String) {
    let (script, streams) = make();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder().add_service(Feed(Arc::clone(&script)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (script, streams, endpoint)
}

pub(crate) fn granted(lease: Duration) -> AcknowledgeResponse {
    AcknowledgeResponse { lease_duration: lease.try_into().ok(), ..AcknowledgeResponse::default() }
}

impl Script {
    /// What acknowledgements are answered with from here on.
    pub(crate) fn on_acknowledge(
        &self,
        answer: impl FnMut(&AcknowledgeRequest) -> Result<AcknowledgeResponse, Status> + Send + 'static,
    ) {
        *self.acknowledging.lock().unwrap() = Box::new(answer);
    }

    /// Which of the reported changes are decided.
    pub(crate) fn on_report(
        &self,
        answer: impl FnMut(&ReportLostRevocationsRequest) -> Vec<String> + Send + 'static,
    ) {
        *self.reporting.lock().unwrap() = Box::new(answer);
    }

    /// Waits until this cursor, and a receipt for each of these changes, was acknowledged.
    pub(crate) async fn acknowledged(&self, cursor: &str, change_ids: &[&str]) -> Vec<Receipt> {
        let mut calls = self.acknowledged.subscribe();
        let receipts = |calls: &[AcknowledgeRequest]| -> Vec<Receipt> {
            calls.iter().flat_map(|call| call.receipts.iter().cloned()).collect()
        };
        let calls = calls
            .wait_for(|calls| {
                calls.iter().any(|call| call.applied_cursor == cursor)
                    && change_ids
                        .iter()
                        .all(|id| receipts(calls).iter().any(|receipt| receipt.change_id == *id))
            })
            .await
            .unwrap();
        receipts(&calls)
    }
}

/// One stream, as the service sends it: cursors chain by themselves.
pub(crate) struct Stream {
    sending: Sending,
    cursor: String,
    pages: i32,
    pub(crate) request: WatchRequest,
}

impl Stream {
    pub(crate) async fn next(streams: &mut Streams) -> Self {
        let (request, sending) = streams.recv().await.unwrap();
        Self { sending, cursor: request.cursor.clone(), pages: 0, request }
    }

    /// Opens with what an app has that is registered without anything special.
    pub(crate) async fn open(&mut self, subscription_id: &str, snapshot_follows: bool) {
        let opened = Opened {
            store_id: "store".into(),
            subscription_id: subscription_id.into(),
            snapshot_follows,
            bookmark_interval: Duration::from_secs(1).try_into().ok(),
            lease_ttl: TTL.try_into().ok(),
            ..Opened::default()
        };
        self.open_with(opened).await;
    }

    pub(crate) async fn open_with(&mut self, opened: Opened) {
        self.send("", Message::Opened(opened)).await;
    }

    pub(crate) async fn page(&mut self, subjects: Vec<Subject>) {
        self.pages += 1;
        self.send("", Message::SnapshotPage(SnapshotPage { index: self.pages - 1, subjects })).await;
    }

    pub(crate) async fn end(&mut self, cursor: &str, position: i64, ready_position: i64) {
        let end = SnapshotEnd { pages: self.pages, position, ready_position };
        self.send(cursor, Message::SnapshotEnd(end)).await;
    }

    pub(crate) async fn batch(&mut self, cursor: &str, changes: Vec<Change>) {
        self.send(cursor, Message::Batch(ChangeBatch { changes, part: 0, more_parts: false })).await;
    }

    pub(crate) async fn part(&mut self, part: i32, changes: Vec<Change>) {
        self.send("", Message::Batch(ChangeBatch { changes, part, more_parts: true })).await;
    }

    pub(crate) async fn last_part(&mut self, cursor: &str, part: i32, changes: Vec<Change>) {
        self.send(cursor, Message::Batch(ChangeBatch { changes, part, more_parts: false })).await;
    }

    pub(crate) async fn bookmark(&mut self, cursor: &str, position: i64) {
        self.send(cursor, Message::Bookmark(Bookmark { position, ..Bookmark::default() })).await;
    }

    pub(crate) async fn digest(&mut self, cursor: &str, position: i64, digest: Vec<u8>) {
        self.old_digest(cursor, position, position, digest).await;
    }

    pub(crate) async fn old_digest(
        &mut self,
        cursor: &str,
        position: i64,
        digest_position: i64,
        digest: Vec<u8>,
    ) {
        let bookmark = Bookmark { position, digest, digest_position };
        self.send(cursor, Message::Bookmark(bookmark)).await;
    }

    pub(crate) async fn fail(self, status: Status) {
        let _ = self.sending.send(Err(status)).await;
    }

    /// Waits until the client ends the stream.
    pub(crate) async fn hung_up(&self) {
        self.sending.closed().await;
    }

    async fn send(&mut self, cursor: &str, message: Message) {
        let previous_cursor = std::mem::take(&mut self.cursor);
        // Where a snapshot takes the place of a cursor, there is none before it.
        let snapshot = matches!(message, Message::SnapshotPage(_) | Message::SnapshotEnd(_));
        let previous_cursor = if snapshot { String::new() } else { previous_cursor };
        self.cursor = if cursor.is_empty() { previous_cursor.clone() } else { cursor.to_owned() };
        let response = WatchResponse { previous_cursor, cursor: cursor.to_owned(), message: Some(message) };
        assert!(response.encoded_len() < 4 << 20);
        // The client may have hung up: the test says so where it matters.
        let _ = self.sending.send(Ok(response)).await;
    }
}

/// A refusal as the service makes it.
pub(crate) fn refusal(code: tonic::Code, reason: &str) -> Status {
    use tonic_types::{ErrorDetails, StatusExt as _};
    let details = ErrorDetails::with_error_info(reason, "rollcall.v1", std::collections::HashMap::new());
    Status::with_error_details(code, reason, details)
}

#[derive(Clone)]
struct Feed(Arc<Script>);

impl NamedService for Feed {
    const NAME: &'static str = "rollcall.v1.FeedService";
}

impl Service<http::Request<Body>> for Feed {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let script = Arc::clone(&self.0);
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match method.as_str() {
                "Watch" => Grpc::new(ProstCodec::default()).server_streaming(Watching(script), request).await,
                "Acknowledge" => Grpc::new(ProstCodec::default()).unary(Acknowledged(script), request).await,
                "CloseSubscription" => {
                    let answer = move |request: CloseSubscriptionRequest| {
                        script.closed.send_modify(|calls| calls.push(request));
                        Ok(CloseSubscriptionResponse {})
                    };
                    Grpc::new(ProstCodec::default()).unary(Unary(answer, Default::default()), request).await
                }
                "ReportLostRevocations" => {
                    let answer = move |request: ReportLostRevocationsRequest| {
                        let resolved_change_ids = (script.reporting.lock().unwrap())(&request);
                        script.reported.send_modify(|calls| calls.push(request));
                        Ok(ReportLostRevocationsResponse { resolved_change_ids })
                    };
                    Grpc::new(ProstCodec::default()).unary(Unary(answer, Default::default()), request).await
                }
                other => panic!("nobody calls {other}"),
            })
        })
    }
}

struct Watching(Arc<Script>);

impl ServerStreamingService<WatchRequest> for Watching {
    type Response = WatchResponse;
    type ResponseStream = ReceiverStream<Result<WatchResponse, Status>>;
    type Future = Answer<Self::ResponseStream>;

    fn call(&mut self, request: Request<WatchRequest>) -> Self::Future {
        let (sending, messages) = mpsc::channel(16);
        let _ = self.0.opened.send((request.into_inner(), sending));
        Box::pin(std::future::ready(Ok(Response::new(ReceiverStream::new(messages)))))
    }
}

struct Acknowledged(Arc<Script>);

impl UnaryService<AcknowledgeRequest> for Acknowledged {
    type Response = AcknowledgeResponse;
    type Future = Answer<AcknowledgeResponse>;

    fn call(&mut self, request: Request<AcknowledgeRequest>) -> Self::Future {
        let request = request.into_inner();
        if self.0.receipts_hang.load(Ordering::SeqCst) && !request.receipts.is_empty() {
            return Box::pin(std::future::pending());
        }
        let answer = (self.0.acknowledging.lock().unwrap())(&request);
        self.0.acknowledged.send_modify(|calls| calls.push(request));
        Box::pin(std::future::ready(answer.map(Response::new)))
    }
}

struct Unary<F, Q>(F, std::marker::PhantomData<fn(Q)>);

impl<F, Q, A> UnaryService<Q> for Unary<F, Q>
where
    F: FnMut(Q) -> Result<A, Status>,
    Q: prost::Message,
    A: prost::Message + Send + 'static,
{
    type Response = A;
    type Future = Answer<A>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answer = (self.0)(request.into_inner()).map(Response::new);
        Box::pin(std::future::ready(answer))
    }
}

//! The service's side of a script: a `FeedService` that knows nobody, and says what the script tells it to.
//!
//! It is a tool for trying instances, and stands in for no service: it has no log, no rules and no leases of its own. What
//! it does by itself is what every instance may rely on: it refuses a subscription that it never gave, and a cursor that
//! was not sent on that subscription.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollcall_client::v1::ErrorReason;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::proto::{
    AcknowledgeRequest, AcknowledgeResponse, AwaitEnforcementRequest, AwaitEnforcementResponse,
    CloseSubscriptionRequest, CloseSubscriptionResponse, Frame, GetEnforcementRequest,
    GetEnforcementResponse, GetMembershipAtRequest, GetMembershipAtResponse, ListChangesRequest,
    ListChangesResponse, ListDeparturesRequest, ListDeparturesResponse, ListLostRevocationsRequest,
    ListLostRevocationsResponse, ListSubscriptionsRequest, ListSubscriptionsResponse, Receipt,
    ReportLostRevocationsRequest, ReportLostRevocationsResponse, ResolveLostRevocationRequest,
    ResolveLostRevocationResponse, WatchRequest, feed_service_server::FeedService,
};

/// The messages of a stream on their way. A script sends fewer than this at once.
const QUEUE: usize = 256;
/// `Watch` calls that the script has not looked at. An instance has one.
pub(super) const CALLS: usize = 16;

pub(super) type Messages = mpsc::Sender<Result<Frame, Status>>;
type Frames = mpsc::Receiver<Result<Frame, Status>>;
type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A `Watch` that waits for what the script says to it. Dropped, it is UNAVAILABLE.
pub(super) struct WatchCall {
    pub(super) request: WatchRequest,
    pub(super) at: Instant,
    answer: oneshot::Sender<Result<Frames, Status>>,
}

impl WatchCall {
    /// Opens the stream.
    pub(super) fn accept(self) -> Messages {
        let (messages, frames) = mpsc::channel(QUEUE);
        // Gone already: then the stream is as good as cut, and the script sees that nothing comes of it.
        let _ = self.answer.send(Ok(frames));
        messages
    }

    /// Refuses to open it.
    pub(super) fn refuse(self, status: Status) {
        let _ = self.answer.send(Err(status));
    }
}

/// What an `Acknowledge` is answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A lease of so long.
    Lease(Duration),
    /// The same, after a time.
    Late { wait: Duration, lease: Duration },
    /// Nothing, ever.
    Never,
    /// A refusal.
    Refused(Status),
}

/// An `Acknowledge` that came.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    pub(super) at: Instant,
    pub(super) subscription: String,
    pub(super) cursor: String,
    pub(super) receipts: Vec<Receipt>,
    /// The position of the cursor. None: the cursor was not sent on this subscription, or nothing is known of that one.
    pub(super) position: Option<i64>,
    /// How many were under way when it came, this one included.
    pub(super) under_way: usize,
    /// Whether it was answered with a lease.
    pub(super) leased: bool,
    /// Whether it gets no answer.
    pub(super) hung: bool,
    /// When it was answered, or given up by the instance.
    pub(super) over: Option<Instant>,
}

/// Everything that came, and what to say to what comes.
#[derive(Debug)]
struct Book {
    /// The cursors that were sent on each subscription, each with its position.
    subscriptions: HashMap<String, Vec<(String, i64)>>,
    closed: Vec<String>,
    answers: VecDeque<Answer>,
    otherwise: Answer,
    /// Whether the next `Acknowledge` with receipts is answered UNAVAILABLE.
    lose_receipts: bool,
    acknowledged: Vec<Acknowledged>,
    closing: Vec<CloseSubscriptionRequest>,
    reported: Vec<ReportLostRevocationsRequest>,
    /// After how long a report is answered with that all of it is resolved. None: that nothing is.
    resolve: Option<Duration>,
}

/// The desk: shared by the server's handlers and the script.
pub(super) struct Desk {
    book: Mutex<Book>,
    changed: watch::Sender<()>,
    calls: mpsc::Sender<WatchCall>,
}

impl Desk {
    pub(super) fn new(calls: mpsc::Sender<WatchCall>, lease: Duration) -> Arc<Self> {
        let book = Book {
            subscriptions: HashMap::new(),
            closed: Vec::new(),
            answers: VecDeque::new(),
            otherwise: Answer::Lease(lease),
            lose_receipts: false,
            acknowledged: Vec::new(),
            closing: Vec::new(),
            reported: Vec::new(),
            resolve: None,
        };
        Arc::new(Self { book: Mutex::new(book), changed: watch::Sender::new(()), calls })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A script that panicked leaves nothing half written.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new subscription.
    pub(super) fn subscribe(&self, subscription: &str) {
        self.book().subscriptions.entry(subscription.to_owned()).or_default();
    }

    /// Whether it is one that this desk gave and did not close.
    pub(super) fn is_live(&self, subscription: &str) -> bool {
        let book = self.book();
        book.subscriptions.contains_key(subscription)
            && !book.closed.iter().any(|closed| closed == subscription)
    }

    /// From here on the subscription gets SUBSCRIPTION_CLOSED.
    pub(super) fn close(&self, subscription: &str) {
        self.book().closed.push(subscription.to_owned());
    }

    /// The cursor was sent on the subscription.
    pub(super) fn sent(&self, subscription: &str, cursor: &str, position: i64) {
        let mut book = self.book();
        book.subscriptions.entry(subscription.to_owned()).or_default().push((cursor.to_owned(), position));
    }

    /// The position of a cursor, on whichever subscription it was sent.
    pub(super) fn position_of(&self, cursor: &str) -> Option<i64> {
        let book = self.book();
        let mut cursors = book.subscriptions.values().flatten();
        cursors.find(|(sent, _)| sent == cursor).map(|(_, position)| *position)
    }

    /// What each further `Acknowledge` is answered.
    pub(super) fn answer_all(&self, answer: Answer) {
        let mut book = self.book();
        book.answers.clear();
        book.otherwise = answer;
    }

    /// What the next `Acknowledge` is answered, before what all others are.
    pub(super) fn answer_next(&self, answer: Answer) {
        self.book().answers.push_back(answer);
    }

    /// Answers the next `Acknowledge` with receipts UNAVAILABLE.
    pub(super) fn lose_receipts(&self) {
        self.book().lose_receipts = true;
    }

    /// Answers reports of lost revocations, after a time, with that they are resolved.
    pub(super) fn resolve_after(&self, wait: Duration) {
        self.book().resolve = Some(wait);
    }

    /// All that was acknowledged, in the order in which it came.
    pub(super) fn acknowledged(&self) -> Vec<Acknowledged> {
        self.book().acknowledged.clone()
    }

    /// All calls of `CloseSubscription`.
    pub(super) fn closing(&self) -> Vec<CloseSubscriptionRequest> {
        self.book().closing.clone()
    }

    /// All reports of lost revocations.
    pub(super) fn reported(&self) -> Vec<ReportLostRevocationsRequest> {
        self.book().reported.clone()
    }

    /// Waits until `found` finds something in what came. `None`: not within the time.
    pub(super) async fn find<T>(&self, within: Duration, found: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let search = async {
            loop {
                if let Some(found) = found(self) {
                    return Some(found);
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::time::timeout(within, search).await.ok().flatten()
    }

    /// Takes down an `Acknowledge`, and decides about it.
    fn receive(&self, request: AcknowledgeRequest) -> (usize, Result<(i64, Answer), Status>) {
        let mut book = self.book();
        let AcknowledgeRequest { subscription_id, applied_cursor, receipts } = request;
        let cursors = book.subscriptions.get(&subscription_id);
        let position = cursors
            .and_then(|cursors| cursors.iter().find(|(cursor, _)| *cursor == applied_cursor))
            .map(|(_, position)| *position);
        let verdict = if cursors.is_none() {
            Err(refusal(Code::NotFound, ErrorReason::SubscriptionNotFound, &[("resource", &subscription_id)]))
        } else if book.closed.contains(&subscription_id) {
            Err(closed(&subscription_id, Code::FailedPrecondition))
        } else {
            position.ok_or_else(|| {
                refusal(Code::InvalidArgument, ErrorReason::CursorInvalid, &[("field", "applied_cursor")])
            })
        };
        let verdict = verdict.map(|position| {
            if book.lose_receipts && !receipts.is_empty() {
                book.lose_receipts = false;
                return (position, Answer::Refused(unavailable(Duration::from_millis(200))));
            }
            let answer = book.answers.pop_front().unwrap_or_else(|| book.otherwise.clone());
            (position, answer)
        });
        let under_way = book.acknowledged.iter().filter(|call| call.over.is_none()).count() + 1;
        book.acknowledged.push(Acknowledged {
            at: Instant::now(),
            subscription: subscription_id,
            cursor: applied_cursor,
            receipts,
            position,
            under_way,
            leased: false,
            hung: matches!(verdict, Ok((_, Answer::Never))),
            over: None,
        });
        let number = book.acknowledged.len() - 1;
        drop(book);
        self.changed.send_replace(());
        (number, verdict)
    }
}

/// An `Acknowledge` under way. Dropped when it is answered, and also when the instance gives it up.
struct UnderWay<'a> {
    desk: &'a Desk,
    number: usize,
}

impl UnderWay<'_> {
    fn lease(&self, position: i64, lease: Duration) -> Result<Response<AcknowledgeResponse>, Status> {
        self.desk.book().acknowledged[self.number].leased = true;
        let lease_duration = prost_types::Duration::try_from(lease).ok();
        Ok(Response::new(AcknowledgeResponse {
            applied_position: position,
            head_position: position,
            lease_duration,
        }))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.desk.book().acknowledged[self.number].over = Some(Instant::now());
        self.desk.changed.send_replace(());
    }
}

/// The desk as a service.
pub(super) struct Service(pub(super) Arc<Desk>);

#[tonic::async_trait]
impl FeedService for Service {
    type WatchStream = Streaming<Frame>;
    type AwaitEnforcementStream = Streaming<AwaitEnforcementResponse>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (answer, decided) = oneshot::channel();
        let call = WatchCall { request: request.into_inner(), at: Instant::now(), answer };
        self.0.calls.send(call).await.map_err(|_| over())?;
        let frames = decided.await.map_err(|_| over())??;
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(frames))))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        let (number, verdict) = self.0.receive(request.into_inner());
        let call = UnderWay { desk: &self.0, number };
        let (position, answer) = verdict?;
        match answer {
            Answer::Lease(lease) => call.lease(position, lease),
            Answer::Late { wait, lease } => {
                tokio::time::sleep(wait).await;
                call.lease(position, lease)
            }
            Answer::Never => std::future::pending().await,
            Answer::Refused(status) => Err(status),
        }
    }

    async fn close_subscription(
        &self,
        request: Request<CloseSubscriptionRequest>,
    ) -> Result<Response<CloseSubscriptionResponse>, Status> {
        self.0.book().closing.push(request.into_inner());
        self.0.changed.send_replace(());
        Ok(Response::new(CloseSubscriptionResponse {}))
    }

    async fn report_lost_revocations(
        &self,
        request: Request<ReportLostRevocationsRequest>,
    ) -> Result<Response<ReportLostRevocationsResponse>, Status> {
        let request = request.into_inner();
        let resolve = {
            let mut book = self.0.book();
            book.reported.push(request.clone());
            book.resolve
        };
        self.0.changed.send_replace(());
        let mut resolved_change_ids = Vec::new();
        if let Some(wait) = resolve {
            tokio::time::sleep(wait).await;
            resolved_change_ids = request.revocations.into_iter().map(|lost| lost.change_id).collect();
        }
        Ok(Response::new(ReportLostRevocationsResponse { resolved_change_ids }))
    }

    // What no instance needs.

    async fn list_subscriptions(
        &self,
        _: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsResponse>, Status> {
        Err(unscripted())
    }

    async fn await_enforcement(
        &self,
        _: Request<AwaitEnforcementRequest>,
    ) -> Result<Response<Self::AwaitEnforcementStream>, Status> {
        Err(unscripted())
    }

    async fn get_enforcement(
        &self,
        _: Request<GetEnforcementRequest>,
    ) -> Result<Response<GetEnforcementResponse>, Status> {
        Err(unscripted())
    }

    async fn list_lost_revocations(
        &self,
        _: Request<ListLostRevocationsRequest>,
    ) -> Result<Response<ListLostRevocationsResponse>, Status> {
        Err(unscripted())
    }

    async fn resolve_lost_revocation(
        &self,
        _: Request<ResolveLostRevocationRequest>,
    ) -> Result<Response<ResolveLostRevocationResponse>, Status> {
        Err(unscripted())
    }

    async fn list_changes(
        &self,
        _: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        Err(unscripted())
    }

    async fn get_membership_at(
        &self,
        _: Request<GetMembershipAtRequest>,
    ) -> Result<Response<GetMembershipAtResponse>, Status> {
        Err(unscripted())
    }

    async fn list_departures(
        &self,
        _: Request<ListDeparturesRequest>,
    ) -> Result<Response<ListDeparturesResponse>, Status> {
        Err(unscripted())
    }
}

fn unscripted() -> Status {
    Status::unimplemented("this is a script for trying instances, which need no such call")
}

fn over() -> Status {
    Status::unavailable("the script is over")
}

/// A refusal, as the service makes it.
pub(super) fn refusal(code: Code, reason: ErrorReason, metadata: &[(&str, &str)]) -> Status {
    Status::with_error_details(code, "the script says so", details(reason, metadata))
}

/// UNAVAILABLE, with when to come again.
pub(super) fn unavailable(retry: Duration) -> Status {
    let mut details = details(ErrorReason::DatabaseUnavailable, &[]);
    details.set_retry_info(Some(retry));
    Status::with_error_details(Code::Unavailable, "the script says so", details)
}

/// SUBSCRIPTION_CLOSED: FAILED_PRECONDITION on a call, ABORTED on an open stream.
pub(super) fn closed(subscription: &str, code: Code) -> Status {
    refusal(code, ErrorReason::SubscriptionClosed, &[("resource", subscription)])
}

fn details(reason: ErrorReason, metadata: &[(&str, &str)]) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.as_str_name().trim_start_matches("ERROR_REASON_"), "rollcall.v1", metadata);
    details
}

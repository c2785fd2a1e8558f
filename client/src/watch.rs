//! A watch that survives cut connections: it resumes from its last cursor and hands out every message once per stream,
//! in order, without gaps.
//!
//! - The cursor moves when the caller has been given the message, not when it arrived.
//! - Each message is checked to follow the one before ([`Gap`]); after a gap the stream is dropped and resumed.
//! - Three times the promised bookmark interval without a message is a dead connection.
//! - [`Watch::next`] may be dropped at any await and called again; nothing is lost by it.
//!
//! Applying the messages is left to the caller, to [`crate::Tables`] or to [`crate::Replica`], which does the watching as well.

use std::{error::Error as _, future::Future, pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep};
use tonic::{Code, Response, Status, Streaming};

mod chain;
mod event;
mod stream;

pub use chain::Gap;
pub use event::{Event, Interruption, WatchError, WatchOptions};

use crate::{
    Client,
    backoff::Backoff,
    status,
    v1::{ErrorReason, WatchRequest, WatchResponse, watch_response::Message},
};
use event::Verdict;
use stream::OpenStream;

/// The first wait after a cut: a restarted service is back within this order of magnitude.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait: how much later than possible a client may notice that the service is back.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long the service may take to answer a `Watch` before the attempt counts as lost.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a caller who goes on after [`WatchError::AppNotFound`] asks again.
const AWAIT_APP: Duration = Duration::from_secs(1);

type Opening = Pin<Box<dyn Future<Output = Result<Response<Streaming<WatchResponse>>, Status>> + Send>>;

/// The stream of one app, across as many connections as it takes.
pub struct Watch {
    client: Client,
    /// The endpoint that the current stream, or its opening, uses.
    turn: usize,
    options: WatchOptions,
    subscription_id: Option<String>,
    /// The store of the cursor. Empty: not known.
    store_id: String,
    /// A snapshot is asked for although there is a cursor.
    anew: bool,
    /// The newest cursor that came on this subscription: what [`Watch::acknowledgeable`] gives.
    delivered: Option<String>,
    backoff: Backoff,
    phase: Phase,
}

/// Where the watch is. Each phase owns what it awaits, so that a dropped `next` goes on where it was.
enum Phase {
    Pausing(Pin<Box<Sleep>>),
    Opening(Opening),
    Open(Box<OpenStream>),
}

/// What one step of a phase led to.
enum Step {
    Call,
    Opened(Streaming<WatchResponse>),
    Message(WatchResponse),
    Cut(Interruption),
}

impl Watch {
    /// Prepares a watch; the first [`Watch::next`] opens it.
    #[must_use]
    pub fn new(client: impl Into<Client>, options: WatchOptions) -> Self {
        let client = client.into();
        Self {
            turn: client.turn(),
            client,
            options,
            subscription_id: None,
            store_id: String::new(),
            anew: false,
            delivered: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            phase: pause(Duration::ZERO),
        }
    }

    /// The next message, or that the connection was lost and will be made again ([`Event::Disconnected`]).
    ///
    /// # Errors
    ///
    /// What does not heal by trying again. Calling `next` after an error tries again all the same, after a pause.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        loop {
            match self.step().await {
                Step::Call => self.phase = Phase::Opening(self.open()),
                Step::Opened(messages) => {
                    let cursor = self.options.cursor.clone();
                    self.phase = Phase::Open(Box::new(OpenStream::new(messages, cursor)));
                }
                Step::Message(response) => return self.take(response),
                Step::Cut(cause) => {
                    if let Some(event) = self.interrupted(cause)? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// The cursor of the last message with one that `next` has given: where a new watch would resume.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.options.cursor.as_deref()
    }

    /// What `Acknowledge` may be called with once everything given so far was applied: the subscription and the last
    /// cursor that came on it. `None` for an observer, and before the subscription's first cursor.
    #[must_use]
    pub fn acknowledgeable(&self) -> Option<(&str, &str)> {
        Some((self.subscription_id.as_deref()?, self.delivered.as_deref()?))
    }

    /// The current subscription. `None` for an observer, and before the first stream.
    #[must_use]
    pub fn subscription_id(&self) -> Option<&str> {
        self.subscription_id.as_deref()
    }

    async fn step(&mut self) -> Step {
        match &mut self.phase {
            Phase::Pausing(sleep) => {
                sleep.as_mut().await;
                Step::Call
            }
            Phase::Opening(call) => match call.as_mut().await {
                Ok(response) => Step::Opened(response.into_inner()),
                Err(status) => Step::Cut(Interruption::Status(Box::new(status))),
            },
            Phase::Open(stream) => match stream.next().await {
                Ok(response) => Step::Message(response),
                Err(cause) => Step::Cut(cause),
            },
        }
    }

    /// Ends the stream and opens it again, at once, from the last cursor.
    pub(crate) fn reopen(&mut self) {
        self.phase = pause(Duration::ZERO);
    }

    /// Forgets the subscription, which the service has ended, and opens a new one that resumes from the last cursor.
    pub(crate) fn resubscribe(&mut self) {
        self.subscription_id = None;
        self.delivered = None;
        self.reopen();
    }

    /// Begins after this cursor of this store. Before the first stream only.
    pub(crate) fn resume(&mut self, cursor: String, store_id: String) {
        self.options.cursor = Some(cursor);
        self.store_id = store_id;
    }

    /// Asks for a snapshot instead of what follows the last cursor, which the service judges all the same: behind it there
    /// may be another history.
    pub(crate) fn resync(&mut self) {
        self.anew = true;
        self.reopen();
    }

    fn open(&mut self) -> Opening {
        let request = WatchRequest {
            app: self.options.app.clone(),
            instance: self.options.instance.clone().unwrap_or_default(),
            subscription_id: self.subscription_id.clone().unwrap_or_default(),
            organization_ids: self.options.organization_ids.clone(),
            cursor: self.options.cursor.clone().unwrap_or_default(),
            snapshot_if_refused: self.options.snapshot_if_refused,
            include_profiles: self.options.include_profiles,
            snapshot_anyway: self.anew,
        };
        self.turn = self.client.turn();
        let mut feed = self.client.feed();
        Box::pin(async move {
            match tokio::time::timeout(OPEN_TIMEOUT, feed.watch(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::deadline_exceeded("the service did not open the stream in time")),
            }
        })
    }

    /// Hands a message that was checked to the caller: from here on it counts as taken. No await from its arrival to
    /// here, so a dropped `next` has either not received it or given it.
    fn take(&mut self, response: WatchResponse) -> Result<Event, WatchError> {
        let WatchResponse { previous_cursor: _, cursor, message } = response;
        let Some(message) = message else {
            self.phase = pause(self.backoff.next(None));
            return Err(WatchError::UnknownMessage);
        };
        if let Message::Opened(opened) = &message {
            // The service refuses the cursor of another store. Where it could not tell, this does.
            if self.options.cursor.is_some() && !self.store_id.is_empty() && opened.store_id != self.store_id
            {
                self.phase = pause(self.backoff.next(None));
                return Err(WatchError::WrongStore);
            }
            self.store_id.clone_from(&opened.store_id);
            let subscription_id = Some(opened.subscription_id.clone()).filter(|id| !id.is_empty());
            if subscription_id != self.subscription_id {
                self.subscription_id = subscription_id;
                self.delivered = None;
            }
        } else {
            // Only now: a service that opens streams and cuts them at once must not be called without a pause.
            self.backoff.reset();
        }
        if !cursor.is_empty() {
            self.anew = false;
            self.options.cursor = Some(cursor.clone());
            self.delivered = Some(cursor);
        }
        Ok(Event::from(message))
    }

    /// Decides what a cut means: try again (with what is said about it, or silently), or give up.
    fn interrupted(&mut self, cause: Interruption) -> Result<Option<Event>, WatchError> {
        let opening = matches!(self.phase, Phase::Opening(_));
        let status = match &cause {
            Interruption::Status(status) => Some(status.as_ref()),
            _ => None,
        };
        let retry_in = self.backoff.next(status.and_then(status::retry_delay));
        let verdict = status.map_or(Verdict::Retry, |status| self.judge(status));
        if status.is_none_or(|status| status.code() == Code::Unavailable || status.source().is_some()) {
            self.client.move_on(self.turn);
        }
        self.phase = pause(retry_in);
        match verdict {
            Verdict::Retry => Ok(Some(Event::Disconnected { cause, retry_in })),
            Verdict::Resubscribe => {
                self.subscription_id = None;
                self.delivered = None;
                Ok((!opening).then_some(Event::Disconnected { cause, retry_in }))
            }
            Verdict::Fail(error) => {
                if matches!(error, WatchError::AppNotFound { .. }) {
                    // Whoever tries again waits for somebody to register it, which is noticed within this time.
                    self.backoff.reset();
                    self.phase = pause(AWAIT_APP);
                }
                Err(error)
            }
        }
    }

    fn judge(&self, status: &Status) -> Verdict {
        let subscribed = self.subscription_id.is_some();
        match status::reason(status) {
            Some(ErrorReason::SubscriptionNotFound | ErrorReason::SubscriptionClosed) if subscribed => {
                Verdict::Resubscribe
            }
            Some(ErrorReason::SubscriptionReplaced) => Verdict::Fail(WatchError::Replaced {
                instance: self.options.instance.clone().unwrap_or_default(),
            }),
            Some(ErrorReason::AppNotFound) => {
                Verdict::Fail(WatchError::AppNotFound { app: self.options.app.clone() })
            }
            Some(ErrorReason::CursorWrongStore) => Verdict::Fail(WatchError::WrongStore),
            // There may be a newer token by then, or the service may hear that it is to let this app in.
            Some(ErrorReason::CallerUnknown) => Verdict::Retry,
            Some(reason) if is_refused_cursor(reason) => {
                // An open stream that ends so is called again with its cursor, and that call asks for the snapshot.
                if self.options.snapshot_if_refused && matches!(self.phase, Phase::Open(_)) {
                    return Verdict::Retry;
                }
                Verdict::Fail(WatchError::CursorRefused { reason })
            }
            _ => judge_code(status),
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match self.phase {
            Phase::Pausing(_) => "pausing",
            Phase::Opening(_) => "opening",
            Phase::Open(_) => "open",
        };
        f.debug_struct("Watch")
            .field("app", &self.options.app)
            .field("subscription_id", &self.subscription_id)
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}

/// Whether a snapshot is needed instead of what follows the cursor.
fn is_refused_cursor(reason: ErrorReason) -> bool {
    matches!(
        reason,
        ErrorReason::CursorInvalid
            | ErrorReason::CursorScopeChanged
            | ErrorReason::CursorForked
            | ErrorReason::CursorCompacted
    )
}

/// Codes that say "not this request, ever" end the watch; everything else may be different next time.
fn judge_code(status: &Status) -> Verdict {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => Verdict::Fail(WatchError::Refused { status: Box::new(status.clone()) }),
        _ => Verdict::Retry,
    }
}

fn pause(wait: Duration) -> Phase {
    Phase::Pausing(Box::pin(tokio::time::sleep_until(Instant::now() + wait)))
}

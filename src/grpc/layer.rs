//! Around every call: a span, a deadline, one log line. None of them carries anything of a request but its method, where there
//! is such a method. The answer of a write says besides how durable it is.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    MAX_REQUEST,
    authn::Authn,
    authz::Methods,
    body::{Cut, framed},
    status,
};
use crate::{
    durability::Durability,
    identity::Pass,
    proto::DESCRIPTORS,
    spans::{self, TRACEPARENT},
};

/// The longest that a call may take until its answer begins, also where the client gave no deadline. Streams run on after
/// that.
const MAX_DEADLINE: Duration = Duration::from_secs(30);
/// How much earlier than tonic's own time-out, which stands around this layer and reads the same header, this one ends: a
/// tenth of what the client waits, within these bounds. A thread that is held up for longer between the two looks at the
/// clock lets tonic's come first, which a client that waits for some milliseconds only may see.
const HEAD_START: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];
/// The header in which gRPC clients say how long they wait.
const TIMEOUT: &str = "grpc-timeout";

/// When a call has to be answered, for handlers that wait for something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(pub(super) tokio::time::Instant);

/// How long the client itself waits, for streams that run on after their answer has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientDeadline(pub(super) tokio::time::Instant);

/// What the methods of Rollcall begin with.
const OURS: &str = "rollcall.v1.";
/// In which header the details of a failed call are.
const DETAILS: &str = "grpc-status-details-bin";
/// In which metadata the answer of a write says how durable it is (C15).
const DURABILITY: &str = "rollcall-durability";

/// Adds [`Calls`] to a service.
#[derive(Clone)]
pub(super) struct CallsLayer {
    writes: Arc<HashSet<String>>,
    methods: Methods,
    measured: Arc<HashSet<String>>,
    durability: Durability,
    authn: Authn,
}

impl CallsLayer {
    pub(super) fn new(durability: Durability, authn: Authn, methods: Methods) -> Self {
        let (writes, measured) = (Arc::new(writes()), Arc::new(unary()));
        Self { writes, methods, measured, durability, authn }
    }
}

/// The methods that write, as calls name them: those whose request has an id.
pub(super) fn writes() -> HashSet<String> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors come from our own build");
    let messages = set.file.iter().flat_map(|file| &file.message_type);
    let requests: HashSet<&str> = messages
        .filter(|message| message.field.iter().any(|field| field.name() == "request_id"))
        .map(|message| message.name())
        .collect();
    methods(&set, |method| method.input_type().rsplit('.').next().is_some_and(|name| requests.contains(name)))
}

/// The methods with one answer: how long a stream lasts says nothing about the service.
fn unary() -> HashSet<String> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors come from our own build");
    methods(&set, |method| !method.server_streaming() && !method.client_streaming())
}

/// The methods that are meant, as calls name them.
fn methods(set: &FileDescriptorSet, meant: impl Fn(&MethodDescriptorProto) -> bool) -> HashSet<String> {
    let services =
        set.file.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
    let methods = services.flat_map(|(package, service)| {
        service
            .method
            .iter()
            .map(move |method| (method, format!("{package}.{}/{}", service.name(), method.name())))
    });
    methods.filter(|(method, _)| meant(method)).map(|(_, path)| path).collect()
}

impl<S> Layer<S> for CallsLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        let Self { writes, methods, measured, durability, authn } = self.clone();
        Calls { inner, writes, methods, measured, durability, authn }
    }
}

/// Traces and bounds calls. tonic's own time-out answers CANCELLED, which tells clients not to retry; this one answers
/// DEADLINE_EXCEEDED with a reason.
#[derive(Clone)]
pub(super) struct Calls<S> {
    inner: S,
    writes: Arc<HashSet<String>>,
    methods: Methods,
    measured: Arc<HashSet<String>>,
    durability: Durability,
    authn: Authn,
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone that was polled ready is the one that must be called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let span = tracing::info_span!("rpc", rpc.method = %self.methods.shown(&method));
        // What is probed has no trace of its own to be a part of.
        if let (true, Some(Ok(parent))) =
            (method.starts_with(OURS), request.headers().get(TRACEPARENT).map(HeaderValue::to_str))
        {
            spans::continue_trace(&span, parent);
        }
        let whole = span.clone();
        let written = self.writes.contains(&method).then(|| self.durability.clone());
        let measured = self.measured.get(&method).cloned();
        // Measured from here, before tonic's time-out begins: whenever that one is up, this one is up already.
        let begun = tokio::time::Instant::now();
        let asked = asked(request.headers());
        request.headers_mut().remove(TIMEOUT);
        if let Ok(Some(asked)) = &asked {
            request.extensions_mut().insert(ClientDeadline(begun + *asked));
        }
        let deadline = asked.map(deadline);
        if let Ok(deadline) = &deadline {
            request.extensions_mut().insert(Deadline(begun + *deadline));
        }
        // Of our own methods alone: health and reflection answer everybody.
        let authn = method.starts_with(OURS).then(|| (self.authn.clone(), self.methods.clone()));
        let call = async move {
            let answered = async {
                deadline.as_ref().map_err(Status::clone)?;
                let mut pass = None;
                if let Some((authn, methods)) = authn {
                    authn.admit(&mut request).await?;
                    // What is answered at once is over before anything is withdrawn.
                    pass = request.extensions().get::<Pass>().filter(|_| methods.streams(&method)).cloned();
                }
                Ok((inner.call(request).await, pass))
            };
            let bound = begun + *deadline.as_ref().unwrap_or(&MAX_DEADLINE);
            let mut pass = None;
            let mut response = match tokio::time::timeout_at(bound, answered).await {
                Ok(Ok((Ok(response), admitted))) => {
                    pass = admitted;
                    response
                }
                Ok(Ok((Err(never), _))) => match never {},
                Ok(Err(status)) => Status::into_http(status),
                Err(_) => status::deadline_exceeded().into_http(),
            };
            // A failed call has its code in the headers; one that succeeds, or streams, has it in the trailers.
            let mut code =
                Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            // Bytes that are no message of the method: tonic calls that a defect of ours. Ours have details.
            if code == Code::Internal && !response.headers().contains_key(DETAILS) {
                response = status::invalid_field("request", "is no message of this method").into_http();
                code = Code::InvalidArgument;
            }
            // More bytes than a message may have: tonic's words for it have no details either.
            if code == Code::OutOfRange && !response.headers().contains_key(DETAILS) {
                let problem = format!("must be at most {MAX_REQUEST} bytes");
                response = status::invalid_field("request", problem).into_http();
                code = Code::InvalidArgument;
            }
            if let (Some(durability), Code::Ok) = (written, code) {
                response.headers_mut().insert(DURABILITY, HeaderValue::from_static(durability.word()));
            }
            if let Some(method) = measured {
                measure(method, code, begun.elapsed());
            }
            spans::answered(&whole, code_name(code), is_failure(code));
            let elapsed_ms = begun.elapsed().as_millis();
            tracing::debug!(rpc.code = ?code, elapsed_ms, "answered");
            let response = framed(response);
            Ok(match pass {
                Some(pass) => response.map(|body| Body::new(Cut::new(body, pass.withdrawn()))),
                None => response,
            })
        };
        Box::pin(call.instrument(span))
    }
}

/// Named as OpenTelemetry names it for gRPC.
fn measure(method: String, code: Code, took: Duration) {
    let labels = [
        ("rpc_system_name", "grpc".to_owned()),
        ("rpc_method", method),
        ("rpc_response_status_code", code_name(code).to_owned()),
    ];
    metrics::histogram!("rpc_server_call_duration_seconds", &labels).record(took.as_secs_f64());
}

/// Whether a call went wrong at the service, as OpenTelemetry tells it of gRPC servers.
fn is_failure(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss)
}

/// A code as gRPC writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// How long the client waits.
fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(parse_timeout);
    parsed.map(Some).ok_or_else(|| status::invalid_field(TIMEOUT, "must be at most 8 digits and a unit"))
}

/// How long a call may take until its answer begins: as long as the client waits, and never longer than
/// [`MAX_DEADLINE`].
fn deadline(asked: Option<Duration>) -> Duration {
    let [least, most] = HEAD_START;
    asked
        .map_or(MAX_DEADLINE, |asked| asked.saturating_sub((asked / 10).clamp(least, most)).min(MAX_DEADLINE))
}

/// Reads a time-out as the gRPC protocol writes it: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3_600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_told_from_reads() {
        let writes = writes();
        for write in
            ["MemberService/DeactivateMember", "AppService/UpdateApp", "AccountService/CreateAccount"]
        {
            assert!(writes.contains(&format!("rollcall.v1.{write}")), "{write}");
        }
        for read in ["MemberService/GetMember", "FeedService/Watch", "FeedService/Acknowledge"] {
            assert!(!writes.contains(&format!("rollcall.v1.{read}")), "{read}");
        }
    }

    #[test]
    fn streams_are_no_calls_with_one_answer() {
        let unary = unary();
        assert!(unary.contains("rollcall.v1.MemberService/DeactivateMember"), "{unary:?}");
        for stream in ["FeedService/Watch", "MemberService/AwaitEnforcement", "FeedService/AwaitEnforcement"]
        {
            assert!(!unary.contains(&format!("rollcall.v1.{stream}")), "{stream}");
        }
    }

    #[test]
    fn a_deadline_is_before_that_of_the_client() {
        for (asked, wanted) in [(1, 0), (5, 0), (20, 15), (100, 90), (500, 450), (30_000, 29_950)] {
            let deadline = deadline(Some(Duration::from_millis(asked)));
            assert_eq!(deadline, Duration::from_millis(wanted), "of {asked} ms");
        }
        assert_eq!(deadline(Some(Duration::MAX)), MAX_DEADLINE);
        assert_eq!(deadline(None), MAX_DEADLINE);
    }

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for malformed in ["", "m", "1", "1x", "123456789S", "-1S", "1é"] {
            assert_eq!(parse_timeout(malformed), None, "{malformed:?}");
        }
    }
}

//! HTTP/JSON: what there is at which path. Each handler parses, asks, and converts.

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, RawQuery, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use rollcall_client::{Phase, ReplicaStatus};
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    answer::{Answer, Question, Terms},
    events,
    receipt::{self, reader_name},
    refusal::{self, Refusal, invalid, json},
    relay::{NoSeat, Taken},
};
use crate::{
    access::Moment,
    exporter::{Exporter, Process},
    grpc::caught_up,
};

/// The largest batch.
const CHECKS: usize = 1_000;
/// The largest body: a batch of external ids of the greatest length is about half as large.
const BODY: usize = 1024 * 1024;

type Answered = Result<Response, Refusal>;

/// What is answered over HTTP.
pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/check", get(check).post(check_all))
        .route("/v1/revocations", get(revocations))
        .route("/v1/receipts", post(receipt))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .fallback(nothing)
        .method_not_allowed_fallback(async || refusal::no_such_method())
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(shared)
}

#[derive(Serialize)]
struct One {
    #[serde(flatten)]
    answer: Answer,
    position: i64,
    #[serde(skip_serializing_if = "is_false")]
    stale: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// What the agent and its replica count, for Prometheus.
async fn measured() -> Response {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text)], Exporter::install(Process::Agent).text()).into_response()
}

async fn check(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Answered {
    let (question, terms) = Question::of_query(&query.unwrap_or_default())?;
    let check = question.parse()?;
    let moment = shared.moment(&terms).await?;
    let answer = check.answer(&moment)?;
    Ok(json(StatusCode::OK, &One { answer, position: moment.position(), stale: moment.is_stale() }))
}

impl Shared {
    /// The moment to answer from.
    async fn moment(&self, terms: &Terms) -> Result<Moment<'_>, Refusal> {
        if let Some(token) = &terms.at_least_as_fresh {
            caught_up(&self.access, &self.tokens, token).await.map_err(refusal::token)?;
        }
        self.access.moment(terms.max_staleness).ok_or_else(refusal::stale)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    checks: Vec<Question>,
    at_least_as_fresh: Option<String>,
    max_staleness_seconds: Option<u64>,
}

#[derive(Serialize)]
struct All {
    answers: Vec<Answer>,
    position: i64,
    #[serde(skip_serializing_if = "is_false")]
    stale: bool,
}

/// All of one moment.
async fn check_all(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answered {
    let Batch { checks, at_least_as_fresh, max_staleness_seconds } = read(body)?;
    let terms = Terms::new(at_least_as_fresh, max_staleness_seconds)?;
    if !(1..=CHECKS).contains(&checks.len()) {
        return Err(invalid("checks", format!("must be 1 to {CHECKS}")));
    }
    let parsed = checks
        .into_iter()
        .enumerate()
        .map(|(index, check)| check.parse().map_err(|refusal| refusal.within(&format!("checks[{index}]"))));
    let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
    let moment = shared.moment(&terms).await?;
    let answers = parsed.iter().map(|check| check.answer(&moment)).collect::<Result<Vec<_>, _>>()?;
    Ok(json(StatusCode::OK, &All { answers, position: moment.position(), stale: moment.is_stale() }))
}

async fn revocations(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answered {
    let mut given = None;
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "reader" {
            return Err(invalid("query", "has a parameter that is not known here"));
        }
        if given.replace(value.into_owned()).is_some() {
            return Err(invalid("reader", "is given twice"));
        }
    }
    let name = reader_name(given.as_deref())?;
    // One that is no text is one that was not given here.
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
    let (reader, begin) = shared.relay.attach(&name, last).map_err(|refused| match refused {
        NoSeat::TooMany => refusal::too_many_readers(),
        NoSeat::Closed => refusal::stopping(),
    })?;
    let mut response = Response::new(events::body(reader, begin, &shared.replica));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[derive(Serialize)]
struct Receipted {
    complete: bool,
}

async fn receipt(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answered {
    let sent: receipt::Sent = read(body)?;
    match shared.relay.take(sent.parse()?) {
        Taken::Counted(complete) => Ok(json(StatusCode::OK, &Receipted { complete })),
        Taken::Late => Err(refusal::late()),
        Taken::NotTold => Err(invalid("reader", "was not told of this change")),
        Taken::Unknown => Err(refusal::unknown_change()),
    }
}

/// The process works. Whether it can answer is another question.
async fn health() -> Response {
    json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
}

#[derive(Serialize)]
struct Ready {
    phase: &'static str,
    position: i64,
    lag: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

async fn ready(State(shared): State<Shared>) -> Response {
    let code = if shared.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let status = shared.replica.status();
    let status: ReplicaStatus = status.borrow().clone();
    let ready = Ready {
        phase: match status.phase {
            Phase::Starting => "STARTING",
            Phase::Live => "LIVE",
            Phase::Stale => "STALE",
            Phase::Replaced => "REPLACED",
            Phase::Stopped => "STOPPED",
        },
        position: status.position,
        lag: status.lag(),
        trouble: status.trouble,
    };
    json(code, &ready)
}

/// What is not here, for callers of either protocol.
async fn nothing(headers: HeaderMap) -> Response {
    let of_grpc = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if of_grpc {
        return tonic::Status::unimplemented("").into_http::<Body>();
    }
    refusal::no_such_path().into_response()
}

fn read<T: serde::de::DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| refusal::no_body(rejection.status()))?;
    serde_json::from_slice(&body).map_err(|problem| refusal::malformed(&problem))
}

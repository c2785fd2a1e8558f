//! The only place where what is wrong becomes an answer of HTTP. The code says what the caller should do next: fix the
//! request, or come again.

use std::fmt::Display;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::grpc::TokenRefusal;

/// Seconds after which to ask again where the agent does not know. An agent that is cut off tries as often.
const RETRY: HeaderValue = HeaderValue::from_static("1");

/// Why something is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: StatusCode,
    reason: &'static str,
    field: Option<String>,
    message: String,
}

#[derive(Serialize)]
struct Shown<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    message: &'a str,
}

impl Refusal {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, field: None, message: message.into() }
    }

    /// The same of a field that stands within another.
    pub(super) fn within(mut self, outer: &str) -> Self {
        if let Some(field) = &mut self.field {
            *field = format!("{outer}.{field}");
            self.message = format!("{outer}.{}", self.message);
        }
        self
    }
}

/// A field is missing or malformed.
pub(super) fn invalid(field: &str, problem: impl Display) -> Refusal {
    Refusal {
        field: Some(field.to_owned()),
        ..Refusal::new(StatusCode::BAD_REQUEST, "INVALID_FIELD", format!("{field} {problem}"))
    }
}

/// The body is no JSON, or has other fields than it may have. What was given is not repeated: it may be anything.
pub(super) fn malformed(problem: &serde_json::Error) -> Refusal {
    let (line, column) = (problem.line(), problem.column());
    let what = match problem.classify() {
        serde_json::error::Category::Data => "has other fields or values than it may have",
        _ => "is no JSON",
    };
    let message = format!("the body {what}: line {line}, column {column}");
    Refusal::new(StatusCode::BAD_REQUEST, "MALFORMED_JSON", message)
}

/// The body is too large, or did not come whole.
pub(super) fn no_body(code: StatusCode) -> Refusal {
    Refusal::new(code, "BODY_REFUSED", "the body is too large, or was not sent whole")
}

/// The replica does not know.
pub(super) fn stale() -> Refusal {
    let message =
        "the agent has not heard from the service for too long to know; try again, and sign nobody out";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ACCESS_STALE", message)
}

/// The agent ends.
pub(super) fn stopping() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "SHUTTING_DOWN", "the agent ends")
}

/// There are more readers than there should be.
pub(super) fn too_many_readers() -> Refusal {
    let message = "so many streams are open already: one for each process of the app is enough";
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_READERS", message)
}

/// A receipt is about a change that was not told here, or too long ago.
pub(super) fn unknown_change() -> Refusal {
    let message = "no revocation of this change was told here, or it was long ago";
    Refusal {
        field: Some("change_id".to_owned()),
        ..Refusal::new(StatusCode::NOT_FOUND, "CHANGE_UNKNOWN", message)
    }
}

/// A receipt comes after the service was told for the last time what became of the revocation.
pub(super) fn late() -> Refusal {
    let message =
        "this receipt counts no longer: the service was told for the last time what became of the revocation";
    Refusal::new(StatusCode::CONFLICT, "RECEIPT_LATE", message)
}

/// A page had its browser call.
pub(super) fn of_a_page() -> Refusal {
    let message = "this is for backends: no page of a browser may call the agent";
    Refusal::new(StatusCode::FORBIDDEN, "ORIGIN_REFUSED", message)
}

/// The call is for a name that is none of this machine's.
pub(super) fn strange_host() -> Refusal {
    let message = "the agent is called by localhost or by an address, since it listens on this machine alone";
    Refusal::new(StatusCode::FORBIDDEN, "HOST_REFUSED", message)
}

/// An answer cannot be as fresh as a token asks for.
pub(super) fn token(refusal: TokenRefusal) -> Refusal {
    let (code, reason, message) = match refusal {
        TokenRefusal::Invalid => {
            (StatusCode::BAD_REQUEST, "TOKEN_INVALID", "at_least_as_fresh is damaged, or no token of a write")
        }
        TokenRefusal::WrongStore => {
            (StatusCode::BAD_REQUEST, "TOKEN_WRONG_STORE", "at_least_as_fresh is of another store")
        }
        TokenRefusal::Forked => (
            StatusCode::BAD_REQUEST,
            "TOKEN_FORKED",
            "the write of at_least_as_fresh is lost: the log has another change in its place",
        ),
        TokenRefusal::NotReached => (
            StatusCode::SERVICE_UNAVAILABLE,
            "TOKEN_NOT_REACHED",
            "the agent has not got as far as at_least_as_fresh yet; try again",
        ),
    };
    Refusal { field: Some("at_least_as_fresh".to_owned()), ..Refusal::new(code, reason, message) }
}

/// There is nothing that can be done so at this path; `allow` says what can.
pub(super) fn no_such_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "NO_SUCH_METHOD",
        "this path is not called so; the header allow says how it is",
    )
}

/// There is nothing at this path.
pub(super) fn no_such_path() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "NO_SUCH_PATH",
        "there is nothing here; docs/agent.md says what there is",
    )
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { code, reason, field, message } = self;
        let shown = Shown { error: Error { reason, field: field.as_deref(), message: &message } };
        let mut response = json(code, &shown);
        if code == StatusCode::SERVICE_UNAVAILABLE || code == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY);
        }
        response
    }
}

/// An answer in JSON.
pub(super) fn json(code: StatusCode, shown: &impl Serialize) -> Response {
    let text = serde_json::to_vec(shown).expect("strings and numbers can be written to memory");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // An answer about access is of its moment only.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

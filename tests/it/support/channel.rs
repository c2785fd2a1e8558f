//! The channel that the tests call through. It compares every refusal with what the comment of the method promises: a
//! call that is answered with a reason that its comment does not name ends the test that made it.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body::Frame;
use tonic::{Status, body::Body, transport};
use tonic_types::StatusExt as _;
use tower::Service;

use super::istio;
use crate::proto::promises;

/// A connection that knows what may come.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    channel: transport::Channel,
    /// Goes with every call.
    headers: HeaderMap,
}

impl Channel {
    /// Without the checks, for the client crate, which takes no other.
    pub(crate) fn unchecked(self) -> transport::Channel {
        self.channel
    }

    /// The same connection, with one more header on every call.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The same connection, as the workload of this name calls over it behind Istio.
    pub(crate) fn calling_as(mut self, workload: &str) -> Self {
        self.headers.clear();
        let (name, value) = istio(workload);
        self.with(name, value)
    }

    /// The same connection, with this token on every call.
    pub(crate) fn bearing(self, token: &str) -> Self {
        let mut value: HeaderValue = format!("Bearer {token}").parse().expect("a header");
        value.set_sensitive(true);
        self.with(header::AUTHORIZATION, value)
    }

    /// The same connection, without saying who calls.
    pub(crate) fn unnamed(mut self) -> Self {
        self.headers.clear();
        self
    }
}

impl From<transport::Channel> for Channel {
    fn from(channel: transport::Channel) -> Self {
        Self { channel, headers: HeaderMap::new() }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, transport::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let method = request.uri().path().trim_start_matches('/').to_owned();
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        let answer = self.channel.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            check(&method, answer.headers());
            Ok(answer.map(|body| Body::new(Checked { method, body })))
        })
    }
}

/// The body of an answer, whose end may be a refusal.
struct Checked {
    method: String,
    body: Body,
}

impl http_body::Body for Checked {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(trailers) =
            frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::trailers_ref)
        {
            check(&self.method, trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// What the gRPC layer refuses has no reason, and services that are not ours promise nothing.
fn check(method: &str, headers: &HeaderMap) {
    let Some(promised) = promises().get(method) else { return };
    let status = Status::from_header_map(headers);
    if let Some(refusal) = status.and_then(|status| status.get_details_error_info()) {
        let reason = refusal.reason;
        assert!(promised.contains(&reason), "{method} answered {reason}, which its comment does not name");
    }
}

fn answered(reason: &str) -> HeaderMap {
    let details = tonic_types::ErrorDetails::with_error_info(reason, "rollcall.v1", HashMap::new());
    let status = Status::with_error_details(tonic::Code::NotFound, "not there", details);
    status.into_http::<()>().headers().clone()
}

#[test]
fn what_a_comment_names_may_be_answered() {
    check("rollcall.v1.AppService/GetApp", &answered("APP_NOT_FOUND"));
    check("rollcall.v1.AppService/RegisterApp", &answered("REQUEST_ID_REUSED"));
    check("grpc.health.v1.Health/Check", &answered("APP_NOT_FOUND"));
}

#[test]
#[should_panic(expected = "GetApp answered MEMBER_NOT_FOUND, which its comment does not name")]
fn the_check_bites_a_reason_that_is_not_promised() {
    check("rollcall.v1.AppService/GetApp", &answered("MEMBER_NOT_FOUND"));
}

#[test]
#[should_panic(expected = "GetApp answered REQUEST_ID_REUSED")]
fn the_check_bites_a_request_id_where_none_can_be_given() {
    check("rollcall.v1.AppService/GetApp", &answered("REQUEST_ID_REUSED"));
}

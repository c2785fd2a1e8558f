//! How spans of one process hang below those of another, and what they say of a call. Where nobody collects spans none of
//! this does anything.

use opentelemetry::trace::Status;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use rollcall_client::{continue_trace, traceparent};

/// The header in which a caller says which trace its call is a part of.
pub const TRACEPARENT: &str = "traceparent";
/// The field of the span of a call that has its method.
pub const METHOD: &str = "rpc.method";

/// Says how a call was answered, with the code as gRPC writes it. It failed where that is the service's doing: what a
/// caller did wrong is an answer like others.
pub fn answered(span: &Span, code: &'static str, has_failed: bool) {
    span.set_attribute("rpc.system.name", "grpc");
    span.set_attribute("rpc.response.status_code", code);
    if has_failed {
        span.set_status(Status::error(code));
    }
}

//! What is too much, of one caller or of all.

use std::time::Duration;

use tonic::{Code, Status};

use super::Problem;
use crate::proto::ErrorReason;

/// When to try again to open a stream where there are too many: one of them has to end first.
const STREAMS_LATER: Duration = Duration::from_secs(5);

/// No connection of the pool became free in time, or the caller has too many calls that wait for one.
pub(in crate::grpc) fn overloaded() -> Status {
    let message = "no database connection became free in time";
    Problem::new(Code::ResourceExhausted, ErrorReason::Overloaded, message).retry().status()
}

/// A caller makes more calls of a kind in a second than it may.
pub(in crate::grpc) fn rate_limited(kind: &'static str, rate: u32, wait: Duration) -> Status {
    let message = format!("one caller may make {rate} {kind} a second");
    let mut error =
        Problem::new(Code::ResourceExhausted, ErrorReason::RateLimited, message.clone()).with("bound", kind);
    error.details.add_quota_failure_violation(kind, message);
    error.details.set_retry_info(Some(wait));
    error.status()
}

/// A caller has as many streams as it may have.
pub(in crate::grpc) fn stream_limit(limit: u32) -> Status {
    let message = format!("one caller may have {limit} streams open");
    let mut error =
        Problem::new(Code::ResourceExhausted, ErrorReason::StreamLimit, message.clone()).with("limit", limit);
    error.details.add_quota_failure_violation("streams", message);
    error.details.set_retry_info(Some(STREAMS_LATER));
    error.status()
}

//! Repeating a call that may succeed when repeated. A write must carry a `request_id`, the same in every attempt: then
//! an attempt that was applied although its answer got lost is not applied twice.

use std::{error::Error as _, future::Future, time::Duration};

use tokio::time::Instant;
use tonic::{Code, Response, Status};

use crate::{
    backoff::Backoff,
    status::{reason, retry_delay},
    v1::ErrorReason,
};

/// How long and how often to repeat.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// The wait before the first repetition; it doubles from then on.
    pub first: Duration,
    /// The longest wait between two attempts.
    pub longest: Duration,
    /// No attempt is begun later than this after the first one.
    pub within: Duration,
}

impl Default for RetryPolicy {
    /// For a minute: longer than a usual database failover.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(2),
            within: Duration::from_secs(60),
        }
    }
}

/// Makes the call, and makes it again while its error says that this may help and the policy allows it.
///
/// # Errors
///
/// The error of the last attempt.
pub async fn retry<T, F, C>(policy: &RetryPolicy, mut call: C) -> Result<T, Status>
where
    C: FnMut() -> F,
    F: Future<Output = Result<Response<T>, Status>>,
{
    let deadline = Instant::now() + policy.within;
    let mut backoff = Backoff::new(policy.first, policy.longest);
    loop {
        let status = match call().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        let wait = backoff.next(retry_delay(&status));
        if !may_help(&status) || Instant::now() + wait > deadline {
            return Err(status);
        }
        tracing::debug!(code = ?status.code(), wait_ms = wait.as_millis(), "repeating a call");
        tokio::time::sleep(wait).await;
    }
}

/// Whether another attempt may end differently.
fn may_help(status: &Status) -> bool {
    // Codes that usually pass, for reasons that do not: somebody has to decide anew first.
    let decided_anew = [ErrorReason::PlanChanged, ErrorReason::EtagMismatch, ErrorReason::NoSeat];
    if reason(status).is_some_and(|reason| decided_anew.contains(&reason)) {
        return false;
    }
    match status.code() {
        Code::Unavailable | Code::Aborted | Code::ResourceExhausted | Code::DeadlineExceeded => true,
        // The channel's own timeout; a caller who cancels does not wait for the answer.
        Code::Cancelled => true,
        // A status with a cause was made on this side: the connection broke. The service's own never have one.
        _ => status.source().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tonic_types::StatusExt as _;

    use super::*;

    async fn attempts_until(
        policy: &RetryPolicy,
        answer: impl Fn(u32) -> Result<u32, Status>,
    ) -> (u32, bool) {
        let attempts = Cell::new(0);
        let result = retry(policy, || {
            attempts.set(attempts.get() + 1);
            let answer = answer(attempts.get());
            async { answer.map(Response::new) }
        })
        .await;
        (attempts.get(), result.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn unavailable_is_repeated_until_it_works() {
        let answer = |attempt| if attempt < 4 { Err(Status::unavailable("")) } else { Ok(attempt) };
        assert_eq!(attempts_until(&RetryPolicy::default(), answer).await, (4, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_repeated() {
        let answer = |_| Err(Status::failed_precondition("LAST_OWNER"));
        assert_eq!(attempts_until(&RetryPolicy::default(), answer).await, (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_decision_is_not_repeated() {
        for (code, reason) in [
            (Code::ResourceExhausted, "NO_SEAT"),
            (Code::Aborted, "PLAN_CHANGED"),
            (Code::Aborted, "ETAG_MISMATCH"),
        ] {
            let mut details = tonic_types::ErrorDetails::new();
            details.set_error_info(reason, "rollcall.v1", std::collections::HashMap::new());
            let answer = |_| Err(Status::with_error_details(code, "", details.clone()));
            assert_eq!(attempts_until(&RetryPolicy::default(), answer).await, (1, false), "{reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn repeating_ends_in_time() {
        let begun = Instant::now();
        let (attempts, done) =
            attempts_until(&RetryPolicy::default(), |_| Err(Status::aborted("CONTENTION"))).await;
        assert!(!done && attempts > 10 && begun.elapsed() <= Duration::from_secs(60));
    }
}

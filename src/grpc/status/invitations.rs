//! Invitations that are sent too often.

use std::time::Duration;

use tonic::{Code, Status};

use super::Problem;
use crate::{proto::ErrorReason, rules::invitations::InvitationBound};

/// Which bound it is, and when it may be tried again.
pub(super) fn rate_limited(bound: InvitationBound, wait: Duration, message: String) -> Status {
    let (word, description) = match bound {
        InvitationBound::Invitation => ("invitation", "an invitation is sent again once in 5 minutes"),
        InvitationBound::Address => ("address", "an address gets 10 invitations in 24 hours"),
    };
    let mut error = Problem::new(Code::ResourceExhausted, ErrorReason::InvitationRateLimited, message)
        .with("bound", word);
    error.details.add_quota_failure_violation(word, description);
    error.details.set_retry_info(Some(wait));
    error.status()
}

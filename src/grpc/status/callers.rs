//! Who may not ask.

use tonic::{Code, Status};

use super::{Problem, internal};
use crate::{proto::ErrorReason, rules::ids::AppName};

/// What is for no app was asked for by one (R15).
pub(in crate::grpc) fn caller_is_app(app: &AppName) -> Status {
    let message = "the ledger of erasures is not for apps";
    Problem::new(Code::PermissionDenied, ErrorReason::CallerIsApp, message).about("app", app).status()
}

/// A defect: nothing found out who calls.
pub(in crate::grpc) fn unknown_caller() -> Status {
    internal(&"nobody found out who calls")
}

//! Who may not ask.

use tonic::{Code, Status};

use super::{Problem, internal};
use crate::{proto::ErrorReason, rules::ids::AppName};

/// What is for no app was asked for by one (R15).
pub(in crate::grpc) fn caller_is_app(app: &AppName) -> Status {
    let message = "the ledger of erasures is not for apps";
    Problem::new(Code::PermissionDenied, ErrorReason::CallerIsApp, message).about("app", app).status()
}

/// Who calls is not known, or not proven: which of the two, and by what, is for the log alone.
pub(in crate::grpc) fn caller_unknown() -> Status {
    let message = "the caller is not known here, or does not prove who it is";
    Problem::new(Code::Unauthenticated, ErrorReason::CallerUnknown, message).status()
}

/// The method is not for who calls it.
pub(in crate::grpc) fn caller_not_allowed() -> Status {
    let message = "the method is not for this caller";
    Problem::new(Code::PermissionDenied, ErrorReason::CallerNotAllowed, message).status()
}

/// Who calls says for whom, and may not, or proved another person.
pub(in crate::grpc) fn impersonation_not_allowed() -> Status {
    let message = "the caller may not say for whom it acts, or proved another person";
    Problem::new(Code::PermissionDenied, ErrorReason::ImpersonationNotAllowed, message).status()
}

/// A defect: nothing found out who calls.
pub(in crate::grpc) fn unknown_caller() -> Status {
    internal(&"nobody found out who calls")
}

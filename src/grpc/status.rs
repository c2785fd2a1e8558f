//! The only place where an error becomes a status. The code says what the caller should do next: fix the request, retry,
//! take a snapshot, give up; `ErrorInfo` says why, as `errors.proto` promises. Driver text ends here, in the log.

mod blockers;
mod callers;
mod invitations;
mod limits;
mod subscriptions;

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use self::blockers::{blocked, blocked_in};
pub(super) use self::{
    blockers::{Terms, blocker},
    callers::{caller_is_app, caller_not_allowed, caller_unknown, impersonation_not_allowed, unknown_caller},
    limits::{overloaded, rate_limited, stream_limit},
    subscriptions::{acknowledgement_refused, subscription_closed, subscription_replaced},
};
use super::fresh::TokenRefusal;
use crate::{
    enforcement::Stopped,
    engine::{EngineError, Missing},
    feed::{CursorRefusal, Ending, StreamEnd},
    proto::ErrorReason,
    rules::{
        Violation,
        ids::{AppName, ContractId, Malformed, SubscriptionId},
        roles::InvitationState,
        seats::SeatsOf,
        tables::{Denial, Standing},
    },
    storage::StorageError,
};

/// The domain of every reason.
const DOMAIN: &str = "rollcall.v1";
/// When to try again after the database or this replica went away: about as long as a reconnect takes.
const RETRY_SOON: Duration = Duration::from_millis(500);

/// A status in the making.
struct Problem {
    code: Code,
    reason: ErrorReason,
    message: String,
    details: ErrorDetails,
    metadata: Vec<(&'static str, String)>,
}

impl Problem {
    fn new(code: Code, reason: ErrorReason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: ErrorDetails::new(), metadata: Vec::new() }
    }

    fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    fn about(mut self, kind: &str, name: impl ToString) -> Self {
        let description = self.message.clone();
        self.details.set_resource_info(kind, name.to_string(), "", description);
        self.with("resource", name)
    }

    fn precondition(mut self, subjects: impl IntoIterator<Item = String>) -> Self {
        for subject in subjects {
            self.details.add_precondition_failure_violation(
                reason_name(self.reason),
                subject,
                self.message.clone(),
            );
        }
        self
    }

    fn retry(mut self) -> Self {
        self.details.set_retry_info(Some(RETRY_SOON));
        self
    }

    fn status(self) -> Status {
        let Self { code, reason, message, mut details, metadata } = self;
        let metadata: Vec<(String, String)> =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        details.set_error_info(
            reason_name(reason),
            DOMAIN,
            metadata.into_iter().collect::<std::collections::HashMap<_, _>>(),
        );
        Status::with_error_details(code, message, details)
    }
}

/// The reason as `ErrorInfo` spells it.
pub(super) fn reason_name(reason: ErrorReason) -> String {
    reason.as_str_name().trim_start_matches("ERROR_REASON_").to_owned()
}

/// The reason of a status that was made here, as `ErrorInfo` spells it.
pub(super) fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// What cannot be undone was not confirmed.
pub(super) fn unconfirmed() -> Status {
    violation(Violation::NotConfirmed)
}

/// A receipt does not open.
pub(super) fn receipt_invalid() -> Status {
    bad_field(ErrorReason::ReceiptInvalid, "receipt", "is damaged or made up".to_owned())
}

/// An entry of the ledger is not one that this store sealed.
pub(super) fn erasure_invalid() -> Status {
    let problem = "is not of an entry of this store's ledger, or not of this one".to_owned();
    bad_field(ErrorReason::ErasureInvalid, "erasure.seal", problem)
}

/// A field is missing or malformed.
pub(super) fn invalid_field(field: &str, problem: impl ToString) -> Status {
    bad_field(ErrorReason::InvalidField, field, problem.to_string())
}

/// A field is malformed.
pub(super) fn malformed(field: &str, problem: Malformed) -> Status {
    invalid_field(field, problem)
}

fn bad_field(reason: ErrorReason, field: &str, problem: String) -> Status {
    let mut error =
        Problem::new(Code::InvalidArgument, reason, format!("{field} {problem}")).with("field", field);
    error.details.add_bad_request_violation(field, problem);
    error.status()
}

/// Something that a read names does not exist.
pub(super) fn not_found(reason: ErrorReason, kind: &str, name: impl ToString) -> Status {
    Problem::new(Code::NotFound, reason, format!("no such {kind}")).about(kind, name).status()
}

/// No such app, or not any more.
pub(super) fn no_app(app: &AppName) -> Status {
    not_found(ErrorReason::AppNotFound, "app", app)
}

/// No such change, or not any more.
pub(super) fn no_change(name: impl ToString) -> Status {
    not_found(ErrorReason::ChangeNotFound, "change", name)
}

/// No such contract.
pub(super) fn no_contract(id: ContractId) -> Status {
    not_found(ErrorReason::ContractNotFound, "contract", id)
}

/// No account is found by this field. What it says is not repeated: messages end up in logs.
pub(super) fn no_account_by(field: &str) -> Status {
    not_found(ErrorReason::AccountNotFound, "account", field)
}

/// The call took longer than its deadline.
pub(super) fn deadline_exceeded() -> Status {
    Problem::new(
        Code::DeadlineExceeded,
        ErrorReason::DeadlineExceeded,
        "the call took longer than its deadline",
    )
    .status()
}

/// A sealed text is whole, and does not fit the log as it is.
fn unfit(reason: ErrorReason, field: &str, message: &str) -> Status {
    Problem::new(Code::FailedPrecondition, reason, message)
        .precondition([field.to_owned()])
        .with("field", field)
        .status()
}

/// A cursor cannot be resumed or acknowledged (C6).
pub(super) fn cursor_refused(field: &str, refusal: CursorRefusal) -> Status {
    let failed = |reason, message: &str| unfit(reason, field, message);
    match refusal {
        CursorRefusal::Invalid => bad_field(
            ErrorReason::CursorInvalid,
            field,
            "is damaged or made up, or of another subscription than the acknowledging one; take a snapshot"
                .to_owned(),
        ),
        CursorRefusal::WrongStore => failed(
            ErrorReason::CursorWrongStore,
            "the cursor is of another store: is this client pointed at another database?",
        ),
        CursorRefusal::ScopeChanged => failed(
            ErrorReason::CursorScopeChanged,
            "the cursor was given for another app or filter; take a snapshot",
        ),
        CursorRefusal::Forked => failed(
            ErrorReason::CursorForked,
            "the store's history at the cursor is another one; take a snapshot",
        ),
        CursorRefusal::Compacted => failed(
            ErrorReason::CursorCompacted,
            "changes after the cursor were trimmed from the log; take a snapshot",
        ),
    }
}

/// The reason of a refusal, for `Opened`.
pub(super) fn refusal_reason(refusal: CursorRefusal) -> ErrorReason {
    match refusal {
        CursorRefusal::Invalid => ErrorReason::CursorInvalid,
        CursorRefusal::WrongStore => ErrorReason::CursorWrongStore,
        CursorRefusal::ScopeChanged => ErrorReason::CursorScopeChanged,
        CursorRefusal::Forked => ErrorReason::CursorForked,
        CursorRefusal::Compacted => ErrorReason::CursorCompacted,
    }
}

/// A token cannot be read at (C13).
pub(super) fn token_refused(field: &str, refusal: TokenRefusal) -> Status {
    let failed = |reason, message: &str| unfit(reason, field, message);
    match refusal {
        TokenRefusal::Invalid => {
            bad_field(ErrorReason::TokenInvalid, field, "is damaged or made up".to_owned())
        }
        TokenRefusal::WrongStore => failed(
            ErrorReason::TokenWrongStore,
            "the token is of another store: is this client pointed at another database?",
        ),
        TokenRefusal::Forked => failed(
            ErrorReason::TokenForked,
            "the store's history at the token is another one; the write that answered with it was lost",
        ),
        TokenRefusal::NotReached => {
            let message = "the log has not got as far as the token";
            Problem::new(Code::Unavailable, ErrorReason::TokenNotReached, message).retry().status()
        }
    }
}

/// A receipt is of a change that the subscription was not sent, or not up to the cursor.
pub(super) fn change_not_sent(field: &str) -> Status {
    unfit(ErrorReason::ChangeNotSent, field, "the change was not sent on this subscription up to the cursor")
}

/// How far a write is enforced cannot be told.
pub(super) fn wait_stopped(stopped: Stopped) -> Status {
    match stopped {
        Stopped::ShuttingDown => shutting_down(),
        Stopped::Unavailable => unavailable(),
        Stopped::Storage(error) => storage(error),
    }
}

/// The history that would tell what was so then is no longer kept.
pub(super) fn history_trimmed(floor: i64) -> Status {
    let message = "the history of that time is no longer kept";
    Problem::new(Code::FailedPrecondition, ErrorReason::HistoryTrimmed, message)
        .precondition([floor.to_string()])
        .with("position", floor)
        .status()
}

/// An open stream ends.
pub(super) fn stream_end(end: StreamEnd, subscription: Option<SubscriptionId>) -> Status {
    let id = subscription.map(|id| id.to_string()).unwrap_or_default();
    match end {
        StreamEnd::Ended(Ending::Replaced) => {
            let message = "another stream took over this subscription or its instance name";
            Problem::new(Code::Aborted, ErrorReason::SubscriptionReplaced, message)
                .with("resource", id)
                .status()
        }
        StreamEnd::Ended(Ending::Closed) => {
            let message = "the subscription was closed, or its app unregistered";
            Problem::new(Code::Aborted, ErrorReason::SubscriptionClosed, message)
                .with("resource", id)
                .status()
        }
        StreamEnd::Forked => cursor_refused("cursor", CursorRefusal::Forked),
        StreamEnd::Compacted => cursor_refused("cursor", CursorRefusal::Compacted),
        StreamEnd::Slow { cursor } => {
            let message = "no message was taken for too long; watch again with the cursor";
            Problem::new(Code::Aborted, ErrorReason::SlowConsumer, message)
                .with("cursor", cursor)
                .retry()
                .status()
        }
        StreamEnd::Expired => {
            let message = "the stream reached its maximum age; watch again with the last cursor";
            Problem::new(Code::Unavailable, ErrorReason::StreamExpired, message).retry().status()
        }
        StreamEnd::Unreadable => unavailable(),
        StreamEnd::ShuttingDown | StreamEnd::Gone => shutting_down(),
    }
}

/// This replica shuts down.
pub(super) fn shutting_down() -> Status {
    Problem::new(Code::Unavailable, ErrorReason::ShuttingDown, "this replica is shutting down")
        .retry()
        .status()
}

/// It is not known at present who has access.
pub(super) fn access_stale() -> Status {
    let message = "it is not known at present who has access";
    Problem::new(Code::Unavailable, ErrorReason::AccessStale, message).retry().status()
}

/// The database cannot be reached.
pub(super) fn unavailable() -> Status {
    Problem::new(Code::Unavailable, ErrorReason::DatabaseUnavailable, "the database cannot be reached")
        .retry()
        .status()
}

/// A defect: a write did not record what its answer shows.
pub(super) fn unrecorded() -> Status {
    internal(&"a write did not record its subject")
}

/// A defect. Its text goes to the log.
fn internal(error: &dyn std::fmt::Display) -> Status {
    tracing::error!(%error, "internal error");
    Problem::new(Code::Internal, ErrorReason::Internal, "internal error").status()
}

/// Storage failed on a read.
pub(super) fn storage(error: StorageError) -> Status {
    match error {
        StorageError::Unavailable(text) => {
            tracing::warn!(error = text, "database unavailable");
            unavailable()
        }
        StorageError::Overloaded => overloaded(),
        StorageError::Conflict(text) => contention(&text),
        error => internal(&error),
    }
}

fn contention(text: &str) -> Status {
    tracing::info!(error = text, "a call lost against concurrent ones");
    Problem::new(Code::Aborted, ErrorReason::Contention, "lost against concurrent commands").retry().status()
}

/// A departure was refused or failed.
pub(super) fn departure(error: EngineError) -> Status {
    with_terms(error, Terms::Departure)
}

/// A write was refused or failed.
pub(super) fn engine(error: EngineError) -> Status {
    with_terms(error, Terms::Nothing)
}

/// A write that has some of the terms of a departure was refused or failed.
pub(super) fn with_terms(error: EngineError, terms: Terms) -> Status {
    match error {
        EngineError::Violation(Violation::Blocked(blockers)) => blocked(&blockers, terms),
        EngineError::BlockedIn(blockers) => blocked_in(&blockers, terms),
        EngineError::Violation(violation) => self::violation(violation),
        EngineError::Missing(Missing::Account(id)) => not_found(ErrorReason::AccountNotFound, "account", id),
        EngineError::Missing(Missing::Organization(id)) => {
            not_found(ErrorReason::OrganizationNotFound, "organization", id)
        }
        EngineError::Missing(Missing::App(app)) => no_app(&app),
        EngineError::Missing(Missing::Contract(id)) => no_contract(id),
        EngineError::Missing(Missing::LostRevocation(id)) => no_change(id),
        error @ EngineError::ContractInUse(id) => {
            Problem::new(Code::FailedPrecondition, ErrorReason::ContractInUse, error.to_string())
                .precondition([id.to_string()])
                .with("resource", id)
                .status()
        }
        error @ EngineError::AppInUse(workspace) => {
            Problem::new(Code::FailedPrecondition, ErrorReason::AppInUse, error.to_string())
                .precondition([workspace.to_string()])
                .with("resource", workspace)
                .status()
        }
        EngineError::EmailTaken => {
            let message = "the e-mail address belongs to another account";
            let mut error = Problem::new(Code::AlreadyExists, ErrorReason::AccountEmailTaken, message);
            error.details.set_resource_info("account", "", "", message);
            error.status()
        }
        EngineError::ExternalIdTaken => {
            let message = "one of the external ids belongs to another account";
            let mut error = Problem::new(Code::AlreadyExists, ErrorReason::ExternalIdTaken, message);
            error.details.set_resource_info("account", "", "", message);
            error.status()
        }
        EngineError::WorkspaceNameTaken => {
            let message = "a live workspace of the organization has this name";
            let mut error = Problem::new(Code::AlreadyExists, ErrorReason::WorkspaceNameTaken, message);
            error.details.set_resource_info("workspace", "", "", message);
            error.status()
        }
        EngineError::AppExists(app) => {
            Problem::new(Code::AlreadyExists, ErrorReason::AppExists, "the app is registered already")
                .about("app", app)
                .status()
        }
        EngineError::RequestIdReused => bad_field(
            ErrorReason::RequestIdReused,
            "request_id",
            "was used before with another payload".to_owned(),
        ),
        EngineError::EtagMismatch(resource) => Problem::new(
            Code::Aborted,
            ErrorReason::EtagMismatch,
            "it has changed since the etag was read; read it again",
        )
        .with("resource", resource)
        .status(),
        EngineError::PlanChanged => {
            let message = "the departure would not do what was planned; plan it again";
            Problem::new(Code::Aborted, ErrorReason::PlanChanged, message).status()
        }
        EngineError::DepartureLimit { departures, limit } => {
            let message = "so many departures within an hour must be confirmed: set departure.exceed_limit";
            Problem::new(Code::FailedPrecondition, ErrorReason::DepartureLimit, message)
                .precondition(["departures".to_owned()])
                .with("limit", limit)
                .with("departures", departures)
                .status()
        }
        EngineError::Contention(text) => contention(&text),
        EngineError::Storage(error) => storage(error),
        error @ EngineError::Panicked => internal(&error),
    }
}

/// Whose seats they are: what kind of thing, and which.
fn seats_of(of: SeatsOf) -> (&'static str, String) {
    match of {
        SeatsOf::Organization(id) => ("organization", id.to_string()),
        SeatsOf::Contract(id) => ("contract", id.to_string()),
    }
}

/// A rule refuses it.
pub(super) fn violation(violation: Violation) -> Status {
    let message = violation.to_string();
    let failed = |reason, resource: String| {
        Problem::new(Code::FailedPrecondition, reason, message.clone())
            .precondition([resource.clone()])
            .with("resource", resource)
    };
    match violation {
        Violation::Denied(Denial::RoleInsufficient) => {
            let message = "the acting person's role does not allow this";
            Problem::new(Code::PermissionDenied, ErrorReason::RoleInsufficient, message)
                .with("rule", "R05")
                .status()
        }
        Violation::Denied(Denial::RoleAboveOwn) => {
            let message = "acts on, or grants, a role above the acting person's own";
            Problem::new(Code::PermissionDenied, ErrorReason::RoleAboveOwn, message)
                .with("rule", "R61")
                .status()
        }
        Violation::SelfDeactivationOff(_) => {
            Problem::new(Code::PermissionDenied, ErrorReason::SelfDeactivationOff, message.clone())
                .with("rule", "R06")
                .status()
        }
        Violation::OrganizationDeleted(id) => {
            failed(ErrorReason::OrganizationDeleted, id.to_string()).status()
        }
        Violation::NotConfirmed => {
            Problem::new(Code::FailedPrecondition, ErrorReason::ConfirmationRequired, message.clone())
                .precondition(["confirm".to_owned()])
                .with("field", "confirm")
                .status()
        }
        Violation::NoSeat { of, used, limit } => {
            let (kind, id) = seats_of(of);
            let mut error = Problem::new(Code::ResourceExhausted, ErrorReason::NoSeat, message.clone());
            error.details.add_quota_failure_violation(format!("{kind}:{id}"), message.clone());
            error.with("resource", id).with("used", used).with("limit", limit).status()
        }
        Violation::SeatsInUse { of, used, limit } => {
            let (_, id) = seats_of(of);
            failed(ErrorReason::SeatsInUse, id).with("used", used).with("limit", limit).status()
        }
        Violation::SeatsNotCounted => internal(&violation),
        Violation::WorkspaceOfOtherApp { app } => {
            Problem::new(Code::PermissionDenied, ErrorReason::WorkspaceOfOtherApp, message.clone())
                .with("resource", app)
                .status()
        }
        Violation::Member { member, standing } => match standing {
            Standing::None => not_found(ErrorReason::MemberNotFound, "member", member),
            Standing::Active => Problem::new(
                Code::AlreadyExists,
                ErrorReason::MemberExists,
                "the account is a member already",
            )
            .about("member", member)
            .status(),
            Standing::Deactivated => failed(ErrorReason::MemberDeactivated, member.to_string()).status(),
            Standing::Removed => failed(ErrorReason::MemberRemoved, member.to_string()).status(),
            Standing::Invited => failed(ErrorReason::MemberInvited, member.to_string()).status(),
            Standing::Erased => failed(ErrorReason::MemberErased, member.to_string()).status(),
        },
        Violation::MemberActive(member) => failed(ErrorReason::MemberActive, member.to_string()).status(),
        Violation::ReturnTime { .. } => invalid_field("return_time", message),
        Violation::WorkspaceMember { member, standing } => match standing {
            Standing::None => not_found(ErrorReason::WorkspaceMemberNotFound, "workspace member", member),
            Standing::Active => {
                let message = "the member is in the workspace already";
                Problem::new(Code::AlreadyExists, ErrorReason::WorkspaceMemberExists, message)
                    .about("workspace member", member)
                    .status()
            }
            Standing::Deactivated => {
                failed(ErrorReason::WorkspaceMemberDeactivated, member.to_string()).status()
            }
            // A membership in a workspace is neither invited nor erased, only its member is.
            Standing::Removed | Standing::Invited | Standing::Erased => {
                failed(ErrorReason::WorkspaceMemberRemoved, member.to_string()).status()
            }
        },
        Violation::NoWorkspace(id) => not_found(ErrorReason::WorkspaceNotFound, "workspace", id),
        Violation::WorkspaceDeleted(id) => failed(ErrorReason::WorkspaceDeleted, id.to_string()).status(),
        Violation::LastWorkspace(id) => failed(ErrorReason::LastWorkspace, id.to_string()).status(),
        Violation::Blocked(blockers) => blocked(&blockers, Terms::Nothing),
        Violation::SuccessorUnfit(member) => failed(ErrorReason::SuccessorUnfit, member.to_string()).status(),
        Violation::HandoverUnfit(member) => failed(ErrorReason::HandoverUnfit, member.to_string()).status(),
        Violation::InvitationSecret => bad_field(
            ErrorReason::InvitationSecretInvalid,
            "secret",
            "is damaged or made up, or the invitation was sent again since".to_owned(),
        ),
        Violation::NoInvitation(id) => not_found(ErrorReason::InvitationNotFound, "invitation", id),
        Violation::InvitationExists(id) => {
            Problem::new(Code::AlreadyExists, ErrorReason::InvitationExists, message.clone())
                .about("invitation", id)
                .status()
        }
        Violation::Invitation { invitation, state } => {
            let reason = match state {
                InvitationState::Accepted => ErrorReason::InvitationAccepted,
                InvitationState::Declined => ErrorReason::InvitationDeclined,
                InvitationState::Revoked => ErrorReason::InvitationRevoked,
                // Nothing is refused because it is pending.
                InvitationState::Expired | InvitationState::Pending => ErrorReason::InvitationExpired,
            };
            failed(reason, invitation.to_string()).status()
        }
        Violation::InvitationOfOtherAccount(id) => {
            Problem::new(Code::PermissionDenied, ErrorReason::InvitationOfOtherAccount, message.clone())
                .with("resource", id)
                .status()
        }
        Violation::InvitationRate { bound, wait } => invitations::rate_limited(bound, wait, message),
        Violation::TooLarge { changes, limit } => {
            let message = format!("{message}; remove or deactivate members of it first");
            Problem::new(Code::FailedPrecondition, ErrorReason::CommandTooLarge, message)
                .precondition([changes.to_string()])
                .with("changes", changes)
                .with("limit", limit)
                .status()
        }
    }
}

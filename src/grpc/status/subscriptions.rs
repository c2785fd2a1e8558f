//! What a subscription that has ended is told, and acknowledgements on it.

use tonic::{Code, Status};

use super::{Problem, cursor_refused, not_found, storage, unavailable};
use crate::{enforcement::Refused, feed::CursorRefusal, proto::ErrorReason, rules::ids::SubscriptionId};

/// The subscription has ended.
pub(in crate::grpc) fn subscription_closed(id: SubscriptionId) -> Status {
    Problem::new(
        Code::FailedPrecondition,
        ErrorReason::SubscriptionClosed,
        "the subscription has ended; watch anew",
    )
    .precondition([id.to_string()])
    .with("resource", id)
    .status()
}

/// The subscription has ended, and its instance name is another's: whoever watched anew would put that one out.
pub(in crate::grpc) fn subscription_replaced(id: SubscriptionId) -> Status {
    Problem::new(
        Code::FailedPrecondition,
        ErrorReason::SubscriptionReplaced,
        "another process follows under this instance name; stop",
    )
    .precondition([id.to_string()])
    .with("resource", id)
    .status()
}

/// An acknowledgement is refused.
pub(in crate::grpc) fn acknowledgement_refused(id: SubscriptionId, refused: Refused) -> Status {
    match refused {
        Refused::Replaced => subscription_replaced(id),
        Refused::Ended => subscription_closed(id),
        Refused::Missing => not_found(ErrorReason::SubscriptionNotFound, "subscription", id),
        Refused::Forked => cursor_refused("applied_cursor", CursorRefusal::Forked),
        Refused::Busy | Refused::Unavailable => unavailable(),
        Refused::Storage(error) => storage(error),
    }
}

//! What a refusal says: the reason of `errors.proto`, its metadata, and when to try again.

use std::time::Duration;

use tonic::Status;
use tonic_types::StatusExt as _;

use crate::v1::ErrorReason;

const DOMAIN: &str = "rollcall.v1";
const REASON_PREFIX: &str = "ERROR_REASON_";

/// The reason of an error of the service. `None` for an error of the connection, of a proxy, or of a newer service that
/// has reasons which this client does not know.
#[must_use]
pub fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    ErrorReason::from_str_name(&format!("{REASON_PREFIX}{}", info.reason))
}

/// One value of the metadata that the reason promises, for example `resource`.
#[must_use]
pub fn metadata(status: &Status, key: &str) -> Option<String> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    info.metadata.get(key).cloned()
}

/// When the service asks to try again.
#[must_use]
pub fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// The error in one line for people: its reason, or its code where it has none, and its message.
#[must_use]
pub fn describe(status: &Status) -> String {
    let name = reason(status)
        .map(|reason| reason.as_str_name().trim_start_matches(REASON_PREFIX).to_owned())
        .unwrap_or_else(|| format!("{:?}", status.code()));
    match status.message() {
        "" => name,
        message => format!("{name}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(domain: &str, reason: &str) -> Status {
        let mut details = ErrorDetails::new();
        let metadata = HashMap::from([("resource".to_owned(), "chat".to_owned())]);
        details.set_error_info(reason, domain, metadata);
        details.set_retry_info(Some(Duration::from_millis(250)));
        Status::with_error_details(Code::NotFound, "no app is called chat", details)
    }

    #[test]
    fn reason_metadata_and_delay_are_read_from_the_details() {
        let status = refusal("rollcall.v1", "APP_NOT_FOUND");
        assert_eq!(reason(&status), Some(ErrorReason::AppNotFound));
        assert_eq!(metadata(&status, "resource").as_deref(), Some("chat"));
        assert_eq!(metadata(&status, "field"), None);
        assert_eq!(retry_delay(&status), Some(Duration::from_millis(250)));
        assert_eq!(describe(&status), "APP_NOT_FOUND: no app is called chat");
    }

    #[test]
    fn the_details_of_others_are_not_ours() {
        assert_eq!(reason(&refusal("googleapis.com", "APP_NOT_FOUND")), None);
        assert_eq!(reason(&refusal("rollcall.v1", "INVENTED_LATER")), None);
        let bare = Status::unavailable("tcp connect error");
        assert_eq!(reason(&bare), None);
        assert_eq!(describe(&bare), "Unavailable: tcp connect error");
    }
}

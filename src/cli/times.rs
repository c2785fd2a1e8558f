//! Times on the command line and in what is printed.

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, Utc};
use prost_types::Timestamp;

/// Reads a time: RFC 3339, or a date, whose midnight in UTC is meant.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let time = time.or_else(|_| text.parse().map(midnight));
    let time = time
        .map_err(|_| "not a time such as 2026-03-01T17:00:00Z, nor a date such as 2026-03-01".to_owned())?;
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default();
    Ok(Timestamp { seconds: time.timestamp(), nanos })
}

/// A time of the API as RFC 3339, to the microsecond. None where it is none.
pub(super) fn rfc3339(time: &Timestamp) -> Option<String> {
    let time = DateTime::<Utc>::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_dates_are_read() {
        for (text, expected) in [
            ("2026-03-01", "2026-03-01T00:00:00.000000Z"),
            ("2026-03-01T17:00:00Z", "2026-03-01T17:00:00.000000Z"),
            ("2026-03-01T17:00:00.5+02:00", "2026-03-01T15:00:00.500000Z"),
        ] {
            assert_eq!(parse(text).ok().as_ref().and_then(rfc3339).as_deref(), Some(expected));
        }
        for text in ["", "yesterday", "2026-02-30", "2026-03-01 17:00"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Reports of activity, parsed: bounded, and none from the future.

use chrono::{DateTime, Utc};
use tonic::Status;

use super::{parse, status};
use crate::{proto, rules::state::Moment, storage::Activity};

/// Activities that a report takes at most: some 90 kB, and some milliseconds.
const MAX_ACTIVITIES: usize = 1_000;
/// How far the clock of an app may be ahead, in microseconds. A time beyond that is a mistake, and would keep a guest for
/// as long as it is wrong.
const AHEAD: i64 = 60 * 1_000_000;

/// Reads a report as it arrives at a moment.
pub(super) fn parsed(activities: &[proto::Activity], now: DateTime<Utc>) -> Result<Vec<Activity>, Status> {
    if activities.is_empty() || activities.len() > MAX_ACTIVITIES {
        return Err(status::invalid_field("activities", format!("must be 1 to {MAX_ACTIVITIES} entries")));
    }
    let latest = Moment(now.timestamp_micros() + AHEAD);
    let parsed = activities.iter().enumerate().map(|(index, activity)| {
        let field = |name: &str| format!("activities[{index}].{name}");
        let time = parse::moment(&field("time"), activity.time)?;
        if time.is_some_and(|time| time > latest) {
            return Err(status::invalid_field(&field("time"), "must not be in the future"));
        }
        Ok(Activity {
            organization: parse::required(&field("organization_id"), &activity.organization_id)?,
            member: parse::required(&field("member_id"), &activity.member_id)?,
            time,
        })
    });
    parsed.collect()
}

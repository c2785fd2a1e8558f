//! Leases and verdicts as messages of the API.

use std::time::Duration;

use super::time;
use crate::{
    enforcement::{AppReport, InstanceState, Late, Report, State, lease, report::NAMED},
    proto,
    storage::SubscriptionRow,
};

/// A duration.
pub(super) fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

/// A number of things as the API says it.
fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A subscription, seen from a head.
pub(in crate::grpc) fn subscription(row: SubscriptionRow, head: i64) -> proto::Subscription {
    let SubscriptionRow {
        subscription_id,
        app,
        instance,
        organization_ids,
        state,
        applied_position,
        create_time,
        acknowledge_time,
        grant_seq,
        lease_ttl_ms,
        receipts_position: _,
    } = row;
    let state = match state.as_str() {
        "LIVE" => proto::SubscriptionState::Live,
        "REPLACED" => proto::SubscriptionState::Replaced,
        _ => proto::SubscriptionState::Closed,
    };
    proto::Subscription {
        subscription_id: subscription_id.to_string(),
        app,
        instance,
        organization_ids: organization_ids.iter().map(ToString::to_string).collect(),
        applied_position,
        lag: (head - applied_position).max(0),
        create_time: time(create_time),
        acknowledge_time: acknowledge_time.and_then(time),
        state: state.into(),
        lease_ttl: duration(lease::millis(lease_ttl_ms)),
        grant_seq,
    }
}

/// How far a write is enforced.
pub(in crate::grpc) fn report(report: Report) -> proto::Enforcement {
    let Report { position, command, organization, state, apps } = report;
    proto::Enforcement {
        position,
        command_id: command.map(|command| command.to_string()).unwrap_or_default(),
        organization_id: organization.map(|organization| organization.to_string()).unwrap_or_default(),
        state: self::state(state).into(),
        apps: apps.into_iter().map(of_app).collect(),
    }
}

fn of_app(app: AppReport) -> proto::AppEnforcement {
    let AppReport {
        app,
        state,
        instances,
        applied,
        ended,
        lapsed,
        ended_sessions,
        handed_over,
        enforce_time,
        bound,
        late,
    } = app;
    proto::AppEnforcement {
        app,
        state: self::state(state).into(),
        instances: count(instances),
        applied_instances: count(applied),
        ended_instances: count(ended),
        lapsed_instances: count(lapsed),
        ended_sessions,
        handed_over,
        enforce_time: enforce_time.and_then(time),
        bound: bound.and_then(duration),
        late: late.into_iter().take(NAMED).map(self::late).collect(),
    }
}

fn late(late: Late) -> proto::InstanceEnforcement {
    let Late { instance, subscription, state, detail } = late;
    let state = match state {
        InstanceState::Pending => proto::InstanceState::Pending,
        InstanceState::Applied => proto::InstanceState::Applied,
        InstanceState::Failed => proto::InstanceState::Failed,
        InstanceState::Lapsed => proto::InstanceState::Lapsed,
    };
    proto::InstanceEnforcement {
        instance,
        subscription_id: subscription.map(|id| id.to_string()).unwrap_or_default(),
        state: state.into(),
        detail,
    }
}

fn state(state: State) -> proto::EnforcementState {
    match state {
        State::Pending => proto::EnforcementState::Pending,
        State::Enforced => proto::EnforcementState::Enforced,
        State::NoInstances => proto::EnforcementState::NoInstances,
        State::Unbounded => proto::EnforcementState::Unbounded,
    }
}

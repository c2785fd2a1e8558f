//! Health: SERVING while the log is reached, for each service and overall.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::feed::Marks;

/// Every service, and "" for the whole.
const SERVICES: [&str; 7] = [
    "",
    "rollcall.v1.AccountService",
    "rollcall.v1.AppService",
    "rollcall.v1.FeedService",
    "rollcall.v1.InvitationService",
    "rollcall.v1.MemberService",
    "rollcall.v1.OrganizationService",
];
/// A mark older than this means that the database does not answer. Marks come every 50 ms; two seconds ride out a pause.
const STALE: Duration = Duration::from_secs(2);
/// How often to look.
const LOOK: Duration = Duration::from_millis(250);

/// Sets one status for all.
pub(super) async fn set(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Ends the open `Health.Watch` streams, which would hold the drain up.
pub(super) async fn clear(reporter: &HealthReporter) {
    let mut reporter = reporter.clone();
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}

/// What the newest mark says.
pub(super) fn now(marks: &Marks) -> ServingStatus {
    let fresh = marks.newest().is_some_and(|mark| mark.at.elapsed() < STALE);
    if fresh { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// Keeps the status true until `shutdown`.
pub(super) async fn follow(reporter: HealthReporter, marks: Marks, shutdown: CancellationToken) {
    let mut before = None;
    loop {
        let now = now(&marks);
        if before != Some(now) {
            set(&reporter, now).await;
            before = Some(now);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

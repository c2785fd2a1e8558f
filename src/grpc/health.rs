//! Health: SERVING while the log is reached, for each service and overall. Access checks have a status of their own, on which
//! the whole does not depend: everything else works while they cannot be answered.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{access::Access, feed::Marks};

/// Every other service, and "" for the whole.
const SERVICES: [&str; 8] = [
    "",
    "rollcall.v1.AccountService",
    "rollcall.v1.AppService",
    "rollcall.v1.AuditService",
    "rollcall.v1.FeedService",
    "rollcall.v1.InvitationService",
    "rollcall.v1.MemberService",
    "rollcall.v1.OrganizationService",
];
/// Serving while its replica knows who has access.
const ACCESS: &str = "rollcall.v1.AccessService";
/// How often to look.
const LOOK: Duration = Duration::from_millis(250);

/// Sets one status for all but access checks.
async fn set(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Sets what is so at the start, before the first answer can be asked for: a service that is not known yet is NOT_FOUND.
pub(super) async fn begin(reporter: &HealthReporter, marks: &Marks, access: bool) {
    set(reporter, now(marks)).await;
    if access {
        reporter.set_service_status(ACCESS, ServingStatus::NotServing).await;
    }
}

/// Sets what is so at the end.
pub(super) async fn end(reporter: &HealthReporter, access: bool) {
    set(reporter, ServingStatus::NotServing).await;
    if access {
        reporter.set_service_status(ACCESS, ServingStatus::NotServing).await;
    }
}

/// Ends the open `Health.Watch` streams, which would hold the drain up.
pub(super) async fn clear(reporter: &HealthReporter) {
    let mut reporter = reporter.clone();
    for service in SERVICES.into_iter().chain([ACCESS]) {
        reporter.clear_service_status(service).await;
    }
}

fn measure(service: &'static str, status: ServingStatus) {
    let serving = if status == ServingStatus::Serving { 1.0 } else { 0.0 };
    metrics::gauge!("rollcall_serving", "service" => service).set(serving);
}

/// What the newest mark says.
fn now(marks: &Marks) -> ServingStatus {
    if marks.are_fresh() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// Keeps the status true until `shutdown`.
pub(super) async fn follow(
    reporter: HealthReporter,
    marks: Marks,
    access: Option<Access>,
    shutdown: CancellationToken,
) {
    let (mut before, mut access_before) = (None, None);
    loop {
        let now = now(&marks);
        if before != Some(now) {
            measure("all", now);
            set(&reporter, now).await;
            before = Some(now);
        }
        let access_now = access.as_ref().map(|access| match access.is_answering() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        });
        if let Some(status) = access_now.filter(|_| access_before != access_now) {
            measure("access", status);
            reporter.set_service_status(ACCESS, status).await;
            access_before = access_now;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

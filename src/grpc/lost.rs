//! Revocations that the log lost: reported by instances, decided by operators (C7).

use tonic::{Request, Response, Status};

use super::{Services, authz, convert, parse, status};
use crate::{
    engine::LostDecision,
    proto::{
        self, ListLostRevocationsRequest, ListLostRevocationsResponse, LostRevocationDecision,
        ReportLostRevocationsRequest, ReportLostRevocationsResponse, ResolveLostRevocationRequest,
        ResolveLostRevocationResponse,
    },
    rules::ids::SubscriptionId,
    storage::{LostRevocation, Reach},
};

/// Revocations that a report takes at most: some 80 kB.
const MAX_REVOCATIONS: usize = 500;

fn parsed(revocations: &[proto::LostRevocation]) -> Result<Vec<LostRevocation>, Status> {
    if revocations.len() > MAX_REVOCATIONS {
        return Err(status::invalid_field("revocations", format!("must be at most {MAX_REVOCATIONS}")));
    }
    let parsed = revocations.iter().enumerate().map(|(index, lost)| {
        let field = |name: &str| format!("revocations[{index}].{name}");
        Ok(LostRevocation {
            change: parse::required(&field("change_id"), &lost.change_id)?,
            organization: parse::required(&field("organization_id"), &lost.organization_id)?,
            workspace: parse::optional(&field("workspace_id"), &lost.workspace_id)?,
            member: parse::required(&field("member_id"), &lost.member_id)?,
            reason: parse::change_reason(&field("reason"), lost.reason)?,
            record_time: parse::time(&field("record_time"), lost.record_time)?,
        })
    });
    parsed.collect()
}

impl Services {
    pub(super) async fn lost_reported(
        &self,
        request: Request<ReportLostRevocationsRequest>,
    ) -> Result<ReportLostRevocationsResponse, Status> {
        let message = request.get_ref();
        let id: SubscriptionId = parse::required("subscription_id", &message.subscription_id)?;
        let mut lost = parsed(&message.revocations)?;
        let reporter = self.own_subscription(&request, id).await?;
        if reporter.state != "LIVE" {
            return Err(status::subscription_closed(id));
        }
        if let Some(app) = authz::own_app(&request)? {
            // What an instance still denies is of somebody whom its app has been told of again since.
            let reach = Reach { app: Some(app), person: None };
            let organizations = lost.iter().map(|lost| lost.organization.0).collect();
            let known = self.known_of(&reach, organizations).await?;
            lost.retain(|lost| known.contains(&lost.organization.0));
        }
        if lost.is_empty() {
            return Ok(ReportLostRevocationsResponse::default());
        }
        let database = self.engine.database();
        let new = database.report_lost(id, &lost).await.map_err(status::storage)?;
        if new > 0 {
            metrics::counter!("rollcall_lost_revocations_reported_total").increment(new as u64);
            let (app, instance) = (reporter.app, reporter.instance);
            tracing::warn!(
                app,
                instance,
                new,
                "the log lost revocations that this instance still denies by: decide about them (rollcall lost list)"
            );
        }
        let resolved = database.resolved_lost(id, &lost).await.map_err(status::storage)?;
        Ok(ReportLostRevocationsResponse { resolved_change_ids: convert::ids(resolved) })
    }

    pub(super) async fn lost_listed(
        &self,
        request: Request<ListLostRevocationsRequest>,
    ) -> Result<ListLostRevocationsResponse, Status> {
        let message = request.get_ref();
        let page = self.page(&request, &Reach::ALL, (message.page_size, &message.page_token), &["lost"])?;
        let after = page.after_id()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        let rows = self.engine.database().lost_revocations(after, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.change_id.to_string());
        let revocations = rows.into_iter().map(convert::lost_revocation).collect();
        Ok(ListLostRevocationsResponse { revocations, next_page_token })
    }

    pub(super) async fn lost_resolved(
        &self,
        request: Request<ResolveLostRevocationRequest>,
    ) -> Result<Response<ResolveLostRevocationResponse>, Status> {
        let message = request.get_ref();
        let change = parse::required("change_id", &message.change_id)?;
        let applied_again = match LostRevocationDecision::try_from(message.decision) {
            Ok(LostRevocationDecision::AppliedAgain) => true,
            Ok(LostRevocationDecision::Dropped) => false,
            _ => return Err(status::invalid_field("decision", "must be a decision")),
        };
        let context = self.context("ResolveLostRevocation", &request, "", &message.request_id)?;
        let decision = LostDecision { change, applied_again };
        let done = self.engine.resolve_lost(context, decision).await.map_err(status::engine)?;
        Ok(Response::new(ResolveLostRevocationResponse { token: self.token(&done).await? }))
    }
}

//! AuditService.

use tonic::{Request, Response, Status, async_trait};

use super::{Services, convert, page::Asked, parse, status};
use crate::{
    audit::VARIOUS,
    proto::{
        ErrorReason, ListAuditEntriesRequest, ListAuditEntriesResponse, audit_service_server::AuditService,
    },
    storage::{AuditFilter, OK, Reach},
};

#[async_trait]
impl AuditService for Services {
    async fn list_audit_entries(
        &self,
        request: Request<ListAuditEntriesRequest>,
    ) -> Result<Response<ListAuditEntriesResponse>, Status> {
        let message = request.get_ref();
        let filter = filter(message)?;
        let asked = (message.page_size, message.page_token.as_str());
        let page = self.page(&request, &Reach::ALL, asked, &["audit", &format!("{filter:?}")])?;
        let before =
            page.after.as_deref().map(str::parse::<i64>).transpose().map_err(|_| Asked::invalid())?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        if before.is_none() {
            // What was answered before this call has its place then.
            self.audit.flush().await.map_err(status::storage)?;
        }
        let rows = self.engine.database().audit_entries(&filter, before, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, |row| row.position.to_string());
        let entries = rows.into_iter().map(convert::audit_entry).collect();
        Ok(Response::new(ListAuditEntriesResponse { entries, next_page_token }))
    }
}

fn filter(message: &ListAuditEntriesRequest) -> Result<AuditFilter, Status> {
    let (start, end) = parse::time_range(message.start_time, message.end_time)?;
    let outcome = (!message.outcome.is_empty()).then(|| message.outcome.clone());
    let known = |word: &str| {
        [OK, VARIOUS].contains(&word) || ErrorReason::from_str_name(&format!("ERROR_REASON_{word}")).is_some()
    };
    if outcome.as_deref().is_some_and(|word| !known(word)) {
        return Err(status::invalid_field("outcome", "must be OK or a reason of errors.proto"));
    }
    Ok(AuditFilter {
        organization: parse::optional("organization_id", &message.organization_id)?,
        caller: parse::optional("caller", &message.caller)?,
        acting: parse::optional("actor_account_id", &message.actor_account_id)?,
        outcome,
        refused: message.refused_only,
        start,
        end,
    })
}

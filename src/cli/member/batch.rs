//! `rollcall member deactivate` of several members: one call, a line for each.

use std::process::ExitCode;

use rollcall_client::v1;

use super::{depart::HowArgs, plan::Departure};
use crate::cli::{
    confirm::Unasked,
    enforced::Enforced,
    output::{Printer, row},
    service::{CommandError, Service, call, request_id},
};

row! {
    /// What became of one of several members.
    OutcomeRow {
        member_id: String,
        outcome: &'static str,
        refusal: String,
        message: String,
    }
}

pub(super) async fn deactivate(
    service: &Service,
    organization: String,
    members: Vec<String>,
    terms: v1::DepartureTerms,
    how: &HowArgs,
) -> Result<ExitCode, CommandError> {
    let members = members.into_iter().map(|member_id| v1::BatchDeparture { member_id, ..Default::default() });
    let mut request = v1::BatchDeactivateMembersRequest {
        organization_id: organization.clone(),
        members: members.collect(),
        departure: Some(terms.clone()),
        acting_account_id: service.acting.clone(),
        request_id: request_id(),
        validate_only: true,
        await_enforcement: None,
    };
    let planned = call!(service.client, members.batch_deactivate_members, request.clone())?;
    if how.plan {
        return print_plans(service, organization, &terms, planned).await;
    }
    let leaving = planned.results.iter().filter(|result| result.deactivated).count();
    let shown = format!(
        "{leaving} of {} members lose access. Seats that become free: {}. Nothing is deleted; an owner or admin \
         can bring them back.",
        planned.results.len(),
        planned.seats_freed
    );
    how.confirm.confirm(&shown, Unasked::Done)?;
    // What was refused as a plan is not tried: what is done was shown.
    let (asked, refused): (Vec<_>, Vec<_>) =
        planned.results.into_iter().partition(|result| result.refusal.is_empty());
    let members = asked.into_iter().map(|result| v1::BatchDeparture {
        member_id: result.member_id,
        plan_etag: result.plan.map(|plan| plan.etag).unwrap_or_default(),
    });
    request.members = members.collect();
    request.validate_only = false;
    request.request_id = request_id();
    request.await_enforcement = how.wait.wanted();
    let (mut results, mut enforced) = (Vec::new(), None);
    if !request.members.is_empty() {
        let answer = call!(service.client, members.batch_deactivate_members, request)?;
        results = answer.results;
        enforced = how.wait.told(answer.enforcement);
    }
    results.extend(refused);
    let refused = results.iter().any(|result| !result.refusal.is_empty());
    let rows = results.into_iter().map(|result| OutcomeRow {
        member_id: result.member_id,
        outcome: match (result.refusal.is_empty(), result.deactivated) {
            (false, _) => "REFUSED",
            (true, true) => "DEACTIVATED",
            (true, false) => "UNCHANGED",
        },
        refusal: result.refusal,
        message: result.message,
    });
    Printer::new(service.format).print(&rows.collect::<Vec<_>>())?;
    let code = Enforced::end(enforced.as_ref(), "member", service.format);
    Ok(if refused { ExitCode::FAILURE } else { code })
}

/// The plan of each, on a line of its own.
async fn print_plans(
    service: &Service,
    organization: String,
    terms: &v1::DepartureTerms,
    planned: v1::BatchDeactivateMembersResponse,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for result in planned.results {
        let mut plan = result.plan.unwrap_or_default();
        if !result.refusal.is_empty() {
            plan.blockers.push(v1::PlannedBlocker {
                reason: result.refusal,
                resource: result.member_id.clone(),
                description: result.message,
            });
        }
        if !plan.blockers.is_empty() {
            code = ExitCode::FAILURE;
        }
        let departure = Departure {
            organization: organization.clone(),
            member: result.member_id,
            workspace: None,
            kind: v1::DepartureKind::Deactivate,
            handover_to: terms.handover_to_member_id.clone(),
            return_time: None,
            plan,
        };
        let text = departure.text(&service.client).await?;
        departure.print(&text, service.format);
    }
    Ok(code)
}

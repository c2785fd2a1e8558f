//! AccessService.

use std::{future::Future, time::Duration};

use tokio::time::timeout_at;
use tonic::{Extensions, Request, Response, Status, async_trait};

use super::{
    Services,
    fresh::{TokenRefusal, patience},
    parse, status,
};
use crate::{
    access::{Answer, Moment, Stamp, Who},
    proto::{
        self, AccessCheck, BatchCheckAccessRequest, BatchCheckAccessResponse, CheckAccessRequest,
        CheckAccessResponse, access_check, access_service_server::AccessService,
    },
    rules::ids::WorkspaceId,
};

/// Checks of a batch at most.
const MAX_CHECKS: usize = 1_000;
/// The oldest answer that can be asked for.
const MAX_STALENESS: Duration = Duration::from_secs(3_600);

/// Who and what, parsed.
struct Asked {
    who: Who,
    workspace: WorkspaceId,
    stamp: Option<Stamp>,
}

impl Asked {
    fn parse(field: &str, check: &AccessCheck) -> Result<Self, Status> {
        let AccessCheck { workspace_id, person, stamp } = check;
        let who = match person {
            Some(access_check::Person::AccountId(id)) => {
                Who::Account(parse::required(&format!("{field}.account_id"), id)?)
            }
            Some(access_check::Person::ExternalId(id)) => {
                Who::External(parse::external_id(&format!("{field}.external_id"), id)?)
            }
            None => return Err(status::invalid_field(field, "must name a person")),
        };
        let workspace = parse::required(&format!("{field}.workspace_id"), workspace_id)?;
        let stamp = (!stamp.is_empty()).then(|| stamp.parse()).transpose().map_err(|_| {
            status::invalid_field(&format!("{field}.stamp"), "must be a stamp as a check answered it")
        })?;
        Ok(Self { who, workspace, stamp })
    }

    fn of(&self, moment: &Moment<'_>) -> Result<proto::Access, Status> {
        let answer = moment.check(&self.who, self.workspace, self.stamp.as_ref());
        Ok(match answer.ok_or_else(status::access_stale)? {
            Answer::Allowed { member, organization_role, workspace_role, leaving, stamp } => proto::Access {
                allowed: true,
                denial_reason: 0,
                member_id: member.to_string(),
                organization_role,
                workspace_role,
                leaving,
                stamp: stamp.to_string(),
            },
            Answer::Denied(denial_reason) => proto::Access { denial_reason, ..Default::default() },
        })
    }
}

/// How old an answer may be.
fn max_staleness(given: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let Some(given) = given else { return Ok(None) };
    let parsed = Duration::try_from(given).ok().filter(|staleness| *staleness <= MAX_STALENESS);
    let wrong = || status::invalid_field("max_staleness", "must be at most 1 hour, and not negative");
    parsed.map(Some).ok_or_else(wrong)
}

/// Where answers come from: the service's own replica, or that of an app.
pub(super) trait Moments: Sync {
    /// A moment to answer from.
    fn moment(
        &self,
        call: &Extensions,
        at_least_as_fresh: &str,
        max_staleness: Option<Duration>,
    ) -> impl Future<Output = Result<Moment<'_>, Status>> + Send;
}

impl Moments for Services {
    async fn moment(
        &self,
        call: &Extensions,
        at_least_as_fresh: &str,
        max_staleness: Option<Duration>,
    ) -> Result<Moment<'_>, Status> {
        let access = self.access.as_ref().ok_or_else(status::access_stale)?;
        let position = self.fresh(call, at_least_as_fresh).await?;
        if position > 0 {
            let passed = timeout_at(patience(call.get()), access.passed(position)).await;
            passed.map_err(|_| status::token_refused("at_least_as_fresh", TokenRefusal::NotReached))?;
        }
        access.moment(max_staleness).ok_or_else(status::access_stale)
    }
}

/// CheckAccess.
pub(super) async fn check(
    from: &impl Moments,
    request: &Request<CheckAccessRequest>,
) -> Result<Response<CheckAccessResponse>, Status> {
    let CheckAccessRequest { check, at_least_as_fresh, max_staleness: staleness } = request.get_ref();
    let check = check.as_ref().ok_or_else(|| status::invalid_field("check", "must be given"))?;
    let asked = Asked::parse("check", check)?;
    let staleness = max_staleness(*staleness)?;
    let moment = from.moment(request.extensions(), at_least_as_fresh, staleness).await?;
    Ok(Response::new(CheckAccessResponse {
        access: Some(asked.of(&moment)?),
        position: moment.position(),
        stale: moment.is_stale(),
    }))
}

/// BatchCheckAccess.
pub(super) async fn check_all(
    from: &impl Moments,
    request: &Request<BatchCheckAccessRequest>,
) -> Result<Response<BatchCheckAccessResponse>, Status> {
    let BatchCheckAccessRequest { checks, at_least_as_fresh, max_staleness: staleness } = request.get_ref();
    if checks.is_empty() || checks.len() > MAX_CHECKS {
        return Err(status::invalid_field("checks", format!("must be 1 to {MAX_CHECKS}")));
    }
    let parsed = checks.iter().enumerate().map(|(at, check)| Asked::parse(&format!("checks[{at}]"), check));
    let asked: Vec<Asked> = parsed.collect::<Result<_, _>>()?;
    let staleness = max_staleness(*staleness)?;
    let moment = from.moment(request.extensions(), at_least_as_fresh, staleness).await?;
    Ok(Response::new(BatchCheckAccessResponse {
        accesses: asked.iter().map(|asked| asked.of(&moment)).collect::<Result<_, _>>()?,
        position: moment.position(),
        stale: moment.is_stale(),
    }))
}

#[async_trait]
impl AccessService for Services {
    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Status> {
        check(self, &request).await
    }

    async fn batch_check_access(
        &self,
        request: Request<BatchCheckAccessRequest>,
    ) -> Result<Response<BatchCheckAccessResponse>, Status> {
        check_all(self, &request).await
    }
}

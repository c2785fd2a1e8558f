//! AccessService.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::timeout_at;
use tonic::{Extensions, Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{
    Services,
    fresh::{TokenRefusal, patience},
    limits, parse, status,
};
use crate::{
    access::{Answer, Moment, Stamp, Who},
    identity::{Caller, Kind},
    proto::{
        self, AccessCheck, BatchCheckAccessRequest, BatchCheckAccessResponse, CheckAccessRequest,
        CheckAccessResponse, DenialReason, access_check, access_service_server::AccessService,
    },
    rules::ids::{AccountId, AppName, WorkspaceId},
};

/// Checks of a batch at most.
const MAX_CHECKS: usize = 1_000;
/// The oldest answer that can be asked for.
const MAX_STALENESS: Duration = Duration::from_secs(3_600);

/// Who and what, parsed.
pub(super) struct Asked {
    who: Who,
    workspace: WorkspaceId,
    stamp: Option<Stamp>,
}

/// What is out of reach is answered as what is not there.
fn unknown() -> proto::Access {
    proto::Access { denial_reason: DenialReason::WorkspaceUnknown.into(), ..Default::default() }
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

/// Which app each workspace is of, as far as it was looked up: it never changes, so an app is answered by the replica alone,
/// also while the database is out of reach. Cheap to clone.
#[derive(Clone, Default)]
pub struct Owners(Arc<Mutex<HashMap<Uuid, String>>>);

/// Workspaces that are remembered at most, some 100 bytes each. Beyond that, all are forgotten and looked up again.
const MAX_OWNERS: usize = 500_000;

impl Owners {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, String>> {
        // Nothing panics while it holds this lock; a map is never half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, found: Vec<(Uuid, String)>) {
        let mut owners = self.lock();
        if owners.len() + found.len() > MAX_OWNERS {
            owners.clear();
        }
        owners.extend(found);
    }
}

/// Where answers come from: the service's own replica, or that of an app.
pub(super) trait Moments: Sync {
    /// Of each of these, whether whoever asks may know of it. What they may not know of is answered as unknown.
    fn known(
        &self,
        call: &Extensions,
        asked: &[Asked],
    ) -> impl Future<Output = Result<Vec<bool>, Status>> + Send;

    /// A moment to answer from.
    fn moment(
        &self,
        call: &Extensions,
        at_least_as_fresh: &str,
        max_staleness: Option<Duration>,
    ) -> impl Future<Output = Result<Moment<'_>, Status>> + Send;
}

impl Services {
    /// Which of these are about workspaces of an app.
    async fn of_app(&self, call: &Extensions, app: &AppName, asked: &[Asked]) -> Result<Vec<bool>, Status> {
        let unknown: Vec<Uuid> = {
            let owners = self.owners.lock();
            asked.iter().map(|asked| asked.workspace.0).filter(|id| !owners.contains_key(id)).collect()
        };
        if !unknown.is_empty() {
            // Ids that nobody has are looked up each time.
            let _turn = limits::turn(call).await?;
            let found = self.engine.database().apps_of(&unknown).await.map_err(status::storage)?;
            self.owners.learn(found);
        }
        let owners = self.owners.lock();
        let own = |asked: &Asked| owners.get(&asked.workspace.0).is_some_and(|owner| owner == app.as_str());
        Ok(asked.iter().map(own).collect())
    }

    /// Which of these are about this person.
    async fn of_person(
        &self,
        call: &Extensions,
        person: AccountId,
        asked: &[Asked],
    ) -> Result<Vec<bool>, Status> {
        let mut ids = BTreeSet::new();
        if asked.iter().any(|asked| matches!(asked.who, Who::External(_))) {
            let _turn = limits::turn(call).await?;
            ids.extend(self.engine.database().external_ids_of(person).await.map_err(status::storage)?);
        }
        let own = |asked: &Asked| match &asked.who {
            Who::Account(account) => *account == person,
            Who::External(id) => ids.contains(id),
        };
        Ok(asked.iter().map(own).collect())
    }
}

impl Moments for Services {
    async fn known(&self, call: &Extensions, asked: &[Asked]) -> Result<Vec<bool>, Status> {
        let caller = call.get::<Caller>().ok_or_else(status::unknown_caller)?;
        let mut known = match &caller.kind {
            Kind::App(app) => self.of_app(call, app, asked).await?,
            Kind::Workload | Kind::Anyone | Kind::Operator => vec![true; asked.len()],
        };
        // Whoever proved for whom it acts asks about that person alone.
        if let Some(person) = caller.person {
            let own = self.of_person(call, person, asked).await?;
            known.iter_mut().zip(own).for_each(|(known, own)| *known &= own);
        }
        Ok(known)
    }

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
    let known = from.known(request.extensions(), std::slice::from_ref(&asked)).await?;
    let moment = from.moment(request.extensions(), at_least_as_fresh, staleness).await?;
    Ok(Response::new(CheckAccessResponse {
        access: Some(if known == [true] { asked.of(&moment)? } else { unknown() }),
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
    let known = from.known(request.extensions(), &asked).await?;
    let moment = from.moment(request.extensions(), at_least_as_fresh, staleness).await?;
    let answer = |(asked, known): (&Asked, bool)| if known { asked.of(&moment) } else { Ok(unknown()) };
    Ok(Response::new(BatchCheckAccessResponse {
        accesses: asked.iter().zip(known).map(answer).collect::<Result<_, _>>()?,
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

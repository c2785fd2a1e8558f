//! Departures: what is decided beforehand, plans, leaving by oneself, and many at once.

use std::collections::{BTreeMap, BTreeSet};

use tokio::try_join;
use tonic::{Request, Status};
use uuid::Uuid;

use super::{Services, audited, authz, convert, enforcement, parse, status, status::Terms};
use crate::{
    engine::{Batch, Context, Done, Order, Planned, Request as EngineRequest},
    proto::{
        self, BatchDeactivateMembersRequest, BatchDeactivateMembersResponse, BatchDepartureResult,
        DepartureKind, DeparturePlan, ErrorReason, LeaveOrganizationRequest, LeaveOrganizationResponse,
        LeaveWorkspaceRequest, LeaveWorkspaceResponse, PlanDepartureRequest, PlannedBlocker, PlannedEffect,
    },
    rules::{
        Command, Departure, EraseMember, ErasureCause,
        ids::{CallerName, CommandId, Malformed, MemberId, OrganizationId, RequestId, WorkspaceId},
        roles::Assignments,
    },
    storage::{Named, Reach},
};

/// Successors that a request names at most: an organization has rooms, not thousands of them, for one admin.
const MAX_SUCCESSORS: usize = 100;
/// Members of a batch at most: each is a command of its own, and the call has a deadline.
const MAX_BATCH: usize = 500;

/// A departure as it was decided on, and what the engine looks at besides.
pub(super) struct Decided {
    pub(super) departure: Departure,
    plan_etag: Option<String>,
    exceed_limit: bool,
}

impl Decided {
    pub(super) fn order(
        self,
        organization: OrganizationId,
        command: impl FnOnce(Departure) -> Command,
    ) -> Order {
        let Self { departure, plan_etag, exceed_limit } = self;
        Order { plan_etag, exceed_limit, ..Order::new(organization, command(departure)) }
    }
}

/// An etag that may be absent.
pub(super) fn given(etag: &str) -> Option<String> {
    (!etag.is_empty()).then(|| etag.to_owned())
}

impl Services {
    /// What is decided beforehand. A workspace that it names is one of the organization: who mistypes it means somebody
    /// to succeed there, and must not get another successor instead.
    pub(super) async fn decided(
        &self,
        context: &Context,
        organization: OrganizationId,
        message: Option<&proto::DepartureTerms>,
    ) -> Result<Decided, Status> {
        let decided = parsed(message)?;
        let named: Vec<Uuid> = decided.departure.workspace_successors.keys().map(|id| id.0).collect();
        if named.is_empty() {
            return Ok(decided);
        }
        let database = self.engine.database();
        let of = authz::organization(organization);
        self.reached(&context.reach, Named { former: true, ..of }).await?;
        let misses = match &context.reach.app {
            Some(app) => {
                let own = database.own_among(app, organization, &named).await;
                own.map(|own| own.len() < named.len())
            }
            None => database.misses_workspace(organization, &named).await,
        };
        if misses.map_err(status::storage)? {
            let field = "departure.workspace_successors.workspace_id";
            return Err(status::invalid_field(field, "must be a workspace of the organization"));
        }
        Ok(decided)
    }
}

/// Parses what is decided beforehand.
fn parsed(message: Option<&proto::DepartureTerms>) -> Result<Decided, Status> {
    let empty = proto::DepartureTerms::default();
    let message = message.unwrap_or(&empty);
    if message.workspace_successors.len() > MAX_SUCCESSORS {
        let problem = format!("must be at most {MAX_SUCCESSORS}");
        return Err(status::invalid_field("departure.workspace_successors", problem));
    }
    let mut workspace_successors = BTreeMap::new();
    for successor in &message.workspace_successors {
        let workspace: WorkspaceId =
            parse::required("departure.workspace_successors.workspace_id", &successor.workspace_id)?;
        let member = parse::required("departure.workspace_successors.member_id", &successor.member_id)?;
        if workspace_successors.insert(workspace, member).is_some() {
            let problem = "must name each workspace once";
            return Err(status::invalid_field("departure.workspace_successors", problem));
        }
    }
    let departure = Departure {
        owner_successor: parse::optional(
            "departure.owner_successor_member_id",
            &message.owner_successor_member_id,
        )?,
        workspace_successors,
        successor: parse::optional("departure.successor_member_id", &message.successor_member_id)?,
        leave_without_admin: message.leave_without_admin,
        handover_to: parse::optional("departure.handover_to_member_id", &message.handover_to_member_id)?,
        acknowledge_account_deletion: message.acknowledge_account_deletion,
        acknowledge_organization_deletion: message.acknowledge_organization_deletion,
        tombstone: Uuid::new_v4(),
    };
    Ok(Decided { departure, plan_etag: given(&message.plan_etag), exceed_limit: message.exceed_limit })
}

/// Parses what becomes of assignments; kept where it is not said. Only what is handed over needs somebody who takes over.
pub(super) fn assignments(policy: i32, departure: &Departure) -> Result<Assignments, Status> {
    let field = "assignments";
    match (proto::Assignments::try_from(policy), departure.handover_to) {
        (Ok(proto::Assignments::HandOver), None) => {
            Err(status::invalid_field(field, "needs departure.handover_to_member_id to hand over"))
        }
        (Ok(proto::Assignments::HandOver), Some(_)) => Ok(Assignments::HandOver),
        (Ok(_), Some(_)) => Err(status::invalid_field(field, "must hand over where somebody takes over")),
        (Ok(proto::Assignments::Unspecified | proto::Assignments::Keep), None) => Ok(Assignments::Keep),
        (Ok(proto::Assignments::Clear), None) => Ok(Assignments::Clear),
        (Err(_), _) => Err(status::invalid_field(field, "must be a known value")),
    }
}

/// A plan as it is shown.
fn plan(planned: Planned) -> DeparturePlan {
    let Planned {
        changes,
        blockers,
        seats_freed,
        other_organizations,
        account_deleted,
        organization_deleted,
        etag,
    } = planned;
    let effects = changes.into_iter().map(|change| PlannedEffect {
        reason: convert::reason(change.reason).into(),
        subject: Some(convert::planned(change.subject)),
    });
    let blockers = blockers.iter().map(|blocker| {
        let (reason, resource, description) = status::blocker(blocker, Terms::Departure);
        PlannedBlocker { reason: status::reason_name(reason), resource, description: description.to_owned() }
    });
    DeparturePlan {
        effects: effects.collect(),
        blockers: blockers.collect(),
        seats_freed,
        other_organization_ids: convert::ids(other_organizations),
        account_deleted,
        organization_deleted,
        etag,
    }
}

/// What a plan is about: the command without its commander.
fn planned_command(
    message: &PlanDepartureRequest,
    organization: OrganizationId,
    decided: Decided,
) -> Result<Order, Status> {
    let member = parse::required("member_id", &message.member_id)?;
    let kind = DepartureKind::try_from(message.kind);
    let about_workspace =
        matches!(kind, Ok(DepartureKind::DeactivateInWorkspace | DepartureKind::RemoveFromWorkspace));
    let workspace: Option<WorkspaceId> = parse::optional("workspace_id", &message.workspace_id)?;
    if workspace.is_some() != about_workspace {
        return Err(status::invalid_field(
            "workspace_id",
            "must be given for what is about a workspace alone",
        ));
    }
    if kind != Ok(DepartureKind::Erase) && message.assignments != 0 {
        return Err(status::invalid_field("assignments", "goes with DEPARTURE_KIND_ERASE alone"));
    }
    let return_time = parse::moment("return_time", message.return_time)?;
    if return_time.is_some() && kind != Ok(DepartureKind::Deactivate) {
        return Err(status::invalid_field("return_time", "goes with DEPARTURE_KIND_DEACTIVATE alone"));
    }
    let unknown = || status::invalid_field("kind", "must be a known kind of departure");
    let command = match (kind.map_err(|_| unknown())?, workspace) {
        (DepartureKind::Deactivate, _) => {
            Command::DeactivateMember { member, departure: decided.departure.clone(), return_time }
        }
        (DepartureKind::Remove, _) => Command::RemoveMember { member, departure: decided.departure.clone() },
        (DepartureKind::Erase, _) => erasure(member, message.assignments, &decided)?,
        (DepartureKind::DeactivateInWorkspace, Some(workspace)) => {
            Command::DeactivateWorkspaceMember { workspace, member, departure: decided.departure.clone() }
        }
        (DepartureKind::RemoveFromWorkspace, Some(workspace)) => {
            Command::RemoveWorkspaceMember { workspace, member, departure: decided.departure.clone() }
        }
        _ => return Err(unknown()),
    };
    Ok(decided.order(organization, |_| command))
}

/// The command with which an owner erases a member.
pub(super) fn erasure(member: MemberId, policy: i32, decided: &Decided) -> Result<Command, Status> {
    let departure = decided.departure.clone();
    let assignments = assignments(policy, &departure)?;
    let tombstone = departure.tombstone;
    Ok(Command::EraseMember(EraseMember {
        member,
        tombstone,
        cause: ErasureCause::Owner,
        assignments,
        departure,
    }))
}

impl Services {
    /// Carries out a command with what was decided beforehand.
    pub(super) async fn depart(&self, context: Context, order: Order) -> Result<Done, Status> {
        self.engine.execute(context, order).await.map_err(status::departure)
    }

    async fn plan_of(&self, context: Context, order: Order) -> Result<DeparturePlan, Status> {
        let reach = context.reach.clone();
        let planned = self.engine.plan(context, order).await.map_err(status::departure)?;
        self.shown(&reach, planned).await.map(plan)
    }

    /// A plan as far as whoever asked for it sees: to an app, what it would be told of.
    async fn shown(&self, reach: &Reach, mut planned: Planned) -> Result<Planned, Status> {
        if let Some(app) = &reach.app {
            planned.changes.retain(|change| change.apps.contains(app));
        }
        planned.other_organizations = self.known_of(reach, planned.other_organizations).await?;
        Ok(planned)
    }

    pub(super) async fn planned_departure(
        &self,
        request: &Request<PlanDepartureRequest>,
    ) -> Result<DeparturePlan, Status> {
        let message = request.get_ref();
        let organization = parse::required("organization_id", &message.organization_id)?;
        let context = self.context("PlanDeparture", request, &message.acting_account_id, "")?;
        let decided = self.decided(&context, organization, message.departure.as_ref()).await?;
        let order = planned_command(message, organization, decided)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.plan_of(context, order).await
    }

    /// Plans or carries out what a person commands about themselves.
    async fn leave(
        &self,
        context: Context,
        organization: OrganizationId,
        confirm: bool,
        decided: Decided,
        command: impl FnOnce(MemberId, Departure) -> Command,
    ) -> Result<Left, Status> {
        let Some(account) = context.acting else {
            return Err(status::malformed("acting_account_id", Malformed::Empty));
        };
        let reach = context.reach.clone();
        let found = self.engine.database().member_of_account(organization, account).await;
        let Some(member) = found.map_err(status::storage)? else {
            // After an earlier call under the same request id that ended the account, the member is nobody's any more.
            let earlier = if confirm { self.engine.earlier(context).await } else { Ok(None) };
            if let Some(done) = earlier.map_err(status::engine)? {
                return Ok(Left::Done(done));
            }
            self.reached(&reach, Named { former: true, ..authz::organization(organization) }).await?;
            self.read_organization(organization).await?;
            return Err(status::not_found(ErrorReason::MemberNotFound, "member of the account", account));
        };
        let order = decided.order(organization, |departure| command(member, departure));
        if confirm {
            self.depart(context, order).await.map(Left::Done)
        } else {
            self.plan_of(context, order).await.map(Left::Planned)
        }
    }

    pub(super) async fn left_organization(
        &self,
        request: &Request<LeaveOrganizationRequest>,
    ) -> Result<LeaveOrganizationResponse, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let organization = parse::required("organization_id", &message.organization_id)?;
        let context = self
            .context("LeaveOrganization", request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let decided = self.decided(&context, organization, message.departure.as_ref()).await?;
        let reach = context.reach.clone();
        let left = self.leave(context, organization, message.confirm, decided, |member, departure| {
            Command::DeactivateMember { member, departure, return_time: None }
        });
        let done = match left.await? {
            Left::Done(done) => done,
            Left::Planned(plan) => {
                return Ok(LeaveOrganizationResponse {
                    plan: Some(plan),
                    ..LeaveOrganizationResponse::default()
                });
            }
        };
        if done.validated {
            return Ok(LeaveOrganizationResponse::default());
        }
        let (standing, token) = try_join!(self.standing_of(organization, &reach, &done), self.token(&done))?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        Ok(LeaveOrganizationResponse {
            plan: None,
            member: Some(convert::member(standing.member)),
            other_organization_ids: convert::ids(standing.others),
            token,
            enforcement,
        })
    }

    pub(super) async fn left_workspace(
        &self,
        request: &Request<LeaveWorkspaceRequest>,
    ) -> Result<LeaveWorkspaceResponse, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let organization = parse::required("organization_id", &message.organization_id)?;
        let workspace = parse::required("workspace_id", &message.workspace_id)?;
        let context = self
            .context("LeaveWorkspace", request, &message.acting_account_id, &message.request_id)?
            .validating(message.validate_only);
        let decided = self.decided(&context, organization, message.departure.as_ref()).await?;
        let reach = context.reach.clone();
        let left = self.leave(context, organization, message.confirm, decided, |member, departure| {
            Command::DeactivateWorkspaceMember { workspace, member, departure }
        });
        let done = match left.await? {
            Left::Done(done) => done,
            Left::Planned(plan) => {
                return Ok(LeaveWorkspaceResponse { plan: Some(plan), ..LeaveWorkspaceResponse::default() });
            }
        };
        if done.validated {
            return Ok(LeaveWorkspaceResponse::default());
        }
        let (workspace_member, standing, token) = try_join!(
            self.workspace_member_of(organization, &done),
            self.standing_of(organization, &reach, &done),
            self.token(&done),
        )?;
        let enforcement = self.enforced(request.extensions(), awaited, done.commands(), &token).await;
        Ok(LeaveWorkspaceResponse {
            plan: None,
            workspace_member,
            member: Some(convert::member(standing.member)),
            other_organization_ids: convert::ids(standing.others),
            token,
            enforcement,
        })
    }

    pub(super) async fn deactivated_members(
        &self,
        request: &Request<BatchDeactivateMembersRequest>,
    ) -> Result<BatchDeactivateMembersResponse, Status> {
        let message = request.get_ref();
        let awaited = enforcement::awaiting(message.await_enforcement)?;
        let organization = parse::required("organization_id", &message.organization_id)?;
        if message.members.is_empty() || message.members.len() > MAX_BATCH {
            return Err(status::invalid_field("members", format!("must be 1 to {MAX_BATCH} members")));
        }
        let ids = message.members.iter().map(|item| parse::required("members.member_id", &item.member_id));
        let ids: Vec<MemberId> = ids.collect::<Result<_, _>>()?;
        if ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
            return Err(status::invalid_field("members", "must name each member once"));
        }
        let mut context =
            self.context("BatchDeactivateMembers", request, &message.acting_account_id, &message.request_id)?;
        let decided = self.decided(&context, organization, message.departure.as_ref()).await?;
        if decided.plan_etag.is_some() {
            return Err(status::invalid_field("departure.plan_etag", "stands beside each member of a batch"));
        }
        ends_nothing(&decided.departure)?;
        stays(&decided.departure, &ids)?;
        let reach = context.reach.clone();
        self.reached(&reach, Named { former: true, ..authz::organization(organization) }).await?;
        self.read_organization(organization).await?;
        let batch = Batch { organization, members: ids.clone(), exceed_limit: decided.exceed_limit };
        let begun = self.engine.begin_batch(context.clone().validating(message.validate_only), batch).await;
        begun.map_err(status::engine)?;
        let orders = ids.iter().zip(&message.members).map(|(member, item)| Order {
            plan_etag: given(&item.plan_etag),
            exceed_limit: decided.exceed_limit,
            ..Order::new(
                organization,
                Command::DeactivateMember {
                    member: *member,
                    departure: Departure { tombstone: Uuid::new_v4(), ..decided.departure.clone() },
                    return_time: None,
                },
            )
        });
        if message.validate_only {
            let mut answer = BatchDeactivateMembersResponse::default();
            for (member, order) in ids.iter().zip(orders) {
                let planned = self.engine.plan(context.clone(), order).await.map_err(status::departure);
                let planned = match planned {
                    Ok(planned) => Ok(self.shown(&reach, planned).await?),
                    refused => refused,
                };
                let result = rehearsed(*member, planned)?;
                answer.seats_freed += result.plan.as_ref().map_or(0, |plan| plan.seats_freed);
                answer.results.push(result);
            }
            return Ok(answer);
        }
        // What became of each is read back by request ids, also where the caller gave none.
        let given = context.request.take();
        let given =
            given.unwrap_or_else(|| EngineRequest { id: RequestId(Uuid::new_v4()), payload_mac: Vec::new() });
        let mut outcomes = Vec::with_capacity(ids.len());
        for (member, order) in ids.iter().zip(orders) {
            let context = Context { request: Some(self.item_request(&given, *member)), ..context.clone() };
            let done = self.depart(context.clone(), order).await;
            let refused = done.as_ref().err().map(status::reason_of);
            outcomes.push(of_one(*member, done)?);
            // The answer is none: nobody else would tell.
            if let Some(reason) = refused {
                self.audit.refused(audited::of_one(&context, organization, reason));
            }
        }
        let requests: Vec<RequestId> = ids.iter().map(|id| self.item_request(&given, *id).id).collect();
        let done = outcomes.iter().filter_map(|(_, done)| done.as_ref());
        let commands: Vec<CommandId> = done.flat_map(Done::commands).copied().collect();
        let mut answer = self.outcome_of_batch(organization, &context.caller, &requests, outcomes).await?;
        if !answer.token.is_empty() {
            answer.enforcement = self.enforced(request.extensions(), awaited, &commands, &answer.token).await;
        }
        Ok(answer)
    }

    /// What a batch did, now or when it was called before.
    async fn outcome_of_batch(
        &self,
        organization: OrganizationId,
        caller: &CallerName,
        requests: &[RequestId],
        outcomes: Vec<(BatchDepartureResult, Option<Done>)>,
    ) -> Result<BatchDeactivateMembersResponse, Status> {
        let departed = self.engine.database().departed_by(organization, caller, requests).await;
        let departed = departed.map_err(status::storage)?;
        let done: Vec<&Done> = outcomes.iter().filter_map(|(_, done)| done.as_ref()).collect();
        let mut answer = BatchDeactivateMembersResponse {
            seats_freed: departed.values().sum(),
            ..BatchDeactivateMembersResponse::default()
        };
        if let Some(committed) = done.iter().map(|done| done.committed).max() {
            let commands: Vec<CommandId> = done.iter().flat_map(|done| done.commands()).copied().collect();
            answer.token = self.token_of(&commands, committed).await?;
        }
        for (result, done) in outcomes {
            let (member, deactivated) = match &done {
                Some(done) => (
                    self.member_of(organization, done).await?,
                    done.subject.member_id.is_some_and(|id| departed.contains_key(&id)),
                ),
                None => (None, false),
            };
            answer.results.push(BatchDepartureResult { member, deactivated, ..result });
        }
        Ok(answer)
    }

    /// Each member of a batch is a command with a request id of its own, so that a batch that broke off can be repeated.
    fn item_request(&self, request: &EngineRequest, member: MemberId) -> EngineRequest {
        let EngineRequest { id, payload_mac } = request;
        let mut named = id.0.as_bytes().to_vec();
        named.extend(member.0.as_bytes());
        let name = self.seal.fingerprint("BatchDeactivateMembers", &named);
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(name).for_each(|(byte, of_name)| *byte = of_name);
        EngineRequest { id: RequestId(Uuid::from_bytes(bytes)), payload_mac: payload_mac.clone() }
    }
}

/// What cannot be undone is acknowledged for one person, by that person: who is one of a batch has not read about it.
fn ends_nothing(departure: &Departure) -> Result<(), Status> {
    let acknowledged = [
        ("departure.acknowledge_account_deletion", departure.acknowledge_account_deletion),
        ("departure.acknowledge_organization_deletion", departure.acknowledge_organization_deletion),
    ];
    match acknowledged.into_iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(status::invalid_field(field, "must not be set for several members at once")),
        None => Ok(()),
    }
}

/// Whoever succeeds or takes over is none of those who leave by the same request.
fn stays(departure: &Departure, leaving: &[MemberId]) -> Result<(), Status> {
    let Departure { owner_successor, workspace_successors, successor, handover_to, .. } = departure;
    let one = |field, id: &Option<MemberId>| id.map(|id| (field, id));
    let named = [
        one("departure.owner_successor_member_id", owner_successor),
        one("departure.successor_member_id", successor),
        one("departure.handover_to_member_id", handover_to),
    ];
    let of_workspaces =
        workspace_successors.values().map(|id| ("departure.workspace_successors.member_id", *id));
    match named.into_iter().flatten().chain(of_workspaces).find(|(_, id)| leaving.contains(id)) {
        Some((field, _)) => Err(status::invalid_field(field, "must name nobody of the batch")),
        None => Ok(()),
    }
}

/// What came of leaving.
enum Left {
    Planned(DeparturePlan),
    Done(Done),
}

/// What would become of one member of a batch.
fn rehearsed(member: MemberId, planned: Result<Planned, Status>) -> Result<BatchDepartureResult, Status> {
    let (result, planned) = of_one(member, planned)?;
    let deactivated =
        planned.as_ref().is_some_and(|planned| !planned.changes.is_empty() && planned.blockers.is_empty());
    Ok(BatchDepartureResult { deactivated, plan: planned.map(plan), ..result })
}

/// What refuses one member of a batch is its result; what ails the service ends the batch.
fn of_one<T>(
    member: MemberId,
    outcome: Result<T, Status>,
) -> Result<(BatchDepartureResult, Option<T>), Status> {
    use tonic::Code;
    let result = BatchDepartureResult { member_id: member.to_string(), ..BatchDepartureResult::default() };
    let refusal = match outcome {
        Ok(done) => return Ok((result, Some(done))),
        Err(refusal) => refusal,
    };
    let of_one = matches!(
        refusal.code(),
        Code::NotFound | Code::FailedPrecondition | Code::PermissionDenied | Code::Aborted
    );
    if !of_one {
        return Err(refusal);
    }
    let reason = status::reason_of(&refusal);
    Ok((BatchDepartureResult { refusal: reason, message: refusal.message().to_owned(), ..result }, None))
}

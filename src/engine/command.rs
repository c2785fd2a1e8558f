//! Carrying out a command in an organization.

use super::{
    Context, Done, Engine, EngineError, Order,
    erase::{self, Rest},
    invitations, limit,
    load::{Loaded, Slice, load},
    plan::described,
    reach,
    run::{Attempt, Effects, Firmness, Outcome, Work},
};
use crate::{
    rules::{
        self, Actor, Command, EraseMember, Notice, Plan, Reason, Recipient, State, Violation,
        ids::{AccountId, CommandId, MemberId, WorkspaceId},
        notices,
        roles::MembershipState,
    },
    storage::{Acting, RequestSubject, Tenant, Transaction},
};

impl Engine {
    /// Carries out a command.
    pub async fn execute(&self, context: Context, order: Order) -> Result<Done, EngineError> {
        let reach = reach::of(&context, &order);
        let shown = reach::shown(&reach, &order);
        let done = match self.check_reach(&reach, reach::named(&order)).await {
            Ok(()) => self.run(context, order).await?,
            // An earlier call under the same request id may have ended what it was about.
            Err(refusal) => self.earlier(context).await?.ok_or(refusal)?,
        };
        self.check_shown(&shown, &done).await?;
        Ok(done)
    }
}

impl Work for Order {
    fn name(&self) -> &'static str {
        self.command.name()
    }

    fn tenant(&self) -> Tenant {
        Tenant::Organization(self.organization)
    }

    fn expected(&self, id: CommandId) -> RequestSubject {
        shown(self, &self.command, Some(id))
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let slice = match load(transaction, self, attempt).await? {
            Loaded::Slice(slice) => *slice,
            Loaded::Repeated => return Ok(Outcome::Repeated),
            Loaded::Firmer(firmness) => return Ok(Outcome::Firmer(firmness)),
        };
        let decided = match decided(&slice, attempt) {
            Err(error) => return Err(invitations::or_invited(transaction, self.organization, error).await?),
            Ok(decided) => decided,
        };
        let decision = match decided {
            Ok(decision) => decision,
            Err(firmness) => return Ok(Outcome::Firmer(firmness)),
        };
        let mut erasures = erase::erased(&slice.state, &decision.plan.changes, decision.account_deleted);
        let rest = rest_of_account(transaction, self, &slice, &decision).await?;
        if let Some(wanted) = &self.plan_etag
            && described(transaction, attempt.context, self, &slice, &decision, &rest).await?.etag != *wanted
        {
            return Err(EngineError::PlanChanged);
        }
        let Slice { state, actor, command, .. } = slice;
        let Decision { plan: Plan { changes: own, blockers }, account_deleted } = decision;
        if !blockers.is_empty() {
            return Err(Violation::Blocked(blockers).into());
        }
        limit::check(transaction, self, &state, &actor, &own).await?;
        let mut notices = if self.again { Vec::new() } else { notices(&state, &own) };
        let erasure_id = erasures.first().map(|erasure| erasure.id);
        let mut changes = Vec::new();
        if account_deleted && let Some(account) = account_of(&command, &state) {
            changes.extend(rest.changes);
            erasures.extend(rest.erasures);
            // That says it all to the person.
            notices.retain(|notice| notice.to != Recipient::Account(account));
            notices.push(Notice::account_deleted(account));
        }
        // What is done here comes last: whoever has seen it has seen all of it.
        changes.extend(own);
        let id = (!changes.is_empty()).then_some(attempt.command_id);
        let mut subject = shown(self, &command, id.or_else(|| revoked_by(&command, &state)));
        subject.erasure_id = erasure_id;
        let acting = acting_member(&actor, &command)
            .map_or(Acting::Workload, |member| Acting::Member(self.organization, member));
        let profile = id.and_then(|_| named_member(self, &command, &state));
        let profile = profile.map(|member| (self.organization, member, self.display_name.clone().flatten()));
        let invitation = invitations::written(self.organization, &command, &state, &changes);
        let effects = Effects {
            subject,
            changes,
            acting,
            profile,
            notices,
            erasures,
            invitation,
            ..Effects::default()
        };
        Ok(Outcome::Done(Box::new(effects)))
    }
}

/// What a command would do, with what stands in its way.
pub(super) struct Decision {
    pub(super) plan: Plan,
    /// Whether the account is deleted with it (R36, R43).
    pub(super) account_deleted: bool,
}

/// What goes in other organizations with an account that is deleted.
pub(super) async fn rest_of_account(
    transaction: &Transaction,
    order: &Order,
    slice: &Slice,
    decision: &Decision,
) -> Result<Rest, EngineError> {
    match account_of(&slice.command, &slice.state).filter(|_| decision.account_deleted) {
        Some(account) => erase::rest_of_account(transaction, account, order.organization).await,
        None => Ok(Rest::default()),
    }
}

/// Decides on a slice, as the command and its plan both do. Err: it needs firmer locks.
pub(super) fn decided(
    slice: &Slice,
    attempt: &Attempt<'_>,
) -> Result<Result<Decision, Firmness>, EngineError> {
    let Slice { state, actor, command, known_elsewhere } = slice;
    check_etag(attempt, command, state)?;
    let plan = match rules::plan(state, actor, command, attempt.command_id) {
        // Only what takes a seat in an organization that limits them pays for the locks that counting needs.
        Err(Violation::SeatsNotCounted) if attempt.firmness.may_count() => {
            let contract = state.organization.as_ref().and_then(|organization| organization.contract);
            return Ok(Err(Firmness::Seats(contract)));
        }
        planned => planned?,
    };
    let account_deleted = match command {
        // R43: with the only organization the account goes too.
        Command::EraseMember(EraseMember { member, .. }) => {
            let member = state.members.get(member).filter(|_| !plan.changes.is_empty());
            member.is_some_and(|member| rules::ends_account(member, actor, *known_elsewhere))
        }
        _ => plan.changes.iter().any(|change| change.reason == Reason::AccountDeleted),
    };
    Ok(Ok(Decision { plan, account_deleted }))
}

/// The member that a command is about.
pub(super) fn member_of(command: &Command) -> Option<MemberId> {
    subject_of(command).1
}

fn account_of(command: &Command, state: &State) -> Option<AccountId> {
    state.members.get(&member_of(command)?)?.account_id
}

/// Refuses a command about something that has changed since its etag was read. What does not exist is refused otherwise.
fn check_etag(attempt: &Attempt<'_>, command: &Command, state: &State) -> Result<(), EngineError> {
    let (ids, version) = match subject_of(command) {
        (Some(workspace), Some(member)) => (
            vec![workspace.0, member.0],
            state.workspace_members.get(&(workspace, member)).map(|membership| membership.version),
        ),
        (None, Some(member)) => (vec![member.0], state.members.get(&member).map(|member| member.version)),
        (Some(workspace), None) => {
            (vec![workspace.0], state.workspaces.get(&workspace).map(|workspace| workspace.version))
        }
        (None, None) => {
            let organization = state.organization.as_ref();
            let id = organization.map(|organization| organization.id.0);
            (id.into_iter().collect(), organization.map(|organization| organization.version))
        }
    };
    version.map_or(Ok(()), |version| attempt.check_etag(&ids, version))
}

/// The member whose shown name is written: a new or changed one. A returning member keeps the old name where none is
/// given.
fn named_member(order: &Order, command: &Command, state: &State) -> Option<MemberId> {
    match command {
        Command::CreateOrganization(create) => Some(create.owner),
        // Who is a member already keeps the name, which others know by now.
        Command::AcceptInvitation { member, .. } => {
            match state.members.get(member).map(|found| found.state) {
                None => Some(*member),
                Some(MembershipState::Active) => None,
                Some(_) => order.display_name.is_some().then_some(*member),
            }
        }
        Command::AddMember { member, .. }
            if order.display_name.is_some() || !state.members.contains_key(member) =>
        {
            Some(*member)
        }
        Command::UpdateMember { member, profile_changes: true, .. } => Some(*member),
        _ => None,
    }
}

/// What the answer shows.
fn shown(order: &Order, command: &Command, command_id: Option<CommandId>) -> RequestSubject {
    let (workspace_id, member_id) = subject_of(command);
    let organization_id = Some(order.organization);
    let invitation_id = match command {
        Command::AcceptInvitation { invitation, .. } => Some(*invitation),
        _ => None,
    };
    let subject =
        RequestSubject { command_id, organization_id, workspace_id, member_id, ..Default::default() };
    RequestSubject { invitation_id, ..subject }
}

/// The workspace and the member that a command is about.
fn subject_of(command: &Command) -> (Option<WorkspaceId>, Option<MemberId>) {
    match command {
        Command::CreateOrganization(create) => (Some(create.workspace), Some(create.owner)),
        Command::UpdateOrganization(_) | Command::DeleteOrganization { .. } => (None, None),
        Command::CreateWorkspace { workspace, .. }
        | Command::RenameWorkspace { workspace, .. }
        | Command::DeleteWorkspace { workspace } => (Some(*workspace), None),
        Command::AddMember { member, .. }
        | Command::AcceptInvitation { member, .. }
        | Command::UpdateMember { member, .. }
        | Command::DeactivateMember { member, .. }
        | Command::DeactivateInactive { member }
        | Command::ReturnAsPlanned { member }
        | Command::ReactivateMember { member, .. }
        | Command::RemoveMember { member, .. }
        | Command::EraseMember(EraseMember { member, .. }) => (None, Some(*member)),
        Command::AddWorkspaceMember { workspace, member, .. }
        | Command::SetWorkspaceRole { workspace, member, .. }
        | Command::DeactivateWorkspaceMember { workspace, member, .. }
        | Command::ReactivateWorkspaceMember { workspace, member }
        | Command::RemoveWorkspaceMember { workspace, member, .. } => (Some(*workspace), Some(*member)),
    }
}

/// A repeated departure shows the command that last revoked (R24), so that waiting for it means something.
fn revoked_by(command: &Command, state: &State) -> Option<CommandId> {
    match command {
        Command::DeactivateMember { member, .. }
        | Command::RemoveMember { member, .. }
        | Command::EraseMember(EraseMember { member, .. }) => state.members.get(member)?.revoked_by,
        Command::DeactivateWorkspaceMember { workspace, member, .. }
        | Command::RemoveWorkspaceMember { workspace, member, .. } => {
            state.workspace_members.get(&(*workspace, *member))?.revoked_by
        }
        _ => None,
    }
}

/// For whom the caller acted, in this organization.
fn acting_member(actor: &Actor, command: &Command) -> Option<MemberId> {
    match (actor, command) {
        (Actor::Person { .. }, Command::CreateOrganization(create)) => Some(create.owner),
        (Actor::Person { .. }, Command::AcceptInvitation { member, .. }) => Some(*member),
        _ => actor.member_id(),
    }
}

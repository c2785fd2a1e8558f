//! Carrying out a command in an organization.

use super::{
    Context, Done, Engine, EngineError, Order,
    load::{Loaded, Slice, load},
    run::{Attempt, Effects, Firmness, Outcome, Work},
};
use crate::{
    rules::{
        Actor, Command, State, Violation, decide,
        ids::{CommandId, MemberId},
        notices,
    },
    storage::{Acting, RequestSubject, Transaction},
};

impl Engine {
    /// Carries out a command.
    pub async fn execute(&self, context: Context, order: Order) -> Result<Done, EngineError> {
        self.run(context, order).await
    }
}

impl Work for Order {
    fn name(&self) -> &'static str {
        self.command.name()
    }

    fn expected(&self, id: CommandId) -> RequestSubject {
        shown(self, &self.command, Some(id))
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let Slice { state, actor, command } = match load(transaction, self, attempt).await? {
            Loaded::Slice(slice) => *slice,
            Loaded::Repeated => return Ok(Outcome::Repeated),
            Loaded::Firmer(firmness) => return Ok(Outcome::Firmer(firmness)),
        };
        let changes = match decide(&state, &actor, &command, attempt.command_id) {
            // Only what takes a seat in an organization that limits them pays for the locks that counting needs.
            Err(Violation::SeatsNotCounted) if attempt.firmness.may_count() => {
                let contract = state.organization.and_then(|organization| organization.contract);
                return Ok(Outcome::Firmer(Firmness::Seats(contract)));
            }
            decided => decided?,
        };
        let id = (!changes.is_empty()).then_some(attempt.command_id);
        let subject = shown(self, &command, id.or_else(|| revoked_by(&command, &state)));
        let acting = acting_member(&actor, &command).map_or(Acting::Workload, Acting::Member);
        let profile = id.and_then(|_| named_member(self, &command, &state));
        let profile = profile.map(|member| (self.organization, member, self.display_name.clone().flatten()));
        let notices = notices(&state, &changes);
        Ok(Outcome::Done(Box::new(Effects { subject, changes, acting, profile, notices, account: None })))
    }
}

/// The member whose shown name is written: a new or changed one. A returning member keeps the old name where none is
/// given.
fn named_member(order: &Order, command: &Command, state: &State) -> Option<MemberId> {
    match command {
        Command::CreateOrganization(create) => Some(create.owner),
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
    let subject = RequestSubject { organization_id: Some(order.organization), ..RequestSubject::default() };
    let (workspace_id, member_id) = match command {
        Command::CreateOrganization(create) => (Some(create.workspace), Some(create.owner)),
        Command::UpdateOrganization(_) | Command::DeleteOrganization { .. } => (None, None),
        Command::CreateWorkspace { workspace, .. }
        | Command::RenameWorkspace { workspace, .. }
        | Command::DeleteWorkspace { workspace } => (Some(*workspace), None),
        Command::AddMember { member, .. }
        | Command::UpdateMember { member, .. }
        | Command::DeactivateMember { member, .. }
        | Command::DeactivateInactive { member }
        | Command::ReactivateMember { member, .. }
        | Command::ReturnAsPlanned { member }
        | Command::RemoveMember { member } => (None, Some(*member)),
        Command::AddWorkspaceMember { workspace, member, .. }
        | Command::SetWorkspaceRole { workspace, member, .. }
        | Command::DeactivateWorkspaceMember { workspace, member }
        | Command::ReactivateWorkspaceMember { workspace, member }
        | Command::RemoveWorkspaceMember { workspace, member } => (Some(*workspace), Some(*member)),
    };
    RequestSubject { command_id, workspace_id, member_id, ..subject }
}

/// A repeated departure shows the command that last revoked (R24), so that waiting for it means something.
fn revoked_by(command: &Command, state: &State) -> Option<CommandId> {
    match command {
        Command::DeactivateMember { member, .. } | Command::RemoveMember { member } => {
            state.members.get(member)?.revoked_by
        }
        Command::DeactivateWorkspaceMember { workspace, member }
        | Command::RemoveWorkspaceMember { workspace, member } => {
            state.workspace_members.get(&(*workspace, *member))?.revoked_by
        }
        _ => None,
    }
}

/// For whom the caller acted, in this organization.
fn acting_member(actor: &Actor, command: &Command) -> Option<MemberId> {
    match (actor, command) {
        (Actor::Person { .. }, Command::CreateOrganization(create)) => Some(create.owner),
        _ => actor.member_id(),
    }
}

//! Carrying out a command in an organization.

use super::{
    Context, Done, Engine, EngineError, Order,
    load::{Slice, load},
    run::{Effects, Firmness, Outcome, Work},
};
use crate::{
    rules::{
        Actor, Change, Command, State, decide,
        ids::{CommandId, DisplayName, MemberId},
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

    async fn apply(
        &self,
        transaction: &mut Transaction,
        context: &Context,
        firmness: Firmness,
    ) -> Result<Outcome, EngineError> {
        let Some(Slice { state, actor, mut command }) = load(transaction, context, self, firmness).await?
        else {
            return Ok(Outcome::LockOrganization);
        };
        compare_profile(transaction, self, &mut command).await?;
        let id = CommandId::generate();
        let changes = decide(&state, &actor, &command, id)?;
        transaction.write_subjects(&changes).await?;
        write_profile(transaction, self, &command, &state, &changes).await?;
        let subject = subject(self, &command, &state, (!changes.is_empty()).then_some(id));
        let acting = acting_member(&actor, &command).map_or(Acting::Workload, Acting::Member);
        Ok(Outcome::Done(Effects { subject, changes, acting }))
    }
}

/// Tells the rules whether the profile that the request names is another one.
async fn compare_profile(
    transaction: &mut Transaction,
    order: &Order,
    command: &mut Command,
) -> Result<(), EngineError> {
    if let (Command::UpdateMember { member, profile_changes, .. }, Some(wanted)) =
        (command, &order.display_name)
    {
        let before = transaction.display_name(order.organization, *member).await?.unwrap_or_default();
        *profile_changes = before != wanted.as_ref().map(DisplayName::as_str).unwrap_or_default();
    }
    Ok(())
}

/// Writes the profile of a new or changed member. A returning member keeps the old one where none is given.
async fn write_profile(
    transaction: &mut Transaction,
    order: &Order,
    command: &Command,
    state: &State,
    changes: &[Change],
) -> Result<(), EngineError> {
    if changes.is_empty() {
        return Ok(());
    }
    let member = match command {
        Command::CreateOrganization(create) => create.owner,
        Command::AddMember { member, .. }
            if order.display_name.is_some() || !state.members.contains_key(member) =>
        {
            *member
        }
        Command::UpdateMember { member, profile_changes: true, .. } => *member,
        _ => return Ok(()),
    };
    let display_name = order.display_name.as_ref().and_then(Option::as_ref);
    Ok(transaction.write_profile(order.organization, member, display_name).await?)
}

/// What the answer shows. A repeated departure shows the command that last revoked (R24), so that waiting for it means
/// something.
fn subject(order: &Order, command: &Command, state: &State, id: Option<CommandId>) -> RequestSubject {
    let subject = RequestSubject { organization_id: Some(order.organization), ..RequestSubject::default() };
    let (workspace_id, member_id) = match command {
        Command::CreateOrganization(create) => (Some(create.workspace), Some(create.owner)),
        Command::RenameOrganization { .. } => (None, None),
        Command::CreateWorkspace { workspace, .. }
        | Command::RenameWorkspace { workspace, .. }
        | Command::DeleteWorkspace { workspace } => (Some(*workspace), None),
        Command::AddMember { member, .. }
        | Command::UpdateMember { member, .. }
        | Command::DeactivateMember { member }
        | Command::ReactivateMember { member, .. }
        | Command::RemoveMember { member } => (None, Some(*member)),
        Command::AddWorkspaceMember { workspace, member, .. }
        | Command::SetWorkspaceRole { workspace, member, .. }
        | Command::DeactivateWorkspaceMember { workspace, member }
        | Command::ReactivateWorkspaceMember { workspace, member }
        | Command::RemoveWorkspaceMember { workspace, member } => (Some(*workspace), Some(*member)),
    };
    RequestSubject {
        command_id: id.or_else(|| revoked_by(command, state)),
        workspace_id,
        member_id,
        ..subject
    }
}

fn revoked_by(command: &Command, state: &State) -> Option<CommandId> {
    match command {
        Command::DeactivateMember { member } | Command::RemoveMember { member } => {
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

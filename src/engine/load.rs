//! Loads the slice that a command is decided on, under the locks that its rules need, in the one order that all
//! commands keep: account, organization, workspace, members by id.
//!
//! Adding, accepting and reactivating hold their parents FOR SHARE, so that none of them ends meanwhile. Ending a parent,
//! and a rule about "the only" or "the last", hold it for themselves. A plain member's departure locks that member alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, EngineError, Missing, Order, run::Firmness};
use crate::{
    rules::{
        ActingMember, Actor, Command, Restore, State, Violation,
        ids::{AppName, MemberId, WorkspaceId},
        roles::{MembershipState, OrganizationRole, WorkspaceRole},
        state::{Member, Organization},
    },
    storage::{Lock, Transaction},
};

/// A slice, ready to decide on.
pub(super) struct Slice {
    /// The slice.
    pub(super) state: State,
    /// Who acts.
    pub(super) actor: Actor,
    /// The command, with the id of the member whom the account has already (AddMember).
    pub(super) command: Command,
}

/// What a command locks and names.
struct Needs {
    organization: Lock,
    workspace: Option<(WorkspaceId, Lock)>,
    member: Option<MemberId>,
    /// Whether the member's departure or demotion is about "the last owner" if they are one.
    ends_owner: bool,
}

impl Needs {
    fn of(command: &Command) -> Self {
        let about = |organization, member| Self {
            organization,
            workspace: None,
            member: Some(member),
            ends_owner: false,
        };
        let thing =
            |organization, workspace| Self { organization, workspace, member: None, ends_owner: false };
        match command {
            Command::CreateOrganization(_) => thing(Lock::None, None),
            Command::RenameOrganization { .. } | Command::CreateWorkspace { .. } => thing(Lock::Update, None),
            Command::RenameWorkspace { workspace, .. } => thing(Lock::None, Some((*workspace, Lock::Update))),
            Command::DeleteWorkspace { workspace } => thing(Lock::Update, Some((*workspace, Lock::Update))),
            Command::AddMember { member, .. } | Command::ReactivateMember { member, .. } => {
                about(Lock::Share, *member)
            }
            Command::UpdateMember { member, role, .. } => {
                Self { ends_owner: role.is_some(), ..about(Lock::None, *member) }
            }
            Command::DeactivateMember { member } | Command::RemoveMember { member } => {
                Self { ends_owner: true, ..about(Lock::None, *member) }
            }
            Command::AddWorkspaceMember { workspace, member, .. }
            | Command::ReactivateWorkspaceMember { workspace, member } => {
                Self { workspace: Some((*workspace, Lock::Share)), ..about(Lock::Share, *member) }
            }
            Command::SetWorkspaceRole { workspace, member, .. }
            | Command::RemoveWorkspaceMember { workspace, member } => {
                Self { workspace: Some((*workspace, Lock::None)), ..about(Lock::None, *member) }
            }
            Command::DeactivateWorkspaceMember { workspace, member } => Self {
                workspace: Some((*workspace, Lock::None)),
                ends_owner: true,
                ..about(Lock::None, *member)
            },
        }
    }
}

impl Needs {
    /// Whether the command may take the acting person's own access to the organization.
    fn may_end(&self, acting: Option<MemberId>) -> bool {
        match self.member {
            Some(member) => self.ends_owner && Some(member) == acting,
            // A deleted workspace takes along whoever was in no other.
            None => {
                self.workspace.is_some_and(|(_, lock)| lock == Lock::Update)
                    && self.organization == Lock::Update
            }
        }
    }
}

/// Loads what `order` needs. None: it is about an owner, and needs the organization for itself alone (R60).
pub(super) async fn load(
    transaction: &mut Transaction,
    context: &Context,
    order: &Order,
    firmness: Firmness,
) -> Result<Option<Slice>, EngineError> {
    let mut command = order.command.clone();
    let mut state = State::default();
    let acting = match context.acting {
        Some(account) => transaction.member_id(order.organization, account).await?,
        None => None,
    };
    let mut needs = Needs::of(&command);
    lock_account(transaction, context, &command, acting.is_some() && needs.may_end(acting)).await?;
    if firmness == Firmness::Alone {
        needs.organization = Lock::Update;
    }
    if let Command::CreateOrganization(create) = &command {
        check_app(transaction, context, &create.app).await?;
        return Ok(Some(Slice { state, actor: account_actor(context), command }));
    }
    state.organization = Some(lock_organization(transaction, order, needs.organization).await?);
    if let Command::CreateWorkspace { app, .. } = &command {
        check_app(transaction, context, app).await?;
    }
    if let Some((workspace, lock)) = needs.workspace {
        let found = transaction.workspace(order.organization, workspace, lock).await?;
        let found = found.ok_or(Violation::NoWorkspace(workspace))?;
        check_own_app(transaction, context, &found.app).await?;
        state.workspaces.insert(workspace, found);
    }
    if let Command::AddMember { member, account, .. } = &mut command
        && let Some(existing) = transaction.member_id(order.organization, *account).await?
    {
        *member = existing;
        needs.member = Some(existing);
    }
    let acting = load_members(transaction, order, &needs, acting, &mut state).await?;
    if needs.ends_owner && firmness == Firmness::Usual {
        let about_owner = needs.member.and_then(|member| state.members.get(&member));
        if about_owner.is_some_and(|member| member.role == OrganizationRole::Owner) {
            return Ok(None);
        }
    }
    if needs.organization == Lock::Update {
        state.active_owners = transaction.active_owners(order.organization).await?.into_iter().collect();
        state.live_workspaces = transaction.live_workspaces(order.organization).await?;
    }
    let actor = load_memberships(transaction, context, order, &needs, acting, &command, &mut state).await?;
    Ok(Some(Slice { state, actor, command }))
}

/// The first lock. An account may not change while it is added somewhere; and whoever may leave holds their own for
/// themselves, so that of two departures at once, from two organizations, one sees the other (R36, R38).
async fn lock_account(
    transaction: &mut Transaction,
    context: &Context,
    command: &Command,
    may_leave: bool,
) -> Result<(), EngineError> {
    let (account, lock) = match (command, context.acting) {
        (Command::CreateOrganization(create), _) => (create.account, Lock::Share),
        (Command::AddMember { account, .. }, _) => (*account, Lock::Share),
        (_, Some(acting)) if may_leave => (acting, Lock::Update),
        _ => return Ok(()),
    };
    let found = transaction.account(account, lock).await?;
    found.map(|_| ()).ok_or(EngineError::Missing(Missing::Account(account)))
}

async fn lock_organization(
    transaction: &mut Transaction,
    order: &Order,
    lock: Lock,
) -> Result<Organization, EngineError> {
    let found = transaction.organization(order.organization, lock).await?;
    found.ok_or(EngineError::Missing(Missing::Organization(order.organization)))
}

/// A new workspace's app must exist, and be the calling app's own if an app calls (R15).
async fn check_app(
    transaction: &mut Transaction,
    context: &Context,
    app: &AppName,
) -> Result<(), EngineError> {
    if !transaction.is_app(app.as_str()).await? {
        return Err(EngineError::Missing(Missing::App(app.clone())));
    }
    check_own_app(transaction, context, app).await
}

/// An app commands its own workspaces alone (R15). A caller that is no app is not bound so.
async fn check_own_app(
    transaction: &mut Transaction,
    context: &Context,
    app: &AppName,
) -> Result<(), EngineError> {
    if context.caller.as_str() != app.as_str() && transaction.is_app(context.caller.as_str()).await? {
        return Err(Violation::WorkspaceOfOtherApp { app: app.clone() }.into());
    }
    Ok(())
}

/// Locks the members that the command is about, and the acting one against losing the role meanwhile, by id.
/// Returns the acting member.
async fn load_members(
    transaction: &mut Transaction,
    order: &Order,
    needs: &Needs,
    acting: Option<MemberId>,
    state: &mut State,
) -> Result<Option<Member>, EngineError> {
    if let Command::DeleteWorkspace { workspace } = order.command {
        // One statement for all of them: the acting member has a place in the order of the locks like any other.
        state.members = transaction.members_of_workspace(order.organization, workspace, acting).await?;
        return Ok(acting.and_then(|acting| state.members.get(&acting).cloned()));
    }
    let mut wanted = BTreeMap::new();
    wanted.extend(acting.map(|acting| (acting, Lock::Share)));
    wanted.extend(needs.member.map(|member| (member, Lock::Update)));
    let mut found = transaction.members(order.organization, &wanted).await?;
    let acting = acting.and_then(|acting| found.get(&acting).cloned());
    found.retain(|member, _| needs.member == Some(*member));
    state.members = found;
    Ok(acting)
}

/// Loads the memberships that the members' locks cover, their workspaces, and what counts of the actor.
async fn load_memberships(
    transaction: &mut Transaction,
    context: &Context,
    order: &Order,
    needs: &Needs,
    acting: Option<Member>,
    command: &Command,
    state: &mut State,
) -> Result<Actor, EngineError> {
    let members: BTreeSet<MemberId> =
        state.members.keys().copied().chain(acting.as_ref().map(|member| member.id)).collect();
    let memberships = if members.is_empty() {
        Vec::new()
    } else {
        transaction.memberships(order.organization, &members.into_iter().collect::<Vec<_>>()).await?
    };
    let (mut named, mut workspace_admin) = (BTreeSet::new(), false);
    for membership in memberships {
        if acting.as_ref().is_some_and(|member| member.id == membership.member_id)
            && needs.workspace.is_some_and(|(workspace, _)| workspace == membership.workspace_id)
        {
            workspace_admin =
                membership.role == WorkspaceRole::Admin && membership.state == MembershipState::Active;
        }
        if state.members.contains_key(&membership.member_id) {
            named.insert(membership.workspace_id);
            state.workspace_members.insert((membership.workspace_id, membership.member_id), membership);
        }
    }
    if let Command::ReactivateMember { restore: Restore::Listed(listed), .. } = command {
        named.extend(listed);
    }
    named.retain(|workspace| !state.workspaces.contains_key(workspace));
    if !named.is_empty() {
        let named: Vec<WorkspaceId> = named.into_iter().collect();
        for workspace in transaction.workspaces(order.organization, &named).await? {
            if matches!(command, Command::ReactivateMember { restore: Restore::Listed(listed), .. } if listed.contains(&workspace.id))
            {
                check_own_app(transaction, context, &workspace.app).await?;
            }
            state.workspaces.insert(workspace.id, workspace);
        }
    }
    let Some(account) = context.acting else { return Ok(Actor::Workload) };
    if acting.as_ref().is_some_and(|member| state.members.contains_key(&member.id)) {
        state.actor_belongs_elsewhere = transaction.belongs_elsewhere(account, order.organization).await?;
    }
    let member = acting.map(|member| ActingMember { id: member.id, role: member.role, state: member.state });
    Ok(Actor::Person { account, member, workspace_admin })
}

/// The actor of a command outside of any organization.
fn account_actor(context: &Context) -> Actor {
    match context.acting {
        None => Actor::Workload,
        Some(account) => Actor::Person { account, member: None, workspace_admin: false },
    }
}

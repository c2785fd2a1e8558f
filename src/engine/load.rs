//! Loads the slice that a command is decided on, under the locks that its rules need, in the one order that all
//! commands keep: account, contract, organization, app, workspace, invitation, members by id.
//!
//! Adding, accepting and reactivating hold their parents FOR SHARE, so that none of them ends meanwhile. Ending a parent,
//! and a rule about "the only" or "the last", hold it for themselves. A plain member's departure locks that member alone.
//! Taking a seat holds the organization and its contract for itself where they limit the seats, so that of two who take
//! the last one, one sees the other (R35). Freeing one needs no lock: at worst it is seen too late.
//!
//! Locks and reads go out together wherever what they name is known beforehand (see [`Transaction`] about pipelines).

mod needs;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{future::OptionFuture, join};

pub(super) use self::needs::{Needs, departure_of};
use self::{
    needs::ends_admin,
    read::{Read, read},
};
use super::{
    CallingApp, Context, EngineError, Missing, Order,
    run::{Attempt, Firmness},
};
use crate::{
    rules::{
        ActingMember, Actor, Command, CreateOrganization, Departure, EraseMember, MAX_CHANGES, Restore,
        State, Violation,
        ids::{AccountId, AppName, DisplayName, InvitationId, MemberId, WorkspaceId},
        invitations::Invitation,
        roles::{MembershipState, OrganizationRole, WorkspaceRole},
        seats::Seats,
        state::{Member, Organization, Workspace},
    },
    storage::{ContractRow, Lock, StorageError, Transaction, WhichInvitation, Whose},
};

/// What came of loading.
pub(super) enum Loaded {
    Slice(Box<Slice>),
    /// The request id was claimed before.
    Repeated,
    /// It needs firmer locks than these.
    Firmer(Firmness),
}

/// A slice, ready to decide on.
pub(super) struct Slice {
    /// The slice.
    pub(super) state: State,
    /// Who acts.
    pub(super) actor: Actor,
    /// The command, with the id of the member whom the account has already (AddMember).
    pub(super) command: Command,
    /// Whether the member who is to be erased has something left in another organization (R43).
    pub(super) known_elsewhere: bool,
}

/// What is locked and loaded, and for whom.
struct Plan<'a> {
    context: &'a Context,
    order: &'a Order,
    needs: Needs,
    account: Option<(AccountId, Lock)>,
    acting: Option<MemberId>,
    /// The account whose member is loaded, where the id of that is not known (AddMember).
    newcomer: Option<AccountId>,
    /// The account of the member who is to be erased.
    erased: Option<AccountId>,
}

/// What the locking half of the statements answers.
struct Locked {
    organization: Organization,
    contract: Option<ContractRow>,
    workspaces: Vec<Workspace>,
    /// What is accepted, and whether the account has its address.
    invitation: Option<(Invitation, bool)>,
    members: BTreeMap<MemberId, Member>,
    caller_is_app: bool,
}

/// Loads what `order` needs, in one pipeline; in two where the ids of members must be known first, because somebody acts
/// or because a workspace or everything is deleted. The first one opens the transaction.
pub(super) async fn load(
    transaction: &Transaction,
    order: &Order,
    attempt: &Attempt<'_>,
) -> Result<Loaded, EngineError> {
    let Attempt { context, firmness, .. } = attempt;
    if let Command::CreateOrganization(create) = &order.command {
        return load_new(transaction, order, attempt, create).await;
    }
    let mut command = order.command.clone();
    let newcomer = match command {
        Command::AddMember { account, .. } | Command::AcceptInvitation { account, .. } => Some(account),
        _ => None,
    };
    let mut plan = Plan {
        context,
        order,
        needs: Needs::of(&command),
        account: newcomer.map(|account| (account, Lock::Share)),
        acting: None,
        newcomer,
        erased: None,
    };
    if *firmness != Firmness::Usual {
        plan.needs.organization = Lock::Update;
    }
    if let Firmness::Seats(contract) = firmness {
        plan.needs.seats = Some(*contract);
    }
    let mut opened = false;
    let erased = match &command {
        Command::EraseMember(EraseMember { member, .. }) => Some(*member),
        _ => None,
    };
    if let Some(member) = erased {
        let (first, acting, account) = join!(
            transaction.open(attempt.claim()),
            OptionFuture::from(
                context.acting.map(|acting| transaction.member_id(order.organization, acting))
            ),
            transaction.account_of(order.organization, member),
        );
        if !first? {
            return Ok(Loaded::Repeated);
        }
        opened = true;
        plan.acting = acting.transpose()?.flatten();
        // Of two erasures at once, in the person's only two organizations, one sees the other (R43).
        plan.account = account?.map(|account| (account, Lock::Update));
        plan.erased = plan.account.map(|(account, _)| account);
    } else if let Some(account) = context.acting {
        let (first, acting, existing) = join!(
            transaction.open(attempt.claim()),
            transaction.member_id(order.organization, account),
            OptionFuture::from(newcomer.map(|account| transaction.member_id(order.organization, account))),
        );
        if !first? {
            return Ok(Loaded::Repeated);
        }
        opened = true;
        plan.acting = acting?;
        if let Some(existing) = existing.transpose()?.flatten() {
            plan.needs.member = Some(existing);
        }
        plan.newcomer = None;
        // Whoever may leave holds their own account for themselves, so that of two departures at once, from two
        // organizations, one sees the other (R36, R38).
        if plan.acting.is_some() && plan.needs.may_end(plan.acting) {
            plan.account = Some((account, Lock::Update));
        }
    } else if newcomer.is_some() {
        plan.needs.member = None;
    }
    let opening = OptionFuture::from((!opened).then(|| transaction.open(attempt.claim())));
    let (locked, read) = if plan.sweeps() {
        // Its members are known only after their locks.
        let (opening, locked) = join!(opening, lock(transaction, &plan));
        if !opening.unwrap_or(Ok(true))? {
            return Ok(Loaded::Repeated);
        }
        let locked = locked?;
        let whose = Whose { members: locked.members.keys().copied().collect(), account: None };
        let workspaces_of = if plan.needs.whole { Whose::default() } else { whose.clone() };
        let read = read(transaction, &plan, whose, workspaces_of).await?;
        (locked, read)
    } else {
        let about = Whose { members: plan.needs.member.into_iter().collect(), account: plan.newcomer };
        let mut both = about.clone();
        both.members.extend(plan.acting);
        both.members.extend(departure_of(&command).into_iter().flat_map(Departure::successors));
        let (opening, locked, read) =
            join!(opening, lock(transaction, &plan), read(transaction, &plan, both, about));
        if !opening.unwrap_or(Ok(true))? {
            return Ok(Loaded::Repeated);
        }
        (locked?, read?)
    };
    if let Firmness::Seats(contract) = firmness
        && locked.organization.contract != *contract
    {
        return Ok(Loaded::Firmer(Firmness::Seats(locked.organization.contract)));
    }
    let about = plan.needs.member.or_else(|| match plan.newcomer {
        Some(_) => locked.members.keys().next().copied(),
        None => None,
    });
    if let (Command::AddMember { member, .. } | Command::AcceptInvitation { member, .. }, Some(existing)) =
        (&mut command, about)
        && newcomer.is_some()
    {
        *member = existing;
    }
    let about_owner = about.and_then(|member| locked.members.get(&member));
    if *firmness == Firmness::Usual
        && about_owner.is_some_and(|member| {
            (plan.needs.ends_owner && member.role == OrganizationRole::Owner)
                || ends_admin(&command, member, &read.memberships)
        })
    {
        return Ok(Loaded::Firmer(Firmness::Alone));
    }
    compare_profile(order, &mut command, read.display_name.as_deref());
    let known_elsewhere = read.known_elsewhere;
    let (state, actor) = plan.slice(about, locked, read)?;
    Ok(Loaded::Slice(Box::new(Slice { state, actor, command, known_elsewhere })))
}

/// Loads what a new organization needs.
async fn load_new(
    transaction: &Transaction,
    order: &Order,
    attempt: &Attempt<'_>,
    create: &CreateOrganization,
) -> Result<Loaded, EngineError> {
    let (opened, account, app, caller_is_app) = join!(
        transaction.open(attempt.claim()),
        transaction.account(create.account, Lock::Share),
        transaction.app_for_workspace(&create.app),
        is_app(transaction, attempt.context),
    );
    if !opened? {
        return Ok(Loaded::Repeated);
    }
    account?.ok_or(EngineError::Missing(Missing::Account(create.account)))?;
    check_app(app?, &create.app)?;
    check_own_app(attempt.context, caller_is_app?, &create.app)?;
    let actor = account_actor(attempt.context);
    Ok(Loaded::Slice(Box::new(Slice {
        state: State::default(),
        actor,
        command: order.command.clone(),
        known_elsewhere: false,
    })))
}

/// Takes the locks, in their order: account, contract, organization, app, workspace, invitation, members by id.
async fn lock(transaction: &Transaction, plan: &Plan<'_>) -> Result<Locked, EngineError> {
    let Plan { context, order, needs, account, acting, newcomer, erased } = plan;
    let organization = order.organization;
    let new_app = match &order.command {
        Command::CreateWorkspace { app, .. } => Some(app),
        _ => None,
    };
    let contract = needs.seats.flatten();
    let (
        account_found,
        contract_found,
        organization_found,
        app,
        caller_is_app,
        workspace,
        live,
        invitation,
        members,
        existing,
    ) = join!(
        OptionFuture::from(account.map(|(account, lock)| transaction.account(account, lock))),
        OptionFuture::from(contract.map(|contract| transaction.contract(contract, Lock::Update))),
        transaction.organization(organization, needs.organization),
        OptionFuture::from(new_app.map(|app| transaction.app_for_workspace(app))),
        OptionFuture::from(plan.names_workspaces().then(|| is_app(transaction, context))),
        OptionFuture::from(needs.workspace.map(|(workspace, lock)| transaction.workspace(
            organization,
            workspace,
            lock
        ))),
        OptionFuture::from(
            (needs.whole || plan.ends_organization()).then(|| transaction.lock_live_workspaces(organization))
        ),
        OptionFuture::from(plan.accepted().map(|(invitation, account)| transaction.invitation(
            organization,
            WhichInvitation::Id(invitation),
            Some(account)
        ))),
        lock_members(transaction, order, needs, *acting),
        OptionFuture::from(newcomer.map(|account| transaction.member_of_account(organization, account))),
    );
    if let (Some((account, _)), Some(found)) = (account, account_found) {
        let found = found?;
        if found.is_none() && erased.is_some() {
            // Deleted since it was looked up, and its member erased with it: the next look tells.
            return Err(EngineError::Storage(StorageError::Conflict(
                "the account was deleted meanwhile".to_owned(),
            )));
        }
        found.ok_or(EngineError::Missing(Missing::Account(*account)))?;
    }
    let missing = EngineError::Missing(Missing::Organization(organization));
    let organization = organization_found?.ok_or(missing)?;
    let contract = match (contract, contract_found) {
        (Some(id), Some(found)) => Some(found?.ok_or(EngineError::Missing(Missing::Contract(id)))?),
        _ => None,
    };
    let caller_is_app = caller_is_app.transpose()?.unwrap_or(false);
    if let (Some(name), Some(found)) = (new_app, app) {
        check_app(found?, name)?;
        check_own_app(context, caller_is_app, name)?;
    }
    let workspace = match (needs.workspace, workspace) {
        (Some((id, _)), Some(found)) => Some(found?.ok_or(Violation::NoWorkspace(id))?),
        _ => None,
    };
    if let Some(workspace) = &workspace {
        check_own_app(context, caller_is_app, &workspace.app)?;
    }
    let mut workspaces = live.transpose()?.unwrap_or_default();
    workspaces.extend(workspace);
    let mut members = members?;
    members.extend(existing.transpose()?.flatten().map(|member| (member.id, member)));
    let invitation = invitation.transpose()?.flatten();
    Ok(Locked { organization, contract, workspaces, invitation, members, caller_is_app })
}

/// Locks the members that the command is about, and the acting one against losing the role meanwhile, by id.
async fn lock_members(
    transaction: &Transaction,
    order: &Order,
    needs: &Needs,
    acting: Option<MemberId>,
) -> Result<BTreeMap<MemberId, Member>, StorageError> {
    if needs.whole {
        // More than a command may change are refused, so more than that need not be loaded to be refused.
        return transaction.members_who_belong(order.organization, acting, MAX_CHANGES + 1).await;
    }
    if let Command::DeleteWorkspace { workspace } = order.command {
        // One statement for all of them: the acting member has a place in the order of the locks like any other.
        return transaction.members_of_workspace(order.organization, workspace, acting).await;
    }
    let mut wanted: BTreeMap<MemberId, Lock> = BTreeMap::new();
    let mut want = |member: MemberId, lock: Lock| {
        let held = wanted.entry(member).or_insert(lock);
        *held = (*held).max(lock);
    };
    if let Some(departure) = departure_of(&order.command) {
        departure.successors().for_each(|successor| want(successor, Lock::Update));
        departure.handover_to.into_iter().for_each(|member| want(member, Lock::Share));
    }
    acting.into_iter().for_each(|acting| want(acting, Lock::Share));
    needs.member.into_iter().for_each(|member| want(member, Lock::Update));
    transaction.members(order.organization, &wanted).await
}

impl Plan<'_> {
    /// Whether it is about all members of something, who are known only after their locks.
    fn sweeps(&self) -> bool {
        self.needs.whole || matches!(self.order.command, Command::DeleteWorkspace { .. })
    }

    /// Whether somebody leaves who accepts that the organization may end with them, and may be the last (R60).
    fn ends_organization(&self) -> bool {
        self.needs.organization == Lock::Update
            && self.acting.is_some()
            && self.needs.member == self.acting
            && departure_of(&self.order.command)
                .is_some_and(|departure| departure.acknowledge_organization_deletion)
    }

    /// The workspaces that the request lists.
    fn listed(&self) -> Option<&BTreeSet<WorkspaceId>> {
        match &self.order.command {
            Command::ReactivateMember { restore: Restore::Listed(listed), .. } => Some(listed),
            _ => None,
        }
    }

    /// The invitation that is accepted, and by which account.
    fn accepted(&self) -> Option<(InvitationId, AccountId)> {
        match self.order.command {
            Command::AcceptInvitation { invitation, account, .. } => Some((invitation, account)),
            _ => None,
        }
    }

    /// Whether the request names workspaces, which an app commands only if they are its own.
    fn names_workspaces(&self) -> bool {
        self.needs.workspace.is_some()
            || self.listed().is_some()
            || departure_of(&self.order.command).is_some_and(Departure::names_admins)
            || matches!(self.order.command, Command::CreateWorkspace { .. })
    }

    /// Puts together what is decided on, and what counts of the actor.
    fn slice(
        &self,
        about: Option<MemberId>,
        locked: Locked,
        read: Read,
    ) -> Result<(State, Actor), EngineError> {
        let Locked { organization, contract, workspaces, invitation, members, caller_is_app } = locked;
        let acting = self.acting.and_then(|acting| members.get(&acting).cloned());
        let mut state = State {
            organization: Some(organization),
            active_owners: read.active_owners.into_iter().collect(),
            live_workspaces: read.live_workspaces,
            now: read.times.map(|times| times.now).unwrap_or_default(),
            last_active: read.times.map(|times| times.last_active).unwrap_or_default(),
            seats: self.needs.seats.map(|_| Seats {
                used: read.seats_used,
                contract: contract.zip(read.contract_use).map(|(contract, shared)| contract.seats(shared)),
            }),
            workspace_admins: read.workspace_admins.into_iter().collect(),
            others_belong: read.others_belong,
            calling_app: self.context.caller.as_str().parse().ok().filter(|_| caller_is_app),
            members,
            ..State::default()
        };
        if let Some((invitation, is_invited)) = invitation {
            state.invitation = Some(Invitation { workspaces: read.invited_to, ..invitation });
            state.actor_is_invited = is_invited;
        }
        if !self.sweeps() {
            let named: BTreeSet<MemberId> = departure_of(&self.order.command)
                .into_iter()
                .flat_map(|departure| departure.successors().chain(departure.handover_to))
                .collect();
            state.members.retain(|member, _| about == Some(*member) || named.contains(member));
        }
        for workspace in read.workspaces {
            if self.listed().is_some_and(|listed| listed.contains(&workspace.id)) {
                check_own_app(self.context, caller_is_app, &workspace.app)?;
            }
            state.workspaces.insert(workspace.id, workspace);
        }
        state.workspaces.extend(workspaces.into_iter().map(|workspace| (workspace.id, workspace)));
        let mut workspace_admin = false;
        for membership in read.memberships {
            if acting.as_ref().is_some_and(|member| member.id == membership.member_id)
                && self.needs.workspace.is_some_and(|(workspace, _)| workspace == membership.workspace_id)
            {
                workspace_admin =
                    membership.role == WorkspaceRole::Admin && membership.state == MembershipState::Active;
            }
            if state.members.contains_key(&membership.member_id) {
                state.workspace_members.insert((membership.workspace_id, membership.member_id), membership);
            }
        }
        let Some(account) = self.context.acting else { return Ok((state, itself(self.context))) };
        if acting.as_ref().is_some_and(|member| state.members.contains_key(&member.id)) {
            state.actor_belongs_elsewhere = read.belongs_elsewhere;
        }
        let member =
            acting.map(|member| ActingMember { id: member.id, role: member.role, state: member.state });
        Ok((state, Actor::Person { account, member, workspace_admin }))
    }
}

/// Tells the rules whether the profile that the request names is another one.
fn compare_profile(order: &Order, command: &mut Command, before: Option<&str>) {
    if let (Command::UpdateMember { profile_changes, .. }, Some(wanted)) = (command, &order.display_name) {
        let wanted = wanted.as_ref().map(DisplayName::as_str).unwrap_or_default();
        *profile_changes = before.unwrap_or_default() != wanted;
    }
}

/// A new workspace's app must exist.
fn check_app(found: bool, app: &AppName) -> Result<(), EngineError> {
    if found { Ok(()) } else { Err(EngineError::Missing(Missing::App(app.clone()))) }
}

/// Whether the caller is an app.
pub(super) async fn is_app(transaction: &Transaction, context: &Context) -> Result<bool, StorageError> {
    match context.app {
        CallingApp::No => Ok(false),
        CallingApp::Yes => Ok(true),
        CallingApp::IfNamedSo => transaction.is_app(context.caller.as_str()).await,
    }
}

/// An app commands its own workspaces alone (R15). A caller that is no app is not bound so.
pub(super) fn check_own_app(
    context: &Context,
    caller_is_app: bool,
    app: &AppName,
) -> Result<(), EngineError> {
    if caller_is_app && context.caller.as_str() != app.as_str() {
        return Err(Violation::WorkspaceOfOtherApp { app: app.clone() }.into());
    }
    Ok(())
}

/// The actor where nobody acts. Only of who proves to be an app is it known that it is nothing more.
pub(super) fn itself(context: &Context) -> Actor {
    if context.app == CallingApp::Yes { Actor::App } else { Actor::Workload }
}

/// The actor of a command outside of any organization.
fn account_actor(context: &Context) -> Actor {
    match context.acting {
        None => Actor::Workload,
        Some(account) => Actor::Person { account, member: None, workspace_admin: false },
    }
}

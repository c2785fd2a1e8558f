//! Erasing across organizations: an account with everything of it, and the ledger applied again.

use std::collections::BTreeMap;

use futures_util::{future::OptionFuture, join};
use uuid::Uuid;

use super::{
    Context, Done, Engine, EngineError, Missing, Order,
    run::{Attempt, Effects, Outcome, Work},
};
use crate::{
    rules::{
        self, ActingMember, Actor, Blocker, Change, Command, Departure, EraseMember, ErasureCause, Notice,
        State, Subject, Violation, decide,
        ids::{AccountId, CommandId, MemberId, OrganizationId},
        roles::{Assignments, ErasedBy, MembershipState},
        state::Member,
        tables::Action,
    },
    storage::{Acting, Erased, ErasureWrite, Lock, RequestSubject, StorageError, Tenant, Transaction, Whose},
};

/// What is erased, and the changes that tell of it: in each organization a command of its own, so that nobody who sees two
/// of its tombstones can tell by it that they were one person (R46).
#[derive(Default)]
pub(super) struct Rest {
    pub(super) changes: Vec<Change>,
    pub(super) erasures: Vec<ErasureWrite>,
}

/// The deletion of an account by its holder (R45).
#[derive(Debug, Clone)]
pub struct AccountDeletion {
    /// The account.
    pub account: AccountId,
    /// What is decided beforehand, for every organization.
    pub departure: Departure,
}

/// An entry of the ledger of erasures, to be applied again.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// What was erased.
    pub what: LedgerSubject,
    /// Who had it erased.
    pub erased_by: ErasedBy,
}

/// What an entry of the ledger is about.
#[derive(Debug, Clone, Copy)]
pub enum LedgerSubject {
    /// A member, with what stands for it.
    Member(OrganizationId, MemberId, Uuid),
    /// An organization.
    Organization(OrganizationId),
    /// An account.
    Account(AccountId),
}

/// The entries of the ledger for the members that changes erase, then for the organization that they end. `before` is the slice that they were decided on.
pub(super) fn erased(before: &State, changes: &[Change], with_account: bool) -> Vec<ErasureWrite> {
    let members = changes.iter().filter_map(|change| match &change.subject {
        Subject::Member(member) => Some((member, member.tombstone?)),
        _ => None,
    });
    let entries = members.filter_map(|(member, tombstone)| {
        let account = before.members.get(&member.id)?.account_id?;
        let what = Erased::Member {
            organization: member.organization_id,
            member: member.id,
            account,
            tombstone,
            with_account,
        };
        Some(ErasureWrite::new(what))
    });
    let ended = changes.iter().filter_map(|change| match &change.subject {
        Subject::Organization(organization) if organization.is_deleted() => {
            Some(ErasureWrite::new(Erased::Organization(organization.id)))
        }
        _ => None,
    });
    entries.chain(ended).collect()
}

/// What else goes when an account is deleted, which this transaction holds for itself: what is left of it in organizations
/// from which it was removed, and the account itself.
pub(super) async fn rest_of_account(
    transaction: &Transaction,
    account: AccountId,
    but: OrganizationId,
) -> Result<Rest, EngineError> {
    let mut rest = Rest::default();
    // What the account leaves behind elsewhere is erased too (R43), by the writes at the end of the transaction.
    transaction.widen().await?;
    let members = transaction.members_of_account(account).await?;
    for member in members.into_iter().filter(|member| member.organization_id != but) {
        let command = erasure(&member, ErasureCause::Ledger(ErasedBy::Account), Departure::default());
        rest.add(transaction, member, &Actor::Workload, command).await?;
    }
    rest.end_account(account, ErasedBy::Account);
    Ok(rest)
}

fn erasure(member: &Member, cause: ErasureCause, departure: Departure) -> Command {
    // What a person leaves behind with the account is nobody's any more (R45).
    let assignments = match cause {
        ErasureCause::Ledger(ErasedBy::Owner) => Assignments::Keep,
        _ => Assignments::Clear,
    };
    let tombstone = Uuid::new_v4();
    Command::EraseMember(EraseMember { member: member.id, tombstone, cause, assignments, departure })
}

impl Rest {
    /// Erases a member who is locked, in an organization of their own.
    async fn add(
        &mut self,
        transaction: &Transaction,
        member: Member,
        actor: &Actor,
        command: Command,
    ) -> Result<Vec<Blocker>, EngineError> {
        let ends = match &command {
            Command::EraseMember(erasure) => erasure.departure.acknowledge_organization_deletion,
            _ => false,
        };
        let state = slice(transaction, member, ends).await?;
        match decide(&state, actor, &command, CommandId::apart()) {
            Ok(changes) => {
                self.erasures.extend(erased(&state, &changes, false));
                self.changes.extend(changes);
                Ok(Vec::new())
            }
            Err(Violation::Blocked(blockers)) => Ok(blockers),
            Err(violation) => Err(violation.into()),
        }
    }

    fn end_account(&mut self, account: AccountId, erased_by: ErasedBy) {
        self.erasures.push(ErasureWrite::new(Erased::Account { account, erased_by }));
    }
}

/// What the erasure of one member is decided on. The member is locked, and the organization where somebody leaves it.
/// `ends`: the organization may end with it.
async fn slice(transaction: &Transaction, member: Member, ends: bool) -> Result<State, EngineError> {
    let organization = member.organization_id;
    let whose = Whose { members: vec![member.id], account: None };
    let (found, live, memberships, workspaces, owners, admins, others) = join!(
        transaction.organization(organization, Lock::None),
        OptionFuture::from(ends.then(|| transaction.lock_live_workspaces(organization))),
        transaction.memberships(organization, &whose),
        transaction.workspaces(organization, &whose, &[]),
        transaction.active_owners(organization),
        transaction.workspace_admins(organization, member.id),
        transaction.others_belong(organization, member.id),
    );
    let live = live.transpose()?.unwrap_or_default();
    Ok(State {
        organization: found?,
        live_workspaces: live.len(),
        workspaces: workspaces?.into_iter().chain(live).map(|workspace| (workspace.id, workspace)).collect(),
        workspace_members: memberships?
            .into_iter()
            .map(|membership| ((membership.workspace_id, membership.member_id), membership))
            .collect(),
        active_owners: owners?.into_iter().collect(),
        workspace_admins: admins?.into_iter().collect(),
        others_belong: others?,
        actor_belongs_elsewhere: true,
        members: BTreeMap::from([(member.id, member)]),
        ..State::default()
    })
}

impl Engine {
    /// Deletes an account with everything of it.
    pub async fn delete_account(
        &self,
        context: Context,
        deletion: AccountDeletion,
    ) -> Result<Done, EngineError> {
        // First of all: whether there is such an account is for its holder.
        rules::permit_account(Action::DeleteAccount, context.acting, Some(deletion.account))?;
        self.run(context, deletion).await
    }

    /// Applies an entry of the ledger again.
    pub async fn reapply_erasure(&self, context: Context, ledger: Ledger) -> Result<Done, EngineError> {
        rules::permit_account(Action::CreateAccount, context.acting, None)?;
        let LedgerSubject::Organization(organization) = ledger.what else {
            return self.run(context, ledger).await;
        };
        let command = Command::DeleteOrganization { confirmed: true };
        let order = Order { again: true, ..Order::new(organization, command) };
        match self.run(context, order).await {
            // It came into being after the backup.
            Err(EngineError::Missing(Missing::Organization(_))) => Ok(Done {
                subject: RequestSubject::default(),
                commands: Vec::new(),
                committed: tokio::time::Instant::now(),
                validated: false,
                repeated: false,
            }),
            done => done,
        }
    }
}

impl Work for AccountDeletion {
    fn name(&self) -> &'static str {
        "DeleteAccount"
    }

    /// The person leaves every organization.
    fn tenant(&self) -> Tenant {
        Tenant::Across
    }

    /// No command: it would lead from the account to what is left of it.
    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject { account_id: Some(self.account), ..RequestSubject::default() }
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let Self { account, departure } = self;
        let acting = attempt.context.acting;
        let (opened, found, known) = join!(
            transaction.open(attempt.claim()),
            transaction.account(*account, Lock::Update),
            transaction.account_exists(*account),
        );
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        let mut subject = self.expected(attempt.command_id);
        if found?.is_none() {
            // Deleted already: nothing to do. Never there: nothing to say.
            return if known? {
                Ok(Outcome::Done(Box::new(Effects { subject, ..Effects::default() })))
            } else {
                Err(EngineError::Missing(Missing::Account(*account)))
            };
        }
        // The account is held, so nobody adds a member to it; organizations and workspaces come before the members.
        let organizations = transaction.active_in(*account).await?;
        for organization in &organizations {
            transaction.organization(*organization, Lock::Update).await?;
            if departure.acknowledge_organization_deletion {
                transaction.lock_live_workspaces(*organization).await?;
            }
        }
        let mut rest = Rest::default();
        let mut blockers = Vec::new();
        for member in transaction.members_of_account(*account).await? {
            if member.state == MembershipState::Active && !organizations.contains(&member.organization_id) {
                // Reactivated since, so "the last owner" would be asked of an organization that is not held (R60).
                let meanwhile = "a member of the account was reactivated meanwhile".to_owned();
                return Err(EngineError::Storage(StorageError::Conflict(meanwhile)));
            }
            let actor = match acting {
                None => Actor::Workload,
                Some(account) => Actor::Person {
                    account,
                    member: Some(ActingMember { id: member.id, role: member.role, state: member.state }),
                    workspace_admin: false,
                },
            };
            let command = erasure(&member, ErasureCause::Account, departure.clone());
            let organization = member.organization_id;
            let own = rest.add(transaction, member, &actor, command).await?;
            blockers.extend(own.into_iter().map(|blocker| (organization, blocker)));
        }
        if !blockers.is_empty() {
            return Err(EngineError::BlockedIn(blockers));
        }
        rest.end_account(*account, ErasedBy::Account);
        let Rest { changes, erasures } = rest;
        subject.erasure_id = erasures.last().map(|erasure| erasure.id);
        let acting = if acting.is_some() { Acting::Themselves } else { Acting::Workload };
        let notices = vec![Notice::account_deleted(*account)];
        let effects = Effects { subject, changes, acting, notices, erasures, ..Effects::default() };
        Ok(Outcome::Done(Box::new(effects)))
    }
}

impl Work for Ledger {
    fn name(&self) -> &'static str {
        "ReapplyErasure"
    }

    /// An account is erased wherever it is. A member is found first, by an entry of the one ledger.
    fn tenant(&self) -> Tenant {
        Tenant::Across
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject::default()
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        if !transaction.open(attempt.claim()).await? {
            return Ok(Outcome::Repeated);
        }
        let account = match self.what {
            LedgerSubject::Account(account) => Some(account),
            LedgerSubject::Member(organization, member, _) => {
                transaction.account_of(organization, member).await?
            }
            // A command of its own: see `Engine::reapply_erasure`.
            LedgerSubject::Organization(_) => None,
        };
        let found = match account {
            Some(account) => transaction.account(account, Lock::Update).await?.map(|_| account),
            None => None,
        };
        let Some(account) = found else {
            // Erased already, or unknown here.
            return Ok(Outcome::Done(Box::default()));
        };
        let mut rest = Rest::default();
        for member in transaction.members_of_account(account).await? {
            let Member { id, organization_id, .. } = member;
            let mut command = erasure(&member, ErasureCause::Ledger(self.erased_by), Departure::default());
            if let LedgerSubject::Member(organization, about, tombstone) = self.what {
                if (organization, about) != (organization_id, id) {
                    continue;
                }
                if let Command::EraseMember(erasure) = &mut command {
                    erasure.tombstone = tombstone;
                }
            }
            rest.add(transaction, member, &Actor::Workload, command).await?;
        }
        if let LedgerSubject::Account(account) = self.what {
            rest.end_account(account, self.erased_by);
        }
        let Rest { changes, erasures } = rest;
        let subject = RequestSubject {
            erasure_id: erasures.last().map(|erasure| erasure.id),
            ..RequestSubject::default()
        };
        Ok(Outcome::Done(Box::new(Effects { subject, changes, erasures, ..Effects::default() })))
    }
}

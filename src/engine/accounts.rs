//! Accounts.

use futures_util::{future::OptionFuture, join};

use super::{
    Context, Done, Engine, EngineError, Missing,
    run::{Attempt, Effects, Outcome, Work},
};
use crate::{
    rules::{
        self, Reason,
        ids::{AccountId, CommandId, Email, ExternalId},
        roles::Language,
        tables::Action,
    },
    storage::{AccountWrite, Acting, Lock, NewAccount, RequestSubject, Tenant, Transaction},
};

/// A change of an account: what is named is to be so.
#[derive(Debug, Clone)]
pub struct AccountChange {
    /// The account.
    pub account: AccountId,
    /// Its e-mail address.
    pub email: Option<Email>,
    /// The language of mail.
    pub language: Option<Language>,
    /// All its external ids.
    pub external_ids: Option<Vec<ExternalId>>,
}

impl Engine {
    /// Creates an account.
    pub async fn create_account(&self, context: Context, account: NewAccount) -> Result<Done, EngineError> {
        self.run(context, account).await
    }

    /// Changes an account, and with it each of its members (R23).
    pub async fn update_account(&self, context: Context, change: AccountChange) -> Result<Done, EngineError> {
        // First of all: whether there is such an account is for its holder.
        rules::permit_account(Action::UpdateAccount, context.acting, Some(change.account))?;
        self.run(context, change).await
    }
}

impl Work for NewAccount {
    fn name(&self) -> &'static str {
        "CreateAccount"
    }

    fn tenant(&self) -> Tenant {
        Tenant::Outside
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject { account_id: Some(self.id), ..RequestSubject::default() }
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        rules::permit_account(Action::CreateAccount, attempt.context.acting, None)?;
        let external_ids = Some(&self.external_ids).filter(|ids| !ids.is_empty());
        let (opened, locked, inserted, identified) = join!(
            transaction.open(attempt.claim()),
            transaction.lock_email(&self.email),
            transaction.insert_account(self),
            OptionFuture::from(external_ids.map(|ids| transaction.insert_external_ids(self.id, ids))),
        );
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        locked?;
        if !inserted? {
            return Err(EngineError::EmailTaken);
        }
        if !identified.unwrap_or(Ok(true))? {
            return Err(EngineError::ExternalIdTaken);
        }
        let subject = self.expected(attempt.command_id);
        Ok(Outcome::Done(Box::new(Effects { subject, ..Effects::default() })))
    }
}

impl Work for AccountChange {
    fn name(&self) -> &'static str {
        "UpdateAccount"
    }

    /// Every organization of the account is told (R23).
    fn tenant(&self) -> Tenant {
        Tenant::Across
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject { account_id: Some(self.account), ..RequestSubject::default() }
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let acting = attempt.context.acting;
        let Self { account: id, email, language, external_ids } = self;
        // Whoever shows the members is told of these two.
        let tells = email.is_some() || external_ids.is_some();
        // The address after the rows: the advisory locks come last in the order of the locks.
        let (opened, account, members, had, locked, taken) = join!(
            transaction.open(attempt.claim()),
            transaction.account(*id, Lock::Update),
            OptionFuture::from(tells.then(|| transaction.members_of_account(*id))),
            OptionFuture::from(external_ids.as_ref().map(|_| transaction.external_ids(*id))),
            OptionFuture::from(email.as_ref().map(|email| transaction.lock_email(email))),
            OptionFuture::from(email.as_ref().map(|email| transaction.is_taken(email, *id))),
        );
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        let account = account?.ok_or(EngineError::Missing(Missing::Account(*id)))?;
        attempt.check_etag(&[id.0], account.version)?;
        if external_ids.is_some() {
            rules::permit_account(Action::SetExternalIds, acting, Some(*id))?;
        }
        let members = members.transpose()?.unwrap_or_default();
        let had = had.transpose()?.unwrap_or_default();
        locked.transpose()?;
        let taken = taken.transpose()?.unwrap_or_default();
        let new_email = email.as_ref().filter(|email| account.email.as_deref() != Some(email.address()));
        if new_email.is_some() && taken {
            return Err(EngineError::EmailTaken);
        }
        let language = language.filter(|language| account.language != language.as_str());
        let wanted = external_ids.as_ref().unwrap_or(&had);
        let without = |ids: &[ExternalId], others: &[ExternalId]| -> Vec<ExternalId> {
            ids.iter().filter(|id| !others.contains(id)).cloned().collect()
        };
        let (old, new) = (without(&had, wanted), without(wanted, &had));
        let identities_change = !(old.is_empty() && new.is_empty());
        // No command: it would lead from the account to its members, also after one of them was erased (R46).
        let subject = self.expected(attempt.command_id);
        if new_email.is_none() && language.is_none() && !identities_change {
            return Ok(Outcome::Done(Box::new(Effects { subject, ..Effects::default() })));
        }
        // Whether they are taken shows when they are written, which the transaction takes back.
        if identities_change && !transaction.replace_external_ids(*id, &old, &new).await? {
            return Err(EngineError::ExternalIdTaken);
        }
        // A REMOVED member's content is still shown under the name, so those who show it are told too. In each organization
        // by a command of its own, so that nothing links the members later (R46).
        let told =
            [(new_email.is_some(), Reason::ProfileChanged), (identities_change, Reason::ExternalIdsChanged)];
        let reasons: Vec<_> = told.iter().filter(|(told, _)| *told).map(|(_, reason)| *reason).collect();
        let tell = |member| rules::account_changed(member, &reasons, CommandId::apart());
        let changes: Vec<_> = members.iter().flat_map(tell).collect();
        let acting = if acting.is_some() { Acting::Themselves } else { Acting::Workload };
        let account = Some(AccountWrite { id: *id, email: new_email.cloned(), language });
        Ok(Outcome::Done(Box::new(Effects { subject, changes, acting, account, ..Effects::default() })))
    }
}

//! Writes outside of an organization: accounts and apps.

use futures_util::join;

use super::{
    Context, Done, Engine, EngineError, Missing,
    run::{Attempt, Effects, Outcome, Work},
};
use crate::{
    rules::{
        self,
        ids::{AccountId, AppName, CommandId, Email},
        tables::Action,
    },
    storage::{Acting, Lock, NewAccount, RequestSubject, Transaction},
};

/// A change of an account.
#[derive(Debug, Clone)]
pub struct AccountChange {
    /// The account.
    pub account: AccountId,
    /// Its new e-mail address.
    pub email: Email,
}

impl Engine {
    /// Creates an account.
    pub async fn create_account(&self, context: Context, account: NewAccount) -> Result<Done, EngineError> {
        self.run(context, account).await
    }

    /// Changes an account, and with it each of its members (R23).
    pub async fn update_account(&self, context: Context, change: AccountChange) -> Result<Done, EngineError> {
        self.run(context, change).await
    }

    /// Registers an app.
    pub async fn register_app(&self, context: Context, app: AppName) -> Result<Done, EngineError> {
        self.run(context, app).await
    }
}

impl Work for NewAccount {
    fn name(&self) -> &'static str {
        "CreateAccount"
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject { account_id: Some(self.id), ..RequestSubject::default() }
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        rules::permit_account(Action::CreateAccount, attempt.context.acting, None)?;
        let (opened, locked, inserted) = join!(
            transaction.open(attempt.claim()),
            transaction.lock_email(&self.email),
            transaction.insert_account(self),
        );
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        locked?;
        if !inserted? {
            return Err(EngineError::EmailTaken);
        }
        let subject = self.expected(attempt.command_id);
        Ok(Outcome::Done(Box::new(Effects { subject, ..Effects::default() })))
    }
}

impl Work for AccountChange {
    fn name(&self) -> &'static str {
        "UpdateAccount"
    }

    fn expected(&self, id: CommandId) -> RequestSubject {
        RequestSubject { account_id: Some(self.account), command_id: Some(id), ..RequestSubject::default() }
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let acting = attempt.context.acting;
        // The address after the rows: the advisory locks come last in the order of the locks.
        let (opened, account, members, locked, taken) = join!(
            transaction.open(attempt.claim()),
            transaction.account(self.account, Lock::Update),
            transaction.members_of_account(self.account),
            transaction.lock_email(&self.email),
            transaction.is_taken(&self.email, self.account),
        );
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        let account = account?
            .filter(|account| account.email.is_some())
            .ok_or(EngineError::Missing(Missing::Account(self.account)))?;
        rules::permit_account(Action::UpdateAccount, acting, Some(self.account))?;
        let subject = RequestSubject { command_id: None, ..self.expected(attempt.command_id) };
        if account.email.as_deref() == Some(self.email.address()) {
            return Ok(Outcome::Done(Box::new(Effects { subject, ..Effects::default() })));
        }
        let members = members?;
        locked?;
        if taken? {
            return Err(EngineError::EmailTaken);
        }
        let email = Some((self.account, self.email.clone()));
        // A REMOVED member's content is still shown under the name, so those who show it are told too.
        let changes: Vec<_> = members.iter().map(rules::profile_changed).collect();
        let subject = if changes.is_empty() { subject } else { self.expected(attempt.command_id) };
        let acting = if acting.is_some() { Acting::Themselves } else { Acting::Workload };
        Ok(Outcome::Done(Box::new(Effects { subject, changes, acting, email, ..Effects::default() })))
    }
}

impl Work for AppName {
    fn name(&self) -> &'static str {
        "RegisterApp"
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        RequestSubject::default()
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        let (opened, inserted) = join!(transaction.open(attempt.claim()), transaction.insert_app(self));
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        if !inserted? {
            return Err(EngineError::AppExists(self.clone()));
        }
        Ok(Outcome::Done(Box::default()))
    }
}

//! Writes outside of an organization: accounts and apps.

use super::{
    Context, Done, Engine, EngineError, Missing,
    run::{Effects, Firmness, Outcome, Work},
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

    async fn apply(
        &self,
        transaction: &mut Transaction,
        context: &Context,
        _: Firmness,
    ) -> Result<Outcome, EngineError> {
        rules::permit_account(Action::CreateAccount, context.acting, None)?;
        transaction.insert_account(self).await?.map_err(|_| EngineError::EmailTaken)?;
        let subject = RequestSubject { account_id: Some(self.id), ..RequestSubject::default() };
        Ok(Outcome::Done(Effects { subject, ..Effects::default() }))
    }
}

impl Work for AccountChange {
    fn name(&self) -> &'static str {
        "UpdateAccount"
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        context: &Context,
        _: Firmness,
    ) -> Result<Outcome, EngineError> {
        let missing = EngineError::Missing(Missing::Account(self.account));
        let account = transaction.account(self.account, Lock::Update).await?.ok_or(missing)?;
        rules::permit_account(Action::UpdateAccount, context.acting, Some(self.account))?;
        let mut subject = RequestSubject { account_id: Some(self.account), ..RequestSubject::default() };
        if account.email == self.email.address() {
            return Ok(Outcome::Done(Effects { subject, ..Effects::default() }));
        }
        let members = transaction.members_of_account(self.account).await?;
        transaction.update_email(self.account, &self.email).await?.map_err(|_| EngineError::EmailTaken)?;
        // A REMOVED member's content is still shown under the name, so those who show it are told too.
        let changes: Vec<_> = members.iter().map(rules::profile_changed).collect();
        transaction.write_subjects(&changes).await?;
        if changes.is_empty() {
            return Ok(Outcome::Done(Effects { subject, ..Effects::default() }));
        }
        subject.command_id = Some(CommandId::generate());
        let acting = if context.acting.is_some() { Acting::Themselves } else { Acting::Workload };
        Ok(Outcome::Done(Effects { subject, changes, acting }))
    }
}

impl Work for AppName {
    fn name(&self) -> &'static str {
        "RegisterApp"
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        _: &Context,
        _: Firmness,
    ) -> Result<Outcome, EngineError> {
        if !transaction.insert_app(self).await? {
            return Err(EngineError::AppExists(self.clone()));
        }
        Ok(Outcome::Done(Effects::default()))
    }
}

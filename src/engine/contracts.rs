//! Contracts: what organizations share their seats by. Workloads as themselves write them; no stream tells of them.

use futures_util::join;

use super::{
    Context, Done, Engine, EngineError, Missing,
    run::{Attempt, Effects, Outcome, Work},
};
use crate::{
    rules::{
        self, Violation,
        ids::{CommandId, ContractId, DisplayName},
        seats::SeatsOf,
        tables::Action,
    },
    storage::{Lock, RequestSubject, Tenant, Transaction},
};

/// A contract to be created.
#[derive(Debug, Clone)]
pub struct NewContract {
    /// The id that it gets.
    pub id: ContractId,
    /// Its name.
    pub display_name: DisplayName,
    /// How many seats it has. None: as many as wish.
    pub seat_limit: Option<i64>,
}

/// A change of a contract. None: stays as it is.
#[derive(Debug, Clone)]
pub struct ContractChange {
    /// The contract.
    pub id: ContractId,
    /// Its new name.
    pub display_name: Option<DisplayName>,
    /// How many seats it is to have. Some(None): as many as wish.
    pub seat_limit: Option<Option<i64>>,
}

struct ContractDeletion(ContractId);

impl Engine {
    /// Creates a contract.
    pub async fn create_contract(
        &self,
        context: Context,
        contract: NewContract,
    ) -> Result<Done, EngineError> {
        self.run(context, contract).await
    }

    /// Changes a contract.
    pub async fn update_contract(
        &self,
        context: Context,
        change: ContractChange,
    ) -> Result<Done, EngineError> {
        self.run(context, change).await
    }

    /// Deletes a contract that no organization shares.
    pub async fn delete_contract(&self, context: Context, id: ContractId) -> Result<Done, EngineError> {
        self.run(context, ContractDeletion(id)).await
    }
}

fn shows(id: ContractId) -> RequestSubject {
    RequestSubject { contract_id: Some(id), ..RequestSubject::default() }
}

fn done(id: ContractId) -> Outcome {
    Outcome::Done(Box::new(Effects { subject: shows(id), ..Effects::default() }))
}

fn permit(attempt: &Attempt<'_>) -> Result<(), Violation> {
    rules::permit_account(Action::ManageContracts, attempt.context.acting, None)
}

impl Work for NewContract {
    fn name(&self) -> &'static str {
        "CreateContract"
    }

    fn tenant(&self) -> Tenant {
        Tenant::Outside
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        shows(self.id)
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        permit(attempt)?;
        if !transaction.open(attempt.claim()).await? {
            return Ok(Outcome::Repeated);
        }
        transaction.insert_contract(self.id, &self.display_name, self.seat_limit).await?;
        Ok(done(self.id))
    }
}

impl Work for ContractChange {
    fn name(&self) -> &'static str {
        "UpdateContract"
    }

    /// The seats are those of all organizations that share it.
    fn tenant(&self) -> Tenant {
        Tenant::Across
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        shows(self.id)
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        permit(attempt)?;
        let (opened, before, used) = join!(
            transaction.open(attempt.claim()),
            transaction.contract(self.id, Lock::Update),
            transaction.contract_seats_used(self.id),
        );
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        let before = before?.ok_or(EngineError::Missing(Missing::Contract(self.id)))?;
        attempt.check_etag(&[self.id.0], before.version)?;
        let used = used?;
        let display_name =
            self.display_name.as_ref().map_or(before.display_name.as_str(), DisplayName::as_str);
        let seat_limit = self.seat_limit.unwrap_or(before.seat_limit);
        if display_name == before.display_name && seat_limit == before.seat_limit {
            return Ok(done(self.id));
        }
        if let Some(limit) = seat_limit.filter(|limit| seat_limit != before.seat_limit && used > *limit) {
            return Err(Violation::SeatsInUse { of: SeatsOf::Contract(self.id), used, limit }.into());
        }
        transaction.update_contract(self.id, display_name, seat_limit).await?;
        Ok(done(self.id))
    }
}

impl Work for ContractDeletion {
    fn name(&self) -> &'static str {
        "DeleteContract"
    }

    /// It is looked for in all of them.
    fn tenant(&self) -> Tenant {
        Tenant::Across
    }

    fn expected(&self, _: CommandId) -> RequestSubject {
        shows(self.0)
    }

    async fn apply(&self, transaction: &Transaction, attempt: &Attempt<'_>) -> Result<Outcome, EngineError> {
        permit(attempt)?;
        let (opened, found, shared) = join!(
            transaction.open(attempt.claim()),
            transaction.contract(self.0, Lock::Update),
            transaction.is_shared(self.0),
        );
        if !opened? {
            return Ok(Outcome::Repeated);
        }
        let found = found?.ok_or(EngineError::Missing(Missing::Contract(self.0)))?;
        attempt.check_etag(&[self.0.0], found.version)?;
        if shared? {
            return Err(EngineError::ContractInUse(self.0));
        }
        transaction.delete_contract(self.0).await?;
        Ok(done(self.0))
    }
}

//! Contracts, and the seats that are in use.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable, QueryableByName, Selectable,
    SelectableHelper as _, sql_types,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    lock::{Lock, Whose, first_locked},
    prepared::{Text, prepared},
    schema::{contracts, organizations},
    transaction::Transaction,
};
use crate::rules::{
    ids::{AccountId, ContractId, DisplayName, OrganizationId},
    seats::ContractSeats,
};

/// What is stored of a contract.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = contracts, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct ContractRow {
    pub contract_id: Uuid,
    pub display_name: String,
    pub seat_limit: Option<i64>,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

impl ContractRow {
    /// Its seats, as a command is decided on them.
    pub fn seats(&self, shared: ContractUse) -> ContractSeats {
        let ContractUse { used, elsewhere } = shared;
        ContractSeats {
            id: ContractId(self.contract_id),
            limit: self.seat_limit,
            used,
            elsewhere: elsewhere.into_iter().map(AccountId).collect(),
        }
    }
}

/// What is in use of a contract's seats, seen from one organization.
#[derive(Debug, QueryableByName)]
pub struct ContractUse {
    /// The accounts that are ACTIVE in its organizations and in this one, each counted once.
    #[diesel(sql_type = sql_types::BigInt)]
    pub used: i64,
    /// Of the accounts that were asked about, those that are ACTIVE in another organization of it.
    #[diesel(sql_type = sql_types::Array<sql_types::Uuid>)]
    pub elsewhere: Vec<Uuid>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = sql_types::BigInt)]
    count: i64,
}

struct InsertContract;

impl Text for InsertContract {
    const SQL: &'static str = "
        INSERT INTO contracts (contract_id, display_name, seat_limit, version) VALUES ($1, $2, $3, 1)";
}

struct UpdateContract;

impl Text for UpdateContract {
    const SQL: &'static str = "
        UPDATE contracts SET display_name = $2, seat_limit = $3, version = version + 1, update_time = now()
        WHERE contract_id = $1";
}

struct SeatsUsed;

impl Text for SeatsUsed {
    const SQL: &'static str = "
        SELECT count(*) FROM members WHERE organization_id = $1 AND state = 'ACTIVE'";
}

struct ContractSeatsUsed;

impl Text for ContractSeatsUsed {
    const SQL: &'static str = "
        SELECT count(DISTINCT m.account_id) FROM organizations o JOIN members m USING (organization_id)
        WHERE o.contract_id = $1 AND m.state = 'ACTIVE'";
}

/// Both numbers by one statement: of two, the second could see who left in between.
struct UseOfContract;

impl Text for UseOfContract {
    const SQL: &'static str = "
        SELECT count(DISTINCT m.account_id) AS used,
               coalesce(array_agg(DISTINCT m.account_id) FILTER (
                   WHERE o.organization_id <> $2
                     AND m.account_id = ANY ($4 || ARRAY(SELECT x.account_id FROM members x
                                                         WHERE x.organization_id = $2 AND x.member_id = ANY ($3)))
               ), '{}') AS elsewhere
        FROM organizations o JOIN members m USING (organization_id)
        WHERE (o.contract_id = $1 OR o.organization_id = $2) AND m.state = 'ACTIVE'";
}

impl Transaction {
    /// Loads a contract.
    pub async fn contract(&self, id: ContractId, lock: Lock) -> Result<Option<ContractRow>, StorageError> {
        let query = contracts::table.find(id.0).select(ContractRow::as_select());
        Ok(first_locked!(query, lock, &mut self.connection(), ContractRow))
    }

    /// Inserts a contract.
    pub async fn insert_contract(
        &self,
        id: ContractId,
        display_name: &DisplayName,
        seat_limit: Option<i64>,
    ) -> Result<(), StorageError> {
        let query = prepared::<InsertContract, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(id.0)
                .bind::<sql_types::Text, _>(display_name.as_str())
                .bind::<sql_types::Nullable<sql_types::BigInt>, _>(seat_limit)
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    /// Changes a contract that this transaction has locked.
    pub async fn update_contract(
        &self,
        id: ContractId,
        display_name: &str,
        seat_limit: Option<i64>,
    ) -> Result<(), StorageError> {
        let query = prepared::<UpdateContract, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(id.0)
                .bind::<sql_types::Text, _>(display_name)
                .bind::<sql_types::Nullable<sql_types::BigInt>, _>(seat_limit)
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    /// Deletes a contract that this transaction has locked and that no organization shares.
    pub async fn delete_contract(&self, id: ContractId) -> Result<(), StorageError> {
        diesel::delete(contracts::table.find(id.0)).execute(&mut self.connection()).await?;
        Ok(())
    }

    /// Whether organizations share a contract. Means something only while the contract is locked.
    pub async fn is_shared(&self, id: ContractId) -> Result<bool, StorageError> {
        let query = organizations::table.filter(organizations::contract_id.eq(id.0));
        Ok(diesel::select(diesel::dsl::exists(query)).get_result(&mut self.connection()).await?)
    }

    /// How many members of an organization are ACTIVE. At most so many while the organization is locked: they may become
    /// fewer, not more.
    pub async fn seats_used(&self, organization: OrganizationId) -> Result<i64, StorageError> {
        let query = prepared::<SeatsUsed, _>(|sql| sql.bind::<sql_types::Uuid, _>(organization.0));
        let count: Count = query.get_result(&mut self.connection()).await?;
        Ok(count.count)
    }

    /// How many accounts are ACTIVE in the organizations of a contract. At most so many while the contract is locked.
    pub async fn contract_seats_used(&self, id: ContractId) -> Result<i64, StorageError> {
        let query = prepared::<ContractSeatsUsed, _>(|sql| sql.bind::<sql_types::Uuid, _>(id.0));
        let count: Count = query.get_result(&mut self.connection()).await?;
        Ok(count.count)
    }

    /// The same together with an organization, and who of some is ACTIVE in another one of them.
    pub async fn contract_use(
        &self,
        id: ContractId,
        organization: OrganizationId,
        about: &Whose,
    ) -> Result<ContractUse, StorageError> {
        let accounts: Vec<Uuid> = about.account.iter().map(|account| account.0).collect();
        let query = prepared::<UseOfContract, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(id.0)
                .bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Array<sql_types::Uuid>, _>(about.ids())
                .bind::<sql_types::Array<sql_types::Uuid>, _>(accounts)
        });
        // The seats are shared by the organizations of the contract (R35).
        self.beyond(async { Ok(query.get_result(&mut self.connection()).await?) }).await
    }
}

impl Database {
    /// Reads a contract.
    pub async fn contract(&self, id: ContractId) -> Result<Option<ContractRow>, StorageError> {
        let query = contracts::table.find(id.0).select(ContractRow::as_select());
        Ok(query.first(&mut self.read_outside().await?).await.optional()?)
    }

    /// Lists contracts by id, from after one.
    pub async fn contracts(&self, after: Option<Uuid>, limit: i64) -> Result<Vec<ContractRow>, StorageError> {
        let query = contracts::table
            .filter(contracts::contract_id.gt(after.unwrap_or_default()))
            .order(contracts::contract_id)
            .limit(limit)
            .select(ContractRow::as_select());
        Ok(query.load(&mut self.read_outside().await?).await?)
    }

    /// How many members of an organization are ACTIVE.
    pub async fn seats_used(&self, organization: OrganizationId) -> Result<i64, StorageError> {
        let query = prepared::<SeatsUsed, _>(|sql| sql.bind::<sql_types::Uuid, _>(organization.0));
        let count: Count = query.get_result(&mut self.read_in(organization).await?).await?;
        Ok(count.count)
    }

    /// How many accounts are ACTIVE in the organizations of a contract.
    pub async fn contract_seats_used(&self, id: ContractId) -> Result<i64, StorageError> {
        let query = prepared::<ContractSeatsUsed, _>(|sql| sql.bind::<sql_types::Uuid, _>(id.0));
        // Across: those of all organizations that share the contract.
        let count: Count = query.get_result(&mut self.read_across().await?).await?;
        Ok(count.count)
    }
}

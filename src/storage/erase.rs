//! What an erasure takes out of the rows, and the ledger of what was erased.
//!
//! Each entry is one statement that deletes and writes down how much it deleted. An entry about an account and those about
//! its members have nothing in common but the day, so that the ledger does not link what it keeps apart (R46).

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable, Selectable,
    SelectableHelper as _, sql_types,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
    schema::{accounts, erasures, members},
    transaction::Transaction,
};
use crate::rules::{
    ids::{AccountId, ErasureId, LedgerKind, MemberId, OrganizationId},
    roles::{ErasedBy, MembershipState},
    state::Tombstone,
};

/// What is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erased {
    /// The profile of a member, and what waits for the member in the organization.
    Member {
        /// The organization.
        organization: OrganizationId,
        /// The member.
        member: MemberId,
        /// The account as it was before.
        account: AccountId,
        /// What stands for the member.
        tombstone: Tombstone,
        /// Whether the account ends with it: its address and external ids are counted here too.
        with_account: bool,
    },
    /// What a DELETED organization kept besides its rows: the names of its members, the invited addresses.
    Organization(OrganizationId),
    /// An account.
    Account {
        /// The account.
        account: AccountId,
        /// Who had it erased.
        erased_by: ErasedBy,
    },
}

/// An entry of the ledger in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureWrite {
    /// The id of the entry.
    pub id: ErasureId,
    /// What is erased.
    pub what: Erased,
}

impl ErasureWrite {
    /// A new entry.
    pub fn new(what: Erased) -> Self {
        let kind = match what {
            Erased::Member { .. } => LedgerKind::Member,
            Erased::Organization(_) => LedgerKind::Organization,
            Erased::Account { .. } => LedgerKind::Account,
        };
        Self { id: ErasureId::in_ledger(kind), what }
    }
}

/// $1 the entry, $2 organization, $3 member, $4 tombstone, $5 by whom, $6 account, $7 whether the account ends with it.
struct EraseMember;

impl Text for EraseMember {
    const SQL: &'static str = "
        WITH profile AS (
            DELETE FROM profiles WHERE organization_id = $2 AND member_id = $3 RETURNING 1
        ), activity AS (
            DELETE FROM member_activity WHERE organization_id = $2 AND member_id = $3 RETURNING 1
        ), invitation AS (
            UPDATE invitations
            SET state = 'REVOKED', email = NULL, email_key = NULL, version = version + 1,
                update_time = now() - random() * interval '1 second'
            WHERE organization_id = $2 AND state = 'PENDING'
              AND email_key = (SELECT a.email_key FROM accounts a WHERE a.account_id = $6)
            RETURNING invitation_id
        ), mail AS (
            DELETE FROM mails
            WHERE organization_id = $2
              AND (member_id = $3 OR account_id = $6
                   OR invitation_id IN (SELECT i.invitation_id FROM invitation i)
                   OR invitation_id IN (SELECT i.invitation_id FROM invitations i
                                        WHERE i.organization_id = $2 AND i.member_id = $3))
            RETURNING 1
        )
        INSERT INTO erasures (erasure_id, kind, organization_id, member_id, tombstone_id, erased_by, profiles, addresses,
                              external_ids, invitations, mails)
        SELECT $1, 'MEMBER', $2, $3, $4, $5, (SELECT count(*) FROM profile),
               CASE WHEN $7 THEN (SELECT count(*) FROM accounts a WHERE a.account_id = $6 AND a.email IS NOT NULL)
                    ELSE 0 END,
               CASE WHEN $7 THEN (SELECT count(*) FROM account_external_ids x WHERE x.account_id = $6) ELSE 0 END,
               (SELECT count(*) FROM invitation), (SELECT count(*) FROM mail)";
}

/// $1 the entry, $2 organization. The mails that tell of its end stay.
struct EraseOrganization;

impl Text for EraseOrganization {
    const SQL: &'static str = "
        WITH profile AS (
            DELETE FROM profiles WHERE organization_id = $2 RETURNING 1
        ), invitation AS (
            UPDATE invitations
            SET state = 'REVOKED', email = NULL, email_key = NULL, version = version + 1, update_time = now()
            WHERE organization_id = $2 AND state = 'PENDING' RETURNING 1
        ), mail AS (
            DELETE FROM mails WHERE organization_id = $2 AND invitation_id IS NOT NULL RETURNING 1
        )
        INSERT INTO erasures (erasure_id, kind, organization_id, erased_by, profiles, addresses, external_ids,
                              invitations, mails)
        SELECT $1, 'ORGANIZATION', $2, 'OWNER', (SELECT count(*) FROM profile), 0, 0,
               (SELECT count(*) FROM invitation), (SELECT count(*) FROM mail)";
}

/// $1 the entry, $2 account, $3 by whom.
struct EraseAccount;

impl Text for EraseAccount {
    const SQL: &'static str = "
        WITH external_id AS (
            DELETE FROM account_external_ids WHERE account_id = $2 RETURNING 1
        ), invitation AS (
            UPDATE invitations
            SET state = 'REVOKED', email = NULL, email_key = NULL, version = version + 1,
                update_time = now() - random() * interval '1 second'
            WHERE state = 'PENDING' AND email_key = (SELECT a.email_key FROM accounts a WHERE a.account_id = $2)
            RETURNING invitation_id
        ), mail AS (
            DELETE FROM mails
            WHERE account_id = $2 OR invitation_id IN (SELECT i.invitation_id FROM invitation i)
            RETURNING 1
        ), account AS (
            UPDATE accounts
            SET state = 'DELETED', email = NULL, email_key = NULL, language = 'en', version = version + 1,
                update_time = now()
            WHERE account_id = $2 AND state = 'ACTIVE' RETURNING 1
        )
        INSERT INTO erasures (erasure_id, kind, account_id, erased_by, profiles, addresses, external_ids, invitations,
                              mails)
        SELECT $1, 'ACCOUNT', $2, $3, 0, (SELECT count(*) FROM account), (SELECT count(*) FROM external_id),
               (SELECT count(*) FROM invitation), (SELECT count(*) FROM mail)";
}

/// An entry of the ledger.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = erasures, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct ErasureRow {
    pub erasure_id: Uuid,
    pub organization_id: Option<Uuid>,
    pub member_id: Option<Uuid>,
    pub tombstone_id: Option<Uuid>,
    pub account_id: Option<Uuid>,
    pub erased_by: String,
    pub profiles: i32,
    pub addresses: i32,
    pub external_ids: i32,
    pub invitations: i32,
    pub mails: i32,
    pub erase_time: DateTime<Utc>,
}

impl Transaction {
    /// Erases, and writes it down. Comes after what reads the address for the last time.
    pub(super) async fn erase(&self, erasure: &ErasureWrite) -> Result<(), StorageError> {
        let id = erasure.id.0;
        match &erasure.what {
            Erased::Member { organization, member, account, tombstone, with_account } => {
                let query = prepared::<EraseMember, _>(|sql| {
                    sql.bind::<sql_types::Uuid, _>(id)
                        .bind::<sql_types::Uuid, _>(organization.0)
                        .bind::<sql_types::Uuid, _>(member.0)
                        .bind::<sql_types::Uuid, _>(tombstone.id)
                        .bind::<sql_types::Text, _>(tombstone.erased_by.as_str())
                        .bind::<sql_types::Uuid, _>(account.0)
                        .bind::<sql_types::Bool, _>(*with_account)
                });
                query.execute(&mut self.connection()).await?;
            }
            Erased::Organization(organization) => {
                let query = prepared::<EraseOrganization, _>(|sql| {
                    sql.bind::<sql_types::Uuid, _>(id).bind::<sql_types::Uuid, _>(organization.0)
                });
                query.execute(&mut self.connection()).await?;
            }
            Erased::Account { account, erased_by } => {
                let query = prepared::<EraseAccount, _>(|sql| {
                    sql.bind::<sql_types::Uuid, _>(id)
                        .bind::<sql_types::Uuid, _>(account.0)
                        .bind::<sql_types::Text, _>(erased_by.as_str())
                });
                query.execute(&mut self.connection()).await?;
            }
        }
        Ok(())
    }

    /// Whether there is or was such an account.
    pub async fn account_exists(&self, account: AccountId) -> Result<bool, StorageError> {
        let query = accounts::table.find(account.0);
        Ok(diesel::select(diesel::dsl::exists(query)).get_result(&mut self.connection()).await?)
    }

    /// The organizations in which an account is ACTIVE, by id.
    pub async fn active_in(&self, account: AccountId) -> Result<Vec<OrganizationId>, StorageError> {
        let ids: Vec<Uuid> = members::table
            .filter(members::account_id.eq(account.0))
            .filter(members::state.eq(MembershipState::Active.as_str()))
            .order(members::organization_id)
            .select(members::organization_id)
            .load(&mut self.connection())
            .await?;
        Ok(ids.into_iter().map(OrganizationId).collect())
    }

    /// The account of a member, without a lock: it changes once, when the member is erased.
    pub async fn account_of(
        &self,
        organization: OrganizationId,
        member: MemberId,
    ) -> Result<Option<AccountId>, StorageError> {
        let found: Option<Option<Uuid>> = members::table
            .find((organization.0, member.0))
            .select(members::account_id)
            .first(&mut self.connection())
            .await
            .optional()?;
        Ok(found.flatten().map(AccountId))
    }
}

impl Database {
    /// An entry of the ledger.
    pub async fn erasure(&self, id: ErasureId) -> Result<Option<ErasureRow>, StorageError> {
        let query = erasures::table.find(id.0).select(ErasureRow::as_select());
        // Across: the ledger is one, and has entries of accounts too.
        Ok(query.first(&mut self.read_across().await?).await.optional()?)
    }

    /// The ledger in its order, from after an entry.
    pub async fn erasures(&self, after: Option<Uuid>, limit: i64) -> Result<Vec<ErasureRow>, StorageError> {
        let query = erasures::table
            .filter(erasures::erasure_id.gt(after.unwrap_or_default()))
            .order(erasures::erasure_id)
            .limit(limit)
            .select(ErasureRow::as_select());
        // Across: the same.
        Ok(query.load(&mut self.read_across().await?).await?)
    }
}

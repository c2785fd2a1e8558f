//! Accounts: the only place where e-mail addresses are written.

use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
    QueryableByName, sql_types,
};
use diesel_async::RunQueryDsl as _;
use futures_util::join;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
    reach::Reach,
    rows::AccountRow,
    schema::{account_external_ids, accounts},
    transaction::Transaction,
};
use crate::rules::{
    ids::{AccountId, AppName, CallerName, Email, ExternalId},
    roles::Language,
};

/// An account to be created.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The id that it gets.
    pub id: AccountId,
    /// Its address.
    pub email: Email,
    /// The language of mail.
    pub language: Language,
    /// Under which ids identity providers know the person. Each once.
    pub external_ids: Vec<ExternalId>,
}

/// What of an account changes, besides its external ids. Its version grows even if that is nothing.
#[derive(Debug, Clone)]
pub struct AccountWrite {
    /// The account.
    pub id: AccountId,
    /// A new address, which is locked and free.
    pub email: Option<Email>,
    /// A new language of mail.
    pub language: Option<Language>,
}

/// An account as it is read.
#[derive(Debug, Clone, QueryableByName)]
pub struct AccountRead {
    /// The account itself.
    #[diesel(embed)]
    pub account: AccountRow,
    /// The issuers of its external ids, and beside each the subject.
    #[diesel(sql_type = sql_types::Array<sql_types::Text>)]
    pub issuers: Vec<String>,
    /// Personal data: the subjects.
    #[diesel(sql_type = sql_types::Array<sql_types::Text>)]
    pub subjects: Vec<String>,
}

/// By what an account is found.
#[derive(Debug, Clone)]
pub enum AccountKey {
    /// The address.
    Email(Email),
    /// An external id.
    ExternalId(ExternalId),
}

/// Keeps an address to this transaction until its end, so that looking whether it is taken is enough: a unique violation
/// would quote the address in the server's log.
struct LockEmail;

impl Text for LockEmail {
    const SQL: &'static str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))";
}

/// Stands in a first pipeline, so like a claim it does nothing outside of a transaction.
struct InsertAccount;

impl Text for InsertAccount {
    const SQL: &'static str = "
        INSERT INTO accounts (account_id, email, email_key, language, state, version)
        SELECT $1, $2, $3, $4, 'ACTIVE', 1 WHERE current_setting('rollcall.begun', true) = 'yes'
        ON CONFLICT (email_key) DO NOTHING";
}

struct UpdateAccount;

impl Text for UpdateAccount {
    const SQL: &'static str = "
        UPDATE accounts
        SET email = coalesce($2, email), email_key = coalesce($3, email_key), language = coalesce($4, language),
            version = version + 1, update_time = now()
        WHERE account_id = $1";
}

/// In one order, so that two who want the same ones wait for each other instead of locking each other out. Without the
/// account, which is not there when its address is taken or outside of a transaction, it does nothing.
struct InsertExternalIds;

impl Text for InsertExternalIds {
    const SQL: &'static str = "
        INSERT INTO account_external_ids (issuer, subject, account_id)
        SELECT issuer, subject, $1 FROM unnest($2, $3) AS t (issuer, subject)
        WHERE EXISTS (SELECT FROM accounts WHERE account_id = $1)
        ORDER BY issuer, subject
        ON CONFLICT (issuer, subject) DO NOTHING";
}

struct DeleteExternalIds;

impl Text for DeleteExternalIds {
    const SQL: &'static str = "
        DELETE FROM account_external_ids
        WHERE account_id = $1 AND (issuer, subject) IN (SELECT * FROM unnest($2, $3))";
}

/// An account with its external ids.
macro_rules! account_read {
    ($found:literal) => {
        concat!(
            "SELECT a.account_id, a.email, a.state, a.language, a.version, a.create_time, a.update_time,
                    ARRAY(SELECT x.issuer FROM account_external_ids x WHERE x.account_id = a.account_id
                          ORDER BY x.issuer, x.subject) AS issuers,
                    ARRAY(SELECT x.subject FROM account_external_ids x WHERE x.account_id = a.account_id
                          ORDER BY x.issuer, x.subject) AS subjects
             FROM accounts a WHERE ",
            $found
        )
    };
}

struct ReadAccount;

impl Text for ReadAccount {
    const SQL: &'static str = account_read!("a.account_id = $1");
}

/// Whether there is no such account or it may not be found is told by nothing: it is one statement.
struct LookUpAccount;

impl Text for LookUpAccount {
    const SQL: &'static str = account_read!(
        "a.state = 'ACTIVE'
         AND a.account_id = (SELECT account_id FROM accounts WHERE email_key = $1
                             UNION ALL
                             SELECT account_id FROM account_external_ids WHERE issuer = $2 AND subject = $3)
         AND ($4 IS NULL OR a.account_id = $4 OR EXISTS (
                 SELECT FROM members mine JOIN members theirs USING (organization_id)
                 WHERE mine.account_id = $4 AND mine.state = 'ACTIVE'
                   AND theirs.account_id = a.account_id AND theirs.state IN ('ACTIVE', 'DEACTIVATED')))
         AND ($5 IS NULL OR NOT EXISTS (SELECT FROM apps WHERE app = $5) OR EXISTS (
                 SELECT FROM members m WHERE m.account_id = a.account_id AND $5 = ANY (m.apps)))
         AND ($6 IS NULL OR (EXISTS (SELECT FROM apps WHERE app = $6 AND unregister_time IS NULL) AND EXISTS (
                 SELECT FROM members m WHERE m.account_id = a.account_id AND $6 = ANY (m.apps))))"
    );
}

type Texts = sql_types::Array<sql_types::Text>;

impl Transaction {
    /// Keeps an address to this transaction until its end. Comes before what looks whether it is taken.
    pub async fn lock_email(&self, email: &Email) -> Result<(), StorageError> {
        prepared::<LockEmail, _>(|sql| sql.bind::<sql_types::Text, _>(email.key()))
            .execute(&mut self.connection())
            .await?;
        Ok(())
    }

    /// Inserts an account with a locked address, without its external ids. False: the address is taken, which is found
    /// without an error from the server, which would quote it in its log.
    pub async fn insert_account(&self, account: &NewAccount) -> Result<bool, StorageError> {
        let query = prepared::<InsertAccount, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(account.id.0)
                .bind::<sql_types::Text, _>(account.email.address())
                .bind::<sql_types::Text, _>(account.email.key())
                .bind::<sql_types::Text, _>(account.language.as_str())
        });
        Ok(query.execute(&mut self.connection()).await? == 1)
    }

    /// The external ids of an account. The account's lock covers them.
    pub async fn external_ids(&self, id: AccountId) -> Result<Vec<ExternalId>, StorageError> {
        let rows: Vec<(String, String)> = account_external_ids::table
            .filter(account_external_ids::account_id.eq(id.0))
            .select((account_external_ids::issuer, account_external_ids::subject))
            .load(&mut self.connection())
            .await?;
        let corrupt = |_| StorageError::Corrupt { what: "external id", value: id.to_string() };
        rows.iter().map(|(issuer, subject)| ExternalId::parse(issuer, subject).map_err(corrupt)).collect()
    }

    /// Gives external ids to an account. False: one of them belongs to another account, which is found without an error
    /// from the server.
    pub async fn insert_external_ids(&self, id: AccountId, new: &[ExternalId]) -> Result<bool, StorageError> {
        let query = prepared::<InsertExternalIds, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(id.0)
                .bind::<Texts, _>(new.iter().map(ExternalId::issuer).collect::<Vec<_>>())
                .bind::<Texts, _>(new.iter().map(ExternalId::subject).collect::<Vec<_>>())
        });
        Ok(query.execute(&mut self.connection()).await? == new.len())
    }

    /// Takes external ids from an account that this transaction has locked, and gives it others that it does not have. False:
    /// one of them belongs to another account.
    pub async fn replace_external_ids(
        &self,
        id: AccountId,
        old: &[ExternalId],
        new: &[ExternalId],
    ) -> Result<bool, StorageError> {
        let query = prepared::<DeleteExternalIds, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(id.0)
                .bind::<Texts, _>(old.iter().map(ExternalId::issuer).collect::<Vec<_>>())
                .bind::<Texts, _>(old.iter().map(ExternalId::subject).collect::<Vec<_>>())
        });
        let (deleted, inserted) =
            join!(async { query.execute(&mut self.connection()).await }, self.insert_external_ids(id, new),);
        deleted?;
        inserted
    }

    /// Whether a locked address belongs to another account than this.
    pub async fn is_taken(&self, email: &Email, by_other_than: AccountId) -> Result<bool, StorageError> {
        let holder: Option<Uuid> = accounts::table
            .filter(accounts::email_key.eq(email.key()).and(accounts::account_id.ne(by_other_than.0)))
            .select(accounts::account_id)
            .first(&mut self.connection())
            .await
            .optional()?;
        Ok(holder.is_some())
    }

    /// Changes an account that this transaction has locked.
    pub(super) async fn update_account(&self, write: &AccountWrite) -> Result<(), StorageError> {
        let AccountWrite { id, email, language } = write;
        let query = prepared::<UpdateAccount, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(id.0)
                .bind::<sql_types::Nullable<sql_types::Text>, _>(email.as_ref().map(Email::address))
                .bind::<sql_types::Nullable<sql_types::Text>, _>(email.as_ref().map(Email::key))
                .bind::<sql_types::Nullable<sql_types::Text>, _>(language.map(Language::as_str))
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }
}

impl Database {
    /// Reads an account.
    pub async fn account(&self, id: AccountId) -> Result<Option<AccountRead>, StorageError> {
        let query = prepared::<ReadAccount, _>(|sql| sql.bind::<sql_types::Uuid, _>(id.0));
        Ok(query.get_result(&mut self.read_outside().await?).await.optional()?)
    }

    /// Finds an account, if it is within reach. Where callers are not told apart, `named` is the name of the caller, which
    /// binds it if it is that of an app.
    pub async fn look_up_account(
        &self,
        key: &AccountKey,
        reach: &Reach,
        named: Option<&CallerName>,
    ) -> Result<Option<AccountRead>, StorageError> {
        let (email, external) = match key {
            AccountKey::Email(email) => (Some(email), None),
            AccountKey::ExternalId(id) => (None, Some(id)),
        };
        let query = prepared::<LookUpAccount, _>(|sql| {
            sql.bind::<sql_types::Nullable<sql_types::Text>, _>(email.map(Email::key))
                .bind::<sql_types::Nullable<sql_types::Text>, _>(external.map(ExternalId::issuer))
                .bind::<sql_types::Nullable<sql_types::Text>, _>(external.map(ExternalId::subject))
                .bind::<sql_types::Nullable<sql_types::Uuid>, _>(reach.person.map(|account| account.0))
                .bind::<sql_types::Nullable<sql_types::Text>, _>(named.map(CallerName::as_str))
                .bind::<sql_types::Nullable<sql_types::Text>, _>(reach.app.as_ref().map(AppName::as_str))
        });
        // Across: who may find whom depends on the organizations that they share.
        Ok(query.get_result(&mut self.read_across().await?).await.optional()?)
    }
}

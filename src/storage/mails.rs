//! The outbox: mails are queued in the transaction of the command that they tell of.

use diesel::sql_types;
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    error::StorageError,
    prepared::{Text, prepared},
    transaction::Transaction,
};
use crate::rules::{Notice, Recipient, roles::Language};

/// One row for each notice and address. It reads the addresses itself: they are nowhere else in the service, and a later
/// statement of the transaction may erase them.
struct Queue;

impl Text for Queue {
    const SQL: &'static str = "
        INSERT INTO mails (mail_id, kind, recipient, language, organization_id, workspace_id, member_id, account_id,
                           invitation_id, invitation_generation)
        SELECT gen_random_uuid(), n.kind, r.address, r.language, n.organization_id, n.workspace_id, n.member_id,
               CASE WHEN n.kind NOT IN ('ERASED', 'ACCOUNT_DELETED') THEN r.account_id END,
               n.invitation_id, n.generation
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
            AS n (kind, account_id, address, language, organization_id, workspace_id, member_id, invitation_id,
                  generation)
        JOIN LATERAL (
            SELECT NULL::uuid AS account_id, n.address, n.language WHERE n.address IS NOT NULL
            UNION ALL
            SELECT a.account_id, a.email, a.language FROM accounts a
            WHERE a.account_id = n.account_id AND a.email IS NOT NULL
            UNION ALL
            SELECT a.account_id, a.email, a.language FROM members m JOIN accounts a ON a.account_id = m.account_id
            WHERE n.address IS NULL AND n.account_id IS NULL AND m.organization_id = n.organization_id
              AND m.role IN ('OWNER', 'ADMIN') AND m.state = 'ACTIVE' AND a.email IS NOT NULL
        ) r ON true";
}

type OptionalUuids = sql_types::Array<sql_types::Nullable<sql_types::Uuid>>;
type Texts = sql_types::Array<sql_types::Text>;
type OptionalTexts = sql_types::Array<sql_types::Nullable<sql_types::Text>>;
type OptionalIntegers = sql_types::Array<sql_types::Nullable<sql_types::Integer>>;

impl Transaction {
    /// Queues mails, to be sent once the transaction has committed. Comes before what changes or erases an address.
    pub async fn queue_mails(&self, notices: &[Notice]) -> Result<(), StorageError> {
        let uuids = |of: fn(&Notice) -> Option<Uuid>| notices.iter().map(of).collect::<Vec<_>>();
        let texts = |of: fn(&Notice) -> Option<&str>| notices.iter().map(of).collect::<Vec<_>>();
        let kinds: Vec<&str> = notices.iter().map(|notice| notice.kind.as_str()).collect();
        let accounts = uuids(|notice| match &notice.to {
            Recipient::Account(account) => Some(account.0),
            Recipient::Administrators | Recipient::Address(..) => None,
        });
        let addresses = texts(|notice| match &notice.to {
            Recipient::Address(email, _) => Some(email.address()),
            Recipient::Account(_) | Recipient::Administrators => None,
        });
        let languages = texts(|notice| match &notice.to {
            Recipient::Address(_, language) => Some(Language::as_str(*language)),
            Recipient::Account(_) | Recipient::Administrators => None,
        });
        let generations: Vec<Option<i32>> =
            notices.iter().map(|notice| notice.invitation.map(|(_, generation)| generation)).collect();
        let query = prepared::<Queue, _>(|sql| {
            sql.bind::<Texts, _>(kinds)
                .bind::<OptionalUuids, _>(accounts)
                .bind::<OptionalTexts, _>(addresses)
                .bind::<OptionalTexts, _>(languages)
                .bind::<OptionalUuids, _>(uuids(|notice| notice.organization.map(|id| id.0)))
                .bind::<OptionalUuids, _>(uuids(|notice| notice.workspace.map(|id| id.0)))
                .bind::<OptionalUuids, _>(uuids(|notice| notice.member.map(|id| id.0)))
                .bind::<OptionalUuids, _>(uuids(|notice| notice.invitation.map(|(id, _)| id.0)))
                .bind::<OptionalIntegers, _>(generations)
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }
}

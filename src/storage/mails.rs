//! The outbox: mails are queued in the transaction of the command that they tell of, and claimed one by one to be sent.
//!
//! Claiming, settling and dropping are one statement each, whose COMMIT is sent with it, so a replica that is paused or
//! killed holds nothing (C18): what it had claimed is due again when the claim is over.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{OptionalExtension as _, QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
    transaction::Transaction,
};
use crate::rules::{
    MailKind, Notice, Recipient,
    ids::{InvitationId, OrganizationId},
    roles::Language,
};

/// Mails that are dropped at once, at most.
const BATCH: i64 = 1_000;

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
        ) r ON true";
}

/// Takes the mail that has been due for longest, passing over those that somebody else is taking. What it names is read as
/// it is now. An invitation that is over, or was sent anew since, and a member who is planned to return no more, show
/// by their times being null.
struct ClaimMail;

impl Text for ClaimMail {
    const SQL: &'static str = "
        WITH due AS (
            SELECT mail_id FROM mails
            WHERE next_attempt_time <= now() AND create_time > now() - make_interval(secs => $3)
            ORDER BY next_attempt_time LIMIT 1 FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE mails SET claim_id = $1, attempts = mails.attempts + 1,
                             next_attempt_time = now() + make_interval(secs => $2)
            FROM due WHERE mails.mail_id = due.mail_id RETURNING mails.*
        )
        SELECT c.mail_id, c.kind, c.recipient, c.language, c.attempts, c.organization_id, c.invitation_id,
               c.invitation_generation, o.display_name AS organization, w.display_name AS workspace,
               p.display_name AS member, m.return_time, i.expire_time
        FROM claimed c
        LEFT JOIN organizations o ON o.organization_id = c.organization_id
        LEFT JOIN workspaces w ON w.organization_id = c.organization_id AND w.workspace_id = c.workspace_id
        LEFT JOIN members m ON m.organization_id = c.organization_id AND m.member_id = c.member_id
                               AND m.state = 'DEACTIVATED'
        LEFT JOIN profiles p ON p.organization_id = c.organization_id AND p.member_id = c.member_id
        LEFT JOIN invitations i ON i.organization_id = c.organization_id AND i.invitation_id = c.invitation_id
                                   AND i.state = 'PENDING' AND i.generation = c.invitation_generation
                                   AND i.expire_time > now()";
}

struct FinishMail;

impl Text for FinishMail {
    const SQL: &'static str = "DELETE FROM mails WHERE mail_id = $1 AND claim_id = $2";
}

struct PostponeMail;

impl Text for PostponeMail {
    const SQL: &'static str = "
        UPDATE mails SET claim_id = NULL, next_attempt_time = now() + make_interval(secs => $3)
        WHERE mail_id = $1 AND claim_id = $2";
}

struct DropOldMails;

impl Text for DropOldMails {
    const SQL: &'static str = "
        DELETE FROM mails WHERE mail_id IN (
            SELECT mail_id FROM mails WHERE create_time <= now() - make_interval(secs => $1)
            ORDER BY create_time LIMIT $2 FOR UPDATE SKIP LOCKED
        )";
}

/// A mail that was claimed, with what it names. No `Debug`: it holds an address and names.
pub struct MailRow {
    /// Its id.
    pub id: Uuid,
    /// Which text.
    pub kind: MailKind,
    /// The address.
    pub recipient: String,
    /// The language of the text.
    pub language: Language,
    /// How often sending was begun, this time included.
    pub attempts: i32,
    /// The name of the organization that it is about.
    pub organization: Option<String>,
    /// The name of the workspace that it is about.
    pub workspace: Option<String>,
    /// The shown name of the member that it is about.
    pub member: Option<String>,
    /// When the member that it is about is planned to return. None: not, or not any more.
    pub return_time: Option<DateTime<Utc>>,
    /// The invitation that it brings. None: there is none, or it is over.
    pub invitation: Option<InvitationToSend>,
}

/// An invitation that is still open, in the generation that the mail brings.
pub struct InvitationToSend {
    /// The organization.
    pub organization: OrganizationId,
    /// The invitation.
    pub invitation: InvitationId,
    /// The generation.
    pub generation: i32,
    /// Until when it can be accepted.
    pub expire_time: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct Claimed {
    #[diesel(sql_type = sql_types::Uuid)]
    mail_id: Uuid,
    #[diesel(sql_type = sql_types::Text)]
    kind: String,
    #[diesel(sql_type = sql_types::Text)]
    recipient: String,
    #[diesel(sql_type = sql_types::Text)]
    language: String,
    #[diesel(sql_type = sql_types::Integer)]
    attempts: i32,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    organization_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    invitation_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Integer>)]
    invitation_generation: Option<i32>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    organization: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    workspace: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    member: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Timestamptz>)]
    return_time: Option<DateTime<Utc>>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Timestamptz>)]
    expire_time: Option<DateTime<Utc>>,
}

impl TryFrom<Claimed> for MailRow {
    type Error = StorageError;

    fn try_from(row: Claimed) -> Result<Self, StorageError> {
        let Claimed {
            mail_id,
            kind,
            recipient,
            language,
            attempts,
            organization_id,
            invitation_id,
            invitation_generation,
            organization,
            workspace,
            member,
            return_time,
            expire_time,
        } = row;
        let corrupt =
            |what: &'static str, value: &str| StorageError::Corrupt { what, value: value.to_owned() };
        let invitation = match (organization_id, invitation_id, invitation_generation, expire_time) {
            (Some(organization), Some(invitation), Some(generation), Some(expire_time)) => {
                Some(InvitationToSend {
                    organization: OrganizationId(organization),
                    invitation: InvitationId(invitation),
                    generation,
                    expire_time,
                })
            }
            _ => None,
        };
        Ok(Self {
            id: mail_id,
            kind: MailKind::from_word(&kind).ok_or_else(|| corrupt("kind of a mail", &kind))?,
            recipient,
            language: Language::from_word(&language)
                .ok_or_else(|| corrupt("language of a mail", &language))?,
            attempts,
            organization,
            workspace,
            member,
            return_time,
            invitation,
        })
    }
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
            Recipient::Address(..) => None,
        });
        let addresses = texts(|notice| match &notice.to {
            Recipient::Address(email, _) => Some(email.address()),
            Recipient::Account(_) => None,
        });
        let languages = texts(|notice| match &notice.to {
            Recipient::Address(_, language) => Some(Language::as_str(*language)),
            Recipient::Account(_) => None,
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

impl Database {
    /// Claims the mail that has been due for longest, if it is younger than `lifetime`: nobody else gets it within `claim`.
    pub async fn claim_mail(
        &self,
        claim_id: Uuid,
        claim: Duration,
        lifetime: Duration,
    ) -> Result<Option<MailRow>, StorageError> {
        let query = prepared::<ClaimMail, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(claim_id)
                .bind::<sql_types::Double, _>(claim.as_secs_f64())
                .bind::<sql_types::Double, _>(lifetime.as_secs_f64())
        });
        // Across: the outbox is one.
        let claimed: Option<Claimed> = query.get_result(&mut self.read_across().await?).await.optional()?;
        claimed.map(MailRow::try_from).transpose()
    }

    /// Drops a mail that was sent or never can be, if it is still claimed so.
    pub async fn finish_mail(&self, mail: Uuid, claim_id: Uuid) -> Result<(), StorageError> {
        let query = prepared::<FinishMail, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(mail).bind::<sql_types::Uuid, _>(claim_id)
        });
        // Across: the outbox is one.
        query.execute(&mut self.read_across().await?).await?;
        Ok(())
    }

    /// Gives a mail back that is still claimed so, to be tried again after a while.
    pub async fn postpone_mail(
        &self,
        mail: Uuid,
        claim_id: Uuid,
        wait: Duration,
    ) -> Result<(), StorageError> {
        let query = prepared::<PostponeMail, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(mail)
                .bind::<sql_types::Uuid, _>(claim_id)
                .bind::<sql_types::Double, _>(wait.as_secs_f64())
        });
        // Across: the outbox is one.
        query.execute(&mut self.read_across().await?).await?;
        Ok(())
    }

    /// Drops mails that are older than they are kept, a batch of them. Returns how many.
    pub async fn drop_old_mails(&self, lifetime: Duration) -> Result<usize, StorageError> {
        let query = prepared::<DropOldMails, _>(|sql| {
            sql.bind::<sql_types::Double, _>(lifetime.as_secs_f64()).bind::<sql_types::BigInt, _>(BATCH)
        });
        // Across: the outbox is one.
        Ok(query.execute(&mut self.read_across().await?).await?)
    }
}

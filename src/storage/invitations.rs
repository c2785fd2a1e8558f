//! What commands about invitations load, under locks.

use std::{collections::BTreeMap, time::Duration};

use diesel::{OptionalExtension as _, QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    error::StorageError,
    prepared::{Text, prepared},
    rows::{WorkspaceRow, word},
    transaction::Transaction,
};
use crate::rules::{
    ids::{AccountId, Email, InvitationId, MemberId, OrganizationId, WorkspaceId},
    invitations::{ADDRESS_SENDS, ADDRESS_WINDOW, Invitation, InvitedTo},
    roles::{InvitationState, Language, MembershipState, OrganizationRole, WorkspaceRole},
    state::Workspace,
};

/// Which invitation of an organization.
#[derive(Debug, Clone, Copy)]
pub enum WhichInvitation<'a> {
    /// The one with this id.
    Id(InvitationId),
    /// The one of this address that has not ended.
    Address(&'a Email),
}

impl WhichInvitation<'_> {
    fn columns(&self) -> (Option<Uuid>, Option<&str>) {
        match self {
            Self::Id(id) => (Some(id.0), None),
            Self::Address(email) => (None, Some(email.key())),
        }
    }
}

/// Keeps an address, known by its keyed hash, from being sent two invitations at once. Also stands for the row of an
/// invitation that is not there yet.
struct LockAddress;

impl Text for LockAddress {
    const SQL: &'static str = "SELECT pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 2))";
}

/// The clock is asked when the row is there, not when the transaction began: it may have waited for the row.
struct LockInvitation;

impl Text for LockInvitation {
    const SQL: &'static str = "
        SELECT i.organization_id, i.invitation_id, i.role,
               CASE WHEN i.state = 'PENDING' AND i.expire_time <= clock_timestamp() THEN 'EXPIRED' ELSE i.state END
                   AS state,
               i.generation, i.language, i.member_id,
               CASE WHEN i.generation > 1 THEN (extract(epoch FROM clock_timestamp() - i.send_time) * 1000)::bigint END
                   AS resent_ago,
               coalesce(i.email_key = (SELECT a.email_key FROM accounts a WHERE a.account_id = $4), false) AS is_invited
        FROM invitations i
        WHERE i.organization_id = $1
          AND i.invitation_id = coalesce($2, (SELECT p.invitation_id FROM invitations p
                                              WHERE p.organization_id = $1 AND p.email_key = $3 AND p.state = 'PENDING'))
        FOR NO KEY UPDATE OF i";
}

struct WorkspacesOfInvitation;

impl Text for WorkspacesOfInvitation {
    const SQL: &'static str = "
        SELECT w.workspace_id, w.role, w.revoked FROM invitation_workspaces w
        WHERE w.organization_id = $1
          AND w.invitation_id = coalesce($2, (SELECT p.invitation_id FROM invitations p
                                              WHERE p.organization_id = $1 AND p.email_key = $3 AND p.state = 'PENDING'))";
}

struct InvitedWorkspaces;

impl Text for InvitedWorkspaces {
    const SQL: &'static str = "
        SELECT w.organization_id, w.workspace_id, w.app, w.display_name, w.state, w.version
        FROM invitation_workspaces i
        JOIN workspaces w ON w.organization_id = i.organization_id AND w.workspace_id = i.workspace_id
        WHERE i.organization_id = $1 AND i.invitation_id = $2";
}

struct IsInvited;

impl Text for IsInvited {
    const SQL: &'static str = "
        SELECT invitation_id FROM invitations
        WHERE organization_id = $1 AND invitation_id = $2 AND state = 'PENDING' AND expire_time > clock_timestamp()";
}

struct Addressee;

impl Text for Addressee {
    const SQL: &'static str = "
        SELECT m.member_id, m.state FROM accounts a JOIN members m ON m.account_id = a.account_id
        WHERE a.email_key = $2 AND m.organization_id = $1";
}

struct SentAgo;

impl Text for SentAgo {
    const SQL: &'static str = "
        SELECT (extract(epoch FROM clock_timestamp() - send_time) * 1000)::bigint AS ago FROM invitation_sends
        WHERE email_mac = $1 AND send_time > clock_timestamp() - $2 * interval '1 second'
        ORDER BY send_time DESC LIMIT $3";
}

#[derive(QueryableByName)]
struct InvitationRow {
    #[diesel(sql_type = sql_types::Uuid)]
    organization_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    invitation_id: Uuid,
    #[diesel(sql_type = sql_types::Text)]
    role: String,
    #[diesel(sql_type = sql_types::Text)]
    state: String,
    #[diesel(sql_type = sql_types::Integer)]
    generation: i32,
    #[diesel(sql_type = sql_types::Text)]
    language: String,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    resent_ago: Option<i64>,
    #[diesel(sql_type = sql_types::Bool)]
    is_invited: bool,
}

#[derive(QueryableByName)]
struct InvitedToRow {
    #[diesel(sql_type = sql_types::Uuid)]
    workspace_id: Uuid,
    #[diesel(sql_type = sql_types::Text)]
    role: String,
    #[diesel(sql_type = sql_types::Bool)]
    revoked: bool,
}

#[derive(QueryableByName)]
struct InvitedRow {
    #[diesel(sql_type = sql_types::Uuid)]
    #[allow(dead_code)]
    invitation_id: Uuid,
}

#[derive(QueryableByName)]
struct AddresseeRow {
    #[diesel(sql_type = sql_types::Uuid)]
    member_id: Uuid,
    #[diesel(sql_type = sql_types::Text)]
    state: String,
}

#[derive(QueryableByName)]
struct AgoRow {
    #[diesel(sql_type = sql_types::BigInt)]
    ago: i64,
}

fn ago(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

/// Whole seconds: what a request can say.
pub(super) fn seconds(time_to_live: Duration) -> i64 {
    i64::try_from(time_to_live.as_secs()).unwrap_or(i64::MAX)
}

impl Transaction {
    /// Keeps an address to this transaction, for invitations. Comes before their rows.
    pub async fn lock_invited_address(&self, address_mac: &[u8]) -> Result<(), StorageError> {
        prepared::<LockAddress, _>(|sql| sql.bind::<sql_types::Binary, _>(address_mac))
            .execute(&mut self.connection())
            .await?;
        Ok(())
    }

    /// Locks and loads an invitation, without its workspaces, and whether an account has the invited address.
    pub async fn invitation(
        &self,
        organization: OrganizationId,
        which: WhichInvitation<'_>,
        account: Option<AccountId>,
    ) -> Result<Option<(Invitation, bool)>, StorageError> {
        let (id, key) = which.columns();
        let query = prepared::<LockInvitation, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Nullable<sql_types::Uuid>, _>(id)
                .bind::<sql_types::Nullable<sql_types::Text>, _>(key)
                .bind::<sql_types::Nullable<sql_types::Uuid>, _>(account.map(|account| account.0))
        });
        let row: Option<InvitationRow> = query.get_result(&mut self.connection()).await.optional()?;
        let Some(row) = row else { return Ok(None) };
        let invitation = Invitation {
            organization_id: OrganizationId(row.organization_id),
            id: InvitationId(row.invitation_id),
            role: word("invitations.role", &row.role, OrganizationRole::from_word)?,
            state: word("invitations.state", &row.state, InvitationState::from_word)?,
            generation: row.generation,
            language: word("invitations.language", &row.language, Language::from_word)?,
            member: row.member_id.map(MemberId),
            resent_ago: row.resent_ago.map(ago),
            workspaces: BTreeMap::new(),
        };
        Ok(Some((invitation, row.is_invited)))
    }

    /// The workspaces of an invitation, whose lock covers them.
    pub async fn workspaces_of_invitation(
        &self,
        organization: OrganizationId,
        which: WhichInvitation<'_>,
    ) -> Result<BTreeMap<WorkspaceId, InvitedTo>, StorageError> {
        let (id, key) = which.columns();
        let query = prepared::<WorkspacesOfInvitation, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Nullable<sql_types::Uuid>, _>(id)
                .bind::<sql_types::Nullable<sql_types::Text>, _>(key)
        });
        let rows: Vec<InvitedToRow> = query.load(&mut self.connection()).await?;
        let rows = rows.into_iter().map(|row| {
            let role = word("invitation_workspaces.role", &row.role, WorkspaceRole::from_word)?;
            Ok((WorkspaceId(row.workspace_id), InvitedTo { role, revoked: row.revoked }))
        });
        rows.collect()
    }

    /// The workspaces themselves, without locks: while the organization is held FOR SHARE none is deleted.
    pub async fn invited_workspaces(
        &self,
        organization: OrganizationId,
        invitation: InvitationId,
    ) -> Result<Vec<Workspace>, StorageError> {
        let query = prepared::<InvitedWorkspaces, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(invitation.0)
        });
        let rows: Vec<WorkspaceRow> = query.load(&mut self.connection()).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Whether a pending invitation has this id, which is that of no member yet.
    pub async fn is_invited(
        &self,
        organization: OrganizationId,
        member: MemberId,
    ) -> Result<bool, StorageError> {
        let query = prepared::<IsInvited, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(member.0)
        });
        let found: Option<InvitedRow> = query.get_result(&mut self.connection()).await.optional()?;
        Ok(found.is_some())
    }

    /// The member of the organization whose account has an address.
    pub async fn member_of_address(
        &self,
        organization: OrganizationId,
        email: &Email,
    ) -> Result<Option<(MemberId, MembershipState)>, StorageError> {
        let query = prepared::<Addressee, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Text, _>(email.key())
        });
        let row: Option<AddresseeRow> = query.get_result(&mut self.connection()).await.optional()?;
        let Some(row) = row else { return Ok(None) };
        let state = word("members.state", &row.state, MembershipState::from_word)?;
        Ok(Some((MemberId(row.member_id), state)))
    }

    /// How long ago an address was sent its last invitations, by anyone.
    pub async fn invitations_sent_ago(&self, address_mac: &[u8]) -> Result<Vec<Duration>, StorageError> {
        let query = prepared::<SentAgo, _>(|sql| {
            sql.bind::<sql_types::Binary, _>(address_mac)
                .bind::<sql_types::BigInt, _>(seconds(ADDRESS_WINDOW))
                .bind::<sql_types::BigInt, _>(i64::try_from(ADDRESS_SENDS).unwrap_or(i64::MAX))
        });
        let rows: Vec<AgoRow> = query.load(&mut self.connection()).await?;
        Ok(rows.into_iter().map(|row| ago(row.ago)).collect())
    }
}

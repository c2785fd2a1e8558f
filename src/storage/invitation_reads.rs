//! Reads of invitations, as the API shows them, and the end of those that nobody answered.

use chrono::{DateTime, Utc};
use diesel::{OptionalExtension as _, QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database, MemberColumns, MemberRead, WorkspaceMemberRead,
    error::StorageError,
    prepared::{Text, prepared},
};
use crate::rules::{
    ids::{AccountId, AppName, InvitationId, OrganizationId, WorkspaceId},
    invitations::ADDRESS_WINDOW,
    roles::InvitationState,
};

/// An invitation as it is read. One that has expired says so from that moment on, and shows no address.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct InvitationRead {
    #[diesel(sql_type = sql_types::Uuid)]
    pub organization_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    pub invitation_id: Uuid,
    /// Personal data.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub email: Option<String>,
    #[diesel(sql_type = sql_types::Text)]
    pub role: String,
    #[diesel(sql_type = sql_types::Text)]
    pub state: String,
    #[diesel(sql_type = sql_types::Integer)]
    pub generation: i32,
    #[diesel(sql_type = sql_types::Text)]
    pub language: String,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub inviting_member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::BigInt)]
    pub version: i64,
    #[diesel(sql_type = sql_types::Timestamptz)]
    pub send_time: DateTime<Utc>,
    #[diesel(sql_type = sql_types::Timestamptz)]
    pub expire_time: DateTime<Utc>,
    #[diesel(sql_type = sql_types::Timestamptz)]
    pub create_time: DateTime<Utc>,
    #[diesel(sql_type = sql_types::Timestamptz)]
    pub update_time: DateTime<Utc>,
    /// The workspaces, by id; the other two go with it.
    #[diesel(sql_type = sql_types::Array<sql_types::Uuid>)]
    pub workspace_ids: Vec<Uuid>,
    #[diesel(sql_type = sql_types::Array<sql_types::Text>)]
    pub workspace_roles: Vec<String>,
    #[diesel(sql_type = sql_types::Array<sql_types::Bool>)]
    pub workspace_revoked: Vec<bool>,
}

/// The state that an invitee has in lists of members. No row of a member has it.
pub const INVITED: &str = "INVITED";

/// The beginning of each statement.
macro_rules! select_invitations {
    ($rest:literal) => {
        concat!(
            "SELECT i.organization_id, i.invitation_id,
                    CASE WHEN i.expire_time > now() THEN i.email END AS email, i.role,
                    CASE WHEN i.state = 'PENDING' AND i.expire_time <= now() THEN 'EXPIRED' ELSE i.state END AS state,
                    i.generation, i.language, i.inviting_member_id, i.member_id, i.version, i.send_time, i.expire_time,
                    i.create_time, i.update_time,
                    ARRAY(SELECT w.workspace_id FROM invitation_workspaces w
                          WHERE w.organization_id = i.organization_id AND w.invitation_id = i.invitation_id
                          ORDER BY w.workspace_id) AS workspace_ids,
                    ARRAY(SELECT w.role FROM invitation_workspaces w
                          WHERE w.organization_id = i.organization_id AND w.invitation_id = i.invitation_id
                          ORDER BY w.workspace_id) AS workspace_roles,
                    ARRAY(SELECT w.revoked FROM invitation_workspaces w
                          WHERE w.organization_id = i.organization_id AND w.invitation_id = i.invitation_id
                          ORDER BY w.workspace_id) AS workspace_revoked
             FROM invitations i ",
            $rest
        )
    };
}

/// Whether a person may manage all of an invitation: owners, admins up to their own role, and whoever administers every
/// workspace that it is to (R10).
struct ManagesWhole;

impl Text for ManagesWhole {
    const SQL: &'static str = "
        SELECT EXISTS (
            SELECT FROM members m JOIN invitations i ON i.organization_id = m.organization_id
            WHERE m.organization_id = $1 AND i.invitation_id = $2 AND m.account_id = $3 AND m.state = 'ACTIVE'
              AND (m.role = 'OWNER' OR (m.role = 'ADMIN' AND i.role <> 'OWNER')
                   OR (i.role IN ('MEMBER', 'GUEST') AND (
                       SELECT bool_and(EXISTS (
                           SELECT FROM workspace_members own
                           WHERE own.organization_id = w.organization_id AND own.workspace_id = w.workspace_id
                             AND own.member_id = m.member_id AND own.role = 'ADMIN' AND own.state = 'ACTIVE'))
                       FROM invitation_workspaces w
                       WHERE w.organization_id = $1 AND w.invitation_id = $2 AND NOT w.revoked)))
        ) AS found";
}

#[derive(QueryableByName)]
struct FoundRow {
    #[diesel(sql_type = sql_types::Bool)]
    found: bool,
}

struct One;

impl Text for One {
    const SQL: &'static str = select_invitations!("WHERE i.organization_id = $1 AND i.invitation_id = $2");
}

struct All;

impl Text for All {
    const SQL: &'static str = select_invitations!(
        "WHERE i.organization_id = $1 AND i.invitation_id > $2 AND ($4 IS NULL OR EXISTS (
                   SELECT FROM invitation_workspaces o JOIN workspaces w USING (organization_id, workspace_id)
                   WHERE o.organization_id = $1 AND o.invitation_id = i.invitation_id AND w.app = $4))
         ORDER BY i.invitation_id LIMIT $3"
    );
}

/// By the index of the pending ones: of the others there may be many.
struct Pending;

impl Text for Pending {
    const SQL: &'static str = select_invitations!(
        "WHERE i.organization_id = $1 AND i.invitation_id > $2 AND i.state = 'PENDING' AND i.expire_time > now()
           AND ($4 IS NULL OR EXISTS (
                   SELECT FROM invitation_workspaces o JOIN workspaces w USING (organization_id, workspace_id)
                   WHERE o.organization_id = $1 AND o.invitation_id = i.invitation_id AND w.app = $4))
         ORDER BY i.invitation_id LIMIT $3"
    );
}

struct PendingTo;

impl Text for PendingTo {
    const SQL: &'static str = select_invitations!(
        "WHERE i.organization_id = $1 AND i.invitation_id > $2 AND i.state = 'PENDING' AND i.expire_time > now()
           AND EXISTS (SELECT FROM invitation_workspaces t
                       WHERE t.organization_id = $1 AND t.invitation_id = i.invitation_id AND t.workspace_id = $4
                         AND NOT t.revoked)
         ORDER BY i.invitation_id LIMIT $3"
    );
}

/// Those that others work on are left to them, and to the next call.
struct Expire;

impl Text for Expire {
    const SQL: &'static str = "
        WITH due AS (
            SELECT organization_id, invitation_id FROM invitations
            WHERE state = 'PENDING' AND expire_time <= now()
            ORDER BY expire_time LIMIT $1
            FOR NO KEY UPDATE SKIP LOCKED
        ), mail AS (
            DELETE FROM mails m USING due d
            WHERE m.organization_id = d.organization_id AND m.invitation_id = d.invitation_id
        )
        UPDATE invitations i
        SET state = 'EXPIRED', email = NULL, email_key = NULL, version = i.version + 1, update_time = now()
        FROM due
        WHERE i.organization_id = due.organization_id AND i.invitation_id = due.invitation_id";
}

struct ForgetSends;

impl Text for ForgetSends {
    const SQL: &'static str = "
        DELETE FROM invitation_sends WHERE send_id IN (
            SELECT send_id FROM invitation_sends WHERE send_time <= now() - $2 * interval '1 second'
            ORDER BY send_time LIMIT $1)";
}

impl InvitationRead {
    /// Whether it waits for an answer.
    pub fn is_pending(&self) -> bool {
        self.state == InvitationState::Pending.as_str()
    }

    /// The invitee as the lists of members show one (R52).
    pub fn into_member(self) -> MemberRead {
        let member = MemberColumns {
            organization_id: self.organization_id,
            member_id: self.invitation_id,
            account_id: None,
            role: self.role,
            state: INVITED.to_owned(),
            leaving: false,
            return_time: None,
            tombstone_id: None,
            erased_by: None,
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        };
        MemberRead { member, display_name: String::new(), email: self.email.unwrap_or_default() }
    }

    /// The same in a workspace that the invitation is to.
    pub fn into_workspace_member(self, workspace: WorkspaceId) -> Option<WorkspaceMemberRead> {
        let place = self.workspace_ids.iter().position(|id| *id == workspace.0)?;
        Some(WorkspaceMemberRead {
            organization_id: self.organization_id,
            workspace_id: workspace.0,
            member_id: self.invitation_id,
            role: self.workspace_roles.into_iter().nth(place)?,
            state: INVITED.to_owned(),
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}

impl Database {
    /// Whether a person may manage all of an invitation.
    pub async fn manages_whole_invitation(
        &self,
        organization: OrganizationId,
        invitation: InvitationId,
        account: AccountId,
    ) -> Result<bool, StorageError> {
        let query = prepared::<ManagesWhole, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(invitation.0)
                .bind::<sql_types::Uuid, _>(account.0)
        });
        let row: FoundRow = query.get_result(&mut self.read_in(organization).await?).await?;
        Ok(row.found)
    }

    /// Reads an invitation, also one that has ended.
    pub async fn invitation(
        &self,
        organization: OrganizationId,
        id: InvitationId,
    ) -> Result<Option<InvitationRead>, StorageError> {
        let query = prepared::<One, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(id.0)
        });
        Ok(query.get_result(&mut self.read_in(organization).await?).await.optional()?)
    }

    /// Lists the invitations of an organization by id, from after one: the pending ones, or also those that have ended; where
    /// an app is given, those to workspaces of it.
    pub async fn invitations(
        &self,
        organization: OrganizationId,
        app: Option<&AppName>,
        ended_too: bool,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<InvitationRead>, StorageError> {
        macro_rules! listed {
            ($text:ty) => {
                prepared::<$text, _>(|sql| {
                    sql.bind::<sql_types::Uuid, _>(organization.0)
                        .bind::<sql_types::Uuid, _>(after.unwrap_or_default())
                        .bind::<sql_types::BigInt, _>(limit)
                        .bind::<sql_types::Nullable<sql_types::Text>, _>(app.map(AppName::as_str))
                })
                .load(&mut self.read_in(organization).await?)
                .await?
            };
        }
        Ok(if ended_too { listed!(All) } else { listed!(Pending) })
    }

    /// Lists the pending invitations to a workspace by id, from after one.
    pub async fn invitations_to(
        &self,
        organization: OrganizationId,
        workspace: WorkspaceId,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<InvitationRead>, StorageError> {
        let query = prepared::<PendingTo, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(after.unwrap_or_default())
                .bind::<sql_types::BigInt, _>(limit)
                .bind::<sql_types::Uuid, _>(workspace.0)
        });
        Ok(query.load(&mut self.read_in(organization).await?).await?)
    }

    /// Ends pending invitations that have expired, and forgets which addresses were sent one long ago: `limit` of each at
    /// most. Returns how many it was; as many as `limit` or more say that there may be more.
    pub async fn expire_invitations(&self, limit: i64) -> Result<usize, StorageError> {
        // Across: what has expired ends, whosever it is.
        let mut connection = self.read_across().await?;
        let expire = prepared::<Expire, _>(|sql| sql.bind::<sql_types::BigInt, _>(limit));
        let expired = expire.execute(&mut connection).await?;
        let window = i64::try_from(ADDRESS_WINDOW.as_secs()).unwrap_or(i64::MAX);
        let forget = prepared::<ForgetSends, _>(|sql| {
            sql.bind::<sql_types::BigInt, _>(limit).bind::<sql_types::BigInt, _>(window)
        });
        let forgotten = forget.execute(&mut connection).await?;
        Ok(expired.max(forgotten))
    }
}

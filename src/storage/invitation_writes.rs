//! What becomes of the rows of invitations. The address of one that ends is gone with the statement that ends it.

use std::{collections::BTreeMap, time::Duration};

use diesel::sql_types;
use diesel_async::RunQueryDsl as _;
use futures_util::{future::OptionFuture, join};
use uuid::Uuid;

use super::{
    error::StorageError,
    invitations::seconds,
    prepared::{Text, prepared},
    transaction::Transaction,
};
use crate::rules::{
    ids::{Email, InvitationId, MemberId, OrganizationId, WorkspaceId},
    roles::{InvitationState, Language, OrganizationRole, WorkspaceRole},
};

/// What is still there of an address although it has expired, makes room for a new invitation. With an invitation goes the
/// mail that would bring it: nowhere is its address left.
struct ExpireOfAddress;

impl Text for ExpireOfAddress {
    const SQL: &'static str = "
        WITH ended AS (
            UPDATE invitations
            SET state = 'EXPIRED', email = NULL, email_key = NULL, version = version + 1, update_time = now()
            WHERE organization_id = $1 AND email_key = $2 AND state = 'PENDING'
            RETURNING invitation_id
        )
        DELETE FROM mails WHERE organization_id = $1 AND invitation_id IN (SELECT e.invitation_id FROM ended e)";
}

struct InsertInvitation;

impl Text for InsertInvitation {
    const SQL: &'static str = "
        INSERT INTO invitations (organization_id, invitation_id, email, email_key, role, state, generation, language,
                                 inviting_member_id, version, expire_time)
        VALUES ($1, $2, $3, $4, $5, 'PENDING', 1, $6, $7, 1, now() + $8 * interval '1 second')";
}

/// A workspace that was revoked before is invited to again.
struct InsertInvitedTo;

impl Text for InsertInvitedTo {
    const SQL: &'static str = "
        INSERT INTO invitation_workspaces (organization_id, invitation_id, workspace_id, role)
        SELECT $1, $2, workspace_id, role FROM unnest($3, $4) AS t (workspace_id, role)
        ON CONFLICT (organization_id, invitation_id, workspace_id) DO UPDATE
        SET role = excluded.role, revoked = false";
}

struct Extend;

impl Text for Extend {
    const SQL: &'static str = "
        UPDATE invitations
        SET expire_time = greatest(expire_time, now() + $3 * interval '1 second'), version = version + 1,
            update_time = now()
        WHERE organization_id = $1 AND invitation_id = $2";
}

struct Resend;

impl Text for Resend {
    const SQL: &'static str = "
        UPDATE invitations
        SET generation = generation + 1, send_time = clock_timestamp(), expire_time = now() + $3 * interval '1 second',
            version = version + 1, update_time = now()
        WHERE organization_id = $1 AND invitation_id = $2";
}

struct CountSend;

impl Text for CountSend {
    const SQL: &'static str = "
        INSERT INTO invitation_sends (send_id, email_mac, send_time) VALUES ($1, $2, clock_timestamp())";
}

struct End;

impl Text for End {
    const SQL: &'static str = "
        WITH mail AS (DELETE FROM mails WHERE organization_id = $1 AND invitation_id = $2)
        UPDATE invitations
        SET state = $3, member_id = $4, email = NULL, email_key = NULL, version = version + 1, update_time = now()
        WHERE organization_id = $1 AND invitation_id = $2";
}

struct RevokeWorkspace;

impl Text for RevokeWorkspace {
    const SQL: &'static str = "
        UPDATE invitation_workspaces SET revoked = true
        WHERE organization_id = $1 AND invitation_id = $2 AND workspace_id = $3";
}

struct CountUp;

impl Text for CountUp {
    const SQL: &'static str = "
        UPDATE invitations SET version = version + 1, update_time = now()
        WHERE organization_id = $1 AND invitation_id = $2";
}

/// Of every pending invitation to a workspace that is deleted. Those that are to nothing else end (R53).
struct RevokeDeleted;

impl Text for RevokeDeleted {
    const SQL: &'static str = "
        WITH revoked AS (
            UPDATE invitation_workspaces w SET revoked = true FROM invitations i
            WHERE w.organization_id = $1 AND w.workspace_id = $2 AND NOT w.revoked
              AND i.organization_id = w.organization_id AND i.invitation_id = w.invitation_id AND i.state = 'PENDING'
            RETURNING w.invitation_id
        ), left_with AS (
            SELECT r.invitation_id, EXISTS (
                SELECT FROM invitation_workspaces o
                WHERE o.organization_id = $1 AND o.invitation_id = r.invitation_id AND o.workspace_id <> $2
                  AND NOT o.revoked) AS others
            FROM revoked r
        ), mail AS (
            DELETE FROM mails
            WHERE organization_id = $1
              AND invitation_id IN (SELECT l.invitation_id FROM left_with l WHERE NOT l.others)
        )
        UPDATE invitations i
        SET state = CASE WHEN l.others THEN i.state ELSE 'REVOKED' END,
            email = CASE WHEN l.others THEN i.email END, email_key = CASE WHEN l.others THEN i.email_key END,
            version = i.version + 1, update_time = now()
        FROM left_with l
        WHERE i.organization_id = $1 AND i.invitation_id = l.invitation_id";
}

/// What is written of an invitation.
#[derive(Debug, Clone)]
pub struct InvitationWrite {
    /// The organization.
    pub organization: OrganizationId,
    /// What.
    pub what: InvitationChange,
}

/// What becomes of the rows of an invitation.
#[derive(Debug, Clone)]
pub enum InvitationChange {
    /// It begins.
    Create(Box<NewInvitation>),
    /// It has more workspaces, and ends no sooner than so.
    Extend(InvitationId, BTreeMap<WorkspaceId, WorkspaceRole>, Duration),
    /// It is sent again, to the address with this keyed hash, and lives for so long.
    Resend(InvitationId, Vec<u8>, Duration),
    /// It ends, perhaps with a member.
    End(InvitationId, InvitationState, Option<MemberId>),
    /// One workspace of it is revoked.
    RevokeWorkspace {
        /// The invitation.
        id: InvitationId,
        /// The workspace.
        workspace: WorkspaceId,
        /// Whether the invitation ends with it.
        ends: bool,
    },
    /// A workspace is deleted: its part of every pending invitation is revoked.
    DeleteWorkspace(WorkspaceId),
}

/// A new invitation.
#[derive(Debug, Clone)]
pub struct NewInvitation {
    /// Its id.
    pub id: InvitationId,
    /// The address.
    pub email: Email,
    /// The keyed hash of the address.
    pub address_mac: Vec<u8>,
    /// The role.
    pub role: OrganizationRole,
    /// The language of the mail.
    pub language: Language,
    /// The member who invites.
    pub inviting: Option<MemberId>,
    /// The workspaces.
    pub workspaces: BTreeMap<WorkspaceId, WorkspaceRole>,
    /// How long it can be accepted.
    pub time_to_live: Duration,
}

impl Transaction {
    /// Writes what becomes of an invitation. Is itself a pipeline.
    pub(super) async fn write_invitation(&self, write: &InvitationWrite) -> Result<(), StorageError> {
        let organization = write.organization;
        match &write.what {
            InvitationChange::Create(new) => {
                let (expired, inserted, workspaces, counted) = join!(
                    self.expire_of_address(organization, &new.email),
                    self.insert_invitation(organization, new),
                    self.insert_invited_to(organization, new.id, &new.workspaces),
                    self.count_send(&new.address_mac),
                );
                expired.and(inserted).and(workspaces).and(counted)
            }
            InvitationChange::Extend(id, workspaces, time_to_live) => {
                let (extended, workspaces) = join!(
                    self.prolong::<Extend>(organization, *id, *time_to_live),
                    self.insert_invited_to(organization, *id, workspaces),
                );
                extended.and(workspaces)
            }
            InvitationChange::Resend(id, address_mac, time_to_live) => {
                let (resent, counted) = join!(
                    self.prolong::<Resend>(organization, *id, *time_to_live),
                    self.count_send(address_mac),
                );
                resent.and(counted)
            }
            InvitationChange::End(id, state, member) => {
                self.end_invitation(organization, *id, *state, *member).await
            }
            InvitationChange::RevokeWorkspace { id, workspace, ends } => {
                let end =
                    ends.then(|| self.end_invitation(organization, *id, InvitationState::Revoked, None));
                let count_up = (!ends).then(|| self.count_up_invitation(organization, *id));
                let (revoked, ended, counted) = join!(
                    self.revoke_invited_to(organization, *id, *workspace),
                    OptionFuture::from(end),
                    OptionFuture::from(count_up),
                );
                revoked.and(ended.unwrap_or(Ok(()))).and(counted.unwrap_or(Ok(())))
            }
            InvitationChange::DeleteWorkspace(workspace) => {
                let query = prepared::<RevokeDeleted, _>(|sql| {
                    sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(workspace.0)
                });
                query.execute(&mut self.connection()).await?;
                Ok(())
            }
        }
    }

    async fn expire_of_address(
        &self,
        organization: OrganizationId,
        email: &Email,
    ) -> Result<(), StorageError> {
        let query = prepared::<ExpireOfAddress, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Text, _>(email.key())
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    async fn insert_invitation(
        &self,
        organization: OrganizationId,
        new: &NewInvitation,
    ) -> Result<(), StorageError> {
        let query = prepared::<InsertInvitation, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(new.id.0)
                .bind::<sql_types::Text, _>(new.email.address())
                .bind::<sql_types::Text, _>(new.email.key())
                .bind::<sql_types::Text, _>(new.role.as_str())
                .bind::<sql_types::Text, _>(new.language.as_str())
                .bind::<sql_types::Nullable<sql_types::Uuid>, _>(new.inviting.map(|member| member.0))
                .bind::<sql_types::BigInt, _>(seconds(new.time_to_live))
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    async fn insert_invited_to(
        &self,
        organization: OrganizationId,
        id: InvitationId,
        workspaces: &BTreeMap<WorkspaceId, WorkspaceRole>,
    ) -> Result<(), StorageError> {
        let ids: Vec<Uuid> = workspaces.keys().map(|workspace| workspace.0).collect();
        let roles: Vec<&str> = workspaces.values().map(|role| role.as_str()).collect();
        let query = prepared::<InsertInvitedTo, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(id.0)
                .bind::<sql_types::Array<sql_types::Uuid>, _>(ids)
                .bind::<sql_types::Array<sql_types::Text>, _>(roles)
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    /// [`Extend`] or [`Resend`].
    async fn prolong<T: Text>(
        &self,
        organization: OrganizationId,
        id: InvitationId,
        time_to_live: Duration,
    ) -> Result<(), StorageError> {
        let query = prepared::<T, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(id.0)
                .bind::<sql_types::BigInt, _>(seconds(time_to_live))
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    async fn count_send(&self, address_mac: &[u8]) -> Result<(), StorageError> {
        let query = prepared::<CountSend, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(Uuid::now_v7()).bind::<sql_types::Binary, _>(address_mac)
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    async fn end_invitation(
        &self,
        organization: OrganizationId,
        id: InvitationId,
        state: InvitationState,
        member: Option<MemberId>,
    ) -> Result<(), StorageError> {
        let query = prepared::<End, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(id.0)
                .bind::<sql_types::Text, _>(state.as_str())
                .bind::<sql_types::Nullable<sql_types::Uuid>, _>(member.map(|member| member.0))
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    async fn revoke_invited_to(
        &self,
        organization: OrganizationId,
        id: InvitationId,
        workspace: WorkspaceId,
    ) -> Result<(), StorageError> {
        let query = prepared::<RevokeWorkspace, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(id.0)
                .bind::<sql_types::Uuid, _>(workspace.0)
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    async fn count_up_invitation(
        &self,
        organization: OrganizationId,
        id: InvitationId,
    ) -> Result<(), StorageError> {
        let query = prepared::<CountUp, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(id.0)
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }
}

//! What a departure or a return answers, read in one round trip after the commit.

use diesel::{OptionalExtension as _, QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;
use futures_util::join;
use uuid::Uuid;

use super::{
    Database, MemberRead,
    error::StorageError,
    prepared::{Text, prepared},
    reads::MemberColumns,
    tenant::Tenant,
};
use crate::rules::ids::{CommandId, MemberId, OrganizationId};

/// A member with where they are in and where they are not.
#[derive(Debug, Clone)]
pub struct MemberStanding {
    /// The member.
    pub member: MemberRead,
    /// The workspaces in which they are ACTIVE, by id.
    pub active: Vec<Uuid>,
    /// The workspaces in which they are DEACTIVATED, by id.
    pub deactivated: Vec<Uuid>,
    /// Those of them that the command closed.
    pub closed: Vec<Uuid>,
    /// Whether the command deactivated them in the organization.
    pub closed_in_organization: bool,
    /// Their other organizations in which they are ACTIVE, by id.
    pub others: Vec<Uuid>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(embed)]
    member: MemberColumns,
    #[diesel(sql_type = sql_types::Text)]
    display_name: String,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    email: Option<String>,
    #[diesel(sql_type = sql_types::Array<sql_types::Uuid>)]
    active: Vec<Uuid>,
    #[diesel(sql_type = sql_types::Array<sql_types::Uuid>)]
    deactivated: Vec<Uuid>,
    #[diesel(sql_type = sql_types::Array<sql_types::Uuid>)]
    closed: Vec<Uuid>,
    #[diesel(sql_type = sql_types::Bool)]
    closed_in_organization: bool,
}

#[derive(QueryableByName)]
struct Other {
    #[diesel(sql_type = sql_types::Uuid)]
    organization_id: Uuid,
}

/// $1 organization, $2 member, $3 the command, which may be null. Needs the primary keys and the index by member.
struct Standing;

impl Text for Standing {
    const SQL: &'static str = "
        SELECT m.organization_id, m.member_id, m.account_id, m.role, m.state, m.leaving, m.return_time,
               m.tombstone_id, m.erased_by, m.version, m.create_time, m.update_time,
               coalesce(p.display_name, '') AS display_name, a.email, x.active, x.deactivated, x.closed,
               coalesce(m.state = 'DEACTIVATED' AND m.revoked_by = $3, false) AS closed_in_organization
        FROM members m
        LEFT JOIN accounts a ON a.account_id = m.account_id
        LEFT JOIN profiles p ON p.organization_id = m.organization_id AND p.member_id = m.member_id
        CROSS JOIN LATERAL (
            SELECT coalesce(array_agg(w.workspace_id ORDER BY w.workspace_id) FILTER (WHERE w.state = 'ACTIVE'), '{}') AS active,
                   coalesce(array_agg(w.workspace_id ORDER BY w.workspace_id) FILTER (WHERE w.state = 'DEACTIVATED'), '{}')
                       AS deactivated,
                   coalesce(array_agg(w.workspace_id ORDER BY w.workspace_id)
                            FILTER (WHERE w.state = 'DEACTIVATED' AND w.revoked_by = $3), '{}') AS closed
            FROM workspace_members w
            WHERE w.organization_id = m.organization_id AND w.member_id = m.member_id) AS x
        WHERE m.organization_id = $1 AND m.member_id = $2";
}

/// $1 organization, $2 member. Needs the index by account.
struct Others;

impl Text for Others {
    const SQL: &'static str = "
        SELECT o.organization_id FROM members o
        WHERE o.account_id = (SELECT m.account_id FROM members m WHERE m.organization_id = $1 AND m.member_id = $2)
          AND o.organization_id <> $1 AND o.state = 'ACTIVE'
        ORDER BY o.organization_id";
}

impl Database {
    /// Reads what a command about a member left behind.
    pub async fn member_standing(
        &self,
        organization: OrganizationId,
        member: MemberId,
        command: Option<CommandId>,
    ) -> Result<Option<MemberStanding>, StorageError> {
        let query = prepared::<Standing, _>(|query| {
            query
                .bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(member.0)
                .bind::<sql_types::Nullable<sql_types::Uuid>, _>(command.map(|command| command.0))
        });
        let others = prepared::<Others, _>(|query| {
            query.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(member.0)
        });
        let transaction = self.transaction(Tenant::Organization(organization)).await?;
        let (begun, row, others, committed) = join!(
            transaction.begin(),
            async { query.get_result::<Row>(&mut transaction.connection()).await.optional() },
            // Where to send a person who is out of this one (R21 d).
            transaction.beyond(async { Ok(others.load::<Other>(&mut transaction.connection()).await?) }),
            transaction.send_commit(),
        );
        begun?;
        let (row, others) = (row?, others?);
        committed?;
        let others = others.into_iter().map(|other| other.organization_id).collect();
        Ok(row.map(|row| {
            let Row { member, display_name, email, active, deactivated, closed, closed_in_organization } =
                row;
            let member = MemberRead::from((member, Some(display_name), email));
            MemberStanding { member, active, deactivated, closed, closed_in_organization, others }
        }))
    }
}

//! What of the store a caller may see. What is out of reach is answered as if it did not exist: one statement looks for
//! all that a request names, and finds a foreign thing exactly as it finds none.

use diesel::{QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
};
use crate::rules::ids::{AccountId, AppName, InvitationId, MemberId, OrganizationId, WorkspaceId};

/// How far a caller sees. Where both are given, both bind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The scope of this app alone, as its stream has it, and nothing once it is unregistered. None: of any.
    pub app: Option<AppName>,
    /// What this person may see: the organizations in which the account is ACTIVE, and those who belong there. None: all.
    pub person: Option<AccountId>,
}

/// What a request names.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// The organization, in which the things below are looked for.
    pub organization: Option<OrganizationId>,
    /// Whether it is enough to have belonged to it once: what a person may still do there is for the rules to say.
    pub former: bool,
    /// Workspaces, which bind an app alone: a person sees all of an organization.
    pub workspaces: Vec<WorkspaceId>,
    /// Members, which bind an app alone.
    pub members: Vec<MemberId>,
    /// An invitation, which binds an app alone: to one of its workspaces.
    pub invitation: Option<InvitationId>,
    /// An account.
    pub account: Option<AccountId>,
}

/// What of it is out of reach: the first, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Unreached {
    Organization(OrganizationId),
    Workspace(WorkspaceId),
    Member(MemberId),
    Invitation(InvitationId),
    Account(AccountId),
}

impl Reach {
    /// Everything.
    pub const ALL: Self = Self { app: None, person: None };

    /// Whether nothing is out of reach.
    pub fn is_all(&self) -> bool {
        *self == Self::ALL
    }
}

/// Whether the app $1 is registered, where one binds.
macro_rules! app_lives {
    () => {
        "EXISTS (SELECT FROM apps a WHERE a.app = $1 AND a.unregister_time IS NULL)"
    };
}

/// Whether the organization `o` is in the scope of the app $1 and one of the person $2, where these bind.
macro_rules! organization_reached {
    ($former:literal) => {
        concat!(
            "($1 IS NULL OR (o.apps @> ARRAY[$1] AND ",
            app_lives!(),
            ")) AND ($2 IS NULL OR EXISTS (
                 SELECT FROM members m WHERE m.organization_id = o.organization_id AND m.account_id = $2
                   AND (m.state = 'ACTIVE' OR ",
            $former,
            ")))"
        )
    };
}

/// $1 app, $2 person, $3 organization, $4 whether having belonged is enough, $5 workspaces, $6 members, $7 invitation,
/// $8 account; all but $4 may be null or empty.
struct OutOfReach;

impl Text for OutOfReach {
    const SQL: &'static str = concat!(
        "SELECT $3 IS NOT NULL AND NOT EXISTS (
                    SELECT FROM organizations o WHERE o.organization_id = $3 AND ",
        organization_reached!("$4"),
        ") AS organization,
                (SELECT n.id FROM unnest($5) AS n (id)
                 WHERE $1 IS NOT NULL AND NOT EXISTS (
                     SELECT FROM workspaces w
                     WHERE w.organization_id = $3 AND w.workspace_id = n.id AND w.app = $1) LIMIT 1) AS workspace,
                (SELECT n.id FROM unnest($6) AS n (id)
                 WHERE $1 IS NOT NULL AND NOT EXISTS (
                     SELECT FROM members m
                     WHERE m.organization_id = $3 AND m.member_id = n.id AND m.apps @> ARRAY[$1]) LIMIT 1) AS member,
                $7 IS NOT NULL AND $1 IS NOT NULL AND NOT EXISTS (
                    SELECT FROM invitation_workspaces i JOIN workspaces w USING (organization_id, workspace_id)
                    WHERE i.organization_id = $3 AND i.invitation_id = $7 AND w.app = $1) AS invitation,
                $8 IS NOT NULL AND NOT (
                    ($1 IS NULL OR (",
        app_lives!(),
        "               AND EXISTS (SELECT FROM members m WHERE m.account_id = $8 AND m.apps @> ARRAY[$1])))
                    AND ($2 IS NULL OR $2 = $8 OR EXISTS (
                        SELECT FROM members mine JOIN members theirs USING (organization_id)
                        WHERE mine.account_id = $2 AND mine.state = 'ACTIVE'
                          AND theirs.account_id = $8 AND theirs.state IN ('ACTIVE', 'DEACTIVATED')))) AS account"
    );
}

/// $1 app, $2 person, $3 organizations.
struct ReachedAmong;

impl Text for ReachedAmong {
    const SQL: &'static str = concat!(
        "SELECT o.organization_id AS id FROM organizations o WHERE o.organization_id = ANY ($3) AND ",
        organization_reached!("false"),
        " ORDER BY o.organization_id"
    );
}

/// $1 app, $2 organization, $3 workspaces.
struct OwnAmong;

impl Text for OwnAmong {
    const SQL: &'static str = "
        SELECT w.workspace_id AS id FROM workspaces w
        WHERE w.organization_id = $2 AND w.workspace_id = ANY ($3) AND w.app = $1
        ORDER BY w.workspace_id";
}

/// $1 workspaces.
struct AppsOf;

impl Text for AppsOf {
    const SQL: &'static str = "SELECT workspace_id AS id, app FROM workspaces WHERE workspace_id = ANY ($1)";
}

#[derive(QueryableByName)]
struct AppRow {
    #[diesel(sql_type = sql_types::Uuid)]
    id: Uuid,
    #[diesel(sql_type = sql_types::Text)]
    app: String,
}

#[derive(QueryableByName)]
struct UnreachedRow {
    #[diesel(sql_type = sql_types::Bool)]
    organization: bool,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    workspace: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    member: Option<Uuid>,
    #[diesel(sql_type = sql_types::Bool)]
    invitation: bool,
    #[diesel(sql_type = sql_types::Bool)]
    account: bool,
}

#[derive(QueryableByName)]
struct IdRow {
    #[diesel(sql_type = sql_types::Uuid)]
    id: Uuid,
}

type Id = sql_types::Nullable<sql_types::Uuid>;
type Ids = sql_types::Array<sql_types::Uuid>;
type Name = sql_types::Nullable<sql_types::Text>;

impl Database {
    /// What of the things that a request names is out of a caller's reach, or does not exist at all. None: nothing. What
    /// does not bind the caller is not looked for.
    pub async fn unreached(&self, reach: &Reach, named: &Named) -> Result<Option<Unreached>, StorageError> {
        if reach.is_all() {
            return Ok(None);
        }
        let workspaces: Vec<Uuid> = named.workspaces.iter().map(|id| id.0).collect();
        let members: Vec<Uuid> = named.members.iter().map(|id| id.0).collect();
        let query = prepared::<OutOfReach, _>(|sql| {
            sql.bind::<Name, _>(reach.app.as_ref().map(AppName::as_str))
                .bind::<Id, _>(reach.person.map(|id| id.0))
                .bind::<Id, _>(named.organization.map(|id| id.0))
                .bind::<sql_types::Bool, _>(named.former)
                .bind::<Ids, _>(workspaces)
                .bind::<Ids, _>(members)
                .bind::<Id, _>(named.invitation.map(|id| id.0))
                .bind::<Id, _>(named.account.map(|id| id.0))
        });
        // Across: a person sees by what they are elsewhere, and an account is above the organizations.
        let row: UnreachedRow = query.get_result(&mut self.read_across().await?).await?;
        let organization = named.organization.filter(|_| row.organization).map(Unreached::Organization);
        let workspace = row.workspace.map(|id| Unreached::Workspace(WorkspaceId(id)));
        let member = row.member.map(|id| Unreached::Member(MemberId(id)));
        let invitation = named.invitation.filter(|_| row.invitation).map(Unreached::Invitation);
        let account = named.account.filter(|_| row.account).map(Unreached::Account);
        Ok(organization.or(workspace).or(member).or(invitation).or(account))
    }

    /// Those of some organizations that are within reach, by id.
    pub async fn reached_among(
        &self,
        reach: &Reach,
        organizations: &[Uuid],
    ) -> Result<Vec<Uuid>, StorageError> {
        let query = prepared::<ReachedAmong, _>(|sql| {
            sql.bind::<Name, _>(reach.app.as_ref().map(AppName::as_str))
                .bind::<Id, _>(reach.person.map(|id| id.0))
                .bind::<Ids, _>(organizations)
        });
        // Across: these are several.
        let rows: Vec<IdRow> = query.load(&mut self.read_across().await?).await?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// Which app each of these workspaces is of, where there is such a workspace.
    pub async fn apps_of(&self, workspaces: &[Uuid]) -> Result<Vec<(Uuid, String)>, StorageError> {
        let query = prepared::<AppsOf, _>(|sql| sql.bind::<Ids, _>(workspaces));
        // Across: whose they are is what is asked.
        let rows: Vec<AppRow> = query.load(&mut self.read_across().await?).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.app)).collect())
    }

    /// Those of some workspaces of an organization that are of an app, by id.
    pub async fn own_among(
        &self,
        app: &AppName,
        organization: OrganizationId,
        workspaces: &[Uuid],
    ) -> Result<Vec<Uuid>, StorageError> {
        let query = prepared::<OwnAmong, _>(|sql| {
            sql.bind::<sql_types::Text, _>(app.as_str())
                .bind::<sql_types::Uuid, _>(organization.0)
                .bind::<Ids, _>(workspaces)
        });
        let rows: Vec<IdRow> = query.load(&mut self.read_in(organization).await?).await?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }
}

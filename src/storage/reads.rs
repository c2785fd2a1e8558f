//! Reads of things and lists, as the API shows them: with times, and members with their profile.

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, JoinOnDsl as _, NullableExpressionMethods as _,
    OptionalExtension as _, PgArrayExpressionMethods as _, QueryDsl as _, Queryable, QueryableByName,
    Selectable, SelectableHelper as _, dsl::exists,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    filters::{MemberFilter, OrganizationFilter, WorkspaceFilter, WorkspaceMemberFilter},
    rows::SettingsColumns,
    schema::{accounts, members, organizations, profiles, workspace_members, workspaces},
};
use crate::rules::{
    ids::{AccountId, AppName, CommandId, MemberId, OrganizationId, WorkspaceId},
    roles::{MembershipState, OrganizationRole, OrganizationState, WorkspaceRole},
};

/// An organization as it is read.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = organizations, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct OrganizationRead {
    pub organization_id: Uuid,
    pub display_name: String,
    pub state: String,
    pub contract_id: Option<Uuid>,
    #[diesel(embed)]
    pub settings: SettingsColumns,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// A workspace as it is read.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = workspaces, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct WorkspaceRead {
    pub organization_id: Uuid,
    pub workspace_id: Uuid,
    pub app: String,
    pub display_name: String,
    pub state: String,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// A membership in a workspace as it is read.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = workspace_members, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct WorkspaceMemberRead {
    pub organization_id: Uuid,
    pub workspace_id: Uuid,
    pub member_id: Uuid,
    pub role: String,
    pub state: String,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// The columns of a member that are shown.
#[derive(Debug, Clone, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = members, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct MemberColumns {
    pub organization_id: Uuid,
    pub member_id: Uuid,
    pub account_id: Option<Uuid>,
    pub role: String,
    pub state: String,
    pub leaving: bool,
    pub return_time: Option<DateTime<Utc>>,
    pub tombstone_id: Option<Uuid>,
    pub erased_by: Option<String>,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// A member as it is read, with the profile.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct MemberRead {
    pub member: MemberColumns,
    /// Personal data.
    pub display_name: String,
    /// Personal data.
    pub email: String,
}

/// Who is in lists (R25 to R27).
pub(super) const BELONGS: [&str; 2] =
    [MembershipState::Active.as_str(), MembershipState::Deactivated.as_str()];

/// Who is in a list that asks for a state.
fn belonging(state: Option<MembershipState>) -> Vec<&'static str> {
    match state {
        Some(state) => vec![state.as_str()],
        None => BELONGS.to_vec(),
    }
}

/// One organization of an account.
pub type AccountOrganizationRow = (OrganizationRead, MemberRead);

impl From<MemberTuple> for MemberRead {
    fn from((member, display_name, email): MemberTuple) -> Self {
        Self { member, display_name: display_name.unwrap_or_default(), email: email.unwrap_or_default() }
    }
}

/// Members joined with profile and account.
macro_rules! members_with_profile {
    () => {
        members::table
            .left_join(accounts::table.on(members::account_id.eq(accounts::account_id.nullable())))
            .left_join(
                profiles::table.on(profiles::organization_id
                    .eq(members::organization_id)
                    .and(profiles::member_id.eq(members::member_id))),
            )
    };
}

/// The columns of such a join.
macro_rules! member_columns {
    () => {
        (MemberColumns::as_select(), profiles::display_name.nullable(), accounts::email.nullable())
    };
}

/// The columns, the shown name and the address.
type MemberTuple = (MemberColumns, Option<String>, Option<String>);

impl Database {
    /// Reads an organization.
    pub async fn organization(&self, id: OrganizationId) -> Result<Option<OrganizationRead>, StorageError> {
        let query = organizations::table.find(id.0).select(OrganizationRead::as_select());
        Ok(query.first(&mut self.read_in(id).await?).await.optional()?)
    }

    /// Lists organizations by id, from after one: the live ones, unless others are asked for.
    pub async fn organizations(
        &self,
        filter: &OrganizationFilter,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<OrganizationRead>, StorageError> {
        let OrganizationFilter { state, contract, without_owner } = filter;
        let mut query = organizations::table
            .filter(organizations::organization_id.gt(after.unwrap_or_default()))
            .filter(organizations::state.eq(state.unwrap_or(OrganizationState::Active).as_str()))
            .order(organizations::organization_id)
            .limit(limit)
            .select(OrganizationRead::as_select())
            .into_boxed();
        if let Some(contract) = contract {
            query = query.filter(organizations::contract_id.eq(contract.0));
        }
        if let Some(without) = without_owner {
            let owners = members::table
                .filter(members::organization_id.eq(organizations::organization_id))
                .filter(members::role.eq(OrganizationRole::Owner.as_str()))
                .filter(members::state.eq(MembershipState::Active.as_str()));
            query = query.filter(exists(owners).ne(*without));
        }
        // Across: the list is of organizations.
        Ok(query.load(&mut self.read_across().await?).await?)
    }

    /// The first of some organizations that does not exist, or is not in the scope of an app. None: all do.
    pub async fn missing_organization(
        &self,
        app: Option<&AppName>,
        ids: &[Uuid],
    ) -> Result<Option<Uuid>, StorageError> {
        let mut query = organizations::table
            .filter(organizations::organization_id.eq_any(ids))
            .select(organizations::organization_id)
            .into_boxed();
        if let Some(app) = app {
            query = query.filter(organizations::apps.contains(vec![app.as_str()]));
        }
        // Across: a filter names several.
        let found: Vec<Uuid> = query.load(&mut self.read_across().await?).await?;
        Ok(ids.iter().find(|id| !found.contains(id)).copied())
    }

    /// Whether one of some workspaces is not in the organization; a DELETED one is.
    pub async fn misses_workspace(
        &self,
        organization: OrganizationId,
        ids: &[Uuid],
    ) -> Result<bool, StorageError> {
        let query = workspaces::table
            .filter(workspaces::organization_id.eq(organization.0))
            .filter(workspaces::workspace_id.eq_any(ids));
        let found: i64 = query.count().get_result(&mut self.read_in(organization).await?).await?;
        Ok(usize::try_from(found).unwrap_or_default() < ids.len())
    }

    /// Reads a workspace, also a DELETED one.
    pub async fn workspace(
        &self,
        organization: OrganizationId,
        id: WorkspaceId,
    ) -> Result<Option<WorkspaceRead>, StorageError> {
        let query = workspaces::table.find((organization.0, id.0)).select(WorkspaceRead::as_select());
        Ok(query.first(&mut self.read_in(organization).await?).await.optional()?)
    }

    /// Lists the live workspaces of an organization by id, from after one: of all these apps, where they are given.
    pub async fn workspaces(
        &self,
        organization: OrganizationId,
        apps: [Option<&AppName>; 2],
        filter: &WorkspaceFilter,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<WorkspaceRead>, StorageError> {
        let mut query = workspaces::table
            .filter(workspaces::organization_id.eq(organization.0))
            .filter(workspaces::state.eq("ACTIVE"))
            .filter(workspaces::workspace_id.gt(after.unwrap_or_default()))
            .order(workspaces::workspace_id)
            .limit(limit)
            .select(WorkspaceRead::as_select())
            .into_boxed();
        for app in apps.into_iter().chain([filter.app.as_ref()]).flatten() {
            query = query.filter(workspaces::app.eq(app.as_str().to_owned()));
        }
        if let Some(without) = filter.without_admin {
            let admins = workspace_members::table
                .filter(workspace_members::organization_id.eq(workspaces::organization_id))
                .filter(workspace_members::workspace_id.eq(workspaces::workspace_id))
                .filter(workspace_members::role.eq(WorkspaceRole::Admin.as_str()))
                .filter(workspace_members::state.eq(MembershipState::Active.as_str()));
            query = query.filter(exists(admins).ne(without));
        }
        Ok(query.load(&mut self.read_in(organization).await?).await?)
    }

    /// Reads a member, also a REMOVED one.
    pub async fn member(
        &self,
        organization: OrganizationId,
        id: MemberId,
    ) -> Result<Option<MemberRead>, StorageError> {
        let row: Option<MemberTuple> = members_with_profile!()
            .filter(members::organization_id.eq(organization.0).and(members::member_id.eq(id.0)))
            .select(member_columns!())
            .first(&mut self.read_in(organization).await?)
            .await
            .optional()?;
        Ok(row.map(Into::into))
    }

    /// The member of an account, also a REMOVED one.
    pub async fn member_of_account(
        &self,
        organization: OrganizationId,
        account: AccountId,
    ) -> Result<Option<MemberId>, StorageError> {
        let query = members::table
            .filter(members::organization_id.eq(organization.0).and(members::account_id.eq(account.0)))
            .select(members::member_id);
        let found: Option<Uuid> = query.first(&mut self.read_in(organization).await?).await.optional()?;
        Ok(found.map(MemberId))
    }

    /// Reads some members, REMOVED ones included, in no order; where an app is given, those in its scope.
    pub async fn members_by_id(
        &self,
        organization: OrganizationId,
        app: Option<&AppName>,
        ids: &[Uuid],
    ) -> Result<Vec<MemberRead>, StorageError> {
        let mut query = members_with_profile!()
            .filter(members::organization_id.eq(organization.0).and(members::member_id.eq_any(ids)))
            .select(member_columns!())
            .into_boxed();
        if let Some(app) = app {
            query = query.filter(members::apps.contains(vec![app.as_str()]));
        }
        let rows: Vec<MemberTuple> = query.load(&mut self.read_in(organization).await?).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Lists the ACTIVE and DEACTIVATED members of an organization by id, from after one (R25 to R27); where an app is given,
    /// those in its scope.
    pub async fn members(
        &self,
        organization: OrganizationId,
        app: Option<&AppName>,
        filter: &MemberFilter,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<MemberRead>, StorageError> {
        let MemberFilter { state, role, leaving, return_from, return_until, email } = filter;
        let mut query = members_with_profile!()
            .filter(members::organization_id.eq(organization.0))
            .filter(members::state.eq_any(belonging(*state)))
            .filter(members::member_id.gt(after.unwrap_or_default()))
            .order(members::member_id)
            .limit(limit)
            .select(member_columns!())
            .into_boxed();
        if let Some(app) = app {
            query = query.filter(members::apps.contains(vec![app.as_str()]));
        }
        if let Some(role) = role {
            query = query.filter(members::role.eq(role.as_str()));
        }
        if let Some(leaving) = leaving {
            query = query.filter(members::leaving.eq(leaving));
        }
        if let Some(from) = return_from {
            query = query.filter(members::return_time.ge(from));
        }
        if let Some(until) = return_until {
            query = query.filter(members::return_time.lt(until));
        }
        if let Some(email) = email {
            query = query.filter(accounts::email_key.eq(email.key()));
        }
        let rows: Vec<MemberTuple> = query.load(&mut self.read_in(organization).await?).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Lists the organizations that an account belongs to, DEACTIVATED included, by id, from after one; where an app is given,
    /// those in which the member is in its scope.
    pub async fn account_organizations(
        &self,
        account: AccountId,
        app: Option<&AppName>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<AccountOrganizationRow>, StorageError> {
        let mut query = members_with_profile!()
            .inner_join(organizations::table.on(organizations::organization_id.eq(members::organization_id)))
            .filter(members::account_id.eq(account.0))
            .filter(members::state.eq_any(BELONGS))
            .filter(members::organization_id.gt(after.unwrap_or_default()))
            .order(members::organization_id)
            .limit(limit)
            .select((OrganizationRead::as_select(), member_columns!()))
            .into_boxed();
        if let Some(app) = app {
            query = query.filter(members::apps.contains(vec![app.as_str()]));
        }
        // Across: an account is above them.
        let rows: Vec<(OrganizationRead, MemberTuple)> = query.load(&mut self.read_across().await?).await?;
        Ok(rows.into_iter().map(|(organization, member)| (organization, member.into())).collect())
    }

    /// Reads a membership, also a REMOVED one.
    pub async fn workspace_member(
        &self,
        organization: OrganizationId,
        workspace: WorkspaceId,
        member: MemberId,
    ) -> Result<Option<WorkspaceMemberRead>, StorageError> {
        let query = workspace_members::table
            .find((organization.0, workspace.0, member.0))
            .select(WorkspaceMemberRead::as_select());
        Ok(query.first(&mut self.read_in(organization).await?).await.optional()?)
    }

    /// Lists the ACTIVE and DEACTIVATED members of a workspace by member id, from after one (R26).
    pub async fn workspace_members(
        &self,
        organization: OrganizationId,
        workspace: WorkspaceId,
        filter: &WorkspaceMemberFilter,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<WorkspaceMemberRead>, StorageError> {
        let WorkspaceMemberFilter { state, role } = filter;
        let mut query = workspace_members::table
            .filter(workspace_members::organization_id.eq(organization.0))
            .filter(workspace_members::workspace_id.eq(workspace.0))
            .filter(workspace_members::state.eq_any(belonging(*state)))
            .filter(workspace_members::member_id.gt(after.unwrap_or_default()))
            .order(workspace_members::member_id)
            .limit(limit)
            .select(WorkspaceMemberRead::as_select())
            .into_boxed();
        if let Some(role) = role {
            query = query.filter(workspace_members::role.eq(role.as_str()));
        }
        Ok(query.load(&mut self.read_in(organization).await?).await?)
    }

    /// The members who are DEACTIVATED since a command, by id.
    pub async fn members_deactivated_by(
        &self,
        organization: OrganizationId,
        command: CommandId,
    ) -> Result<Vec<Uuid>, StorageError> {
        let query = members::table
            .filter(members::organization_id.eq(organization.0))
            .filter(members::revoked_by.eq(command.0))
            .filter(members::state.eq(MembershipState::Deactivated.as_str()))
            .order(members::member_id)
            .select(members::member_id);
        Ok(query.load(&mut self.read_in(organization).await?).await?)
    }
}

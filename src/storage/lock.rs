//! Loads under locks, one statement each (see [`Transaction`] about pipelines). The order, which every command keeps:
//! account, contract, organization, app, workspace, members by id.

use std::collections::BTreeMap;

use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, JoinOnDsl as _, OptionalExtension as _,
    QueryDsl as _, QueryableByName, SelectableHelper as _, sql_types,
};
use diesel_async::RunQueryDsl as _;
use futures_util::future::join_all;
use uuid::Uuid;

use super::{
    error::StorageError,
    prepared::{Text, prepared},
    reads::BELONGS,
    rows::{AccountRow, MemberRow, OrganizationRow, WorkspaceMemberRow, WorkspaceRow},
    schema::{accounts, members, organizations, profiles, workspace_members, workspaces},
    transaction::Transaction,
};
use crate::rules::{
    ids::{AccountId, MemberId, OrganizationId, WorkspaceId},
    roles::{AccountState, MembershipState, OrganizationRole, OrganizationState, WorkspaceState},
    state::{Member, Organization, Workspace, WorkspaceMember},
};

/// How firmly a row is held until the end of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// Only read.
    None,
    /// Others may hold it too, nobody may change it.
    Share,
    /// Nobody else may hold or change it.
    Update,
}

/// Whose memberships: those of members, and of the member of an account whose id is not known yet.
#[derive(Debug, Clone, Default)]
pub struct Whose {
    /// The members.
    pub members: Vec<MemberId>,
    /// The account.
    pub account: Option<AccountId>,
}

impl Whose {
    /// Nobody's.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.account.is_none()
    }

    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.members.iter().map(|member| member.0).collect()
    }
}

struct Memberships;

// The arrays are computed once, so that the index of members by workspace is used.
impl Text for Memberships {
    const SQL: &'static str = "
        SELECT organization_id, workspace_id, member_id, role, state, revoked_by, version FROM workspace_members
        WHERE organization_id = $1
          AND member_id = ANY ($2 || ARRAY(SELECT m.member_id FROM members m
                                           WHERE m.organization_id = $1 AND m.account_id = $3))";
}

struct WorkspacesOf;

impl Text for WorkspacesOf {
    const SQL: &'static str = "
        SELECT organization_id, workspace_id, app, display_name, state, version FROM workspaces
        WHERE organization_id = $1
          AND workspace_id = ANY ($4 || ARRAY(
              SELECT x.workspace_id FROM workspace_members x
              WHERE x.organization_id = $1
                AND x.member_id = ANY ($2 || ARRAY(SELECT m.member_id FROM members m
                                                   WHERE m.organization_id = $1 AND m.account_id = $3))))";
}

struct Elsewhere;

impl Text for Elsewhere {
    const SQL: &'static str = "
        SELECT m.organization_id, coalesce(o.contract_id = here.contract_id, false) AS same_contract
        FROM members m
        JOIN organizations o ON o.organization_id = m.organization_id
        JOIN organizations here ON here.organization_id = $2
        WHERE m.account_id = $1 AND m.organization_id <> $2 AND m.state = 'ACTIVE'
        ORDER BY m.organization_id";
}

#[derive(QueryableByName)]
struct ElsewhereRow {
    #[diesel(sql_type = sql_types::Uuid)]
    organization_id: Uuid,
    #[diesel(sql_type = sql_types::Bool)]
    same_contract: bool,
}

struct WorkspaceAdmins;

impl Text for WorkspaceAdmins {
    const SQL: &'static str = "
        SELECT x.workspace_id, x.member_id FROM workspace_members x
        JOIN members m ON m.organization_id = x.organization_id AND m.member_id = x.member_id
        WHERE x.organization_id = $1 AND x.role = 'ADMIN' AND x.state = 'ACTIVE' AND m.state = 'ACTIVE'
          AND x.workspace_id = ANY (ARRAY(
              SELECT own.workspace_id FROM workspace_members own
              WHERE own.organization_id = $1 AND own.member_id = $2 AND own.role = 'ADMIN' AND own.state = 'ACTIVE'))";
}

#[derive(QueryableByName)]
struct AdminRow {
    #[diesel(sql_type = sql_types::Uuid)]
    workspace_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    member_id: Uuid,
}

/// Runs a query as it is, `FOR SHARE` or `FOR UPDATE`.
macro_rules! first_locked {
    ($query:expr, $lock:expr, $connection:expr, $row:ty) => {{
        let query = $query;
        match $lock {
            Lock::None => query.first::<$row>($connection).await,
            Lock::Share => query.for_share().first::<$row>($connection).await,
            Lock::Update => query.for_no_key_update().first::<$row>($connection).await,
        }
        .optional()?
    }};
}
pub(super) use first_locked;

impl Transaction {
    /// Loads a live account.
    pub async fn account(&self, id: AccountId, lock: Lock) -> Result<Option<AccountRow>, StorageError> {
        let query = accounts::table
            .find(id.0)
            .filter(accounts::state.eq(AccountState::Active.as_str()))
            .select(AccountRow::as_select());
        Ok(first_locked!(query, lock, &mut self.connection(), AccountRow))
    }

    /// Loads an organization.
    pub async fn organization(
        &self,
        id: OrganizationId,
        lock: Lock,
    ) -> Result<Option<Organization>, StorageError> {
        let query = organizations::table.find(id.0).select(OrganizationRow::as_select());
        first_locked!(query, lock, &mut self.connection(), OrganizationRow).map(TryInto::try_into).transpose()
    }

    /// Loads a workspace of an organization.
    pub async fn workspace(
        &self,
        organization: OrganizationId,
        id: WorkspaceId,
        lock: Lock,
    ) -> Result<Option<Workspace>, StorageError> {
        let query = workspaces::table.find((organization.0, id.0)).select(WorkspaceRow::as_select());
        first_locked!(query, lock, &mut self.connection(), WorkspaceRow).map(TryInto::try_into).transpose()
    }

    /// The member id of an account in an organization, without a lock: ids never change.
    pub async fn member_id(
        &self,
        organization: OrganizationId,
        account: AccountId,
    ) -> Result<Option<MemberId>, StorageError> {
        let id: Option<Uuid> = members::table
            .filter(members::organization_id.eq(organization.0).and(members::account_id.eq(account.0)))
            .select(members::member_id)
            .first(&mut self.connection())
            .await
            .optional()?;
        Ok(id.map(MemberId))
    }

    /// The member id of an account that is an owner or admin in an organization, without a lock.
    pub async fn administrator_id(
        &self,
        organization: OrganizationId,
        account: AccountId,
    ) -> Result<Option<MemberId>, StorageError> {
        let roles = [OrganizationRole::Owner, OrganizationRole::Admin].map(OrganizationRole::as_str);
        let id: Option<Uuid> = members::table
            .filter(members::organization_id.eq(organization.0).and(members::account_id.eq(account.0)))
            .filter(members::role.eq_any(roles))
            .select(members::member_id)
            .first(&mut self.connection())
            .await
            .optional()?;
        Ok(id.map(MemberId))
    }

    /// Locks and loads members in the order of their ids, each as firmly as asked, with a statement for each.
    pub async fn members(
        &self,
        organization: OrganizationId,
        wanted: &BTreeMap<MemberId, Lock>,
    ) -> Result<BTreeMap<MemberId, Member>, StorageError> {
        // A handful: so many are polled in order.
        let found = join_all(wanted.iter().map(|(id, lock)| self.member(organization, *id, *lock))).await;
        let found = found.into_iter().filter_map(Result::transpose);
        found.map(|member| member.map(|member| (member.id, member))).collect()
    }

    async fn member(
        &self,
        organization: OrganizationId,
        id: MemberId,
        lock: Lock,
    ) -> Result<Option<Member>, StorageError> {
        let query = members::table.find((organization.0, id.0)).select(MemberRow::as_select());
        first_locked!(query, lock, &mut self.connection(), MemberRow).map(TryInto::try_into).transpose()
    }

    /// Locks and loads the member that an account has in an organization, where no other member is locked.
    pub async fn member_of_account(
        &self,
        organization: OrganizationId,
        account: AccountId,
    ) -> Result<Option<Member>, StorageError> {
        let query = members::table
            .filter(members::organization_id.eq(organization.0).and(members::account_id.eq(account.0)))
            .select(MemberRow::as_select());
        first_locked!(query, Lock::Update, &mut self.connection(), MemberRow)
            .map(TryInto::try_into)
            .transpose()
    }

    /// Locks and loads all members of a workspace who are not REMOVED from it, and one more, in the order of their ids.
    pub async fn members_of_workspace(
        &self,
        organization: OrganizationId,
        workspace: WorkspaceId,
        and: Option<MemberId>,
    ) -> Result<BTreeMap<MemberId, Member>, StorageError> {
        let within = workspace_members::table
            .filter(workspace_members::organization_id.eq(organization.0))
            .filter(workspace_members::workspace_id.eq(workspace.0))
            .filter(workspace_members::state.ne(MembershipState::Removed.as_str()))
            .select(workspace_members::member_id);
        let rows: Vec<MemberRow> = members::table
            .filter(members::organization_id.eq(organization.0))
            .filter(
                members::member_id
                    .eq_any(within)
                    .or(members::member_id.eq(and.map(|member| member.0).unwrap_or_default())),
            )
            .order(members::member_id)
            .select(MemberRow::as_select())
            .for_no_key_update()
            .load(&mut self.connection())
            .await?;
        rows.into_iter().map(|row| Member::try_from(row).map(|member| (member.id, member))).collect()
    }

    /// Locks and loads the members who are ACTIVE or DEACTIVATED in an organization, at most so many, and one more, in the
    /// order of their ids.
    pub async fn members_who_belong(
        &self,
        organization: OrganizationId,
        and: Option<MemberId>,
        at_most: usize,
    ) -> Result<BTreeMap<MemberId, Member>, StorageError> {
        let states = [MembershipState::Active.as_str(), MembershipState::Deactivated.as_str()];
        let rows: Vec<MemberRow> = members::table
            .filter(members::organization_id.eq(organization.0))
            .filter(
                members::state
                    .eq_any(states)
                    .or(members::member_id.eq(and.map(|member| member.0).unwrap_or_default())),
            )
            .order(members::member_id)
            .limit(i64::try_from(at_most).unwrap_or(i64::MAX))
            .select(MemberRow::as_select())
            .for_no_key_update()
            .load(&mut self.connection())
            .await?;
        rows.into_iter().map(|row| Member::try_from(row).map(|member| (member.id, member))).collect()
    }

    /// Locks and loads the live workspaces of an organization in the order of their ids.
    pub async fn lock_live_workspaces(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<Workspace>, StorageError> {
        let rows: Vec<WorkspaceRow> = workspaces::table
            .filter(workspaces::organization_id.eq(organization.0))
            .filter(workspaces::state.eq(WorkspaceState::Active.as_str()))
            .order(workspaces::workspace_id)
            .select(WorkspaceRow::as_select())
            .for_no_key_update()
            .load(&mut self.connection())
            .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Loads and locks all members that an account has, by organization.
    pub async fn members_of_account(&self, account: AccountId) -> Result<Vec<Member>, StorageError> {
        let rows: Vec<MemberRow> = members::table
            .filter(members::account_id.eq(account.0))
            .order((members::organization_id, members::member_id))
            .select(MemberRow::as_select())
            .for_no_key_update()
            .load(&mut self.connection())
            .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// All workspace memberships of some members. The members' locks cover them.
    pub async fn memberships(
        &self,
        organization: OrganizationId,
        of: &Whose,
    ) -> Result<Vec<WorkspaceMember>, StorageError> {
        let query = prepared::<Memberships, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Array<sql_types::Uuid>, _>(of.ids())
                .bind::<sql_types::Nullable<sql_types::Uuid>, _>(of.account.map(|account| account.0))
        });
        let rows: Vec<WorkspaceMemberRow> = query.load(&mut self.connection()).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The workspaces that some members have memberships in, and some others, without locks.
    pub async fn workspaces(
        &self,
        organization: OrganizationId,
        of: &Whose,
        and: impl IntoIterator<Item = &WorkspaceId> + Send,
    ) -> Result<Vec<Workspace>, StorageError> {
        let and: Vec<Uuid> = and.into_iter().map(|workspace| workspace.0).collect();
        let query = prepared::<WorkspacesOf, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Array<sql_types::Uuid>, _>(of.ids())
                .bind::<sql_types::Nullable<sql_types::Uuid>, _>(of.account.map(|account| account.0))
                .bind::<sql_types::Array<sql_types::Uuid>, _>(and)
        });
        let rows: Vec<WorkspaceRow> = query.load(&mut self.connection()).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The ACTIVE owners of an organization. Means something only while the organization is locked.
    pub async fn active_owners(&self, organization: OrganizationId) -> Result<Vec<MemberId>, StorageError> {
        let ids: Vec<Uuid> = members::table
            .filter(members::organization_id.eq(organization.0))
            .filter(members::role.eq("OWNER").and(members::state.eq("ACTIVE")))
            .select(members::member_id)
            .load(&mut self.connection())
            .await?;
        Ok(ids.into_iter().map(MemberId).collect())
    }

    /// The ACTIVE admins of the workspaces in which a member is ADMIN and ACTIVE. Means something only while the organization
    /// is locked.
    pub async fn workspace_admins(
        &self,
        organization: OrganizationId,
        member: MemberId,
    ) -> Result<Vec<(WorkspaceId, MemberId)>, StorageError> {
        let query = prepared::<WorkspaceAdmins, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(member.0)
        });
        let rows: Vec<AdminRow> = query.load(&mut self.connection()).await?;
        Ok(rows.into_iter().map(|row| (WorkspaceId(row.workspace_id), MemberId(row.member_id))).collect())
    }

    /// Whether anyone but a member belongs, ACTIVE or DEACTIVATED, to the organization. Means something only while the
    /// organization is locked.
    pub async fn others_belong(
        &self,
        organization: OrganizationId,
        but: MemberId,
    ) -> Result<bool, StorageError> {
        let query = members::table
            .filter(members::organization_id.eq(organization.0))
            .filter(members::member_id.ne(but.0))
            .filter(members::state.eq_any(BELONGS));
        Ok(diesel::select(diesel::dsl::exists(query)).get_result(&mut self.connection()).await?)
    }

    /// How many live workspaces an organization has. Means something only while the organization is locked.
    pub async fn live_workspaces(&self, organization: OrganizationId) -> Result<usize, StorageError> {
        let count: i64 = workspaces::table
            .filter(workspaces::organization_id.eq(organization.0))
            .filter(workspaces::state.eq(WorkspaceState::Active.as_str()))
            .count()
            .get_result(&mut self.connection())
            .await?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Whether an account belongs, ACTIVE or DEACTIVATED, to another organization than this (R40).
    pub async fn belongs_elsewhere(
        &self,
        account: AccountId,
        organization: OrganizationId,
    ) -> Result<bool, StorageError> {
        let query = members::table
            .filter(members::account_id.eq(account.0))
            .filter(members::organization_id.ne(organization.0))
            .filter(members::state.eq_any(BELONGS));
        let query = diesel::select(diesel::dsl::exists(query));
        // Whether it is the only organization is asked of all of them.
        self.beyond(async { Ok(query.get_result(&mut self.connection()).await?) }).await
    }

    /// Whether an account has a member in another live organization that is not erased, a REMOVED one included: content
    /// there can still be linked to it (R29).
    pub async fn is_known_elsewhere(
        &self,
        account: AccountId,
        organization: OrganizationId,
    ) -> Result<bool, StorageError> {
        let query = members::table
            .inner_join(organizations::table.on(organizations::organization_id.eq(members::organization_id)))
            .filter(members::account_id.eq(account.0))
            .filter(members::organization_id.ne(organization.0))
            .filter(organizations::state.eq(OrganizationState::Active.as_str()));
        let query = diesel::select(diesel::dsl::exists(query));
        // The account ends with what is the last of it anywhere (R43).
        self.beyond(async { Ok(query.get_result(&mut self.connection()).await?) }).await
    }

    /// The other organizations in which an account is ACTIVE, by id, and whether one of them shares a contract with this
    /// one: then the seat is not free when the account leaves here (R48).
    pub async fn elsewhere(
        &self,
        account: AccountId,
        organization: OrganizationId,
    ) -> Result<(Vec<Uuid>, bool), StorageError> {
        let query = prepared::<Elsewhere, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(account.0).bind::<sql_types::Uuid, _>(organization.0)
        });
        // Who confirms a departure is told where else the person is (R21), and whether a seat becomes free (R48).
        let rows: Vec<ElsewhereRow> =
            self.beyond(async { Ok(query.load(&mut self.connection()).await?) }).await?;
        let seat_held = rows.iter().any(|row| row.same_contract);
        Ok((rows.into_iter().map(|row| row.organization_id).collect(), seat_held))
    }

    /// The shown name of a member.
    pub async fn display_name(
        &self,
        organization: OrganizationId,
        member: MemberId,
    ) -> Result<Option<String>, StorageError> {
        Ok(profiles::table
            .find((organization.0, member.0))
            .select(profiles::display_name)
            .first(&mut self.connection())
            .await
            .optional()?)
    }
}

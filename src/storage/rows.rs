//! Rows, and how they become the types of the rules and back.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::prelude::{Queryable, QueryableByName, Selectable};
use uuid::Uuid;

use super::{error::StorageError, schema};
use crate::rules::{
    ids::{AccountId, AppName, CommandId, DisplayName, Malformed, MemberId, OrganizationId, WorkspaceId},
    roles::{MembershipState, OrganizationRole, WorkspaceRole, WorkspaceState},
    state::{Member, Organization, Workspace, WorkspaceMember},
};

/// What is stored of an account.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::accounts, check_for_backend(diesel::pg::Pg))]
pub struct AccountRow {
    /// The id.
    pub account_id: Uuid,
    /// The address as it was given.
    pub email: String,
    /// +1 with each change.
    pub version: i64,
    /// When it was created.
    pub create_time: DateTime<Utc>,
    /// When it last changed.
    pub update_time: DateTime<Utc>,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = schema::organizations, check_for_backend(diesel::pg::Pg))]
pub(super) struct OrganizationRow {
    organization_id: Uuid,
    display_name: String,
    apps: Vec<String>,
    version: i64,
}

#[derive(Debug, Queryable, Selectable, QueryableByName)]
#[diesel(table_name = schema::workspaces, check_for_backend(diesel::pg::Pg))]
pub(super) struct WorkspaceRow {
    organization_id: Uuid,
    workspace_id: Uuid,
    app: String,
    display_name: String,
    state: String,
    version: i64,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = schema::members, check_for_backend(diesel::pg::Pg))]
pub(super) struct MemberRow {
    organization_id: Uuid,
    member_id: Uuid,
    account_id: Uuid,
    role: String,
    state: String,
    revoked_by: Option<Uuid>,
    apps: Vec<String>,
    version: i64,
}

#[derive(Debug, QueryableByName)]
#[diesel(table_name = schema::workspace_members, check_for_backend(diesel::pg::Pg))]
pub(super) struct WorkspaceMemberRow {
    organization_id: Uuid,
    workspace_id: Uuid,
    member_id: Uuid,
    role: String,
    state: String,
    revoked_by: Option<Uuid>,
    version: i64,
}

/// Reads a stored word: a state, a role or a reason.
pub(super) fn word<T>(
    what: &'static str,
    value: &str,
    read: fn(&str) -> Option<T>,
) -> Result<T, StorageError> {
    read(value).ok_or_else(|| StorageError::Corrupt { what, value: value.to_owned() })
}

/// Reads a stored name.
pub(super) fn name<T: std::str::FromStr<Err = Malformed>>(
    what: &'static str,
    value: &str,
) -> Result<T, StorageError> {
    // The value is left out: a name may be personal data.
    value.parse().map_err(|error: Malformed| StorageError::Corrupt { what, value: error.to_string() })
}

pub(super) fn app_names(values: &[String]) -> Result<BTreeSet<AppName>, StorageError> {
    values.iter().map(|value| name("app", value)).collect()
}

pub(super) fn app_words(apps: &BTreeSet<AppName>) -> Vec<String> {
    apps.iter().map(|app| app.as_str().to_owned()).collect()
}

impl TryFrom<OrganizationRow> for Organization {
    type Error = StorageError;

    fn try_from(row: OrganizationRow) -> Result<Self, StorageError> {
        let OrganizationRow { organization_id, display_name, apps, version } = row;
        Ok(Self {
            id: OrganizationId(organization_id),
            display_name: name::<DisplayName>("organizations.display_name", &display_name)?,
            apps: app_names(&apps)?,
            version,
        })
    }
}

impl TryFrom<WorkspaceRow> for Workspace {
    type Error = StorageError;

    fn try_from(row: WorkspaceRow) -> Result<Self, StorageError> {
        let WorkspaceRow { organization_id, workspace_id, app, display_name, state, version } = row;
        Ok(Self {
            organization_id: OrganizationId(organization_id),
            id: WorkspaceId(workspace_id),
            app: name("workspaces.app", &app)?,
            display_name: name("workspaces.display_name", &display_name)?,
            state: word("workspaces.state", &state, WorkspaceState::from_word)?,
            version,
        })
    }
}

impl TryFrom<MemberRow> for Member {
    type Error = StorageError;

    fn try_from(row: MemberRow) -> Result<Self, StorageError> {
        let MemberRow { organization_id, member_id, account_id, role, state, revoked_by, apps, version } =
            row;
        Ok(Self {
            organization_id: OrganizationId(organization_id),
            id: MemberId(member_id),
            account_id: AccountId(account_id),
            role: word("members.role", &role, OrganizationRole::from_word)?,
            state: word("members.state", &state, MembershipState::from_word)?,
            revoked_by: revoked_by.map(CommandId),
            apps: app_names(&apps)?,
            version,
        })
    }
}

impl TryFrom<WorkspaceMemberRow> for WorkspaceMember {
    type Error = StorageError;

    fn try_from(row: WorkspaceMemberRow) -> Result<Self, StorageError> {
        let WorkspaceMemberRow { organization_id, workspace_id, member_id, role, state, revoked_by, version } =
            row;
        Ok(Self {
            organization_id: OrganizationId(organization_id),
            workspace_id: WorkspaceId(workspace_id),
            member_id: MemberId(member_id),
            role: word("workspace_members.role", &role, WorkspaceRole::from_word)?,
            state: word("workspace_members.state", &state, MembershipState::from_word)?,
            revoked_by: revoked_by.map(CommandId),
            version,
        })
    }
}

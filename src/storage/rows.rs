//! Rows, and how they become the types of the rules and back.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::prelude::{Queryable, QueryableByName, Selectable};
use uuid::Uuid;

use super::{error::StorageError, schema};
use crate::rules::{
    ids::{
        AccountId, AppName, CommandId, ContractId, DisplayName, Malformed, MemberId, OrganizationId,
        WorkspaceId,
    },
    roles::{ErasedBy, MembershipState, OrganizationRole, OrganizationState, WorkspaceRole, WorkspaceState},
    state::{Member, Moment, Organization, Settings, Tombstone, Workspace, WorkspaceMember},
};

/// What is stored of an account.
#[derive(Debug, Clone, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = schema::accounts, check_for_backend(diesel::pg::Pg))]
pub struct AccountRow {
    /// The id.
    pub account_id: Uuid,
    /// Personal data: the address as it was given. None: DELETED.
    pub email: Option<String>,
    /// ACTIVE or DELETED.
    pub state: String,
    /// The language of mail.
    pub language: String,
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
    state: String,
    contract_id: Option<Uuid>,
    #[diesel(embed)]
    settings: SettingsColumns,
    apps: Vec<String>,
    version: i64,
}

/// What an organization decides for itself.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::organizations, check_for_backend(diesel::pg::Pg))]
#[allow(missing_docs)]
pub struct SettingsColumns {
    pub seat_limit: Option<i64>,
    pub self_deactivation: bool,
    pub invitation_forwarding: bool,
    pub guest_inactivity_days: Option<i32>,
    pub reactivate_on_return: bool,
    pub erased_alias: String,
    pub deleted_account_alias: String,
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
    account_id: Option<Uuid>,
    role: String,
    state: String,
    revoked_by: Option<Uuid>,
    leaving: bool,
    return_time: Option<DateTime<Utc>>,
    tombstone_id: Option<Uuid>,
    erased_by: Option<String>,
    vouched: bool,
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
        let OrganizationRow { organization_id, display_name, state, contract_id, settings, apps, version } =
            row;
        Ok(Self {
            id: OrganizationId(organization_id),
            display_name: name::<DisplayName>("organizations.display_name", &display_name)?,
            state: word("organizations.state", &state, OrganizationState::from_word)?,
            contract: contract_id.map(ContractId),
            settings: settings.try_into()?,
            apps: app_names(&apps)?,
            version,
        })
    }
}

impl TryFrom<SettingsColumns> for Settings {
    type Error = StorageError;

    fn try_from(row: SettingsColumns) -> Result<Self, StorageError> {
        let SettingsColumns {
            seat_limit,
            self_deactivation,
            invitation_forwarding,
            guest_inactivity_days,
            reactivate_on_return,
            erased_alias,
            deleted_account_alias,
        } = row;
        Ok(Self {
            seat_limit,
            self_deactivation,
            invitation_forwarding,
            guest_inactivity_days,
            reactivate_on_return,
            erased_alias: name("organizations.erased_alias", &erased_alias)?,
            deleted_account_alias: name("organizations.deleted_account_alias", &deleted_account_alias)?,
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
        let MemberRow {
            organization_id,
            member_id,
            account_id,
            role,
            state,
            revoked_by,
            leaving,
            return_time,
            tombstone_id,
            erased_by,
            vouched,
            apps,
            version,
        } = row;
        let erased_by =
            erased_by.map(|by| word("members.erased_by", &by, ErasedBy::from_word)).transpose()?;
        Ok(Self {
            organization_id: OrganizationId(organization_id),
            id: MemberId(member_id),
            account_id: account_id.map(AccountId),
            role: word("members.role", &role, OrganizationRole::from_word)?,
            state: word("members.state", &state, MembershipState::from_word)?,
            revoked_by: revoked_by.map(CommandId),
            leaving,
            return_time: return_time.map(|time| Moment(time.timestamp_micros())),
            vouched,
            tombstone: tombstone_id.zip(erased_by).map(|(id, erased_by)| Tombstone { id, erased_by }),
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

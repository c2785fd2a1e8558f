//! Writes what a command decided: the rows of its subjects, then, as the last statement, its pending changes.

use std::collections::HashSet;

use diesel::{ExpressionMethods as _, sql_query, sql_types, upsert::excluded};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    error::StorageError,
    log::{Acting, ChangeOrigin},
    rows::{MemberRow, OrganizationRow, WorkspaceMemberRow, WorkspaceRow, app_words},
    schema::{members, organizations, profiles, workspace_members, workspaces},
    transaction::Transaction,
};
use crate::rules::{
    Change, Subject,
    ids::{DisplayName, MemberId, OrganizationId},
    state::{Member, Organization, Workspace, WorkspaceMember},
};

/// Rows in one statement: Postgres takes 65,535 parameters, a member has eight.
const ROWS: usize = 5_000;

impl Transaction {
    /// Writes the subjects of changes as they are after all of them.
    pub async fn write_subjects(&mut self, changes: &[Change]) -> Result<(), StorageError> {
        let (mut members, mut memberships) = (Vec::new(), Vec::new());
        for subject in last_states(changes) {
            match subject {
                Subject::Organization(organization) => self.write_organization(organization).await?,
                Subject::Workspace(workspace) => self.write_workspace(workspace).await?,
                Subject::Member(member) => members.push(member),
                Subject::WorkspaceMember(membership) => memberships.push(membership),
            }
        }
        // A thing stands before what refers to it: a member before its memberships.
        for part in members.chunks(ROWS) {
            self.write_members(part).await?;
        }
        for part in memberships.chunks(ROWS) {
            self.write_memberships(part).await?;
        }
        Ok(())
    }

    async fn write_organization(&mut self, organization: &Organization) -> Result<(), StorageError> {
        diesel::insert_into(organizations::table)
            .values(OrganizationRow::from(organization))
            .on_conflict(organizations::organization_id)
            .do_update()
            .set((
                organizations::display_name.eq(excluded(organizations::display_name)),
                organizations::apps.eq(excluded(organizations::apps)),
                organizations::version.eq(excluded(organizations::version)),
                organizations::update_time.eq(diesel::dsl::now),
            ))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn write_workspace(&mut self, workspace: &Workspace) -> Result<(), StorageError> {
        diesel::insert_into(workspaces::table)
            .values(WorkspaceRow::from(workspace))
            .on_conflict((workspaces::organization_id, workspaces::workspace_id))
            .do_update()
            .set((
                workspaces::display_name.eq(excluded(workspaces::display_name)),
                workspaces::state.eq(excluded(workspaces::state)),
                workspaces::version.eq(excluded(workspaces::version)),
                workspaces::update_time.eq(diesel::dsl::now),
            ))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn write_members(&mut self, members: &[&Member]) -> Result<(), StorageError> {
        let rows: Vec<MemberRow> = members.iter().map(|member| MemberRow::from(*member)).collect();
        diesel::insert_into(members::table)
            .values(rows)
            .on_conflict((members::organization_id, members::member_id))
            .do_update()
            .set((
                members::role.eq(excluded(members::role)),
                members::state.eq(excluded(members::state)),
                members::revoked_by.eq(excluded(members::revoked_by)),
                members::apps.eq(excluded(members::apps)),
                members::version.eq(excluded(members::version)),
                members::update_time.eq(diesel::dsl::now),
            ))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn write_memberships(&mut self, memberships: &[&WorkspaceMember]) -> Result<(), StorageError> {
        let rows: Vec<WorkspaceMemberRow> =
            memberships.iter().map(|membership| WorkspaceMemberRow::from(*membership)).collect();
        diesel::insert_into(workspace_members::table)
            .values(rows)
            .on_conflict((
                workspace_members::organization_id,
                workspace_members::workspace_id,
                workspace_members::member_id,
            ))
            .do_update()
            .set((
                workspace_members::role.eq(excluded(workspace_members::role)),
                workspace_members::state.eq(excluded(workspace_members::state)),
                workspace_members::revoked_by.eq(excluded(workspace_members::revoked_by)),
                workspace_members::version.eq(excluded(workspace_members::version)),
                workspace_members::update_time.eq(diesel::dsl::now),
            ))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Sets the shown name of a member.
    pub async fn write_profile(
        &mut self,
        organization: OrganizationId,
        member: MemberId,
        display_name: Option<&DisplayName>,
    ) -> Result<(), StorageError> {
        diesel::insert_into(profiles::table)
            .values((
                profiles::organization_id.eq(organization.0),
                profiles::member_id.eq(member.0),
                profiles::display_name.eq(display_name.map(DisplayName::as_str).unwrap_or_default()),
            ))
            .on_conflict((profiles::organization_id, profiles::member_id))
            .do_update()
            .set(profiles::display_name.eq(excluded(profiles::display_name)))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Hands the changes of a command to sequencing. Must be the last statement before the commit: the ids that it draws
    /// must come after every lock of the command, or a command that saw it could be placed before it.
    pub async fn append(&mut self, changes: &[Change], origin: &ChangeOrigin) -> Result<(), StorageError> {
        let query = "INSERT INTO pending_changes (command_id, caller, acting_member_id, change_id, organization_id, \
                         apps, subject, workspace_id, member_id, state, role, version, reason) \
                     SELECT $1, $2, acting_member_id, change_id, organization_id, string_to_array(apps, ','), subject, workspace_id, \
                         member_id, state, role, version, reason \
                     FROM unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) WITH ORDINALITY \
                         AS t (acting_member_id, change_id, organization_id, apps, subject, workspace_id, member_id, state, role, version, \
                               reason, n) \
                     ORDER BY n";
        let columns = Columns::of(changes, origin.acting);
        sql_query(query)
            .bind::<sql_types::Uuid, _>(origin.command_id.0)
            .bind::<sql_types::Text, _>(origin.caller.as_str())
            .bind::<sql_types::Array<sql_types::Nullable<sql_types::Uuid>>, _>(columns.acting_member_id)
            .bind::<sql_types::Array<sql_types::Uuid>, _>(columns.change_id)
            .bind::<sql_types::Array<sql_types::Uuid>, _>(columns.organization_id)
            .bind::<sql_types::Array<sql_types::Text>, _>(columns.apps)
            .bind::<sql_types::Array<sql_types::Text>, _>(columns.subject)
            .bind::<sql_types::Array<sql_types::Nullable<sql_types::Uuid>>, _>(columns.workspace_id)
            .bind::<sql_types::Array<sql_types::Nullable<sql_types::Uuid>>, _>(columns.member_id)
            .bind::<sql_types::Array<sql_types::Text>, _>(columns.state)
            .bind::<sql_types::Array<sql_types::Nullable<sql_types::Text>>, _>(columns.role)
            .bind::<sql_types::Array<sql_types::BigInt>, _>(columns.version)
            .bind::<sql_types::Array<sql_types::Text>, _>(columns.reason)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}

/// Of each subject the state after its last change, the subjects in the order of those.
fn last_states(changes: &[Change]) -> Vec<&Subject> {
    let mut seen = HashSet::new();
    let mut last: Vec<&Subject> = changes
        .iter()
        .rev()
        .map(|change| &change.subject)
        .filter(|subject| {
            seen.insert(match subject {
                Subject::Organization(organization) => (organization.id.0, None),
                Subject::Workspace(workspace) => (workspace.id.0, None),
                Subject::Member(member) => (member.id.0, None),
                Subject::WorkspaceMember(membership) => {
                    (membership.workspace_id.0, Some(membership.member_id.0))
                }
            })
        })
        .collect();
    last.reverse();
    last
}

/// Changes, turned from rows to columns for `unnest`.
#[derive(Default)]
struct Columns {
    acting_member_id: Vec<Option<Uuid>>,
    change_id: Vec<Uuid>,
    organization_id: Vec<Uuid>,
    apps: Vec<String>,
    subject: Vec<&'static str>,
    workspace_id: Vec<Option<Uuid>>,
    member_id: Vec<Option<Uuid>>,
    state: Vec<&'static str>,
    role: Vec<Option<&'static str>>,
    version: Vec<i64>,
    reason: Vec<&'static str>,
}

impl Columns {
    fn of(changes: &[Change], acting: Acting) -> Self {
        let mut columns = Self::default();
        for change in changes {
            columns.push(change, acting);
        }
        columns
    }

    fn push(&mut self, change: &Change, acting: Acting) {
        let (subject, workspace_id, member_id, state, role) = match &change.subject {
            Subject::Organization(_) => ("ORGANIZATION", None, None, "ACTIVE", None),
            Subject::Workspace(workspace) => {
                ("WORKSPACE", Some(workspace.id.0), None, workspace.state.as_str(), None)
            }
            Subject::Member(member) => {
                ("MEMBER", None, Some(member.id.0), member.state.as_str(), Some(member.role.as_str()))
            }
            Subject::WorkspaceMember(membership) => (
                "WORKSPACE_MEMBER",
                Some(membership.workspace_id.0),
                Some(membership.member_id.0),
                membership.state.as_str(),
                Some(membership.role.as_str()),
            ),
        };
        self.acting_member_id.push(match acting {
            Acting::Workload => None,
            Acting::Member(member) => Some(member.0),
            Acting::Themselves => member_id,
        });
        self.change_id.push(Uuid::now_v7());
        self.organization_id.push(change.subject.organization_id().0);
        // App names have no comma: they are DNS labels.
        self.apps.push(app_words(&change.apps).join(","));
        self.subject.push(subject);
        self.workspace_id.push(workspace_id);
        self.member_id.push(member_id);
        self.state.push(state);
        self.role.push(role);
        self.version.push(change.subject.version());
        self.reason.push(change.reason.as_str());
    }
}

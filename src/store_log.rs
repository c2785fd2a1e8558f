//! The log of a store as the feed reads it: storage rows become feed entries.

use uuid::Uuid;

use crate::{
    feed::{Entry, LogSource, Page, Point, Scope, Sequence, SourceError, Thing},
    rules::{
        Reason,
        ids::{AccountId, ChangeId, CommandId, MemberId, OrganizationId, WorkspaceId},
        roles::{MembershipState, OrganizationRole, WorkspaceRole, WorkspaceState},
    },
    storage::{Database, Head, LogRow, Sequencer, SnapshotCursor, SnapshotRow},
};

/// The log in the database.
pub struct StoreLog(pub Database);

/// Sequencing in the database.
pub struct StoreSequence(pub Sequencer);

impl Sequence for StoreSequence {
    async fn sequence(&mut self) -> Result<Point, SourceError> {
        let Head { position, change_id } = self.0.sequence().await.map_err(failed)?;
        Ok(Point { position, change_id: ChangeId(change_id) })
    }
}

impl LogSource for StoreLog {
    async fn changes(
        &self,
        scope: &Scope,
        profiles: bool,
        after: i64,
        until: i64,
        limit: usize,
    ) -> Result<Vec<Entry>, SourceError> {
        let organizations = organizations(scope);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.0.read_changes(scope.app(), &organizations, profiles, after, until, limit).await;
        rows.map_err(failed)?.into_iter().map(|row| entry(row, profiles)).collect()
    }

    type Cursor = SnapshotCursor;

    async fn snapshot(
        &self,
        scope: &Scope,
        profiles: bool,
        noted: Point,
        cursor: Option<SnapshotCursor>,
        limit: usize,
    ) -> Result<Page<SnapshotCursor>, SourceError> {
        let organizations = organizations(scope);
        let head = Head { position: noted.position, change_id: noted.change_id.0 };
        let cursor = cursor.unwrap_or(SnapshotCursor::START);
        let page = self.0.snapshot_page(scope.app(), &organizations, profiles, head, cursor, limit).await;
        let page = page.map_err(failed)?;
        let things =
            page.rows.into_iter().map(|row| thing_of_row(row, profiles)).collect::<Result<_, _>>()?;
        Ok(Page { things, next: page.next, same_history: page.same_history })
    }

    async fn change_at(&self, position: i64) -> Result<Option<ChangeId>, SourceError> {
        Ok(self.0.change_at(position).await.map_err(failed)?.map(ChangeId))
    }
}

fn organizations(scope: &Scope) -> Vec<Uuid> {
    scope.organizations().iter().map(|organization| organization.0).collect()
}

fn failed(error: crate::storage::StorageError) -> SourceError {
    SourceError(error.to_string())
}

fn corrupt(what: &str) -> SourceError {
    SourceError(format!("a stored {what} cannot be understood"))
}

fn entry(row: LogRow, profiles: bool) -> Result<Entry, SourceError> {
    let point = Point { position: row.position, change_id: ChangeId(row.change_id) };
    let reason = Reason::from_word(&row.reason).ok_or_else(|| corrupt("reason"))?;
    let thing = match row.subject.as_str() {
        "ORGANIZATION" => organization(row.organization_id, row.organization_name, row.version),
        "WORKSPACE" => workspace(
            row.organization_id,
            row.workspace_id,
            row.app,
            row.workspace_name,
            &row.state,
            row.version,
        )?,
        "MEMBER" => member(
            row.organization_id,
            row.member_id,
            row.account_id,
            (row.role.as_deref(), &row.state),
            row.version,
            profiles.then(|| (row.display_name.unwrap_or_default(), row.email.unwrap_or_default())),
        )?,
        "WORKSPACE_MEMBER" => workspace_member(
            row.organization_id,
            row.workspace_id,
            row.member_id,
            row.role.as_deref(),
            &row.state,
            row.version,
        )?,
        _ => return Err(corrupt("subject")),
    };
    Ok(Entry {
        point,
        command_id: CommandId(row.command_id),
        command_end: row.command_end,
        reason,
        thing,
        record_time: row.record_time.into(),
        caller: row.caller,
        acting_member_id: row.acting_member_id.map(MemberId),
    })
}

/// What a row is shows in the ids that it has.
fn thing_of_row(row: SnapshotRow, profiles: bool) -> Result<Thing, SourceError> {
    let SnapshotRow { workspace_id, member_id, role, app, name, account_id, email, .. } = row;
    let organization_id = row.organization_id.ok_or_else(|| corrupt("organization"))?;
    let (state, role) = (row.state.ok_or_else(|| corrupt("state"))?, role.as_deref());
    let version = row.version.ok_or_else(|| corrupt("version"))?;
    match (workspace_id, member_id) {
        (None, None) => Ok(organization(organization_id, name, version)),
        (Some(_), None) => workspace(organization_id, workspace_id, app, name, &state, version),
        (None, Some(_)) => {
            let profile = profiles.then(|| (name.unwrap_or_default(), email.unwrap_or_default()));
            member(organization_id, member_id, account_id, (role, &state), version, profile)
        }
        (Some(_), Some(_)) => {
            workspace_member(organization_id, workspace_id, member_id, role, &state, version)
        }
    }
}

fn organization(id: Uuid, display_name: Option<String>, version: i64) -> Thing {
    Thing::Organization { id: OrganizationId(id), display_name: display_name.unwrap_or_default(), version }
}

fn workspace(
    organization_id: Uuid,
    id: Option<Uuid>,
    app: Option<String>,
    display_name: Option<String>,
    state: &str,
    version: i64,
) -> Result<Thing, SourceError> {
    Ok(Thing::Workspace {
        organization_id: OrganizationId(organization_id),
        id: WorkspaceId(id.ok_or_else(|| corrupt("workspace"))?),
        app: app.and_then(|app| app.parse().ok()).ok_or_else(|| corrupt("app"))?,
        display_name: display_name.unwrap_or_default(),
        state: WorkspaceState::from_word(state).ok_or_else(|| corrupt("state"))?,
        version,
    })
}

fn member(
    organization_id: Uuid,
    id: Option<Uuid>,
    account_id: Option<Uuid>,
    (role, state): (Option<&str>, &str),
    version: i64,
    profile: Option<(String, String)>,
) -> Result<Thing, SourceError> {
    Ok(Thing::Member {
        organization_id: OrganizationId(organization_id),
        id: MemberId(id.ok_or_else(|| corrupt("member"))?),
        account_id: account_id.map(AccountId),
        role: role.and_then(OrganizationRole::from_word).ok_or_else(|| corrupt("role"))?,
        state: MembershipState::from_word(state).ok_or_else(|| corrupt("state"))?,
        version,
        profile,
    })
}

fn workspace_member(
    organization_id: Uuid,
    workspace_id: Option<Uuid>,
    member_id: Option<Uuid>,
    role: Option<&str>,
    state: &str,
    version: i64,
) -> Result<Thing, SourceError> {
    Ok(Thing::WorkspaceMember {
        organization_id: OrganizationId(organization_id),
        workspace_id: WorkspaceId(workspace_id.ok_or_else(|| corrupt("workspace"))?),
        member_id: MemberId(member_id.ok_or_else(|| corrupt("member"))?),
        role: role.and_then(WorkspaceRole::from_word).ok_or_else(|| corrupt("role"))?,
        state: MembershipState::from_word(state).ok_or_else(|| corrupt("state"))?,
        version,
    })
}

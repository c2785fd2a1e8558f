//! The log of a store as the feed reads it: storage rows become feed entries.

use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::{
    feed::{
        Changes, Counted, Entry, Inventory, LogSource, Page, Point, Range, Scope, Sequence, Sequenced,
        SourceError, Standing, Thing,
    },
    rules::{
        Reason,
        ids::{AccountId, AppName, ChangeId, CommandId, ExternalId, MemberId, OrganizationId, WorkspaceId},
        roles::{
            Assignments, MembershipState, OrganizationRole, OrganizationState, WorkspaceRole, WorkspaceState,
        },
    },
    storage::{
        Database, Head, InventoryCursor, LiveRow, LogRow, ReadChanges, Sequencer, SnapshotCursor, SnapshotRow,
    },
};

/// The log in the database.
pub struct StoreLog {
    database: Database,
    /// Half of the pool at most reads for streams: however many come back at once, calls find a connection.
    reads: Semaphore,
}

/// Sequencing in the database.
pub struct StoreSequence(pub Sequencer);

impl StoreLog {
    /// The log in a database with a pool of this size.
    pub fn new(database: Database, pool_size: usize) -> Self {
        Self { database, reads: Semaphore::new((pool_size / 2).max(1)) }
    }

    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.reads.acquire().await.ok()
    }
}

fn point(head: Head) -> Point {
    let Head { position, change_id } = head;
    Point { position, change_id: ChangeId(change_id) }
}

fn head(point: Point) -> Head {
    let Point { position, change_id } = point;
    Head { position, change_id: change_id.0 }
}

/// A limit as the database takes it; none is so large that it does not fit.
fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Sequence for StoreSequence {
    async fn sequence(&mut self, after: Option<Point>, limit: usize) -> Result<Sequenced, SourceError> {
        let tail = self.0.sequence(after.map(head), bound(limit)).await.map_err(failed)?;
        let entries = tail.rows.into_iter().map(|row| entry(row, true)).collect::<Result<_, _>>()?;
        Ok(Sequenced { head: point(tail.head), same_history: tail.same_history, floor: tail.floor, entries })
    }
}

impl LogSource for StoreLog {
    async fn changes(
        &self,
        scope: &Scope,
        profiles: bool,
        known: Point,
        Range { after, until }: Range,
        limit: usize,
    ) -> Result<Changes, SourceError> {
        let organizations = organizations(scope);
        let _permit = self.permit().await;
        let read = self.database.read_changes(
            scope.app(),
            &organizations,
            profiles,
            head(known),
            (after, until),
            bound(limit),
        );
        let ReadChanges { rows, floor, same_history } = read.await.map_err(failed)?;
        let entries = rows.into_iter().map(|row| entry(row, profiles)).collect::<Result<_, _>>()?;
        Ok(Changes { entries, floor, same_history })
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
        let cursor = cursor.unwrap_or(SnapshotCursor::START);
        let _permit = self.permit().await;
        let (database, app) = (&self.database, scope.app());
        let page = database.snapshot_page(app, &organizations, profiles, head(noted), cursor, limit).await;
        let page = page.map_err(failed)?;
        let things =
            page.rows.into_iter().map(|row| thing_of_row(row, profiles)).collect::<Result<_, _>>()?;
        Ok(Page { things, next: page.next, same_history: page.same_history })
    }

    async fn standing(&self, point: Point) -> Result<Standing, SourceError> {
        let _permit = self.permit().await;
        let found = self.database.point_and_floor(point.position).await.map_err(failed)?;
        Ok(Standing::of(point, found.change_id.map(ChangeId), found.floor))
    }

    async fn change_at(&self, position: i64) -> Result<Option<ChangeId>, SourceError> {
        let _permit = self.permit().await;
        Ok(self.database.change_at(position).await.map_err(failed)?.map(ChangeId))
    }
}

impl Inventory for StoreLog {
    type Cursor = InventoryCursor;

    async fn live(
        &self,
        cursor: Option<InventoryCursor>,
        limit: usize,
    ) -> Result<(Vec<Counted>, Option<InventoryCursor>), SourceError> {
        let _permit = self.permit().await;
        let read = self.database.live(cursor.unwrap_or(InventoryCursor::START), limit).await;
        let (rows, next) = read.map_err(failed)?;
        Ok((rows.into_iter().map(counted).collect::<Result<_, _>>()?, next))
    }
}

/// What a row is shows in the ids that it has.
fn counted(row: LiveRow) -> Result<Counted, SourceError> {
    let LiveRow { organization_id, workspace_id, member_id, state, version, apps } = row;
    let organization = OrganizationId(organization_id);
    let apps = self::apps(&apps)?;
    let membership = || MembershipState::from_word(&state).ok_or_else(|| corrupt("state"));
    Ok(match (workspace_id, member_id) {
        (None, None) => {
            let state = OrganizationState::from_word(&state).ok_or_else(|| corrupt("state"))?;
            Counted::organization(organization, state, version, apps)
        }
        (Some(id), None) => {
            let state = WorkspaceState::from_word(&state).ok_or_else(|| corrupt("state"))?;
            Counted::workspace(organization, id, state, version, apps)
        }
        (None, Some(id)) => Counted::member(organization, id, membership()?, version, apps),
        (Some(workspace), Some(member)) => {
            Counted::workspace_member(organization, (workspace, member), membership()?, version, apps)
        }
    })
}

fn apps(names: &[String]) -> Result<Vec<AppName>, SourceError> {
    names.iter().map(|app| app.parse()).collect::<Result<_, _>>().map_err(|_| corrupt("app"))
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
    let LogRow {
        recorded: row,
        command_end,
        apps,
        traceparent,
        organization_name,
        app,
        workspace_name,
        account_id,
        external_ids,
        display_name,
        email,
    } = row;
    let point = Point { position: row.position, change_id: ChangeId(row.change_id) };
    let reason = Reason::from_word(&row.reason).ok_or_else(|| corrupt("reason"))?;
    let thing = match row.subject.as_str() {
        "ORGANIZATION" => organization(row.organization_id, organization_name, &row.state, row.version)?,
        "WORKSPACE" => {
            workspace(row.organization_id, row.workspace_id, app, workspace_name, &row.state, row.version)?
        }
        "MEMBER" => member(
            row.organization_id,
            row.member_id,
            (account_id, external_ids),
            (row.role.as_deref(), &row.state),
            (row.leaving, row.tombstone_id),
            row.version,
            profiles.then(|| (display_name.unwrap_or_default(), email.unwrap_or_default())),
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
        command_end,
        apps: self::apps(&apps)?,
        reason,
        thing,
        record_time: row.record_time.into(),
        caller: row.caller,
        acting_member_id: row.acting_member_id.map(MemberId),
        handover_to: row.handover_to_member_id.map(MemberId),
        assignments: row
            .assignments
            .map(|word| Assignments::from_word(&word).ok_or_else(|| corrupt("assignments policy")))
            .transpose()?,
        traceparent,
    })
}

/// What a row is shows in the ids that it has.
fn thing_of_row(row: SnapshotRow, profiles: bool) -> Result<Thing, SourceError> {
    let SnapshotRow {
        workspace_id,
        member_id,
        role,
        app,
        name,
        account_id,
        external_ids,
        email,
        leaving,
        tombstone_id,
        ..
    } = row;
    let organization_id = row.organization_id.ok_or_else(|| corrupt("organization"))?;
    let (state, role) = (row.state.ok_or_else(|| corrupt("state"))?, role.as_deref());
    let version = row.version.ok_or_else(|| corrupt("version"))?;
    match (workspace_id, member_id) {
        (None, None) => organization(organization_id, name, &state, version),
        (Some(_), None) => workspace(organization_id, workspace_id, app, name, &state, version),
        (None, Some(_)) => {
            let profile = profiles.then(|| (name.unwrap_or_default(), email.unwrap_or_default()));
            member(
                organization_id,
                member_id,
                (account_id, external_ids),
                (role, &state),
                (leaving, tombstone_id),
                version,
                profile,
            )
        }
        (Some(_), Some(_)) => {
            workspace_member(organization_id, workspace_id, member_id, role, &state, version)
        }
    }
}

fn organization(
    id: Uuid,
    display_name: Option<String>,
    state: &str,
    version: i64,
) -> Result<Thing, SourceError> {
    Ok(Thing::Organization {
        id: OrganizationId(id),
        display_name: display_name.unwrap_or_default(),
        state: OrganizationState::from_word(state).ok_or_else(|| corrupt("state"))?,
        version,
    })
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
    (account_id, external_ids): (Option<Uuid>, Option<Vec<String>>),
    (role, state): (Option<&str>, &str),
    (leaving, tombstone_id): (Option<bool>, Option<Uuid>),
    version: i64,
    profile: Option<(String, String)>,
) -> Result<Thing, SourceError> {
    Ok(Thing::Member {
        organization_id: OrganizationId(organization_id),
        id: MemberId(id.ok_or_else(|| corrupt("member"))?),
        account_id: account_id.map(AccountId),
        role: role.and_then(OrganizationRole::from_word).ok_or_else(|| corrupt("role"))?,
        state: MembershipState::from_word(state).ok_or_else(|| corrupt("state"))?,
        // Null where it was written before there was such a thing.
        leaving: leaving.unwrap_or(false),
        tombstone_id,
        version,
        profile,
        external_ids: external_ids.iter().flatten().map(|id| external_id(id)).collect::<Result<_, _>>()?,
    })
}

/// An external id as statements that join it write it: the issuer, a line feed, the subject. Neither has one.
fn external_id(joined: &str) -> Result<ExternalId, SourceError> {
    let parsed =
        joined.split_once('\n').and_then(|(issuer, subject)| ExternalId::parse(issuer, subject).ok());
    parsed.ok_or_else(|| corrupt("external id"))
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

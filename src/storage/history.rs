//! The history: what happened in an organization, and what a member was at an earlier time. Read from the log and from
//! what was trimmed from it as from one; a statement sees each change in exactly one of them.

use chrono::{DateTime, Utc};
use diesel::{QueryableByName, sql_query, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    log::{RecordedRow, recorded_columns},
    prepared::{Text, prepared},
};
use crate::rules::ids::{AppName, MemberId, OrganizationId, WorkspaceId};

/// Which changes of an organization are listed.
#[derive(Debug, Clone)]
pub struct HistoryFilter {
    /// The organization.
    pub organization: OrganizationId,
    /// Only of this member.
    pub member: Option<MemberId>,
    /// Only what was commanded for this member.
    pub acting_member: Option<MemberId>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only for these reasons. Empty: for all.
    pub reasons: Vec<&'static str>,
    /// Only what was recorded at this time or later.
    pub start: Option<DateTime<Utc>>,
    /// Only what was recorded before this time.
    pub end: Option<DateTime<Utc>>,
    /// Only what is in the scope of this app by now.
    pub app: Option<AppName>,
}

/// The positions between which a list goes on, both excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between {
    /// After this one.
    pub after: i64,
    /// Before this one.
    pub before: i64,
}

impl Between {
    /// All positions.
    pub const ALL: Self = Self { after: 0, before: i64::MAX };
}

/// A page of changes.
pub struct HistoryPage {
    /// The changes, in the order asked for.
    pub rows: Vec<RecordedRow>,
    /// Changes at or before this position may have been dropped.
    pub floor: i64,
    /// Where looking ended, where there may be more behind it. With a filter by reason that may be before a page is full.
    pub looked_until: Option<i64>,
}

#[derive(QueryableByName)]
struct FlooredRow {
    #[diesel(sql_type = sql_types::BigInt)]
    floor: i64,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    looked_until: Option<i64>,
    #[diesel(embed)]
    row: Option<RecordedRow>,
}

#[derive(QueryableByName)]
struct Bounds {
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    first: Option<i64>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    last: Option<i64>,
}

/// The first and the last position in a time range, by the indexes by time alone. OFFSET 0 keeps the planner from
/// walking along the positions until it meets the range: far from the end that is the whole organization.
const BOUNDS: &str = "
    SELECT min(r.position) AS first, max(r.position) AS last
    FROM (SELECT c.position FROM changes c
          WHERE c.organization_id = $1 AND c.record_time >= $2 AND c.record_time < $3
          UNION ALL
          SELECT h.position FROM history h
          WHERE h.organization_id = $1 AND h.record_time >= $2 AND h.record_time < $3
          OFFSET 0) r";

/// A page in one order. Planned anew each time, with its parameters: what is not asked for is then no condition, and
/// what is asked for chooses the index that gives the order. Reasons have no index, which would cost every write: they
/// are picked out of the next $11 changes.
macro_rules! page {
    ($order:literal, $last:literal) => {
        concat!(
            "WITH looked AS MATERIALIZED (
                 SELECT ",
            recorded_columns!(),
            "    FROM (SELECT ",
            recorded_columns!(),
            "          FROM changes UNION ALL SELECT ",
            recorded_columns!(),
            "          FROM history) r
                 WHERE r.organization_id = $1 AND r.position > $2 AND r.position < $3
                   AND ($4 IS NULL OR r.member_id = $4)
                   AND ($5 IS NULL OR r.acting_member_id = $5)
                   AND ($6 IS NULL OR r.workspace_id = $6)
                   AND ($8 IS NULL OR r.record_time >= $8)
                   AND ($9 IS NULL OR r.record_time < $9)
                   AND ($12 IS NULL OR CASE
                        WHEN r.workspace_id IS NOT NULL THEN EXISTS (
                            SELECT FROM workspaces w
                            WHERE w.organization_id = $1 AND w.workspace_id = r.workspace_id AND w.app = $12)
                        WHEN r.member_id IS NOT NULL THEN EXISTS (
                            SELECT FROM members m
                            WHERE m.organization_id = $1 AND m.member_id = r.member_id AND m.apps @> ARRAY[$12])
                        ELSE true END)
                 ORDER BY r.position ",
            $order,
            "    LIMIT $11
             ), summary AS (
                 SELECT count(*) = $11 AS more, ",
            $last,
            "(position) AS last FROM looked
             )
             SELECT f.position AS floor, CASE WHEN s.more THEN s.last END AS looked_until, page.*
             FROM history_floor f CROSS JOIN summary s LEFT JOIN LATERAL (
                 SELECT * FROM looked WHERE cardinality($7) = 0 OR reason = ANY ($7) ORDER BY position ",
            $order,
            "    LIMIT $10) AS page ON true
             ORDER BY page.position ",
            $order
        )
    };
}

/// How many changes a page with a filter by reason looks at: some tens of milliseconds.
const LOOK: i64 = 20_000;

/// When a member is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Right after the change at this position.
    Position(i64),
    /// After what was recorded at this time or before.
    Time(DateTime<Utc>),
}

/// A member or one of the memberships in workspaces, as it was.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[allow(missing_docs)]
pub struct StandingRow {
    /// The workspace. None: the member in the organization.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub workspace_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Text)]
    pub state: String,
    #[diesel(sql_type = sql_types::Text)]
    pub role: String,
    #[diesel(sql_type = sql_types::BigInt)]
    pub version: i64,
    #[diesel(sql_type = sql_types::Bool)]
    pub leaving: bool,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub tombstone_id: Option<Uuid>,
    /// Whether a change that is kept says so. Else it is what the thing is now.
    #[diesel(sql_type = sql_types::Bool)]
    told: bool,
    /// The version after the first change of it that is kept. None: none is.
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    first_version: Option<i64>,
}

#[derive(QueryableByName)]
struct PlacedRow {
    #[diesel(sql_type = sql_types::BigInt)]
    head: i64,
    #[diesel(sql_type = sql_types::Bool)]
    ahead: bool,
    #[diesel(sql_type = sql_types::BigInt)]
    floor: i64,
    #[diesel(sql_type = sql_types::Bool)]
    below_floor: bool,
    #[diesel(embed)]
    row: Option<StandingRow>,
}

/// What was found of a member at an earlier time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// What the member was. Empty: did not exist, or does not at all.
    Was(Vec<StandingRow>),
    /// Not here yet: the log ends at `head`.
    Ahead {
        /// The position of the newest change.
        head: i64,
    },
    /// What would tell it was dropped.
    Trimmed {
        /// Changes at or before this position may have been dropped.
        floor: i64,
    },
}

/// $1 organization, $2 member, $3 a position or null, $4 a time or null, $5 the app in whose scope it must be or null. For the
/// member and each of the memberships: what the last change by then made of it, or else what it is now, with what is needed
/// to know whether that was so then.
///
/// A change that has no position yet counts as kept, and is after everything. Needs the indexes by member.
struct MemberAt;

impl Text for MemberAt {
    const SQL: &'static str = "
        WITH facts AS (
            SELECT c.workspace_id, c.position, c.state, c.role, c.version, c.leaving, c.tombstone_id, c.record_time
            FROM changes c WHERE c.organization_id = $1 AND c.member_id = $2
            UNION ALL
            SELECT h.workspace_id, h.position, h.state, h.role, h.version, h.leaving, h.tombstone_id, h.record_time
            FROM history h WHERE h.organization_id = $1 AND h.member_id = $2
            UNION ALL
            SELECT p.workspace_id, NULL, p.state, p.role, p.version, p.leaving, p.tombstone_id, p.record_time
            FROM pending_changes p WHERE p.organization_id = $1 AND p.member_id = $2
        ), by_then AS (
            SELECT DISTINCT ON (workspace_id) * FROM facts
            WHERE position IS NOT NULL AND ($3 IS NULL OR position <= $3) AND ($4 IS NULL OR record_time <= $4)
            ORDER BY workspace_id, position DESC
        ), things AS (
            SELECT NULL::uuid AS workspace_id, m.state, m.role, m.version, m.leaving, m.tombstone_id
            FROM members m WHERE m.organization_id = $1 AND m.member_id = $2 AND ($5 IS NULL OR m.apps @> ARRAY[$5])
            UNION ALL
            SELECT w.workspace_id, w.state, w.role, w.version, false, NULL
            FROM workspace_members w WHERE w.organization_id = $1 AND w.member_id = $2
              AND ($5 IS NULL OR EXISTS (
                   SELECT FROM workspaces s
                   WHERE s.organization_id = $1 AND s.workspace_id = w.workspace_id AND s.app = $5))
        ), found AS (
            SELECT t.workspace_id, coalesce(b.state, t.state) AS state, coalesce(b.role, t.role) AS role,
                   coalesce(b.version, t.version) AS version,
                   CASE WHEN b.version IS NULL THEN t.leaving ELSE coalesce(b.leaving, false) END AS leaving,
                   CASE WHEN b.version IS NULL THEN t.tombstone_id ELSE b.tombstone_id END AS tombstone_id,
                   b.version IS NOT NULL AS told,
                   (SELECT min(f.version) FROM facts f WHERE f.workspace_id IS NOT DISTINCT FROM t.workspace_id)
                       AS first_version
            FROM things t LEFT JOIN by_then b ON b.workspace_id IS NOT DISTINCT FROM t.workspace_id
        )
        SELECT head.position AS head, coalesce($3 > head.position, $4 > clock_timestamp()) AS ahead,
               floor.position AS floor, coalesce($3 < floor.position, $4 < floor.record_time, false) AS below_floor,
               found.*
        FROM log_head head CROSS JOIN history_floor floor LEFT JOIN found ON true
        ORDER BY found.workspace_id NULLS FIRST";
}

impl Database {
    /// The positions in which a time range lies. None: nothing that is kept was recorded in it.
    pub async fn history_bounds(
        &self,
        organization: OrganizationId,
        start: Option<DateTime<Utc>>,
        end: Option<DateTime<Utc>>,
    ) -> Result<Option<Between>, StorageError> {
        let query = sql_query(BOUNDS)
            .bind::<sql_types::Uuid, _>(organization.0)
            .bind::<sql_types::Timestamptz, _>(start.unwrap_or(EARLIEST))
            .bind::<sql_types::Timestamptz, _>(end.unwrap_or(LATEST));
        let Bounds { first, last } = query.get_result(&mut self.read_in(organization).await?).await?;
        Ok(first.zip(last).map(|(first, last)| Between { after: first - 1, before: last + 1 }))
    }

    /// Lists changes between two positions, the newest or the oldest first.
    pub async fn history(
        &self,
        filter: &HistoryFilter,
        newest_first: bool,
        Between { after, before }: Between,
        limit: i64,
    ) -> Result<HistoryPage, StorageError> {
        let HistoryFilter { organization, member, acting_member, workspace, reasons, start, end, app } =
            filter;
        let query = sql_query(if newest_first { page!("DESC", "min") } else { page!("ASC", "max") })
            .bind::<sql_types::Uuid, _>(organization.0)
            .bind::<sql_types::BigInt, _>(after)
            .bind::<sql_types::BigInt, _>(before)
            .bind::<sql_types::Nullable<sql_types::Uuid>, _>(member.map(|member| member.0))
            .bind::<sql_types::Nullable<sql_types::Uuid>, _>(acting_member.map(|member| member.0))
            .bind::<sql_types::Nullable<sql_types::Uuid>, _>(workspace.map(|workspace| workspace.0))
            .bind::<sql_types::Array<sql_types::Text>, _>(reasons)
            .bind::<sql_types::Nullable<sql_types::Timestamptz>, _>(*start)
            .bind::<sql_types::Nullable<sql_types::Timestamptz>, _>(*end)
            .bind::<sql_types::BigInt, _>(limit)
            .bind::<sql_types::BigInt, _>(if reasons.is_empty() { limit } else { LOOK })
            .bind::<sql_types::Nullable<sql_types::Text>, _>(app.as_ref().map(AppName::as_str));
        let read: Vec<FlooredRow> = query.load(&mut self.read_in(*organization).await?).await?;
        let floor = read.iter().map(|row| row.floor).max().unwrap_or_default();
        let looked_until = read.as_slice().first().and_then(|row| row.looked_until);
        Ok(HistoryPage { rows: read.into_iter().filter_map(|row| row.row).collect(), floor, looked_until })
    }

    /// What a member was at an earlier time: the member first, then the memberships by workspace.
    pub async fn member_at(
        &self,
        organization: OrganizationId,
        member: MemberId,
        when: When,
        app: Option<&AppName>,
    ) -> Result<Past, StorageError> {
        let (position, time) = match when {
            When::Position(position) => (Some(position), None),
            When::Time(time) => (None, Some(time)),
        };
        let query = prepared::<MemberAt, _>(|query| {
            query
                .bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(member.0)
                .bind::<sql_types::Nullable<sql_types::BigInt>, _>(position)
                .bind::<sql_types::Nullable<sql_types::Timestamptz>, _>(time)
                .bind::<sql_types::Nullable<sql_types::Text>, _>(app.map(AppName::as_str))
        });
        Ok(past(query.load(&mut self.read_in(organization).await?).await?))
    }
}

/// Before anything, and after everything, that can be recorded.
const EARLIEST: DateTime<Utc> = DateTime::UNIX_EPOCH;
const LATEST: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};

fn past(rows: Vec<PlacedRow>) -> Past {
    let mut was = Vec::new();
    for PlacedRow { head, ahead, floor, below_floor, row } in rows {
        if ahead {
            return Past::Ahead { head };
        }
        let Some(row) = row else { continue };
        match (row.told, row.first_version) {
            (true, _) => was.push(row),
            // It came into being later.
            (false, Some(1)) => {}
            // Its last change was dropped, and was before then: it is now as it was.
            (false, None) if !below_floor => was.push(row),
            (false, _) => return Past::Trimmed { floor },
        }
    }
    Past::Was(was)
}

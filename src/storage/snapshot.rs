//! Snapshots: a scope read in pages by key, in short statements of their own (C5).
//!
//! Pages are of different times. That does no harm: every row carries its version, and whatever changed after the noted
//! head comes again as a change.

use diesel::{QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    log::Head,
    prepared::{Text, prepared},
};
use crate::rules::ids::AppName;

/// A row of a page: a thing of a scope as it is. The one row of an empty page is null but for the check.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct SnapshotRow {
    #[diesel(sql_type = sql_types::Bool)]
    same_history: bool,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub organization_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub workspace_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub state: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub role: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    pub version: Option<i64>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub app: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub name: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub account_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Array<sql_types::Text>>)]
    pub external_ids: Option<Vec<String>>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub email: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Bool>)]
    pub leaving: Option<bool>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub tombstone_id: Option<Uuid>,
}

/// Where a snapshot stands: which kind of thing, and after which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotCursor {
    kind: usize,
    after: (Uuid, Uuid, Uuid),
}

impl SnapshotCursor {
    /// The beginning.
    pub const START: Self = Self { kind: 0, after: (Uuid::nil(), Uuid::nil(), Uuid::nil()) };
}

/// A page.
#[derive(Debug, Clone)]
pub struct SnapshotPage {
    /// The things.
    pub rows: Vec<SnapshotRow>,
    /// Where the next page begins. None: this was the last.
    pub next: Option<SnapshotCursor>,
    /// Whether the history that the snapshot began on is still this database's: false after a failover in between.
    pub same_history: bool,
}

/// A page begins at its key in every table that it reads, and looks profiles up: a join that begins anew at the first key
/// takes longer with each page, and tens of seconds in a store of ten thousand organizations.
///
/// A page of one kind of thing with the check of its history, of an app and of all. $1 app, $2 organizations, $3 to $5 the key, $6 limit,
/// $7 profiles, $8 and $9 the noted head. The external ids of a member cost one look at an index, some 5 µs.
macro_rules! page_of {
    ($of_app:ident where $in_scope:literal, $of_all:ident, $things:literal, $rest:literal) => {
        page_of!($of_app, $things, $in_scope, $rest);
        // $1 is bound there too.
        page_of!($of_all, $things, "$1::text IS NOT NULL", $rest);
    };
    ($kind:ident, $things:literal, $in_scope:literal, $rest:literal) => {
        struct $kind;

        impl Text for $kind {
            const SQL: &'static str = concat!(
                "SELECT ($8 = 0 OR EXISTS (SELECT FROM changes WHERE position = $8 AND change_id = $9)
                         OR EXISTS (SELECT FROM log_floor WHERE position > $8 OR (position = $8 AND change_id = $9)))
                            AS same_history,
                        page.*
                 FROM (SELECT) AS check_only LEFT JOIN (",
                $things,
                " WHERE ",
                $in_scope,
                $rest,
                ") AS page ON true"
            );
        }
    };
}

page_of!(
    Organizations where "o.apps @> ARRAY[$1]",
    AllOrganizations,
    "SELECT o.organization_id, NULL::uuid AS workspace_id, NULL::uuid AS member_id, o.state, NULL::text AS role,
            o.version, NULL::text AS app, o.display_name AS name, NULL::uuid AS account_id, NULL::text[] AS external_ids, NULL::text AS email,
            NULL::boolean AS leaving, NULL::uuid AS tombstone_id
     FROM organizations o",
    " AND (cardinality($2) = 0 OR o.organization_id = ANY ($2)) AND o.organization_id > $3
     ORDER BY o.organization_id LIMIT $6"
);
page_of!(
    Workspaces where "w.app = $1",
    AllWorkspaces,
    "SELECT w.organization_id, w.workspace_id, NULL::uuid AS member_id, w.state, NULL::text AS role, w.version, w.app,
            w.display_name AS name, NULL::uuid AS account_id, NULL::text[] AS external_ids, NULL::text AS email,
            NULL::boolean AS leaving, NULL::uuid AS tombstone_id
     FROM workspaces w",
    " AND (cardinality($2) = 0 OR w.organization_id = ANY ($2))
       AND (w.organization_id, w.workspace_id) > ($3, $4)
     ORDER BY w.organization_id, w.workspace_id LIMIT $6"
);
page_of!(
    Members where "m.apps @> ARRAY[$1]",
    AllMembers,
    "SELECT m.organization_id, NULL::uuid AS workspace_id, m.member_id, m.state, m.role, m.version, NULL::text AS app,
            CASE WHEN $7 THEN (SELECT p.display_name FROM profiles p WHERE p.organization_id = m.organization_id
                AND p.member_id = m.member_id) END AS name,
            m.account_id,
            ARRAY(SELECT i.issuer || E'\n' || i.subject FROM account_external_ids i WHERE i.account_id = m.account_id
                ORDER BY i.issuer, i.subject) AS external_ids,
            CASE WHEN $7 THEN (SELECT a.email FROM accounts a WHERE a.account_id = m.account_id) END AS email,
            m.leaving, m.tombstone_id
     FROM members m",
    " AND (cardinality($2) = 0 OR m.organization_id = ANY ($2))
       AND (m.organization_id, m.member_id) > ($3, $5)
     ORDER BY m.organization_id, m.member_id LIMIT $6"
);
page_of!(
    WorkspaceMembers where "w.app = $1",
    AllWorkspaceMembers,
    "SELECT x.organization_id, x.workspace_id, x.member_id, x.state, x.role, x.version, NULL::text AS app,
            NULL::text AS name, NULL::uuid AS account_id, NULL::text[] AS external_ids, NULL::text AS email,
            NULL::boolean AS leaving, NULL::uuid AS tombstone_id
     FROM workspace_members x JOIN workspaces w USING (organization_id, workspace_id)",
    " AND (cardinality($2) = 0 OR x.organization_id = ANY ($2))
       AND (w.organization_id, w.workspace_id) >= ($3, $4) AND (x.organization_id, x.workspace_id, x.member_id) > ($3, $4, $5)
     ORDER BY x.organization_id, x.workspace_id, x.member_id LIMIT $6"
);

/// How many kinds of things there are: organizations before workspaces before members before memberships, so that what
/// a row refers to came before it.
const KINDS: usize = 4;
impl Database {
    /// Reads a page of an app's scope; of the service's own app, of everything. The statement checks, on the server that
    /// answers it, that its log still has `noted`, the head that the snapshot began on. Where that was trimmed meanwhile
    /// it cannot be told: then the first read of the log after the snapshot finds the floor above it.
    pub async fn snapshot_page(
        &self,
        app: &AppName,
        organizations: &[Uuid],
        profiles: bool,
        noted: Head,
        cursor: SnapshotCursor,
        limit: usize,
    ) -> Result<SnapshotPage, StorageError> {
        let SnapshotCursor { kind, after } = cursor;
        // A scope holds at most what fits in memory many times over; the conversion cannot fail.
        let asked = i64::try_from(limit).unwrap_or(i64::MAX);
        // Across: a scope has many organizations, and the noted head may be of any.
        let mut connection = self.read_across().await?;
        macro_rules! load {
            ($kind:ident) => {
                prepared::<$kind, _>(|query| {
                    query
                        .bind::<sql_types::Text, _>(app.as_str())
                        .bind::<sql_types::Array<sql_types::Uuid>, _>(organizations)
                        .bind::<sql_types::Uuid, _>(after.0)
                        .bind::<sql_types::Uuid, _>(after.1)
                        .bind::<sql_types::Uuid, _>(after.2)
                        .bind::<sql_types::BigInt, _>(asked)
                        .bind::<sql_types::Bool, _>(profiles)
                        .bind::<sql_types::BigInt, _>(noted.position)
                        .bind::<sql_types::Uuid, _>(noted.change_id)
                })
                .load(&mut connection)
                .await?
            };
        }
        let mut rows: Vec<SnapshotRow> = match (kind, app.is_of_the_service()) {
            (0, false) => load!(Organizations),
            (1, false) => load!(Workspaces),
            (2, false) => load!(Members),
            (_, false) => load!(WorkspaceMembers),
            (0, true) => load!(AllOrganizations),
            (1, true) => load!(AllWorkspaces),
            (2, true) => load!(AllMembers),
            (_, true) => load!(AllWorkspaceMembers),
        };
        let same_history = rows.iter().all(|row| row.same_history);
        rows.retain(|row| row.organization_id.is_some());
        let next = match rows.last() {
            Some(last) if rows.len() == limit => Some(SnapshotCursor {
                kind,
                after: (
                    last.organization_id.unwrap_or_default(),
                    last.workspace_id.unwrap_or_default(),
                    last.member_id.unwrap_or_default(),
                ),
            }),
            _ if kind + 1 < KINDS => Some(SnapshotCursor { kind: kind + 1, ..SnapshotCursor::START }),
            _ => None,
        };
        Ok(SnapshotPage { rows, next, same_history })
    }
}

//! What there is, of all apps and of none, as it counts in digests: read in pages by key, in short statements.

use diesel::{QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    prepared::{Text, prepared},
};

/// A live thing.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct LiveRow {
    #[diesel(sql_type = sql_types::Uuid)]
    pub organization_id: Uuid,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub workspace_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Text)]
    pub state: String,
    #[diesel(sql_type = sql_types::BigInt)]
    pub version: i64,
    #[diesel(sql_type = sql_types::Array<sql_types::Text>)]
    pub apps: Vec<String>,
}

/// Where the reading stands: which kind of thing, and after which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InventoryCursor {
    kind: usize,
    after: (Uuid, Uuid, Uuid),
}

impl InventoryCursor {
    /// The beginning.
    pub const START: Self = Self { kind: 0, after: (Uuid::nil(), Uuid::nil(), Uuid::nil()) };
}

/// A page of one kind of thing. $1 to $3 the key after which it begins, $4 limit. Each needs the primary key of its table.
macro_rules! live {
    ($kind:ident, $page:literal) => {
        struct $kind;

        impl Text for $kind {
            const SQL: &'static str = $page;
        }
    };
}

live!(
    Organizations,
    "SELECT organization_id, NULL::uuid AS workspace_id, NULL::uuid AS member_id, state, version, apps
     FROM organizations
     WHERE state <> 'DELETED' AND organization_id > $1 AND $2::uuid IS NOT NULL AND $3::uuid IS NOT NULL
     ORDER BY organization_id LIMIT $4"
);
live!(
    Workspaces,
    "SELECT organization_id, workspace_id, NULL::uuid AS member_id, state, version, ARRAY[app] AS apps
     FROM workspaces
     WHERE state <> 'DELETED' AND (organization_id, workspace_id) > ($1, $2) AND $3::uuid IS NOT NULL
     ORDER BY organization_id, workspace_id LIMIT $4"
);
live!(
    Members,
    "SELECT organization_id, NULL::uuid AS workspace_id, member_id, state, version, apps
     FROM members
     WHERE state NOT IN ('REMOVED', 'ERASED') AND (organization_id, member_id) > ($1, $3) AND $2::uuid IS NOT NULL
     ORDER BY organization_id, member_id LIMIT $4"
);
live!(
    WorkspaceMembers,
    "SELECT x.organization_id, x.workspace_id, x.member_id, x.state, x.version,
            ARRAY(SELECT w.app FROM workspaces w WHERE w.organization_id = x.organization_id
                AND w.workspace_id = x.workspace_id) AS apps
     FROM workspace_members x
     WHERE x.state <> 'REMOVED' AND (x.organization_id, x.workspace_id, x.member_id) > ($1, $2, $3)
     ORDER BY x.organization_id, x.workspace_id, x.member_id LIMIT $4"
);

/// How many kinds of things there are.
const KINDS: usize = 4;

impl Database {
    /// Reads so many live things at most. With where the next page begins; None: this was the last.
    pub async fn live(
        &self,
        cursor: InventoryCursor,
        limit: usize,
    ) -> Result<(Vec<LiveRow>, Option<InventoryCursor>), StorageError> {
        let InventoryCursor { kind, after } = cursor;
        // A limit of a page is small.
        let asked = i64::try_from(limit).unwrap_or(i64::MAX);
        // Across: digests are sums over all there is.
        let mut connection = self.read_across().await?;
        macro_rules! load {
            ($kind:ident) => {
                prepared::<$kind, _>(|query| {
                    query
                        .bind::<sql_types::Uuid, _>(after.0)
                        .bind::<sql_types::Uuid, _>(after.1)
                        .bind::<sql_types::Uuid, _>(after.2)
                        .bind::<sql_types::BigInt, _>(asked)
                })
                .load(&mut connection)
                .await?
            };
        }
        let rows: Vec<LiveRow> = match kind {
            0 => load!(Organizations),
            1 => load!(Workspaces),
            2 => load!(Members),
            _ => load!(WorkspaceMembers),
        };
        let next = match rows.last() {
            Some(last) if rows.len() == limit => Some(InventoryCursor {
                kind,
                after: (
                    last.organization_id,
                    last.workspace_id.unwrap_or_default(),
                    last.member_id.unwrap_or_default(),
                ),
            }),
            _ if kind + 1 < KINDS => Some(InventoryCursor { kind: kind + 1, ..InventoryCursor::START }),
            _ => None,
        };
        Ok((rows, next))
    }
}

//! The log: giving changes their positions, and reading them in order.

use chrono::{DateTime, Utc};
use diesel::{QueryableByName, sql_types};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use uuid::Uuid;

use super::{
    Database,
    connect::Target,
    error::StorageError,
    prepared::{Text, prepared},
    tenant::SESSION_ACROSS,
};
use crate::rules::{
    Subject,
    ids::{AppName, CallerName, MemberId, OrganizationId},
};

/// Where changes come from.
#[derive(Debug, Clone)]
pub struct ChangeOrigin {
    /// The workload that commanded it.
    pub caller: CallerName,
    /// For whom it acted.
    pub acting: Acting,
    /// The trace that it is a part of, as W3C Trace Context writes it. None: none that is recorded.
    pub traceparent: Option<String>,
}

/// For whom a workload acted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Acting {
    /// As itself.
    #[default]
    Workload,
    /// For a member of an organization. What the command does in others is done by the workload.
    Member(OrganizationId, MemberId),
    /// For a person who changed what they are everywhere: in each organization, for the member that the change is about.
    Themselves,
}

impl Acting {
    /// The acting member, as what happened to a thing tells of it.
    pub(super) fn within(self, subject: &Subject) -> Option<MemberId> {
        match (self, subject) {
            (Self::Workload, _) => None,
            (Self::Member(organization, member), _) => {
                (subject.organization_id() == organization).then_some(member)
            }
            (Self::Themselves, Subject::Member(member)) => Some(member.id),
            (Self::Themselves, Subject::WorkspaceMember(membership)) => Some(membership.member_id),
            (Self::Themselves, Subject::Organization(_) | Subject::Workspace(_)) => None,
        }
    }
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Head {
    /// The position of the newest change; 0: none yet.
    #[diesel(sql_type = sql_types::BigInt, column_name = head_position)]
    pub position: i64,
    /// The newest change; nil: none yet.
    #[diesel(sql_type = sql_types::Uuid, column_name = head_change_id)]
    pub change_id: Uuid,
}

/// The connection over which a replica sequences: its own, so that a busy pool never delays it.
pub struct Sequencer {
    target: Target,
    connection: Option<AsyncPgConnection>,
}

impl Database {
    /// A sequencer for this replica. One is enough.
    pub fn sequencer(&self) -> Sequencer {
        Sequencer { target: self.target.clone(), connection: None }
    }
}

/// What a call of the sequencer found.
pub struct Tail {
    /// The head of the log.
    pub head: Head,
    /// Whether the log has the change after which was read, or has trimmed it.
    pub same_history: bool,
    /// Changes at or before this position may have been trimmed.
    pub floor: i64,
    /// The changes after it.
    pub rows: Vec<LogRow>,
}

impl Sequencer {
    /// Moves every committed change into the log, then reads at most `limit` changes of all apps after one, with profiles.
    /// Whatever was committed before this call stands at or before the head that it returns. After a failure the next
    /// call connects anew.
    pub async fn sequence(&mut self, after: Option<Head>, limit: i64) -> Result<Tail, StorageError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connected = self.target.connect().await;
                let mut connection =
                    connected.map_err(|error| StorageError::Unavailable(error.to_string()))?;
                // All that is pending moves in one statement, whatever piled up: cut off, it would never get done.
                // For the same reason it goes on when a call is given up for one that hangs.
                let settings = "SET statement_timeout = '5min'; SET client_connection_check_interval = 0";
                connection.batch_execute(&format!("{settings}; {SESSION_ACROSS}")).await?;
                connection
            }
        };
        let mut pipeline = &connection;
        // One autocommitted statement: nothing of it outlives a client that is paused or killed.
        let sequenced = prepared::<SequenceChanges, _>(|query| query).get_result(&mut pipeline);
        let Some(after) = after else {
            let head = sequenced.await?;
            self.connection = Some(connection);
            return Ok(Tail { head, same_history: true, floor: 0, rows: Vec::new() });
        };
        // Sent together: the second reads what the first has committed.
        let read = prepared::<ReadTail, _>(|query| {
            query
                .bind::<sql_types::BigInt, _>(after.position)
                .bind::<sql_types::Uuid, _>(after.change_id)
                .bind::<sql_types::BigInt, _>(limit)
        });
        let read = read.load(&mut pipeline);
        let (head, read) = futures_util::join!(sequenced, read);
        let (head, read): (_, Vec<CheckedRow>) = (head?, read?);
        self.connection = Some(connection);
        let same_history = read.iter().all(|row| row.same_history);
        let floor = read.iter().map(|row| row.floor).max().unwrap_or_default();
        Ok(Tail { head, same_history, floor, rows: read.into_iter().filter_map(|row| row.row).collect() })
    }
}

/// A change as it was recorded. Without personal data: none is joined.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct RecordedRow {
    #[diesel(sql_type = sql_types::BigInt)]
    pub position: i64,
    #[diesel(sql_type = sql_types::Uuid)]
    pub change_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    pub command_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    pub organization_id: Uuid,
    #[diesel(sql_type = sql_types::Text)]
    pub subject: String,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub workspace_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Text)]
    pub state: String,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub role: Option<String>,
    #[diesel(sql_type = sql_types::BigInt)]
    pub version: i64,
    #[diesel(sql_type = sql_types::Text)]
    pub reason: String,
    #[diesel(sql_type = sql_types::Text)]
    pub caller: String,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub acting_member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Timestamptz)]
    pub record_time: DateTime<Utc>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Bool>)]
    pub leaving: Option<bool>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub tombstone_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub handover_to_member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub assignments: Option<String>,
}

/// The columns of a [`RecordedRow`], which the log and the history both have.
macro_rules! recorded_columns {
    () => {
        "position, change_id, command_id, organization_id, subject, workspace_id, member_id, state, role, version,
         reason, caller, acting_member_id, record_time, leaving, tombstone_id, handover_to_member_id, assignments"
    };
}
pub(super) use recorded_columns;

/// A change as an app is sent it: the log's row, with ids and names joined as they are now.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct LogRow {
    #[diesel(embed)]
    pub recorded: RecordedRow,
    #[diesel(sql_type = sql_types::BigInt)]
    pub command_end: i64,
    #[diesel(sql_type = sql_types::Array<sql_types::Text>)]
    pub apps: Vec<String>,
    /// Gone after about an hour.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub traceparent: Option<String>,
    /// Of an organization: its name.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub organization_name: Option<String>,
    /// Of a workspace: its app.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub app: Option<String>,
    /// Of a workspace: its name.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub workspace_name: Option<String>,
    /// Of a member: the account.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub account_id: Option<Uuid>,
    /// Of a member: the external ids of the account, each as issuer, line feed and subject; neither has one.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Array<sql_types::Text>>)]
    pub external_ids: Option<Vec<String>>,
    /// Personal data, of a member, where profiles were asked for.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub display_name: Option<String>,
    /// Personal data, of a member, where profiles were asked for.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub email: Option<String>,
}

/// A row with what the statement that read it found of the log. Where nothing is read there is one without a change.
#[derive(QueryableByName)]
struct CheckedRow {
    #[diesel(sql_type = sql_types::BigInt)]
    floor: i64,
    #[diesel(sql_type = sql_types::Bool)]
    same_history: bool,
    #[diesel(embed)]
    row: Option<LogRow>,
}

/// Changes that were read, with what the same statement found of the log.
pub struct ReadChanges {
    /// The changes.
    pub rows: Vec<LogRow>,
    /// Changes at or before this position may have been trimmed.
    pub floor: i64,
    /// Whether the log has the known change, or has trimmed it.
    pub same_history: bool,
}

/// What is read of a change: its row, and what else is told of it, each looked up by key. Not joined: six tables are
/// planned for longer than they are read. Profiles where `$profiles`.
macro_rules! change_columns {
    ($profiles:literal) => {
        concat!(
            "SELECT ",
            recorded_columns!(),
            ", command_end, apps, traceparent,
                    CASE WHEN c.subject = 'ORGANIZATION' THEN (SELECT o.display_name FROM organizations o
                        WHERE o.organization_id = c.organization_id) END AS organization_name,
                    CASE WHEN c.subject = 'WORKSPACE' THEN (SELECT w.app FROM workspaces w
                        WHERE w.organization_id = c.organization_id AND w.workspace_id = c.workspace_id) END AS app,
                    CASE WHEN c.subject = 'WORKSPACE' THEN (SELECT w.display_name FROM workspaces w
                        WHERE w.organization_id = c.organization_id AND w.workspace_id = c.workspace_id)
                        END AS workspace_name,
                    CASE WHEN c.subject = 'MEMBER' THEN (SELECT m.account_id FROM members m
                        WHERE m.organization_id = c.organization_id AND m.member_id = c.member_id) END AS account_id,
                    CASE WHEN c.subject = 'MEMBER' THEN ARRAY(SELECT x.issuer || E'\n' || x.subject
                        FROM members m JOIN account_external_ids x ON x.account_id = m.account_id
                        WHERE m.organization_id = c.organization_id AND m.member_id = c.member_id
                        ORDER BY x.issuer, x.subject) END AS external_ids,
                    CASE WHEN c.subject = 'MEMBER' AND ",
            $profiles,
            " THEN (SELECT p.display_name FROM profiles p
                        WHERE p.organization_id = c.organization_id AND p.member_id = c.member_id) END AS display_name,
                    CASE WHEN c.subject = 'MEMBER' AND ",
            $profiles,
            " THEN (SELECT a.email FROM members m JOIN accounts a ON a.account_id = m.account_id
                        WHERE m.organization_id = c.organization_id AND m.member_id = c.member_id) END AS email
             FROM changes c "
        )
    };
}

/// Reads changes in a range of positions, and whether the log has the change $7 at $8. Needs the primary key of `changes`:
/// the scope is filtered on the way, so callers bound the range.
macro_rules! read_scope {
    ($(#[$doc:meta])* $kind:ident, $of_scope:literal) => {
        $(#[$doc])*
        struct $kind;

        impl Text for $kind {
            const SQL: &'static str = concat!(
                "SELECT f.position AS floor, ($8 <= f.position OR EXISTS (
                    SELECT FROM changes k WHERE k.position = $8 AND k.change_id = $7)) AS same_history, page.*
                 FROM log_floor f LEFT JOIN LATERAL (",
                change_columns!("$6"),
                "WHERE c.position > $1 AND c.position <= $2 AND ",
                $of_scope,
                " AND (cardinality($4) = 0 OR c.organization_id = ANY ($4))
                 ORDER BY c.position
                 LIMIT $5) AS page ON true"
            );
        }
    };
}

read_scope!(
    /// Of an app.
    ReadScope,
    "c.apps @> ARRAY[$3]"
);
read_scope!(
    /// Of all, for the service's own replica. $3 is its app.
    ReadEverything,
    "$3::text IS NOT NULL"
);

/// Reads all changes after $1, and whether the log has $2 there.
struct ReadTail;

impl Text for ReadTail {
    const SQL: &'static str = concat!(
        "SELECT f.position AS floor, ($1 = 0 OR $1 < f.position OR ($1 = f.position AND f.change_id = $2) OR EXISTS (
            SELECT FROM changes k WHERE k.position = $1 AND k.change_id = $2)) AS same_history, page.*
     FROM log_floor f LEFT JOIN LATERAL (",
        change_columns!("true"),
        "WHERE c.position > $1 ORDER BY c.position LIMIT $3) AS page ON true"
    );
}

/// Gives every committed change its position.
struct SequenceChanges;

impl Text for SequenceChanges {
    const SQL: &'static str = "SELECT * FROM sequence_changes()";
}

impl Database {
    /// Reads at most `limit` changes of an app's scope, of the service's own of all, at positions after `after` and up to `until`.
    pub async fn read_changes(
        &self,
        app: &AppName,
        organizations: &[Uuid],
        profiles: bool,
        known: Head,
        (after, until): (i64, i64),
        limit: i64,
    ) -> Result<ReadChanges, StorageError> {
        // Across: a scope has many organizations, and the known change may be of any.
        let mut connection = self.read_across().await?;
        macro_rules! load {
            ($kind:ident) => {
                prepared::<$kind, _>(|query| {
                    query
                        .bind::<sql_types::BigInt, _>(after)
                        .bind::<sql_types::BigInt, _>(until)
                        .bind::<sql_types::Text, _>(app.as_str())
                        .bind::<sql_types::Array<sql_types::Uuid>, _>(organizations)
                        .bind::<sql_types::BigInt, _>(limit)
                        .bind::<sql_types::Bool, _>(profiles)
                        .bind::<sql_types::Uuid, _>(known.change_id)
                        .bind::<sql_types::BigInt, _>(known.position)
                })
                .load(&mut connection)
                .await?
            };
        }
        let read: Vec<CheckedRow> =
            if app.is_of_the_service() { load!(ReadEverything) } else { load!(ReadScope) };
        let floor = read.iter().map(|row| row.floor).max().unwrap_or_default();
        let same_history = read.iter().all(|row| row.same_history);
        Ok(ReadChanges { rows: read.into_iter().filter_map(|row| row.row).collect(), floor, same_history })
    }

    /// The change at a position, also at the floor. None: there is none, or it was trimmed.
    pub async fn change_at(&self, position: i64) -> Result<Option<Uuid>, StorageError> {
        Ok(self.point_and_floor(position).await?.change_id)
    }
}

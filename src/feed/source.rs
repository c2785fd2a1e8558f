//! What the feed reads from: [`LogSource`], and what comes out of it.

use std::{fmt, future::Future, time::SystemTime};

use uuid::Uuid;

use super::cursor::Scope;
use crate::rules::{
    Reason,
    ids::{AccountId, AppName, ChangeId, CommandId, ExternalId, MemberId, OrganizationId, WorkspaceId},
    roles::{
        Assignments, MembershipState, OrganizationRole, OrganizationState, WorkspaceRole, WorkspaceState,
    },
};

/// A point of the log: a position and the change that stands there. Position 0 has the nil id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The position.
    pub position: i64,
    /// The change there.
    pub change_id: ChangeId,
}

/// The source failed. The text goes to the log, never to a client.
#[derive(Debug, Clone)]
pub struct SourceError(pub String);

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Positions after one and up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Not included.
    pub after: i64,
    /// Included.
    pub until: i64,
}

/// Gives committed changes their positions, and reads them.
pub trait Sequence: Send + 'static {
    /// Sequences whatever was committed before this call began, then reads at most `limit` changes after a point, of all
    /// scopes and with profiles. Without a point it reads nothing. The call may be dropped at any time; the next one
    /// begins anew.
    fn sequence(
        &mut self,
        after: Option<Point>,
        limit: usize,
    ) -> impl Future<Output = Result<Sequenced, SourceError>> + Send;
}

/// What a call found.
#[derive(Debug, Clone)]
pub struct Sequenced {
    /// The head of the log.
    pub head: Point,
    /// Whether the log has the point after which it was read, or has trimmed it; checked by the statement that read.
    pub same_history: bool,
    /// Changes at or before this position may have been trimmed (C8).
    pub floor: i64,
    /// The changes after it, in order.
    pub entries: Vec<Entry>,
}

/// Writes a change as streams send it, with the member's profile or without. What it writes for two changes, one after
/// the other, is what it writes for both.
pub type Encode = fn(&Entry, profiles: bool, out: &mut Vec<u8>);

/// Changes of a scope, with what the same statement found of the log.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The changes, in order.
    pub entries: Vec<Entry>,
    /// Changes at or before this position may have been trimmed (C8).
    pub floor: i64,
    /// Whether the log has the known point, or has trimmed it.
    pub same_history: bool,
}

/// How a point relates to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The log has it.
    There,
    /// The log has another change there, or none yet.
    Forked,
    /// The changes after it were trimmed (C8).
    Compacted,
}

impl Standing {
    /// That of a point where the log begins at `floor`, and has this change at the point's position.
    pub fn of(point: Point, found: Option<ChangeId>, floor: i64) -> Self {
        if point.position < floor {
            Self::Compacted
        } else if point == Point::ZERO || found == Some(point.change_id) {
            // No change stands at 0, before the first one.
            Self::There
        } else {
            Self::Forked
        }
    }
}

/// The log and the things that it speaks of.
pub trait LogSource: Send + Sync + 'static {
    /// Reads at most `limit` changes of a scope at positions after `after` and up to `until`, in order, and looks in the
    /// same statement whether the log has `known`.
    fn changes(
        &self,
        scope: &Scope,
        profiles: bool,
        known: Point,
        range: Range,
        limit: usize,
    ) -> impl Future<Output = Result<Changes, SourceError>> + Send;

    /// Where a snapshot stands between two pages.
    type Cursor: Send;

    /// Reads a page of a scope as it is; None begins. The page says whether the log still has `noted`.
    fn snapshot(
        &self,
        scope: &Scope,
        profiles: bool,
        noted: Point,
        cursor: Option<Self::Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<Self::Cursor>, SourceError>> + Send;

    /// Looks whether the log has a point.
    fn standing(&self, point: Point) -> impl Future<Output = Result<Standing, SourceError>> + Send;

    /// The change at a position. None: there is none.
    fn change_at(&self, position: i64) -> impl Future<Output = Result<Option<ChangeId>, SourceError>> + Send;
}

/// A page of a snapshot.
#[derive(Debug, Clone)]
pub struct Page<C> {
    /// The things.
    pub things: Vec<Thing>,
    /// Where the next page begins. None: this was the last.
    pub next: Option<C>,
    /// Whether the log is still the one that the snapshot began on.
    pub same_history: bool,
}

/// A change at its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it stands.
    pub point: Point,
    /// The command that produced it.
    pub command_id: CommandId,
    /// The position of the last change of that command.
    pub command_end: i64,
    /// The apps whose scope it is in.
    pub apps: Vec<AppName>,
    /// Why.
    pub reason: Reason,
    /// What it is now.
    pub thing: Thing,
    /// When it was recorded.
    pub record_time: SystemTime,
    /// The workload that commanded it.
    pub caller: String,
    /// The member for whom that workload acted.
    pub acting_member_id: Option<MemberId>,
    /// Of a departure: who takes over (R58).
    pub handover_to: Option<MemberId>,
    /// Of an erasure: what becomes of assignments (R46).
    pub assignments: Option<Assignments>,
    /// The trace that it is a part of, as W3C Trace Context writes it.
    pub traceparent: Option<String>,
}

/// A thing as a follower is told of it. Names and profiles are as they are when read.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Thing {
    Organization {
        id: OrganizationId,
        display_name: String,
        state: OrganizationState,
        version: i64,
    },
    Workspace {
        organization_id: OrganizationId,
        id: WorkspaceId,
        app: AppName,
        display_name: String,
        state: WorkspaceState,
        version: i64,
    },
    Member {
        organization_id: OrganizationId,
        id: MemberId,
        account_id: Option<AccountId>,
        role: OrganizationRole,
        state: MembershipState,
        leaving: bool,
        /// What stands for an ERASED member.
        tombstone_id: Option<Uuid>,
        version: i64,
        /// Shown name and e-mail address, where profiles were asked for.
        profile: Option<(String, String)>,
        /// Under which ids identity providers know the account.
        external_ids: Vec<ExternalId>,
    },
    WorkspaceMember {
        organization_id: OrganizationId,
        workspace_id: WorkspaceId,
        member_id: MemberId,
        role: WorkspaceRole,
        state: MembershipState,
        version: i64,
    },
}

impl Point {
    /// Before the first change.
    pub const ZERO: Self = Self { position: 0, change_id: ChangeId(Uuid::nil()) };
}

impl Thing {
    /// The organization that it belongs to, or is.
    pub fn organization_id(&self) -> OrganizationId {
        match self {
            Self::Organization { id, .. } => *id,
            Self::Workspace { organization_id, .. }
            | Self::Member { organization_id, .. }
            | Self::WorkspaceMember { organization_id, .. } => *organization_id,
        }
    }

    /// Whether it is somebody whose personal data is gone.
    pub fn is_erased(&self) -> bool {
        matches!(self, Self::Member { state: MembershipState::Erased, .. })
    }

    /// Whether it is a member or a membership without access.
    pub fn has_no_access(&self) -> bool {
        matches!(self, Self::Member { state, .. } | Self::WorkspaceMember { state, .. }
            if *state != MembershipState::Active)
    }

    /// Whether it comes with personal data.
    pub fn has_profile(&self) -> bool {
        matches!(self, Self::Member { profile: Some(_), .. })
    }
}

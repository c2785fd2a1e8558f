//! The service's own replica of the log, from which it answers access checks.
//!
//! It is the replica of the client crate, as any app has one, which follows this very process under the service's own app
//! in everything. So what it promises is what that promises: it answers under a lease, and counts in every verdict.

use std::time::Duration;

use rollcall_client::{
    Allowed, Client, NothingToEnd, Person, Replica, ReplicaOptions, SessionAccess, View, v1::DenialReason,
};
use uuid::Uuid;

pub use rollcall_client::Stamp;

use crate::rules::ids::{AccountId, AppName, ExternalId, MemberId, WorkspaceId};

/// The replica. Cheap to clone; the clones share it.
#[derive(Debug, Clone)]
pub struct Access(Replica);

/// Whose access is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The person with this account.
    Account(AccountId),
    /// The person whom an identity provider knows by this id.
    External(ExternalId),
}

/// Whether a person may use a workspace. Roles and reasons are numbers of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The person may, as this member.
    Allowed {
        /// The member.
        member: MemberId,
        /// What the member may do in the organization.
        organization_role: i32,
        /// What the member may do in the workspace.
        workspace_role: i32,
        /// Whether the right to delete entries is withdrawn (R59).
        leaving: bool,
        /// What a session that is made because of this answer keeps.
        stamp: Stamp,
    },
    /// The person may not, for this reason.
    Denied(i32),
}

/// One moment of the replica, to ask several things of it.
pub struct Moment<'a> {
    view: View<'a>,
    stale: bool,
}

impl Access {
    /// Begins to follow a service, under a name that no other process has.
    pub fn start(service: impl Into<Client>, instance: String) -> Self {
        Self(Replica::start(service.into(), ReplicaOptions::new(AppName::SERVICE, instance), NothingToEnd))
    }

    /// That of an app, which somebody else started and ends.
    pub fn of(replica: Replica) -> Self {
        Self(replica)
    }

    /// A moment in which it is known who has access, or was known so long ago at most. None: it is not known.
    pub fn moment(&self, max_staleness: Option<Duration>) -> Option<Moment<'_>> {
        let view = self.0.view();
        let stale = !view.is_leased();
        let is_taken = match max_staleness {
            Some(max) => view.age().is_some_and(|age| age <= max),
            // An app that is registered with `serve_stale` answers without a lease.
            None => !view.is_stale(),
        };
        (!stale || is_taken).then_some(Moment { view, stale })
    }

    /// Waits until everything at or before a position is in the answers.
    pub async fn passed(&self, position: i64) {
        self.0.passed(position).await;
    }

    /// Whether it is known who has access.
    pub fn is_answering(&self) -> bool {
        self.0.status().borrow().is_answering()
    }

    /// Answers nothing from here on, and tells the service that nobody has to wait for it.
    pub async fn end(&self) {
        self.0.shutdown().await;
    }
}

impl Moment<'_> {
    /// Whether a person may use a workspace, in a session that was stamped when it was made where there is one. None: it is
    /// not known after all.
    pub fn check(&self, who: &Who, workspace: WorkspaceId, stamp: Option<&Stamp>) -> Option<Answer> {
        match self.ask(who, workspace, stamp) {
            SessionAccess::Allowed(allowed) => Some(allowed.into()),
            SessionAccess::Revoked => Some(Answer::Denied(DenialReason::SessionRevoked.into())),
            SessionAccess::Denied(reason) => Some(Answer::Denied(reason.into())),
            SessionAccess::Stale => None,
        }
    }

    /// The same as the client crate answers it.
    pub fn ask(&self, who: &Who, workspace: WorkspaceId, stamp: Option<&Stamp>) -> SessionAccess {
        let (view, workspace) = (&self.view, workspace.0);
        let person = match who {
            Who::Account(account) => Person::Account(account.0),
            Who::External(id) => Person::External { issuer: id.issuer(), subject: id.subject() },
        };
        match (stamp, self.stale) {
            (None, false) => view.check(person, workspace).into(),
            (None, true) => view.check_however_old(person, workspace).into(),
            (Some(stamp), false) => view.check_session(person, workspace, stamp),
            (Some(stamp), true) => view.check_session_however_old(person, workspace, stamp),
        }
    }

    /// Everything at or before this position is in the answers.
    pub fn position(&self) -> i64 {
        self.view.position()
    }

    /// Whether it was known, and is not any more.
    pub fn is_stale(&self) -> bool {
        self.stale
    }
}

impl From<Allowed> for Answer {
    fn from(allowed: Allowed) -> Self {
        let Allowed { organization_id: _, member_id, organization_role, workspace_role, leaving, stamp } =
            allowed;
        Self::Allowed {
            member: MemberId(member_id),
            organization_role: organization_role.into(),
            workspace_role: workspace_role.into(),
            leaving,
            stamp,
        }
    }
}

/// A name for the replica of a process that listens at an address: like no other, and telling where to look.
pub fn instance_name(address: std::net::SocketAddr) -> String {
    format!("{address}/{}", Uuid::now_v7())
}

//! The trace format: what happened to organizations, one row per event, in order.
//!
//! A trace is read whole and checked whole, both its text and its sense ([`ledger`]), before anyone applies its first
//! row. An error names line and column.

use chrono::{DateTime, FixedOffset};
use rollcall_client::v1::{OrganizationRole, WorkspaceRole};
use sha2::{Digest as _, Sha256};

mod ledger;
mod row;

use super::{
    csv_file::{self, CsvProblem, Located},
    names,
};
use crate::rules::ids::Malformed;

const COLUMNS: &[&str] = &["time", "organization", "op", "workspace", "app", "person", "role"];

/// A trace that can be applied, row by row, to a store that does not know its organizations.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) rows: Vec<Row>,
    /// SHA-256 of the file: what makes the request ids of its rows its own.
    pub(crate) digest: [u8; 32],
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) time: DateTime<FixedOffset>,
    pub(crate) organization: String,
    pub(crate) op: Op,
    pub(crate) part: Part,
}

/// What a row does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    AddMember { person: String, role: OrganizationRole },
    ChangeMember { person: String, role: OrganizationRole },
    RemoveMember { person: String },
    CreateWorkspace { workspace: String, app: String },
    DeleteWorkspace { workspace: String, app: String },
    AddToWorkspace { workspace: String, app: String, person: String, role: WorkspaceRole },
    ChangeInWorkspace { workspace: String, app: String, person: String, role: WorkspaceRole },
    RemoveFromWorkspace { workspace: String, app: String, person: String },
}

/// The part that a row plays in its trace, as far as it decides how and when it may be applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// The organization begins with this row.
    pub(crate) founds: bool,
    /// The person appears here for the first time in any organization.
    pub(crate) first_sight: bool,
    /// It is about an owner, or about more members than it names: no other row of its organization may overtake it or
    /// be overtaken by it.
    pub(crate) alone: bool,
}

impl Op {
    /// The person whom the row is about.
    pub(crate) fn person(&self) -> Option<&str> {
        match self {
            Self::AddMember { person, .. }
            | Self::ChangeMember { person, .. }
            | Self::RemoveMember { person }
            | Self::AddToWorkspace { person, .. }
            | Self::ChangeInWorkspace { person, .. }
            | Self::RemoveFromWorkspace { person, .. } => Some(person),
            Self::CreateWorkspace { .. } | Self::DeleteWorkspace { .. } => None,
        }
    }

    /// The workspace that the row is about, and its app.
    pub(crate) fn workspace(&self) -> Option<(&str, &str)> {
        match self {
            Self::CreateWorkspace { workspace, app }
            | Self::DeleteWorkspace { workspace, app }
            | Self::AddToWorkspace { workspace, app, .. }
            | Self::ChangeInWorkspace { workspace, app, .. }
            | Self::RemoveFromWorkspace { workspace, app, .. } => Some((workspace, app)),
            Self::AddMember { .. } | Self::ChangeMember { .. } | Self::RemoveMember { .. } => None,
        }
    }
}

/// What can be wrong with a trace.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TraceProblem {
    #[error(transparent)]
    Csv(#[from] CsvProblem),
    #[error("{0:?} is no time; one looks like 2018-08-23T04:11:39Z")]
    Time(String),
    #[error("unknown op {0:?}; the ops are {ops}", ops = row::OPS)]
    Op(String),
    #[error("must not be empty for {op}")]
    Missing { op: String },
    #[error("must be empty for {op}, not {got:?}")]
    Unexpected { op: String, got: String },
    #[error("{got:?} is no role of {op}; it is {roles}")]
    Role { op: String, got: String, roles: &'static str },
    #[error("{0:?} is no name of an app: a lower-case letter, then letters, digits and hyphens, at most 63")]
    App(String),
    #[error(
        "{0:?} is no person: letters, digits and . _ + - as before the @ of an e-mail address, at most 64"
    )]
    Person(String),
    #[error("{got:?} was {before:?} before; the service takes both for one e-mail address")]
    Spelling { got: String, before: String },
    #[error("the name {0}")]
    Name(Malformed),
    #[error("the first row of organization {organization:?} must be member.add of an owner")]
    NotFounded { organization: String },
    #[error("{person:?} is a member of {organization:?} already")]
    MemberExists { organization: String, person: String },
    #[error(
        "{person:?} was deactivated in {organization:?} with the only workspace, and no op of a trace reactivates"
    )]
    MemberDeactivated { organization: String, person: String },
    #[error("{person:?} is no member of {organization:?} at this point")]
    NoMember { organization: String, person: String },
    #[error("{person:?} is the last owner of {organization:?}")]
    LastOwner { organization: String, person: String },
    #[error("{organization:?} has a workspace {workspace:?} already")]
    WorkspaceExists { organization: String, workspace: String },
    #[error("{organization:?} has no workspace {workspace:?} at this point")]
    NoWorkspace { organization: String, workspace: String },
    #[error("workspace {workspace:?} belongs to {app:?}")]
    OtherApp { workspace: String, app: String },
    #[error("{person:?} is in workspace {workspace:?} already")]
    InWorkspace { workspace: String, person: String },
    #[error("{person:?} is not in workspace {workspace:?} at this point")]
    NotInWorkspace { workspace: String, person: String },
}

#[cfg(test)]
pub(crate) use ledger::check;

pub(crate) type TraceError = Located<TraceProblem>;

/// Reads and checks a trace.
pub(crate) fn parse(bytes: &[u8]) -> Result<Trace, TraceError> {
    let records = csv_file::read(bytes, COLUMNS).map_err(|Located { line, column, problem }| Located {
        line,
        column,
        problem: problem.into(),
    })?;
    let mut rows = records.into_iter().map(row::parse).collect::<Result<Vec<_>, _>>()?;
    ledger::check(&mut rows)?;
    Ok(Trace { rows, digest: Sha256::digest(bytes).into() })
}

#[cfg(test)]
mod tests;

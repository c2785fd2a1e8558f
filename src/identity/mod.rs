//! Who calls, and for whom. What a call proves is found out once, before its handler; inside, a [`Caller`] is what is
//! known, and no handler looks at a header, a certificate or a token.
//!
//! [`Gate`] is asked with the [`Evidence`] of a call. Whatever is wrong with it, the caller hears the same; the [`Cause`] is for
//! the log and the counters. Who is a caller at all, and what they may do, is said by a file ([`callers`]).

pub mod callers;
mod cause;
mod certificates;
mod fetch;
pub mod fuzzed;
mod gate;
mod keys;
mod mesh;
mod spiffe;
mod tokens;
mod watched;

pub use self::{
    cause::Cause,
    certificates::{Acceptor, Certificate, TlsFiles},
    gate::{By, Evidence, Gate, IdentityError, Pass, Way},
    mesh::Mesh,
    spiffe::SpiffeId,
};
use crate::rules::ids::{AccountId, AppName, CallerName};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The workload's name: in changes, in the audit, and in what is limited.
    pub name: CallerName,
    /// What it may do as itself.
    pub kind: Kind,
    /// Whether it may say for whom it acts without proving it (`acting_account_id`).
    pub may_impersonate: bool,
    /// The account of the person for whom it was proven to act. None: none was.
    pub person: Option<AccountId>,
}

/// What a caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Callers are not told apart: whoever reaches the port may do everything, under the name that they give themselves.
    Anyone,
    /// Trusted with everything, as itself.
    Operator,
    /// An app: its own stream, workspaces and the members in them (R15).
    App(AppName),
    /// A workload that may do nothing as itself, but may act for persons.
    Workload,
}

impl Caller {
    /// Somebody, where callers are not told apart.
    pub fn anyone(name: CallerName) -> Self {
        Self { name, kind: Kind::Anyone, may_impersonate: true, person: None }
    }
}

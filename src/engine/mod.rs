//! One transaction for each command: claim the request id, load the slice under locks, decide, persist, append.
//!
//! - [`Engine::execute`] runs a [`Command`] in an organization; accounts, contracts and apps are written outside of one.
//! - [`Engine::manage_invitation`] does what happens to an invitation besides accepting it, which is a command.
//! - A write that is decided runs to its end even if its caller hangs up; until then it is given up. It is repeated, a
//!   bounded number of times, when it loses against a concurrent one.
//! - What a write answers is read afterwards, so that a first call, one that changed nothing and a repetition under the
//!   same request id answer alike.

mod accounts;
mod apps;
mod command;
mod contracts;
mod erase;
mod error;
mod etag;
mod invitations;
mod limit;
mod load;
mod lost;
mod plan;
mod reach;
mod reminders;
mod run;

use crate::{
    rules::{
        Command,
        ids::{AccountId, CallerName, CommandId, DisplayName, OrganizationId, RequestId},
    },
    storage::{Database, Reach, RequestSubject},
};

pub use self::{
    accounts::AccountChange,
    apps::AppChange,
    contracts::{ContractChange, NewContract},
    erase::{AccountDeletion, Ledger, LedgerSubject},
    error::{EngineError, Missing},
    etag::{app_etag, etag},
    invitations::{InvitationOrder, Sending},
    limit::Batch,
    lost::LostDecision,
    plan::Planned,
};

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    database: Database,
}

/// Whether a caller is an app, which commands its own workspaces alone (R15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallingApp {
    /// It is none, whatever its name.
    No,
    /// It is the one of its name.
    Yes,
    /// It is one if it has the name of one: nobody knows who it is.
    IfNamedSo,
}

/// Who asks, and for whom.
#[derive(Debug, Clone)]
pub struct Context {
    /// The calling workload.
    pub caller: CallerName,
    /// Whether it is an app.
    pub app: CallingApp,
    /// What it may know of.
    pub reach: Reach,
    /// The account of the person for whom it acts. None: as itself.
    pub acting: Option<AccountId>,
    /// The method that was called, as the audit names it. None: nobody called, time brought it.
    pub method: Option<&'static str>,
    /// What makes the write safe to repeat.
    pub request: Option<Request>,
    /// Whether to check everything and change nothing (AIP-163).
    pub validate_only: bool,
    /// The etag that what it is about must have (AIP-154).
    pub etag: Option<String>,
}

impl Context {
    /// The same, only to be checked or also done.
    pub fn validating(self, validate_only: bool) -> Self {
        Self { validate_only, ..self }
    }

    /// The same, for exactly the version that an etag names. Empty: for any.
    pub fn expecting(self, etag: &str) -> Self {
        Self { etag: (!etag.is_empty()).then(|| etag.to_owned()), ..self }
    }
}

/// A request id with what it was given for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The id.
    pub id: RequestId,
    /// The keyed hash of method and payload.
    pub payload_mac: Vec<u8>,
}

/// A command with what it needs besides what is decided on.
#[derive(Debug, Clone)]
pub struct Order {
    /// The organization.
    pub organization: OrganizationId,
    /// What to do.
    pub command: Command,
    /// The shown name of the member that the command is about. Some(None): empty.
    pub display_name: Option<Option<DisplayName>>,
    /// The etag of the plan that it must carry out exactly.
    pub plan_etag: Option<String>,
    /// Whether the acting person may end more memberships than the limit of an hour allows.
    pub exceed_limit: bool,
    /// Whether it was done before, in a store that was restored from before that: nobody is told again.
    pub again: bool,
}

impl Order {
    /// A command and nothing besides.
    pub fn new(organization: OrganizationId, command: Command) -> Self {
        Self { organization, command, display_name: None, plan_etag: None, exceed_limit: false, again: false }
    }
}

/// What a write did.
#[derive(Debug, Clone)]
pub struct Done {
    /// What the answer shows.
    pub subject: RequestSubject,
    /// The commands that it was, in the order of the log, where it changed something just now. Of a write that reaches
    /// several organizations they are recorded nowhere: they would lead from an account to what is left of it (R46).
    pub commands: Vec<CommandId>,
    /// When it was known to be committed: a mark that began later covers it.
    pub committed: tokio::time::Instant,
    /// Whether everything was checked and nothing changed, as was asked.
    pub validated: bool,
    /// Whether it was done before, under the same request id.
    pub repeated: bool,
}

impl Done {
    /// The commands whose changes the caller may want to wait for. Empty: nothing changed, or nobody knows any more what.
    pub fn commands(&self) -> &[CommandId] {
        if self.commands.is_empty() { self.subject.command_id.as_slice() } else { &self.commands }
    }

    /// The last of them, the one of the organization that was asked.
    pub fn command_id(&self) -> Option<CommandId> {
        self.commands().last().copied()
    }
}

impl Engine {
    /// An engine on a database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The database, for reads.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

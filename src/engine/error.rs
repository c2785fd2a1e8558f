//! Why the engine refuses or fails.

use crate::{
    rules::{
        Blocker, Violation,
        ids::{AccountId, AppName, ChangeId, ContractId, OrganizationId, WorkspaceId},
    },
    storage::StorageError,
};

/// A thing that a command names and that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// An account.
    Account(AccountId),
    /// An organization.
    Organization(OrganizationId),
    /// An app.
    App(AppName),
    /// A contract.
    Contract(ContractId),
    /// A lost revocation that nobody reported.
    LostRevocation(ChangeId),
}

/// Why a write was not done. Nothing was changed, except where `Storage` says that the outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A rule refuses it.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// Something stands in the way of leaving these organizations.
    #[error("something stands in the way of leaving an organization")]
    BlockedIn(Vec<(OrganizationId, Blocker)>),
    /// Something that it names does not exist.
    #[error("{0:?} does not exist")]
    Missing(Missing),
    /// The e-mail address belongs to another account.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// One of the external ids belongs to another account.
    #[error("an external id is taken")]
    ExternalIdTaken,
    /// A live workspace of the organization has the name.
    #[error("the workspace name is taken")]
    WorkspaceNameTaken,
    /// The app is registered already.
    #[error("app {0} is registered already")]
    AppExists(AppName),
    /// The app has an ACTIVE workspace, this one.
    #[error("workspace {0} of the app is ACTIVE")]
    AppInUse(WorkspaceId),
    /// Organizations share the contract.
    #[error("organizations share contract {0}")]
    ContractInUse(ContractId),
    /// The request id was used with another payload.
    #[error("the request id was used with another payload")]
    RequestIdReused,
    /// What it is about has changed since its etag was read.
    #[error("the etag of {0} is another one")]
    EtagMismatch(String),
    /// It would not do what was planned.
    #[error("the plan has changed")]
    PlanChanged,
    /// The acting person has ended too many memberships within an hour.
    #[error("{departures} departures within an hour are more than {limit}")]
    DepartureLimit {
        /// How many it would be.
        departures: i64,
        /// How many it may be.
        limit: i64,
    },
    /// It lost against concurrent commands again and again.
    #[error("lost against concurrent commands: {0}")]
    Contention(String),
    /// The database failed.
    #[error(transparent)]
    Storage(StorageError),
    /// A defect: the task that ran the command ended without an answer.
    #[error("the command's task panicked")]
    Panicked,
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Taken { constraint } if constraint == "workspaces_live_name" => {
                Self::WorkspaceNameTaken
            }
            // Another command made the account a member since its member was looked for: then there is one to lock.
            StorageError::Taken { constraint } if constraint == "members_organization_id_account_id_key" => {
                Self::Storage(StorageError::Conflict("the account became a member meanwhile".to_owned()))
            }
            error => Self::Storage(error),
        }
    }
}

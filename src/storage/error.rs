//! What can go wrong in storage, by what the caller should do about it.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::deadpool::PoolError;

/// A failed statement or connection. `Display` may quote the driver: it goes to the log, never to a caller.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database cannot be reached, refused the connection, or is going down.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// No connection of the pool became free in time.
    #[error("no database connection became free in time")]
    Overloaded,
    /// A deadlock, a serialization failure or a lock that was not granted in time. Trying again may succeed.
    #[error("lost against a concurrent transaction: {0}")]
    Conflict(String),
    /// A unique index refused the row.
    #[error("unique constraint {constraint} violated")]
    Taken {
        /// The constraint or index.
        constraint: String,
    },
    /// What is stored is not what this version of the service understands.
    #[error("stored {what} cannot be understood: {value}")]
    Corrupt {
        /// The column or thing.
        what: &'static str,
        /// What it holds: an id, a state, a role; never personal data.
        value: String,
    },
    /// The database is set up in a way that breaks a promise.
    #[error("{0}")]
    Unfit(String),
    /// Anything else: a defect.
    #[error("statement failed: {0}")]
    Statement(DieselError),
}

// diesel-async keeps the SQLSTATE of few classes; the others are known by their English message, which is what a
// server with lc_messages = C or en sends. An unknown language makes a retriable failure a defect, never the reverse.
const CONFLICTS: &[&str] = &["deadlock detected", "lock timeout", "could not serialize"];
const UNAVAILABLE: &[&str] = &[
    "terminating connection",
    "the database system is",
    "canceling statement due to statement timeout",
    "sequencing needs the primary",
    "trimming needs the primary",
    "chaining needs the primary",
    "connection closed",
    "No space left on device",
    "could not extend file",
    "too many clients",
    "remaining connection slots",
];

/// Whether this message of the server tells of a lock that was not granted in time, or of a deadlock.
pub(super) fn is_conflict(message: &str) -> bool {
    CONFLICTS.iter().any(|pattern| message.contains(pattern))
}

impl From<DieselError> for StorageError {
    fn from(error: DieselError) -> Self {
        let DieselError::DatabaseError(kind, info) = &error else {
            return match error {
                DieselError::BrokenTransactionManager => Self::Unavailable("connection broke".to_owned()),
                other => Self::Statement(other),
            };
        };
        let message = info.message();
        let has = |patterns: &[&str]| patterns.iter().any(|pattern| message.contains(pattern));
        match kind {
            DatabaseErrorKind::UniqueViolation => {
                Self::Taken { constraint: info.constraint_name().unwrap_or_default().to_owned() }
            }
            DatabaseErrorKind::SerializationFailure => Self::Conflict(message.to_owned()),
            DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::ReadOnlyTransaction => Self::Unavailable(message.to_owned()),
            _ if is_conflict(message) => Self::Conflict(message.to_owned()),
            _ if has(UNAVAILABLE) => Self::Unavailable(message.to_owned()),
            _ => Self::Statement(error),
        }
    }
}

impl From<PoolError> for StorageError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(deadpool::managed::TimeoutType::Wait) => Self::Overloaded,
            PoolError::Timeout(_) => Self::Unavailable("connecting took too long".to_owned()),
            PoolError::Closed => Self::Unavailable("the pool is closed".to_owned()),
            PoolError::Backend(error) => Self::Unavailable(error.to_string()),
            PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::Unavailable("the pool cannot make a connection".to_owned())
            }
        }
    }
}

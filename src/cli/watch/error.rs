//! Why a watch ends with exit code 1.

use std::{io, path::PathBuf};

use rollcall_client::{ConnectError, WatchError};

use super::state::StateError;
use crate::cli::{files::FileError, roster::RosterError};

#[derive(Debug, thiserror::Error)]
pub(super) enum WatchFailure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Roster(#[from] RosterError),
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error("{} and {} must not be the same file", first.display(), second.display())]
    SameFile { first: PathBuf, second: PathBuf },
    #[error("the service could not be reached within {seconds} s: {cause}")]
    Unreachable { seconds: u64, cause: String },
    #[error("cannot print: {0}")]
    Output(io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
}

//! Notifications: hints that the log has a new head. Never data: one that is lost costs the time until the next poll.

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio_stream::StreamExt as _;

use super::{Database, connect::Target, error::StorageError};

/// A connection of its own that waits for hints.
pub struct Listener {
    target: Target,
    connection: Option<AsyncPgConnection>,
}

impl Database {
    /// A listener for this replica.
    pub fn listener(&self) -> Listener {
        Listener { target: self.target.clone(), connection: None }
    }
}

impl Listener {
    /// Returns at the next hint, or once connected anew, since hints may have been lost in between.
    pub async fn hint(&mut self) -> Result<(), StorageError> {
        if let Some(connection) = &mut self.connection {
            let hint = std::pin::pin!(connection.notifications_stream()).next().await;
            if let Some(Ok(_)) = hint {
                return Ok(());
            }
            self.connection = None;
            return Err(StorageError::Unavailable("the listening connection broke".to_owned()));
        }
        let mut connection =
            self.target.connect().await.map_err(|error| StorageError::Unavailable(error.to_string()))?;
        connection.batch_execute("LISTEN rollcall_head").await?;
        self.connection = Some(connection);
        Ok(())
    }
}

//! Notifications: hints that the log has a new head. Never data: one that is lost costs the time until the next poll.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio_stream::StreamExt as _;

use super::{Database, connect::Target, error::StorageError};

/// How long the proof that notifications arrive may take. On a connection that works it takes a round trip.
const PROOF: Duration = Duration::from_secs(2);

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

/// Fails where notifications do not arrive: whatever is done for a session would then be done for somebody else's.
pub(super) async fn prove_direct(target: &Target) -> Result<(), StorageError> {
    let mut listener = Listener { target: target.clone(), connection: None };
    listener.hint().await?;
    listener.prove().await
}

impl Listener {
    /// The head that the next hint tells; or None once connected anew, since hints may have been lost in between.
    pub async fn hint(&mut self) -> Result<Option<i64>, StorageError> {
        if let Some(connection) = &mut self.connection {
            let hint = std::pin::pin!(connection.notifications_stream()).next().await;
            if let Some(Ok(hint)) = hint {
                return Ok(hint.payload.parse().ok());
            }
            self.connection = None;
            return Err(StorageError::Unavailable("the listening connection broke".to_owned()));
        }
        let mut connection = self.connect().await?;
        connection.batch_execute("LISTEN rollcall_head").await?;
        self.connection = Some(connection);
        Ok(None)
    }

    async fn connect(&self) -> Result<AsyncPgConnection, StorageError> {
        self.target.connect().await.map_err(|error| StorageError::Unavailable(error.to_string()))
    }

    /// Sends itself a notification, on a channel that nobody else has. A pooler in transaction mode gives the session
    /// that listens to somebody else as soon as LISTEN is done, and what it is then told is lost. So this says nothing
    /// more on its own connection, which would let it have that session again, and has another one notify.
    async fn prove(&mut self) -> Result<(), StorageError> {
        let mut other = self.connect().await?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let channel = format!("rollcall_proof_{}", uuid::Uuid::new_v4().simple());
        connection.batch_execute(&format!("LISTEN {channel}")).await?;
        other.batch_execute(&format!("NOTIFY {channel}")).await?;
        let arrival = async {
            let mut notifications = std::pin::pin!(connection.notifications_stream());
            while let Some(Ok(notification)) = notifications.next().await {
                if notification.channel == channel {
                    return true;
                }
            }
            false
        };
        if tokio::time::timeout(PROOF, arrival).await != Ok(true) {
            let message = "notifications do not arrive, as through a pooler in transaction mode: name a direct \
                           connection to the same database with --direct-database-url";
            return Err(StorageError::Unfit(message.to_owned()));
        }
        connection.batch_execute(&format!("UNLISTEN {channel}")).await?;
        Ok(())
    }
}

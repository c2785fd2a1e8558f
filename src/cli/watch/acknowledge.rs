//! Tells the service how far this instance is: always the newest cursor, one call in flight.

use std::time::Duration;

use rollcall_client::{Client, describe, v1};
use tokio::{sync::watch, task::JoinHandle};

/// The last words of a watch that ends: a service that does not answer must not hold it up.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two calls. Only the newest cursor counts, so a stream of changes needs no call for each.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone)]
struct Applied {
    subscription_id: String,
    cursor: String,
}

/// Sends acknowledgements in the background.
pub(super) struct Acknowledger {
    client: Client,
    newest: watch::Sender<Option<Applied>>,
    task: JoinHandle<()>,
}

impl Acknowledger {
    pub(super) fn start(client: &Client) -> Self {
        let (newest, changed) = watch::channel(None);
        let task = tokio::spawn(send(client.clone(), changed));
        Self { client: client.clone(), newest, task }
    }

    /// Offers what was applied; it replaces what was not sent yet.
    pub(super) fn applied(&self, (subscription_id, cursor): (&str, &str)) {
        let applied = Applied { subscription_id: subscription_id.to_owned(), cursor: cursor.to_owned() };
        // Also where it is the same: who is not heard of for longer than a lease is given up.
        self.newest.send_replace(Some(applied));
    }

    /// Sends what is left and ends the subscription, if the service answers soon.
    pub(super) async fn finish(self, subscription_id: Option<String>) {
        let Self { client, newest, task } = self;
        // With a cursor of its own the process says that it has ended; nobody has to wait for it any more.
        let cursor = newest.borrow().as_ref().map(|applied| applied.cursor.clone()).unwrap_or_default();
        drop(newest);
        let farewell = async {
            // The task ends once it has sent the newest; that it cannot be joined changes nothing here.
            let _ = task.await;
            if let Some(subscription_id) = subscription_id {
                let request = v1::CloseSubscriptionRequest { subscription_id, cursor, ..Default::default() };
                if let Err(status) = client.feed().close_subscription(request).await {
                    eprintln!("rollcall watch: cannot close the subscription: {}", describe(&status));
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

async fn send(client: Client, mut changed: watch::Receiver<Option<Applied>>) {
    let mut failing = false;
    // Ends when the watch is dropped, after the newest was sent.
    while changed.changed().await.is_ok() {
        let Some(Applied { subscription_id, cursor }) = changed.borrow_and_update().clone() else { continue };
        let request = v1::AcknowledgeRequest {
            subscription_id,
            applied_cursor: cursor,
            ..v1::AcknowledgeRequest::default()
        };
        match client.feed().acknowledge(request).await {
            Ok(_) => failing = false,
            // Once until it works again: the next cursor is the repetition.
            Err(status) if !failing => {
                failing = true;
                eprintln!("rollcall watch: cannot acknowledge: {}", describe(&status));
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

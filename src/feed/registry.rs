//! The open streams of this replica: a subscription has one at a time, and whoever closes it ends that.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use uuid::Uuid;

use crate::rules::ids::{AppName, SubscriptionId};

/// Why a stream must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Another stream took over the subscription, or another process its instance name.
    Replaced,
    /// The subscription was closed, or the app unregistered.
    Closed,
}

type Ends = HashMap<SubscriptionId, Open>;

/// An open stream: its own id, and how to end it.
struct Open {
    app: AppName,
    stream: Uuid,
    ending: watch::Sender<Option<Ending>>,
}

/// Which subscriptions have a stream here, and which streams there are besides.
#[derive(Clone, Default)]
pub struct Registry {
    open: Arc<Mutex<Ends>>,
}

/// An open stream's entry; dropped with the stream.
pub struct Registered {
    registry: Registry,
    /// An observer has none: then it is the stream's own id.
    subscription: SubscriptionId,
    ending: watch::Receiver<Option<Ending>>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Ends> {
        // Nothing panics while it holds this lock; a map is never half-changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a stream of an app. One that the subscription had here ends.
    pub fn register(&self, app: AppName, subscription: Option<SubscriptionId>, stream: Uuid) -> Registered {
        let subscription = subscription.unwrap_or(SubscriptionId(stream));
        let (sender, ending) = watch::channel(None);
        if let Some(before) = self.lock().insert(subscription, Open { app, stream, ending: sender }) {
            before.ending.send_replace(Some(Ending::Replaced));
        }
        Registered { registry: self.clone(), subscription, ending }
    }

    /// Ends the stream of a subscription, if it has one here.
    pub fn end(&self, subscription: SubscriptionId, ending: Ending) {
        if let Some(stream) = self.lock().remove(&subscription) {
            stream.ending.send_replace(Some(ending));
        }
    }

    /// Ends this very stream of a subscription: not one that took its place since the caller looked.
    pub fn end_stream(&self, subscription: SubscriptionId, stream: Uuid, ending: Ending) {
        let mut open = self.lock();
        if open.get(&subscription).is_some_and(|open| open.stream == stream)
            && let Some(ended) = open.remove(&subscription)
        {
            ended.ending.send_replace(Some(ending));
        }
    }

    /// Ends every stream of an app, also those of observers.
    pub fn end_app(&self, app: &str, ending: Ending) {
        let ended = self.lock().extract_if(|_, open| open.app.as_str() == app).collect::<Vec<_>>();
        for (_, stream) in ended {
            stream.ending.send_replace(Some(ending));
        }
    }

    /// The streams of subscriptions that are open here, each with its subscription.
    pub fn streams(&self) -> Vec<(SubscriptionId, Uuid)> {
        let open = self.lock();
        let streams = open.iter().map(|(subscription, open)| (*subscription, open.stream));
        streams.filter(|(subscription, stream)| subscription.0 != *stream).collect()
    }

    /// The app of a subscription that has a stream here.
    pub fn app_of(&self, subscription: SubscriptionId) -> Option<AppName> {
        self.lock().get(&subscription).map(|open| open.app.clone())
    }

    /// How many streams are open here.
    pub fn number(&self) -> usize {
        self.lock().len()
    }

    /// The apps that have a stream here.
    pub fn apps(&self) -> HashSet<String> {
        self.lock().values().map(|open| open.app.as_str().to_owned()).collect()
    }
}

impl Registered {
    /// Waits until the stream must end.
    pub async fn ended(&mut self) -> Ending {
        match self.ending.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(ending)) => *ending,
            // Taken over so fast that the sender is gone with its message unread cannot be: the value outlives it.
            _ => Ending::Replaced,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.registry.lock();
        // Only one's own entry: a successor may stand there by now.
        if open.get(&self.subscription).is_some_and(|open| open.ending.subscribe().same_channel(&self.ending))
        {
            open.remove(&self.subscription);
        }
    }
}

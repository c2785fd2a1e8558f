//! The live replica: what an app keeps in memory to answer "may this person use this workspace, and as what?" in a
//! fraction of a microsecond, and to notice within a bound when it cannot know any more.
//!
//! It promises:
//! - A check that begins after a revocation was acknowledged denies it; the service counts on that.
//! - No check answers from before what was committed a lease ago: at the end of its lease the replica answers
//!   [`Access::Stale`].
//! - Checks do no I/O and take no locks. They see one moment: never half of an applied message.
//! - The state answers while a snapshot is received, which takes its place at once when it is complete.
//!
//! What is left to the app: to ask on every request, to guard what stays open longer ([`SessionGuard`]), and to end what
//! was open in its [`Handler`].

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};
use uuid::Uuid;

mod access;
mod acknowledge;
mod clock;
mod endings;
mod file;
mod fill;
mod follow;
mod guard;
mod handler;
mod lease;
mod lost;
mod options;
mod owed;
mod saves;
mod shared;
mod status;
mod store;

pub use access::{Access, Allowed, Answer, MalformedStamp, Person, SessionAccess, Stamp};
pub use clock::{Clock, ManualClock, SystemClock};
pub use guard::{Ended, SessionGuard};
pub use handler::{ChangeRef, Handler, NothingToEnd, Outcome, Revocation};
pub use options::ReplicaOptions;
pub use status::{Phase, ReplicaStatus};

use crate::{Client, Watch, WatchOptions, v1::CloseSubscriptionRequest};
use acknowledge::Progress;
use endings::Endings;
use follow::{Follow, Held};
use lease::Standing;
use lost::Lost;
use shared::{Ending, Shared};
use store::Scope;

/// How long a shutdown waits for the service.
const GOODBYE: Duration = Duration::from_secs(2);

/// A live replica. Cheap to clone; the clones share it. It follows until [`Replica::shutdown`], or until the last clone
/// is dropped.
#[derive(Debug, Clone)]
pub struct Replica {
    shared: Arc<Shared>,
    handle: Arc<Handle>,
}

/// Held by every clone, and by no task.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    client: Client,
    progress: watch::Receiver<Progress>,
    tasks: tokio::sync::Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    /// Ends last: it writes the state file.
    follow: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.ending.send_if_modified(|ending| ending.replace(Ending::Dropped).is_none());
    }
}

impl Replica {
    /// Begins to follow. Returns at once: checks answer [`Access::Stale`] until there is a state and a lease, which
    /// [`Replica::ready`] waits for. Nothing that goes wrong ends it but another process with the same instance name; what
    /// hinders is in [`Replica::status`] and in the log. Needs a Tokio runtime.
    #[must_use]
    pub fn start(client: Client, options: ReplicaOptions, handler: impl Handler) -> Self {
        let shared = Arc::new(Shared::new(&options.app, Arc::clone(&options.clock)));
        let (endings, handlers) = Endings::start(&shared, handler::any(handler), &options);
        let (progress, progressed) = watch::channel(Progress::default());
        let (findings, found) = mpsc::channel(1);
        let (lost, resolved) = (Arc::new(Lost::default()), Arc::new(Notify::new()));
        let watching = WatchOptions {
            instance: Some(options.instance.clone()),
            organization_ids: options.organization_ids.clone(),
            ..WatchOptions::new(&options.app)
        };
        let follow = Follow {
            shared: Arc::clone(&shared),
            watch: Watch::new(client.clone(), watching),
            options,
            endings,
            lost: Arc::clone(&lost),
            resolved: Arc::clone(&resolved),
            progress,
            findings: found,
            held: Held::default(),
        };
        let acknowledge =
            acknowledge::acknowledge(Arc::clone(&shared), client.clone(), progressed.clone(), findings);
        let report = {
            let (client, shared) = (client.clone(), Arc::clone(&shared));
            async move { lost.report(&client, &shared, &resolved).await }
        };
        let keep = {
            let shared = Arc::clone(&shared);
            async move { shared.keep().await }
        };
        let (handled, all_handled) = oneshot::channel::<()>();
        let handlers = async move {
            handlers.await;
            drop(handled);
        };
        // What handlers that still run end is told too.
        let told = {
            let shared = Arc::clone(&shared);
            async move {
                shared.ended().await;
                if *shared.ending.borrow() == Some(Ending::Shutdown) {
                    let _ = all_handled.await;
                }
            }
        };
        let others = vec![
            tokio::spawn(handlers),
            tokio::spawn(until(told, acknowledge)),
            tokio::spawn(until(shared.ended(), report)),
            tokio::spawn(keep),
        ];
        let tasks = Tasks { follow: Some(tokio::spawn(follow.run())), others };
        let handle =
            Handle { shared: Arc::clone(&shared), client, progress: progressed, tasks: tasks.into() };
        Self { shared, handle: Arc::new(handle) }
    }

    /// Whether the person may use the workspace, and as what. From memory, without waiting.
    #[must_use]
    pub fn check<'a>(&self, person: impl Into<Person<'a>>, workspace_id: Uuid) -> Access {
        self.view().check(person, workspace_id)
    }

    /// As [`Replica::check`], but also without a lease, while the answer is no older than this: for who takes a stale answer
    /// knowingly, for this one check. It may be from before a departure that the service calls ENFORCED. See
    /// [`View::check_within`].
    #[must_use]
    pub fn check_within<'a>(
        &self,
        person: impl Into<Person<'a>>,
        workspace_id: Uuid,
        max_staleness: Duration,
    ) -> Answer {
        self.view().check_within(person, workspace_id, max_staleness)
    }

    /// As [`Replica::check`], for a session that was stamped with [`Allowed::stamp`] when it was made: one that was
    /// made before the person last lost access is refused, also where they have access again.
    #[must_use]
    pub fn check_session<'a>(
        &self,
        person: impl Into<Person<'a>>,
        workspace_id: Uuid,
        stamp: &Stamp,
    ) -> SessionAccess {
        self.view().check_session(person, workspace_id, stamp)
    }

    /// One moment of the replica, to ask several things of it. Hold it shortly, and never across an await: it goes by the
    /// lease as it stood when it was taken, and keeps that moment in memory.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        // The lease before the state: what is read then is at least what the lease was granted for.
        let lease = self.shared.lease.read(&*self.shared.clock);
        View { lease, scope: self.shared.scope.load(), shared: &self.shared }
    }

    /// Watches over a connection: make one for each that is opened, and close the connection when it resolves. It
    /// resolves at once where the person has no access now.
    pub fn guard<'a>(&self, person: impl Into<Person<'a>>, workspace_id: Uuid) -> SessionGuard {
        let person = person.into();
        let member_id = match self.check(person, workspace_id) {
            Access::Allowed(allowed) => allowed.member_id,
            Access::Denied(reason) => return SessionGuard::resolved(Ended::Revoked(reason)),
            Access::Stale => return SessionGuard::resolved(Ended::Stale),
        };
        let guard = self.shared.guards.register(member_id, workspace_id);
        // Once more: what came between the check and the registration was told to nobody.
        match self.check(person, workspace_id) {
            Access::Allowed(_) => guard,
            Access::Denied(reason) => SessionGuard::resolved(Ended::Revoked(reason)),
            Access::Stale => SessionGuard::resolved(Ended::Stale),
        }
    }

    /// How the replica is doing, now and whenever that changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ReplicaStatus> {
        self.shared.status.subscribe()
    }

    /// Waits until checks are answered.
    pub async fn ready(&self) {
        self.wait_for(ReplicaStatus::is_answering).await;
    }

    /// Waits until everything at or before this position is in the answers.
    pub async fn passed(&self, position: i64) {
        self.wait_for(|status| status.position >= position).await;
    }

    /// Stops answering (from here on checks are [`Access::Stale`] and guards resolve), waits for handlers that run, for
    /// at most five seconds, tells the service that this instance counts no longer, and writes the state file. A handler that
    /// takes longer is dropped: the next process with that file calls it again.
    pub async fn shutdown(&self) {
        self.shared.lease.stop();
        self.shared.say(|status| status.phase = Phase::Stopped);
        self.shared.guards.review_all(|_, _| Some(Ended::Stale));
        self.shared.ending.send_if_modified(|ending| ending.replace(Ending::Shutdown).is_none());
        let mut tasks = self.handle.tasks.lock().await;
        let Tasks { follow, others } = std::mem::take(&mut *tasks);
        // One that panicked has nothing to wait for.
        for task in others {
            let _ = task.await;
        }
        self.say_goodbye().await;
        self.shared.settled.notify_one();
        if let Some(follow) = follow {
            let _ = follow.await;
        }
    }

    async fn say_goodbye(&self) {
        let progress = self.handle.progress.borrow().clone();
        if !progress.cursor.is_empty() {
            acknowledge::hand_in(&self.shared, &self.handle.client, &progress).await;
        }
        let Progress { subscription_id, heard, earlier, .. } = progress;
        let last = Some((subscription_id, heard)).filter(|(id, _)| !id.is_empty());
        // Of those that were given up too: under one of them it may have been told that it needs no lease.
        for (subscription_id, cursor) in last.into_iter().chain(earlier.into_iter().rev()) {
            // With the cursor it says that it is the process itself: then nobody waits for its lease.
            let request = CloseSubscriptionRequest { subscription_id, cursor, ..Default::default() };
            let mut feed = self.handle.client.feed();
            match tokio::time::timeout(GOODBYE, feed.close_subscription(request)).await {
                Ok(Ok(_)) => {}
                Ok(Err(status)) => {
                    tracing::warn!(error = %crate::describe(&status), "the subscription could not be closed");
                }
                Err(_) => {
                    tracing::warn!("the subscription could not be closed in time");
                    return;
                }
            }
        }
    }

    /// The app that it follows for.
    pub(crate) fn app(&self) -> &str {
        &self.shared.app
    }

    async fn wait_for(&self, condition: impl FnMut(&ReplicaStatus) -> bool) {
        // The sender lives as long as this replica.
        let _ = self.shared.status.subscribe().wait_for(condition).await;
    }
}

async fn until(end: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = end => {}
        () = work => {}
    }
}

/// One moment of a replica.
#[derive(Debug)]
pub struct View<'r> {
    /// How the lease stood when the view was taken.
    lease: Standing,
    scope: arc_swap::Guard<Arc<Scope>>,
    shared: &'r Shared,
}

impl View<'_> {
    /// Whether the person may use the workspace, and as what.
    #[must_use]
    pub fn check<'a>(&self, person: impl Into<Person<'a>>, workspace_id: Uuid) -> Access {
        if self.lease.answers { self.ask(person.into(), workspace_id) } else { Access::Stale }
    }

    /// As [`View::check`], but also where the replica does not know any more: for who takes a stale answer knowingly, also one
    /// from before a departure that the service calls ENFORCED, after a look at [`View::age`]. [`Access::Stale`] only before the first state, and after a shutdown.
    #[must_use]
    pub fn check_however_old<'a>(&self, person: impl Into<Person<'a>>, workspace_id: Uuid) -> Access {
        if self.position() == 0 || self.shared.lease.is_stopped() {
            return Access::Stale;
        }
        self.ask(person.into(), workspace_id)
    }

    /// As [`View::check`] while there is a lease; without one also, while [`View::age`] is at most `max_staleness`: then the answer
    /// may be from before a departure that the service calls ENFORCED, and says that it is stale.
    /// Beyond it, before the first lease and after a shutdown the answer is [`Access::Stale`], however the app is
    /// registered.
    #[must_use]
    pub fn check_within<'a>(
        &self,
        person: impl Into<Person<'a>>,
        workspace_id: Uuid,
        max_staleness: Duration,
    ) -> Answer {
        let stale = !self.lease.leased;
        let access = if !stale {
            self.ask(person.into(), workspace_id)
        } else if self.age().is_some_and(|age| age <= max_staleness) {
            self.check_however_old(person, workspace_id)
        } else {
            Access::Stale
        };
        Answer { access, position: self.position(), stale: stale && access != Access::Stale }
    }

    /// As [`Replica::check_session`].
    #[must_use]
    pub fn check_session<'a>(
        &self,
        person: impl Into<Person<'a>>,
        workspace_id: Uuid,
        stamp: &Stamp,
    ) -> SessionAccess {
        if !self.lease.answers {
            return SessionAccess::Stale;
        }
        self.ask_session(person.into(), workspace_id, stamp)
    }

    /// As [`View::check_session`], but also where the replica does not know any more, like [`View::check_however_old`].
    #[must_use]
    pub fn check_session_however_old<'a>(
        &self,
        person: impl Into<Person<'a>>,
        workspace_id: Uuid,
        stamp: &Stamp,
    ) -> SessionAccess {
        if self.position() == 0 || self.shared.lease.is_stopped() {
            return SessionAccess::Stale;
        }
        self.ask_session(person.into(), workspace_id, stamp)
    }

    /// Everything at or before this position is in the answers. 0: there is no state yet.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.scope.position
    }

    /// Whether the replica did not know any more when the view was taken: [`View::check`] answers STALE.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.lease.answers
    }

    /// Whether there was a lease when the view was taken. Without one only an app that is registered with `serve_stale`
    /// answers.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.lease.leased
    }

    /// How long ago the state was known to be the newest, at most, as of when the view was taken. `None`: it never was in
    /// this process.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.lease.age()
    }

    /// The digest of everything in this state (C16), as bookmarks carry it. Of a command that came in part, that part is
    /// in it, and [`View::position`] is still before it.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        self.scope.digest.to_be_bytes()
    }

    fn ask(&self, person: Person<'_>, workspace_id: Uuid) -> Access {
        match self.scope.check(person, workspace_id) {
            Ok((allowed, _)) => Access::Allowed(allowed),
            Err(reason) => Access::Denied(reason),
        }
    }

    fn ask_session(&self, person: Person<'_>, workspace_id: Uuid, stamp: &Stamp) -> SessionAccess {
        match self.scope.check(person, workspace_id) {
            Ok((allowed, revoked)) if revoked.ends(stamp, allowed.member_id) => SessionAccess::Revoked,
            Ok((allowed, _)) => SessionAccess::Allowed(allowed),
            Err(reason) => SessionAccess::Denied(reason),
        }
    }
}

//! Digests (C16): what a follower that has applied everything up to a position must hold, in 16 bytes.
//!
//! A digest is the sum, modulo 2^128, of a hash of each live thing. So it follows each change by a subtraction and an
//! addition, and the sums of an app's organizations, which are kept apart, make those of any scope. The tail keeps them up
//! to date with what it reads; what there was before is read once, beside it, and again where the log turns out to be
//! another one.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    cursor::Scope,
    marks::Marks,
    source::{SourceError, Thing},
    tail::Heard,
};
use crate::rules::{
    ids::{AppName, OrganizationId},
    roles::{MembershipState, OrganizationState, WorkspaceState},
};

/// Things that are read at once, and taken in while the tail waits: some milliseconds.
const PAGE: usize = 2_000;
/// How long to leave a failing database alone.
const RETRY: Duration = Duration::from_secs(1);

/// Reads what there is, of all apps and of none.
pub trait Inventory: Send + Sync + 'static {
    /// Where the reading stands between two pages.
    type Cursor: Send;

    /// Reads so many live things at most, as they are; None begins. With where the next page begins; None: this was the last.
    fn live(
        &self,
        cursor: Option<Self::Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<(Vec<Counted>, Option<Self::Cursor>), SourceError>> + Send;
}

/// A thing as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    kind: Kind,
    /// The ids that make it what it is: of a workspace member the workspace, then the member.
    ids: (Uuid, Uuid),
    organization: OrganizationId,
    apps: Vec<AppName>,
    /// The number of the state in the API. None: it is not live, and counts no more.
    state: Option<u8>,
    version: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Organization = 1,
    Workspace = 2,
    Member = 3,
    WorkspaceMember = 4,
}

/// A digest, and of when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The digest.
    pub bytes: [u8; 16],
    /// Nothing of the scope changed between this position and the one that was asked for.
    pub position: i64,
}

/// The digests of everything that this replica knows. They are known some time after it has begun.
#[derive(Default)]
pub struct Digests {
    inner: RwLock<Inner>,
    /// The tail begins anew.
    anew: Notify,
}

#[derive(Default)]
struct Inner {
    /// Counts how often the tail has begun anew. 0: it has not begun.
    epoch: u64,
    /// Whether everything is in, and not only what the tail has told.
    is_known: bool,
    /// How far the tail is.
    position: i64,
    things: HashMap<(Uuid, Uuid), Held>,
    /// The versions at which things went that the tail told of, until everything is in: a page that was read before may
    /// still have them.
    gone: HashMap<(Uuid, Uuid), i64>,
    places: Places,
    sums: HashMap<AppName, OfApp>,
}

/// What is held of a live thing.
#[derive(Clone, Copy)]
struct Held {
    version: i64,
    place: u32,
    kind: Kind,
    state: u8,
}

/// Where things count: an organization, and the apps in whose scope they are. Many things share one.
#[derive(Default)]
struct Places {
    of: HashMap<(OrganizationId, Vec<AppName>), u32>,
    all: Vec<(OrganizationId, Arc<[AppName]>)>,
}

#[derive(Default)]
struct OfApp {
    whole: Sum,
    organizations: HashMap<OrganizationId, Sum>,
}

#[derive(Default, Clone, Copy)]
struct Sum {
    digest: u128,
    /// The position of the last change of it.
    changed: i64,
}

impl Counted {
    /// A thing in the scope of these apps.
    pub fn of(thing: &Thing, apps: &[AppName]) -> Self {
        let apps = apps.to_vec();
        match *thing {
            Thing::Organization { id, state, version, .. } => Self::organization(id, state, version, apps),
            Thing::Workspace { organization_id, id, state, version, .. } => {
                Self::workspace(organization_id, id.0, state, version, apps)
            }
            Thing::Member { organization_id, id, state, version, .. } => {
                Self::member(organization_id, id.0, state, version, apps)
            }
            Thing::WorkspaceMember { organization_id, workspace_id, member_id, state, version, .. } => {
                Self::workspace_member(organization_id, (workspace_id.0, member_id.0), state, version, apps)
            }
        }
    }

    /// An organization.
    pub fn organization(
        id: OrganizationId,
        state: OrganizationState,
        version: i64,
        apps: Vec<AppName>,
    ) -> Self {
        let state = match state {
            OrganizationState::Active => Some(1),
            OrganizationState::Deleted => None,
        };
        let ids = (id.0, Uuid::nil());
        Self { kind: Kind::Organization, ids, organization: id, apps, state, version }
    }

    /// A workspace.
    pub fn workspace(
        organization: OrganizationId,
        id: Uuid,
        state: WorkspaceState,
        version: i64,
        apps: Vec<AppName>,
    ) -> Self {
        let state = match state {
            WorkspaceState::Active => Some(1),
            WorkspaceState::Deleted => None,
        };
        Self { kind: Kind::Workspace, ids: (id, Uuid::nil()), organization, apps, state, version }
    }

    /// A member.
    pub fn member(
        organization: OrganizationId,
        id: Uuid,
        state: MembershipState,
        version: i64,
        apps: Vec<AppName>,
    ) -> Self {
        let (kind, ids) = (Kind::Member, (id, Uuid::nil()));
        Self { kind, ids, organization, apps, state: of_membership(state), version }
    }

    /// A workspace member, by workspace and member.
    pub fn workspace_member(
        organization: OrganizationId,
        ids: (Uuid, Uuid),
        state: MembershipState,
        version: i64,
        apps: Vec<AppName>,
    ) -> Self {
        let kind = Kind::WorkspaceMember;
        Self { kind, ids, organization, apps, state: of_membership(state), version }
    }
}

fn of_membership(state: MembershipState) -> Option<u8> {
    match state {
        MembershipState::Active => Some(1),
        MembershipState::Deactivated => Some(2),
        MembershipState::Removed | MembershipState::Erased => None,
    }
}

/// What a live thing adds.
fn hash(kind: Kind, ids: (Uuid, Uuid), state: u8, version: i64) -> u128 {
    let mut hash = Sha256::new();
    hash.update([kind as u8]);
    hash.update(ids.0);
    if kind == Kind::WorkspaceMember {
        hash.update(ids.1);
    }
    hash.update([state]);
    hash.update(version.to_be_bytes());
    hash.finalize().iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

impl Places {
    fn intern(&mut self, organization: OrganizationId, apps: Vec<AppName>) -> u32 {
        *self.of.entry((organization, apps)).or_insert_with_key(|(organization, apps)| {
            let service: AppName = AppName::SERVICE.parse().expect("a name");
            // In the scope of the service's own app is everything.
            let apps = apps.iter().cloned().chain([service]).collect();
            self.all.push((*organization, apps));
            u32::try_from(self.all.len() - 1).expect("fewer than four billion organizations")
        })
    }

    fn get(&self, place: u32) -> (OrganizationId, Arc<[AppName]>) {
        self.all[place as usize].clone()
    }
}

impl Inner {
    /// Takes a thing in, unless it is held as new or newer.
    fn apply(&mut self, thing: Counted, position: i64) {
        let Counted { kind, ids, organization, apps, state, version } = thing;
        let held = self.things.get(&ids).copied();
        let newest = held.map(|held| held.version).max(self.gone.get(&ids).copied());
        if newest.is_some_and(|newest| newest >= version) {
            return;
        }
        if let Some(Held { version, place, kind, state }) = held {
            self.add(place, hash(kind, ids, state, version).wrapping_neg(), position);
        }
        let place = self.places.intern(organization, apps);
        match state {
            Some(state) => {
                self.gone.remove(&ids);
                self.things.insert(ids, Held { version, place, kind, state });
                self.add(place, hash(kind, ids, state, version), position);
            }
            None => {
                self.things.remove(&ids);
                if !self.is_known {
                    self.gone.insert(ids, version);
                }
                self.add(place, 0, position);
            }
        }
    }

    fn add(&mut self, place: u32, what: u128, position: i64) {
        let (organization, apps) = self.places.get(place);
        for app in apps.iter() {
            let of = match self.sums.get_mut(app) {
                Some(of) => of,
                None => self.sums.entry(app.clone()).or_default(),
            };
            for sum in [&mut of.whole, of.organizations.entry(organization).or_default()] {
                sum.digest = sum.digest.wrapping_add(what);
                sum.changed = sum.changed.max(position);
            }
        }
    }
}

impl Digests {
    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        // Nothing panics in the middle of a change, and a digest that is wrong costs a refill.
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the tail tells.
    pub fn hear(&self, heard: Heard<'_>) {
        match heard {
            Heard::From(position) => {
                let mut inner = self.write();
                *inner = Inner { epoch: inner.epoch + 1, position, ..Inner::default() };
                drop(inner);
                self.anew.notify_one();
            }
            Heard::Changes(entries) => {
                let mut inner = self.write();
                for entry in entries {
                    inner.apply(Counted::of(&entry.thing, &entry.apps), entry.point.position);
                    inner.position = entry.point.position;
                }
            }
        }
    }

    /// What whoever has applied everything of a scope up to a position must hold. None: that is not known.
    pub fn of(&self, scope: &Scope, until: i64) -> Option<Digest> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if !inner.is_known {
            return None;
        }
        let position = until.min(inner.position);
        let sum = match (inner.sums.get(scope.app()), scope.organizations()) {
            (None, _) => Sum::default(),
            (Some(of), []) => of.whole,
            (Some(of), some) => {
                let sums = some.iter().filter_map(|organization| of.organizations.get(organization));
                sums.fold(Sum::default(), |all, one| Sum {
                    digest: all.digest.wrapping_add(one.digest),
                    changed: all.changed.max(one.changed),
                })
            }
        };
        // What it is by now is not what it was then.
        (sum.changed <= until).then_some(Digest { bytes: sum.digest.to_be_bytes(), position })
    }

    fn epoch(&self) -> u64 {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).epoch
    }

    /// Takes in what was read for an epoch. False: the tail has begun anew.
    fn take(&self, epoch: u64, things: Vec<Counted>) -> bool {
        let mut inner = self.write();
        if inner.epoch != epoch {
            return false;
        }
        for thing in things {
            inner.apply(thing, 0);
        }
        true
    }

    /// Everything was read that is not newer than a position, which the tail has passed.
    fn complete(&self, epoch: u64, ready: i64) {
        let mut inner = self.write();
        if inner.epoch != epoch {
            return;
        }
        // What was read may be newer than the changes that the tail had told by then.
        let inner = &mut *inner;
        for of in inner.sums.values_mut() {
            for sum in of.organizations.values_mut().chain([&mut of.whole]) {
                sum.changed = sum.changed.max(ready);
            }
        }
        inner.is_known = true;
        inner.gone = HashMap::new();
    }

    async fn fill(&self, epoch: u64, inventory: &impl Inventory, marks: &Marks) -> Result<(), SourceError> {
        let mut cursor = None;
        loop {
            let (things, next) = inventory.live(cursor.take(), PAGE).await?;
            if !self.take(epoch, things) {
                return Ok(());
            }
            match next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        // Whatever was committed before the last page is told by then.
        let ready = marks.since(Instant::now()).await.head.position;
        self.complete(epoch, ready);
        Ok(())
    }
}

/// Reads what the tail has not told, at the start and whenever it begins anew, until `shutdown`.
pub async fn keep(
    digests: Arc<Digests>,
    inventory: Arc<impl Inventory>,
    marks: Marks,
    shutdown: CancellationToken,
) {
    let keeping = async {
        let mut filled = 0;
        loop {
            let epoch = digests.epoch();
            if epoch == filled {
                digests.anew.notified().await;
                continue;
            }
            match digests.fill(epoch, &*inventory, &marks).await {
                Ok(()) => filled = epoch,
                Err(error) => {
                    tracing::warn!(%error, "what there is cannot be read for the digests");
                    sleep(RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keeping => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    fn member(number: u128, version: i64, state: MembershipState, apps: &[&str]) -> Counted {
        let apps = apps.iter().map(|name| app(name)).collect();
        Counted::member(organization(number % 2), Uuid::from_u128(100 + number), state, version, apps)
    }

    fn tell(digests: &Digests, position: i64, thing: Counted) {
        let mut inner = digests.write();
        inner.apply(thing, position);
        inner.position = position;
    }

    fn of(digests: &Digests, name: &str, organizations: &[u128], until: i64) -> Option<(u128, i64)> {
        let organizations = organizations.iter().copied().map(organization).collect();
        let digest = digests.of(&Scope::new(app(name), organizations), until)?;
        Some((u128::from_be_bytes(digest.bytes), digest.position))
    }

    fn hash_of(number: u128, version: i64, state: u8) -> u128 {
        hash(Kind::Member, (Uuid::from_u128(100 + number), Uuid::nil()), state, version)
    }

    use MembershipState::{Active, Deactivated, Removed};

    #[test]
    fn c16_a_digest_is_of_what_was_read_and_of_what_was_told_whichever_is_newer() {
        let digests = Digests::default();
        digests.hear(Heard::From(10));
        // Read ahead of the change that tells of it, and removed before it was read.
        tell(&digests, 11, member(1, 3, Removed, &["chat"]));
        let read = vec![
            member(0, 1, Active, &["chat"]),
            member(2, 7, Deactivated, &["chat", "boards"]),
            member(3, 1, Active, &[]),
        ];
        assert!(digests.take(1, read));
        assert_eq!(of(&digests, "chat", &[], 11), None, "not everything is in");
        tell(&digests, 12, member(2, 6, Active, &["chat", "boards"]));
        digests.complete(1, 12);
        let (zero, two) = (hash_of(0, 1, 1), hash_of(2, 7, 2));
        assert_eq!(of(&digests, "chat", &[], 12), Some((zero.wrapping_add(two), 12)));
        assert_eq!(of(&digests, "chat", &[0], 12), Some((zero.wrapping_add(two), 12)));
        assert_eq!(of(&digests, "chat", &[1], 12), Some((0, 12)));
        assert_eq!(of(&digests, "boards", &[], 15), Some((two, 12)), "no further than the tail");
        let everything = zero.wrapping_add(two).wrapping_add(hash_of(3, 1, 1));
        assert_eq!(of(&digests, "rollcall", &[], 12), Some((everything, 12)));
        assert_eq!(of(&digests, "unknown", &[], 12), Some((0, 12)));
        assert_eq!(of(&digests, "chat", &[], 11), None, "what was read may be newer");
    }

    /// The page was read first, then it was removed and told, and then the page is taken in.
    #[test]
    fn c16_what_went_while_its_page_was_read_does_not_come_back() {
        let digests = Digests::default();
        digests.hear(Heard::From(10));
        let page = vec![member(0, 1, Active, &["chat"]), member(1, 2, Active, &["chat"])];
        tell(&digests, 11, member(1, 3, Removed, &["chat"]));
        assert!(digests.take(1, page));
        digests.complete(1, 11);
        assert_eq!(of(&digests, "chat", &[], 11), Some((hash_of(0, 1, 1), 11)));
        // Who returns counts again.
        tell(&digests, 12, member(1, 4, Active, &["chat"]));
        let both = hash_of(0, 1, 1).wrapping_add(hash_of(1, 4, 1));
        assert_eq!(of(&digests, "chat", &[], 12), Some((both, 12)));
    }

    #[test]
    fn c16_a_digest_is_told_only_where_nothing_changed_since() {
        let digests = Digests::default();
        digests.hear(Heard::From(0));
        digests.complete(1, 0);
        tell(&digests, 5, member(0, 1, Active, &["chat"]));
        tell(&digests, 6, member(1, 1, Active, &["boards"]));
        assert_eq!(of(&digests, "chat", &[], 4), None);
        assert_eq!(of(&digests, "chat", &[], 5), Some((hash_of(0, 1, 1), 5)));
        assert_eq!(of(&digests, "chat", &[1], 4), Some((0, 4)), "nothing of it changed");
        // It leaves the sums as it is, and comes back with another version in another app too.
        tell(&digests, 7, member(0, 2, Removed, &["chat"]));
        assert_eq!(of(&digests, "chat", &[], 9), Some((0, 7)));
        tell(&digests, 8, member(0, 3, Active, &["chat", "boards"]));
        assert_eq!(of(&digests, "chat", &[], 8), Some((hash_of(0, 3, 1), 8)));
        let both = hash_of(0, 3, 1).wrapping_add(hash_of(1, 1, 1));
        assert_eq!(of(&digests, "boards", &[], 8), Some((both, 8)));
    }

    #[test]
    fn c16_another_history_begins_anew() {
        let digests = Digests::default();
        digests.hear(Heard::From(3));
        assert!(digests.take(1, vec![member(0, 1, Active, &["chat"])]));
        digests.complete(1, 3);
        digests.hear(Heard::From(2));
        assert_eq!(of(&digests, "chat", &[], 3), None);
        assert!(!digests.take(1, vec![member(0, 1, Active, &["chat"])]), "of the history before");
        digests.complete(1, 3);
        assert_eq!(of(&digests, "chat", &[], 3), None);
        digests.complete(2, 2);
        assert_eq!(of(&digests, "chat", &[], 3), Some((0, 2)));
    }
}

//! Cursors: where a stream resumes, sealed.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::source::Point;
use crate::{
    rules::ids::{AppName, ChangeId, OrganizationId, SubscriptionId},
    seal::{Fields, Purpose, Seal, SealError},
};

/// Which changes a stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    app: AppName,
    organizations: Vec<OrganizationId>,
    /// Whether it is the service's own app, in whose scope is what is of any app or of none.
    everything: bool,
    /// What a cursor remembers of the scope. Kept, since each message has a cursor.
    digest: Uuid,
}

impl Scope {
    /// The scope of an app, in some organizations or, without any, in all.
    pub fn new(app: AppName, mut organizations: Vec<OrganizationId>) -> Self {
        organizations.sort();
        organizations.dedup();
        let digest = digest(&app, &organizations);
        let everything = app.is_of_the_service();
        Self { app, organizations, everything, digest }
    }

    /// Whether a change in these apps and this organization belongs to it.
    pub fn has(&self, apps: &[AppName], organization: OrganizationId) -> bool {
        (self.everything || apps.contains(&self.app))
            && (self.organizations.is_empty() || self.organizations.binary_search(&organization).is_ok())
    }

    /// The app.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// The organizations, sorted. Empty: all.
    pub fn organizations(&self) -> &[OrganizationId] {
        &self.organizations
    }
}

fn digest(app: &AppName, organizations: &[OrganizationId]) -> Uuid {
    let mut digest = Sha256::new_with_prefix(app.as_str());
    for organization in organizations {
        digest.update([0]);
        digest.update(organization.0.as_bytes());
    }
    let digest = digest.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

/// Where a stream stands. Everything of its scope at or before `point` was sent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Where.
    pub point: Point,
    /// The subscription on whose stream it was sent. None: an observer's.
    pub subscription: Option<SubscriptionId>,
    scope: Uuid,
}

/// Why a cursor is refused (C6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorRefusal {
    /// Damaged, made up, or of another subscription where that matters.
    Invalid,
    /// Of another store. Never heals by itself.
    WrongStore,
    /// Given for another app or filter.
    ScopeChanged,
    /// The change at its position is another one, or there is none.
    Forked,
    /// Changes after its position were trimmed from the log (C8).
    Compacted,
}

impl Cursor {
    /// A cursor in a scope.
    pub fn new(point: Point, scope: &Scope, subscription: Option<SubscriptionId>) -> Self {
        Self { point, subscription, scope: scope.digest }
    }

    /// Its text for the client.
    pub fn seal(&self, seal: &Seal) -> String {
        let Self { point, subscription, scope } = self;
        let mut payload = Vec::with_capacity(8 + 3 * 16);
        payload.extend(point.position.to_be_bytes());
        payload.extend(point.change_id.0.as_bytes());
        payload.extend(scope.as_bytes());
        payload.extend(subscription.map(|id| id.0).unwrap_or_default().as_bytes());
        seal.seal(Purpose::Cursor, &payload)
    }

    /// Reads a client's text. Whether the log has the change at that position is the caller's to find out.
    pub fn open(seal: &Seal, text: &str) -> Result<Self, CursorRefusal> {
        let payload = seal.open(Purpose::Cursor, text).map_err(|error| match error {
            SealError::Invalid => CursorRefusal::Invalid,
            SealError::WrongStore => CursorRefusal::WrongStore,
        })?;
        let mut fields = Fields(&payload);
        let mut read = || {
            let point = Point { position: fields.i64()?, change_id: ChangeId(fields.uuid()?) };
            let scope = fields.uuid()?;
            let subscription = Some(fields.uuid()?).filter(|id| !id.is_nil()).map(SubscriptionId);
            Some(Self { point, subscription, scope })
        };
        read().ok_or(CursorRefusal::Invalid)
    }

    /// Whether the cursor was given for this scope.
    pub fn is_of(&self, scope: &Scope) -> bool {
        self.scope == scope.digest
    }
}

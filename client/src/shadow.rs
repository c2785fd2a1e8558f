//! Shadow mode: what Rollcall answers beside what an app decides today, before anything depends on it.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

use uuid::Uuid;

use crate::{Access, Person, Replica};

type Told = Box<dyn Fn(&Difference<'_>) + Send + Sync>;

/// Compares the decisions that an app makes today with those of a [`Replica`]. Whatever comes of it, the app's own stands:
/// no answer, and no defect here, changes what the app does.
///
/// Each comparison counts in the metric `rollcall_shadow_total`, with the app and the outcome as labels, and in
/// [`Shadow::counts`].
pub struct Shadow {
    replica: Replica,
    counts: [AtomicU64; OUTCOMES.len()],
    told: Option<Told>,
}

/// How two decisions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShadowOutcome {
    /// Both let the person in.
    BothAllow,
    /// Both keep the person out.
    BothDeny,
    /// The app lets in whom Rollcall would keep out: enforcing would close this door.
    OnlyAppAllows,
    /// Rollcall would let in whom the app keeps out: enforcing would open this door.
    OnlyRollcallAllows,
    /// Rollcall did not know: enforcing would have asked the person to try again.
    Stale,
}

const OUTCOMES: [ShadowOutcome; 5] = [
    ShadowOutcome::BothAllow,
    ShadowOutcome::BothDeny,
    ShadowOutcome::OnlyAppAllows,
    ShadowOutcome::OnlyRollcallAllows,
    ShadowOutcome::Stale,
];

impl ShadowOutcome {
    /// The label of the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BothAllow => "both_allow",
            Self::BothDeny => "both_deny",
            Self::OnlyAppAllows => "only_app_allows",
            Self::OnlyRollcallAllows => "only_rollcall_allows",
            Self::Stale => "stale",
        }
    }

    fn of(app_allows: bool, access: Access) -> Self {
        match (app_allows, access) {
            (_, Access::Stale) => Self::Stale,
            (true, Access::Allowed(_)) => Self::BothAllow,
            (false, Access::Denied(_)) => Self::BothDeny,
            (true, Access::Denied(_)) => Self::OnlyAppAllows,
            (false, Access::Allowed(_)) => Self::OnlyRollcallAllows,
        }
    }
}

/// Two decisions that do not agree.
#[derive(Debug, Clone, Copy)]
pub struct Difference<'a> {
    /// [`ShadowOutcome::OnlyAppAllows`] or [`ShadowOutcome::OnlyRollcallAllows`].
    pub outcome: ShadowOutcome,
    /// Who asked. Personal data where it is an external id.
    pub person: Person<'a>,
    /// For what.
    pub workspace_id: Uuid,
    /// What Rollcall answered, with the reason of a denial.
    pub access: Access,
    /// From which state: everything at or before this position is in the answer.
    pub position: i64,
}

/// How many comparisons came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShadowCounts {
    /// [`ShadowOutcome::BothAllow`]
    pub both_allow: u64,
    /// [`ShadowOutcome::BothDeny`]
    pub both_deny: u64,
    /// [`ShadowOutcome::OnlyAppAllows`]
    pub only_app_allows: u64,
    /// [`ShadowOutcome::OnlyRollcallAllows`]
    pub only_rollcall_allows: u64,
    /// [`ShadowOutcome::Stale`]
    pub stale: u64,
}

impl Shadow {
    /// Compares with this replica.
    #[must_use]
    pub fn new(replica: Replica) -> Self {
        Self { replica, counts: Default::default(), told: None }
    }

    /// Calls this with each difference, from within the comparison: it should be quick, as a line in a log is. A panic in
    /// it ends there.
    #[must_use]
    pub fn on_difference(mut self, told: impl Fn(&Difference<'_>) + Send + Sync + 'static) -> Self {
        self.told = Some(Box::new(told));
        self
    }

    /// Makes the app's own decision, compares it, and answers it.
    pub async fn decide<'a>(
        &self,
        person: impl Into<Person<'a>>,
        workspace_id: Uuid,
        own: impl Future<Output = bool>,
    ) -> bool {
        let person = person.into();
        self.compare(person, workspace_id, own.await)
    }

    /// Compares a decision that the app has just made, and answers it.
    pub fn compare<'a>(&self, person: impl Into<Person<'a>>, workspace_id: Uuid, app_allows: bool) -> bool {
        let person = person.into();
        let view = self.replica.view();
        let (access, position) = (view.check(person, workspace_id), view.position());
        drop(view);
        let outcome = ShadowOutcome::of(app_allows, access);
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
        let labels = [("app", self.replica.app().to_owned()), ("outcome", outcome.as_str().to_owned())];
        metrics::counter!("rollcall_shadow_total", &labels).increment(1);
        let differs = matches!(outcome, ShadowOutcome::OnlyAppAllows | ShadowOutcome::OnlyRollcallAllows);
        if let Some(told) = self.told.as_ref().filter(|_| differs) {
            let difference = Difference { outcome, person, workspace_id, access, position };
            if catch_unwind(AssertUnwindSafe(|| told(&difference))).is_err() {
                tracing::error!("what is told the differences of the shadow mode panicked");
            }
        }
        app_allows
    }

    /// What came out so far.
    #[must_use]
    pub fn counts(&self) -> ShadowCounts {
        let of = |outcome: ShadowOutcome| self.counts[outcome as usize].load(Ordering::Relaxed);
        ShadowCounts {
            both_allow: of(ShadowOutcome::BothAllow),
            both_deny: of(ShadowOutcome::BothDeny),
            only_app_allows: of(ShadowOutcome::OnlyAppAllows),
            only_rollcall_allows: of(ShadowOutcome::OnlyRollcallAllows),
            stale: of(ShadowOutcome::Stale),
        }
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow")
            .field("replica", &self.replica)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

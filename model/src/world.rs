//! What a check looks at: how much of everything, and which of the rules is switched off.

use crate::{rules::Rule, state::Age};

/// The end of a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failover {
    Never,
    /// A synchronous standby takes over: nothing is lost.
    Lossless,
    /// The standby has not received everything.
    Lossy,
}

/// The bounds of a check, and the rule that is off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    pub(crate) replicas: usize,
    pub(crate) processes: usize,
    pub(crate) changes: usize,
    /// The longest lease in ticks.
    pub(crate) ttl: Age,
    /// A call for a mark has a beginning, a moment at which it runs, and an end.
    pub(crate) calls_in_steps: bool,
    /// The service takes an acknowledgement and records the grant in one step; only the answer is late.
    pub(crate) grants_at_once: bool,
    /// Both processes have the same name: the second replaces the first.
    pub(crate) same_name: bool,
    /// The longest lease of the app is set to 1, to 2, and back.
    pub(crate) ttl_is_set: bool,
    pub(crate) failover: Failover,
    /// Verdicts and the ends of silent subscriptions.
    pub(crate) verdicts: bool,
    pub(crate) off: Option<Rule>,
}

impl World {
    /// One replica, one process, one change.
    pub(crate) const SMALL: Self = Self {
        replicas: 1,
        processes: 1,
        changes: 1,
        ttl: 2,
        calls_in_steps: false,
        grants_at_once: false,
        same_name: false,
        ttl_is_set: false,
        failover: Failover::Never,
        verdicts: true,
        off: None,
    };

    pub(crate) fn holds(&self, rule: Rule) -> bool {
        self.off != Some(rule)
    }

    /// Whether it matters what a standby has.
    pub(crate) fn has_standby(&self) -> bool {
        self.failover == Failover::Lossy || !self.holds(Rule::MarkFromPrimary)
    }
}

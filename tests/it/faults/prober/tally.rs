//! What the rounds were like, and the judgement: how long after a departure was committed an app still let the person in.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    super::ms,
    app::App,
    ask::{Grant, Heard},
    fault::Fault,
};

/// The moments of one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    /// Not later than the commit: the begin of the call, or when the database recorded the change, which is later where
    /// the call had to be repeated.
    pub(super) committed: Instant,
    /// When the caller was told that it is enforced.
    pub(super) enforced: Instant,
}

/// The sum of all rounds.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rounds: BTreeMap<&'static str, usize>,
    longest: BTreeMap<&'static str, Duration>,
    longest_on_socket: Duration,
    longest_without_lease: Duration,
    longest_to_enforced: Duration,
    after_enforced: usize,
    after_enforced_without_lease: usize,
    asked: usize,
    closed: BTreeMap<u16, usize>,
}

/// How long after the commit it was that a check which let the person in began, at the latest: 0 where none did.
///
/// An answer that came after its process was woken may have been decided only then, whenever it was asked for.
fn latest(grants: &[Grant], woken: Option<Instant>, since: Instant) -> Option<Duration> {
    grants.iter().filter_map(|grant| begun(grant, woken).checked_duration_since(since)).max()
}

fn begun(grant: &Grant, woken: Option<Instant>) -> Instant {
    match woken {
        Some(woken) if grant.answered > woken => grant.asked.max(woken),
        _ => grant.asked,
    }
}

impl Tally {
    pub(super) fn add(&mut self, fault: Fault, moments: Moments, heard: &[(&App, Heard)]) {
        *self.rounds.entry(fault.name()).or_default() += 1;
        let Moments { committed, enforced } = moments;
        self.longest_to_enforced = self.longest_to_enforced.max(enforced - committed);
        for (app, heard) in heard {
            self.asked += heard.granted.len() + heard.denied + heard.stale + heard.echoed.len();
            let of = |grants: &[Grant], since| latest(grants, app.woken, since);
            let [granted, echoed] =
                [&heard.granted, &heard.echoed].map(|grants| of(grants, committed).unwrap_or_default());
            let grants = heard.granted.iter().chain(&heard.echoed);
            let after = grants.filter(|grant| begun(grant, app.woken) > enforced).count();
            if app.leased {
                let longest = self.longest.entry(fault.name()).or_default();
                *longest = granted.max(echoed).max(*longest);
                self.longest_on_socket = self.longest_on_socket.max(echoed);
                self.after_enforced += after;
                *self.closed.entry(heard.closed.unwrap_or(0)).or_default() += 1;
            } else {
                self.longest_without_lease = self.longest_without_lease.max(granted).max(echoed);
                self.after_enforced_without_lease += after;
            }
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        let Self {
            rounds,
            longest,
            longest_on_socket,
            longest_without_lease,
            longest_to_enforced,
            after_enforced,
            after_enforced_without_lease,
            asked,
            closed,
        } = other;
        for (name, number) in rounds {
            *self.rounds.entry(name).or_default() += number;
        }
        for (name, duration) in longest {
            let longest = self.longest.entry(name).or_default();
            *longest = duration.max(*longest);
        }
        for (code, number) in closed {
            *self.closed.entry(code).or_default() += number;
        }
        self.longest_on_socket = self.longest_on_socket.max(longest_on_socket);
        self.longest_without_lease = self.longest_without_lease.max(longest_without_lease);
        self.longest_to_enforced = self.longest_to_enforced.max(longest_to_enforced);
        self.after_enforced += after_enforced;
        self.after_enforced_without_lease += after_enforced_without_lease;
        self.asked += asked;
    }

    fn longest_grant(&self) -> Duration {
        self.longest.values().copied().max().unwrap_or_default()
    }

    /// Prints the figures.
    pub(super) fn print(&self, seed: u64, bound: Duration) {
        println!("prober_seed = {seed}");
        println!("prober_rounds = {}", self.rounds.values().sum::<usize>());
        for (name, rounds) in &self.rounds {
            let longest = self.longest.get(name).copied().unwrap_or_default();
            println!("prober_rounds_{name} = {rounds}");
            println!("longest_grant_{name}_ms = {}", ms(longest));
        }
        println!("prober_answers = {}", self.asked);
        for (code, number) in &self.closed {
            println!("sockets_closed_{code} = {number}");
        }
        println!("longest_grant_ms = {}", ms(self.longest_grant()));
        println!("longest_grant_on_socket_ms = {}", ms(self.longest_on_socket));
        println!("bound_ms = {}", ms(bound));
        println!("longest_grant_without_lease_ms = {}", ms(self.longest_without_lease));
        println!("longest_to_enforced_ms = {}", ms(self.longest_to_enforced));
        println!("grants_after_enforced = {}", self.after_enforced);
        println!("grants_after_enforced_without_lease = {}", self.after_enforced_without_lease);
    }

    /// Fails where anybody was let in for longer than the lease, or after the caller was told that nobody is; and where
    /// this would not have been noticed of an app that answers without a lease.
    pub(super) fn judge(&self, bound: Duration) {
        assert!(self.longest_grant() <= bound, "nobody is let in for longer than a lease: {self:?}");
        assert_eq!(self.after_enforced, 0, "nobody is let in after ENFORCED: {self:?}");
        let noticed = self.longest_without_lease > bound && self.after_enforced_without_lease > 0;
        assert!(noticed, "an app without leases is noticed: {self:?}");
    }
}

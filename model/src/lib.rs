//! The protocol by which Rollcall proves that a change is enforced: marks, leases, registrations, verdicts, silence,
//! closing, sequencing, failover. Small enough to try everything that can happen.
//!
//! There is nothing here but tests. `docs/model.md` says what is tried and what not, and tells for each rule of the
//! protocol what happens without it.

#[cfg(test)]
mod effects;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod state;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod story;
#[cfg(test)]
mod world;

//! Tests of the feed on an in-memory log, with time paused. Names begin with the clause of the contract they check.
//!
//! [`log`] is the log, with a switch for what can go wrong with one; [`replica`] follows it and records what came;
//! [`history`] checks a recorded history against the clauses, and `bite` shows that each check fails when it should.

mod bite;
mod bookmarks;
mod commands;
mod cursors;
mod forks;
mod history;
mod interrupted;
mod log;
mod marks;
mod registry;
mod replica;
mod slow;
mod snapshots;
mod window;

use std::sync::Arc;

use uuid::Uuid;

use super::Scope;
use crate::{
    rules::ids::{AppName, OrganizationId, StoreId},
    seal::Seal,
};

fn app(name: &str) -> AppName {
    name.parse().expect("a well-formed app name")
}

fn organization(number: u128) -> OrganizationId {
    OrganizationId(Uuid::from_u128(number))
}

/// The scope that most tests follow; changes of the app `boards` are out of it.
fn chat() -> Scope {
    Scope::new(app("chat"), Vec::new())
}

fn seal() -> Arc<Seal> {
    Arc::new(Seal::new(StoreId(Uuid::from_u128(1)), vec![(1, vec![7; 32])]).expect("has a key"))
}

/// Numbers that look random and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

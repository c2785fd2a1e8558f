//! Out means out, measured from outside: chat servers (the example of the client crate) as processes, asked over HTTP and
//! over open WebSockets by something that shares no code with them, while people are deactivated and something goes
//! wrong. What counts is the longest time after a commit at which anybody was still let in, against the bound that is
//! promised: one lease. A server that answers without a lease runs along, and must be found out.
//!
//! `make prober` runs some hundred rounds in three lanes side by side; `make test` one round of each fault.

use std::env;

use futures_util::future::join_all;

use crate::chaos::random::Random;

mod app;
mod ask;
mod fault;
mod lane;
mod line;
mod tally;

use fault::Fault;
use lane::{Lane, TTL};
use tally::Tally;

/// So many lanes run side by side where there are many rounds: they mostly wait.
const LANES: usize = 3;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn c12_nobody_is_let_in_for_longer_than_a_lease_whatever_happens() {
    let seed = setting("ROLLCALL_PROBER_SEED", 1);
    let rounds = usize::try_from(setting("ROLLCALL_PROBER_ROUNDS", Fault::ALL.len() as u64)).expect("small");
    let lanes = if rounds > Fault::ALL.len() { LANES } else { 1 };
    let random = Random::new(seed);
    let running = (0..lanes).map(|lane| Box::pin(drive(random.fork(lane), rounds.div_ceil(lanes))));
    let mut tally = Tally::default();
    for of_lane in join_all(running).await {
        tally.join(of_lane);
    }
    tally.print(seed, TTL);
    tally.judge(TTL);
}

/// Rounds in which each fault comes as often as any other, in another order each time.
async fn drive(mut random: Random, rounds: usize) -> Tally {
    let mut lane = Lane::set_up(random.fork(0)).await;
    let mut tally = Tally::default();
    let mut left: Vec<Fault> = Vec::new();
    for _ in 0..rounds {
        if left.is_empty() {
            left.extend(Fault::ALL);
        }
        let fault = left.swap_remove(random.below(left.len()));
        lane.round(fault, &mut tally).await;
    }
    tally
}

//! Random commands by random people, compared after each one with a model of the rules that shares no code with the
//! service: what is answered, what the lists say, and every state that an app is shown.
//!
//! A sequence runs in a world of its own: two organizations, five workspaces in two apps, five people. Many worlds run
//! side by side on one service. The seed draws the commands, so a sequence can be repeated: a failure prints its seed
//! and the shortest sequence that dropping commands leads to.
//!
//! `make model SEQUENCES=3000 SEED=1` is the long run. Each run also judges its recordings with models that are wrong,
//! one for each section of the rules, and each must be found out: a check that accepts anything proves nothing.

use std::{collections::BTreeMap, env, sync::Arc};

use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use crate::support::{Channel, Server};

mod asking;
mod commands;
mod departures;
mod driver;
mod invitations;
mod judge;
mod names;
mod reads;
mod recording;
mod rules;
mod state;
mod told;

use commands::Step;
use judge::{Difference, judge};
use state::Bug;

/// How many sequences the everyday run has.
const SEQUENCES: u64 = 40;
/// How many commands are drawn for each, after those that fill its world.
const LENGTH: usize = 25;
/// How many worlds run side by side.
const WORLDS: u64 = 8;
/// So many failures say enough.
const FAILURES: usize = 5;
/// How often a failing sequence is tried again with fewer commands.
const ATTEMPTS: usize = 120;

const BUGS: [Bug; 10] = [Bug::A, Bug::B, Bug::C, Bug::D, Bug::E, Bug::F, Bug::G, Bug::H, Bug::I, Bug::J];

fn setting(name: &str, default: u64) -> u64 {
    let value = env::var(name).ok().filter(|value| !value.is_empty());
    value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// What some worlds came to.
#[derive(Default)]
struct Outcome {
    failures: Vec<String>,
    /// For each bug how many recordings find it out, and the lowest seed of these.
    caught: BTreeMap<String, (u64, u64)>,
    commands: u64,
    refused: BTreeMap<String, u64>,
    done: BTreeMap<String, u64>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.failures.extend(other.failures);
        self.commands += other.commands;
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        for (command, count) in other.done {
            *self.done.entry(command).or_default() += count;
        }
        for (bug, (count, seed)) in other.caught {
            let known = self.caught.entry(bug).or_insert((0, seed));
            *known = (known.0 + count, known.1.min(seed));
        }
    }

    fn count(&mut self, recording: &recording::Recording) {
        for recorded in &recording.steps {
            self.commands += 1;
            let command = format!("{:?}", recorded.step.command);
            let command = command.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
            match &recorded.answer {
                recording::Answer::Refused(reason) => {
                    *self.refused.entry(reason.clone()).or_default() += 1;
                }
                recording::Answer::Done | recording::Answer::Planned(_) => {
                    *self.done.entry(command).or_default() += 1;
                }
                recording::Answer::Skipped => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_commands_do_what_the_model_says() {
    let sequences = setting("ROLLCALL_MODEL_SEQUENCES", SEQUENCES);
    let first = setting("ROLLCALL_MODEL_SEED", 1);
    let server = Arc::new(Server::start().await);
    driver::register_apps(&server.channel()).await;
    let mut worlds = JoinSet::new();
    for world in 0..WORLDS {
        let channel: Channel =
            Endpoint::from_shared(server.endpoint()).expect("an endpoint").connect_lazy().into();
        let seeds: Vec<u64> = (first..first + sequences).filter(|seed| seed % WORLDS == world).collect();
        worlds.spawn(run(channel, seeds));
    }
    let mut outcome = Outcome::default();
    while let Some(done) = worlds.join_next().await {
        outcome.add(done.expect("a world"));
    }
    println!("{} commands in {sequences} sequences from seed {first}", outcome.commands);
    println!("done: {:?}\nrefused: {:?}", outcome.done, outcome.refused);
    for (bug, (count, seed)) in &outcome.caught {
        println!("bug {bug}: caught {count} times, first by seed {seed}");
    }
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n\n"));
    let uncaught: Vec<&Bug> =
        BUGS.iter().filter(|bug| !outcome.caught.contains_key(&format!("{bug:?}"))).collect();
    assert!(uncaught.is_empty(), "nothing finds out {uncaught:?}");
}

/// Runs these sequences, one after the other.
async fn run(channel: Channel, seeds: Vec<u64>) -> Outcome {
    let mut outcome = Outcome::default();
    for seed in seeds {
        let steps = commands::sequence(seed, LENGTH);
        let recording = driver::record(channel.clone(), &steps).await;
        outcome.count(&recording);
        if let Err(difference) = judge(&recording, None) {
            outcome.failures.push(shrunk(&channel, seed, steps, difference).await);
            if outcome.failures.len() >= FAILURES {
                break;
            }
            continue;
        }
        for bug in BUGS {
            if judge(&recording, Some(bug)).is_err() {
                let known = outcome.caught.entry(format!("{bug:?}")).or_insert((0, seed));
                known.0 += 1;
            }
        }
    }
    outcome
}

/// Leaves out what the failure does not need; the rest in words.
async fn shrunk(channel: &Channel, seed: u64, mut steps: Vec<Step>, mut difference: Difference) -> String {
    steps.truncate(difference.steps);
    let (mut at, mut attempts) = (steps.len().saturating_sub(1), 0);
    while at > 0 && attempts < ATTEMPTS {
        at = (at - 1).min(steps.len().saturating_sub(2));
        let mut fewer = steps.clone();
        fewer.remove(at);
        attempts += 1;
        let recording = driver::record(channel.clone(), &fewer).await;
        if let Err(other) = judge(&recording, None) {
            fewer.truncate(other.steps);
            (steps, difference) = (fewer, other);
        }
    }
    let lines: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
    format!("seed {seed}:\n{}\n  {}", lines.join("\n"), difference.what)
}

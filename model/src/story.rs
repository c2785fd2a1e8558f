//! What the checker finds, in words, and the document that keeps it.

use std::{env, fs, path::Path};

use stateright::Path as Way;

use crate::{
    protocol::{BOUND, Protocol},
    rules::{CASES, Case},
    state::State,
    steps::Step,
};

const CHANGES: [&str; 2] = ["X", "Y"];
const REPLICAS: [&str; 2] = ["A", "B"];
const PROCESSES: [&str; 2] = ["chat-1", "chat-2"];

/// The marks in the document between which the stories stand.
const BEGIN: &str = "<!-- From here on written by the test `every_rule_is_needed`. -->\n";

/// The steps of a way, a line for each, with the tick in which it happens.
pub(crate) fn tell(way: Way<State, Step>) -> Vec<String> {
    let mut tick = 0;
    let mut told = Vec::new();
    let way = way.into_vec();
    for (at, (state, step)) in way.iter().enumerate() {
        let (Some(step), Some((next, _))) = (step, way.get(at + 1)) else { continue };
        match step {
            Step::Tick => tick += 1,
            Step::ReplicaSleeps(_) | Step::ProcessSleeps(_) => {
                told.push(format!("{tick}: {}", say(*step, state, next)));
                tick += 1;
            }
            _ => told.push(format!("{tick}: {}", say(*step, state, next))),
        }
    }
    if let Some((last, _)) = way.last() {
        for (p, process) in last.processes.iter().enumerate() {
            for (x, change) in CHANGES.iter().enumerate() {
                if last.committed[x].is_some() && !last.lost[x] && process.answers_from_before(x) {
                    let verdict = if last.enforced[x] { ", and the verdict was ENFORCED" } else { "" };
                    told.push(format!(
                        "{tick}: {} answers a check from before {change}{verdict}.",
                        PROCESSES[p]
                    ));
                }
            }
        }
    }
    told
}

fn say(step: Step, state: &State, next: &State) -> String {
    let ticks = |number: u8| if number == 1 { "1 tick".to_owned() } else { format!("{number} ticks") };
    match step {
        Step::Tick => String::new(),
        Step::ReplicaSleeps(r) => format!("The machine of replica {} is suspended for a tick.", REPLICAS[r]),
        Step::ProcessSleeps(p) => format!("The machine of {} is suspended for a tick.", PROCESSES[p]),
        Step::Draw(x) => {
            format!("The transaction that writes {} draws position {}.", CHANGES[x], next.drawn[x])
        }
        Step::Commit(x) => format!("{} is committed.", CHANGES[x]),
        Step::Sequence => format!("What is pending is sequenced; the head is {}.", next.database.log.len()),
        Step::SetTtl(ttl) => format!("The longest lease of the app is set to {}.", ticks(ttl)),
        Step::Mark { r, .. } => {
            format!("Replica {} makes a mark: the head is {}.", REPLICAS[r], next.replicas[r].window.len())
        }
        Step::BeginMark(r) => format!("Replica {} begins a call for a mark.", REPLICAS[r]),
        Step::RunMark { r, .. } => {
            let head = next.replicas[r].call.and_then(|call| call.head).unwrap_or_default();
            format!("The call of replica {} runs and finds the head {head}.", REPLICAS[r])
        }
        Step::EndMark(r) => format!("The answer reaches replica {}: it has a mark.", REPLICAS[r]),
        Step::RestartReplica(r) => format!("Replica {} restarts.", REPLICAS[r]),
        Step::Learn { r, p } => format!("Replica {} reads that {} is registered.", REPLICAS[r], PROCESSES[p]),
        Step::BeginRegister(p) => {
            let head = next.database.rows[p].head;
            format!("A transaction begins that registers {} and sees the head {head}.", PROCESSES[p])
        }
        Step::Register(p) => format!("The registration of {} is committed.", PROCESSES[p]),
        Step::Apply { p, r } => {
            let to = next.processes[p].applied.len();
            format!("{} applies what replica {} streams, up to {to}.", PROCESSES[p], REPLICAS[r])
        }
        Step::Refill(p) => {
            format!("{} hears that its history is no more, and fills itself anew.", PROCESSES[p])
        }
        Step::Send(p) => {
            format!("{} sends an acknowledgement of {}.", PROCESSES[p], next.processes[p].applied.len())
        }
        Step::SendReceived { p, .. } => {
            let cursor = next.processes[p].call.map_or(0, |call| call.cursor.len());
            format!("{} sends an acknowledgement of {cursor}.", PROCESSES[p])
        }
        Step::Acknowledge { p, r } => {
            format!("{} acknowledges; replica {} records a grant.", PROCESSES[p], REPLICAS[r])
        }
        Step::Take { r, p } => match next.replicas[r].grants[p].and_then(|grant| grant.lease) {
            Some(lease) => {
                format!("Replica {} takes it and computes a lease of {}.", REPLICAS[r], ticks(lease))
            }
            None => match next.processes[p].call.and_then(|call| call.answer) {
                Some(lease) => {
                    format!("Replica {} answers it with a lease of {}.", REPLICAS[r], ticks(lease))
                }
                None => format!("Replica {} takes it and has no mark for a lease.", REPLICAS[r]),
            },
        },
        Step::Record { r, p } => {
            let grant = state.replicas[r].grants[p].and_then(|grant| grant.lease);
            let row = if state.database.rows[p].counts() { "The row takes it" } else { "No row takes it" };
            match grant {
                Some(_) => format!("{row}, and replica {} answers.", REPLICAS[r]),
                None => format!("{row}, without a lease."),
            }
        }
        Step::Receive(p) => match next.processes[p].lease {
            Some(left) => {
                format!("The answer reaches {}: {} of its lease are left.", PROCESSES[p], ticks(left))
            }
            None => format!("The answer reaches {} too late.", PROCESSES[p]),
        },
        Step::Die(p) => format!("{} dies.", PROCESSES[p]),
        Step::Forget(p) => format!("Somebody may take the place of {}.", PROCESSES[p]),
        Step::RestartWithLease(p) => {
            format!("{} restarts with an older copy and the lease that it had.", PROCESSES[p])
        }
        Step::RestartWithSubscription(p) => {
            format!("{} restarts with an older copy and the subscription that it had.", PROCESSES[p])
        }
        Step::Stop(p) => format!("{} stops answering and sends that it closes.", PROCESSES[p]),
        Step::CloseStopped(p) => format!("The row of {} is closed by its holder.", PROCESSES[p]),
        Step::CloseRunning(p) => format!("{} closes its subscription, and goes on answering.", PROCESSES[p]),
        Step::CloseByOther(p) => format!("Somebody else closes the subscription of {}.", PROCESSES[p]),
        Step::BeginLook => "A replica begins to read how many grants each row has had.".to_owned(),
        Step::Look => "A replica has read how many grants each row has had.".to_owned(),
        Step::End(p) => format!("The subscription of {} is ended for its silence.", PROCESSES[p]),
        Step::Remember => "A replica reads the rows.".to_owned(),
        Step::Verdict(x) => format!("A verdict: all have applied {}, it is ENFORCED.", CHANGES[x]),
        Step::VerdictByTime(x) => format!("A verdict by time: {} is ENFORCED.", CHANGES[x]),
        Step::Replicate => "The standby has received everything so far.".to_owned(),
        Step::FailOver => "The primary fails, and the standby takes its place.".to_owned(),
        Step::Reconnect(r) => format!("Replica {} connects to the new primary.", REPLICAS[r]),
    }
}

fn written(case: &Case) -> String {
    let promise = if case.promise == BOUND { "the bound" } else { "the verdict" };
    let way = Protocol::new(case.world()).broken(case.promise);
    let way = way.unwrap_or_else(|| panic!("{:?} is not needed: {promise} holds without it", case.rule));
    let steps: Vec<String> = tell(way).iter().map(|line| format!("- {line}\n")).collect();
    format!("\n### {}\n\nWithout it: {} It breaks {promise}.\n\n{}", case.says, case.without, steps.concat())
}

/// Each rule of the protocol, switched off alone, lets a promise break, and the document tells how.
#[test]
fn every_rule_is_needed() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/model.md");
    let document = fs::read_to_string(&place).expect("docs/model.md");
    let (introduction, kept) = document.split_once(BEGIN).expect("the line where the stories begin");
    let stories: String = CASES.iter().map(written).collect();
    if env::var_os("ROLLCALL_WRITE_MODEL").is_some() {
        fs::write(&place, format!("{introduction}{BEGIN}{stories}")).expect("written");
    } else {
        assert!(
            kept == stories,
            "docs/model.md tells another story: run with ROLLCALL_WRITE_MODEL=1 and read it"
        );
    }
}

//! T10: the process of an instance is stopped, or its connections are dead without anybody knowing. Its lease lapses, what is
//! waited for ends without it, and it lets nobody in when it wakes; a dead connection is ended within the time of keepalive.

use std::time::Duration;

use rollcall_client::{connect, v1::InstanceState};
use rustix::process::Signal;
use tokio::{process::Command, time::Instant};

use super::{
    crew::{Crew, Instance, Process},
    network::{Way, Wire},
    scene::{Scene, until},
    size,
};
use crate::{processes::rollcall, support::python};

/// An idle connection is asked for a sign of life every 20 s, and has 10 s to give one; and what a busy machine may need.
const KEEPALIVE: Duration = Duration::from_secs(30);
const SLACK: Duration = Duration::from_secs(10);
/// How often the broken one is tried at most.
const TRIES: usize = 5;

/// Stops a process while somebody leaves. Gives what it says of them when it wakes.
async fn woken(command: Command, name: &str) -> String {
    let ttl = size(Duration::from_secs(2), Duration::from_secs(30));
    let scene = Scene::start(&[]).await;
    let crew = Crew::make(scene.replica.client().channel().into(), 1).await;
    crew.lease(ttl).await;
    let well = Instance::start(scene.replica.client(), "well", |_| {}).await;
    let mut frozen = Process::start(command, &scene.replica.endpoint(), name);
    frozen.until(&crew, &crew.people[0], "allowed").await;
    frozen.signal(Signal::STOP);
    let stopped = Instant::now();
    let (chat, at) = crew.enforced(crew.out(&crew.people[0]).await).await;
    let lapsed: Vec<_> = chat.late.iter().map(|late| (late.instance.as_str(), late.state())).collect();
    assert!(lapsed.contains(&(name, InstanceState::Lapsed)), "{chat:?}");
    assert_eq!((chat.instances, chat.applied_instances, chat.lapsed_instances), (2, 1, 1), "{chat:?}");
    println!("t10_{name}_lapsed_after_s = {:.2}", at.duration_since(stopped).as_secs_f64());
    assert!(!well.check(&crew, &crew.people[0]).is_allowed());
    // It finds the question before anything that the service has sent it.
    frozen.ask(&crew, &crew.people[0]).await;
    frozen.signal(Signal::CONT);
    let answer = frozen.answer().await;
    println!("t10_{name}_answers = {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_a_stopped_process_lapses_and_lets_nobody_in_when_it_wakes() {
    let answer = woken(rollcall(["conformance-instance"]), "rust").await;
    assert!(["stale", "denied"].contains(&answer.as_str()), "{answer}");
}

/// One that counts its lease by a clock that stands still while it is stopped. It reads its stream beside the question, and
/// now and then finds there in time who left: then it is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn t10_a_process_that_sleeps_through_its_lease_is_found_out() {
    let Some(python) = python().await else { return };
    let instance = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/instance.py");
    for _ in 0..TRIES {
        let mut command = Command::new(&python);
        command.args(["-B", instance, "--broken", "ticks"]);
        if woken(command, "sleeper").await.starts_with("allowed") {
            return;
        }
    }
    panic!("nobody was let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_a_dead_connection_is_ended_within_the_time_of_keepalive() {
    // It takes half a minute in which nothing happens.
    if !super::full() {
        println!("skipped: with ROLLCALL_FAULTS=full only");
        return;
    }
    let scene = Scene::start(&[]).await;
    let crew = Crew::make(scene.replica.client().channel().into(), 1).await;
    let wire = Wire::before(&scene.replica.endpoint()).await;
    let dead = Instance::start(connect(&wire.endpoint()).expect("an endpoint"), "dead", |_| {}).await;
    let well = Instance::start(scene.replica.client(), "well", |_| {}).await;
    wire.let_pass(Way::Silent);
    let cut = Instant::now();
    let verdict = async {
        let (chat, at) = crew.enforced(crew.out(&crew.people[0]).await).await;
        println!("t10_dead_connection_lapsed_after_s = {:.2}", at.duration_since(cut).as_secs_f64());
        assert_eq!((chat.instances, chat.applied_instances, chat.lapsed_instances), (2, 1, 1), "{chat:?}");
        assert!(!dead.check(&crew, &crew.people[0]).is_allowed());
    };
    let reaped = async {
        until("the end of a dead connection", async || wire.ended() > 0).await;
        let took = cut.elapsed();
        println!("t10_reaped_after_s = {:.2}", took.as_secs_f64());
        assert!(took < KEEPALIVE + SLACK, "{took:?}");
    };
    tokio::join!(verdict, reaped);
    assert!(!well.check(&crew, &crew.people[0]).is_allowed());
}

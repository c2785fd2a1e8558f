//! Replicas that end behind a proxy, and come back: Envoy asks by `grpc.health.v1`, haproxy asks `/readyz`, nginx asks nobody.
//! Calls go to the other replica; what the docs say of each is counted.

use std::collections::BTreeMap;

use rustix::process::Signal;
use tokio::{task::JoinHandle, time::Instant};
use tonic::Status;

use super::*;
use crate::{faults::scene::Pen, support::Database};

/// What Envoy says of one replica.
#[derive(Debug, Default, Clone)]
struct Host {
    numbers: BTreeMap<String, u64>,
    flags: String,
}

impl Host {
    async fn ask(front: &Front, replica: &Replica) -> Self {
        let prefix = format!("rollcall::{}::", replica.address());
        let mut host = Self::default();
        for line in front.asked("/clusters").await.lines().filter_map(|line| line.strip_prefix(&prefix)) {
            let Some((name, value)) = line.split_once("::") else { continue };
            if name == "health_flags" {
                value.clone_into(&mut host.flags);
            } else if let Ok(number) = value.parse() {
                host.numbers.insert(name.to_owned(), number);
            }
        }
        host
    }

    fn number(&self, name: &str) -> u64 {
        *self.numbers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Calls that were sent, and connections that could not be made to send some.
    fn sent(&self) -> u64 {
        self.number("rq_total") + self.number("cx_connect_fail")
    }
}

/// A write that a replica cannot end for as long as this is kept: its drain waits for it.
struct Held {
    holds: Database,
    call: JoinHandle<Result<i64, Status>>,
}

impl Held {
    async fn at(scene: &Scene, replica: &Replica, organization: &str) -> Self {
        let holds = scene.database.another().await;
        let lock =
            format!("BEGIN; SELECT * FROM organizations WHERE organization_id = '{organization}' FOR UPDATE");
        holds.client.batch_execute(&lock).await.expect("held");
        let mut pen = Pen::new(replica.client().channel().into(), organization);
        let call = tokio::spawn(async move { pen.rename().await });
        let pid = "SELECT pg_backend_pid()";
        let pid: i32 = holds.client.query_one(pid, &[]).await.expect("its number").get(0);
        until("the call", async || {
            let query = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))";
            scene.database.client.query_one(query, &[&pid]).await.expect("a count").get::<_, i64>(0) > 0
        })
        .await;
        Self { holds, call }
    }

    async fn let_go(self) {
        self.holds.client.batch_execute("ROLLBACK").await.expect("let go");
        // It was answered, or had waited for longer than the service lets anyone wait.
        let _ = soon("the end of the call", self.call).await.expect("no panic");
    }
}

/// What came of drains behind Envoy.
#[derive(Debug, Default)]
struct Drained {
    /// Calls that failed for who made them.
    failed: i64,
    /// What Envoy sent to a replica after it was to have noticed.
    sent: u64,
    wrong: Wrong,
}

/// As the page has it, but that it asks nobody and repeats nothing.
const ASKS_NOBODY: &[(&str, &str)] =
    &[("interval: 1s", "interval: 1000s"), ("num_retries: 3", "num_retries: 0")];

/// Two replicas behind Envoy are ended and started again in turn.
async fn drained(asks: bool) -> Option<Drained> {
    let mut pair = Pair::start().await;
    let changed: &[_] = if asks { &[] } else { ASKS_NOBODY };
    let settings = Settings { changed, ..Settings::with(Duration::from_secs(15)) };
    let front = Front::start(Kind::Envoy, pair.at, settings).await?;
    let elsewhere = Crew::make(pair.direct(), 0).await.org.id;
    let followers = Follower::start_some(|| front.client(), size(4, 20)).await;
    let channels: Vec<Channel> = (0..4).map(|_| front.channel()).collect();
    let load = Load::start(&pair.scene.small, &channels, 4).await;
    let (drains, mut noticed, mut result) = (size(2, 20), Vec::new(), Drained::default());
    for drain in 0..drains {
        load.more(50).await;
        // Its drain lasts until this is let go.
        let leaves = if drain % 2 == 0 { &pair.scene.replica } else { &pair.other };
        assert!(Host::ask(&front, leaves).await.number("rq_total") > 0, "it is used");
        let held = Held::at(&pair.scene, leaves, &elsewhere).await;
        leaves.signal(Signal::TERM);
        let begun = Instant::now();
        if asks {
            until("Envoy to notice", async || {
                Host::ask(&front, leaves).await.flags.contains("/failed_active_hc")
            })
            .await;
            noticed.push(begun.elapsed());
            // One thread of Envoy has noticed; the one that sends is told a moment later.
            load.more(8).await;
        } else {
            load.more(20).await;
        }
        let before = Host::ask(&front, leaves).await.sent();
        load.more(100).await;
        result.sent += Host::ask(&front, leaves).await.sent() - before;
        let written = head(&pair.scene.database).await;
        for follower in &followers {
            follower.reached(written).await;
        }
        held.let_go().await;
        let ended = if drain % 2 == 0 { &mut pair.scene.replica } else { &mut pair.other };
        assert!(soon("the end of the replica", ended.end()).await.success());
        ended.restart().await;
        if asks {
            until("Envoy to notice", async || Host::ask(&front, ended).await.flags == "healthy").await;
        }
        let before = Host::ask(&front, ended).await.number("rq_success");
        until("it to be used again", async || Host::ask(&front, ended).await.number("rq_success") > before)
            .await;
    }
    let repeated = front.asked("/stats?filter=cluster.rollcall.upstream_rq_retry$").await;
    let sum = load.end(&pair.scene.database, None).await;
    result.wrong = judge_all(&pair.scene.database, &followers).await;
    result.failed = sum.retries;
    if asks {
        noticed.sort_unstable();
        println!("t37_envoy_drains = {drains}");
        println!("t37_envoy_drain_noticed_p50_ms = {}", ms(noticed[noticed.len() / 2]));
        println!("t37_envoy_drain_noticed_worst_ms = {}", ms(noticed[noticed.len() - 1]));
        let repeated = repeated.lines().find_map(|line| line.split_once("upstream_rq_retry: "));
        println!("t37_envoy_drain_calls_repeated_by_it = {}", repeated.map_or("?", |(_, number)| number));
        println!("t37_envoy_drain_cuts = {}", followers.iter().map(Follower::cuts).sum::<usize>());
        sum.judge("t37_envoy_drain");
    }
    Some(result)
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_envoy_sends_nothing_to_a_replica_that_drains() {
    let Some(result) = drained(true).await else { return };
    println!("t37_envoy_drain_calls_failed = {}", result.failed);
    println!("t37_envoy_drain_sent_to_it_after_that = {}", result.sent);
    println!("t37_envoy_drain_gaps = {}", result.wrong.lost);
    assert_eq!((result.failed, result.sent, result.wrong), (0, 0, Wrong::default()));
}

/// What the test above relies on.
#[tokio::test(flavor = "multi_thread")]
async fn t37_an_envoy_that_asks_nobody_is_found_to_send_calls_to_a_replica_that_drains() {
    let Some(result) = drained(false).await else { return };
    println!("t37_envoy_that_asks_nobody = {result:?}");
    assert!(result.failed > 0 && result.sent > 0, "{result:?}");
    // Who repeats loses nothing even so.
    assert_eq!(result.wrong, Wrong::default());
}

/// And that: a replica that does not drain costs calls, however Envoy is set. They are repeated by who made them, and have one
/// effect.
#[tokio::test(flavor = "multi_thread")]
async fn t37_a_replica_that_is_killed_behind_envoy_is_found_to_cost_calls() {
    let mut pair = Pair::start().await;
    let settings = Settings::with(Duration::from_secs(15));
    let Some(front) = Front::start(Kind::Envoy, pair.at, settings).await else { return };
    let channels: Vec<Channel> = (0..8).map(|_| front.channel()).collect();
    let load = Load::start(&pair.scene.small, &channels, 8).await;
    let mut kills = 0;
    until("a call that fails", async || {
        load.more(20).await;
        pair.other.kill().await;
        load.more(20).await;
        pair.other.restart().await;
        kills += 1;
        until("Envoy to notice", async || Host::ask(&front, &pair.other).await.flags == "healthy").await;
        load.retries() > 0
    })
    .await;
    println!("t37_envoy_kills_until_calls_failed = {kills}");
    load.end(&pair.scene.database, None).await.judge("t37_envoy_killed");
}

/// The others: what they meet when replicas end in turn. haproxy must have noticed by its check of `/readyz`.
async fn ended_in_turn(kind: Kind) {
    let name = kind.name();
    let mut pair = Pair::start().await;
    let settings = Settings::with(Duration::from_secs(15));
    let Some(front) = Front::start(kind, pair.at, settings).await else { return };
    let elsewhere = Crew::make(pair.direct(), 0).await.org.id;
    let followers = Follower::start_some(|| front.client(), size(4, 20)).await;
    let channels: Vec<Channel> = (0..4).map(|_| front.channel()).collect();
    let load = Load::start(&pair.scene.small, &channels, 4).await;
    let drains = size(2, 20);
    for drain in 0..drains {
        load.more(size(50, 500)).await;
        let leaves = if drain % 2 == 0 { &pair.scene.replica } else { &pair.other };
        let held = Held::at(&pair.scene, leaves, &elsewhere).await;
        leaves.signal(Signal::TERM);
        says(&front, kind, drain, "is DOWN").await;
        load.more(20).await;
        held.let_go().await;
        let ended = if drain % 2 == 0 { &mut pair.scene.replica } else { &mut pair.other };
        assert!(soon("the end of the replica", ended.end()).await.success());
        load.more(20).await;
        ended.restart().await;
        says(&front, kind, drain, "is UP").await;
    }
    let sum = load.end(&pair.scene.database, None).await;
    let wrong = judge_all(&pair.scene.database, &followers).await;
    println!("t37_{name}_drains = {drains}");
    println!("t37_{name}_drain_calls_failed = {}", sum.retries);
    println!("t37_{name}_drain_cuts = {}", followers.iter().map(Follower::cuts).sum::<usize>());
    println!("t37_{name}_drain_gaps = {}", wrong.lost);
    sum.judge(&format!("t37_{name}_drain"));
    assert_eq!(wrong, Wrong::default());
    // None, but for one that was on its way to a replica that ended.
    assert!(sum.retries <= sum.commands / 10, "{} of {} calls failed", sum.retries, sum.commands);
}

/// Waits until haproxy has said this of the replica that is ended in this turn, for the first time or once more.
async fn says(front: &Front, kind: Kind, drain: usize, what: &str) {
    if kind == Kind::Haproxy {
        let line = format!("replicas/replica-{} {what}", drain % 2 + 1);
        until(&line, async || front.log().matches(&line).count() > drain / 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_behind_nginx_replicas_that_end_cost_no_change() {
    ended_in_turn(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_behind_haproxy_replicas_that_end_cost_no_change() {
    ended_in_turn(Kind::Haproxy).await;
}

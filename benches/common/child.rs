//! Followers in processes of their own: the bench starts itself again with the argument `child`, and reads what that
//! prints. Times are of the clock that all processes of a machine share.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use rollcall_client::{NothingToEnd, Replica, ReplicaOptions, connect, v1::WatchRequest};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{Barrier, mpsc as channel};
use tokio_postgres::{AsyncMessage, NoTls};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::{
    report::{Samples, monotonic, wall},
    seed::{APP, Kind},
    skim::{Message, OfMember, Placed, Timed, watch},
};

/// Runs as a child where the arguments say so. True: that was all.
pub(crate) fn is_child() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(at) = arguments.iter().position(|argument| argument == "child") else { return false };
    let rest: Vec<&str> = arguments[at + 1..].iter().map(String::as_str).collect();
    super::place::raise_open_files();
    super::runtime().block_on(async {
        match rest[..] {
            ["times", endpoint] => times(endpoint).await,
            ["listen", url] => listen(url).await,
            ["streams", endpoint, number, per_connection] => {
                streams(endpoint, count(number), count(per_connection)).await;
            }
            ["catchup", endpoint, number, cursor, until] => {
                catch_up(endpoint, count(number), cursor, count(until) as i64).await;
            }
            ["snapshot", endpoint] => snapshot(endpoint).await,
            ["instance", endpoint, app] => instance(endpoint, app).await,
            _ => panic!("no such child: {rest:?}"),
        }
    });
    true
}

fn count(text: &str) -> usize {
    text.parse().expect("a number")
}

/// A child that is running, as its parent sees it. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("child").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a child");
        let stdin = child.stdin.take().expect("its input");
        let stdout = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines }
    }

    /// Its next line.
    pub(crate) fn line(&self, within: Duration) -> String {
        self.lines.recv_timeout(within).expect("the child says something in time")
    }

    /// Waits for this line.
    pub(crate) fn until(&self, wanted: &str, within: Duration) {
        let begun = Instant::now();
        while self.line(within.saturating_sub(begun.elapsed())) != wanted {}
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, text: &str) {
        writeln!(self.stdin, "{text}").expect("the child listens");
    }

    /// When which key was received: takes lines until all of these are there, or for so long.
    pub(crate) fn received(&self, keys: &HashSet<(u64, i64)>, within: Duration) -> HashMap<(u64, i64), i64> {
        let begun = Instant::now();
        let mut found = HashMap::new();
        while found.len() < keys.len() {
            let Ok(line) = self.lines.recv_timeout(within.saturating_sub(begun.elapsed())) else { break };
            let numbers: Vec<i64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
            if let [number, version, at] = numbers[..]
                && keys.contains(&(number.cast_unsigned(), version))
            {
                found.insert((number.cast_unsigned(), version), at);
            }
        }
        found
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Sends a signal to a child.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("a signal");
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn channel(endpoint: &str) -> Channel {
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).expect("an endpoint").tcp_nodelay(true);
    endpoint.connect().await.expect("a connection")
}

fn request(instance: Option<usize>, cursor: &str) -> WatchRequest {
    WatchRequest {
        app: APP.to_owned(),
        instance: instance.map(|number| format!("bench-{number}")).unwrap_or_default(),
        cursor: cursor.to_owned(),
        ..Default::default()
    }
}

/// Prints number and version of each member whose change arrives, and when. `ready` once the snapshot is there.
async fn times(endpoint: &str) {
    let mut stream = watch::<OfMember>(channel(endpoint).await, request(None, "")).await.expect("a stream");
    let mut out = std::io::stdout().lock();
    let prefix = format!("{:08x}-0000-7000-8000-", Kind::Member as u32);
    // It ends with the service; what is missing then is missed by the parent.
    while let Ok(Some(message)) = stream.message().await {
        let now = monotonic();
        if message.end.is_some() {
            writeln!(out, "ready").expect("the parent reads");
        }
        let changes = message.batch.map(|batch| batch.changes).unwrap_or_default();
        for member in changes.into_iter().filter_map(|change| change.subject?.member) {
            let number = member.member_id.strip_prefix(&prefix);
            let number = number.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default();
            writeln!(out, "{number} {} {now}", member.version).expect("the parent reads");
        }
        out.flush().expect("the parent reads");
    }
}

/// Prints each notification's number, and when it arrived: the yardstick of delivery.
async fn listen(url: &str) {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    let (sender, mut notes) = channel::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(note) = message {
                let _ = sender.send((note.payload().to_owned(), monotonic()));
            }
        }
    });
    client.batch_execute("LISTEN raw").await.expect("it listens");
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready").expect("the parent reads");
    while let Some((number, at)) = notes.recv().await {
        writeln!(out, "{number} 0 {at}").expect("the parent reads");
    }
}

/// What the streams of a child received since it was told to begin.
#[derive(Default)]
struct Tally {
    measuring: bool,
    messages: u64,
    changes: u64,
    latencies: Samples,
}

/// Opens many streams, each an instance of the app. Prints `open` when each has its snapshot; told `begin` it counts what
/// arrives, told `count` it prints how many changes that is, told `end` it prints `messages changes p50_ms p99_ms`, of times from the record of a change to its arrival.
async fn streams(endpoint: &str, number: usize, per_connection: usize) {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let open = Arc::new(Barrier::new(number + 1));
    // As a fleet starts, not all in the same moment.
    let opening = Arc::new(tokio::sync::Semaphore::new(32));
    let mut connection = None;
    for instance in 0..number {
        if instance % per_connection == 0 {
            connection = Some(channel(endpoint).await);
        }
        let channel = connection.clone().expect("a connection");
        let (tally, open, opening) = (Arc::clone(&tally), Arc::clone(&open), Arc::clone(&opening));
        tokio::spawn(async move {
            let permit = opening.acquire_owned().await.expect("it stays open");
            let mut stream = watch::<Timed>(channel, request(Some(instance), "")).await.expect("a stream");
            let mut waiting = Some((permit, open));
            while let Ok(Some(message)) = stream.message().await {
                if message.end.is_some()
                    && let Some((permit, open)) = waiting.take()
                {
                    drop(permit);
                    tokio::spawn(async move { open.wait().await });
                }
                if let Some(batch) = message.batch {
                    take(&tally, &batch.changes);
                }
            }
        });
    }
    open.wait().await;
    println!("open");
    let (sender, mut told) = channel::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    while let Some(line) = told.recv().await {
        let mut tally = tally.lock().expect("no one fails with it");
        if line == "begin" {
            *tally = Tally { measuring: true, ..Tally::default() };
        } else if line == "count" {
            println!("{}", tally.changes);
        } else {
            tally.measuring = false;
            let Tally { messages, changes, latencies, .. } = &*tally;
            let (p50, p99) = (latencies.percentile(50.0), latencies.percentile(99.0));
            println!("{messages} {changes} {p50} {p99}");
        }
    }
}

fn take(tally: &Mutex<Tally>, changes: &[Timed]) {
    let now = wall();
    let mut tally = tally.lock().expect("no one fails with it");
    if tally.measuring {
        tally.messages += 1;
        tally.changes += changes.len() as u64;
        let recorded = changes.iter().filter_map(|change| change.recorded);
        let ages = recorded.map(|at| now - (at.seconds * 1_000_000_000 + i64::from(at.nanos)));
        tally.latencies.extend(ages);
    }
}

/// Reads the log after a cursor on so many streams at once. Prints how many changes came and in how many seconds.
async fn catch_up(endpoint: &str, number: usize, cursor: &str, until: i64) {
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now();
    let mut connection = None;
    for stream in 0..number {
        if stream % 10 == 0 {
            connection = Some(channel(endpoint).await);
        }
        let (channel, request) = (connection.clone().expect("a connection"), request(None, cursor));
        tasks.spawn(async move {
            let mut stream = watch::<Placed>(channel, request).await.expect("a stream");
            let (mut changes, mut position) = (0_u64, 0);
            while position < until {
                let message = stream.message().await.expect("a message").expect("the stream goes on");
                if let Some(batch) = message.batch {
                    changes += batch.changes.len() as u64;
                    position = batch.changes.last().map_or(position, |last| last.position);
                }
                position = message.bookmark.map_or(position, |bookmark| bookmark.position);
            }
            changes
        });
    }
    let mut changes = 0;
    while let Some(read) = tasks.join_next().await {
        changes += read.expect("a reader does not fail");
    }
    println!("{changes} {}", begun.elapsed().as_secs_f64());
}

/// Takes one snapshot. Prints how many things it had, in how many seconds, and the cursor at its end.
async fn snapshot(endpoint: &str) {
    let channel = channel(endpoint).await;
    let begun = Instant::now();
    let mut stream = watch::<Placed>(channel, request(None, "")).await.expect("a stream");
    let mut things = 0;
    loop {
        let message: Message<Placed> =
            stream.message().await.expect("a message").expect("the stream goes on");
        things += message.page.map_or(0, |page| page.subjects.len());
        if message.end.is_some() {
            println!("{things} {} {}", begun.elapsed().as_secs_f64(), message.cursor);
            return;
        }
    }
}

/// An instance of an app: a live replica. Says of each account and workspace that it is told whether it lets them in: `in`
/// or `out`.
async fn instance(endpoint: &str, app: &str) {
    let client = connect(endpoint).expect("an endpoint");
    let replica = Replica::start(client, ReplicaOptions::new(app, "frozen"), NothingToEnd);
    let answering = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let (account, workspace) = line.split_once(' ').expect("two ids");
            let [account, workspace] = [account, workspace].map(|id| id.parse::<Uuid>().expect("an id"));
            let allowed = replica.check(account, workspace).is_allowed();
            println!("{}", if allowed { "in" } else { "out" });
        }
    });
    answering.await.expect("it answers until its input ends");
}

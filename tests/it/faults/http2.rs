//! T28 and T29: floods below gRPC, over connections whose frames are made by hand. The service ends what is no client, keeps
//! its memory, and answers the others.

use std::{fs, sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, interval};

use super::{
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, PING, RST_STREAM,
        Raw, SETTINGS, WINDOW_UPDATE, frame, head, header,
    },
    ms, p99,
    scene::{Pen, Scene, soon, until},
    size,
};

const LIST_APPS: &str = "/rollcall.v1.AppService/ListApps";
/// Why a connection is ended whose peer is told to be calm.
const ENHANCE_YOUR_CALM: u32 = 11;
/// What an attack may cost in memory, at most: connections have buffers, a debug build some more.
const MEMORY: u64 = 64 << 20;
/// A stall, on whatever machine.
const STALL: Duration = Duration::from_secs(5);

/// How long calls of somebody else take, one after the other, while something goes on; one at least.
async fn calls(pen: &mut Pen, during: impl Future<Output = ()>) -> Vec<Duration> {
    let mut pace = interval(Duration::from_millis(5));
    let mut took = Vec::new();
    let mut during = std::pin::pin!(during);
    let mut goes_on = true;
    while goes_on || took.is_empty() {
        pace.tick().await;
        let begun = Instant::now();
        let answer = async { soon("an answer", pen.rename()).await.expect("others are served") };
        let mut answer = std::pin::pin!(answer);
        // The attack goes on while somebody waits for the answer.
        if goes_on {
            tokio::select! {
                _ = &mut answer => {
                    took.push(begun.elapsed());
                    continue;
                }
                () = &mut during => goes_on = false,
            }
        }
        answer.await;
        took.push(begun.elapsed());
    }
    took
}

/// Seconds of processor time that a process has used.
fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("its name").split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// The service, and how quick it is in good times.
struct Stage {
    scene: Scene,
    address: String,
    before: Duration,
}

impl Stage {
    async fn set() -> Self {
        let scene = Scene::start(&[]).await;
        let address = scene.replica.endpoint().strip_prefix("http://").expect("an address").to_owned();
        let quiet =
            calls(&mut scene.pen(), tokio::time::sleep(Duration::from_millis(size(500, 5_000)))).await;
        Self { scene, address, before: p99(quiet) }
    }

    /// Lets an attack go on while somebody else calls, and prints what it did to them.
    async fn under(&self, name: &str, attack: impl Future<Output = ()>) {
        self.under_of(name, MEMORY, attack).await;
    }

    /// The same, of an attack that may cost so much memory.
    async fn under_of(&self, name: &str, memory_bound: u64, attack: impl Future<Output = ()>) {
        let replica = &self.scene.replica;
        let (memory, used, begun) = (replica.resident_bytes(), cpu(replica.pid()), Instant::now());
        let during = calls(&mut self.scene.pen(), attack).await;
        let (grown, used) = (replica.resident_bytes().saturating_sub(memory), cpu(replica.pid()) - used);
        let slowest = during.iter().max().copied().unwrap_or_default();
        let now = p99(during);
        println!("{name}_seconds = {:.1}", begun.elapsed().as_secs_f64());
        println!("{name}_others_p99_ms = {} before {}", ms(now), ms(self.before));
        println!("{name}_others_ratio = {:.2}", now.as_secs_f64() / self.before.as_secs_f64());
        println!("{name}_rss_grown_mib = {:.1}", grown as f64 / f64::from(1 << 20));
        println!("{name}_cpu_share = {:.2}", used / begun.elapsed().as_secs_f64());
        assert!(grown < memory_bound, "{name}: {grown} bytes more");
        assert!(slowest < STALL, "{name}: others waited {slowest:?}");
    }

    /// A connection, which must be given.
    async fn raw(&self) -> Raw {
        Raw::open(&self.address, &[]).await.expect("a connection")
    }

    /// Makes connection after connection, on each what `say` says for each next stream, until it is ended or has had so
    /// many streams. Gives of each connection that was ended why, and how many streams it had by then.
    async fn insist(
        &self,
        connections: usize,
        streams: u32,
        say: impl Fn(u32) -> Vec<u8>,
    ) -> Vec<(u32, u32)> {
        let mut ended = Vec::new();
        for _ in 0..connections {
            let mut raw = self.raw().await;
            let mut next = 1;
            while next < 2 * streams && raw.heard().goaway.is_none() {
                // Some at a time, as many as a packet holds.
                let bytes: Vec<u8> = (0..50).flat_map(|number| say(next + 2 * number)).collect();
                next += 100;
                if raw.send(&bytes).await.is_err() {
                    break;
                }
            }
            raw.ends(Duration::from_millis(500)).await;
            if let Some((last, why)) = raw.heard().goaway {
                ended.push((why, last.div_ceil(2)));
            }
        }
        ended
    }
}

/// Most of the streams that connections had until they were ended.
fn most(ended: &[(u32, u32)]) -> u32 {
    ended.iter().map(|(_, streams)| *streams).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn t28_calls_that_are_taken_back_end_the_connection() {
    let stage = Stage::set().await;
    let (connections, streams) = (size(20, 200), 20_000);
    let head = head(LIST_APPS);
    // CVE-2023-44487: begun and taken back at once.
    stage
        .under("t28_rapid_reset", async {
            let ended = stage
                .insist(connections, streams, |stream| {
                    let begin = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
                    [begin, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
                })
                .await;
            println!("t28_rapid_reset_goaways = {} of {connections}", ended.len());
            println!("t28_rapid_reset_streams_until_goaway = {}", most(&ended));
            assert_eq!(ended.len(), connections, "each connection is ended");
            assert!(ended.iter().all(|(why, _)| *why == ENHANCE_YOUR_CALM), "{ended:?}");
            assert!(most(&ended) < 5_000, "soon: {ended:?}");
        })
        .await;
    // CVE-2025-8671: the service is made to reset them, each while its call runs.
    stage
        .under("t28_made_you_reset", async {
            let ended = stage
                .insist(connections, streams, |stream| {
                    let begin = frame(HEADERS, END_HEADERS, stream, &head);
                    // A window beyond its bound breaks the protocol, in this stream alone.
                    [begin, frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())].concat()
                })
                .await;
            println!("t28_made_you_reset_goaways = {} of {connections}", ended.len());
            println!("t28_made_you_reset_streams_until_goaway = {}", most(&ended));
            assert_eq!(ended.len(), connections, "each connection is ended");
            assert!(ended.iter().all(|(why, _)| *why == ENHANCE_YOUR_CALM), "{ended:?}");
            assert!(most(&ended) < 1_000, "before the library would: {ended:?}");
        })
        .await;
    // The same with data on a stream that is closed for it.
    stage
        .under("t28_data_after_end", async {
            let ended = stage
                .insist(connections, streams, |stream| {
                    let begin = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
                    [begin, frame(DATA, 0, stream, &[0; 5])].concat()
                })
                .await;
            println!("t28_data_after_end_goaways = {} of {connections}", ended.len());
            println!("t28_data_after_end_streams_until_goaway = {}", most(&ended));
            assert_eq!(ended.len(), connections, "each connection is ended");
            assert!(most(&ended) < 1_000, "before the library would: {ended:?}");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t29_floods_of_frames_cost_nobody_else() {
    let stage = Stage::set().await;
    let (connections, frames) = (size(20, 50), size(20_000, 400_000));
    // Heads that do not end: of much, and of nothing at all.
    for (name, filler) in
        [("t29_continuation", header("x-filler", &"x".repeat(4_000))), ("t29_empty_continuation", Vec::new())]
    {
        stage
            .under(name, async {
                let mut most = 0;
                for _ in 0..connections {
                    let mut raw = stage.raw().await;
                    let mut sent = 0;
                    let begun = raw.send(&frame(HEADERS, END_STREAM, 1, &head(LIST_APPS))).await;
                    assert!(begun.is_ok(), "a connection takes the begin of a head");
                    let more = frame(CONTINUATION, 0, 1, &filler).repeat(10);
                    while sent < frames && !raw.heard().closed && raw.send(&more).await.is_ok() {
                        sent += 10;
                    }
                    assert!(
                        raw.ends(Duration::from_secs(5)).await,
                        "{name}: a head that does not end is cut"
                    );
                    most = most.max(sent);
                }
                println!("{name}_frames_sent_until_the_end = {most}");
            })
            .await;
    }
    // Frames that have to be answered, by a peer that reads the answers.
    for (name, flood) in [
        ("t29_ping", frame(PING, 0, 0, &[7; 8])),
        ("t29_settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
    ] {
        stage
            .under(name, async {
                let mut raw = stage.raw().await;
                let many = flood.repeat(100);
                let mut sent = 0;
                while sent < frames && raw.send(&many).await.is_ok() {
                    sent += 100;
                }
                println!("{name}_frames = {sent}, {:?}", raw.heard());
            })
            .await;
    }
    // Frames of settings that nobody asked for, acknowledged a thousand times.
    stage
        .under("t29_settings_ack", async {
            let mut raw = stage.raw().await;
            let many = frame(SETTINGS, ACK, 0, &[]).repeat(100);
            let mut sent = 0;
            while sent < frames && raw.send(&many).await.is_ok() {
                sent += 100;
            }
            println!("t29_settings_ack_frames = {sent}, {:?}", raw.heard());
        })
        .await;
}

/// Calls of one connection that want an answer at once: as many as may wait for their turn.
const WANTED: u32 = 150;
/// What an answer that nobody takes may cost until its connection ends: the call, its stream and what was written of it.
const UNTAKEN: u64 = 16 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn t29_answers_that_are_taken_byte_by_byte_cost_little() {
    let stage = Stage::set().await;
    let connections = size(4, 50);
    let untaken = u64::from(WANTED) * connections as u64 * UNTAKEN;
    stage
        .under_of("t29_window_of_one", MEMORY + untaken, async {
            let taken = |raw: &Raw| raw.taken.load(Ordering::Relaxed);
            let mut open = Vec::new();
            for _ in 0..connections {
                let settings = [(INITIAL_WINDOW_SIZE, 1)];
                let mut raw = Raw::open(&stage.address, &settings).await.expect("a connection");
                let ask = |number| {
                    let begin = frame(HEADERS, END_HEADERS, 2 * number + 1, &head(LIST_APPS));
                    [begin, frame(DATA, END_STREAM, 2 * number + 1, &[0; 5])].concat()
                };
                let asked: Vec<u8> = (0..WANTED).flat_map(ask).collect();
                raw.send(&asked).await.expect("as many as it may");
                // Every stream gets the byte that it may have, and no more.
                until("a byte of each answer", async || taken(&raw) >= u64::from(WANTED)).await;
                open.push(raw);
            }
            println!("t29_window_of_one_answers = {}", open.iter().map(taken).sum::<u64>());
            let stays = |raw: &Raw| taken(raw) == u64::from(WANTED) && !raw.heard().closed;
            assert!(open.iter().all(stays), "a byte each");
        })
        .await;
}

/// Half a minute: at full size only.
#[tokio::test(flavor = "multi_thread")]
async fn t29_who_is_slow_to_say_what_they_want_is_cut() {
    if !super::full() {
        return;
    }
    let stage = Stage::set().await;
    stage
        .under("t29_slow_head", async {
            let begun = Instant::now();
            let mut raw = stage.raw().await;
            raw.send(&frame(HEADERS, END_STREAM, 1, &head(LIST_APPS))).await.expect("the begin of a head");
            // A frame a second is no flood, but a head has only so many of them.
            while !raw.ends(Duration::from_secs(1)).await {
                let one = frame(CONTINUATION, 0, 1, &header("x", "y"));
                if raw.send(&one).await.is_err() {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "it goes on and on");
            }
            println!("t29_slow_head_cut_after_s = {:.1}", begun.elapsed().as_secs_f64());
        })
        .await;
    stage
        .under("t29_slow_frame", async {
            let begun = Instant::now();
            let mut raw = stage.raw().await;
            let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0; 10_000]);
            raw.send(&whole[..9]).await.expect("the begin of a frame");
            // A byte a second. The ping that asks whether somebody is there cannot be answered within a frame.
            while !raw.ends(Duration::from_secs(1)).await {
                if raw.send(&[0]).await.is_err() {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "it goes on and on");
            }
            println!("t29_slow_frame_cut_after_s = {:.1}", begun.elapsed().as_secs_f64());
        })
        .await;
    stage
        .under("t29_slow_preface", async {
            let begun = Instant::now();
            let mut silent = tokio::net::TcpStream::connect(&stage.address).await.expect("a connection");
            let end =
                soon("the end", tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut Vec::new())).await;
            println!("t29_slow_preface_cut_after_s = {:.1}, {end:?}", begun.elapsed().as_secs_f64());
            assert!(begun.elapsed() < Duration::from_secs(30));
        })
        .await;
}

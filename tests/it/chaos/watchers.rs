//! The watchers: some through the client crate, some reading the messages as they come, which shows what each says of the
//! one before it. Each goes on over all cuts, until it has passed the end of the log.

use std::time::Duration;

use rollcall_client::{
    Event, Interruption, Watch, WatchOptions, connect, reason,
    v1::{
        AcknowledgeRequest, WatchRequest, WatchResponse, feed_service_client::FeedServiceClient,
        watch_response,
    },
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::{
    history::{Acknowledged, Body, Lines, Message, Recorder, Stream, Tried, Watcher},
    random::Random,
};

/// Three times the interval of bookmarks without a message is a dead connection.
const SILENCE: Duration = Duration::from_secs(3);
/// Every so many messages one who reads by hand acknowledges.
const ACKNOWLEDGES: usize = 5;
/// How long a replica that is started anew may take to open a stream.
const OPEN: Duration = Duration::from_secs(10);

/// What a watcher is told from outside.
#[derive(Clone)]
pub(super) struct Outside {
    pub(super) endpoints: Vec<String>,
    pub(super) recorder: Recorder,
    /// The end of the log, once the writers have stopped.
    pub(super) end: watch::Receiver<Option<i64>>,
    /// How far the log is, now and then.
    pub(super) head: watch::Receiver<i64>,
    /// How long after the end a watcher may take to reach it.
    pub(super) catch_up: Duration,
}

/// Records one watcher.
struct Recording {
    watcher: Watcher,
    recorder: Recorder,
    lines: Lines,
    position: i64,
    lost_us: u64,
}

impl Recording {
    fn new(outside: &Outside, name: &str, app: &str, organizations: &[String]) -> Self {
        let watcher = Watcher {
            name: name.to_owned(),
            app: app.to_owned(),
            organizations: organizations.to_vec(),
            streams: Vec::new(),
            acknowledged: Vec::new(),
            tried: Vec::new(),
        };
        let lines = outside.recorder.lines(&format!("watcher-{name}"));
        Self { watcher, recorder: outside.recorder.clone(), lines, position: 0, lost_us: 0 }
    }

    fn begin(&mut self, requested: &str) {
        self.lines
            .write(&serde_json::json!({ "stream": self.watcher.streams.len(), "requested": requested }));
        let stream = Stream { requested: requested.to_owned(), lost_us: self.lost_us, ..Default::default() };
        self.watcher.streams.push(stream);
    }

    fn message(&mut self, previous: Option<String>, cursor: String, body: Body) {
        match &body {
            Body::Bookmark { position } | Body::SnapshotEnd { position, .. } => self.reached(*position),
            Body::Batch { changes, more_parts: false } => {
                changes.last().into_iter().for_each(|last| self.reached(last.position));
            }
            _ => {}
        }
        let message = Message { at_us: self.recorder.now_us(), previous, cursor, body };
        self.lines.write(&message);
        self.watcher.streams.last_mut().expect("a stream").messages.push(message);
    }

    fn reached(&mut self, position: i64) {
        self.position = self.position.max(position);
    }

    fn cut(&mut self, why: &str) {
        self.lost_us = self.recorder.now_us();
        self.lines.write(&serde_json::json!({ "lost": why, "at_us": self.lost_us }));
    }

    /// Acknowledges; one that fails is no harm, the next one says more.
    async fn acknowledge(&mut self, request: AcknowledgeRequest, position: i64, channel: Channel) {
        let (subscription, began_us) = (request.subscription_id.clone(), self.recorder.now_us());
        let answer = timeout(OPEN, FeedServiceClient::new(channel).acknowledge(request)).await;
        let applied = match answer {
            Ok(Ok(answer)) => Some(answer.into_inner().applied_position),
            Ok(Err(status)) => {
                self.refused(&status);
                None
            }
            Err(_) => None,
        };
        let answered_us = self.recorder.now_us();
        let acknowledged = Acknowledged { subscription, began_us, answered_us, position, applied };
        self.lines.write(&acknowledged);
        self.watcher.acknowledged.push(acknowledged);
    }

    /// A cursor of its own was refused, if that is what it says.
    fn refused(&mut self, status: &Status) {
        let reason = reason(status).map_or("", |reason| reason.as_str_name());
        if reason.contains("_CURSOR_") {
            self.watcher.tried.push(Tried { what: "its own", due: None, refusal: Some(reason.to_owned()) });
        }
    }

    fn gap(&mut self, gap: &str) {
        if self.watcher.streams.is_empty() {
            self.begin("");
        }
        self.watcher.streams.last_mut().expect("a stream").gap = Some(gap.to_owned());
    }
}

/// Whether everything up to the end was told.
fn has_ended(outside: &Outside, position: i64) -> bool {
    outside.end.borrow().is_some_and(|end| position >= end)
}

/// Returns where the end is known for long and not reached: what is missing then is the validators' to say.
async fn late(outside: &Outside) {
    let mut end = outside.end.clone();
    if end.wait_for(Option::is_some).await.is_err() {
        // The run was given up elsewhere.
        std::future::pending::<()>().await;
    }
    sleep(outside.catch_up).await;
}

/// A channel to all replicas: each new stream goes to one of those that answer.
pub(super) fn balanced(endpoints: &[String]) -> Channel {
    let endpoints = endpoints.iter().map(|endpoint| {
        let endpoint = Endpoint::from_shared(endpoint.clone()).expect("an endpoint");
        endpoint.connect_timeout(Duration::from_secs(2)).tcp_nodelay(true)
    });
    Channel::balance_list(endpoints)
}

/// Follows through the client crate, over any replica or a single one. With `instance` it acknowledges what it has.
/// With `handed_over`, the watch is dropped every so many messages, and another one goes on from its cursor.
pub(super) async fn by_client(
    outside: Outside,
    name: &'static str,
    options: WatchOptions,
    (only, handed_over): (Option<usize>, Option<usize>),
) -> Watcher {
    let channel = match only {
        Some(replica) => connect(&outside.endpoints[replica]).expect("an endpoint").channel(),
        None => balanced(&outside.endpoints),
    };
    let mut recording = Recording::new(&outside, name, &options.app, &options.organization_ids);
    let following = async {
        let mut watch = Watch::new(channel.clone(), options.clone());
        let mut messages = 0;
        while !has_ended(&outside, recording.position) {
            let requested = watch.cursor().unwrap_or_default().to_owned();
            let message = match watch.next().await {
                // Nothing that a sound service makes its watchers hear.
                Err(error) => {
                    recording.gap(&error.to_string());
                    recording.cut(&error.to_string());
                    continue;
                }
                Ok(event) => event,
            };
            let message = match message {
                Event::Disconnected { cause, .. } => {
                    if let Interruption::Gap(gap) = &cause {
                        recording.gap(&gap.to_string());
                    }
                    recording.cut(&cause.to_string());
                    continue;
                }
                Event::Opened(opened) => {
                    recording.begin(&requested);
                    watch_response::Message::Opened(opened)
                }
                Event::SnapshotPage(page) => watch_response::Message::SnapshotPage(page),
                Event::SnapshotEnd(end) => watch_response::Message::SnapshotEnd(end),
                Event::Batch(batch) => watch_response::Message::Batch(batch),
                Event::Bookmark(bookmark) => watch_response::Message::Bookmark(bookmark),
            };
            let body = Body::from(&message);
            let resumable = !matches!(
                body,
                Body::Opened { .. } | Body::Page { .. } | Body::Batch { more_parts: true, .. }
            );
            let cursor =
                if resumable { watch.cursor().unwrap_or_default().to_owned() } else { String::new() };
            recording.message(None, cursor, body);
            messages += 1;
            if messages % 50 == 0 {
                let applied = watch.acknowledgeable().map(|(subscription, cursor)| AcknowledgeRequest {
                    subscription_id: subscription.to_owned(),
                    applied_cursor: cursor.to_owned(),
                    ..Default::default()
                });
                if let Some(applied) = applied {
                    let position = recording.position;
                    recording.acknowledge(applied, position, channel.clone()).await;
                }
            }
            if handed_over.is_some_and(|count| messages % count == 0) {
                // What a restarted process does that has stored its cursor.
                let cursor = watch.cursor().map(str::to_owned);
                recording.cut("handed over");
                watch = Watch::new(channel.clone(), WatchOptions { cursor, ..options.clone() });
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = late(&outside) => {}
    }
    recording.lines.flush();
    recording.watcher
}

/// Follows by reading what comes, each stream on a replica drawn at random, from the head's having reached `from` on.
pub(super) async fn by_hand(
    outside: Outside,
    name: &'static str,
    app: &'static str,
    instance: &'static str,
    (mut random, from): (Random, i64),
) -> Watcher {
    let mut recording = Recording::new(&outside, name, app, &[]);
    let following = async {
        outside.head.clone().wait_for(|head| *head >= from).await.expect("a head");
        let (mut cursor, mut subscription_id) = (String::new(), String::new());
        while !has_ended(&outside, recording.position) {
            let endpoint = random.pick(&outside.endpoints);
            let request = WatchRequest {
                app: app.to_owned(),
                instance: instance.to_owned(),
                subscription_id: subscription_id.clone(),
                cursor: cursor.clone(),
                ..Default::default()
            };
            match open(endpoint, request).await {
                Ok(stream) => {
                    let replica = random.pick(&outside.endpoints).clone();
                    let held = (&mut cursor, &mut subscription_id);
                    let why = read(&outside, stream, &mut recording, held, (&mut random, &replica)).await;
                    recording.cut(&why);
                }
                // Its replica is down: the next draw may hit another.
                Err(status) => {
                    status.iter().for_each(|status| recording.refused(status));
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = late(&outside) => {}
    }
    recording.lines.flush();
    recording.watcher
}

/// A channel to one replica.
pub(super) fn channel(endpoint: &str) -> Channel {
    Endpoint::from_shared(endpoint.to_owned()).expect("an endpoint").tcp_nodelay(true).connect_lazy()
}

/// Opens a stream. What fails says why, unless it only takes too long.
async fn open(endpoint: &str, request: WatchRequest) -> Result<Streaming<WatchResponse>, Option<Status>> {
    let mut client = FeedServiceClient::new(channel(endpoint)).max_decoding_message_size(16 << 20);
    let opened = timeout(OPEN, client.watch(request)).await.map_err(|_| None)?;
    opened.map(tonic::Response::into_inner).map_err(Some)
}

/// Reads until the stream is lost or the end was told; says why. Now and then it acknowledges through some replica: the
/// cursor that it holds or, late, one that it held.
async fn read(
    outside: &Outside,
    mut stream: Streaming<WatchResponse>,
    recording: &mut Recording,
    (cursor, subscription_id): (&mut String, &mut String),
    (random, replica): (&mut Random, &str),
) -> String {
    let opened = Instant::now();
    recording.begin(cursor);
    let mut held: Vec<(String, i64)> = Vec::new();
    loop {
        let message = match timeout(SILENCE, stream.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return "it ended".to_owned(),
            Ok(Err(status)) => return rollcall_client::describe(&status),
            // A snapshot is no tail: its first page may take its time.
            Err(_) if opened.elapsed() < OPEN => continue,
            Err(_) => return "silence".to_owned(),
        };
        let WatchResponse { previous_cursor, cursor: next, message } = message;
        let message = message.expect("every message says something");
        if let watch_response::Message::Opened(opened) = &message {
            subscription_id.clone_from(&opened.subscription_id);
        }
        recording.message(Some(previous_cursor), next.clone(), Body::from(&message));
        if !next.is_empty() {
            held.push((next.clone(), recording.position));
            *cursor = next;
            if held.len().is_multiple_of(ACKNOWLEDGES) {
                let late = if random.below(3) == 0 { random.below(held.len()) } else { held.len() - 1 };
                let (applied_cursor, position) = held[late].clone();
                let request = AcknowledgeRequest {
                    subscription_id: subscription_id.clone(),
                    applied_cursor,
                    ..Default::default()
                };
                recording.acknowledge(request, position, channel(replica)).await;
            }
        }
        if has_ended(outside, recording.position) {
            return "the end".to_owned();
        }
    }
}

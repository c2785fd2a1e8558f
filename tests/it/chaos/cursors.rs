//! One who tries cursors out, on a replica drawn at random each time: those that it was given, and those that are not its
//! own. What each came to is recorded (C6).

use std::time::Duration;

use rollcall_client::{
    reason,
    v1::{
        AcknowledgeRequest, RegisterAppRequest, WatchRequest, WatchResponse,
        app_service_client::AppServiceClient, feed_service_client::FeedServiceClient,
        watch_response::Message,
    },
};
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming, transport::Channel};

use super::{
    history::{Lines, Tried},
    random::Random,
    watchers::{Outside, channel},
};
use crate::support::{Channel as Checked, Server};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// What a replica that was just killed or started may take.
const ANSWER: Duration = Duration::from_secs(10);
const APP: &str = "chat";

/// What came of a try. None: nobody answered.
type Came = Option<Option<String>>;

struct Trying {
    outside: Outside,
    random: Random,
    lines: Lines,
    /// The cursors that it was given, oldest first.
    own: Vec<String>,
    subscription_id: String,
    foreign: String,
    tried: Vec<Tried>,
}

/// Tries until the end is known.
pub(super) async fn try_out(outside: Outside, random: Random) -> Vec<Tried> {
    let foreign = cursor_of_another_store().await;
    let lines = outside.recorder.lines("tried");
    let (own, subscription_id) = (Vec::new(), String::new());
    let mut trying = Trying { outside, random, lines, own, subscription_id, foreign, tried: Vec::new() };
    while trying.outside.end.borrow().is_none() {
        if trying.own.is_empty() {
            trying.begin().await;
        } else {
            trying.once().await;
        }
        sleep(PAUSE).await;
    }
    trying.lines.flush();
    trying.tried
}

/// A cursor that another store gave for the same app.
async fn cursor_of_another_store() -> String {
    let server = Server::start().await;
    let app = RegisterAppRequest { app: APP.to_owned(), ..Default::default() };
    AppServiceClient::new(server.channel()).register_app(app).await.expect("an app");
    let request = WatchRequest { app: APP.to_owned(), ..Default::default() };
    let mut feed = FeedServiceClient::<Checked>::new(server.channel());
    let mut stream = feed.watch(request).await.expect("a stream").into_inner();
    let cursor = first_cursor(&mut stream).await.expect("a cursor");
    server.stop().await;
    cursor
}

async fn first_cursor(stream: &mut Streaming<WatchResponse>) -> Option<String> {
    loop {
        let message = stream.message().await.ok()??;
        if !message.cursor.is_empty() {
            return Some(message.cursor);
        }
    }
}

/// Why a call was refused, where it was about its cursor.
fn refusal(status: &Status) -> Came {
    let reason = reason(status)?.as_str_name().trim_start_matches("ERROR_REASON_").to_owned();
    reason.starts_with("CURSOR_").then_some(Some(reason))
}

impl Trying {
    fn feed(&mut self) -> FeedServiceClient<Channel> {
        let endpoint = self.random.pick(&self.outside.endpoints).clone();
        FeedServiceClient::new(channel(&endpoint)).max_decoding_message_size(16 << 20)
    }

    /// Becomes an instance, and is given the first cursor.
    async fn begin(&mut self) {
        let mut feed = self.feed();
        let opening = async {
            let request = self.request(APP, "");
            let mut stream = feed.watch(request).await.ok()?.into_inner();
            let Some(Message::Opened(opened)) = stream.message().await.ok()??.message else { return None };
            Some((opened.subscription_id, first_cursor(&mut stream).await?))
        };
        if let Ok(Some((subscription_id, cursor))) = timeout(ANSWER, opening).await {
            self.subscription_id = subscription_id;
            self.own.push(cursor);
        }
    }

    fn request(&self, app: &str, cursor: &str) -> WatchRequest {
        let (instance, subscription_id) = if app == APP {
            ("tries".to_owned(), self.subscription_id.clone())
        } else {
            (String::new(), String::new())
        };
        WatchRequest {
            app: app.to_owned(),
            instance,
            subscription_id,
            cursor: cursor.to_owned(),
            ..Default::default()
        }
    }

    async fn once(&mut self) {
        let own = self.random.pick(&self.own).clone();
        let (foreign, damaged) = (self.foreign.clone(), self.damaged(&own));
        let (what, due, came) = match self.random.below(6) {
            0 | 1 => ("its own", None, self.watch(APP, &own).await),
            2 => ("of another app", Some("CURSOR_SCOPE_CHANGED"), self.watch("boards", &own).await),
            3 => ("of another store", Some("CURSOR_WRONG_STORE"), self.watch(APP, &foreign).await),
            4 => ("damaged", Some("CURSOR_INVALID"), self.watch(APP, &damaged).await),
            _ => match self.random.below(3) {
                0 => ("its own, acknowledged", None, self.acknowledge(&own).await),
                1 => (
                    "of another store, acknowledged",
                    Some("CURSOR_WRONG_STORE"),
                    self.acknowledge(&foreign).await,
                ),
                _ => ("damaged, acknowledged", Some("CURSOR_INVALID"), self.acknowledge(&damaged).await),
            },
        };
        if let Some(refusal) = came {
            let tried = Tried { what, due, refusal };
            self.lines.write(&tried);
            self.tried.push(tried);
        }
    }

    /// A character is another one.
    fn damaged(&mut self, cursor: &str) -> String {
        let mut bytes = cursor.as_bytes().to_vec();
        let place = self.random.below(bytes.len());
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).expect("ASCII")
    }

    async fn watch(&mut self, app: &str, cursor: &str) -> Came {
        let (mut feed, request) = (self.feed(), self.request(app, cursor));
        let watching = async {
            let mut stream = match feed.watch(request).await {
                Ok(stream) => stream.into_inner(),
                Err(status) => return (refusal(&status), None),
            };
            match stream.message().await.ok().flatten().and_then(|message| message.message) {
                Some(Message::Opened(opened)) if !opened.snapshot_follows => {
                    (Some(None), first_cursor(&mut stream).await)
                }
                Some(other) => (Some(Some(format!("{other:?}"))), None),
                None => (None, None),
            }
        };
        let (came, next) = timeout(ANSWER, watching).await.unwrap_or((None, None));
        // What comes after a cursor of its own is its own as well.
        if app == APP
            && came == Some(None)
            && self.own.iter().any(|own| own == cursor)
            && let Some(next) = next
        {
            self.own.push(next);
        }
        came
    }

    async fn acknowledge(&mut self, cursor: &str) -> Came {
        let mut feed = self.feed();
        let request = AcknowledgeRequest {
            subscription_id: self.subscription_id.clone(),
            applied_cursor: cursor.to_owned(),
            ..Default::default()
        };
        match timeout(ANSWER, feed.acknowledge(request)).await.ok()? {
            Ok(_) => Some(None),
            Err(status) => refusal(&status),
        }
    }
}

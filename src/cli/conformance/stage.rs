//! A script's instance and its side of the service: what the script can do, and what it can wait for.

use std::{os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc, time::Duration};

use rollcall_client::v1::{ErrorReason, Subject};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, transport::Server};
use uuid::Uuid;

use super::{
    desk::{Acknowledged, CALLS, Desk, Service, WatchCall, refusal},
    instance::{Instance, Said, Start},
    line::{Line, Opening},
    report::{Failure, Passed, ensure},
    world::{Person, World},
};
use crate::proto::{DESCRIPTORS, WatchRequest, feed_service_server::FeedServiceServer};

/// How long leases last in the scripts: the shortest that an app can be registered with.
pub(super) const TTL: Duration = Duration::from_secs(2);
/// How long a process may take until it follows. Some languages start slowly, and several start at once.
pub(super) const STARTING: Duration = Duration::from_secs(30);
/// How soon an instance has to do what it does at once, on a machine that is busy.
pub(super) const SOON: Duration = Duration::from_secs(5);
/// How often is looked again at what cannot be awaited.
const LOOK: Duration = Duration::from_millis(20);
/// Where the log of the scripts begins.
const BEGINNING: i64 = 10;

/// A directory for what an instance keeps over a restart. It goes with the script.
struct Place(PathBuf);

impl Place {
    fn make() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("rollcall-conformance-{}", Uuid::new_v4()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A directory that stays harms nobody: the system clears it away.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::new("an instance that can be started", error.to_string())
}

fn start(command: &[String], url: &str, app: &str, name: &str, place: &Place) -> Result<Instance, Failure> {
    let state = place.0.join("state");
    let start = Start { command, url: url.to_owned(), app, instance: name.to_owned(), state: &state };
    Instance::start(start).map_err(|error| failed(&error))
}

/// A script's instance, and the service that it sees.
pub(super) struct Stage {
    pub(super) desk: Arc<Desk>,
    pub(super) instance: Instance,
    pub(super) world: World,
    pub(super) name: String,
    app: String,
    command: Vec<String>,
    url: String,
    place: Place,
    calls: mpsc::Receiver<WatchCall>,
    _server: AbortOnDropHandle<()>,
}

impl Stage {
    /// Starts the server and the instance.
    pub(super) async fn set(command: &[String], app: &str, name: &str) -> Result<Self, Failure> {
        let (sender, calls) = mpsc::channel(CALLS);
        let desk = Desk::new(sender, TTL);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed(&error))?;
        let url = format!("http://{}", listener.local_addr().map_err(|error| failed(&error))?);
        let reflection = || {
            tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS)
        };
        let serve = Server::builder()
            .add_service(reflection().build_v1().map_err(|error| failed(&error))?)
            .add_service(reflection().build_v1alpha().map_err(|error| failed(&error))?)
            .add_service(FeedServiceServer::new(Service(Arc::clone(&desk))))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move {
            // Ends with the script. Where it ends before, the instance reaches nobody, and the script says so.
            let _ = serve.await;
        });
        let place = Place::make().map_err(|error| failed(&error))?;
        let instance = start(command, &url, app, name, &place)?;
        Ok(Self {
            desk,
            instance,
            world: World::new(app),
            name: name.to_owned(),
            app: app.to_owned(),
            command: command.to_vec(),
            url,
            place,
            calls,
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// Ends the instance in good order, and starts it again with what it kept.
    pub(super) async fn restart(&mut self) -> Passed {
        let ended = self.instance.end(SOON).await;
        ensure(ended.is_some(), "an exit after stdin ended", || format!("none within {} s", SOON.as_secs()))?;
        self.instance = start(&self.command, &self.url, &self.app, &self.name, &self.place)?;
        Ok(())
    }

    /// The first call of the instance, which knows nothing yet.
    pub(super) async fn first(&mut self) -> Result<WatchCall, Failure> {
        let call = self.watched("a first Watch", STARTING).await?;
        let request = &call.request;
        let expected =
            "a first Watch with the app and the instance name of its environment, and nothing else";
        ensure(
            request.app == self.app
                && request.instance == self.name
                && request.subscription_id.is_empty()
                && request.cursor.is_empty(),
            expected,
            || format!("{request:?}"),
        )?;
        Ok(call)
    }

    /// Brings the instance to where Ada and Bob are allowed.
    pub(super) async fn begin(&mut self) -> Result<Line, Failure> {
        let call = self.first().await?;
        let line = self.open(call);
        line.snapshot(self.world.everyone());
        self.answers(Said::allowed).await?;
        Ok(line)
    }

    /// Waits until Ada is answered what her role makes of it.
    async fn answers(&mut self, said: impl Fn(&str) -> Said) -> Passed {
        let ada = self.world.ada.clone();
        self.becomes(&ada, &said(ada.role_word), STARTING).await
    }

    /// Accepts the call: the stream goes on, or begins with a snapshot where there is no cursor.
    pub(super) fn open(&self, call: WatchCall) -> Line {
        self.open_as(call, Opening::default())
    }

    pub(super) fn open_as(&self, call: WatchCall, opening: Opening) -> Line {
        let sent = self.desk.position_of(&call.request.cursor);
        Line::open(&self.desk, call, sent.unwrap_or(BEGINNING), opening)
    }

    /// The next `Watch`.
    pub(super) async fn watched(&mut self, expected: &str, within: Duration) -> Result<WatchCall, Failure> {
        let came = tokio::select! {
            biased;
            Some(call) = self.calls.recv() => return Ok(call),
            ended = self.instance.ended() => ended,
            () = sleep(within) => format!("no Watch within {:.1} s", within.as_secs_f32()),
        };
        Err(Failure::new(expected, came))
    }

    /// The next `Watch`, which has to resume from this cursor on the same subscription.
    pub(super) async fn resumed(&mut self, cursor: &str, subscription: &str) -> Result<WatchCall, Failure> {
        let expected = "a Watch with the last cursor that was applied, and the same subscription_id";
        let call = self.watched(expected, SOON).await?;
        let request = &call.request;
        ensure(request.cursor == cursor, expected, || match request.cursor.as_str() {
            "" => "a Watch without a cursor".to_owned(),
            _ => "a Watch with another cursor".to_owned(),
        })?;
        ensure(request.subscription_id == subscription, expected, || {
            format!("a Watch with the subscription_id {:?}", request.subscription_id)
        })?;
        Ok(call)
    }

    /// The next `Watch`, which has to ask for a snapshot beside the last cursor, since a digest differs from what is held.
    pub(super) async fn doubting(&mut self, line: &Line) -> Result<WatchCall, Failure> {
        let expected = "a Watch with snapshot_anyway, the last cursor and the same subscription_id after a digest that differs";
        let call = self.watched(expected, SOON).await?;
        let WatchRequest { cursor, subscription_id, snapshot_anyway, .. } = &call.request;
        let is_so = *snapshot_anyway && *cursor == line.cursor() && *subscription_id == line.subscription;
        ensure(is_so, expected, || {
            let cursor = match cursor {
                cursor if *cursor == line.cursor() => "the last",
                cursor if cursor.is_empty() => "no",
                _ => "another",
            };
            format!(
                "snapshot_anyway {snapshot_anyway}, {cursor} cursor, the subscription_id {subscription_id:?}"
            )
        })?;
        Ok(call)
    }

    /// No `Watch` comes for so long.
    pub(super) async fn unwatched(&mut self, expected: &str, time: Duration) -> Passed {
        match tokio::time::timeout(time, self.calls.recv()).await {
            Ok(Some(call)) => {
                let cursor = if call.request.cursor.is_empty() { "without" } else { "with" };
                Err(Failure::new(expected, format!("a Watch {cursor} a cursor")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses the cursor of this call, and opens the stream with the snapshot that the instance then has to ask for.
    pub(super) async fn refuse_cursor(
        &mut self,
        call: WatchCall,
        reason: ErrorReason,
    ) -> Result<Line, Failure> {
        let name = reason.as_str_name().trim_start_matches("ERROR_REASON_");
        let expected = format!("a Watch that asks for a snapshot after {name}");
        let code = match reason {
            ErrorReason::CursorInvalid => Code::InvalidArgument,
            _ => Code::FailedPrecondition,
        };
        let until = Instant::now() + SOON;
        let mut call = call;
        let mut refused = 0;
        loop {
            if call.request.cursor.is_empty() {
                return Ok(self.open(call));
            }
            if call.request.snapshot_if_refused {
                let opening = Opening { refusal: Some(reason), ..Opening::default() };
                return Ok(self.open_as(call, opening));
            }
            call.refuse(refusal(code, reason, &[("field", "cursor")]));
            refused += 1;
            let left = until.saturating_duration_since(Instant::now());
            call = self.watched(&expected, left).await.map_err(|failure| match refused {
                1 => failure,
                _ => Failure::new(&expected, format!("the same cursor, {refused} times")),
            })?;
        }
    }

    /// Asks for the person's access.
    pub(super) async fn check(&mut self, person: &Person) -> Said {
        self.instance.check(person.account, self.world.workspace).await
    }

    /// The person's access is this now.
    pub(super) async fn is(&mut self, person: &Person, said: &Said, when: &str) -> Passed {
        let got = self.check(person).await;
        ensure(got == *said, format!("{said} for {} {when}", person.name), || got.to_string())
    }

    /// The person's access is this at last.
    pub(super) async fn becomes(&mut self, person: &Person, said: &Said, within: Duration) -> Passed {
        let until = Instant::now() + within;
        loop {
            let got = self.check(person).await;
            if got == *said {
                return Ok(());
            }
            if Instant::now() >= until || got == Said::Gone {
                let expected = format!("{said} for {} within {} s", person.name, within.as_secs_f32());
                return Err(Failure::new(expected, got.to_string()));
            }
            sleep(LOOK).await;
        }
    }

    /// The person's access is one of these all the time.
    pub(super) async fn stays(
        &mut self,
        person: &Person,
        all: &[Said],
        until: Instant,
        when: &str,
    ) -> Passed {
        loop {
            let got = self.check(person).await;
            let words: Vec<String> = all.iter().map(ToString::to_string).collect();
            let expected = || format!("{} for {} {when}", words.join(" or "), person.name);
            ensure(all.contains(&got), expected(), || got.to_string())?;
            if Instant::now() >= until {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    /// The first `Acknowledge` that fits.
    pub(super) async fn acknowledged(
        &self,
        expected: &str,
        within: Duration,
        fits: impl Fn(&Acknowledged) -> bool,
    ) -> Result<Acknowledged, Failure> {
        let found = self.desk.find(within, |desk| desk.acknowledged().into_iter().find(|call| fits(call)));
        found.await.ok_or_else(|| {
            let calls = self.desk.acknowledged().len();
            Failure::new(expected, format!("none such among {calls} within {} s", within.as_secs_f32()))
        })
    }

    /// Waits until all that was said on the stream is applied: until a bookmark after it is acknowledged. Who acknowledges
    /// too early does so by one message.
    pub(super) async fn applied(&self, line: &Line) -> Passed {
        let cursor = line.bookmark(0);
        let expected = "an Acknowledge with the cursor of what was sent last";
        self.acknowledged(expected, SOON, |call| call.cursor == cursor).await.map(|_| ())
    }

    /// Gives the next stream of an instance that was cut off, after it came again with this cursor.
    pub(super) async fn resume(&mut self, cursor: &str, subscription: &str) -> Result<Line, Failure> {
        let call = self.resumed(cursor, subscription).await?;
        let line = self.open(call);
        line.tick(true);
        Ok(line)
    }

    /// Fills the instance anew, after it was refused its cursor.
    pub(super) async fn refill(
        &mut self,
        cursor: &str,
        subscription: &str,
        reason: ErrorReason,
        subjects: Vec<Subject>,
    ) -> Result<Line, Failure> {
        let call = self.resumed(cursor, subscription).await?;
        let line = self.refuse_cursor(call, reason).await?;
        line.snapshot(subjects);
        Ok(line)
    }
}

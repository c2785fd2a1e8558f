//! What is recorded of a run: what writers were answered, what watchers were told, and what the database has in the end.
//! Every line also goes to a file at once, so that a run that fails leaves what led to it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use rollcall_client::v1::{self, subject::Subject as Kind, watch_response};
use serde::Serialize;

/// The state of one thing at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Thing {
    /// What: `o/ID`, `w/ID`, `m/ID` or `wm/WORKSPACE/MEMBER`.
    pub(crate) id: String,
    pub(crate) version: i64,
    /// State and role in words.
    pub(crate) state: String,
}

/// A change as it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    pub(crate) position: i64,
    pub(crate) change_id: String,
    pub(crate) command_id: String,
    pub(crate) thing: Thing,
}

/// What a message said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Body {
    Opened { snapshot_follows: bool },
    Page { things: Vec<Thing> },
    SnapshotEnd { position: i64, ready: i64 },
    Batch { changes: Vec<Told>, more_parts: bool },
    Bookmark { position: i64 },
}

/// A message of a stream.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Message {
    pub(crate) at_us: u64,
    /// None: the client crate has checked it and does not show it.
    pub(crate) previous: Option<String>,
    pub(crate) cursor: String,
    pub(crate) body: Body,
}

/// A stream, from the request to the cut.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Stream {
    /// The cursor of the request.
    pub(crate) requested: String,
    pub(crate) messages: Vec<Message>,
    /// The gap that the client crate found, if it found one.
    pub(crate) gap: Option<String>,
    /// When the stream before it was lost; 0: it is the first.
    pub(crate) lost_us: u64,
}

/// One who follows, over all its streams.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    pub(crate) name: String,
    pub(crate) app: String,
    /// Empty: all.
    pub(crate) organizations: Vec<String>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Cursors of its own that were refused.
    pub(crate) tried: Vec<Tried>,
}

/// How a command ended for its writer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Answer {
    pub(crate) writer: usize,
    pub(crate) request_id: String,
    pub(crate) method: &'static str,
    pub(crate) began_us: u64,
    pub(crate) answered_us: u64,
    pub(crate) attempts: u32,
    /// Whether nobody but this writer commands the thing.
    pub(crate) own: bool,
    pub(crate) token: String,
    /// The thing as the answer showed it. None: the command was refused.
    pub(crate) thing: Option<(String, i64)>,
    pub(crate) refusal: Option<String>,
    /// The version of the thing that another read gave at the token of the answer.
    pub(crate) read: Option<i64>,
}

/// What a subscription said it has applied.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Acknowledged {
    pub(crate) subscription: String,
    pub(crate) began_us: u64,
    pub(crate) answered_us: u64,
    /// The position of its cursor.
    pub(crate) position: i64,
    /// What the answer says is stored. None: nobody answered.
    pub(crate) applied: Option<i64>,
}

/// A cursor that was tried out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Tried {
    pub(crate) what: &'static str,
    /// Why it has to be refused. None: it has not.
    pub(crate) due: Option<&'static str>,
    /// Why it was refused. None: it was accepted.
    pub(crate) refusal: Option<String>,
}

/// A row of the log.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) position: i64,
    pub(crate) change_id: String,
    pub(crate) command_id: String,
    pub(crate) command_end: i64,
    pub(crate) apps: Vec<String>,
    pub(crate) organization: String,
    pub(crate) thing: Thing,
}

/// A run.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// The head before the writers began.
    pub(crate) begin: i64,
    pub(crate) answers: Vec<Answer>,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) log: Vec<Row>,
    /// The command of each request that the database remembers.
    pub(crate) requests: HashMap<String, Option<String>>,
    /// What the tables have in the end, by app: the organization and the thing.
    pub(crate) tables: BTreeMap<String, Vec<(String, Thing)>>,
    /// What is stored of each subscription in the end as applied.
    pub(crate) applied: HashMap<String, i64>,
    /// Cursors that were tried out by one who does nothing else.
    pub(crate) tried: Vec<Tried>,
}

impl Watcher {
    /// Whether a change of the log is in its scope.
    pub(crate) fn follows(&self, row: &Row) -> bool {
        row.apps.contains(&self.app) && self.of(&row.organization)
    }

    /// Whether its filter lets an organization through.
    pub(crate) fn of(&self, organization: &str) -> bool {
        self.organizations.is_empty() || self.organizations.iter().any(|id| id == organization)
    }
}

impl Stream {
    /// Every change that was told, in order.
    pub(crate) fn told(&self) -> impl Iterator<Item = &Told> {
        self.messages.iter().flat_map(Message::changes)
    }
}

impl Message {
    pub(crate) fn changes(&self) -> &[Told] {
        match &self.body {
            Body::Batch { changes, .. } => changes,
            _ => &[],
        }
    }
}

impl From<&watch_response::Message> for Body {
    fn from(message: &watch_response::Message) -> Self {
        use watch_response::Message as Given;
        match message {
            Given::Opened(opened) => Self::Opened { snapshot_follows: opened.snapshot_follows },
            Given::SnapshotPage(page) => Self::Page { things: page.subjects.iter().map(thing).collect() },
            Given::SnapshotEnd(end) => {
                Self::SnapshotEnd { position: end.position, ready: end.ready_position }
            }
            Given::Batch(batch) => {
                let changes = batch.changes.iter().map(|change| Told {
                    position: change.position,
                    change_id: change.change_id.clone(),
                    command_id: change.command_id.clone(),
                    thing: thing(change.subject.as_ref().expect("a change is of something")),
                });
                Self::Batch { changes: changes.collect(), more_parts: batch.more_parts }
            }
            Given::Bookmark(bookmark) => Self::Bookmark { position: bookmark.position },
        }
    }
}

/// A subject in the words of the log.
pub(crate) fn thing(subject: &v1::Subject) -> Thing {
    let word =
        |name: &str, prefix: &str| name.strip_prefix(prefix).expect("the prefix of its enum").to_owned();
    let (id, version, state, role) = match subject.subject.as_ref().expect("a subject") {
        Kind::Organization(now) => {
            let state = word(now.state().as_str_name(), "ORGANIZATION_STATE_");
            (format!("o/{}", now.organization_id), now.version, state, String::new())
        }
        Kind::Workspace(now) => {
            let state = word(now.state().as_str_name(), "WORKSPACE_STATE_");
            (format!("w/{}", now.workspace_id), now.version, state, String::new())
        }
        Kind::Member(now) => {
            let state = word(now.state().as_str_name(), "MEMBER_STATE_");
            let role = word(now.role().as_str_name(), "ORGANIZATION_ROLE_");
            (format!("m/{}", now.member_id), now.version, state, role)
        }
        Kind::WorkspaceMember(now) => {
            let state = word(now.state().as_str_name(), "WORKSPACE_MEMBER_STATE_");
            let role = word(now.role().as_str_name(), "WORKSPACE_ROLE_");
            (format!("wm/{}/{}", now.workspace_id, now.member_id), now.version, state, role)
        }
    };
    Thing { id, version, state: format!("{state} {role}") }
}

/// Writes lines to `target/chaos/SEED/NAME.jsonl`, and tells the time since the run began.
#[derive(Clone)]
pub(crate) struct Recorder {
    directory: Arc<PathBuf>,
    begun: Instant,
}

/// One file of a recording.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Mutex<BufWriter<fs::File>>>);

impl Recorder {
    pub(crate) fn new(seed: u64) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chaos").join(seed.to_string());
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory for the recording");
        Self { directory: Arc::new(directory), begun: Instant::now() }
    }

    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).expect("a short run")
    }

    pub(crate) fn lines(&self, name: &str) -> Lines {
        let file = fs::File::create(self.directory.join(format!("{name}.jsonl"))).expect("a file");
        Lines(Arc::new(Mutex::new(BufWriter::new(file))))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Nobody needs the recording of a run that went well.
    pub(crate) fn discard(self) {
        let _ = fs::remove_dir_all(&*self.directory);
    }
}

impl Lines {
    pub(crate) fn write(&self, line: &impl Serialize) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_writer(&mut *file, line).expect("a line");
        file.write_all(b"\n").expect("a line");
    }

    pub(crate) fn flush(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush().expect("flushed");
    }
}

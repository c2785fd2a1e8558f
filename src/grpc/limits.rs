//! What one caller may take of a replica: calls of each kind in a second, open streams, and its share of the database.
//!
//! Rates end what is out of hand. The share keeps others fast below that: however many calls a caller makes at once, only so
//! many of them go to the database side by side, the others wait behind them and not before somebody else's. Whatever asks the
//! database something takes a turn of that share, whichever kind of call it is. What a refusal costs is a look into a map.
//! Callers are known by the name that `identity` found out; where callers are not told apart that is the name that they give
//! themselves, and the limits hold accidents and not attackers.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{Extensions, Status, body::Body};
use tower::{Layer, Service};

use super::{
    body::framed,
    layer::{self, Deadline},
    status,
};
use crate::{enforcement::Line, identity::Caller, proto::DESCRIPTORS, rules::ids::CallerName};

/// Acknowledgements a second. A bucket of their own: leases must not lapse because their app reads too much. Thousands of
/// instances say one each second and one for each departure.
const ACKNOWLEDGEMENTS: u32 = 20_000;
/// Callers that are remembered: more than any suite has workloads. Each takes some hundred bytes. Whoever comes when all of
/// them are busy shares one entry with all others who do.
const CALLERS: usize = 4_096;
/// How often at most it is looked which of them can be forgotten.
const LOOK: Duration = Duration::from_secs(1);
/// Calls of one caller that may wait for each of its turns, as many as for a connection of the pool.
const WAITING: usize = 16;
/// How long one waits, as long as for a connection of the pool.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a refusal is kept back. Who calls again as soon as they are refused, in a loop that went wrong, would else keep the
/// processor busy with refusals.
const PAUSE: Duration = Duration::from_millis(100);
/// Refusals that are kept back at a time, of all callers; each is a call that is open. What is beyond is told at once.
const PAUSED: usize = 4_096;

/// How much of everything one caller may have. Rates are calls a second; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Reads.
    pub reads: u32,
    /// Writes.
    pub writes: u32,
    /// Access checks.
    pub checks: u32,
    /// Streams that are opened.
    pub openings: u32,
    /// Streams that are open.
    pub streams: u32,
    /// Connections that are open, of all callers together.
    pub connections: u32,
}

impl Default for CallLimits {
    /// Above what one honest caller does, below what takes a replica down. Commands: the quickest store that was measured
    /// does 1,500 a second. Streams: 12 kB each, so 150 MB. Openings, with a burst of twenty seconds': all instances of an
    /// app that come back at once.
    fn default() -> Self {
        Self {
            reads: 5_000,
            writes: 2_000,
            checks: 20_000,
            openings: 500,
            streams: 12_000,
            connections: 10_000,
        }
    }
}

/// What is counted apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Check,
    Opening,
    Acknowledgement,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Check, Self::Opening, Self::Acknowledgement];

    /// As it is called in metadata and metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Check => "checks",
            Self::Opening => "openings",
            Self::Acknowledgement => "acknowledgements",
        }
    }

    /// Calls a second, and for how many seconds of them a caller that was silent has saved up.
    fn rate(self, limits: &CallLimits) -> (u32, u32) {
        match self {
            Self::Read => (limits.reads, 2),
            Self::Write => (limits.writes, 2),
            Self::Check => (limits.checks, 2),
            Self::Opening => (limits.openings, 20),
            Self::Acknowledgement => (ACKNOWLEDGEMENTS, 2),
        }
    }

    /// Whether it goes to the database for each call. The others ask for a [`turn`] where they do: most checks are answered
    /// from memory, acknowledgements are stored many at once, and streams run on for hours.
    fn takes_turns(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// A token bucket, kept as the time at which it is full again.
#[derive(Debug, Default)]
struct Bucket {
    full: Option<Instant>,
}

impl Bucket {
    /// Takes one, or says how long it takes until there is one.
    fn take(&mut self, now: Instant, rate: u32, saved: u32) -> Result<(), Duration> {
        if rate == 0 {
            return Ok(());
        }
        let each = Duration::from_secs(1) / rate;
        let full = self.full.map_or(now, |full| full.max(now)) + each;
        let missing = (full - now).saturating_sub(Duration::from_secs(u64::from(saved)));
        if missing > Duration::ZERO {
            return Err(missing);
        }
        self.full = Some(full);
        Ok(())
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full.is_none_or(|full| full <= now)
    }
}

/// What one caller has taken.
struct Account {
    buckets: Mutex<[Bucket; Kind::ALL.len()]>,
    streams: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Streams that are being opened: half of the turns, so that calls go on while all of them come back.
    opening: Arc<Semaphore>,
    /// Those who wait for enforcement.
    line: Line,
}

impl Account {
    fn new(limits: &CallLimits, turns: usize) -> Self {
        let streams = match limits.streams {
            0 => Semaphore::MAX_PERMITS,
            streams => streams as usize,
        };
        Self {
            buckets: Mutex::default(),
            streams: Arc::new(Semaphore::new(streams)),
            turns: Arc::new(Semaphore::new(turns)),
            waiting: Arc::new(Semaphore::new(turns * WAITING)),
            opening: Arc::new(Semaphore::new((turns / 2).max(1))),
            line: Line::default(),
        }
    }

    /// Waits until one of its calls may go to the database.
    async fn turn(&self) -> Result<Turn, Status> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(Turn::new(turn));
        }
        let _waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| status::overloaded())?;
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        // Never closed.
        turn.ok().and_then(Result::ok).map(Turn::new).ok_or_else(status::overloaded)
    }
}

/// A call's right to go to the database. In the extensions of its request; whoever waits for something else gives it up.
#[derive(Clone)]
pub(super) struct Turn(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Turn {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Mutex::new(Some(permit))))
    }

    /// Lets another call of this caller go.
    pub(super) fn pass(call: &Extensions) {
        if let Some(Self(turn)) = call.get() {
            locked(turn).take();
        }
    }
}

/// Where turns are to be had, in the extensions of calls that have none from the beginning.
#[derive(Clone)]
struct Turns {
    account: Arc<Account>,
    opens: bool,
}

/// A turn of a call that had none, for as long as this is kept.
pub(super) struct Taken {
    _turn: Turn,
    _opening: Option<OwnedSemaphorePermit>,
}

/// Waits for a turn of whoever calls, for what cannot be answered from memory. None: the call has one, or is of nobody who
/// is counted, as the service's own replica.
pub(super) async fn turn(call: &Extensions) -> Result<Option<Taken>, Status> {
    let Some(Turns { account, opens }) = call.get::<Turns>().cloned() else { return Ok(None) };
    // However many streams come back at once, each of them waits as long as it likes, and keeps no turn from other calls.
    let opening = match opens {
        true => Some(Arc::clone(&account.opening).acquire_owned().await.map_err(|_| status::overloaded())?),
        false => None,
    };
    Ok(Some(Taken { _turn: account.turn().await?, _opening: opening }))
}

/// What was known so far is true also where its last holder panicked: numbers that are set at once.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Callers {
    known: HashMap<CallerName, Arc<Account>>,
    looked: Instant,
}

/// What all callers have taken.
struct Counts {
    limits: CallLimits,
    /// Calls of one caller that go to the database side by side.
    turns: usize,
    callers: Mutex<Callers>,
    /// Who came when all that are remembered were busy.
    others: Arc<Account>,
    paused: Semaphore,
}

impl Counts {
    /// Three quarters of the pool for one caller: a quarter is there for the next one.
    fn new(limits: CallLimits, pool_size: usize) -> Self {
        let turns = (pool_size * 3 / 4).max(1);
        let callers = Callers { known: HashMap::new(), looked: Instant::now() };
        let others = Arc::new(Account::new(&limits, turns));
        Self { limits, turns, callers: Mutex::new(callers), others, paused: Semaphore::new(PAUSED) }
    }

    fn account(&self, name: &CallerName, now: Instant) -> Arc<Account> {
        let mut callers = locked(&self.callers);
        if let Some(account) = callers.known.get(name) {
            return Arc::clone(account);
        }
        if callers.known.len() >= CALLERS && now.duration_since(callers.looked) >= LOOK {
            callers.looked = now;
            // Whoever has an account at hand may be about to take something.
            callers.known.retain(|_, account| {
                Arc::strong_count(account) > 1
                    || !locked(&account.buckets).iter().all(|bucket| bucket.is_full(now))
            });
        }
        if callers.known.len() >= CALLERS {
            return Arc::clone(&self.others);
        }
        let account = Arc::new(Account::new(&self.limits, self.turns));
        callers.known.insert(name.clone(), Arc::clone(&account));
        account
    }

    /// The answer to who is refused, after a pause; well before their time is up, so that they hear why.
    async fn refuse(&self, status: Status, deadline: Option<Deadline>) -> Response<Body> {
        let left = deadline.map(|Deadline(at)| at.saturating_duration_since(tokio::time::Instant::now()) / 2);
        if let Ok(_paused) = self.paused.try_acquire() {
            tokio::time::sleep(left.map_or(PAUSE, |left| left.min(PAUSE))).await;
        }
        status.into_http()
    }

    /// Takes one call of this kind, or refuses it.
    fn take(&self, name: &CallerName, account: &Account, kind: Kind, now: Instant) -> Result<(), Status> {
        let (rate, saved) = kind.rate(&self.limits);
        let taken = locked(&account.buckets)[kind as usize].take(now, rate, saved);
        taken.map_err(|wait| {
            metrics::counter!("rollcall_calls_limited_total", "kind" => kind.word()).increment(1);
            tracing::debug!(caller = %name, kind = kind.word(), "limited");
            status::rate_limited(kind.word(), rate, wait)
        })
    }
}

/// What kind of call each method is, as calls name it.
struct Kinds {
    writes: HashSet<String>,
    streams: HashSet<String>,
}

impl Kinds {
    fn new() -> Self {
        Self { writes: layer::writes(), streams: streams() }
    }

    fn of(&self, method: &str) -> Kind {
        match method {
            "rollcall.v1.FeedService/Acknowledge" => Kind::Acknowledgement,
            _ if method.starts_with("rollcall.v1.AccessService/") => Kind::Check,
            _ if self.streams.contains(method) => Kind::Opening,
            _ if self.writes.contains(method) => Kind::Write,
            _ => Kind::Read,
        }
    }
}

/// The methods that answer with a stream.
fn streams() -> HashSet<String> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors come from our own build");
    let mut streams = HashSet::new();
    for file in &set.file {
        for service in &file.service {
            let streaming = service.method.iter().filter(|method| method.server_streaming());
            streams.extend(
                streaming.map(|method| format!("{}.{}/{}", file.package(), service.name(), method.name())),
            );
        }
    }
    streams
}

/// Adds [`Limited`] to a service. It stands within the layer that finds out who calls.
#[derive(Clone)]
pub(super) struct LimitsLayer {
    counts: Arc<Counts>,
    kinds: Arc<Kinds>,
}

impl LimitsLayer {
    pub(super) fn new(limits: CallLimits, pool_size: usize) -> Self {
        Self { counts: Arc::new(Counts::new(limits, pool_size)), kinds: Arc::new(Kinds::new()) }
    }
}

impl<S> Layer<S> for LimitsLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        let Self { counts, kinds } = self.clone();
        Limited { inner, counts, kinds }
    }
}

/// Counts calls, and refuses those that are too many.
#[derive(Clone)]
pub(super) struct Limited<S> {
    inner: S,
    counts: Arc<Counts>,
    kinds: Arc<Kinds>,
}

impl<S> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone that was polled ready is the one that must be called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        // Health and reflection, which answer everybody, have no caller.
        let Some(name) = request.extensions().get::<Caller>().map(|caller| caller.name.clone()) else {
            return Box::pin(inner.call(request));
        };
        let kind = self.kinds.of(request.uri().path().trim_start_matches('/'));
        let counts = Arc::clone(&self.counts);
        let deadline = request.extensions().get::<Deadline>().copied();
        Box::pin(async move {
            let now = Instant::now();
            let account = counts.account(&name, now);
            if let Err(refused) = counts.take(&name, &account, kind, now) {
                return Ok(counts.refuse(refused, deadline).await);
            }
            request.extensions_mut().insert(account.line.clone());
            if !kind.takes_turns() {
                let turns = Turns { account: Arc::clone(&account), opens: kind == Kind::Opening };
                request.extensions_mut().insert(turns);
            }
            if kind == Kind::Opening {
                let Ok(open) = Arc::clone(&account.streams).try_acquire_owned() else {
                    metrics::counter!("rollcall_calls_limited_total", "kind" => "streams").increment(1);
                    tracing::debug!(caller = %name, "has as many streams as one caller may have");
                    return Ok(counts.refuse(status::stream_limit(counts.limits.streams), deadline).await);
                };
                let response = framed(inner.call(request).await?);
                let counted = |body| Body::new(Counted { body, _open: open, _account: account });
                return Ok(response.map(counted));
            }
            if !kind.takes_turns() {
                return inner.call(request).await;
            }
            let turn = match account.turn().await {
                Ok(turn) => turn,
                Err(refused) => return Ok(counts.refuse(refused, deadline).await),
            };
            request.extensions_mut().insert(turn.clone());
            let response = inner.call(request).await;
            // Kept until here, also where the handler lets its request go earlier.
            drop(turn);
            response
        })
    }
}

/// The body of a stream, counted until it is gone.
struct Counted {
    body: Body,
    _open: OwnedSemaphorePermit,
    /// Keeps the caller from being forgotten.
    _account: Arc<Account>,
}

impl http_body::Body for Counted {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;

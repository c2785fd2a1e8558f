//! Revocations on their way to the readers of the app, and the receipts on their way back.
//!
//! All that was told lately stands in one window, numbered, and each reader has its place in it: nothing is kept for a
//! reader, so a slow one costs memory to nobody. When the window has moved past its place it is cut off.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rollcall_client::Outcome;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::receipt::{Receipt, Said};

/// So many revocations can be told to a reader that comes back: two of the largest commands.
const WINDOW: usize = 10_000;
/// The processes of one app on one machine, with room.
const READERS: usize = 64;
/// So much is written to a reader at once.
const AT_ONCE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Relay {
    inner: Mutex<Inner>,
    /// Sent to when there is something new for the readers.
    news: watch::Sender<()>,
    /// How long one wait for receipts lasts, and how many there are.
    pub(super) patience: Duration,
    waits: u32,
}

#[derive(Debug)]
struct Inner {
    /// Names this run of the agent in the ids of events: numbers of another run mean nothing here.
    run: String,
    window: VecDeque<Told>,
    /// The number of the first one in the window.
    first: u64,
    numbers: HashMap<Uuid, u64>,
    /// Who reads, by name, with the seat that tells a reader from the one that took its name.
    readers: BTreeMap<String, u64>,
    seats: u64,
    closed: bool,
}

/// A revocation in the window.
#[derive(Debug)]
struct Told {
    data: Arc<str>,
    change_id: Option<Uuid>,
    /// Who was told, and what they said.
    readers: BTreeMap<String, Option<Said>>,
    /// The last failure that was handed on.
    failed: Option<String>,
    /// How often its receipts were asked for. After the last time, or where nobody asks, it is over.
    asked: u32,
    over: bool,
    /// Somebody said something.
    heard: Arc<Notify>,
}

/// Where a reader is.
#[derive(Debug)]
pub(super) struct Reader {
    relay: Arc<Relay>,
    name: String,
    seat: u64,
    next: u64,
    /// Below this number only what waits for a receipt of this reader is told.
    fresh_below: u64,
    pub(super) news: watch::Receiver<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.relay.lock();
        if inner.readers.get(&self.name) == Some(&self.seat) {
            inner.readers.remove(&self.name);
        }
        metrics::gauge!("rollcall_agent_readers").set(inner.readers.len() as f64);
    }
}

/// How a reader begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Where it was.
    Resumed,
    /// Anew: it may have missed something. With the id from which it can resume, and why.
    Resync(String, &'static str),
}

/// What there is for a reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This, as it is written.
    Send(Bytes),
    /// Nothing now.
    Wait,
    /// It is over; why.
    End(&'static str),
}

/// Why nobody can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// There are too many readers.
    TooMany,
    /// The agent ends.
    Closed,
}

/// What becomes of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It counts; whether it was the last one that was missing.
    Counted(bool),
    /// Nobody is told of it any more.
    Late,
    /// The reader was not told of the change.
    NotTold,
    /// No such change is known.
    Unknown,
}

/// What is new about a revocation.
pub(super) struct Asked {
    /// Woken when somebody says something.
    pub(super) heard: Arc<Notify>,
    /// Whether it was told just now, to nobody.
    pub(super) told_nobody: bool,
}

impl Relay {
    pub(super) fn new(patience: Duration, waits: u32) -> Self {
        let inner = Inner {
            run: format!("{:08x}", Uuid::new_v4().as_fields().0),
            window: VecDeque::new(),
            first: 1,
            numbers: HashMap::new(),
            readers: BTreeMap::new(),
            seats: 0,
            closed: false,
        };
        Self { inner: Mutex::new(inner), news: watch::Sender::new(()), patience, waits }
    }

    /// Tells of a revocation that nobody asks a receipt for.
    pub(super) fn tell(&self, data: Arc<str>) {
        self.lock().put(None, data);
        self.news.send_replace(());
    }

    /// Tells of a revocation, the first time; and asks for its receipts.
    pub(super) fn ask(&self, change_id: Uuid, data: Arc<str>) -> Asked {
        let mut inner = self.lock();
        let is_new = inner.told(change_id).is_none();
        if is_new {
            inner.put(Some(change_id), data);
        }
        let nobody = inner.readers.is_empty();
        let heard = inner.told(change_id).map(|told| {
            told.asked += 1;
            Arc::clone(&told.heard)
        });
        drop(inner);
        if is_new {
            self.news.send_replace(());
        }
        Asked { heard: heard.unwrap_or_default(), told_nobody: is_new && nobody }
    }

    /// What the readers have said, when it is enough.
    pub(super) fn outcome(&self, change_id: Uuid) -> Option<Outcome> {
        let mut inner = self.lock();
        let Some(told) = inner.told(change_id) else { return Some(failed("overflow")) };
        for said in told.readers.values_mut() {
            if let Some(Said::Failed(detail)) = said {
                // Handed on once: from then on the next word of this reader counts.
                let detail = std::mem::take(detail);
                *said = None;
                told.failed = Some(detail.clone());
                return Some(self.ended(told, Outcome::Failed(detail.into())));
            }
        }
        let mut sum = (0u32, 0u32);
        for said in told.readers.values() {
            let Some(Said::Ended { sessions, handed_over }) = said else { return None };
            sum = (sum.0.saturating_add(*sessions), sum.1.saturating_add(*handed_over));
        }
        if told.readers.is_empty() {
            return None;
        }
        Some(self.ended(told, Outcome::Ended { sessions: sum.0, handed_over: sum.1 }))
    }

    /// The wait was in vain.
    pub(super) fn give_up(&self, change_id: Uuid) -> Outcome {
        let mut inner = self.lock();
        let Some(told) = inner.told(change_id) else { return failed("overflow") };
        let word = match &told.failed {
            Some(detail) => Outcome::Failed(detail.clone().into()),
            None if told.readers.is_empty() => failed("no_reader"),
            None => failed("no_receipt"),
        };
        self.ended(told, word)
    }

    /// Takes a receipt.
    pub(super) fn take(&self, receipt: Receipt) -> Taken {
        let Receipt { change_id, reader, said } = receipt;
        let mut inner = self.lock();
        let Some(told) = inner.told(change_id) else { return Taken::Unknown };
        let over = told.over;
        let Some(place) = told.readers.get_mut(&reader) else {
            // Who was told only after it was over is not at fault.
            return if over { Taken::Late } else { Taken::NotTold };
        };
        if over {
            // A repetition of what counted is no mistake.
            return if *place == Some(said) { Taken::Counted(true) } else { Taken::Late };
        }
        *place = Some(said);
        told.heard.notify_one();
        Taken::Counted(told.readers.values().all(Option::is_some))
    }

    /// Gives somebody a place: where they were, if that is known, else the newest.
    pub(super) fn attach(
        self: &Arc<Self>,
        name: &str,
        last_event_id: Option<&str>,
    ) -> Result<(Reader, Begin), NoSeat> {
        let news = self.news.subscribe();
        let mut inner = self.lock();
        if inner.closed {
            return Err(NoSeat::Closed);
        }
        if inner.readers.len() >= READERS && !inner.readers.contains_key(name) {
            return Err(NoSeat::TooMany);
        }
        inner.seats += 1;
        let seat = inner.seats;
        inner.readers.insert(name.to_owned(), seat);
        metrics::gauge!("rollcall_agent_readers").set(inner.readers.len() as f64);
        let end = inner.end();
        let (owed, fresh_below, begin) = match inner.resume(last_event_id) {
            Ok(next) => (next, next, Begin::Resumed),
            Err(why) => (inner.first, end, Begin::Resync(inner.id(end - 1), why)),
        };
        let skipped = usize::try_from(owed - inner.first).unwrap_or(usize::MAX);
        for told in inner.window.iter_mut().skip(skipped).filter(|told| !told.over) {
            told.readers.entry(name.to_owned()).or_default();
        }
        // What it was told before, also in the streams of its name that broke off, and has sent no receipt of comes again: an
        // event that was written has not arrived for that.
        let is_owed = |told: &Told| !told.over && told.readers.get(name) == Some(&None);
        let next = match inner.window.iter().position(is_owed) {
            Some(place) => fresh_below.min(inner.first + place as u64),
            None => fresh_below,
        };
        drop(inner);
        // The one that had the name notices.
        self.news.send_replace(());
        let reader = Reader { relay: Arc::clone(self), name: name.to_owned(), seat, next, fresh_below, news };
        Ok((reader, begin))
    }

    /// Ends every stream, and lets nobody read any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.news.send_replace(());
    }

    #[cfg(test)]
    pub(super) fn readers(&self) -> usize {
        self.lock().readers.len()
    }

    fn ended(&self, told: &mut Told, outcome: Outcome) -> Outcome {
        told.over = matches!(outcome, Outcome::Ended { .. }) || told.asked >= self.waits;
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that runs under the lock leaves it half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(word: &'static str) -> Outcome {
    Outcome::Failed(word.into())
}

impl Reader {
    /// What there is to be told now.
    pub(super) fn step(&mut self) -> Step {
        let inner = self.relay.lock();
        if inner.closed {
            return Step::End("the agent ends");
        }
        if inner.readers.get(&self.name) != Some(&self.seat) {
            return Step::End("another reader has this name now");
        }
        let Some(behind) = self.next.checked_sub(inner.first) else {
            metrics::counter!("rollcall_agent_readers_cut_total").increment(1);
            tracing::warn!(reader = %self.name, "the reader is too far behind, it is cut off");
            return Step::End("too far behind");
        };
        let mut text = String::new();
        for told in inner.window.iter().skip(usize::try_from(behind).unwrap_or(usize::MAX)) {
            if text.len() >= AT_ONCE {
                break;
            }
            let number = self.next;
            self.next += 1;
            if number >= self.fresh_below {
                // Memory takes everything.
                let _ = writeln!(text, "id: {}", inner.id(number));
            } else if told.over || told.readers.get(&self.name) != Some(&None) {
                continue;
            }
            let _ = write!(text, "event: revocation\ndata: {}\n\n", told.data);
        }
        if text.is_empty() { Step::Wait } else { Step::Send(text.into()) }
    }
}

impl Inner {
    fn put(&mut self, change_id: Option<Uuid>, data: Arc<str>) {
        if self.window.len() == WINDOW
            && let Some(oldest) = self.window.pop_front()
        {
            self.first += 1;
            if let Some(change_id) = oldest.change_id {
                self.numbers.remove(&change_id);
            }
            // Whoever waits for it finds that it is gone.
            oldest.heard.notify_one();
        }
        if let Some(change_id) = change_id {
            self.numbers.insert(change_id, self.end());
        }
        let readers = match change_id {
            Some(_) => self.readers.keys().map(|name| (name.clone(), None)).collect(),
            None => BTreeMap::new(),
        };
        let over = change_id.is_none();
        self.window.push_back(Told {
            data,
            change_id,
            readers,
            failed: None,
            asked: 0,
            over,
            heard: Arc::default(),
        });
    }

    fn told(&mut self, change_id: Uuid) -> Option<&mut Told> {
        let number = *self.numbers.get(&change_id)?;
        self.window.get_mut(usize::try_from(number - self.first).ok()?)
    }

    /// The number that the next one gets.
    fn end(&self) -> u64 {
        self.first + self.window.len() as u64
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// The number with which a reader goes on that has seen this event; else why it cannot.
    fn resume(&self, last_event_id: Option<&str>) -> Result<u64, &'static str> {
        let seen = last_event_id.filter(|id| !id.is_empty()).ok_or("first")?;
        let (run, number) = seen.split_once('-').ok_or("unknown")?;
        let number = number.parse::<u64>().map_err(|_| "unknown")?;
        if run != self.run || number >= self.end() {
            return Err("unknown");
        }
        if number + 1 < self.first { Err("too_old") } else { Ok(number + 1) }
    }
}

#[cfg(test)]
mod tests;

//! The window: the newest changes of the log, encoded once for all streams of this replica.
//!
//! Streams that keep up read here and cost the database nothing. What one sends are slices of these bytes. A stream that
//! asks for what is older, or for profiles that were read too long ago, is told so and reads the log.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    cursor::Scope,
    message::Encoded,
    source::{Encode, Entry, Point, Range},
};
use crate::rules::ids::{AppName, ChangeId, CommandId, OrganizationId};

/// For how long profiles are taken from here: so old may a name be at most when it is queued. A stream that is further
/// behind reads it anew.
const PROFILES: Duration = Duration::from_secs(5);
/// What an item takes besides its bytes, roughly.
const ITEM: usize = 160;
/// A slice that is smaller than this share of its chunk is copied, so that a stalled stream holds no more than this many
/// times its own bytes.
const SHARE: usize = 4;
/// More runs than this are copied into one: the changes of a scope lie scattered among those of others.
const RUNS: usize = 8;

/// The newest changes.
pub struct Window {
    inner: RwLock<Inner>,
    encode: Encode,
    capacity: usize,
}

struct Inner {
    /// The history that the changes are of. None: nothing is known yet.
    history: Option<u64>,
    /// Every change after this position is here.
    start: i64,
    chunks: VecDeque<Arc<Chunk>>,
    /// Those whose profiles are still kept, the oldest first.
    profiled: VecDeque<Arc<Chunk>>,
    size: usize,
}

/// What one read of the log brought.
struct Chunk {
    read_at: Instant,
    /// Whether there are profiles in it.
    has_profiles: bool,
    items: Vec<Item>,
    plain: Bytes,
    profiled: Mutex<Option<Bytes>>,
}

/// A change in its chunk.
struct Item {
    place: Place,
    organization: OrganizationId,
    apps: Vec<AppName>,
    /// Where it ends, without profiles and with them.
    ends: [usize; 2],
}

/// Where a change stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) point: Point,
    pub(super) command_id: CommandId,
    pub(super) command_end: i64,
}

/// Changes of a scope, encoded, that can still be cut.
#[derive(Default)]
pub(super) struct Slice {
    /// Where each stands, in order.
    pub(super) places: Vec<Place>,
    /// Of each the buffer that it is in, where it begins and where it ends.
    ranges: Vec<(usize, usize, usize)>,
    buffers: Vec<Bytes>,
}

impl Window {
    /// An empty window for so many bytes.
    pub fn new(encode: Encode, capacity: usize) -> Self {
        let inner =
            Inner { history: None, start: 0, chunks: VecDeque::new(), profiled: VecDeque::new(), size: 0 };
        Self { inner: RwLock::new(inner), encode, capacity }
    }

    fn read_lock(&self) -> RwLockReadGuard<'_, Inner> {
        // Nothing panics in the middle of a change: a poisoned window is as good as any.
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew after a position, in a history.
    pub(super) fn reset(&self, history: u64, start: i64) {
        let mut inner = self.write_lock();
        inner.history = Some(history);
        inner.start = start;
        inner.chunks.clear();
        inner.profiled.clear();
        inner.size = 0;
    }

    /// Adds what comes next in the log. Drops the oldest where there is too much.
    pub(super) fn push(&self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let chunk = Arc::new(Chunk::new(entries, self.encode));
        let mut inner = self.write_lock();
        inner.size += chunk.size();
        if chunk.has_profiles {
            inner.profiled.push_back(Arc::clone(&chunk));
        }
        inner.chunks.push_back(chunk);
        while inner.size > self.capacity
            && let Some(oldest) = inner.chunks.pop_front()
        {
            inner.size -= oldest.size();
            inner.start = oldest.last();
            inner.profiled.pop_front_if(|chunk| Arc::ptr_eq(chunk, &oldest));
        }
    }

    /// How many chunks keep profiles.
    #[cfg(test)]
    pub(super) fn profiled(&self) -> usize {
        self.read_lock().profiled.len()
    }

    /// Forgets profiles that were read too long ago.
    pub(super) fn forget_profiles(&self) {
        let is_old = |chunk: &Arc<Chunk>| chunk.is_stale();
        if !self.read_lock().profiled.front().is_some_and(is_old) {
            return;
        }
        let mut inner = self.write_lock();
        while let Some(chunk) = inner.profiled.pop_front_if(|chunk| is_old(chunk)) {
            *chunk.profiled.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// At most `limit` changes of a scope. None: not all of them are here.
    pub(super) fn read(
        &self,
        history: u64,
        scope: &Scope,
        profiles: bool,
        range: Range,
        limit: usize,
    ) -> Option<Slice> {
        let chunks = self.chunks(history, range)?;
        let mut slice = Slice::default();
        for chunk in &chunks {
            let buffer = chunk.buffer(profiles)?;
            slice.take(chunk, buffer, scope, profiles, range, limit);
            if slice.places.len() == limit {
                break;
            }
        }
        Some(slice)
    }

    /// The chunks that a range touches, so that they can be searched without the lock.
    fn chunks(&self, history: u64, range: Range) -> Option<Vec<Arc<Chunk>>> {
        let inner = self.read_lock();
        let last = inner.chunks.back().map_or(inner.start, |chunk| chunk.last());
        if inner.history != Some(history) || range.after < inner.start || range.until > last {
            return None;
        }
        let first = inner.chunks.partition_point(|chunk| chunk.last() <= range.after);
        let behind = inner.chunks.partition_point(|chunk| chunk.first() <= range.until);
        Some(inner.chunks.range(first..behind).cloned().collect())
    }

    /// The change at a position of a history. None: it is not here.
    pub fn change_at(&self, history: u64, position: i64) -> Option<ChangeId> {
        let chunks = self.chunks(history, Range { after: position - 1, until: position })?;
        chunks.first()?.at(position).map(|item| item.place.point.change_id)
    }

    /// Where the last change of a command stands. None: it is not here.
    pub fn end_of(&self, command: CommandId) -> Option<Point> {
        // Whoever asks was just told that the command is in the log, so it is among the newest.
        let newest: Vec<Arc<Chunk>> = self.read_lock().chunks.iter().rev().take(8).cloned().collect();
        let of_command = |item: &&Item| item.place.command_id == command;
        let found = newest.iter().find_map(|chunk| chunk.items.iter().rev().find(of_command));
        found
            .map(|item| item.place)
            .filter(|place| place.point.position == place.command_end)
            .map(|place| place.point)
    }
}

impl Chunk {
    fn new(entries: Vec<Entry>, encode: Encode) -> Self {
        let mut plain = Vec::new();
        let with_profiles = entries.iter().any(|entry| entry.thing.has_profile());
        let mut profiled = Vec::new();
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            encode(&entry, false, &mut plain);
            if with_profiles {
                encode(&entry, true, &mut profiled);
            }
            let ends = [plain.len(), if with_profiles { profiled.len() } else { plain.len() }];
            let place = Place::of(&entry);
            items.push(Item { place, organization: entry.thing.organization_id(), apps: entry.apps, ends });
        }
        let plain = Bytes::from(plain);
        let profiled = if with_profiles { Bytes::from(profiled) } else { plain.clone() };
        let (read_at, has_profiles) = (Instant::now(), with_profiles);
        Self { read_at, has_profiles, items, plain, profiled: Mutex::new(Some(profiled)) }
    }

    /// Whether it has profiles that were read too long ago.
    fn is_stale(&self) -> bool {
        self.has_profiles && self.read_at.elapsed() > PROFILES
    }

    /// Counts the profiles too although they are soon gone: the window then never holds more than it may.
    fn size(&self) -> usize {
        let profiled = self.items.last().map_or(0, |item| item.ends[1]);
        self.plain.len() + profiled + self.items.len() * ITEM
    }

    fn buffer(&self, profiles: bool) -> Option<Bytes> {
        if profiles {
            // They are forgotten between two calls of the tail, and one may hang for longer.
            if self.is_stale() {
                return None;
            }
            self.profiled.lock().unwrap_or_else(PoisonError::into_inner).clone()
        } else {
            Some(self.plain.clone())
        }
    }

    fn first(&self) -> i64 {
        self.items.first().map_or(0, |item| item.place.point.position)
    }

    fn last(&self) -> i64 {
        self.items.last().map_or(0, |item| item.place.point.position)
    }

    fn at(&self, position: i64) -> Option<&Item> {
        let index = usize::try_from(position.checked_sub(self.first())?).ok()?;
        self.items.get(index)
    }
}

impl Place {
    fn of(entry: &Entry) -> Self {
        Self { point: entry.point, command_id: entry.command_id, command_end: entry.command_end }
    }
}

impl Slice {
    /// Encodes what was read from the log for one stream alone.
    pub(super) fn of(entries: &[Entry], profiles: bool, encode: Encode) -> Self {
        let mut buffer = Vec::new();
        let mut slice = Self::default();
        for entry in entries {
            let begin = buffer.len();
            encode(entry, profiles, &mut buffer);
            slice.places.push(Place::of(entry));
            slice.ranges.push((0, begin, buffer.len()));
        }
        slice.buffers.push(Bytes::from(buffer));
        slice
    }

    fn take(
        &mut self,
        chunk: &Chunk,
        buffer: Bytes,
        scope: &Scope,
        profiles: bool,
        range: Range,
        limit: usize,
    ) {
        let index = self.buffers.len();
        let of = usize::from(profiles);
        let first = chunk.items.partition_point(|item| item.place.point.position <= range.after);
        let mut begin = first.checked_sub(1).map_or(0, |before| chunk.items[before].ends[of]);
        for item in &chunk.items[first..] {
            if item.place.point.position > range.until || self.places.len() == limit {
                break;
            }
            let end = item.ends[of];
            if scope.has(&item.apps, item.organization) {
                self.places.push(item.place);
                self.ranges.push((index, begin, end));
            }
            begin = end;
        }
        self.buffers.push(buffer);
    }

    /// The bytes of the first so many changes.
    pub(super) fn encoded(&self, changes: usize) -> Encoded {
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for &(buffer, begin, end) in &self.ranges[..changes] {
            match runs.last_mut() {
                Some(run) if run.0 == buffer && run.2 == begin => run.2 = end,
                _ => runs.push((buffer, begin, end)),
            }
        }
        if runs.len() > RUNS {
            let mut copy = Vec::with_capacity(runs.iter().map(|(_, begin, end)| end - begin).sum());
            runs.iter().for_each(|&(buffer, begin, end)| copy.extend(&self.buffers[buffer][begin..end]));
            return Encoded(vec![Bytes::from(copy)]);
        }
        let run = |(buffer, begin, end): (usize, usize, usize)| {
            let whole = &self.buffers[buffer];
            if (end - begin) * SHARE < whole.len() {
                Bytes::copy_from_slice(&whole[begin..end])
            } else {
                whole.slice(begin..end)
            }
        };
        Encoded(runs.into_iter().map(run).collect())
    }
}

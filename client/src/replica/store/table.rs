//! A hash table of small entries in buckets that are replaced, not changed, when somebody else holds them too.

use std::sync::Arc;

use uuid::Uuid;

use super::tree::Tree;

/// Entries of a bucket on average, before all are split. A few cache lines of the largest entry.
const LOAD: usize = 12;

/// What a table holds. The hash is kept in the entry or made of it, since splitting a bucket needs it again.
pub(crate) trait Entry: Copy {
    fn hash(&self) -> u32;
}

#[derive(Debug, Clone)]
pub(crate) struct Table<E> {
    buckets: Tree<E>,
    /// So many bits of a hash, the highest, name the bucket.
    bits: u32,
    len: usize,
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self { buckets: Tree::of(vec![Arc::default()]), bits: 0, len: 0 }
    }
}

impl<E: Entry> Table<E> {
    /// Where every entry of this hash is, among others.
    pub(super) fn bucket(&self, hash: u32) -> &[E] {
        self.buckets.leaf(self.index(hash))
    }

    pub(super) fn find(&self, hash: u32, is: impl Fn(&E) -> bool) -> Option<&E> {
        self.bucket(hash).iter().find(|entry| is(entry))
    }

    /// An entry to be changed; its hash must stay.
    pub(super) fn find_mut(&mut self, hash: u32, is: impl Fn(&E) -> bool) -> Option<&mut E> {
        let index = self.index(hash);
        let place = self.buckets.leaf(index).iter().position(is)?;
        Some(&mut Arc::make_mut(self.buckets.leaf_mut(index))[place])
    }

    /// Adds an entry, which must not be there yet.
    pub(super) fn insert(&mut self, entry: E) {
        if self.len >= LOAD << self.bits {
            self.split();
        }
        self.len += 1;
        let bucket = self.buckets.leaf_mut(self.index(entry.hash()));
        *bucket = bucket.iter().copied().chain([entry]).collect();
    }

    pub(super) fn remove(&mut self, hash: u32, is: impl Fn(&E) -> bool) {
        let index = self.index(hash);
        if !self.buckets.leaf(index).iter().any(&is) {
            return;
        }
        let bucket = self.buckets.leaf_mut(index);
        let kept: Arc<[E]> = bucket.iter().copied().filter(|entry| !is(entry)).collect();
        self.len -= bucket.len() - kept.len();
        *bucket = kept;
    }

    /// Every entry.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &E> {
        self.buckets.iter().flatten()
    }

    fn index(&self, hash: u32) -> usize {
        ((u64::from(hash) << self.bits) >> 32) as usize
    }

    fn split(&mut self) {
        let bit = 1u32 << (31 - self.bits);
        let mut halves = Vec::with_capacity(2 << self.bits);
        for bucket in self.buckets.iter() {
            for high in [false, true] {
                halves
                    .push(bucket.iter().copied().filter(|entry| (entry.hash() & bit != 0) == high).collect());
            }
        }
        self.buckets = Tree::of(halves);
        self.bits += 1;
    }
}

/// A hash of two words: one multiplication. The ids are made by the service, so nobody chooses them to collide.
pub(super) fn hash(a: u64, b: u64) -> u32 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd1b5_4a32_d192_ed03);
    let folded = (product >> 64) as u64 ^ product as u64;
    (folded >> 32) as u32 ^ folded as u32
}

pub(super) fn hash_id(id: Uuid) -> u32 {
    let (high, low) = id.as_u64_pair();
    hash(high, low)
}

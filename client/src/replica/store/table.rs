//! A hash table of small entries in pages that are replaced, not changed, when somebody else holds them too.
//!
//! A page has no gaps: its entries stand sorted by their hashes, so where one is can be guessed from its hash, within a
//! few entries. A look-up so reads two nodes of the tree, which caches hold, and a line or two of one page.

use std::sync::Arc;

use uuid::Uuid;

use super::tree::Tree;

/// Entries of a page on average, before all are split: more of them make a tree that is less deep and smaller, and
/// each write copies a page.
const LOAD: usize = 96;

/// What a table holds. The hash is kept in the entry or made of it, since finding and splitting need it again.
pub(crate) trait Entry: Copy {
    fn hash(&self) -> u32;
}

#[derive(Debug, Clone)]
pub(crate) struct Table<E> {
    pages: Tree<E>,
    /// So many bits of a hash, the highest, name the page.
    bits: u32,
    len: usize,
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self { pages: Tree::of(vec![Arc::default()]), bits: 0, len: 0 }
    }
}

impl<E: Entry> Table<E> {
    /// Every entry of this hash.
    pub(super) fn run(&self, hash: u32) -> &[E] {
        let page = self.pages.leaf(self.index(hash));
        let from = self.lower(page, hash);
        let count = page[from..].iter().take_while(|entry| entry.hash() == hash).count();
        &page[from..from + count]
    }

    pub(super) fn find(&self, hash: u32, is: impl Fn(&E) -> bool) -> Option<&E> {
        self.run(hash).iter().find(|entry| is(entry))
    }

    /// An entry to be changed; its hash must stay.
    pub(super) fn find_mut(&mut self, hash: u32, is: impl Fn(&E) -> bool) -> Option<&mut E> {
        let place = self.place(hash, is)?;
        Some(&mut Arc::make_mut(self.pages.leaf_mut(self.index(hash)))[place])
    }

    /// Adds an entry, which must not be there yet.
    pub(super) fn insert(&mut self, entry: E) {
        if self.len >= LOAD << self.bits {
            self.split();
        }
        self.len += 1;
        let index = self.index(entry.hash());
        let at = self.lower(self.pages.leaf(index), entry.hash());
        let page = self.pages.leaf_mut(index);
        let (before, after) = page.split_at(at);
        *page = before.iter().copied().chain([entry]).chain(after.iter().copied()).collect();
    }

    pub(super) fn remove(&mut self, hash: u32, is: impl Fn(&E) -> bool) {
        let Some(place) = self.place(hash, is) else { return };
        self.len -= 1;
        let page = self.pages.leaf_mut(self.index(hash));
        let (before, after) = (&page[..place], &page[place + 1..]);
        *page = before.iter().chain(after).copied().collect();
    }

    /// Every entry.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &E> {
        self.pages.iter().flatten()
    }

    fn index(&self, hash: u32) -> usize {
        ((u64::from(hash) << self.bits) >> 32) as usize
    }

    fn place(&self, hash: u32, is: impl Fn(&E) -> bool) -> Option<usize> {
        let page = self.pages.leaf(self.index(hash));
        let from = self.lower(page, hash);
        let run = page[from..].iter().take_while(|entry| entry.hash() == hash);
        run.enumerate().find_map(|(offset, entry)| is(entry).then_some(from + offset))
    }

    /// Where in its page the first entry with at least this hash is. Hashes are spread evenly, so it is near where it
    /// would be if they were so exactly.
    fn lower(&self, page: &[E], hash: u32) -> usize {
        let rest = hash.unbounded_shl(self.bits);
        let mut at = ((u64::from(rest) * page.len() as u64) >> 32) as usize;
        while at < page.len() && page[at].hash() < hash {
            at += 1;
        }
        while at > 0 && page[at - 1].hash() >= hash {
            at -= 1;
        }
        at
    }

    fn split(&mut self) {
        let bit = 1u32 << (31 - self.bits);
        let mut halves = Vec::with_capacity(2 << self.bits);
        for page in self.pages.iter() {
            let (low, high) = page.split_at(page.partition_point(|entry| entry.hash() & bit == 0));
            halves.extend([low.into(), high.into()]);
        }
        self.pages = Tree::of(halves);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    struct Pair {
        hash: u32,
        value: u32,
    }

    impl Entry for Pair {
        fn hash(&self) -> u32 {
            self.hash
        }
    }

    fn assert_same(table: &Table<Pair>, expected: &BTreeSet<Pair>) {
        assert_eq!(table.iter().copied().collect::<BTreeSet<_>>(), *expected);
        for pair in expected {
            let run: BTreeSet<u32> = table.run(pair.hash).iter().map(|pair| pair.value).collect();
            let of_hash = expected.iter().filter(|other| other.hash == pair.hash);
            assert_eq!(run, of_hash.map(|other| other.value).collect());
        }
    }

    #[test]
    fn what_is_in_a_table_is_found_however_its_hashes_are_spread() {
        type Spread = fn(u32) -> u32;
        let spreads: [Spread; 5] = [
            |value| hash(value.into(), 7),
            |value| value,
            |value| u32::MAX - value / 3,
            |value| (value % 5) << 30,
            |_| 0,
        ];
        for spread in spreads {
            let (mut table, mut expected) = (Table::default(), BTreeSet::new());
            let mut earlier = (table.clone(), expected.clone());
            for value in 0..600 {
                let pair = Pair { hash: spread(value), value };
                table.insert(pair);
                expected.insert(pair);
                if value % 3 == 0 {
                    let gone = Pair { hash: spread(value / 2), value: value / 2 };
                    table.remove(gone.hash, |pair| pair.value == gone.value);
                    expected.remove(&gone);
                }
                if value == 300 {
                    earlier = (table.clone(), expected.clone());
                }
            }
            assert_same(&table, &expected);
            assert_same(&earlier.0, &earlier.1);
            assert!(table.find(spread(599), |pair| pair.value == 600).is_none());
        }
    }
}

//! Rows by their place, which never changes: how ids are interned.

use std::sync::Arc;

use super::tree::Tree;

/// Rows of one page: what is copied when one row of a shared page changes.
const PAGE: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct Arena<T> {
    pages: Tree<T>,
    len: usize,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { pages: Tree::default(), len: 0 }
    }
}

impl<T: Copy + Default> Arena<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, place: u32) -> &T {
        let place = place as usize;
        &self.pages.leaf(place / PAGE)[place % PAGE]
    }

    pub(super) fn get_mut(&mut self, place: u32) -> &mut T {
        let place = place as usize;
        &mut Arc::make_mut(self.pages.leaf_mut(place / PAGE))[place % PAGE]
    }

    /// Adds a row and says its place.
    pub(super) fn push(&mut self, row: T) -> u32 {
        let place = u32::try_from(self.len).expect("a scope has fewer than four billion rows");
        if self.len == self.pages.len() * PAGE {
            self.pages.push(Arc::from([T::default(); PAGE]));
        }
        self.len += 1;
        *self.get_mut(place) = row;
        place
    }

    /// Every row with its place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..).zip(self.pages.iter().flatten().take(self.len))
    }
}

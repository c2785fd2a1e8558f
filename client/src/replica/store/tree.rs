//! A radix tree over numbered leaves, with structural sharing: a clone is one counter, and writing to a leaf of a tree
//! that somebody else holds too copies the leaf and the few nodes above it.

use std::sync::Arc;

/// Children of a node: 128 of them make two levels enough for a million rows in leaves of 64, and a copied path a few
/// kilobytes. Two levels stay in the caches of a processor, so that a look-up waits for memory once.
const FANOUT_BITS: u32 = 7;
const FANOUT: usize = 1 << FANOUT_BITS;

#[derive(Debug, Clone)]
pub(super) struct Tree<T> {
    root: Node<T>,
    /// Levels of nodes above the leaves.
    height: u32,
    leaves: usize,
}

#[derive(Debug)]
enum Node<T> {
    Inner(Arc<[Node<T>]>),
    Leaf(Arc<[T]>),
}

// Not derived: that would ask for `T: Clone`, and only counters are copied.
impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Inner(children) => Self::Inner(Arc::clone(children)),
            Self::Leaf(leaf) => Self::Leaf(Arc::clone(leaf)),
        }
    }
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { root: Node::Inner(Arc::default()), height: 1, leaves: 0 }
    }
}

impl<T> Tree<T> {
    pub(super) fn of(leaves: Vec<Arc<[T]>>) -> Self {
        let (count, mut height) = (leaves.len(), 1);
        let mut level: Vec<Node<T>> = leaves.into_iter().map(Node::Leaf).collect();
        while level.len() > FANOUT {
            level = level.chunks(FANOUT).map(|children| Node::Inner(children.into())).collect();
            height += 1;
        }
        Self { root: Node::Inner(level.into()), height, leaves: count }
    }

    pub(super) fn len(&self) -> usize {
        self.leaves
    }

    /// One leaf; there must be so many.
    pub(super) fn leaf(&self, index: usize) -> &[T] {
        let mut node = &self.root;
        let mut level = self.height;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf,
                Node::Inner(children) => {
                    level -= 1;
                    node = &children[digit(index, level)];
                }
            }
        }
    }

    /// One leaf, to be changed or replaced. What shares the way to it with others is copied.
    pub(super) fn leaf_mut(&mut self, index: usize) -> &mut Arc<[T]> {
        let mut node = &mut self.root;
        let mut level = self.height;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf,
                Node::Inner(children) => {
                    level -= 1;
                    node = &mut Arc::make_mut(children)[digit(index, level)];
                }
            }
        }
    }

    pub(super) fn push(&mut self, leaf: Arc<[T]>) {
        if self.leaves == 1 << (FANOUT_BITS * self.height) {
            self.root = Node::Inner([self.root.clone()].into());
            self.height += 1;
        }
        append(&mut self.root, self.height, self.leaves, leaf);
        self.leaves += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[T]> {
        (0..self.leaves).map(|index| self.leaf(index))
    }
}

fn digit(index: usize, level: u32) -> usize {
    (index >> (FANOUT_BITS * level)) & (FANOUT - 1)
}

/// Puts a leaf at `index`, the first that is free, below a node that has room for it.
fn append<T>(node: &mut Node<T>, height: u32, index: usize, leaf: Arc<[T]>) {
    let Node::Inner(children) = node else { unreachable!("leaves are below the lowest nodes") };
    let place = digit(index, height - 1);
    if let Some(child) = Arc::make_mut(children).get_mut(place) {
        return append(child, height - 1, index, leaf);
    }
    let mut new = Node::Leaf(leaf);
    for _ in 1..height {
        new = Node::Inner([new].into());
    }
    *children = children.iter().cloned().chain([new]).collect();
}

//! The state of a replica: compact, and persistent in the sense of data structures. Cloning it is a few counters; the
//! writer changes its own clone, copying only what it touches, and publishes that as the next moment. So readers see one
//! moment without locks, a snapshot fills beside the state that answers, and a file is written from a moment that stands.
//!
//! Ids are interned: a row is known by its place (`u32`), and a membership is two places and two words.

mod arena;
mod compare;
mod digest;
mod dump;
mod externals;
mod rows;
mod scope;
mod subject;
mod table;
mod tree;
mod writer;

#[cfg(test)]
mod tests;

pub(super) use compare::{Gone, gone, is_active, version};
pub(super) use scope::Scope;
pub(super) use subject::{Body, Thing, parse};
pub(super) use writer::{Applied, Source, Store, Touched};

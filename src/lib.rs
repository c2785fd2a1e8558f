//! Rollcall.

pub mod embedded;
pub mod rules;
pub mod storage;

//! Rollcall.

pub mod rules;

//! Rollcall.

pub mod cli;
pub mod config;

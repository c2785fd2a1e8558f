//! Rollcall.

pub mod app;
pub mod cli;
pub mod config;
pub mod embedded;
pub mod engine;
pub mod feed;
pub mod grpc;
pub mod proto;
pub mod rules;
pub mod seal;
pub mod storage;
pub mod store_log;
pub mod telemetry;

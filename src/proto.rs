//! The generated messages and services of package `rollcall.v1`.

#![allow(missing_docs, unreachable_pub, clippy::large_enum_variant, clippy::doc_lazy_continuation)]

tonic::include_proto!("rollcall.v1");

/// The descriptor set of the package with its imports, as reflection serves it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rollcall.v1.bin"));

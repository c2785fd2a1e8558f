//! The messages and services of package `rollcall.v1`: generated ones ([`v1`], whose items stand here), and `Watch`'s
//! answers as bytes ([`Frame`]).

mod frame;

/// The generated ones.
#[allow(missing_docs, unreachable_pub, clippy::large_enum_variant, clippy::doc_lazy_continuation)]
pub mod v1 {
    tonic::include_proto!("rollcall.v1");
}

pub use frame::Frame;
pub use v1::*;

/// The descriptor set of the package with its imports, as reflection serves it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rollcall.v1.bin"));

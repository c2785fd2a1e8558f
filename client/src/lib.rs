//! Typed calls and a resuming watch for the apps that follow Rollcall.

/// The generated messages and clients of package `rollcall.v1`.
#[allow(missing_docs, unreachable_pub, clippy::large_enum_variant)]
pub mod v1 {
    tonic::include_proto!("rollcall.v1");
}

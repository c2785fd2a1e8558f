//! Typed calls, a resuming watch and a live replica for the apps that follow Rollcall.
//!
//! - [`connect`] gives a [`Client`]: a connection that notices a dead peer, with one typed client per service.
//! - [`retry()`] repeats a write with its `request_id` where repeating is safe and may help; [`reason`], [`metadata`]
//!   and [`describe`] read what a refusal says.
//! - [`Replica`] is what most apps want: it follows the feed and answers access checks from memory, for as long as it
//!   can know.
//! - [`Shadow`] compares it with what an app decides today, before anything depends on it.
//! - [`Watch`] follows the feed and hides cut connections; [`Tables`] keeps what it tells, for other uses than access
//!   checks.
//!
//! `docs/adopt.md` leads through adopting it; `client/examples/` has apps to copy from.
//!
//! ```no_run
//! # async fn run(account_id: uuid::Uuid, workspace_id: uuid::Uuid) -> Result<(), Box<dyn std::error::Error>> {
//! use rollcall_client::{Access, Outcome, Replica, ReplicaOptions, Revocation, connect};
//!
//! let client = connect("http://127.0.0.1:7400")?;
//! let replica = Replica::start(client, ReplicaOptions::new("chat", "chat-7f9c5"), |revocation: Revocation| async move {
//!     // Close what this person has open.
//!     println!("{} is out", revocation.member_id);
//!     Outcome::Ended { sessions: 1, handed_over: 0 }
//! });
//! replica.ready().await;
//! match replica.check(account_id, workspace_id) {
//!     Access::Allowed(allowed) => println!("as {:?}", allowed.workspace_role),
//!     Access::Denied(reason) => println!("no: {}", reason.as_str_name()),
//!     Access::Stale => println!("try again"),
//! }
//! replica.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod backoff;
mod certificates;
mod connection;
mod credentials;
mod endpoints;
mod replica;
mod retry;
mod shadow;
mod status;
mod tables;
mod traces;
mod watch;

pub use certificates::TlsFiles;
pub use connection::{Client, ClientOptions, ConnectError, Transport, connect, connect_with};
pub use credentials::Credentials;
pub use endpoints::Endpoints;
pub use replica::{
    Access, Allowed, Answer, ChangeRef, Clock, Ended, Handler, MalformedStamp, ManualClock, NothingToEnd,
    Outcome, Person, Phase, Replica, ReplicaOptions, ReplicaStatus, Revocation, SessionAccess, SessionGuard,
    Stamp, SystemClock, View,
};
pub use retry::{RetryPolicy, retry};
pub use shadow::{Difference, Shadow, ShadowCounts, ShadowOutcome};
pub use status::{describe, metadata, reason, retry_delay};
pub use tables::Tables;
pub use tonic::transport::ClientTlsConfig;
#[cfg(feature = "otel")]
pub use traces::otel::{continue_trace, traceparent};
pub use watch::{Event, Gap, Interruption, Watch, WatchError, WatchOptions};

/// The generated messages and clients of package `rollcall.v1`.
#[allow(missing_docs, unreachable_pub, clippy::large_enum_variant)]
pub mod v1 {
    tonic::include_proto!("rollcall.v1");
}

// So that what the guide shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/adopt.md")]
struct Adopt;

//! Typed calls, a resuming watch and a local replica for the apps that follow Rollcall.
//!
//! - [`connect`] gives a [`Client`]: a connection that notices a dead peer, with one typed client per service.
//! - [`retry()`] repeats a write with its `request_id` where repeating is safe and may help; [`reason`], [`metadata`]
//!   and [`describe`] read what a refusal says.
//! - [`Watch`] follows the feed and hides cut connections; [`Replica`] keeps what it tells.
//!
//! ```no_run
//! # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
//! use rollcall_client::{Replica, Watch, WatchOptions, connect};
//!
//! let client = connect("http://127.0.0.1:7400")?;
//! let mut watch = Watch::new(client.channel(), WatchOptions::new("chat"));
//! let mut replica = Replica::default();
//! loop {
//!     let event = watch.next().await?;
//!     replica.apply(&event);
//!     if replica.is_ready() {
//!         println!("{} memberships", replica.workspace_members().count());
//!     }
//! }
//! # }
//! ```

mod backoff;
mod connection;
mod replica;
mod retry;
mod status;
mod watch;

pub use connection::{Client, ConnectError, connect};
pub use replica::Replica;
pub use retry::{RetryPolicy, retry};
pub use status::{describe, metadata, reason, retry_delay};
pub use watch::{Event, Gap, Interruption, Watch, WatchError, WatchOptions};

/// The generated messages and clients of package `rollcall.v1`.
#[allow(missing_docs, unreachable_pub, clippy::large_enum_variant)]
pub mod v1 {
    tonic::include_proto!("rollcall.v1");
}

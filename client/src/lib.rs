//! Typed calls, a resuming watch and plain tables for the apps that follow Rollcall.
//!
//! - [`connect`] gives a [`Client`]: a connection that notices a dead peer, with one typed client per service.
//!   [`connect_with`] takes several endpoints, TLS and credentials.
//! - [`retry()`] repeats a write with its `request_id` where repeating is safe and may help; [`reason`], [`metadata`]
//!   and [`describe`] read what a refusal says.
//! - [`Watch`] follows the feed and hides cut connections; [`Tables`] keeps what it tells.
//!
//! ```no_run
//! # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
//! use rollcall_client::{Tables, Watch, WatchOptions, connect};
//!
//! let client = connect("http://127.0.0.1:7400")?;
//! let mut watch = Watch::new(client, WatchOptions::new("chat"));
//! let mut tables = Tables::default();
//! loop {
//!     let event = watch.next().await?;
//!     tables.apply(&event);
//!     if tables.is_ready() {
//!         println!("{} memberships", tables.workspace_members().count());
//!     }
//! }
//! # }
//! ```

mod backoff;
mod connection;
mod credentials;
mod retry;
mod status;
mod tables;
mod watch;

pub use connection::{Client, ClientOptions, ConnectError, Transport, connect, connect_with};
pub use credentials::Credentials;
pub use retry::{RetryPolicy, retry};
pub use status::{describe, metadata, reason, retry_delay};
pub use tables::Tables;
pub use tonic::transport::ClientTlsConfig;
pub use watch::{Event, Gap, Interruption, Watch, WatchError, WatchOptions};

/// The generated messages and clients of package `rollcall.v1`.
#[allow(missing_docs, unreachable_pub, clippy::large_enum_variant)]
pub mod v1 {
    tonic::include_proto!("rollcall.v1");
}

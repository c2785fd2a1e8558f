//! The examples, asked from outside, against a service whose every answer the test says.

// Each example has the module that they share.
#![allow(clippy::unwrap_used, clippy::duplicate_mod)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Parser;
use rollcall_client::v1::{Opened, ReceiptOutcome};
use script::{Script, Stream, Streams};
use things::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use uuid::Uuid;

#[allow(dead_code)]
#[path = "../../examples/axum.rs"]
mod axum_example;
#[allow(dead_code)]
#[path = "../../examples/chat.rs"]
mod chat_example;
#[allow(dead_code)]
#[path = "../replica/script.rs"]
mod script;
#[allow(dead_code)]
#[path = "../replica/things.rs"]
mod things;
#[allow(dead_code)]
#[path = "../../examples/tonic.rs"]
mod tonic_example;

mod chat;
mod requests;

/// A lease that ends while a test waits for it.
const SHORT: Duration = Duration::from_millis(500);

/// An example with its service.
struct Stage {
    script: Arc<Script>,
    streams: Streams,
    address: SocketAddr,
    /// How it ended.
    served: JoinHandle<Result<(), String>>,
}

/// Starts an example with these flags.
macro_rules! begin {
    ($example:ident $(, $flag:expr)*) => {{
        let (script, streams, endpoint) = script::listen().await;
        let args = $example::Args::parse_from(["example", "--service", &endpoint, "--app", "chat" $(, $flag)*]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            $example::run(args, listener).await.map_err(|error| error.to_string())
        });
        Stage { script, streams, address, served }
    }};
}
pub(crate) use begin;

impl Stage {
    /// Serves a stream with a snapshot of two people, with leases of this length.
    async fn fill(&mut self, lease: Duration) -> Stream {
        let stream = self.open(lease).await;
        self.until(1, 200).await;
        stream
    }

    /// As [`Stage::fill`], without waiting for an answer.
    async fn open(&mut self, lease: Duration) -> Stream {
        let mut stream = Stream::next(&mut self.streams).await;
        self.script.on_acknowledge(move |_| Ok(script::granted(lease)));
        let opened = Opened {
            store_id: "store".into(),
            subscription_id: "s1".into(),
            snapshot_follows: true,
            lease_ttl: lease.try_into().ok(),
            ..Opened::default()
        };
        stream.open_with(opened).await;
        stream.page(people(2)).await;
        stream.end("filled", 10, 10).await;
        stream
    }

    /// No lease is granted any more.
    fn starve(&self) {
        self.script.on_acknowledge(|_| Err(tonic::Status::unavailable("no mark can be made")));
    }

    /// The path of a question about person `number`.
    fn about(path: &str, number: u128) -> String {
        format!("{path}?account_id={}&workspace_id={}", account_id(number), workspace_id())
    }

    /// The status and the whole answer of a GET with these headers.
    async fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    async fn check(&self, number: u128) -> (u16, String) {
        self.get(&Self::about("/check", number), "").await
    }

    /// Asks until the answer is this one.
    async fn until(&self, number: u128, status: u16) -> String {
        let asking = async {
            loop {
                let (answered, answer) = self.check(number).await;
                if answered == status {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.expect("the answer changes")
    }
}

//! A reader that does not read, beside one that does; a token that the replica has not got as far as.

use std::sync::Arc;

use rollcall_client::{NothingToEnd, connect};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::grpc::{TokenRefusal, Tokens, caught_up};

/// Longer than anything here takes.
const BOUND: Duration = Duration::from_secs(60);
/// Together far more than what the kernel buffers, and fewer than the window has.
const EVENTS: usize = 8_000;
const BYTES: usize = 4_096;

async fn read_by(address: SocketAddr, name: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /v1/revocations?reader={name} HTTP/1.0\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("sent");
    connection
}

fn events(text: &[u8]) -> usize {
    text.windows(16).filter(|words| words == b"event: revocatio").count()
}

async fn until(condition: impl Fn() -> bool) {
    let looking = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, looking).await.expect("in time");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off_and_costs_no_other_anything() {
    let options = Options {
        client: connect("http://127.0.0.1:9").expect("an endpoint"),
        replica: ReplicaOptions::new("chat", "chat-1"),
        listen: "127.0.0.1:0".parse().expect("an address"),
        receipt_patience: BOUND,
        // The quick one takes all within it, also where it shares a busy machine.
        write_patience: Duration::from_secs(3),
    };
    let stop = CancellationToken::new();
    let agent = Agent::start(options, stop.clone()).await.expect("a port");
    let (address, relay) = (agent.address(), Arc::clone(&agent.shared.relay));
    let serving = tokio::spawn(agent.serve());
    let (mut slow, mut quick) = (read_by(address, "slow").await, read_by(address, "quick").await);
    until(|| relay.readers() == 2).await;
    let data: Arc<str> = "x".repeat(BYTES).into();
    for _ in 0..EVENTS {
        relay.tell(Arc::clone(&data));
    }
    let (mut came, mut text) = (0, Vec::new());
    while came < EVENTS {
        let read = timeout(BOUND, quick.read_buf(&mut text)).await.expect("in time").expect("a piece");
        assert!(read > 0, "the quick reader is cut off after {came} events");
        came += events(&text);
        // An event may be cut in the middle of the word: the rest is looked at again, with what follows.
        text.drain(..text.len().saturating_sub(15));
    }
    until(|| relay.readers() == 1).await;
    // What the kernel had taken comes, and then the end, long before the last event.
    let mut rest = Vec::new();
    let _ = timeout(BOUND, slow.read_to_end(&mut rest)).await.expect("the end");
    assert!(events(&rest) < EVENTS, "all came");
    stop.cancel();
    timeout(BOUND, serving).await.expect("in time").expect("no panic").expect("in order");
}

/// What every token stands for.
struct Standing(Result<i64, TokenRefusal>);

impl Tokens for Standing {
    async fn position(&self, _: &str) -> Result<i64, TokenRefusal> {
        self.0
    }
}

#[tokio::test(start_paused = true)]
async fn c13_a_replica_that_has_not_got_as_far_as_a_token_is_waited_for_and_not_taken() {
    // Nobody tells it anything: it stands before the first change.
    let client = connect("http://127.0.0.1:9").expect("an endpoint");
    let access = Access::of(Replica::start(client, ReplicaOptions::new("chat", "chat-1"), NothingToEnd));
    for (standing, expected) in [
        (Ok(0), Ok(())),
        (Ok(1), Err(TokenRefusal::NotReached)),
        (Err(TokenRefusal::Forked), Err(TokenRefusal::Forked)),
    ] {
        assert_eq!(caught_up(&access, &Standing(standing), "token").await, expected, "{standing:?}");
    }
}

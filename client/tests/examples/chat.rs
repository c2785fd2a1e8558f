//! Sockets close when their people are out, with the documented codes, and are in the receipt.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message},
};

use super::*;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(stage: &Stage, number: u128) -> Socket {
    let url = format!("ws://{}{}", stage.address, Stage::about("/ws", number));
    connect_async(url).await.unwrap().0
}

/// What is said is heard by all in the room.
async fn say(from: &mut Socket, to: &mut Socket, text: &str) {
    from.send(Message::text(text)).await.unwrap();
    for socket in [from, to] {
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
}

/// The code and reason that a socket is closed with.
async fn closed(socket: &mut Socket) -> (u16, String) {
    let closing = async {
        loop {
            if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                let frame = frame.unwrap();
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closing).await.expect("the socket closes")
}

#[tokio::test]
async fn r16_the_sockets_of_who_is_out_close_with_4403_and_are_in_the_receipt() {
    let mut stage = begin!(chat_example);
    let mut stream = stage.fill(script::TTL).await;
    let (mut first, mut second) = (connect(&stage, 1).await, connect(&stage, 1).await);
    let mut other = connect(&stage, 2).await;
    say(&mut first, &mut other, "good morning").await;
    // The one that does not read, and one that goes on writing, close too.
    assert_eq!(second.next().await.unwrap().unwrap(), Message::text("good morning"));
    stream.batch("out", vec![deactivation(11, 1)]).await;
    for socket in [&mut first, &mut second] {
        assert_eq!(closed(socket).await, (4403, "DENIAL_REASON_MEMBER_DEACTIVATED".to_owned()));
    }
    let receipts = stage.script.acknowledged("out", &[&change_id(11)]).await;
    assert_eq!((receipts[0].outcome(), receipts[0].ended_sessions), (ReceiptOutcome::Ended, 2));
    let (status, answer) = stage.check(1).await;
    assert!(status == 403 && answer.contains("DENIAL_REASON_MEMBER_DEACTIVATED"), "{answer}");
    let refused = connect_async(format!("ws://{}{}", stage.address, Stage::about("/ws", 1))).await;
    assert!(matches!(refused.unwrap_err(), Error::Http(answer) if answer.status() == 403));
    // Nobody else notices.
    other.send(Message::text("who is left?")).await.unwrap();
    assert_eq!(other.next().await.unwrap().unwrap(), Message::text("who is left?"));
}

#[tokio::test]
async fn t12_sockets_close_with_1013_when_nobody_knows_any_more() {
    let mut stage = begin!(chat_example);
    let _stream = stage.fill(SHORT).await;
    let mut socket = connect(&stage, 1).await;
    stage.starve();
    assert_eq!(closed(&mut socket).await, (1013, "ACCESS_STALE".to_owned()));
    let answer = stage.until(1, 503).await;
    assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
}

#[tokio::test]
async fn without_leases_it_goes_on_answering_which_is_what_they_prevent() {
    let mut stage = begin!(chat_example, "--lease-off");
    let mut stream = stage.fill(SHORT).await;
    let (mut socket, mut other) = (connect(&stage, 1).await, connect(&stage, 2).await);
    stage.starve();
    tokio::time::sleep(2 * SHORT).await;
    assert_eq!(stage.check(1).await.0, 200);
    say(&mut socket, &mut other, "still here").await;
    // What it is told it does all the same.
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.until(1, 403).await;
    let _ = socket.send(Message::text("and now?")).await;
    assert_eq!(closed(&mut socket).await.0, 4403);
}

#[tokio::test]
async fn a_stuck_handler_keeps_no_socket_open_and_no_lease_from_coming() {
    let mut stage = begin!(chat_example, "--stuck-handler");
    let mut stream = stage.fill(script::TTL).await;
    let mut socket = connect(&stage, 1).await;
    stream.batch("out", vec![deactivation(11, 1)]).await;
    assert_eq!(closed(&mut socket).await.0, 4403);
    // A later renewal has none either: that of a handler that is done goes with the one after the change at the latest.
    stream.bookmark("later", 12).await;
    let receipts = stage.script.acknowledged("later", &[]).await;
    assert!(receipts.is_empty(), "{receipts:?}");
    assert_eq!(stage.check(2).await.0, 200);
}

//! HTTP/2 by hand: a connection that says what no client would, frame by frame.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// Kinds of frames.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Flags.
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// The setting that says how much of an answer may be sent before anything of it was taken.
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

/// What every connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A peer that takes nothing of what is sent to it is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header as HPACK writes one that is in no table: without Huffman, not to be remembered.
pub(super) fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        match u8::try_from(text.len()) {
            Ok(length @ 0..127) => bytes.push(length),
            _ => {
                bytes.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    bytes.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                    rest /= 128;
                }
                bytes.push(u8::try_from(rest).expect("seven bits"));
            }
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The head of a gRPC call of this method.
pub(super) fn head(method: &str) -> Vec<u8> {
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "rollcall"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        // Not the name of those who measure: they would wait in line with it.
        ("rollcall-caller", "attacker"),
    ]
    .iter()
    .flat_map(|(name, value)| header(name, value))
    .collect()
}

/// What a connection has heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The highest stream that the other side took, and why it ends the connection.
    pub(super) goaway: Option<(u32, u32)>,
    pub(super) closed: bool,
}

/// A connection whose frames are made by hand. What comes back is read all the time, and looked at for its end alone.
pub(super) struct Raw {
    write: OwnedWriteHalf,
    heard: watch::Receiver<Heard>,
    /// Bytes of answers that came.
    pub(super) taken: Arc<AtomicU64>,
    reading: JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Raw {
    /// Begins to speak, with these settings.
    pub(super) async fn open(address: &str, settings: &[(u16, u32)]) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut read, write) = stream.into_split();
        let (tell, heard) = watch::channel(Heard::default());
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&taken);
        let reading = tokio::spawn(async move {
            loop {
                let mut begin = [0; 9];
                if read.read_exact(&mut begin).await.is_err() {
                    break;
                }
                let length = u32::from_be_bytes([0, begin[0], begin[1], begin[2]]);
                let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
                if read.read_exact(&mut payload).await.is_err() {
                    break;
                }
                match begin[3] {
                    DATA => _ = counted.fetch_add(u64::from(length), Ordering::Relaxed),
                    GOAWAY => {
                        let number = |at: usize| {
                            u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"))
                        };
                        tell.send_modify(|heard| heard.goaway = Some((number(0), number(4))));
                    }
                    _ => {}
                }
            }
            tell.send_modify(|heard| heard.closed = true);
        });
        let mut raw = Self { write, heard, taken, reading };
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &settings), &frame(SETTINGS, ACK, 0, &[])].concat())
            .await?;
        Ok(raw)
    }

    /// Sends bytes. An error where the connection has ended, or takes nothing.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = timeout(PATIENCE, self.write.write_all(bytes)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// What was heard so far.
    pub(super) fn heard(&self) -> Heard {
        *self.heard.borrow()
    }

    /// Waits until the connection has ended; whether it did within this time.
    pub(super) async fn ends(&mut self, within: Duration) -> bool {
        timeout(within, self.heard.wait_for(|heard| heard.closed)).await.is_ok()
    }
}

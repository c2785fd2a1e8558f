//! Asking an app from outside, with nothing of the client crate: over HTTP again and again, and over a WebSocket on which
//! somebody keeps talking. Noted is every answer that let the person in.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};

/// Between two questions.
const PACE: Duration = Duration::from_millis(4);
/// The kinds of frames.
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
/// Before a process is asked again that was not there.
const AGAIN: Duration = Duration::from_millis(5);

/// Who is asked about.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) account_id: String,
    pub(super) workspace_id: String,
}

impl Who {
    fn query(&self) -> String {
        format!("account_id={}&workspace_id={}", self.account_id, self.workspace_id)
    }
}

/// An answer that let the person in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) asked: Instant,
    pub(super) answered: Instant,
}

/// What was heard of one app.
#[derive(Debug, Default, Clone)]
pub(super) struct Heard {
    /// Of single requests.
    pub(super) granted: Vec<Grant>,
    pub(super) denied: usize,
    pub(super) stale: usize,
    /// Of what was said on the socket.
    pub(super) echoed: Vec<Grant>,
    /// How the socket was closed; 0: without a word.
    pub(super) closed: Option<u16>,
}

/// Asks one app about one person until it is stopped.
pub(super) struct Prober {
    heard: Arc<Mutex<Heard>>,
    opened: watch::Receiver<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl Prober {
    pub(super) fn start(address: SocketAddr, who: &Who) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (open, opened) = watch::channel(false);
        let (asks, talks) = (Arc::clone(&heard), Arc::clone(&heard));
        let (asker, talker) = (who.clone(), who.clone());
        let tasks = [
            tokio::spawn(async move {
                loop {
                    // A process that is gone ends the connection; the next one is asked then.
                    let _ = ask_on(address, &asker, &asks).await;
                    sleep(AGAIN).await;
                }
            }),
            tokio::spawn(async move {
                let code = talk(address, &talker, &talks, &open).await.unwrap_or(0);
                note(&talks, |heard| heard.closed = Some(code));
            }),
        ];
        Self { heard, opened, tasks }
    }

    /// Waits until the person is in: the socket is open, and what was said on it came back.
    pub(super) async fn opened(&self) {
        self.opened.clone().wait_for(|opened| *opened).await.expect("a socket that opens");
    }

    /// Stops asking.
    pub(super) fn stop(self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn note(heard: &Mutex<Heard>, what: impl FnOnce(&mut Heard)) {
    what(&mut heard.lock().unwrap_or_else(PoisonError::into_inner));
}

/// The status of one check, over a connection of its own.
pub(super) async fn check(address: SocketAddr, who: &Who) -> io::Result<u16> {
    request(&mut BufReader::new(TcpStream::connect(address).await?), &format!("/check?{}", who.query()), "")
        .await
}

async fn ask_on(address: SocketAddr, who: &Who, heard: &Mutex<Heard>) -> io::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let path = format!("/check?{}", who.query());
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let asked = Instant::now();
        let status = request(&mut stream, &path, "").await?;
        let answered = Instant::now();
        note(heard, |heard| match status {
            200 => heard.granted.push(Grant { asked, answered }),
            403 => heard.denied += 1,
            503 => heard.stale += 1,
            other => panic!("an app answered {other}"),
        });
    }
}

/// One request of HTTP/1.1, and the status that answers it. The body, if any, is read and thrown away.
async fn request(stream: &mut BufReader<TcpStream>, path: &str, headers: &str) -> io::Result<u16> {
    let text = format!("GET {path} HTTP/1.1\r\nhost: app\r\n{headers}\r\n");
    stream.get_mut().write_all(text.as_bytes()).await?;
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest.get(..3).and_then(|status| status.parse().ok());
        } else if let Some(rest) = line.strip_prefix("content-length:") {
            length = rest.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Opens a WebSocket and keeps talking on it until it is closed; gives the code of that. Whoever says something hears it
/// too, so what comes back was let in.
async fn talk(
    address: SocketAddr,
    who: &Who,
    heard: &Mutex<Heard>,
    open: &watch::Sender<bool>,
) -> io::Result<u16> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let status = request(&mut stream, &format!("/ws?{}", who.query()), upgrade).await?;
    assert_eq!(status, 101, "a socket is opened for who is in");
    let (mut read, mut write) = tokio::io::split(stream);
    let said: Mutex<Vec<Instant>> = Mutex::default();
    let saying = async {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let number = {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.push(Instant::now());
                said.len() - 1
            };
            if write.write_all(&text(number)).await.is_err() {
                // Why it was closed is still to be read.
                return std::future::pending::<()>().await;
            }
        }
    };
    let hearing = async {
        loop {
            let (kind, payload) = frame(&mut read).await?;
            let answered = Instant::now();
            match kind {
                TEXT => {
                    let number =
                        std::str::from_utf8(&payload).ok().and_then(|text| text.parse::<usize>().ok());
                    let number = number.expect("what was said here");
                    let asked = said.lock().unwrap_or_else(PoisonError::into_inner)[number];
                    note(heard, |heard| heard.echoed.push(Grant { asked, answered }));
                    open.send_replace(true);
                }
                CLOSE => return Ok(payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code))),
                _ => {}
            }
        }
    };
    tokio::select! {
        code = hearing => code,
        () = saying => unreachable!("it goes on talking"),
    }
}

/// A frame of a client, whose mask changes nothing.
fn text(number: usize) -> Vec<u8> {
    let payload = format!("{number:08}");
    let mut frame = vec![0x80 | TEXT, 0x80 | 8, 0, 0, 0, 0];
    frame.extend_from_slice(payload.as_bytes());
    frame
}

async fn frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    // Everything that is said here is short, and servers do not mask.
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut payload).await?;
    Ok((head[0] & 0x0f, payload))
}

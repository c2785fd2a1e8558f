//! The port for Prometheus and for probes: plain HTTP/1.1, one request on a connection. Everything is bounded, since nobody
//! is asked who they are.
//!
//! By hand: three paths without a body need no framework. Nobody waits for a place that others hold: Kubernetes kills who
//! does not answer its probes, so those who open connections and say nothing must not keep a probe out. Every connection is
//! taken, and where all places are, the oldest loses its own.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::Exporter;

/// Connections at a time. Prometheus has one, and so has each probe; the others are for those who hold theirs for nothing.
const CONNECTIONS: usize = 256;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the head of its request may take. It is one packet, which comes right behind the handshake.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// How long one keeps its place at least, also where all are taken: long enough for a probe. It bounds how many connections
/// are taken in a second too.
const LEAST: Duration = Duration::from_millis(100);
/// The longest head of a request.
const HEAD: usize = 8 * 1024;
/// After accepting failed, as where no file descriptor is left.
const BACKOFF: Duration = Duration::from_millis(100);

/// Whether the process may be sent calls. Nothing said yet: it is still starting.
pub type Ready = Arc<OnceLock<Box<dyn Fn() -> bool + Send + Sync>>>;

/// Takes the address, and answers there until the process ends. Returns the address, for port 0.
pub async fn listen(address: SocketAddr, exporter: Exporter, ready: Ready) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    tokio::spawn(accept(listener, exporter, ready));
    Ok(address)
}

/// A connection that has a place.
struct Place {
    since: Instant,
    task: JoinHandle<()>,
}

impl Place {
    /// Takes the place away from who has it, not before its least time.
    async fn clear(mut self) {
        if timeout_at(self.since + LEAST, &mut self.task).await.is_err() {
            self.task.abort();
            // Until it is closed. It ends as one that was cut, of which nothing is to be told.
            let _ = self.task.await;
        }
    }
}

async fn accept(listener: TcpListener, exporter: Exporter, ready: Ready) {
    // The oldest first.
    let mut places: VecDeque<Place> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(BACKOFF).await;
            continue;
        };
        places.retain(|place| !place.task.is_finished());
        if places.len() >= CONNECTIONS
            && let Some(oldest) = places.pop_front()
        {
            oldest.clear().await;
        }
        let (exporter, ready) = (exporter.clone(), Arc::clone(&ready));
        let task = tokio::spawn(async move {
            // Whoever hangs up, or takes too long, gets no answer; there is nobody to tell.
            let _ = timeout(PATIENCE, serve(stream, &exporter, &ready)).await;
        });
        places.push_back(Place { since: Instant::now(), task });
    }
}

async fn serve(mut stream: TcpStream, exporter: &Exporter, ready: &Ready) -> io::Result<()> {
    let Some(head) = timeout(HEAD_PATIENCE, head(&mut stream)).await?? else { return Ok(()) };
    let (status, kind, body) = answer(&head, exporter, ready);
    let length = body.len();
    let head_only = head.starts_with("HEAD ");
    let said = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(said.as_bytes()).await?;
    if !head_only {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

/// The head of a request. None: it is longer than any that is meant, or ends early.
async fn head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let read = stream.read(&mut part).await?;
        if read == 0 || head.len() + read > HEAD {
            return Ok(None);
        }
        head.extend_from_slice(&part[..read]);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn answer(head: &str, exporter: &Exporter, ready: &Ready) -> (&'static str, &'static str, String) {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !["GET", "HEAD"].contains(&method) {
        return ("405 Method Not Allowed", TEXT, "only GET\n".to_owned());
    }
    match target.split('?').next().unwrap_or_default() {
        "/metrics" => ("200 OK", METRICS, exporter.text()),
        // Alive is who answers. Not the database: to restart this process would not bring that back.
        "/livez" => ("200 OK", TEXT, "alive\n".to_owned()),
        "/readyz" => match ready.get().map(|ready| ready()) {
            Some(true) => ("200 OK", TEXT, "ready\n".to_owned()),
            Some(false) => ("503 Service Unavailable", TEXT, "not ready\n".to_owned()),
            None => ("503 Service Unavailable", TEXT, "starting\n".to_owned()),
        },
        _ => ("404 Not Found", TEXT, "there are /metrics, /livez and /readyz\n".to_owned()),
    }
}

//! Stands between the service and Postgres and sees which statements are on their way together. Answers are held back
//! for a moment, so that whatever does not need them has been sent by then: what was sent since the last answer is one
//! round trip.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};

/// How long answers are held back.
const HOLD: Duration = Duration::from_millis(15);

/// What a connection has sent.
#[derive(Debug, Default)]
struct Seen {
    /// The process of Postgres that serves it.
    backend: u32,
    /// Of each statement that was run, in which round trip.
    statements: Vec<usize>,
    trip: usize,
    answered: bool,
}

/// A running proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    port: u16,
    seen: Arc<Mutex<HashMap<u16, Seen>>>,
}

impl Proxy {
    /// Starts one before a Postgres that listens in this directory.
    pub(crate) async fn start(socket_dir: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let proxy = Self { port, seen: Arc::default() };
        let running = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, address)) = listener.accept().await {
                let server = UnixStream::connect(socket_dir.join(".s.PGSQL.5432")).await.expect("Postgres");
                running.connect(address.port(), client, server);
            }
        });
        proxy
    }

    /// Where the service connects to a database through it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://rollcall_service@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Forgets what was sent so far.
    pub(crate) fn clear(&self) {
        self.lock().values_mut().for_each(|seen| seen.statements.clear());
    }

    /// Of a server process: of each statement that it was sent, in which round trip.
    pub(crate) fn trips(&self, backend: u32) -> Vec<usize> {
        let seen = self.lock();
        seen.values().find(|seen| seen.backend == backend).expect("its connection").statements.clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Seen>> {
        self.seen.lock().expect("no one fails with it")
    }

    fn connect(&self, key: u16, client: TcpStream, server: UnixStream) {
        client.set_nodelay(true).expect("an option");
        self.lock().insert(key, Seen::default());
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let asking = self.clone();
        tokio::spawn(async move {
            let mut frames = Frames { first: true, ..Frames::default() };
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                let messages = frames.take(&buffer[..length]);
                if let Some(seen) = asking.lock().get_mut(&key) {
                    if std::mem::take(&mut seen.answered) {
                        seen.trip += 1;
                    }
                    let run = messages.iter().filter(|(kind, _)| matches!(kind, b'E' | b'Q')).count();
                    seen.statements.extend(std::iter::repeat_n(seen.trip, run));
                }
                if to_server.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        });
        let answering = self.clone();
        tokio::spawn(async move {
            let mut frames = Frames::default();
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                let messages = frames.take(&buffer[..length]);
                // BackendKeyData begins with the number of the process.
                let own = messages.iter().find(|(kind, _)| *kind == b'K').map(|(_, body)| number(body));
                tokio::time::sleep(HOLD).await;
                if let Some(seen) = answering.lock().get_mut(&key) {
                    seen.backend = own.unwrap_or(seen.backend);
                    seen.answered = true;
                }
                if to_client.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Cuts a stream of bytes into messages: a letter, the length of the rest with itself, the rest.
#[derive(Default)]
struct Frames {
    /// The first message of a client has no letter.
    first: bool,
    rest: Vec<u8>,
}

impl Frames {
    fn take(&mut self, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        self.rest.extend_from_slice(bytes);
        let mut found = Vec::new();
        loop {
            let letter = usize::from(!self.first);
            if self.rest.len() < letter + 4 {
                return found;
            }
            let end = letter + number(&self.rest[letter..]) as usize;
            if self.rest.len() < end {
                return found;
            }
            let message: Vec<u8> = self.rest.drain(..end).collect();
            let kind = if self.first { 0 } else { message[0] };
            self.first = false;
            found.push((kind, message[letter + 4..].to_vec()));
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

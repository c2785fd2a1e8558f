//! A network that fails: what stands between two who talk, and takes what they say without telling either of them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything.
    Open,
    /// What is said to the far side, and nothing that it answers.
    Deaf,
    /// Nothing, and nobody is told. What was said arrives when the way is open again.
    Silent,
    /// Nothing: connections end, and new ones are refused.
    Closed,
}

impl Way {
    pub(super) fn there(self) -> bool {
        matches!(self, Self::Open | Self::Deaf)
    }

    pub(super) fn back(self) -> bool {
        self == Self::Open
    }
}

/// Carries bytes from one to the other while the way allows it, and keeps what comes meanwhile, an end too. Returns when
/// either has ended and the other may hear of it.
pub(super) async fn pass<T>(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut routes: watch::Receiver<T>,
    passes: impl Fn(&T) -> bool,
    ended: impl FnOnce(),
) {
    let (mut bytes, mut held) = (vec![0; 16 << 10], Vec::new());
    loop {
        let open = passes(&routes.borrow_and_update());
        if open && !held.is_empty() {
            if to.write_all(&held).await.is_err() {
                return;
            }
            held.clear();
        }
        tokio::select! {
            read = from.read(&mut bytes) => match read {
                Ok(length @ 1..) => held.extend_from_slice(&bytes[..length]),
                _ => break,
            },
            changed = routes.changed() => if changed.is_err() { return },
        }
    }
    ended();
    // Nobody is left to be told where this fails.
    let _ = routes.wait_for(passes).await;
}

/// Stands before a service that listens on TCP.
pub(crate) struct Wire {
    address: SocketAddr,
    way: watch::Sender<Way>,
    ended: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Before this endpoint.
    pub(crate) async fn before(endpoint: &str) -> Self {
        let target = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (way, ways) = watch::channel(Way::Open);
        let ended = Arc::new(AtomicUsize::new(0));
        let ends = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            loop {
                let (from, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(from, target.clone(), ways.clone(), Arc::clone(&ends)));
            }
        });
        Self { address, way, ended, task }
    }

    /// Where to connect to.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From here on this passes.
    pub(crate) fn let_pass(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// How many connections the service has ended so far.
    pub(super) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(from: TcpStream, target: String, mut ways: watch::Receiver<Way>, ended: Arc<AtomicUsize>) {
    let mut closing = ways.clone();
    let carrying = async {
        // Who calls while nothing passes is called through when something does.
        if ways.wait_for(|way| way.there()).await.is_err() {
            return;
        }
        let Ok(to) = TcpStream::connect(target).await else { return };
        for stream in [&from, &to] {
            stream.set_nodelay(true).expect("a socket");
        }
        let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
        let count = || {
            ended.fetch_add(1, Ordering::SeqCst);
        };
        tokio::select! {
            () = pass(from_read, to_write, ways.clone(), |way| way.there(), || {}) => {}
            () = pass(to_read, from_write, ways.clone(), |way| way.back(), count) => {}
        }
    };
    tokio::select! {
        () = carrying => {}
        _ = closing.wait_for(|way| *way == Way::Closed) => {}
    }
}

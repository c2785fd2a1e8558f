//! The network between an app and the service: a proxy that holds what is sent, and leads to another replica.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

#[derive(Debug, Clone, Copy)]
struct Route {
    target: SocketAddr,
    passes: bool,
    /// How often connections were cut; one that began before the last time ends.
    cuts: u64,
}

/// A line from one app to a replica of the service.
pub(super) struct Line {
    pub(super) address: SocketAddr,
    route: watch::Sender<Route>,
    task: JoinHandle<()>,
}

impl Line {
    pub(super) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (route, routes) = watch::channel(Route { target, passes: true, cuts: 0 });
        let task = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let mut routes = routes.clone();
                let mut cut = routes.clone();
                tokio::spawn(async move {
                    let begun = cut.borrow().cuts;
                    tokio::select! {
                        () = serve(from, &mut routes) => {}
                        _ = cut.wait_for(|route| route.cuts > begun) => {}
                    }
                });
            }
        });
        Self { address, route, task }
    }

    /// Nothing passes any more, and nobody is told: a partition. What is sent arrives when it is over.
    pub(super) fn hold(&self) {
        self.route.send_modify(|route| route.passes = false);
    }

    pub(super) fn release(&self) {
        self.route.send_modify(|route| route.passes = true);
    }

    /// Connections end, and new ones lead elsewhere.
    pub(super) fn lead_to(&self, target: SocketAddr) {
        self.route.send_modify(|route| {
            route.target = target;
            route.cuts += 1;
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(from: TcpStream, routes: &mut watch::Receiver<Route>) {
    let Ok(target) = routes.wait_for(|route| route.passes).await.map(|route| route.target) else { return };
    let Ok(to) = TcpStream::connect(target).await else { return };
    for stream in [&from, &to] {
        stream.set_nodelay(true).expect("an option");
    }
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    // Whichever side ends, both connections do.
    tokio::select! {
        () = pass(from_read, to_write, routes.clone()) => {}
        () = pass(to_read, from_write, routes.clone()) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut routes: watch::Receiver<Route>) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut bytes).await else { return };
        if routes.wait_for(|route| route.passes).await.is_err()
            || to.write_all(&bytes[..length]).await.is_err()
        {
            return;
        }
    }
}

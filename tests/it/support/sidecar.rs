//! What stands beside an app in a mesh: it says of every call which workload makes it. The client crate takes no channel of the
//! tests, so it connects to this.

use std::future::poll_fn;

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{service::Routes, transport};
use tower::Service as _;

use super::Channel;

/// A proxy on a port of its own, as long as it is kept.
pub(crate) struct Sidecar {
    endpoint: String,
    task: JoinHandle<()>,
}

impl Sidecar {
    /// Passes on whatever is called, as the caller of this channel.
    pub(crate) async fn start(channel: Channel) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let routes = Routes::from(Router::new().fallback(move |request| pass_on(channel.clone(), request)));
        let server = transport::Server::builder().add_routes(routes);
        let task = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("served");
        });
        Self { endpoint, task }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(mut channel: Channel, request: Request) -> Response {
    let answered = async {
        poll_fn(|context| channel.poll_ready(context)).await?;
        channel.call(request.map(tonic::body::Body::new)).await
    };
    match answered.await {
        Ok(answer) => answer.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

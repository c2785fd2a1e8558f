//! Sends spans to a collector over OTLP, and what is counted where that is wanted, from a thread of its own: whatever the
//! collector does, no call waits for it.
//!
//! - What waits to be sent is bounded; what comes beyond is dropped and counted.
//! - An export that is not answered in time is given up, and what was in it is gone: traces are a help, not a record. Of
//!   metrics the next export says all that the lost one did.
//! - One warning says that something is not taken, for both. The next one comes only after all was, and not soon.
//! - Nothing that a collector says is logged or kept: it is another program's text.

mod measured;
mod warned;

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use opentelemetry::{Context, trace::SpanKind};
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanProcessor},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use self::{
    measured::Measured,
    warned::{Failure, Signal, Warned},
};
use crate::{exporter::Exporter, spans};

/// So many spans wait at most: some 2 MiB, a second of a busy replica.
const WAITING: usize = 2_048;
/// So many go with one export.
const AT_ONCE: usize = 512;
/// How long spans are gathered before they are sent.
const GATHER: Duration = Duration::from_secs(1);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an export may take, the connection included.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a connection that is silent is given up: the next one may lead to another collector.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The largest answer that is read. An honest one has some bytes.
const ANSWER: usize = 64 * 1024;

/// The end at which spans come in.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: mpsc::Sender<Told>,
    /// Tells that what is counted is to be sent for the last time. Not in the queue: there it would come behind all spans.
    ending: CancellationToken,
    /// Told when the last of both is sent, or lost.
    ended: Mutex<Receiver<()>>,
}

enum Told {
    Span(Box<SpanData>),
    End,
}

impl Queue {
    /// Starts the thread that sends to this address, and what is counted as often as is said.
    pub(super) fn start(
        endpoint: Endpoint,
        resource: &Resource,
        measured: Option<(Exporter, Duration)>,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (waiting, coming) = mpsc::channel(WAITING);
        let (end, ended) = sync_channel(1);
        let of_metrics = measured::resource(resource);
        let resource = ResourceAttributesWithSchema::from(resource);
        let ending = CancellationToken::new();
        let end_of_metrics = ending.clone();
        std::thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            runtime.block_on(async {
                // Connects with the first export, and again whenever that is needed.
                let channel = endpoint.connect_lazy();
                let client = TraceServiceClient::new(channel.clone()).max_decoding_message_size(ANSWER);
                let warned = Warned::default();
                let mut sender = Sender { client, resource, warned: &warned };
                let metrics = async {
                    if let Some((exporter, every)) = measured {
                        let mut measured = Measured::new(channel, exporter, of_metrics, &warned);
                        measured.run(every, &end_of_metrics).await;
                    }
                };
                tokio::join!(run(coming, &mut sender), metrics);
                // Nobody may wait for it any more.
                let _ = end.try_send(());
            });
        })?;
        Ok(Self { waiting, ending, ended: Mutex::new(ended) })
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.waiting.try_send(Told::Span(Box::new(span))).is_err() {
            count("dropped", 1);
        }
    }

    /// Does nothing: what was told is sent within a second.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let _ = self.waiting.try_send(Told::End);
        self.ending.cancel();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(timeout).map_err(|_| OTelSdkError::Timeout(timeout))
    }
}

/// The address, as `http://HOST:PORT` or, with TLS, `https://HOST:PORT`. None: it is none.
pub(super) fn endpoint(address: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(address.to_owned()).ok()?;
    let (scheme, host) = (endpoint.uri().scheme_str()?.to_owned(), endpoint.uri().host()?.to_owned());
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .timeout(PATIENCE)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(PATIENCE)
        .buffer_size(1);
    match scheme.as_str() {
        _ if host.is_empty() => None,
        "http" => Some(endpoint),
        "https" => endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).ok(),
        _ => None,
    }
}

/// Gathers and sends until the end is told.
async fn run(mut coming: mpsc::Receiver<Told>, sender: &mut Sender<'_>) {
    let mut is_last = false;
    while !is_last {
        let mut batch = Vec::new();
        let mut gathered = None;
        while batch.len() < AT_ONCE {
            let told = match gathered {
                None => Ok(coming.recv().await),
                Some(gathered) => timeout_at(gathered, coming.recv()).await,
            };
            match told {
                Ok(Some(Told::Span(span))) => {
                    gathered.get_or_insert_with(|| Instant::now() + GATHER);
                    batch.push(named(*span));
                }
                Ok(Some(Told::End) | None) => {
                    is_last = true;
                    break;
                }
                Err(_) => break,
            }
        }
        if !batch.is_empty() {
            sender.send(batch).await;
        }
    }
}

/// A call is called by its method, and is one that came from elsewhere.
fn named(mut span: SpanData) -> SpanData {
    if let Some(method) = span.attributes.iter().find(|attribute| attribute.key.as_str() == spans::METHOD) {
        span.name = method.value.to_string().into();
        span.span_kind = SpanKind::Server;
    }
    span
}

struct Sender<'a> {
    client: TraceServiceClient<Channel>,
    resource: ResourceAttributesWithSchema,
    warned: &'a Warned,
}

impl Sender<'_> {
    async fn send(&mut self, batch: Vec<SpanData>) {
        let number = batch.len() as u64;
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let sent = async {
            match self.client.export(request).await.map(|answer| answer.into_inner().partial_success) {
                Ok(Some(partial)) if partial.rejected_spans > 0 => Some(Failure::Rejected),
                Ok(_) => None,
                Err(status) => Some(Failure::Status(status.code())),
            }
        };
        let failure = timeout(PATIENCE, sent).await.unwrap_or(Some(Failure::Silent));
        count(if failure.is_some() { "failed" } else { "sent" }, number);
        self.warned.judge(Signal::Traces, failure, Instant::now());
    }
}

fn count(outcome: &'static str, spans: u64) {
    metrics::counter!("rollcall_otlp_spans_total", "outcome" => outcome).increment(spans);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for address in ["http://127.0.0.1:4317", "https://collector.example:4317", "http://[::1]:4317/"] {
            assert!(endpoint(address).is_some(), "{address}");
        }
        for address in ["", "127.0.0.1:4317", "collector", "ftp://collector:4317", "http://", "grpc://x:1"] {
            assert!(endpoint(address).is_none(), "{address}");
        }
    }
}

//! The log, structured lines on stderr, and over OTLP the spans of the same work as traces, and what is counted. Field names
//! are dotted, numbers carry their unit; none of it carries personal data.

use std::time::Duration;

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};
use uuid::Uuid;

use crate::{
    config::{LogConfig, LogFormat, TracesConfig},
    exporter::Exporter,
};

mod json;
mod otlp;

/// How long an end waits until the last spans and the last metrics are sent: what is left then was not taken for a while.
const FLUSH: Duration = Duration::from_secs(2);

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of the log.
    #[error("the log filter cannot be parsed")]
    Filter,
    /// The address of the collector.
    #[error("--otlp-endpoint must be http://HOST:PORT or https://HOST:PORT")]
    Endpoint,
    /// There is no thread to send from.
    #[error("traces and metrics cannot be sent: {0}")]
    Thread(#[from] std::io::Error),
}

/// What was started. Spans are made until it is ended.
#[derive(Debug)]
#[must_use = "the last spans are sent when it is ended"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Sends the last spans, and what is counted once more, for a bounded time. Blocks.
    pub fn end(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown_with_timeout(FLUSH)) {
            tracing::debug!(%error, "the last spans and metrics were not sent");
        }
    }
}

/// Starts logging for this process, under this name in traces and metrics. Of the latter there are only those that this
/// exporter has.
pub fn start(
    config: &LogConfig,
    traces: &TracesConfig,
    service: &'static str,
    exporter: Option<Exporter>,
) -> Result<Telemetry, TelemetryError> {
    let parsed = config.filter.as_deref().map(EnvFilter::try_new).transpose();
    let filter = parsed.map_err(|_| TelemetryError::Filter)?.unwrap_or_else(|| EnvFilter::new("info"));
    // The hints keep what no filter lets through from being asked about each time.
    let filter = filter.and(filter_fn(is_harmless).with_max_level_hint(LevelFilter::TRACE));
    let lines = fmt::layer::<Registry>().with_writer(std::io::stderr).with_ansi(false);
    let lines = match config.format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => {
            let format = json::WithTrace(fmt::format().json().flatten_event(true));
            lines.json().event_format(format).with_filter(filter).boxed()
        }
    };
    let provider = match &traces.endpoint {
        Some(address) => {
            let endpoint = otlp::endpoint(address).ok_or(TelemetryError::Endpoint)?;
            let resource = resource(service);
            let measured = exporter.zip(traces.metrics_every);
            let queue = otlp::Queue::start(endpoint, &resource, measured)?;
            Some(provider(Sampler::TraceIdRatioBased(traces.ratio), resource, Some(queue)))
        }
        // Spans that nobody is sent give the lines of the log the trace that a caller says.
        None if config.format == LogFormat::Json => {
            Some(provider(Sampler::AlwaysOff, Resource::builder_empty().build(), None))
        }
        None => None,
    };
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer::<Registry>()
            .with_tracer(provider.tracer("rollcall"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_traced).with_max_level_hint(LevelFilter::INFO))
            .boxed()
    });
    let layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = spans.into_iter().chain([lines]).collect();
    // An error means that logging was started before: a second start in one process keeps the first.
    let _ = tracing_subscriber::registry().with(layers).try_init();
    Ok(Telemetry(provider))
}

/// Which process it is. Two of one service that are not told apart would write into each other's numbers, so where
/// `OTEL_RESOURCE_ATTRIBUTES` does not tell them apart, chance does.
fn resource(service: &'static str) -> Resource {
    let by_chance = KeyValue::new("service.instance.id", Uuid::new_v4().to_string());
    let said = Resource::builder().build();
    Resource::builder_empty()
        .with_attribute(by_chance)
        .with_attributes(said.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())))
        .with_service_name(service)
        .build()
}

/// What a caller says of its own trace counts; of all others a share is recorded.
fn provider(others: Sampler, resource: Resource, queue: Option<otlp::Queue>) -> SdkTracerProvider {
    let builder = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(others)))
        .with_resource(resource);
    match queue {
        Some(queue) => builder.with_span_processor(queue).build(),
        None => builder.build(),
    }
}

/// The spans of this project alone, and no lines of the log: those go where the log goes.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO && metadata.target().starts_with("rollcall")
}

/// The driver and the HTTP/2 layer tell, at their lower levels, the parameters of statements and the frames of messages:
/// personal data, which no filter may let into the log.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    let tells_data = ["tokio_postgres", "h2", "hyper", "tonic"].iter().any(|crate_| {
        metadata.target().strip_prefix(crate_).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    !tells_data || *metadata.level() <= Level::WARN
}

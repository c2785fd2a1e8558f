//! The log: structured lines on stderr. Field names are dotted, numbers carry their unit; no line carries personal data.

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::config::{LogConfig, LogFormat};

/// Starts logging for this process. False: the filter cannot be parsed; the default is used.
pub fn start(config: &LogConfig) -> bool {
    let parsed = config.filter.as_deref().map(EnvFilter::try_new).transpose();
    let understood = parsed.is_ok();
    let filter = parsed.ok().flatten().unwrap_or_else(|| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let harmless = filter_fn(is_harmless);
    // An error means that logging was started before: a second start in one process keeps the first.
    let _ = match config.format {
        LogFormat::Text => registry.with(lines.with_filter(harmless)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(harmless)).try_init(),
    };
    understood
}

/// The driver and the HTTP/2 layer tell, at their lower levels, the parameters of statements and the frames of messages:
/// personal data, which no filter may let into the log.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    let tells_data = ["tokio_postgres", "h2", "hyper", "tonic"].iter().any(|crate_| {
        metadata.target().strip_prefix(crate_).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    !tells_data || *metadata.level() <= Level::WARN
}

//! Where traces are sent, and which share of them; and whether what is counted goes the same way.

use std::time::Duration;

use clap::Args;

/// The share of traces that is recorded where nothing is said. Access checks come by the thousand, and one in ten tells
/// what all of them do; a caller who wants its own call recorded says so with the call.
const RATIO: f64 = 0.1;
/// What is told less often than once an hour tells nobody in time.
const LONGEST: u64 = 3_600;

/// Settings of traces.
#[derive(Debug, Clone, Default, Args)]
pub struct TracesArgs {
    /// Collector to which traces are sent, OTLP over gRPC: http://HOST:4317, or https:// with TLS [default: none]
    #[arg(long, env = "ROLLCALL_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Share of traces to record, from 0 to 1, of those of which the caller does not say whether they are [default: 0.1]
    #[arg(long, env = "ROLLCALL_OTLP_RATIO", value_name = "SHARE")]
    pub otlp_ratio: Option<f64>,
    /// Seconds between two times that what is counted is sent to the collector too, for whom does not scrape it; 0: it is
    /// not [default: 0]
    #[arg(long, env = "ROLLCALL_OTLP_METRICS_INTERVAL_SECONDS", value_name = "SECONDS")]
    pub otlp_metrics_interval_seconds: Option<u64>,
}

/// Where traces are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// The collector. None: nowhere.
    pub endpoint: Option<String>,
    /// The share that is recorded.
    pub ratio: f64,
    /// How often what is counted is sent there too. None: never.
    pub metrics_every: Option<Duration>,
}

/// What is wrong with them. The same for a flag, a variable and a key of the file.
#[derive(Debug, thiserror::Error)]
pub enum TracesProblem {
    /// No share of anything.
    #[error("--otlp-ratio must be a number from 0 to 1")]
    Ratio,
    /// So long that nobody means it.
    #[error("--otlp-metrics-interval-seconds must be from 0 to {}", LONGEST)]
    Interval,
    /// Whoever wants metrics there must learn that they go nowhere.
    #[error(
        "--otlp-metrics-interval-seconds needs --otlp-endpoint: it says how often that collector is sent metrics"
    )]
    Nowhere,
}

impl TracesArgs {
    /// The settings over those of a file. An empty address is none, and metrics go nowhere then: so one variable can take back
    /// what the file says of both.
    pub fn resolve(self, of_file: Self) -> Result<TracesConfig, TracesProblem> {
        let Self { otlp_endpoint, otlp_ratio, otlp_metrics_interval_seconds } = self;
        let taken_back = otlp_endpoint.as_deref() == Some("");
        let endpoint = otlp_endpoint.or(of_file.otlp_endpoint).filter(|address| !address.is_empty());
        let ratio = otlp_ratio.or(of_file.otlp_ratio).unwrap_or(RATIO);
        if !(0.0..=1.0).contains(&ratio) {
            return Err(TracesProblem::Ratio);
        }
        let of_file = of_file.otlp_metrics_interval_seconds.filter(|_| !taken_back);
        let interval = otlp_metrics_interval_seconds.or(of_file).unwrap_or(0);
        if interval > LONGEST {
            return Err(TracesProblem::Interval);
        }
        let metrics_every = (interval > 0).then(|| Duration::from_secs(interval));
        if metrics_every.is_some() && endpoint.is_none() {
            return Err(TracesProblem::Nowhere);
        }
        Ok(TracesConfig { endpoint, ratio, metrics_every })
    }
}

impl TracesConfig {
    /// For what is over before anybody would look at a trace of it.
    pub fn none() -> Self {
        Self { endpoint: None, ratio: 0.0, metrics_every: None }
    }
}

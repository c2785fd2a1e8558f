//! Where traces are sent, and which share of them.

use clap::Args;

/// The share of traces that is recorded where nothing is said. Access checks come by the thousand, and one in ten tells
/// what all of them do; a caller who wants its own call recorded says so with the call.
const RATIO: f64 = 0.1;

/// Settings of traces.
#[derive(Debug, Clone, Default, Args)]
pub struct TracesArgs {
    /// Collector to which traces are sent, OTLP over gRPC: http://HOST:4317, or https:// with TLS [default: none]
    #[arg(long, env = "ROLLCALL_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Share of traces to record, from 0 to 1, of those of which the caller does not say whether they are [default: 0.1]
    #[arg(long, env = "ROLLCALL_OTLP_RATIO", value_name = "SHARE", value_parser = share)]
    pub otlp_ratio: Option<f64>,
}

/// Where traces are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// The collector. None: nowhere.
    pub endpoint: Option<String>,
    /// The share that is recorded.
    pub ratio: f64,
}

impl TracesArgs {
    /// The settings over those of a file. An empty address is none: so a variable can take back what the file says.
    pub fn resolve(self, of_file: Self) -> TracesConfig {
        let Self { otlp_endpoint, otlp_ratio } = self;
        TracesConfig {
            endpoint: otlp_endpoint.or(of_file.otlp_endpoint).filter(|address| !address.is_empty()),
            // A file is not read by the parser below.
            ratio: otlp_ratio.or(of_file.otlp_ratio).unwrap_or(RATIO).clamp(0.0, 1.0),
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 1".to_owned())
}

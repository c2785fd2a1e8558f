//! What is counted, as OTLP says it: the names, units, labels and bounds of `docs/metrics.md`, with the numbers that a scrape
//! of the same process has.
//!
//! Names keep the endings that Prometheus wants, `_total` and `_seconds`. Whatever translates them back, with endings of its
//! own or without, then gives the names that rules ask for: it adds none that is there. Only what OpenTelemetry has a name for
//! is called by that one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    Attributes,
    collector::metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
    },
    resource::v1,
};
use opentelemetry_sdk::Resource;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{ANSWER, Failure, PATIENCE, Signal, Warned};
use crate::exporter::{Exporter, Kind, Known, Reading, Series};

/// So many series go with one request: less than half a MiB, where collectors take 4.
const AT_ONCE: usize = 1_000;

/// What OpenTelemetry's conventions for gRPC call otherwise.
const CONVENTIONS: [(&str, &str); 4] = [
    ("rpc_server_call_duration_seconds", "rpc.server.call.duration"),
    ("rpc_system_name", "rpc.system.name"),
    ("rpc_method", "rpc.method"),
    ("rpc_response_status_code", "rpc.response.status_code"),
];

/// Sends what is counted.
pub(super) struct Measured<'a> {
    client: MetricsServiceClient<Channel>,
    exporter: Exporter,
    resource: v1::Resource,
    warned: &'a Warned,
}

/// How an export went, where something answered.
enum Sent {
    Whole,
    /// Of some of it the collector said that it does not take it.
    InPart,
}

impl<'a> Measured<'a> {
    pub(super) fn new(
        channel: Channel,
        exporter: Exporter,
        resource: v1::Resource,
        warned: &'a Warned,
    ) -> Self {
        let client = MetricsServiceClient::new(channel).max_decoding_message_size(ANSWER);
        Self { client, exporter, resource, warned }
    }

    /// Sends at once, so that there is a zero before the first one, then as often as is said, and once more at the end.
    pub(super) async fn run(&mut self, every: Duration, ending: &CancellationToken) {
        let mut ticks = interval(every);
        // A slow collector is not asked twice in a row for it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                biased;
                () = ending.cancelled() => true,
                _ = ticks.tick() => false,
            };
            self.export().await;
            if is_last {
                return;
            }
        }
    }

    async fn export(&mut self) {
        let (outcome, failure) = match timeout(PATIENCE, self.send()).await {
            Ok(Ok(Sent::Whole)) => ("sent", None),
            Ok(Ok(Sent::InPart)) => ("rejected", Some(Failure::Rejected)),
            Ok(Err(failure)) => ("failed", Some(failure)),
            Err(_) => ("failed", Some(Failure::Silent)),
        };
        metrics::counter!("rollcall_otlp_metrics_exports_total", "outcome" => outcome).increment(1);
        self.warned.judge(Signal::Metrics, failure, Instant::now());
    }

    /// Sends one request after the other: no more than one of them is in memory.
    async fn send(&mut self) -> Result<Sent, Failure> {
        let mut sent = Sent::Whole;
        for request in requests(&self.exporter, &self.resource, SystemTime::now()) {
            let answer = self.client.export(request).await;
            let answer = answer.map_err(|status| Failure::Status(status.code()))?.into_inner();
            if answer.partial_success.is_some_and(|partial| partial.rejected_data_points > 0) {
                sent = Sent::InPart;
            }
        }
        Ok(sent)
    }
}

/// Which process it is, as OTLP says it.
pub(super) fn resource(resource: &Resource) -> v1::Resource {
    let attributes =
        resource.iter().map(|(key, value)| opentelemetry::KeyValue::new(key.clone(), value.clone()));
    v1::Resource { attributes: Attributes::from(attributes).0, ..Default::default() }
}

/// All that is counted, in as many requests as it takes.
fn requests<'a>(
    exporter: &'a Exporter,
    resource: &'a v1::Resource,
    now: SystemTime,
) -> impl Iterator<Item = ExportMetricsServiceRequest> + 'a {
    let times = Times::new(exporter.since(), now);
    let mut rest = exporter.families().flat_map(|(known, series)| pieces(known, series)).peekable();
    std::iter::from_fn(move || {
        let (mut metrics, mut points) = (Vec::new(), 0);
        while let Some((known, series)) = rest.next_if(|(_, series)| points + series.len() <= AT_ONCE) {
            points += series.len();
            metrics.push(said(known, series, times));
        }
        (!metrics.is_empty()).then(|| request(resource.clone(), metrics))
    })
}

/// The series of one name, as many together as fit into a request.
fn pieces(known: &'static Known, mut series: Vec<Series>) -> Vec<(&'static Known, Vec<Series>)> {
    let mut pieces = Vec::new();
    while !series.is_empty() {
        let rest = series.split_off(series.len().min(AT_ONCE));
        pieces.push((known, std::mem::replace(&mut series, rest)));
    }
    pieces
}

fn request(resource: v1::Resource, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope = InstrumentationScope { name: "rollcall".to_owned(), ..Default::default() };
    let scope_metrics = ScopeMetrics { scope: Some(scope), metrics, ..Default::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![scope_metrics],
            ..Default::default()
        }],
    }
}

/// Since when it was counted, and when it was read.
#[derive(Clone, Copy)]
struct Times {
    since: u64,
    now: u64,
}

impl Times {
    fn new(since: SystemTime, now: SystemTime) -> Self {
        let nanos = |time: SystemTime| {
            let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            u64::try_from(nanos).unwrap_or(u64::MAX)
        };
        // A clock that was set back must not have it read before it began.
        Self { since: nanos(since), now: nanos(now.max(since)) }
    }
}

/// Series of one name.
fn said(known: &Known, series: Vec<Series>, times: Times) -> Metric {
    let cumulative = i32::from(AggregationTemporality::Cumulative);
    let data = match known.kind {
        Kind::Counter => metric::Data::Sum(Sum {
            data_points: series.into_iter().filter_map(|one| number(one, times)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge => metric::Data::Gauge(Gauge {
            data_points: series.into_iter().filter_map(|one| number(one, times)).collect(),
        }),
        Kind::Histogram(_) => metric::Data::Histogram(Histogram {
            data_points: series.into_iter().filter_map(|one| distribution(one, times)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: conventional(known.name).to_owned(),
        description: known.help.to_owned(),
        unit: unit(known.unit),
        data: Some(data),
        ..Default::default()
    }
}

/// A unit as UCUM writes it. What is in braces is for people: nothing is called by it. A yes or no has none, since "1" would be
/// a ratio.
fn unit(unit: &str) -> String {
    match unit {
        "seconds" => "s".to_owned(),
        "0 or 1" => String::new(),
        counted => format!("{{{counted}}}"),
    }
}

fn conventional(name: &'static str) -> &'static str {
    CONVENTIONS.iter().find_map(|(ours, theirs)| (*ours == name).then_some(*theirs)).unwrap_or(name)
}

/// None: it is no number. A name has series of one kind alone.
fn number(series: Series, times: Times) -> Option<NumberDataPoint> {
    let (value, start_time_unix_nano) = match series.reading {
        Reading::Counter(value) => {
            (number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX)), times.since)
        }
        // It is what it is now, since whenever.
        Reading::Gauge(value) => (number_data_point::Value::AsDouble(value), 0),
        Reading::Histogram { .. } => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(series.labels),
        start_time_unix_nano,
        time_unix_nano: times.now,
        value: Some(value),
        ..Default::default()
    })
}

/// Bounds are inclusive above, here and there.
fn distribution(series: Series, times: Times) -> Option<HistogramDataPoint> {
    let Reading::Histogram { bounds, counts, sum } = series.reading else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(series.labels),
        start_time_unix_nano: times.since,
        time_unix_nano: times.now,
        count: counts.iter().sum(),
        sum: Some(sum),
        bucket_counts: counts,
        explicit_bounds: bounds.to_vec(),
        ..Default::default()
    })
}

fn attributes(labels: Vec<(String, String)>) -> Vec<KeyValue> {
    let attribute = |(key, value): (String, String)| {
        let theirs = CONVENTIONS.iter().find_map(|(ours, theirs)| (*ours == key).then_some(*theirs));
        let value = AnyValue { value: Some(any_value::Value::StringValue(value)) };
        KeyValue { key: theirs.map_or(key, str::to_owned), value: Some(value), ..Default::default() }
    };
    labels.into_iter().map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::Process;

    fn metrics(exporter: &Exporter) -> Vec<Vec<Metric>> {
        let resource = v1::Resource::default();
        let requests = requests(exporter, &resource, SystemTime::now());
        let scopes = |request: ExportMetricsServiceRequest| {
            request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics)
        };
        requests.map(|request| scopes(request).flat_map(|scope| scope.metrics).collect()).collect()
    }

    fn points(metric: &Metric) -> usize {
        match metric.data.as_ref().expect("data") {
            metric::Data::Gauge(gauge) => gauge.data_points.len(),
            metric::Data::Sum(sum) => sum.data_points.len(),
            metric::Data::Histogram(histogram) => histogram.data_points.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_that_is_counted_goes_in_requests_of_bounded_size_and_each_series_once() {
        let exporter = Exporter::of(Process::Service, || {
            for number in 0..2_100 {
                metrics::gauge!("rollcall_subscriptions", "app" => number.to_string()).set(1.0);
                metrics::histogram!("rollcall_enforcement_seconds", "app" => number.to_string()).record(1.0);
            }
        });
        let requests = metrics(&exporter);
        assert!(requests.len() >= 4, "{}", requests.len());
        for request in &requests {
            assert!(request.iter().map(points).sum::<usize>() <= AT_ONCE);
        }
        // As many as a name may have, of these two and of each that is there from the start.
        let told: usize = requests.iter().flatten().map(points).sum();
        let scraped = exporter.families().map(|(_, series)| series.len()).sum::<usize>();
        assert!(told == scraped && told > 4_000, "{told} {scraped}");
        for request in requests {
            for metric in request {
                assert!(points(&metric) > 0, "{} says nothing", metric.name);
            }
        }
    }

    #[test]
    fn what_is_above_all_bounds_is_in_the_last_place_and_nothing_is_read_before_it_began() {
        let exporter = Exporter::of(Process::Service, || {
            for changes in [1.0, 2.0, 2.5, 4_000.0] {
                metrics::histogram!("rollcall_feed_batch_changes").record(changes);
            }
            metrics::counter!("rollcall_feed_forks_total").increment(u64::MAX);
        });
        let early = Times::new(exporter.since(), UNIX_EPOCH);
        assert_eq!(early.now, early.since);
        let mut seen = 0;
        for metric in metrics(&exporter).into_iter().flatten() {
            match (metric.name.as_str(), metric.data.expect("data")) {
                ("rollcall_feed_batch_changes", metric::Data::Histogram(histogram)) => {
                    let point = &histogram.data_points[0];
                    assert_eq!(point.bucket_counts, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
                    assert_eq!(point.explicit_bounds.len() + 1, point.bucket_counts.len());
                    assert_eq!((point.count, point.sum), (4, Some(4_005.5)));
                    assert_eq!(metric.unit, "{changes}");
                    seen += 1;
                }
                ("rollcall_feed_forks_total", metric::Data::Sum(sum)) => {
                    let value = number_data_point::Value::AsInt(i64::MAX);
                    assert_eq!(sum.data_points[0].value, Some(value), "not a negative one");
                    seen += 1;
                }
                _ => {}
            }
        }
        assert_eq!(seen, 2);
    }
}

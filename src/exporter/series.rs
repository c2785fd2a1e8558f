//! The numbers behind the macros. A name has a bounded number of series: what comes beyond is not counted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    atomics::AtomicU64,
};

use super::known::{KNOWN, Kind, Known, Process};

/// Series of one name: methods times codes, or apps. Labels are never what a caller says.
const SERIES: usize = 2_000;

/// Everything that is counted.
pub(super) struct Registry(HashMap<&'static str, Family>);

/// The series of one name.
pub(super) struct Family {
    pub(super) known: &'static Known,
    series: Mutex<HashMap<Key, Value>>,
}

/// What one series is at.
#[derive(Clone)]
pub(super) enum Value {
    Counter(Arc<AtomicU64>),
    /// The bits of a float.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

/// How often a value was at most each bound, and more than the last.
pub(super) struct Buckets {
    pub(super) bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    /// The bits of a float.
    sum: AtomicU64,
}

impl Registry {
    pub(super) fn new(process: Process) -> Self {
        let families = KNOWN.iter().filter(|known| known.is_of(process)).map(|known| {
            let family = Family { known, series: Mutex::default() };
            // From the start: a rate needs the zero before the first one.
            if known.labels.is_empty() && known.kind == Kind::Counter {
                family.value(&Key::from_name(known.name));
            }
            (known.name, family)
        });
        Self(families.collect())
    }

    /// All names, in order.
    pub(super) fn families(&self) -> Vec<&Family> {
        let mut families: Vec<&Family> = self.0.values().collect();
        families.sort_unstable_by_key(|family| family.known.name);
        families
    }

    fn value(&self, key: &Key) -> Option<Value> {
        self.0.get(key.name())?.value(key)
    }
}

impl Family {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Value>> {
        // Nothing panics while it holds this lock.
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self, key: &Key) -> Option<Value> {
        let mut series = self.lock();
        if let Some(value) = series.get(key) {
            return Some(value.clone());
        }
        let fits = key.labels().all(|label| self.known.labels.contains(&label.key()));
        if series.len() >= SERIES || !fits {
            return None;
        }
        let value = match self.known.kind {
            Kind::Counter => Value::Counter(Arc::default()),
            Kind::Gauge => Value::Gauge(Arc::default()),
            Kind::Histogram(bounds) => Value::Histogram(Arc::new(Buckets::new(bounds))),
        };
        series.insert(key.clone(), value.clone());
        Some(value)
    }

    /// Each series with its labels, in their order.
    pub(super) fn series(&self) -> Vec<(Vec<(String, String)>, Value)> {
        let labels = |key: &Key| {
            let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
            labels.collect::<Vec<_>>()
        };
        let mut series: Vec<_> =
            self.lock().iter().map(|(key, value)| (labels(key), value.clone())).collect();
        series.sort_by(|one, other| one.0.cmp(&other.0));
        series
    }
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// How many were at most each bound, and how many there are. One reading: the last is never less than those before.
    pub(super) fn cumulated(&self) -> Vec<u64> {
        let mut so_far = 0;
        let add = |count: &AtomicU64| {
            so_far += count.load(Ordering::Acquire);
            so_far
        };
        self.counts.iter().map(add).collect()
    }

    pub(super) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Acquire))
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::AcqRel);
        metrics::GaugeFn::increment(&self.sum, value);
    }
}

impl Recorder for Registry {
    // What is to be said of a name stands in `KNOWN`.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.value(key) {
            Some(Value::Counter(value)) => Counter::from_arc(value),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.value(key) {
            Some(Value::Gauge(value)) => Gauge::from_arc(value),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.value(key) {
            Some(Value::Histogram(value)) => Histogram::from_arc(value),
            _ => Histogram::noop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::text::text;

    fn count(registry: &Registry, by: impl FnOnce()) -> String {
        metrics::with_local_recorder(registry, by);
        text(registry)
    }

    #[test]
    fn what_is_counted_is_written_as_prometheus_reads_it() {
        let registry = Registry::new(Process::Service);
        let text = count(&registry, || {
            metrics::counter!("rollcall_calls_limited_total", "kind" => "re\"ads\\\n").increment(2);
            metrics::gauge!("rollcall_pool_waiting").set(1.5);
            metrics::histogram!("rollcall_feed_batch_changes").record(2.0);
            metrics::histogram!("rollcall_feed_batch_changes").record(3.0);
            metrics::histogram!("rollcall_feed_batch_changes").record(4_000.0);
        });
        for line in [
            "# TYPE rollcall_calls_limited_total counter",
            "rollcall_calls_limited_total{kind=\"re\\\"ads\\\\\\n\"} 2",
            "rollcall_pool_waiting 1.5",
            "rollcall_feed_batch_changes_bucket{le=\"1\"} 0",
            "rollcall_feed_batch_changes_bucket{le=\"2\"} 1",
            "rollcall_feed_batch_changes_bucket{le=\"5\"} 2",
            "rollcall_feed_batch_changes_bucket{le=\"1000\"} 2",
            "rollcall_feed_batch_changes_bucket{le=\"+Inf\"} 3",
            "rollcall_feed_batch_changes_sum 4005",
            "rollcall_feed_batch_changes_count 3",
            // Never counted, and there all the same.
            "rollcall_feed_forks_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("rollcall_agent"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_left_out_and_series_are_bounded() {
        let registry = Registry::new(Process::Service);
        let text = count(&registry, || {
            metrics::counter!("rollcall_invented_total").increment(1);
            metrics::counter!("rollcall_calls_limited_total", "caller" => "somebody").increment(1);
            for number in 0..2 * SERIES {
                metrics::gauge!("rollcall_subscriptions", "app" => number.to_string()).set(1.0);
            }
        });
        assert!(!text.contains("invented") && !text.contains("somebody"), "{text}");
        let series = text.lines().filter(|line| line.starts_with("rollcall_subscriptions{")).count();
        assert_eq!(series, SERIES);
    }
}

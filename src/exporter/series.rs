//! The numbers behind the macros. A name has a bounded number of series: what comes beyond is not counted. However it is
//! told, as a scrape or over OTLP, it is read here, so both say the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::SystemTime,
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    atomics::AtomicU64,
};

use super::known::{KNOWN, Kind, Known, Process};

/// Series of one name: methods times codes, or apps. Labels are never what a caller says.
const SERIES: usize = 2_000;

/// Everything that is counted.
pub(super) struct Registry {
    families: HashMap<&'static str, Family>,
    /// Since when.
    pub(super) since: SystemTime,
}

/// The series of one name.
pub(super) struct Family {
    pub(super) known: &'static Known,
    series: Mutex<HashMap<Key, Value>>,
}

/// One series of a name, as it was when it was read.
#[derive(Debug)]
pub struct Series {
    /// Its labels with what they say.
    pub labels: Vec<(String, String)>,
    /// What it was at.
    pub reading: Reading,
}

/// What a series was at.
#[derive(Debug)]
pub enum Reading {
    /// How often, or how many.
    Counter(u64),
    /// What it was.
    Gauge(f64),
    /// How often it was how much.
    Histogram {
        /// The bounds, in order.
        bounds: &'static [f64],
        /// How often it was at most each bound and above the one before; at the end, above them all.
        counts: Vec<u64>,
        /// All of it together.
        sum: f64,
    },
}

/// What one series is at.
#[derive(Clone)]
enum Value {
    Counter(Arc<AtomicU64>),
    /// The bits of a float.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

/// How often a value was at most each bound, and more than the last.
struct Buckets {
    bounds: &'static [f64],
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
        Self { families: families.collect(), since: SystemTime::now() }
    }

    /// All names, in order.
    pub(super) fn families(&self) -> Vec<&Family> {
        let mut families: Vec<&Family> = self.families.values().collect();
        families.sort_unstable_by_key(|family| family.known.name);
        families
    }

    fn value(&self, key: &Key) -> Option<Value> {
        self.families.get(key.name())?.value(key)
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

    /// Each series, by its labels in order.
    pub(super) fn series(&self) -> Vec<Series> {
        let labels = |key: &Key| {
            let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
            labels.collect::<Vec<_>>()
        };
        let read = |(key, value): (&Key, &Value)| Series { labels: labels(key), reading: value.read() };
        let mut series: Vec<Series> = self.lock().iter().map(read).collect();
        series.sort_by(|one, other| one.labels.cmp(&other.labels));
        series
    }
}

impl Value {
    fn read(&self) -> Reading {
        match self {
            Self::Counter(value) => Reading::Counter(value.load(Ordering::Acquire)),
            Self::Gauge(value) => Reading::Gauge(f64::from_bits(value.load(Ordering::Acquire))),
            Self::Histogram(buckets) => Reading::Histogram {
                bounds: buckets.bounds,
                counts: buckets.counts.iter().map(|count| count.load(Ordering::Acquire)).collect(),
                sum: f64::from_bits(buckets.sum.load(Ordering::Acquire)),
            },
        }
    }
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
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

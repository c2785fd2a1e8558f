//! The text format of Prometheus, 0.0.4.

use std::{fmt::Write as _, sync::atomic::Ordering};

use super::{
    known::Kind,
    series::{Registry, Value},
};

/// Everything that was counted.
pub(super) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    for family in registry.families() {
        let (name, series) = (family.known.name, family.series());
        if series.is_empty() {
            continue;
        }
        let kind = match family.known.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let help = family.known.help;
        // Writing to a text does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in series {
            let labels = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value)));
            let labels: Vec<String> = labels.collect();
            match value {
                Value::Counter(value) => {
                    line(&mut text, name, &labels, &value.load(Ordering::Acquire).to_string());
                }
                Value::Gauge(value) => {
                    line(&mut text, name, &labels, &number(f64::from_bits(value.load(Ordering::Acquire))));
                }
                Value::Histogram(buckets) => {
                    let counts = buckets.cumulated();
                    let bounds = buckets.bounds.iter().copied().chain([f64::INFINITY]);
                    for (bound, count) in bounds.zip(&counts) {
                        let bound = format!("le=\"{}\"", number(bound));
                        let labels = [labels.as_slice(), &[bound]].concat();
                        line(&mut text, &format!("{name}_bucket"), &labels, &count.to_string());
                    }
                    let count = counts.last().copied().unwrap_or_default();
                    line(&mut text, &format!("{name}_sum"), &labels, &number(buckets.sum()));
                    line(&mut text, &format!("{name}_count"), &labels, &count.to_string());
                }
            }
        }
    }
    text
}

fn line(text: &mut String, name: &str, labels: &[String], value: &str) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(text, "{name}{labels} {value}");
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
